"""A counting environment: observations tell world, episode and step, so a frame out of place shows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from embodied.datasets.recording import PolicyExpert, Tally, record
from embodied.types import ActionSpec, Decision, Obs, StepResult
from tests.helpers.environments import TinyEnv, spec_of


class Counting(TinyEnv):
    """Row r's n-th episode lasts 2 + (r + n) % 3 steps; it observes (r, n, step) and pays the action."""

    def __init__(self, rows: int = 3) -> None:
        super().__init__(rows, 3)
        self.spec = spec_of("counting", 3, 1, 100, success_metric="success")
        self.number = torch.full((rows,), -1.0)

    def begin(self, rows: int) -> Tensor:
        raise NotImplementedError

    def _start(self, rows: Tensor) -> None:
        self.number[rows] += 1
        self.x[rows] = torch.stack([rows.float(), self.number[rows], torch.zeros(len(rows))], -1)

    def step(self, action: Tensor) -> StepResult:
        self.x[:, 2] += 1
        row, number, step = self.x.unbind(-1)
        terminated = step >= 2 + (row + number) % 3
        final, reward = {"policy": self.x.clone()}, action[:, 0, 0].clone()
        metrics = {"success": (number % 2 == 0).float()}
        self._start(terminated.nonzero().squeeze(-1))
        return StepResult(self.observe(), reward, terminated, torch.zeros_like(terminated), final, metrics)


class Echo:
    """Does what it saw: 100 * episode + step."""

    def __init__(self) -> None:
        self.resets: list[list[int]] = []

    def act(self, obs: Obs) -> Tensor:
        return (100 * obs["policy"][:, 1] + obs["policy"][:, 2]).view(-1, 1, 1)

    def reset(self, rows: Tensor) -> None:
        self.resets.append(rows.tolist())


def test_frames_hold_what_the_action_was_computed_from() -> None:
    expert = Echo()
    found = list(record(Counting(), expert, 7, instruction="count"))
    assert len(found) == 7
    for episode in found:
        row, number = episode.obs["policy"][0, :2]
        steps = int(2 + (row + number) % 3)
        assert len(episode) == steps
        assert (episode.obs["policy"][:, :2] == [row, number]).all()  # never the observation after the reset
        assert episode.obs["policy"][:, 2].tolist() == list(range(steps))
        assert episode.action[:, 0].tolist() == [100 * number + t for t in range(steps)]
        assert episode.reward.tolist() == episode.action[:, 0].tolist()
        assert episode.final_obs is not None
        assert episode.final_obs["policy"].tolist() == [row, number, steps]
        assert episode.terminated and episode.success == (number % 2 == 0) and episode.instruction == "count"
    assert expert.resets[0] == [0, 1, 2] and expert.resets[1] == [0]


def test_rows_contribute_a_quota_and_not_the_first_to_end() -> None:
    found = [tuple(episode.obs["policy"][0, :2].astype(int)) for episode in record(Counting(), Echo(), 7)]
    assert sorted(found) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_only_successful_ones() -> None:
    tally = Tally()
    found = list(record(Counting(), Echo(), 4, only_success=True, tally=tally))
    assert all(episode.success for episode in found)
    assert sorted(tuple(e.obs["policy"][0, :2].astype(int)) for e in found) == [(0, 0), (0, 2), (1, 0), (2, 0)]
    assert tally.kept == tally.successes == 4 and tally.attempts == 5


def test_giving_up() -> None:
    class Hopeless(Counting):
        def step(self, action: Tensor) -> StepResult:
            result = super().step(action)
            result.metrics = {"success": torch.zeros(3)}
            return result

    with pytest.raises(ValueError, match=r"0 of 2 episodes kept of 2[0-2], 0 successful: raise max_attempts"):
        list(record(Hopeless(), Echo(), 2, only_success=True))


def test_actions_are_kept_as_executed_and_broken_episodes_are_not() -> None:
    class Bounded(Counting):
        def __init__(self) -> None:
            super().__init__(1)
            self.spec = spec_of("bounded", 3, 1, 100, success_metric="success")
            object.__setattr__(self.spec, "action", ActionSpec(("a",), low=-1.0, high=1.5))

        def step(self, action: Tensor) -> StepResult:
            result = super().step(action)
            result.metrics["physics_failure"] = (result.final_obs["policy"][:, 1] == 0).float()
            return result

    (episode,) = record(Bounded(), Echo(), 1)
    assert episode.obs["policy"][0, 1] == 1  # episode 0 broke
    assert episode.action.max() == 1.5 and episode.reward.max() == 1.5


def test_what_cannot_be_recorded() -> None:
    env = Counting()
    with pytest.raises(ValueError, match="episodes=0"):
        list(record(env, Echo(), 0))
    object.__setattr__(env.spec, "success_metric", None)
    with pytest.raises(ValueError, match="'counting' has no success metric"):
        list(record(env, Echo(), 1, only_success=True))
    object.__setattr__(env.spec, "action", ActionSpec(("a",), chunk=4))
    with pytest.raises(ValueError, match="acts in chunks of 4; record with chunk 1"):
        list(record(env, Echo(), 1))


class Remembering(nn.Module):
    """Its action is the number of steps it remembers."""

    recurrent = True

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        return {"steps": torch.zeros(rows, 1)}

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        assert deterministic and memory is not None
        count = memory["steps"] + obs["policy"][:, :1]
        return Decision(count.unsqueeze(1), count, count[:, 0], {}, {"steps": memory["steps"] + 1})


def test_a_policy_forgets_with_its_row_and_sees_normalised_observations() -> None:
    class Add(nn.Module):
        def forward(self, obs: Obs) -> Obs:
            return {"policy": obs["policy"] + 10}

    expert = PolicyExpert(Remembering(), 2, Add(), noise=0.0, seed=0)  # type: ignore[arg-type]
    obs = {"policy": torch.zeros(2, 1)}
    expert.act(obs)
    expert.reset(torch.tensor([1]))
    assert expert.act(obs)[:, 0, 0].tolist() == [11.0, 10.0]


def test_noise_has_its_deviation_and_its_seed() -> None:
    obs = {"policy": torch.zeros(4000, 1)}
    first, again, other = (
        PolicyExpert(Remembering(), 4000, None, noise=0.3, seed=seed).act(obs)  # type: ignore[arg-type]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.std().item() == pytest.approx(0.3, rel=0.05)
