from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embodied.provenance import provenance
from scripts.benching.vla_gallery import Shot
from scripts.benching.vla_tables import document, table, write

from .vla_made import result

ROWS = ("in_distribution", "noise_weak", "two_objects_seen")
METHODS = {
    budget: {
        "sft": {"policies": ["sft-s0"], "env_steps": [10], "seconds": [5.0]},
        "ppo": {"policies": ["ppo-s0"], "env_steps": [20], "seconds": [6.0]},
    }
    for budget in ("samples", "time")
}


def found(methods: Any = None) -> dict[str, Any]:
    results = {
        "sft-s0": {row: result(row, "sswn") for row in ROWS},
        "ppo-s0": {row: result(row, "sssd") for row in ROWS[:2]},  # one row's job failed
    }
    if methods is not None:
        results["warmup"] = {row: result(row, "snnn") for row in ROWS}
    swapped = {"sft-s0": result("two_objects_seen", "ssss", followed=[0, 0, 1, None])}
    about = {"name": "try <1>", "episodes": 4, "seed": 0, "failed": ["rows/ppo-s0/two_objects_seen"]}
    made = document(results, swapped, methods, 0.95, 50)
    for policy in made["policies"].values():
        policy |= {"source": "runs/x", "digest": "abc"}
    return {**about, **made, "provenance": provenance(0, ["embodied", "bench", "vla"])}


def test_the_table_has_a_line_a_row_and_theirs_beside_ours() -> None:
    lines = table(found()).splitlines()
    assert "| row | axis | sft-s0 | ppo-s0 |" in lines
    assert "| noise_weak | vision | 50.0 (15.0 to 85.0) | 75.0 (30.1 to 95.4) |" in lines
    assert any(line.startswith("| two_objects_seen | semantics | 50.0 (15.0 to 85.0) | - |") for line in lines)
    vision = next(line for line in lines if line.startswith("| vision, mean"))
    assert vision.endswith("| 64.2 | 76.6 |")
    retained = next(line for line in lines if line.startswith("| vision, retained"))
    assert retained.startswith("| vision, retained | 100.0 | 100.0 (") and retained.endswith("| 82 | 82 |")


def test_methods_have_tables_of_their_own() -> None:
    lines = table(found(METHODS)).splitlines()
    assert "## Mean over seeds, matched samples" in lines and "## Mean over seeds, matched time" in lines
    assert "| noise_weak | vision | 50.0 | 75.0 |" in lines
    told = "All start from one policy: 25.0 (4.6 to 69.9) % in distribution (wanted: 20 to 50)."
    assert told in lines
    assert sum(line.startswith("| vision, mean | 50.0 | 75.0 |") for line in lines) == 2


@pytest.mark.parametrize("methods", [None, METHODS])
def test_everything_is_in_one_page_that_needs_no_network(tmp_path: Path, methods: Any) -> None:
    film = tmp_path / "film"
    film.write_bytes(b"no real film")
    shot = Shot("sft-s0", "noise_weak", 2, "wrong_object")
    paths = write(found(methods), [(shot, "timeout", film)], tmp_path / "out", "name")
    assert [path.name for path in paths] == ["name.json", "name.md", "name.html"]
    stored = json.loads(paths[0].read_text())
    assert stored["gallery"] == [{**shot._asdict(), "filmed": "timeout"}]
    assert stored["policies"]["sft-s0"]["language"]["swapped_followed"]["n"] == 2
    page = paths[2].read_text()
    assert "try &lt;1&gt;" in page and "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert "noise_weak, episode 2: wrong object (when filmed: timeout)" in page
    assert "data:video/mp4;base64," in page and "rows/ppo-s0/two_objects_seen" in page
    for section in ("Axes", "Rows", "Robustness", "Failures", "Language", "Paired tests", "Gallery", "Provenance"):
        assert f"<h2>{section}</h2>" in page, section
    assert ("<h2>Methods</h2>" in page) == (methods is not None)


def test_only_whole_files_are_left(tmp_path: Path) -> None:
    write(found(), [], tmp_path, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.html", "x.json", "x.md"]
    assert "<h2>Gallery</h2>" not in (tmp_path / "x.html").read_text()
