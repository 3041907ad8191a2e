"""ManiSkill's tasks as tasks of this suite, against ManiSkill's own environments."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from embodied.types import TaskSpec, VecEnv
from envs.chunking import ChunkedVecEnv
from envs.maniskill import ManiSkillVecEnv, make
from envs.maniskill.env import episode_seed

pytestmark = pytest.mark.maniskill


def actions(env: VecEnv, steps: int, seed: int = 0) -> torch.Tensor:
    """(T, B, H, A) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    shape = steps, env.num_rows, env.spec.action.chunk, env.spec.action.size
    return 2 * torch.rand(shape, generator=generator) - 1


def built(config: dict[str, Any], **more: Any) -> ManiSkillVecEnv:
    return make(config | more, num_worlds=2, num_threads=1)


def test_equals_maniskill_step_by_step(maniskill: dict[str, Any]) -> None:
    """Observation, reward and success are ManiSkill's, of its own mode ``state`` and the same seeds."""
    import gymnasium
    import mani_skill.envs

    assert mani_skill.envs
    theirs = [
        gymnasium.make(
            "PushCube-v1",
            obs_mode="state",
            reward_mode="normalized_dense",
            control_mode="pd_joint_delta_pos",
            sim_backend="physx_cpu",
            render_backend="cpu",
        )
        for _ in range(2)
    ]
    ours = built(maniskill)
    first = torch.cat([env.reset(seed=episode_seed(7, world, 0))[0] for world, env in enumerate(theirs)])
    assert torch.equal(ours.reset(seed=7)["policy"], first)
    for action in actions(ours, 10):
        result = ours.step(action)
        expected = [env.step(action[i, 0].numpy()) for i, env in enumerate(theirs)]
        torch.testing.assert_close(result.final_obs["policy"], torch.cat([e[0] for e in expected]))
        torch.testing.assert_close(result.reward, torch.cat([e[1] for e in expected]))
    assert ours.episode_length.tolist() == [10, 10]


def test_an_episode_ends_with_its_last_observation(maniskill: dict[str, Any]) -> None:
    env = built(maniskill, max_episode_steps=3)
    assert env.spec.horizon == 3
    starts = env.reset(seed=0)["policy"]
    total = torch.zeros(2)
    for step, action in enumerate(actions(env, 3)):
        result = env.step(action)
        total += result.reward
        assert result.truncated.tolist() == [step == 2] * 2 and not result.terminated.any()
    assert result.metrics["length"].tolist() == [3.0, 3.0] and result.metrics["success"].tolist() == [0.0, 0.0]
    torch.testing.assert_close(result.metrics["return"], total)
    assert not torch.equal(result.final_obs["policy"], result.obs["policy"])
    assert not torch.equal(result.obs["policy"], starts)  # the second episodes are other ones
    assert torch.equal(env.reset(seed=0)["policy"], starts)


@pytest.mark.parametrize(
    ("mode", "terminated", "truncated"),
    [("truncate", [False, False], [True, False]), ("terminate", [True, False], [False, False])],
)
def test_success_ends_an_episode_as_asked(
    maniskill: dict[str, Any], mode: str, terminated: list[bool], truncated: list[bool]
) -> None:
    env = built(maniskill, on_success=mode)
    result = succeed(env)
    assert result.terminated.tolist() == terminated and result.truncated.tolist() == truncated
    assert [float(result.metrics[name][0]) for name in ("success", "success_once", "success_at_end")] == [1.0] * 3
    assert env.episode_length.tolist() == [0, 1]


def test_success_once_is_remembered_until_the_end(maniskill: dict[str, Any]) -> None:
    env = built(maniskill, on_success="continue", success="at_end", max_episode_steps=2)
    assert not succeed(env).done.any()
    place(env, 0, (0.0, 0.0))
    metrics = env.step(torch.zeros(2, 1, 8)).metrics
    assert metrics["success_once"].tolist() == [1.0, 0.0]
    assert metrics["success_at_end"].tolist() == metrics["success"].tolist() == [0.0, 0.0]


def succeed(env: ManiSkillVecEnv) -> Any:
    """World 0 has its cube in the goal, world 1 has not; a step."""
    env.reset(seed=0)
    place(env, 0, tuple(simulation(env, 0).goal_region.pose.p[0, :2].tolist()))
    return env.step(torch.zeros(2, 1, 8))


def simulation(env: ManiSkillVecEnv, world: int) -> Any:
    return env._worlds._each[world].env  # type: ignore[attr-defined]


def place(env: ManiSkillVecEnv, world: int, at: tuple[float, float]) -> None:
    from mani_skill.utils.structs.pose import Pose

    simulation(env, world).obj.set_pose(Pose.create_from_pq(torch.tensor([[*at, 0.02]])))


def test_an_evaluation_has_episodes_by_number(maniskill: dict[str, Any]) -> None:
    """Seeds seed * episodes, + 1, ... in order over the worlds, as ManiSkill itself starts them."""
    env = built(maniskill, episodes=4, max_episode_steps=1)
    starts = [env.reset(seed=3)["policy"], env.step(torch.zeros(2, 1, 8)).obs["policy"]]
    single = simulation(env, 0)
    for number, start in enumerate(torch.cat(starts), start=12):
        obs = single.reset(seed=number)[0]
        vectors = [*obs["agent"].values(), *obs["extra"].values()]
        torch.testing.assert_close(torch.cat([v.flatten() for v in vectors]), start)


def test_worlds_are_the_same_over_processes(maniskill: dict[str, Any]) -> None:
    """And so they go on after a continuation, to the precision of single floats."""
    here, there = (make(maniskill | {"max_episode_steps": 4}, num_worlds=3, num_threads=n, seed=5) for n in (1, 2))
    try:
        assert torch.equal(here.reset()["policy"], there.reset()["policy"])
        for action in actions(here, 6):
            a, b = here.step(action), there.step(action)
            assert torch.equal(a.obs["policy"], b.obs["policy"]) and torch.equal(a.reward, b.reward)
        state, later = there.state_dict(), actions(here, 4, seed=1)
        uninterrupted = [here.step(action) for action in later]
        there.load_state_dict(state)
        for action, expected in zip(later, uninterrupted, strict=True):
            result = there.step(action)
            torch.testing.assert_close(result.obs["policy"], expected.obs["policy"], atol=1e-4, rtol=1e-4)
            assert torch.equal(result.done, expected.done)
            for name, value in expected.metrics.items():
                torch.testing.assert_close(result.metrics[name], value, atol=1e-4, rtol=1e-4)
    finally:
        there.close()


def test_a_worker_says_what_went_wrong(maniskill: dict[str, Any]) -> None:
    env = make(maniskill, num_worlds=2, num_threads=2)
    try:
        with pytest.raises(RuntimeError, match="worker failed"):
            env._worlds.restore({"actors": {}, "articulations": {}, "nothing": torch.zeros(2)}, torch.zeros(1))
    finally:
        env.close()


def test_images_are_drawn_when_they_are_looked_at(maniskill: dict[str, Any]) -> None:
    env = ChunkedVecEnv(built(maniskill, id="PickCube-v1", obs="rgb", image_size=32), chunk=2)
    assert env.spec.obs["image"].shape == (32, 32, 3) and "extra_obj_pose" not in terms(env.spec)
    start = env.reset(seed=0)["image"]
    assert start.dtype == torch.uint8 and start.float().std() > 10
    inner: Any = env.env
    blind = inner.step(torch.zeros(2, 1, 8)).obs
    assert "image" not in blind and blind["policy"].shape == (2, *env.spec.obs["policy"].shape)
    now = env.step(torch.ones(2, 2, 8)).obs["image"]
    assert not torch.equal(now, start)
    direct = simulation(inner, 1).get_obs()["sensor_data"]["base_camera"]["rgb"][0]
    assert torch.equal(now[1], direct)
    assert env.render(0).shape == (512, 512, 3) and env.render(0).dtype == np.uint8


def terms(spec: TaskSpec) -> list[str]:
    return [term.name for term in spec.obs["policy"].terms]


def test_the_spec_says_what_the_controller_does(maniskill: dict[str, Any]) -> None:
    spec = built(maniskill).spec
    assert TaskSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert (spec.control_dt, spec.physics_dt, spec.horizon) == pytest.approx((0.05, 0.01, 50))
    assert terms(spec) == ["agent_qpos", "agent_qvel", "extra_tcp_pose", "extra_goal_pos", "extra_obj_pose"]
    assert spec.obs["policy"].terms[0].names == (*spec.action.names, "panda_finger_joint2")
    assert spec.action.names[0] == "panda_joint1" and spec.action.kind == "pd_joint_delta_pos"
    assert spec.action.command_high == pytest.approx([0.1] * 7 + [0.04])
    assert spec.action.command_low == pytest.approx([-0.1] * 7 + [-0.01])
    hand = built(maniskill, control_mode="pd_ee_delta_pose").spec.action
    assert hand.names == ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "panda_finger_joint1")
    assert hand.scale[:6] == pytest.approx([0.1] * 3 + [-0.1] * 3)


@pytest.mark.parametrize("mode", ["pd_ee_delta_pose", "pd_joint_pos"])
def test_commands_arrive_as_the_spec_says(maniskill: dict[str, Any], mode: str) -> None:
    """The controller's target moves by ``offset + scale * action``."""
    env = built(maniskill, control_mode=mode)
    env.reset(seed=0)
    base, action = simulation(env, 0), torch.full((2, 1, env.spec.action.size), 0.5)
    arm = base.agent.controller.controllers["arm"]
    spec, before = env.spec.action, base.agent.tcp.pose
    command = torch.tensor(spec.offset) + torch.tensor(spec.scale) * 0.5
    env.step(action)
    if mode == "pd_joint_pos":
        torch.testing.assert_close(arm._target_qpos[0], command[:7])
        return
    target = arm._target_pose.p[0] - (before.p[0] - base.agent.robot.pose.p[0])
    torch.testing.assert_close(target, command[:3], atol=1e-5, rtol=1e-4)
    turn = arm._target_pose.q[0] * torch.tensor([1.0, -1, -1, -1]) * before.q[0]
    assert abs(float(turn.sum())) < 1.0


def test_two_robots_have_names_of_their_own(maniskill: dict[str, Any]) -> None:
    env = make(maniskill | {"id": "TwoRobotPickCube-v1"}, num_worlds=1, num_threads=1)
    names = env.spec.action.names
    assert len(set(names)) == len(names) == 16 and names[8].startswith("panda_wristcam-1_")
    env.reset(seed=0)
    assert env.step(torch.zeros(1, 1, 16)).reward.shape == (1,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "PushCub-v1"}, "did you mean 'PushCube-v1'"),
        ({"id": "no_such_module:PushCube-v1"}, "cannot import the module 'no_such_module'"),
        ({"id": "PutOnPlateInScene25Main-v3"}, "RL4VLA repository"),
        ({"id": "PutCarrotOnPlateInScene-v1", "obs": "rgb"}, "download_asset"),
        ({"control_mode": "pd_joint"}, "pd_joint_delta_pos"),
        ({"id": "UnitreeG1Stand-v1"}, "its rewards: sparse, none"),
        ({"obs": "rgb", "camera": "front"}, "base_camera"),
        ({"kwargs": {"size": 3}}, "size"),
        ({"backend": "physx_cuda"}, "needs device=cuda"),
    ],
)
def test_errors_name_what_to_do(
    maniskill: dict[str, Any], change: dict[str, Any], message: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MS_SKIP_ASSET_DOWNLOAD_PROMPT", raising=False)
    with pytest.raises(ValueError, match=message):
        make(maniskill | change, num_worlds=1, num_threads=1)


def test_actions_have_a_shape(maniskill: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\(2, 1, 8\)"):
        built(maniskill).step(torch.zeros(2, 8))


def test_episodes_have_seeds_of_their_own() -> None:
    seeds = {episode_seed(seed, world, turn) for seed in range(4) for world in range(4) for turn in range(4)}
    assert len(seeds) == 64 and all(0 <= seed < 1 << 31 for seed in seeds)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_worlds_on_cuda_reset_apart(maniskill: dict[str, Any]) -> None:
    env = make(maniskill | {"max_episode_steps": 5}, num_worlds=4, device="cuda")
    start = env.reset(seed=0)["policy"]
    assert start.is_cuda and torch.equal(env.reset(seed=0)["policy"], start)
    env.episode_length[:2] = 3
    results = [env.step(action.cuda()) for action in actions(env, 2)]
    assert results[1].truncated.tolist() == [True, True, False, False]
    same = (results[1].obs["policy"] == results[1].final_obs["policy"]).all(-1)
    assert same.tolist() == [False, False, True, True]
