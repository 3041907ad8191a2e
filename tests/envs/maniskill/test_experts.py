"""Scripted experts of ManiSkill's own tasks solve them, and say what they need."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from envs.maniskill import ManiSkillVecEnv, make
from envs.maniskill.experts import PickCubeExpert, make_expert

pytestmark = pytest.mark.maniskill


def built(config: dict[str, Any], worlds: int = 1, **more: Any) -> ManiSkillVecEnv:
    return make(config | {"id": "PickCube-v1"} | more, num_worlds=worlds, num_threads=1)


def test_it_picks_up_the_cube_and_holds_it_at_the_goal(maniskill: dict[str, Any]) -> None:
    env = built(maniskill, worlds=8)
    env.reset(seed=3)
    expert = make_expert(env)
    first = torch.zeros(8)
    for _ in range(env.spec.horizon):
        result = env.step(expert.act())
        if result.metrics:
            first = torch.where(result.done & (first == 0), 1 + result.metrics["success"], first)
    assert (first > 0).all()
    assert (first == 2).sum() >= 7  # 33 of 33 when it was written
    env.close()


def test_noise_shakes_the_arm_and_not_the_fingers(maniskill: dict[str, Any]) -> None:
    env = built(maniskill, worlds=24)
    env.reset(seed=0)
    calm, shaken, again = (make_expert(env, noise=x, seed=1).act() for x in (0.0, 0.1, 0.1))
    assert torch.equal(shaken, again)
    inside = calm[..., :7].abs() < 0.6
    assert 0.07 < (shaken - calm)[..., :7][inside].std() < 0.13
    assert torch.equal(shaken[..., 7], calm[..., 7]) and (calm[..., 7] == 1).all()  # open, far from the cube
    with pytest.raises(ValueError, match="noise=-1: must not be negative"):
        PickCubeExpert(env, noise=-1)
    env.close()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"id": "PushCube-v1"}, "task.id='PushCube-v1' has none, PickCube-v1 has; give a checkpoint: expert=RUN"),
        ({"kwargs": {"robot_uids": "fetch"}}, "it moves a Panda; task.kwargs.robot_uids chose .'shoulder_pan"),
        ({"control_mode": "pd_joint_pos"}, "task.control_mode='pd_joint_pos'.*pd_joint_delta_pos"),
    ],
)
def test_what_it_cannot_do_is_an_error(maniskill: dict[str, Any], more: dict[str, Any], message: str) -> None:
    env = built(maniskill, **more)
    with pytest.raises(ValueError, match=message):
        make_expert(env)
    env.close()


def test_a_term_is_told_by_its_name(maniskill: dict[str, Any]) -> None:
    env = built(maniskill)
    obs = env.reset(seed=0)["policy"]
    assert torch.equal(env.term("agent_qpos"), obs[:, :9])
    assert torch.equal(env.term("extra_obj_to_goal_pos"), obs[:, -3:])
    hand, cube = env.term("extra_tcp_pose")[:, :3], env.term("extra_obj_pose")[:, :3]
    torch.testing.assert_close(env.term("extra_tcp_to_obj_pos"), cube - hand)
    with pytest.raises(KeyError, match="no observation term 'nothing'"):
        env.term("nothing")
    env.close()
