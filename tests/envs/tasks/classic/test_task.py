"""The classics against Gymnasium's own environments, step for step."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

import envs
from envs.registry import load_task_config
from envs.tasks.classic import ClassicEnv, make

GYMNASIUM = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5", "half_cheetah": "HalfCheetah-v5", "ant": "Ant-v5"}
WORLDS = 3


def pair(name: str, **overrides: object) -> tuple[ClassicEnv, list[gymnasium.Env], np.ndarray]:
    """Our environment and WORLDS of Gymnasium's, with every start taken from Gymnasium's. Also their observations."""
    ours = make(load_task_config(name) | overrides, num_worlds=WORLDS, num_threads=1)
    theirs = [gymnasium.make(GYMNASIUM[name]) for _ in range(WORLDS)]
    for seed, env in enumerate(theirs):
        env.reset(seed=seed)
    first = np.zeros((WORLDS, ours.spec.obs["policy"].shape[0]))

    def start(worlds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for world in worlds.tolist():
            first[world] = theirs[world].reset()[0]
        data = [theirs[world].unwrapped.data for world in worlds.tolist()]
        return tuple(torch.tensor(np.stack([getattr(d, f).copy() for d in data])) for f in ("qpos", "qvel"))

    ours.draw_start = start  # type: ignore[method-assign]
    return ours, theirs, first


@pytest.mark.parametrize("name", GYMNASIUM)
def test_equals_gymnasium_for_200_random_steps(name: str) -> None:
    ours, theirs, first = pair(name)
    np.testing.assert_allclose(ours.reset()["policy"], first, atol=1e-5)
    rng, ends = np.random.default_rng(0), 0
    for _ in range(200):
        action = rng.uniform(-1.0, 1.0, (WORLDS, ours.spec.action.size)).astype(np.float32)
        expected = [env.step(a) for env, a in zip(theirs, action, strict=True)]
        result = ours.step(torch.from_numpy(action)[:, None])
        np.testing.assert_allclose(result.final_obs["policy"], np.stack([e[0] for e in expected]), atol=1e-5)
        np.testing.assert_allclose(result.reward, [e[1] for e in expected], atol=1e-5)
        assert result.terminated.tolist() == [e[2] for e in expected]
        for world in result.done.nonzero().flatten().tolist():
            np.testing.assert_allclose(result.obs["policy"][world], first[world], atol=1e-5)
            ends += 1
    if name != "half_cheetah":  # random actions make the others fall, so their starts were compared too
        assert ends > 0


def test_unclipped_actions_are_priced_as_gymnasium_prices_them() -> None:
    ours, theirs, _ = pair("hopper", clip_actions=False)
    ours.reset()
    action = np.array([[3.0, -2.0, 0.5]] * WORLDS, np.float32)
    expected = [env.step(a)[1] for env, a in zip(theirs, action, strict=True)]
    np.testing.assert_allclose(ours.step(torch.from_numpy(action)[:, None]).reward, expected, atol=1e-5)
    assert ours.spec.action.low is None


def test_clipped_actions_cost_no_more_than_the_limit() -> None:
    def reward(scale: float) -> torch.Tensor:
        env = make(load_task_config("half_cheetah"), num_worlds=2, num_threads=1)
        env.reset(seed=0)
        return env.step(torch.full((2, 1, 6), scale)).reward

    torch.testing.assert_close(reward(5.0), reward(1.0), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "noise", "law"), [("hopper", 0.005, "uniform"), ("half_cheetah", 0.1, "normal")])
def test_start_follows_gymnasiums_law(name: str, noise: float, law: str) -> None:
    env = envs.make(name, num_worlds=2000, num_threads=1)
    obs = env.reset(seed=0)["policy"]
    nv = env.physics.model.nv  # type: ignore[attr-defined]
    position, velocity = obs[:, :-nv], obs[:, -nv:]
    spread = position - torch.as_tensor(env.physics.model.qpos0[1:]).float()  # type: ignore[attr-defined]
    assert float(spread.abs().max()) <= noise * 1.001
    assert float(spread.std()) == pytest.approx(noise / 3**0.5, rel=0.03)
    assert float(velocity.std()) == pytest.approx(noise / 3**0.5 if law == "uniform" else noise, rel=0.03)


def test_truncation_at_the_horizon_and_episode_figures() -> None:
    env = envs.make("half_cheetah", num_worlds=2, num_threads=1, overrides={"horizon": 3})
    env.reset(seed=0)
    results = [env.step(torch.full((2, 1, 6), 0.3)) for _ in range(3)]
    assert [bool(r.truncated.all()) for r in results] == [False, False, True]
    metrics = results[-1].metrics
    torch.testing.assert_close(metrics["return"], sum(r.reward for r in results))
    torch.testing.assert_close(metrics["reward/forward"] + metrics["reward/control"], metrics["return"])
    # sum of displacements over dt is the distance over dt; the start lies within 0.1 m of the origin
    assert float((metrics["distance"] - 0.05 * metrics["reward/forward"]).abs().max()) <= 0.1


@pytest.mark.parametrize("name", ["walker2d", "ant"])
def test_continuation_is_bit_exact(name: str) -> None:
    first, second = (envs.make(name, num_worlds=4, num_threads=1, seed=seed) for seed in (0, 1))
    actions = torch.rand(60, 4, 1, first.spec.action.size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first.reset(seed=3)
    for action in actions[:30]:
        first.step(action)
    second.reset(seed=9)
    second.load_state_dict(first.state_dict())
    for action in actions[30:]:
        ours, theirs = first.step(action), second.step(action)
        assert torch.equal(ours.obs["policy"], theirs.obs["policy"]) and torch.equal(ours.reward, theirs.reward)


def test_spec_names_every_element() -> None:
    env = envs.make("ant", num_worlds=1, num_threads=1)
    terms = {term.name: term for term in env.spec.obs["policy"].terms}
    assert env.spec.obs["policy"].shape == (105,)
    assert all(len(term.names) == term.size for term in terms.values())
    assert terms["root_quaternion"].names == ("root_qw", "root_qx", "root_qy", "root_qz")
    assert terms["contact_force"].size == 78
    assert env.spec.control_dt == pytest.approx(0.05) and env.spec.action.names[0] == "hip_4"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model": "hoper.xml"}, "hopper.xml"),
        ({"velocity_law": "gauss"}, "uniform, normal"),
        ({"velocity_from": "qvel"}, "qpos, xpos"),
        ({"frame_skp": 4}, "frame_skip"),
        ({"rewards": {"forwards": 1.0}}, "did you mean 'forward'"),
        ({"terminations": {"pitch_outside": {"low": 0.0}}}, "needs high"),
        ({"contact_limit": 1.0}, "free root"),
    ],
)
def test_bad_configuration_names_the_choices(overrides: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(load_task_config("hopper") | overrides, num_worlds=1, num_threads=1)


def test_pitch_of_a_free_root_is_refused() -> None:
    config = load_task_config("ant") | {"terminations": {"pitch_outside": {"low": -1.0, "high": 1.0}}}
    env = make(config, num_worlds=1, num_threads=1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="planar root"):
        env.step(torch.zeros(1, 1, 8))
