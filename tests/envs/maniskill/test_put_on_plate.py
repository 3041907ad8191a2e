"""The twin of ``put_on_plate`` against the MuJoCo task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import envs
from envs.maniskill import ManiSkillVecEnv, make
from envs.registry import load_task_config
from envs.tasks.tabletop.experts import make_expert
from envs.tasks.tabletop.rows import ROWS

pytestmark = pytest.mark.maniskill


def twin(row: str = "in_distribution", **more: Any) -> ManiSkillVecEnv:
    config = {**load_task_config("maniskill_put_on_plate"), "obs": "state", "kwargs": {"row": row}, "episodes": 10}
    return make(config | more, num_worlds=1, num_threads=1)


def original(row: str = "in_distribution", **more: Any) -> Any:
    return envs.make("put_on_plate", num_worlds=1, num_threads=1, overrides={"row": row, "episodes": 10} | more)


def base(env: ManiSkillVecEnv) -> Any:
    return env._worlds._each[0].env  # type: ignore[attr-defined]


def test_is_the_same_task(maniskill: dict[str, Any]) -> None:
    """Specification, first observations and words to the last bit; then the hand moves alike."""
    a, b = twin(), original(image_size=0)
    assert a.spec.action == b.spec.action and a.spec.obs == b.spec.obs
    assert (a.spec.horizon, a.spec.control_dt, a.spec.physics_dt) == (b.spec.horizon, b.spec.control_dt, 0.005)
    first, second = a.reset(seed=3), b.reset(seed=3)
    for name in ("policy", "critic", "instruction"):
        assert torch.equal(first[name], second[name])
    for action in ([1.0, 0, -1, 0, 1], [0, 1.0, 0, 0.5, 0], [0, -1.0, 0.5, 0, -1]):
        command = torch.tensor([[action]])
        hands = [hand_position(env.step(command).obs["policy"]) for env in (a, b)]
        torch.testing.assert_close(*hands, atol=0.004, rtol=0)


def hand_position(policy: torch.Tensor) -> torch.Tensor:
    return policy[:, 8:11]  # after joint_pos (7) and opening


@pytest.mark.parametrize("number", [1, 2])
def test_the_expert_of_the_original_solves_it(maniskill: dict[str, Any], number: int) -> None:
    """Written for MuJoCo, it works through the twin's state: grasp, contacts, reward and figures agree."""
    env = twin()
    env.reset(seed=0)
    env._turns.fill_(number)
    env.reset()
    task = base(env).task
    assert task.episodes[0].number == number
    expert, total = make_expert(task), 0.0
    for _ in range(60):
        result = env.step(expert.act())
        total += float(result.reward)
    assert bool(result.terminated) and not bool(result.truncated)
    assert total == pytest.approx(1.2)  # the whole potential
    found = {name: float(value) for name, value in result.metrics.items()}
    assert found["success"] == found["success_at_end"] == found["grasped"] == found["followed"] == 1.0
    assert found["return"] == pytest.approx(1.2)


def test_the_object_jumps_where_it_does_in_the_original(maniskill: dict[str, Any]) -> None:
    env = twin("reposition")
    env.reset(seed=0)
    still = torch.zeros(1, 1, 5)
    for _ in range(5):
        env.step(still)
    object_at = base(env).physics.actors["object_0"].pose.p[0, :2]
    torch.testing.assert_close(object_at, torch.tensor(base(env)._episode.moved_to), atol=1e-5, rtol=0)


def test_a_continuation_keeps_what_has_happened(maniskill: dict[str, Any]) -> None:
    env = twin()
    env.reset(seed=0)
    expert = make_expert(base(env).task)
    for _ in range(15):
        env.step(expert.act())
    assert base(env).task.read().ever_held[0, 0] == 1.0
    state, action = env.state_dict(), torch.tensor([[[0.3, 0.0, 1.0, 0.0, -1.0]]])
    expected = env.step(action)
    again = twin()
    again.reset(seed=8)
    again.load_state_dict(state)
    result = again.step(action)
    torch.testing.assert_close(result.obs["policy"], expected.obs["policy"], atol=5e-3, rtol=0)
    assert base(again).task.read().ever_held[0, 0] == 1.0 and int(again.episode_length) == 16


@pytest.mark.render
def test_sees_what_the_original_sees(maniskill: dict[str, Any]) -> None:
    """Things are at the same pixels: the strongly coloured ones of both images lie over each other."""
    a, b = (env.reset(seed=0)["image"][0].numpy() for env in (twin(obs="rgb"), original()))
    assert a.shape == b.shape == (96, 96, 3)
    masks = [colourful(image) for image in (a, b)]
    assert masks[1].sum() > 30
    assert (masks[0] & masks[1]).sum() > 0.85 * (masks[0] | masks[1]).sum()
    middles = [np.argwhere(mask).mean(0) for mask in masks]
    assert np.abs(middles[0] - middles[1]).max() < 1.0  # pixels
    assert np.abs(a.mean((0, 1)) - b.mean((0, 1))).max() < 12


def colourful(image: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels of a strong colour, which the table has not; below the arm, whose paint differs."""
    found = np.ptp(image.astype(int), axis=-1) > 80
    found[: len(image) // 3] = False
    return found


@pytest.mark.render
@pytest.mark.parametrize("row", ["noise_strong", "texture_strong"])
def test_textures_are_blended_where_the_row_says(maniskill: dict[str, Any], row: str) -> None:
    env = twin(row, obs="rgb")
    shown = env.reset(seed=0)["image"][0].numpy().astype(int)
    inner = base(env)
    plain = super(type(inner), inner)._get_obs_sensor_data()["eye"]["rgb"][0].numpy().astype(int)
    changed = np.abs(shown - plain).max(-1) > 2
    if row == "noise_strong":
        assert changed.mean() > 0.9
    else:
        assert 0.02 < changed.mean() < 0.5 and not (changed & ~inner._things()).any()


def test_every_row_is_registered(maniskill: dict[str, Any]) -> None:
    twin().close()
    from mani_skill.utils.registration import REGISTERED_ENVS

    for row in ROWS:
        assert REGISTERED_ENVS[f"PutOnPlate-{row}-v1"].default_kwargs == {"row": row}
    assert REGISTERED_ENVS["PutOnPlate-v1"].max_episode_steps == 60


@pytest.mark.parametrize(("change", "message"), [({"kwargs": {"row": "unseen_tables"}}, "did you mean 'unseen_table'")])
def test_mistakes_name_the_valid_choices(maniskill: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        twin(**change)
