"""Dump a diverging world, replay it on C MuJoCo."""

import json

import mujoco
import numpy as np
import pytest
import torch

from envs.mujoco.batch import BatchPhysics
from envs.mujoco.failures import replay, save_failure
from envs.mujoco.physics import make_physics

from .models import balls


def diverge(engine: str):
    """World 1 gets a body of next to no mass and an enormous force on it."""
    physics = make_physics(balls(), 3, engine=engine, device="cpu", per_world=("body_mass",), num_threads=1)
    physics.reset(torch.arange(3), torch.tensor(physics.model.qpos0).repeat(3, 1), torch.zeros(3, physics.model.nv))
    physics.model_field("body_mass")[1, 2] = 0.5
    physics.step(4)
    physics.field("xfrc_applied")[1, 2, 0] = 3e11  # acceleration above MuJoCo's limit of 1e10
    physics.step(4)
    return physics


def test_replay_reproduces_the_divergence(tmp_path):
    physics = diverge("batch")
    assert physics.failed().tolist() == [False, True, False]
    folder = save_failure(physics, 1, tmp_path / "failures" / "world_1")
    result = replay(folder)
    assert result.failed and result.substep == 0 and result.error == ""
    assert result.warnings == {"mjWARN_BADQACC": 1}
    assert result.qpos.shape == (2, 15) and np.isfinite(result.qpos[0]).all()
    assert result.model.body_mass[2] == 0.5 and result.facts["engine"] == "BatchPhysics"
    assert {path.name for path in folder.iterdir()} == {"model.mjb", "failure.safetensors", "failure.json"}
    assert json.loads((folder / "failure.json").read_text())["world"] == 1


def test_replay_equals_the_steps_that_led_there(tmp_path):
    """Of a world that did not fail, the replay repeats the last step, bit for bit."""
    physics = BatchPhysics(balls(), 2, num_threads=1)
    physics.field("ctrl")[:] = 0.3
    physics.step(3)
    start = physics.field("qpos")[0].numpy().copy()
    physics.step(5)
    result = replay(save_failure(physics, 0, tmp_path))
    assert not result.failed and result.warnings == {} and len(result.qpos) == 6
    np.testing.assert_array_equal(result.qpos[0], start)
    np.testing.assert_array_equal(result.qpos[-1], physics.field("qpos")[0].numpy())


@pytest.mark.warp
def test_a_dump_of_the_warp_engine_replays_on_c(tmp_path):
    pytest.importorskip("mujoco_warp")
    physics = diverge("warp")
    assert physics.failed().tolist() == [False, True, False]
    result = replay(save_failure(physics, 1, tmp_path))
    assert result.failed and result.substep == 0 and result.model.body_mass[2] == 0.5


def test_bad_dumps_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"failure.json is missing"):
        replay(tmp_path)
    folder = save_failure(BatchPhysics(balls(), 1, num_threads=1), 0, tmp_path)
    facts = json.loads((folder / "failure.json").read_text())
    (folder / "failure.json").write_text(json.dumps(facts | {"mujoco": "3.0.0"}))
    with pytest.raises(ValueError, match=f"MuJoCo 3.0.0, this is {mujoco.__version__}"):
        replay(folder)
