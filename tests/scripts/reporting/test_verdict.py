from __future__ import annotations

from pathlib import Path

from scripts.reporting.data import read_run
from scripts.reporting.verdict import evaluation_title, tiles, verdict

from .runs import GOOD, figure, write_checkpoint, write_run
from .test_page import edit_bundle


def test_a_good_run_is_on_target(tmp_path: Path):
    run = read_run(write_run(tmp_path / "run", metrics=GOOD))
    state, word, sentence = verdict(run)
    assert (state, word) == ("good", "On target")
    assert sentence == (
        "100 % of 256 episodes succeeded (95 % interval 98.5 to 100 %); "
        "commands are followed to 0.0973 m/s and 0.13 rad/s on average."
    ).replace("0.0973", "0.097")
    shown = {tile.label: tile for tile in tiles(run)}
    assert (shown["Velocity error"].value, shown["Velocity error"].state) == ("0.097 m/s", "good")
    assert shown["Velocity error"].note == "0.09 to 0.105 m/s"
    assert shown["Environment steps"].value == "60 k" and shown["Return"].state == ""


def test_what_falls_short_is_named(tmp_path: Path):
    metrics = GOOD | {"error_lin_vel": figure(0.2, 0.1, 0.3), "fall": figure(0.01, 0.0, 0.03)}
    state, word, sentence = verdict(read_run(write_run(tmp_path / "run", metrics=metrics)))
    assert (state, word) == ("poor", "Not there yet")
    assert sentence.endswith("Short of the suite's target: falls, velocity error.")


def test_targets_of_flat_ground_do_not_judge_rough_ground(tmp_path: Path):
    metrics = GOOD | {"error_lin_vel": figure(0.3, 0.2, 0.4)}
    run = read_run(write_run(tmp_path / "run", metrics=metrics, terrain={"kind": "stairs"}))
    assert verdict(run)[0] == "good"  # its success still counts


def test_a_task_without_targets_is_only_measured(tmp_path: Path):
    state, word, sentence = verdict(read_run(write_run(tmp_path / "run", metrics={"return": figure(2100, 2000, 2200)})))
    assert (state, word) == ("none", "Measured")
    assert sentence == "A mean return of 2,100 over 256 episodes (95 % interval 2,000 to 2,200)."


def test_without_an_evaluation(tmp_path: Path):
    run = read_run(write_run(tmp_path / "run"))
    state, word, sentence = verdict(run)
    assert (state, word) == ("none", "Not measured yet") and "embodied evaluate checkpoint=" in sentence
    assert {tile.note for tile in tiles(run)} == {"at the end of training", "trained in 6 s"}


def test_a_bundle_that_does_not_verify_comes_first(tmp_path: Path, mlp_bundle: Path):
    path = write_run(tmp_path / "run", metrics=GOOD)
    edit_bundle(mlp_bundle, path / "bundle")
    state, word, sentence = verdict(read_run(path))
    assert (state, word) == ("bad", "Do not deploy") and "does not verify (seal, network)" in sentence


def test_evaluation_titles(tmp_path: Path):
    path = write_run(tmp_path / "run", metrics=GOOD)
    write_checkpoint(path)
    (path / "evaluation_changed.json").write_text(
        '{"task": "strider", "episodes": 9, "seed": 1, "changes": ["task.x=1"]}'
    )
    assert evaluation_title(read_run(path), "evaluation_changed") == "strider, 9 episodes, seed 1, task.x=1"
