"""What a rollout stores, with a scripted environment whose every number is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from embodied.evaluate import evaluate
from embodied.normalize import ObsNormalizer
from embodied.rollout import Carry, Rollout, collect, minibatches, whole_rows
from embodied.types import Decision, Obs, StepResult
from policies.gru import GRUConfig, GRUPolicy
from tests.helpers.environments import Recall, TinyEnv, spec_of


class Counting(TinyEnv):
    """Two rows observe 10 * row + clock. Row 0 is truncated at its third step, row 1 terminates at its second."""

    def __init__(self, opponents: bool = False) -> None:
        super().__init__(2, 1)
        self.spec = spec_of("counting", 1, 1, horizon=3)
        self.opponents = opponents

    def begin(self, rows: int) -> Tensor:
        return torch.zeros(rows, 1)

    def observe(self) -> Obs:
        return {"policy": (torch.tensor([0.0, 10.0]) + self.clock).unsqueeze(-1)}

    def move(self, action: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(2), torch.tensor([False, self.clock[1] == 1])

    def step(self, action: Tensor) -> StepResult:
        result = super().step(action)
        if self.opponents:
            result.active = torch.tensor([True, False])
        return result


class Reader:
    """Values an observation at itself plus its memory, which counts decisions; remembers what it valued."""

    recurrent = False
    factor_weight = factor_clip = torch.ones(1)

    def __init__(self) -> None:
        self.valued: list[list[float]] = []

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        return {"count": torch.zeros(rows)}

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        assert memory is not None
        self.valued.append(obs["policy"].flatten().tolist())
        return obs["policy"].squeeze(-1) + 100 * memory["count"]

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        assert memory is not None
        x = obs["policy"]
        trace = {"noise": -x, "memory/count": memory["count"]}
        return Decision(x.unsqueeze(-1), x, x.squeeze(-1), trace, {"count": memory["count"] + 1})

    def evaluate_actions(self, *_: Any) -> Any:
        raise NotImplementedError


def collected(opponents: bool = False, normalizer: ObsNormalizer | None = None) -> tuple[Rollout, Reader, Carry]:
    env, policy, rollout = Counting(opponents), Reader(), Rollout(4, 2)
    carry = collect(env, policy, rollout, Carry.start(env, policy, env.reset()), normalizer)
    return rollout, policy, carry


def test_observations_ends_and_bootstraps_are_those_of_the_script() -> None:
    rollout, policy, carry = collected()
    assert rollout.obs["policy"].squeeze(-1).tolist() == [[0, 10], [1, 11], [2, 10], [0, 11]]
    assert rollout.terminated.tolist() == [[False, False], [False, True], [False, False], [False, True]]
    assert rollout.truncated.tolist() == [[False, False], [False, False], [True, False], [False, False]]
    # Only row 0 at t = 2 is truncated, at observation 3 after three decisions; then the last observations are valued.
    assert policy.valued == [[3.0], [1.0, 10.0]]
    assert rollout.bootstrap.tolist() == [[0, 0], [0, 0], [303, 0], [0, 0]]
    assert rollout.last_value.tolist() == [101.0, 10.0]
    assert carry.memory["count"].tolist() == [1.0, 0.0]
    assert carry.episode_start.tolist() == [False, True]
    assert rollout.all_active


def test_traces_are_stored_and_memories_only_at_the_first_step() -> None:
    rollout, _, _ = collected()
    assert torch.equal(rollout.trace["noise"], -rollout.obs["policy"])
    assert rollout.trace["memory/count"].shape == (1, 2)
    assert rollout.trace["episode_start"].tolist() == [[True, True], [False, False], [False, True], [True, False]]


def test_a_second_rollout_reuses_the_same_memory() -> None:
    env, policy, rollout = Counting(), Reader(), Rollout(4, 2)
    carry = collect(env, policy, rollout, Carry.start(env, policy, env.reset()))
    storage = rollout.obs["policy"].data_ptr(), rollout.action.data_ptr(), rollout.bootstrap.data_ptr()
    collect(env, policy, rollout, carry)
    assert storage == (rollout.obs["policy"].data_ptr(), rollout.action.data_ptr(), rollout.bootstrap.data_ptr())
    assert rollout.trace["memory/count"].tolist() == [[1.0, 0.0]]
    assert rollout.obs["policy"].squeeze(-1)[0].tolist() == [1, 10]


def test_the_normalizer_notes_active_rows_and_stays_frozen() -> None:
    normalizer = ObsNormalizer(Counting().spec.obs)
    rollout, _, _ = collected(opponents=True, normalizer=normalizer)
    assert not rollout.all_active
    assert rollout.active.tolist() == [[True, False]] * 4
    assert normalizer.moments["policy"].count == 0
    normalizer.commit()
    assert normalizer.moments["policy"].mean.item() == (0 + 1 + 2 + 0) / 4


def filled(rollout: Rollout) -> Rollout:
    rollout.advantage = torch.arange(8.0).view(4, 2)
    rollout.target = rollout.advantage * 2
    return rollout


def test_every_decision_comes_once_an_epoch_with_its_own_figures() -> None:
    rollout = filled(collected()[0])
    batches = list(minibatches(rollout, 3, recurrent=False))
    assert [len(b.advantage) for b in batches] == [3, 3, 2]
    assert sorted(torch.cat([b.advantage for b in batches]).tolist()) == list(range(8))
    flat = rollout.obs["policy"].flatten()
    for batch in batches:
        rows = batch.advantage.long()
        assert torch.equal(batch.obs["policy"].flatten(), flat[rows])
        assert torch.equal(batch.trace["noise"].flatten(), -flat[rows])
        assert torch.equal(batch.target, batch.advantage * 2)


def test_decisions_that_do_not_count_are_left_out() -> None:
    rollout = filled(collected()[0])
    rollout.mask = torch.tensor([[True, False]] * 4)
    batches = list(minibatches(rollout, 2, recurrent=False))
    assert sorted(torch.cat([b.advantage for b in batches]).tolist()) == [0, 2, 4, 6]


def test_success_is_noted_where_episodes_end() -> None:
    env, policy, rollout = Counting(), Reader(), Rollout(4, 2)
    env.spec = dataclasses.replace(env.spec, success_metric="success")  # of TinyEnv: it did not terminate
    collect(env, policy, rollout, Carry.start(env, policy, env.reset()))
    assert rollout.success.tolist() == [[0, 0], [0, 0], [1, 0], [0, 0]]
    assert collected()[0].success.sum() == 0.0  # a task that measures no success


def test_values_of_what_follows_can_be_left_out() -> None:
    env, policy, rollout = Counting(), Reader(), Rollout(4, 2)
    collect(env, policy, rollout, Carry.start(env, policy, env.reset()), values=False)
    assert policy.valued == [] and rollout.bootstrap.sum() == rollout.last_value.sum() == 0.0


@pytest.mark.parametrize("recurrent", [False, True])
def test_whole_rows_come_step_by_step(recurrent: bool) -> None:
    rollout = filled(collected()[0])
    batch = whole_rows(rollout, torch.tensor([1, 0, 1]), recurrent)
    assert batch.advantage.shape == ((4, 3) if recurrent else (12,))
    assert torch.equal(batch.advantage.view(4, 3), rollout.advantage[:, [1, 0, 1]])
    assert torch.equal(batch.obs["policy"].reshape(4, 3), rollout.obs["policy"][:, [1, 0, 1], 0])
    assert ("memory/count" in batch.trace) == recurrent


def test_recurrent_minibatches_are_whole_sequences() -> None:
    env = Recall(6, horizon=3)
    policy = GRUPolicy(env.spec, GRUConfig(memory_size=4))
    rollout = Rollout(5, 6)
    collect(env, policy, rollout, Carry.start(env, policy, env.reset(seed=0)))
    rollout.advantage = rollout.target = torch.arange(30.0).view(5, 6)
    rollout.mask = torch.rand(5, 6) > 0.5
    batches = list(minibatches(rollout, 2, recurrent=True))
    assert [tuple(b.advantage.shape) for b in batches] == [(5, 3), (5, 3)]
    for batch in batches:
        rows = batch.advantage[0].long()
        assert torch.equal(batch.obs["policy"], rollout.obs["policy"][:, rows])
        assert torch.equal(batch.trace["memory/h"], rollout.trace["memory/h"][:, rows])
        assert batch.mask is not None and torch.equal(batch.mask, rollout.mask[:, rows])


def test_too_many_minibatches_are_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match=r"algo\.num_minibatches=9: the rollout has only 8 decisions"):
        list(minibatches(filled(collected()[0]), 9, recurrent=False))
    with pytest.raises(ValueError, match=r"algo\.num_minibatches=3: the rollout has only 2 sequences"):
        list(minibatches(filled(collected()[0]), 3, recurrent=True))


@pytest.mark.parametrize(("width", "threads"), [(4, 1), (30_000_000, 2)])
def test_a_small_policy_decides_on_one_thread_and_the_environment_keeps_its_own(width: int, threads: int) -> None:
    seen: list[int] = []

    class Watching(Reader):
        def parameters(self) -> list[Tensor]:
            return [torch.empty(width, device="meta")] * 2

        def act(self, *args: Any, **kwargs: Any) -> Decision:
            seen.append(torch.get_num_threads())
            return super().act(*args, **kwargs)

    class Stage(Counting):
        def move(self, action: Tensor) -> tuple[Tensor, Tensor]:
            assert torch.get_num_threads() == 2
            return super().move(action)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        env, policy = Stage(), Watching()
        collect(env, policy, Rollout(2, 2), Carry.start(env, policy, env.reset(seed=0)))
        evaluate(env, policy, 2)
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {threads}
