"""Nested state comes back as it was, types and bits."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from embodied.tree import CheckpointError, load_tree, save_tree


def test_everything_comes_back_with_its_type(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    tree = {
        "tensors": {"view": shared.view(2, 3).t(), "same memory": shared, "scalar": torch.tensor(3, dtype=torch.uint8)},
        "bool": torch.tensor([True, False]),
        "arrays": [np.arange(3, dtype=np.uint32), np.array([[1.5]])],
        "optimizer": {0: {"step": torch.tensor(2.0)}, 7: None},
        "plain": (1, 2.5, "x", None, True, 2**100, float("inf"), np.float32(0.1).item()),
        "numpy scalar": np.int64(4),
        "empty": [{}, [], ()],
        "tensor": {"list": 1},  # keys that look like the format's own
    }
    save_tree(tmp_path / "x.safetensors", tree)
    back = load_tree(tmp_path / "x.safetensors")
    assert back["plain"] == tree["plain"] and isinstance(back["plain"], tuple)
    assert back["empty"] == tree["empty"] and back["tensor"] == {"list": 1} and back["numpy scalar"] == 4
    assert list(back["optimizer"]) == [0, 7] and back["optimizer"][0]["step"] == 2.0
    assert torch.equal(back["tensors"]["view"], shared.view(2, 3).t())
    assert back["tensors"]["scalar"].dtype == torch.uint8 and back["tensors"]["scalar"].shape == ()
    assert back["bool"].tolist() == [True, False]
    assert back["arrays"][0].dtype == np.uint32 and back["arrays"][0].tolist() == [0, 1, 2]


def test_random_generators_come_back(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    save_tree(tmp_path / "x.safetensors", [np.random.get_state(), generator.bit_generator.state, random.getstate()])
    legacy, modern, python = load_tree(tmp_path / "x.safetensors")
    expected = np.random.rand(), generator.random(), random.random()
    np.random.set_state(legacy)
    generator.bit_generator.state = modern
    random.setstate(python)
    assert (np.random.rand(), generator.random(), random.random()) == expected


def test_what_cannot_be_stored_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"cannot store set at /env/1"):
        save_tree(tmp_path / "x.safetensors", {"env": [0, {1, 2}]})


def test_a_broken_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"cannot read .*x\.safetensors"):
        load_tree(tmp_path / "x.safetensors")
