"""Action chunks and histories: against numbers worked by hand, a scalar simulation, and plain stepping."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor

import envs
import policies
from embodied.datasets import DatasetInfo, Episodes
from embodied.datasets.recording import record
from embodied.datasets.windows import Windows
from embodied.evaluate import evaluate
from embodied.imitation import histories
from embodied.normalize import ObsNormalizer
from embodied.ppo import PPOConfig
from embodied.rollout import Carry, Rollout, collect
from embodied.train import TrainConfig, Trainer
from embodied.types import Decision, Obs, StepResult, TaskSpec, VecEnv
from envs.chunking import ChunkedVecEnv, ChunkingConfig, chunked_spec, join
from tests.envs.adder import HORIZON, Adder, Scalar


def chunk(*actions: float, rows: int = 1) -> Tensor:
    """The same chunk in every row."""
    return torch.tensor(actions).reshape(1, -1, 1).expand(rows, -1, 1)


@pytest.mark.parametrize(("length", "history"), [(1, 1), (1, 3), (2, 2), (3, 4), (4, 1), (9, 2)])
def test_equals_a_scalar_simulation(length: int, history: int) -> None:
    rows, discount = 4, 0.9
    env = ChunkedVecEnv(Adder(rows), chunk=length, history=history, discount=discount)
    assert isinstance(env, VecEnv)
    twins = [Scalar(row, history, discount) for row in range(rows)]
    obs, ends = env.reset()["policy"], set()
    for _ in range(60):
        assert obs.reshape(rows, history, 2).tolist() == [[list(x) for x in twin.seen] for twin in twins]
        action = 6 * torch.rand(rows, length, 1) - 2
        action = (8 * action).round() / 8  # sums are exact then
        result = env.step(action)
        expected = [twin.decide(a[:, 0].tolist()) for twin, a in zip(twins, action, strict=True)]
        obs = result.obs["policy"]
        assert result.reward.tolist() == pytest.approx([e["reward"] for e in expected], rel=1e-6)
        assert result.terminated.tolist() == [e["ended"] == "terminated" for e in expected]
        assert result.truncated.tolist() == [e["ended"] == "truncated" for e in expected]
        for row, e in enumerate(expected):
            assert result.final_obs["policy"][row].reshape(history, 2).tolist() == [list(x) for x in e["final"]]
            assert float(result.final_obs["critic"][row]) == e["critic"]
            if e["ended"]:
                figures = {name: float(x[row]) for name, x in result.metrics.items()}
                assert figures == {"return": e["return"], "length": e["length"], "success": e["ended"] == "terminated"}
                ends.add((e["ended"], e["length"] % length != 0))
    assert {("terminated", length > 1), ("truncated", HORIZON % length != 0)} <= ends  # each kind happened
    assert env.episode.tolist() == [twin.episode for twin in twins]  # and each led to one reset


def test_an_episode_that_ends_inside_a_chunk_by_hand() -> None:
    env = ChunkedVecEnv(Adder(1), chunk=4, history=2, discount=0.5)
    assert env.reset()["policy"].tolist() == [[[0.125, 0.0], [0.125, 0.0]]]
    result = env.step(chunk(6.875, 3.0, 100.0, -200.0))  # x: 7, 10 (over), the rest does not count
    assert result.terminated.tolist() == [True] and result.truncated.tolist() == [False]
    assert result.reward.tolist() == [7.0 + 0.5 * 10.0]
    assert result.final_obs["policy"].tolist() == [[[7.0, 1.0], [10.0, 2.0]]]
    assert result.final_obs["critic"].tolist() == [[1000.0]]
    assert {name: x.tolist() for name, x in result.metrics.items()} == {
        "return": [17.0],
        "length": [2.0],
        "success": [1.0],
    }
    assert result.obs["policy"].tolist() == [[[0.25, 0.0], [0.25, 0.0]]] and env.episode.tolist() == [2]
    following = env.step(chunk(0.0, 0.0, 0.0, 1.0))
    assert following.reward.tolist() == [0.25 * 1.75 + 1.25 / 8] and not following.done.any()
    assert following.obs["policy"].tolist() == [[[0.25, 3.0], [1.25, 4.0]]]


def test_truncation_inside_a_chunk_bootstraps_from_where_it_happened() -> None:
    """Row 0 is truncated at its 7th step, the 3rd of the second chunk; the rollout asks for the value of that."""

    class Critic:
        recurrent = False

        def initial_memory(self, rows: int) -> dict[str, Tensor]:
            return {}

        def act(self, obs: Obs, memory: Any = None, deterministic: bool = False) -> Any:
            return Decision(chunk(0.5, 0.5, 0.5, 0.5), torch.zeros(1, 1), self.value(obs))

        def value(self, obs: Obs, memory: Any = None) -> Tensor:
            return obs["policy"][:, -1, 0]

    env, rollout = ChunkedVecEnv(Adder(1), chunk=4, history=2), Rollout(3, 1)
    policy: Any = Critic()
    collect(env, policy, rollout, Carry.start(env, policy, env.reset()))
    assert rollout.truncated[:, 0].tolist() == [False, True, False]
    assert rollout.bootstrap[:, 0].tolist() == [0.0, 0.125 + 7 * 0.5, 0.0]
    assert rollout.value[:, 0].tolist() == [0.125, 0.125 + 4 * 0.5, 0.25] and rollout.last_value.tolist() == [2.25]


def test_discounting_is_exact_wherever_episodes_are_cut() -> None:
    """A task that pays 1 a control step for ever is worth 1 / (1 - g); with that value all targets are just that."""

    class Endless(Adder):
        def step(self, action: Tensor) -> StepResult:
            return dataclasses.replace(super().step(action), reward=torch.ones(self.num_rows))

    gamma, length = 0.8, 4  # cut after 7 control steps: 4 and 3
    env = ChunkedVecEnv(Endless(8), chunk=length)
    config = TrainConfig(normalize_observations=False, algo=PPOConfig(num_steps=6, num_minibatches=1, gamma=gamma))
    policy: Any = policies.make({"kind": "mlp"}, env.spec)
    trainer = Trainer(env, policy, config)
    assert env.discount == gamma and trainer.steps_per_iteration == 8 * 6 * length
    for parameter in policy.critic.parameters():
        parameter.data.zero_()
    policy.critic[-1].bias.data.fill_(1 / (1 - gamma))
    policy.actor[-1].bias.data.fill_(-1.0)
    policy.std.log_excess.data.fill_(-20.0)
    trainer.iterate()
    rollout = trainer.rollout
    assert rollout.truncated.sum(0).tolist() == [3] * 8 and rollout.steps[:2, 0].tolist() == [4.0, 3.0]
    torch.testing.assert_close(rollout.target, torch.full((6, 8), 1 / (1 - gamma)))


def test_who_watches_a_decision_sees_its_control_steps_as_long_as_rows_go_on() -> None:
    env = ChunkedVecEnv(Adder(2), chunk=3)
    env.reset(0)
    seen: list[tuple[int, list[bool]]] = []
    env.watch = lambda i, running: seen.append((i, running.tolist()))
    steps = -(-HORIZON // 3)
    for _ in range(steps):
        result = env.step(torch.zeros(2, 3, 1))
    assert bool(result.done.all())
    assert [i for i, _ in seen] == [i % 3 for i in range(HORIZON) if i % 3]
    assert all(all(running) for _, running in seen)


def test_evaluation_counts_control_steps() -> None:
    env = ChunkedVecEnv(Adder(2), chunk=3)
    assert evaluate(env, lambda obs: torch.zeros(2, 3, 1), 4)["steps"] == 4 * HORIZON


@pytest.mark.parametrize("task", ["hopper", "go2_velocity"])
def test_chunks_of_one_are_plain_steps(task: str) -> None:
    plain, env = (envs.make(task, num_worlds=4, num_threads=1, seed=3) for _ in range(2))
    chunked = ChunkedVecEnv(env)
    assert chunked.spec == plain.spec
    a, b = plain.reset(seed=5), chunked.reset(seed=5)
    ended = 0
    for _ in range(60):
        action = 2 * torch.rand(4, 1, plain.spec.action.size) - 1
        x, y = plain.step(action), chunked.step(action)
        for name in a:
            assert torch.equal(x.obs[name], y.obs[name]) and torch.equal(x.final_obs[name], y.final_obs[name])
        assert torch.equal(x.reward, y.reward) and torch.equal(x.terminated, y.terminated)
        assert torch.equal(x.truncated, y.truncated) and x.metrics.keys() == y.metrics.keys()
        assert all(torch.equal(x.metrics[name], y.metrics[name]) for name in x.metrics)
        ended += int(x.done.sum())
    assert ended or task != "hopper"
    assert all(torch.equal(a[name], b[name]) for name in a)  # nobody wrote into what had been handed out


def test_until_an_end_a_chunk_is_a_loop_over_plain_steps() -> None:
    """MuJoCo, up to the first end of any row (then plain stepping draws its resets earlier)."""
    plain, chunked = (envs.make("hopper", num_worlds=3, num_threads=1, overrides={"chunk": n}) for n in (1, 3))
    plain.reset(seed=1)
    chunked.reset(seed=1)
    for _ in range(50):
        action = 2 * torch.rand(3, 3, 3) - 1
        steps = [plain.step(action[:, i : i + 1]) for i in range(3)]
        result = chunked.step(action)
        done = torch.stack([step.done for step in steps])
        if bool(done.any()):
            row, last = (int(i[0]) for i in done.nonzero(as_tuple=True)[::-1])
            break
        assert torch.equal(result.reward, steps[0].reward + steps[1].reward + steps[2].reward)
        assert torch.equal(result.obs["policy"], steps[2].obs["policy"])
    assert result.done[row] and torch.equal(result.final_obs["policy"][row], steps[last].final_obs["policy"][row])
    assert result.metrics["length"][row] == steps[last].metrics["length"][row]


@pytest.mark.parametrize("task", ["adder", "hopper"])
def test_state_dict_continues_bit_for_bit(task: str) -> None:
    def made() -> ChunkedVecEnv:
        inner: Any = Adder() if task == "adder" else envs.make("hopper", num_worlds=3, num_threads=1)
        return ChunkedVecEnv(inner, chunk=3, history=4, discount=0.97)

    env, other = made(), made()
    env.reset(seed=2)
    actions = torch.rand(30, 3, 3, env.spec.action.size) * 2 - 0.5
    for action in actions[:10]:
        env.step(action)
    state = copy.deepcopy(env.state_dict())
    first = [env.step(action) for action in actions[10:]]
    other.load_state_dict(state)
    for action, a in zip(actions[10:], first, strict=True):
        b = other.step(action)
        assert torch.equal(a.obs["policy"], b.obs["policy"]) and torch.equal(a.reward, b.reward)
        assert torch.equal(a.done, b.done)
    assert any(bool(step.done.any()) for step in first)


def test_what_was_handed_out_is_not_written_to() -> None:
    env = ChunkedVecEnv(Adder(2), chunk=2, history=3)
    kept = [env.reset()["policy"]]
    copies = [kept[0].clone()]
    for _ in range(8):
        result = env.step(chunk(0.5, 0.5, rows=2))
        kept += [result.obs["policy"], result.final_obs["policy"]]
        copies += [x.clone() for x in kept[-2:]]
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


def test_without_autoreset_rows_stay_as_they_ended_until_asked() -> None:
    env = ChunkedVecEnv(Adder(2), chunk=4, history=2)
    env.autoreset = False
    env.reset()
    result = env.step(torch.tensor([[20.0, 1, 1, 1], [0, 0, 0, 0]]).unsqueeze(-1))
    assert result.done.tolist() == [True, False] and torch.equal(result.obs["policy"], result.final_obs["policy"])
    obs = env.reset_rows(result.done, result.obs)
    assert obs["policy"].tolist() == [[[0.25, 0.0], [0.25, 0.0]], [[1.125, 3.0], [1.125, 4.0]]]
    assert obs["critic"].tolist() == [[25.0], [112.5]]
    assert env.step(chunk(1.0, 1.0, 1.0, 1.0, rows=2)).obs["policy"][0].tolist() == [[3.25, 3.0], [4.25, 4.0]]


def test_rows_that_do_not_count_stay_so_and_an_ended_row_keeps_its_mark() -> None:
    def outcome(done: list[bool], active: list[bool] | None) -> StepResult:
        flags = None if active is None else torch.tensor(active)
        zeros = torch.zeros(2, dtype=torch.bool)
        return StepResult({}, torch.ones(2), torch.tensor(done), zeros, {}, {}, flags)

    first, running = outcome([True, False], [True, True]), torch.tensor([False, True])

    def joined(first: StepResult, active: list[bool] | None) -> list[bool] | None:
        both = join(first, outcome([False, False], active), running, 1.0).active
        return None if both is None else both.tolist()

    assert joined(first, [False, False]) == [True, False] and joined(first, None) == [True, True]
    unmarked = outcome([True, False], None)
    assert joined(unmarked, [False, True]) == [True, True] and joined(unmarked, None) is None


# The specification and those who read it ----------------------------------------------------------------------------


def test_the_specification_is_that_of_decisions() -> None:
    spec = ChunkedVecEnv(Adder(), chunk=3, history=2).spec
    assert spec.control_dt == pytest.approx(0.3) and spec.horizon == 3  # 7 control steps: 3, 3 and 1
    assert spec.action.chunk == 3 and spec.action.size == 1 and spec.obs["policy"].shape == (2, 2)
    assert spec.obs["critic"].shape == (1,) and spec.obs["policy"].terms == Adder().spec.obs["policy"].terms
    assert TaskSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert chunked_spec(dataclasses.replace(Adder().spec, horizon=0), 3, 1).horizon == 0


def test_normaliser_and_mirror_work_on_histories() -> None:
    env = ChunkedVecEnv(Adder(64), chunk=2, history=3)
    normalizer = ObsNormalizer.of(env.spec, symmetric=True)
    obs = env.reset()
    for _ in range(3):
        normalizer.accumulate(obs)
        obs = env.step(torch.rand(64, 2, 1) - 0.5).obs
    normalizer.commit()
    mirror = env.spec.symmetry.obs["policy"]  # type: ignore[union-attr]
    assert mirror(obs["policy"]).shape == (64, 3, 2)
    there, back = normalizer({"policy": mirror(obs["policy"])}), mirror(normalizer({"policy": obs["policy"]})["policy"])
    torch.testing.assert_close(there["policy"], back)


def test_policies_are_sized_by_it_and_evaluated_in_episodes() -> None:
    env = ChunkedVecEnv(Adder(2), chunk=3, history=2)
    policy: Any = policies.make({"kind": "mlp"}, env.spec)
    decision = policy.act(env.reset())
    assert decision.action.shape == (2, 3, 1) and policy.actor[0].in_features == 4
    figures = evaluate(env, lambda obs: torch.zeros(2, 3, 1), 4)["metrics"]
    assert figures["length"]["mean"] == HORIZON and figures["length"]["std"] == 0.0


def test_histories_and_chunks_are_those_that_demonstrations_are_cut_to() -> None:
    class Expert:
        def act(self, obs: Obs) -> Tensor:
            return 0.25 * obs["policy"][:, 1].view(-1, 1, 1) - 1

        def reset(self, rows: Tensor) -> None:
            pass

    plain, env = Adder(1), ChunkedVecEnv(Adder(1), chunk=2, history=3)
    data = Episodes(DatasetInfo.of(plain.spec), list(record(plain, Expert(), 1)))
    assert histories(env.spec, data) == {"policy": 3}
    window = Windows(data, chunk=2, history={"policy": 3}).batch(torch.tensor([0, 2, 4]))
    obs = env.reset()
    for seen, action in zip(window.obs["policy"], window.action, strict=True):
        assert torch.equal(obs["policy"][0], seen)
        obs = env.step(action.unsqueeze(0)).obs


def test_the_rest_is_the_wrapped_environments() -> None:
    inner = Adder(2)
    env = ChunkedVecEnv(inner, chunk=2)
    assert env.episode is inner.episode and env.render(1, width=6).shape == (2, 6, 3)
    assert not hasattr(env, "no_such_thing") and copy.copy(env).chunk == 2
    env.close()
    assert inner.closed


# Configuration ------------------------------------------------------------------------------------------------------


def test_every_task_takes_chunk_and_history() -> None:
    env = envs.make("go2_velocity", num_worlds=2, num_threads=1, overrides={"chunk": 4, "history": 2})
    plain = envs.make("go2_velocity", num_worlds=2, num_threads=1, overrides={"chunk": 1, "history": 1})
    assert isinstance(env, ChunkedVecEnv) and not isinstance(plain, ChunkedVecEnv)
    size = plain.spec.obs["policy"].shape[0]
    assert env.reset(seed=0)["policy"].shape == (2, 2, size) and env.spec.control_dt == pytest.approx(0.08)
    result = env.step(torch.zeros(2, 4, 12))
    assert result.obs["critic"].shape == plain.reset()["critic"].shape
    assert env.physics.num_worlds == 2 and env.get_model_data(1)[0].nu == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk": 0}, "chunk=0: must be a whole number of at least 1"),
        ({"history": 1.5}, "history=1.5: must be a whole number of at least 1"),
        ({"chunk": True}, "chunk=True"),
        ({"discount": 1.5}, "discount=1.5"),
    ],
)
def test_numbers_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChunkedVecEnv(Adder(), **options)
    if "discount" not in options:
        with pytest.raises(ValueError, match=f"task.{message}"):
            ChunkingConfig(**options)


def test_environments_that_do_not_fit() -> None:
    class Eager(Adder):
        def __init__(self) -> None:
            super().__init__()
            del self.autoreset

    with pytest.raises(ValueError, match="'adder' always resets within the step"):
        ChunkedVecEnv(Eager(), chunk=2)
    with pytest.raises(ValueError, match="acts in chunks of 2 already"):
        ChunkedVecEnv(ChunkedVecEnv(Adder(), chunk=2), chunk=2)
    blind = Adder()
    blind.spec = dataclasses.replace(blind.spec, obs={"critic": blind.spec.obs["critic"]})
    with pytest.raises(ValueError, match="no observation group 'policy'; it has critic"):
        ChunkedVecEnv(blind, history=2)


def test_a_wrong_action_shape_says_what_was_expected() -> None:
    env = ChunkedVecEnv(Adder(2), chunk=3)
    env.reset()
    with pytest.raises(ValueError, match=r"expected \(2, 3, 1\)"):
        env.step(torch.zeros(2, 1, 1))
