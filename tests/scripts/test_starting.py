from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from embodied import checkpoint as checkpoints
from embodied.datasets import DatasetInfo, Episode, GroupInfo, create_dataset
from scripts.cli import main
from scripts.starting import choices, inherit
from scripts.train import configure

pytest.importorskip("pyarrow")
FEW = ("num_worlds=2", "num_threads=1", "algo.num_steps=4", "algo.num_epochs=1", "algo.num_minibatches=1")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLP for hopper that acts in chunks of 2 control steps, of a shape that no recipe has."""
    root = tmp_path_factory.mktemp("pretrained")
    rng = np.random.default_rng(0)
    info = DatasetInfo("hopper", 0.008, {"policy": GroupInfo((11,))}, ("a", "b", "c"))
    with create_dataset(root / "data", info) as writer:
        for _ in range(2):
            x = rng.normal(size=(9, 11)).astype(np.float32) * 3
            writer.add(Episode({"policy": x}, np.tanh(x[:, :3]), np.zeros(9, np.float32)))
    argv = ["task=hopper", "task.chunk=2", "policy.hidden=[12]", f"dataset={root / 'data'}", "steps=3"]
    assert main(["pretrain", *argv, f"run_dir={root / 'run'}"]) == 0
    return root / "run"


def test_a_run_takes_over_what_a_policy_is(pretrained: Path) -> None:
    config = configure([f"init={pretrained}"])
    assert config.task.name == "hopper" and config.task.chunk == 2
    assert config.policy.hidden == [12] and config.policy.activation == "elu"  # the recipe says tanh
    assert config.algo.num_minibatches == 32  # of the recipe
    given = configure([f"init={pretrained}", "policy.init_std=0.2", "task.chunk=1", "policy.hidden=[7]"])
    assert (given.policy.init_std, given.task.chunk, given.policy.hidden) == (0.2, 1, [7])


def test_a_policy_keeps_the_size_of_its_images_where_the_task_has_any() -> None:
    trained = {"task": {"name": "put_on_plate", "chunk": 4, "image_size": 64}, "policy": {"kind": "compact_vla"}}
    policy = {"kind": "compact_vla"}
    seeing = OmegaConf.create({"task": {"chunk": 1, "image_size": 96}, "policy": policy})
    inherit(seeing, trained, ["init=RUN"])
    assert seeing.task == {"chunk": 4, "image_size": 64}
    inherit(seeing, trained, ["init=RUN", "task.image_size=128", "task.chunk=2"])
    assert seeing.task == {"chunk": 4, "image_size": 64}  # composition has put what was named there before
    blind = OmegaConf.create({"task": {"chunk": 1}, "policy": policy})
    inherit(blind, trained, ["init=RUN"])
    assert blind.task == {"chunk": 4}


def test_it_goes_on_with_the_same_of_many_tasks() -> None:
    which = {"id": "PickCube-v1", "obs": "state", "control_mode": "pd_joint_pos", "camera": "hand"}
    task = {"name": "maniskill", **which, "kwargs": {"robot_uids": "panda", "hard": True}}
    trained, policy = {"task": task, "policy": {"kind": "mlp"}}, {"kind": "mlp"}
    mine = {"name": "maniskill", "id": "PushCube-v1", "obs": "rgb", "control_mode": "x", "camera": None}
    config = OmegaConf.create({"task": {**mine, "kwargs": {"hard": False}}, "policy": policy})
    inherit(config, trained, ["init=RUN", "task.obs=rgb", "task.kwargs.hard=false"])
    kept = {"obs": "rgb", "kwargs": {"robot_uids": "panda", "hard": False}}
    assert config.task == {"name": "maniskill", **which, **kept}
    assert "finetune=maniskill_mlp" in choices(trained, [])
    other = OmegaConf.create({"task": {"name": "gymnasium", "id": "Pendulum-v1"}, "policy": policy})
    inherit(other, trained, ["init=RUN", "task=gymnasium"])
    assert other.task.id == "Pendulum-v1"


def test_another_rule_takes_over_what_it_shares(pretrained: Path) -> None:
    config = configure([f"init={pretrained}", "policy=gru", "~recipe"])
    assert config.policy.kind == "gru" and config.policy.hidden == [12] and config.policy.memory_size == 128


def test_what_was_tuned_for_fine_tuning_goes_before_all_but_the_command_line(pretrained: Path) -> None:
    config = configure([f"init={pretrained}", "policy=ncdpo"])
    assert (config.algo.critic_warmup, config.algo.num_minibatches) == (3, 32)  # the latter of the recipe
    assert config.policy.init_std == 0.1  # the pretrained one has 1.0
    given = configure([f"init={pretrained}", "policy=ncdpo", "policy.init_std=0.3", "algo.critic_warmup=1"])
    assert (given.policy.init_std, given.algo.critic_warmup) == (0.3, 1)
    for left_out in ("~finetune", "~recipe"):
        plain = configure([f"init={pretrained}", "policy=ncdpo", left_out])
        assert (plain.policy.init_std, plain.algo.critic_warmup) == (1.0, 0)


def test_what_was_tuned_for_a_policy_on_a_task_goes_before_what_was_tuned_for_the_policy() -> None:
    push = {"task": {"name": "push"}, "policy": {"kind": "ncdpo"}}
    assert choices(push, []) == ["task=push", "policy=ncdpo", "finetune=push_ncdpo"]
    assert choices(push, ["task=reach"]) == ["policy=ncdpo", "finetune=reach_ncdpo"]
    assert choices(push, ["task=stack"]) == ["policy=ncdpo", "finetune=ncdpo"]
    assert choices(push, ["policy=dppo"]) == ["task=push", "finetune=dppo"]
    config = OmegaConf.create({"task": {}, "policy": {"kind": "ncdpo"}})
    pretrained = {"task": {}, "policy": {"kind": "ncdpo", "init_std": 1.0, "min_noise": 1.0}}
    inherit(config, pretrained, ["finetune=push_ncdpo"])
    assert config.policy == {"kind": "ncdpo", "init_std": 0.2, "min_noise": 1.0}
    inherit(config, pretrained, ["finetune=pick_cube_ncdpo"])  # says nothing of it, but builds on what does
    assert config.policy.init_std == 0.1


def test_what_a_recipe_builds_on_is_found_where_hydra_finds_it() -> None:
    config = OmegaConf.create({"task": {}, "policy": {"kind": "reinflow"}})
    pretrained = {"task": {}, "policy": {"kind": "reinflow", "min_noise": 1.0, "decay_start": 1.0}}
    inherit(config, pretrained, ["finetune=push_reinflow"])  # parts/push builds on parts/sparse
    assert config.policy == {"kind": "reinflow", "min_noise": 0.08, "max_noise": 0.16, "decay_start": 0.6}


def test_another_rule_goes_by_its_own_reduction() -> None:
    pretrained = {"task": {}, "policy": {"kind": "ncdpo", "logprob_reduction": "sum", "near_zero_output": True}}
    config = OmegaConf.create({"task": {}, "policy": {"kind": "dppo", "logprob_reduction": "mean"}})
    config.policy.near_zero_output = False
    inherit(config, pretrained, [])
    assert config.policy == {"kind": "dppo", "logprob_reduction": "mean", "near_zero_output": True}
    config = OmegaConf.create({"task": {}, "policy": {"kind": "ncdpo", "logprob_reduction": "mean"}})
    inherit(config, pretrained, [])
    assert config.policy.logprob_reduction == "sum"  # the same rule keeps what was chosen for it


def test_training_begins_with_the_pretrained_weights(pretrained: Path, tmp_path: Path) -> None:
    argv = ["train", f"init={pretrained}", *FEW, "algo.learning_rate=1e-12", f"run_dir={tmp_path / 'run'}"]
    assert main([*argv, "total_steps=16", "algo.schedule=constant"]) == 0
    before, after = checkpoints.load(pretrained).model, checkpoints.load(tmp_path / "run").model
    actor = [name for name in before if name.startswith("policy.actor")]
    assert actor
    for name in actor:
        torch.testing.assert_close(after[name], before[name])
    for name in ("mean", "var"):  # pinned: what the robot does now moves nothing
        assert torch.equal(after[f"normalizer.moments.policy.{name}"], before[f"normalizer.moments.policy.{name}"])
    assert main(["train", f"resume={tmp_path / 'run'}", "total_steps=32"]) == 0
    last = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["step"] == 32


def test_a_run_killed_before_its_first_checkpoint_begins_with_them_again(pretrained: Path, tmp_path: Path) -> None:
    argv = ["train", f"init={pretrained}", *FEW, "algo.learning_rate=1e-12", f"run_dir={tmp_path / 'run'}"]
    assert main([*argv, "total_steps=16", "algo.schedule=constant"]) == 0
    for path in (tmp_path / "run" / "checkpoints").rglob("*.*"):
        path.unlink()
    assert main(["train", f"resume={tmp_path / 'run'}"]) == 0
    before, after = checkpoints.load(pretrained).model, checkpoints.load(tmp_path / "run").model
    for name in (name for name in before if name.startswith("policy.actor")):
        torch.testing.assert_close(after[name], before[name])


def test_what_does_not_fit(pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, message in (
        (["task=walker2d"], "a policy trained on hopper does not fit walker2d"),
        (["policy=gru", "~recipe"], "these weights do not fit: cell.weight_ih is missing"),
        (["policy.hidden=[5]"], "these weights do not fit"),
        (["task.chunk=1"], "does not fit hopper: task.chunk is 1, not 2"),
    ):
        assert main(["train", f"init={pretrained}", *FEW, f"run_dir={tmp_path / 'run'}", *argv]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_to_a_task_that_sees_more(tmp_path: Path) -> None:
    few = (*FEW, "algo.num_steps=2", "total_steps=4", "policy.hidden=[4]", "policy.critic_hidden=[4]")
    blind = "task.observations.policy.gait_clock=null"
    assert main(["train", "task=go2_velocity", blind, *few, f"run_dir={tmp_path / 'blind'}"]) == 0
    argv = [f"init={tmp_path / 'blind'}", *few, "algo.learning_rate=1e-12", "algo.schedule=constant"]
    assert main(["train", *argv, f"run_dir={tmp_path / 'seeing'}"]) == 0
    before, after = (checkpoints.load(tmp_path / name).model for name in ("blind", "seeing"))
    name = "policy.actor.0.weight"
    torch.testing.assert_close(after[name][:, :-2], before[name])
    assert after[name].shape == (4, 47) and float(after[name][:, -2:].abs().max()) < 1e-6
    record = json.loads((tmp_path / "seeing" / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["std"] == pytest.approx(0.25)
