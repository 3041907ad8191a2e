from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.config import CONFIGS, UserError, compose, plain, schema_node, typed, with_preset
from scripts.evaluate import EvaluateConfig
from scripts.pretrain import PretrainConfig
from scripts.train import RunConfig


def composed(*argv: str):
    return compose(RunConfig, "train", list(argv))


def complaint(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        typed(RunConfig, composed(*argv))
    return str(caught.value)


def test_the_default_is_a_walking_go2() -> None:
    config = composed()
    assert config.task.name == "go2_velocity"
    assert config.policy.kind == "mlp"
    assert typed(RunConfig, config).algo.clip_range == 0.2


def test_the_order_of_precedence() -> None:
    """General defaults, then the task's recipe, then the command line."""
    general = composed("~recipe").total_steps
    recipe = composed("task=hopper").total_steps
    assert (CONFIGS / "recipe" / "hopper.yaml").exists()
    assert general == 6_000_000 != recipe
    assert composed("task=hopper", "total_steps=5").total_steps == 5


def test_groups_are_chosen_and_their_keys_changed() -> None:
    config = composed("task=hopper", "policy=gru", "algo.gamma=0.5", "policy.memory_size=7", "task.frame_skip=2")
    assert (config.task.name, config.policy.kind, config.algo.gamma) == ("hopper", "gru", 0.5)
    assert (config.policy.memory_size, config.task.frame_skip) == (7, 2)


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("task=hoper", "unknown task 'hoper'; did you mean 'hopper'?"),
        (
            "policy=lstm",
            "unknown policy 'lstm'; known policy choices: compact_vla, compact_vla_flow, dppo, flow_sde, fpo, gru, "
            "mlp, ncdpo, openvla, openvla_oft, pi0, pi0_sde, reinflow, remote, residual",
        ),
        ("task=null", "task is chosen by name"),
        ("~task", "task cannot be left out"),
        ("seed=abc", "seed=abc: must be a"),
        ("total_steps=1.5", "total_steps=1.5: must be a whole number"),
        ("total_steps=-5", "total_steps=-5: must be a number above 0"),
        ("wandb=maybe", "wandb=maybe: must be true or false"),
        ("algo.schedule=cosine", "algo.schedule='cosine': valid: adaptive, constant, linear"),
        ("algo.gamma=2", "algo.gamma=2.0: must lie in [0, 1]"),
        ("algo.clip=1", "did you mean 'algo.clip_range'?"),
        ("seed=0,1", "embodied train -m seed=0,1"),
        ("seed=${sed}", "cannot resolve the configuration: Interpolation key 'sed' not found"),
    ],
)
def test_complaints(argument: str, part: str) -> None:
    assert part in complaint(argument)


def test_every_task_takes_chunk_and_history() -> None:
    for command, schema in (("train", RunConfig), ("pretrain", PretrainConfig)):
        given = ["task=hopper", "task.chunk=4"] + (["dataset=x"] if command == "pretrain" else [])
        task = compose(schema, command, given).task
        assert (task.chunk, task.history, task.name) == (4, 1, "hopper")
        with pytest.raises(UserError, match=r"did you mean 'task\.chunk'"):
            compose(schema, command, [*given, "task.chunks=4"])


def test_a_required_value_is_asked_for() -> None:
    with pytest.raises(UserError, match="checkpoint is required: embodied evaluate checkpoint="):
        compose(EvaluateConfig, "evaluate", [], {"task/checkpoint": {"name": "x"}})


def test_a_node_may_be_handed_in_and_changed() -> None:
    nodes = {"task/checkpoint": {"name": "x", "dt": 0.1}}
    config = compose(EvaluateConfig, "evaluate", ["checkpoint=a", "task.dt=0.2"], nodes)
    once = {"chunk": 1, "history": 1}  # configs/decisions.yaml
    assert plain(config)["task"] == {"name": "x", "dt": 0.2, **once}
    config = compose(EvaluateConfig, "evaluate", ["checkpoint=a", "task=hopper"], nodes)
    assert config.task.name == "hopper"


def test_a_frozen_dataclass_can_be_filled_in() -> None:
    node = schema_node(RunConfig)
    node.algo.gamma = 0.5
    assert node.algo.gamma == 0.5


def test_hydra_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    composed()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted((CONFIGS / "task").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_task_composes(path: Path) -> None:
    assert typed(RunConfig, composed(f"task={path.stem}")).total_steps > 0


def test_a_misspelt_key_of_a_recipe_is_named_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = CONFIGS / "recipe" / "hopper.yaml"
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    (configs / "recipe" / "hopper.yaml").write_text(recipe.read_text() + "  clip_rnge: 0.1\n")
    monkeypatch.setattr("scripts.config.CONFIGS", configs)
    with pytest.raises(UserError, match=r"unknown key 'algo.clip_rnge'; did you mean 'clip_range'"):
        composed("task=hopper")


def test_a_preset_stands_before_the_command_line_without_what_that_sets() -> None:
    presets = {"quick": {"steps": "1", "seeds": "[0]"}}
    assert with_preset(presets, ["preset=quick", "seeds=[1,2]"]) == ["steps=1", "preset=quick", "seeds=[1,2]"]
    assert with_preset(presets, ["steps=3"]) == ["steps=3"]
