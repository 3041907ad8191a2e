"""Readings against MuJoCo's own structures."""

import mujoco
import numpy as np
import pytest
import torch

from envs.mujoco.physics import make_physics
from envs.mujoco.scene import SceneConfig, build_model
from envs.robots import get_robot
from envs.tasks.locomotion.readings import Readings

ROBOT = get_robot("go2")
LEGS = ROBOT.leg_names


def make(collision: str) -> tuple[Readings, list[mujoco.MjData]]:
    """A robot in its stance, one in the air and one on its back; and the same by ``mj_forward``."""
    model = build_model(ROBOT, SceneConfig(collision=collision, visuals=False))
    physics = make_physics(model, 3, engine="batch", num_threads=1)
    readings = Readings(physics, LEGS)
    qpos = torch.zeros(3, model.nq, dtype=torch.float64)
    qpos[:, 2] = torch.tensor([ROBOT.spec.base_height - 0.01, 1.0, 0.05])
    qpos[:, 3:7] = torch.tensor([[1.0, 0, 0, 0], [0.8, 0, 0.6, 0], [0, 1.0, 0, 0]])
    qpos[:, 7:] = torch.tensor(ROBOT.spec.default_joint_pos)
    qvel = torch.arange(3 * model.nv, dtype=torch.float64).view(3, -1) / 100
    physics.reset(torch.arange(3), qpos, qvel)
    datas = [mujoco.MjData(model) for _ in range(3)]
    for data, position, velocity in zip(datas, qpos, qvel, strict=True):
        data.qpos[:], data.qvel[:] = position.numpy(), velocity.numpy()
        mujoco.mj_forward(model, data)
    return readings, datas


def stacked(values) -> torch.Tensor:
    return torch.from_numpy(np.stack(list(values))).float()


def test_motion_is_float32_and_worlds_last():
    readings, datas = make("feet")
    wanted = {"qpos": "qpos", "qvel": "qvel", "torque": "actuator_force"}
    for worlds in (None, torch.tensor([2, 0])):
        motion = readings.motion(worlds)
        assert set(motion) == set(wanted)
        for name, field in wanted.items():
            chosen = datas if worlds is None else [datas[i] for i in worlds.tolist()]
            assert torch.equal(motion[name], stacked(getattr(data, field) for data in chosen)), name
            assert motion[name].t().is_contiguous()


def test_motion_of_some_worlds_leaves_that_of_all_alone():
    readings, _ = make("feet")
    latest = readings.motion()["qpos"].clone()
    readings.qpos[0, 0] = 9.0
    assert readings.motion(torch.tensor([0]))["qpos"][0, 0] == 9.0
    assert torch.equal(readings._latest["qpos"], latest)
    assert readings.motion()["qpos"][0, 0] == 9.0


@pytest.mark.parametrize("collision", ["feet", "full"])
def test_feet_and_contacts_are_found_by_name(collision):
    readings, datas = make(collision)
    sites = stacked([data.site(f"{leg}_foot").xpos for leg in LEGS] for data in datas)
    assert torch.equal(readings.feet().float(), sites)
    counts = [[sum(_touches(data, f"{leg}_foot")) for leg in LEGS] for data in datas]
    assert readings.foot_contacts().tolist() == counts and counts[0] == [1.0] * 4 and counts[1] == [0.0] * 4


def test_body_contacts_are_those_without_a_foot():
    readings, datas = make("full")
    feet = {data.geom(f"{leg}_foot").id for data in datas for leg in LEGS}
    others = [sum(not feet & set(contact.geom.tolist()) for contact in data.contact) for data in datas]
    assert readings.body_contacts().tolist() == others and others[2] > 0
    assert readings.body_contacts(torch.tensor([2, 1])).tolist() == [others[2], others[1]]


def test_without_sensors_for_it_the_body_touches_nothing():
    readings, _ = make("feet")
    assert readings.body_contacts().tolist() == [0.0] * 3
    assert readings.body_contacts(torch.tensor([2])).tolist() == [0.0]


def _touches(data: mujoco.MjData, geom: str) -> list[bool]:
    return [data.geom(geom).id in contact.geom for contact in data.contact]
