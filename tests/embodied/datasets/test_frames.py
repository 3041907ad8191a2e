"""Images that are kept on the disk are the same, and nothing else of them is in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embodied.datasets import DatasetError, Episode, Episodes, Windows
from embodied.datasets.frames import FrameFile

from .examples import CAMERA, filmed


def test_frames_are_those_that_were_added(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)
    file = FrameFile(tmp_path / "new")
    file.add(frames[:3])
    file.add(frames[::-1][:4])  # not contiguous
    found = file.tensor((4, 5, 3))
    assert torch.equal(found, torch.from_numpy(np.concatenate([frames[:3], frames[::-1][:4]])))
    assert list((tmp_path / "new").iterdir()) == []  # it has no name


def test_a_dataset_on_the_disk_equals_one_in_memory(tmp_path: Path) -> None:
    both = [Episodes(CAMERA, [filmed(5), filmed(3, 1)], folder) for folder in (None, tmp_path)]
    for name in CAMERA.obs:
        assert torch.equal(both[0].obs[name], both[1].obs[name])
    rows = torch.tensor([0, 4, 6])
    memory, disk = (Windows(data, 2, {"top": 3}).batch(rows) for data in both)
    assert torch.equal(memory.obs["top"], disk.obs["top"]) and disk.obs["top"].shape == (3, 3, 32, 48, 3)


def test_episodes_are_read_one_at_a_time_and_left_as_they_are(tmp_path: Path) -> None:
    alive: list[Episode] = []

    def episodes():
        for number in range(3):
            alive.append(filmed(2, number))
            yield alive[-1]

    data = Episodes(CAMERA, episodes(), tmp_path)
    assert all(episode.obs["top"].shape == (2, 32, 48, 3) for episode in alive)
    maps = Path("/proc/self/maps")
    if maps.exists():
        address = data.obs["top"].data_ptr()
        ranges = [line.split() for line in maps.read_text().splitlines()]
        inside = [r for r in ranges if int(r[0].split("-")[0], 16) <= address < int(r[0].split("-")[1], 16)]
        assert len(inside) == 1 and str(tmp_path) in " ".join(inside[0])  # its pages are the file's


def test_damage_is_found_on_the_way(tmp_path: Path) -> None:
    bad = filmed(2)
    bad.obs["top"] = bad.obs["top"][:, :8]
    with pytest.raises(DatasetError, match=r"episode 1: obs 'top' has shape \(2, 8, 48, 3\)"):
        Episodes(CAMERA, [filmed(2), bad], tmp_path)
