"""The shared environment loop, on a one-joint task whose numbers are known."""

import mujoco
import numpy as np
import pytest
import torch

from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec, VecEnv
from envs.mujoco import render
from envs.mujoco.indices import span
from envs.mujoco.physics import make_physics
from envs.mujoco.vec_env import MujocoVecEnv

XML = """
<mujoco>
  <option timestep="0.01" gravity="0 0 0"/>
  <worldbody><body><joint name="slide" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/></body></worldbody>
  <actuator><motor joint="slide"/></actuator>
</mujoco>
"""


class Slider(MujocoVecEnv):
    """A mass of 1 kg on a rail, pushed by the action [N]; reward is its position, the end is beyond 1 m."""

    def __init__(self, n=4, horizon=5):
        super().__init__(make_physics(mujoco.MjModel.from_xml_string(XML), n, num_threads=1), substeps=2)
        groups = {"policy": ObsGroup.of(ObsTerm("position", 1), ObsTerm("velocity", 1))}
        self.spec = TaskSpec("slider", 0.02, horizon, groups, ActionSpec(("push",)), success_metric="success")
        self.qpos, self.qvel = self.physics.field("qpos"), self.physics.field("qvel")

    def initial_state(self, worlds):
        start = self.uniform(len(worlds), 0.0, 0.1, 1)
        return start, torch.zeros_like(start)

    def apply_action(self, action):
        self.physics.field("ctrl").copy_(action)
        self.physics.step(self.substeps)

    def reward(self):
        return self.qpos[:, 0].float()

    def terminated(self):
        return self.qpos[:, 0] > 1.0

    def episode_metrics(self):
        return {"success": torch.ones(self.num_worlds)}

    def cut_short(self):
        return self.qpos[:, 0] < -1.0

    def observe(self, worlds=None):
        at = slice(None) if worlds is None else worlds
        return {"policy": torch.cat([self.qpos[at], self.qvel[at]], -1).float()}


def push(*forces):
    return torch.tensor(forces).reshape(-1, 1, 1)


def test_is_a_vec_env():
    assert isinstance(Slider(), VecEnv)


def test_truncation_at_the_horizon_keeps_the_last_observation():
    env = Slider()
    start = env.reset(seed=0)["policy"]
    for _ in range(5):
        result = env.step(push(0.0, 0.0, 0.0, 0.0))
    assert result.truncated.all() and not result.terminated.any()
    torch.testing.assert_close(result.final_obs["policy"], start)
    assert not torch.equal(result.obs["policy"], start)
    torch.testing.assert_close(result.metrics["length"], torch.full((4,), 5.0))
    torch.testing.assert_close(result.metrics["return"], 5 * start[:, 0])
    assert env.episode_length.tolist() == [0] * 4


def test_termination_is_not_truncation_and_resets_that_row_alone():
    env = Slider(horizon=1)
    env.reset(seed=0)
    env.qpos[2] = 2.0
    result = env.step(push(0.0, 0.0, 0.0, 0.0))
    assert result.terminated.tolist() == [False, False, True, False]
    assert result.truncated.tolist() == [True, True, False, True]
    assert float(result.final_obs["policy"][2, 0]) == 2.0 and float(result.obs["policy"][2, 0]) <= 0.1


def test_a_task_may_cut_an_episode_short():
    env = Slider(horizon=100)
    env.reset(seed=0)
    env.qpos[3] = -2.0
    result = env.step(push(0.0, 0.0, 0.0, 0.0))
    assert result.truncated.tolist() == [False, False, False, True] and not result.terminated.any()
    assert float(result.final_obs["policy"][3, 0]) == -2.0 and float(result.obs["policy"][3, 0]) >= 0.0


def test_the_batch_engine_refuses_other_devices():
    with pytest.raises(ValueError, match="batch runs on cpu"):
        make_physics(mujoco.MjModel.from_xml_string(XML), 1, engine="batch", device="cuda")


def test_a_broken_world_is_reset_alone_and_counted():
    env = Slider(horizon=100)
    env.reset(seed=0)
    seen = []
    env.on_failure = lambda world: seen.append((world, env.physics.failure(world)))
    env.qvel[1] = float("nan")
    others = env.qpos[[0, 2, 3]].clone()
    result = env.step(push(0.0, 0.0, 0.0, 0.0))
    assert result.terminated.tolist() == [False, True, False, False]
    assert result.metrics["physics_failure"].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert result.metrics["success"].tolist() == [1.0, 0.0, 1.0, 1.0]
    assert env.failures == 1 and seen[0][0] == 1 and torch.isnan(seen[0][1]["state"]).any()
    for group in (result.obs["policy"], result.final_obs["policy"], result.reward):
        assert torch.isfinite(group).all()
    torch.testing.assert_close(env.qpos[[0, 2, 3]], others)
    result = env.step(push(0.0, 0.0, 0.0, 0.0))
    assert not result.done.any() and env.failures == 1


def test_without_autoreset_rows_wait_for_reset_rows():
    env = Slider(horizon=100)
    env.autoreset = False
    env.reset(seed=0)
    env.qpos[0] = 2.0
    result = env.step(push(0.0, 0.0, 0.0, 0.0))
    assert result.terminated[0] and float(result.obs["policy"][0, 0]) == 2.0
    obs = env.reset_rows(result.done, result.obs)
    assert float(obs["policy"][0, 0]) <= 0.1
    torch.testing.assert_close(obs["policy"][1:], result.obs["policy"][1:])


def test_a_broken_world_that_waits_for_its_reset_counts_once():
    env = Slider(horizon=100)
    env.autoreset = False
    env.reset(seed=0)
    for expected in (1, 2):
        env.qvel[1] = float("nan")
        results = [env.step(push(0.0, 0.0, 0.0, 0.0)) for _ in range(3)]
        assert env.failures == expected and all(result.terminated[1] for result in results)
        env.reset_rows(results[-1].done, results[-1].obs)


def test_a_seed_decides_everything():
    runs = []
    for _ in range(2):
        env = Slider()
        first = env.reset(seed=7)["policy"]
        runs.append((first, *[env.step(push(1.0, 2.0, 3.0, 4.0)).obs["policy"] for _ in range(12)]))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_state_dict_continues_bit_for_bit():
    env = Slider()
    env.reset(seed=3)
    env.step(push(1.0, -1.0, 2.0, 0.5))
    state = env.state_dict()
    actions = [torch.randn(4, 1, 1) for _ in range(12)]
    first = [env.step(action) for action in actions]
    other = Slider()
    other.load_state_dict(state)
    second = [other.step(action) for action in actions]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.obs["policy"], b.obs["policy"]) and torch.equal(a.reward, b.reward)


def test_metrics_are_copies_in_float32():
    env = Slider(horizon=1)
    env.reset(seed=0)
    metrics = env.step(push(0.0, 0.0, 0.0, 0.0)).metrics
    kept = {name: figure.tolist() for name, figure in metrics.items()}
    assert list(kept) == ["return", "length", "physics_failure", "success"]
    assert kept["length"] == [1.0] * 4 and kept["physics_failure"] == [0.0] * 4
    env.step(push(9.0, 9.0, 9.0, 9.0))
    assert {name: figure.tolist() for name, figure in metrics.items()} == kept
    assert {figure.dtype for figure in metrics.values()} == {torch.float32}


def test_a_step_computes_on_one_thread_and_gives_the_others_back(monkeypatch):
    env, seen = Slider(), []
    env.reset(seed=0)
    monkeypatch.setattr(env, "reward", lambda: seen.append(torch.get_num_threads()) or env.qpos[:, 0].float())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        env.step(push(0.0, 0.0, 0.0, 0.0))
        assert (seen, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(before)


def test_wrong_action_shape_says_what_was_expected():
    env = Slider()
    env.reset()
    with pytest.raises(ValueError, match=r"expected \(4, 1, 1\)"):
        env.step(torch.zeros(4, 1))


def test_span_selects_what_the_indices_do():
    x, cpu = torch.arange(10), torch.device("cpu")
    assert span([3, 4, 5], cpu) == slice(3, 6)
    for ids in ([3, 4, 5], [7], [5, 4], [2, 4], []):
        assert x[span(ids, cpu)].tolist() == ids


def test_another_picture_size_or_model_closes_the_renderer_before(monkeypatch):
    class Renderer:
        open = 0

        def __init__(self, model, width, height):
            self.model, self.size = model, (width, height)
            Renderer.open += 1

        def render(self, model, data, camera):
            return np.zeros((self.size[1], self.size[0], 3), np.uint8)

        def close(self):
            Renderer.open -= 1

    monkeypatch.setattr(render, "WorldRenderer", Renderer)
    env = Slider()
    env.reset(seed=0)
    for width in (8, 8, 16):
        assert env.render(width=width, height=4).shape == (4, width, 3)
        assert Renderer.open == 1
    models = [env.get_model_data()[0] for _ in range(2)]
    for model in (models[0], models[0], models[1]):
        env.close_up = lambda qpos, model=model: model
        env.render(width=16, height=4)
        assert env._renderer.model is model and Renderer.open == 1
    env.close()
    assert Renderer.open == 0
