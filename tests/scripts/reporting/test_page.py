from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from scripts.reporting.data import read_run
from scripts.reporting.page import render

from .runs import GOOD, figure, write_checkpoint, write_run, write_video

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Reader(HTMLParser):
    """Checks that tags nest; collects text, and every address that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text, self.loaded, self.links, self.ids = "", [], [], []  # type: ignore[var-annotated]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        found = dict(attrs)
        self.loaded += [found[key] for key in ("src", "poster", "data") if found.get(key)]
        self.links += [found["href"]] if "href" in found else []
        self.ids += [found["id"]] if "id" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def edit_bundle(source: Path, target: Path) -> None:
    """A copy of a bundle with a changed physics step."""
    shutil.copytree(source, target)
    data = json.loads((target / "manifest.json").read_text())
    data["contract"]["task"]["physics_dt"] = 0.001
    (target / "manifest.json").write_text(json.dumps(data))


def test_a_whole_run(tmp_path: Path, mlp_bundle: Path):
    path = write_run(tmp_path / "run", metrics=GOOD)
    write_checkpoint(path)
    write_video(path / "video.mp4")
    shutil.copytree(mlp_bundle, path / "bundle")
    page = render(read_run(path))
    seen = read(page)
    for words in (
        "On target.", "100 % of 256 episodes",
        "Walks & turns", "Velocity error", "at most 0.15 m/s", "0.09 to 0.105 m/s",
        "Track lin vel", "17.2", "c0ffee with uncommitted changes", "embodied train task=strider", "torch 2.13.0",
        "Abacus, 2 CPUs, 8.0 GB, no GPU", "golden vectors", "kp [N m/rad]", "joint_vel", "frequency 2.0",
        "step_000000060000", "Learning rate", "hidden: [8, 8]", "Orange: what is asked",
    ):  # fmt: skip
        assert words in seen.text, words
    assert page.count('<svg class="chart"') >= 6 and '<svg class="bars"' in page
    video = re.search(r'src="data:video/mp4;base64,([^"]+)"', page)
    assert video is not None and base64.b64decode(video[1]) == (path / "video.mp4").read_bytes()


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path, mlp_bundle: Path):
    path = write_run(tmp_path / "run", metrics=GOOD)
    write_video(path / "video.mp4")
    shutil.copytree(mlp_bundle, path / "bundle")
    page = render(read_run(path))
    seen = read(page)
    assert len(seen.loaded) == 3 and all(address.startswith("data:") for address in seen.loaded)
    assert {link[1:] for link in seen.links} <= set(seen.ids) and all(link.startswith("#") for link in seen.links)
    assert "default-src 'none'" in page  # a browser would refuse all else
    styles = "".join(re.findall(r"<style>(.*?)</style>", page, re.S))
    assert "url(" not in styles and "@import" not in styles


def test_what_is_missing_is_said(tmp_path: Path):
    path = tmp_path / "run"
    write_checkpoint(path)
    seen = read(render(read_run(path)))
    for words in (
        "Not measured yet.", "Nothing was logged", "No video yet:", "Not evaluated yet:", "Not exported yet:",
        "has logged nothing yet", "provenance.json is missing", "config.yaml is missing",
    ):  # fmt: skip
        assert words in seen.text, words
    assert f"embodied export checkpoint={path}" in seen.text


def test_a_broken_video_is_said(tmp_path: Path):
    path = write_run(tmp_path / "run")
    (path / "video.mp4").write_bytes(b"no film")
    assert "video.mp4 could not be read" in read(render(read_run(path))).text


def test_text_from_the_run_cannot_become_markup(tmp_path: Path):
    evil = "<script>alert(1)</script>"
    path = write_run(tmp_path / "run", metrics={evil: figure(1, 0, 2)}, name=evil, description=evil)
    page = render(read_run(path))
    assert evil not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script>") == 1


def test_a_failed_bundle_shows_its_checks(tmp_path: Path, mlp_bundle: Path):
    path = write_run(tmp_path / "run", metrics=GOOD)
    edit_bundle(mlp_bundle, path / "bundle")
    seen = read(render(read_run(path)))
    assert "Do not deploy." in seen.text and "manifest.json was changed after the export" in seen.text


def test_further_evaluations_have_their_own_tables(tmp_path: Path):
    path = write_run(tmp_path / "run", metrics=GOOD)
    hard = {"task": "strider_hard", "episodes": 64, "seed": 0, "metrics": {"fall": figure(0.25, 0.2, 0.3)}}
    (path / "evaluation_strider_hard.json").write_text(json.dumps(hard))
    seen = read(render(read_run(path)))
    assert "strider_hard, 64 episodes, seed 0" in seen.text and "25 %" in seen.text
