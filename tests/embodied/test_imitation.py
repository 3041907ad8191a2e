from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from embodied import checkpoint
from embodied.datasets import split
from embodied.imitation import Cloner, CloneResult, ImitationConfig, clone
from embodied.metrics import read_jsonl
from embodied.normalize import ObsNormalizer
from embodied.schedules import cosine_rate
from embodied.types import Decision

from .datasets.examples import linear_data, spec

CPU = torch.device("cpu")


class Regressor(nn.Module):
    """A linear map under a squared error."""

    def __init__(self, size: int = 2, chunk: int = 1) -> None:
        super().__init__()
        self.chunk = chunk
        self.layer = nn.Linear(size, chunk)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)).view(-1, self.chunk, 1)

    def imitation_loss(self, obs: dict[str, Tensor], action: Tensor) -> Tensor:
        assert action.shape[1:] == (self.chunk, 1)
        return (self(obs["policy"]) - action).square().mean((-2, -1))

    def act(self, obs: dict[str, Tensor], memory: Any = None, deterministic: bool = False) -> Decision:
        action = self(obs["policy"])
        return Decision(action, action[:, 0], action[:, 0, 0])


# Learning -------------------------------------------------------------------------------------------------------------


def test_the_error_of_first_decisions_stands_beside_that_of_all() -> None:
    data, config = linear_data(), ImitationConfig(validation_share=0.25, num_threads=1)
    cloner = Cloner(Regressor(), spec(), data, config, CPU)
    for parameter in cloner.average.parameters():
        nn.init.zeros_(parameter)  # its action is 0, so that its error is the action's size
    record = cloner.validate()
    held_out = split(len(data), 0.25, 0)[1]
    assert record["action_error"] == pytest.approx(data.action[data.frames_of(held_out)].abs().mean().item())
    assert record["first_action_error"] == pytest.approx(data.action[data.starts[held_out]].abs().mean().item())
    assert record["first_action_error"] != pytest.approx(record["action_error"])


def test_the_expert_is_found(tmp_path: Path) -> None:
    rates = {"learning_rate": 0.02, "final_learning_rate": 0.0, "ema_decay": 0.9}
    config = ImitationConfig(steps=400, batch_size=32, log_interval=100, **rates)
    seen: list[dict] = []
    result = clone(Regressor(), spec(), linear_data(), config, tmp_path, on_progress=[seen.append], run_config={"k": 1})
    assert result.finished and result.steps == 400
    assert [record["step"] for record in seen] == [100, 200, 300, 400]
    assert result.record["loss"] < 1e-3 and result.record["action_error"] < 0.02
    assert "validation_loss" in seen[0] and "validation_loss" not in seen[1]  # at the first, then every 500, and last

    found = checkpoint.load(tmp_path)
    assert found.config == {"k": 1} and found.env_steps == 400
    policy, normalizer = Regressor(), ObsNormalizer.of(spec())
    checkpoint.load_model(found, policy, normalizer)
    x = torch.tensor([[3.0, -2.0], [4.0, 1.0]])
    torch.testing.assert_close(
        policy(normalizer({"policy": x})["policy"])[:, 0], x @ torch.tensor([[0.5], [-0.25]]), atol=0.02, rtol=0.0
    )
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in logged] == [100, 200, 300, 400]
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_one_step_is_adamw_on_the_mean_loss() -> None:
    """Against torch's own optimiser, driven by hand; the average after one step is the policy itself."""
    data = linear_data(2, 4)
    config = ImitationConfig(batch_size=8, validation_share=0.0, normalization="none", max_grad_norm=1e9)
    policy, twin = Regressor(), Regressor()
    twin.load_state_dict(policy.state_dict())
    cloner = Cloner(policy, spec(), data, config, CPU)
    optimizer = torch.optim.AdamW(twin.parameters(), 1e-3, weight_decay=1e-6)
    for step in range(3):
        optimizer.param_groups[0]["lr"] = cosine_rate(1e-3, 1e-4, step / config.steps)
        loss = (twin(data.obs["policy"]) - data.action.unsqueeze(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert cloner.iterate()["loss"] == pytest.approx(loss.item(), rel=1e-5)
        if step == 0:
            assert torch.equal(cloner.average.module.layer.weight, policy.layer.weight)
    torch.testing.assert_close(policy.layer.weight, twin.layer.weight)


def test_the_average_follows_slowly() -> None:
    cloner = Cloner(Regressor(), spec(), linear_data(), ImitationConfig(ema_decay=0.9, learning_rate=0.1), CPU)
    policy: Any = cloner.policy
    cloner.iterate()
    expected = policy.layer.bias.detach().clone()
    for _ in range(5):
        cloner.iterate()
        expected = 0.9 * expected + 0.1 * policy.layer.bias.detach()
    torch.testing.assert_close(cloner.average.module.layer.bias.detach(), expected)


def test_chunks_and_histories_are_cut_from_frames() -> None:
    data = linear_data(2, 5)
    cloner = Cloner(
        Regressor(4, 3), spec(size=4, chunk=3), data, ImitationConfig(normalization="none", validation_share=0.0), CPU
    )
    obs, action, mask = cloner.seen(cloner.windows.batch(torch.tensor([0, 1, 4])))
    x, a = data.obs["policy"], data.action
    assert torch.equal(obs["policy"], torch.stack([x[[0, 0]], x[[0, 1]], x[[3, 4]]]).flatten(1))
    assert torch.equal(action, torch.stack([a[[0, 1, 2]], a[[1, 2, 3]], a[[4, 4, 4]]]))
    assert mask.sum(1).tolist() == [3, 3, 1]
    cloner.iterate()


def test_everything_is_a_function_of_the_seed(tmp_path: Path) -> None:
    def weights(seed: int, name: str) -> Tensor:
        torch.manual_seed(7)
        policy = Regressor()
        clone(policy, spec(), linear_data(), ImitationConfig(steps=20, seed=seed), tmp_path / name)
        return policy.layer.weight.detach()

    assert torch.equal(weights(1, "a"), weights(1, "b"))
    assert not torch.equal(weights(1, "c"), weights(2, "d"))


def test_validation_neither_draws_nor_learns() -> None:
    class Noisy(Regressor):
        def imitation_loss(self, obs: dict[str, Tensor], action: Tensor) -> Tensor:
            return super().imitation_loss(obs, action + torch.randn_like(action))

    cloner = Cloner(Noisy(), spec(), linear_data(), ImitationConfig(), CPU)
    state = torch.get_rng_state()
    first = cloner.validate()
    assert torch.equal(torch.get_rng_state(), state)
    torch.randn(3)
    assert cloner.validate() == first


# Going on -------------------------------------------------------------------------------------------------------------


class Dithering(Regressor):
    """Draws from the global generator, in training and in validation."""

    def imitation_loss(self, obs: dict[str, Tensor], action: Tensor) -> Tensor:
        return super().imitation_loss(obs, action + 0.1 * torch.randn_like(action))


def go(run_dir: Path, resume: Path | None = None, **more: Any) -> CloneResult:
    """Clone for 60 steps of 5 epochs, with records at every 10th and checkpoints at every 20th."""
    settings = {"steps": 60, "batch_size": 16, "log_interval": 10, "checkpoint_interval": 20, "num_threads": 1} | more
    torch.manual_seed(3)
    return clone(Dithering(), spec(), linear_data(), ImitationConfig(**settings), run_dir, resume=resume)


def stopped_at(run_dir: Path, step: int, **more: Any) -> CloneResult:
    """The same, but a signal comes while this step is made."""

    class Interrupted(Dithering):
        calls = 0

        def imitation_loss(self, obs: dict[str, Tensor], action: Tensor) -> Tensor:
            if self.training and torch.is_grad_enabled():
                self.calls += 1
                if self.calls == step:
                    os.kill(os.getpid(), signal.SIGTERM)
            return super().imitation_loss(obs, action)

    settings = {"steps": 60, "batch_size": 16, "log_interval": 10, "checkpoint_interval": 20, "num_threads": 1} | more
    torch.manual_seed(3)
    return clone(Interrupted(), spec(), linear_data(), ImitationConfig(**settings), run_dir)


def same(a: Path, b: Path) -> bool:
    """Whether two runs ended with the same bits: the averaged policy, the normaliser, and all that would go on."""
    first, second = checkpoint.load(a), checkpoint.load(b)
    pairs = [(first.model[name], second.model[name]) for name in first.model]
    states = [found.training() for found in (first, second)]
    pairs += [(states[0]["policy"][name], states[1]["policy"][name]) for name in states[0]["policy"]]
    pairs += [(states[0]["random"]["torch"], states[1]["random"]["torch"])]
    pairs += [
        (x, states[1]["optimizer"]["state"][index][name])
        for index, moments in states[0]["optimizer"]["state"].items()
        for name, x in moments.items()
    ]
    return all(torch.equal(*pair) for pair in pairs)


def logged(run_dir: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    clock = ("seconds", "steps_per_second")
    return [{k: v for k, v in r.items() if k not in clock} for r in read_jsonl(run_dir / "metrics.jsonl")]


@pytest.mark.parametrize("step", [7, 20, 40, 53])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, step: int) -> None:
    whole, part = go(tmp_path / "whole"), stopped_at(tmp_path / "part", step)
    assert (part.finished, part.steps) == (False, step)
    resumed = go(tmp_path / "part", resume=part.checkpoint)
    assert resumed.finished and resumed.checkpoint.name == whole.checkpoint.name
    assert same(tmp_path / "whole", tmp_path / "part")
    both = logged(tmp_path / "whole"), logged(tmp_path / "part")
    assert [r["step"] for r in both[1]] == sorted({10, 20, 30, 40, 50, 60, step})
    last = {"validation_loss", "action_error", "first_action_error"} | ({"loss"} if step != 53 else set())
    assert all(both[0][-1][name] == both[1][-1][name] for name in last)  # a loss is a mean since the record before


def test_a_run_goes_on_from_any_checkpoint_and_its_log_from_there(tmp_path: Path) -> None:
    go(tmp_path / "whole", keep_checkpoints=0)
    kept = sorted(path.name for path in (tmp_path / "whole" / "checkpoints").iterdir())
    assert kept == ["step_000000000020", "step_000000000040", "step_000000000060"]
    log, model = logged(tmp_path / "whole"), checkpoint.load(tmp_path / "whole").model
    go(tmp_path / "whole", resume=tmp_path / "whole" / "checkpoints" / kept[0], keep_checkpoints=0)
    assert logged(tmp_path / "whole") == log
    assert all(torch.equal(x, model[name]) for name, x in checkpoint.load(tmp_path / "whole").model.items())


def test_a_finished_run_can_be_resumed_without_harm(tmp_path: Path) -> None:
    first = go(tmp_path)
    log = logged(tmp_path)
    again = go(tmp_path, resume=tmp_path)
    assert again.finished and again.checkpoint == first.checkpoint and logged(tmp_path) == log


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    go(tmp_path)
    with pytest.raises(ValueError, match=r"the data have changed: there are \d+ windows .*; when the run began, \d+"):
        clone(Dithering(), spec(), linear_data(3), ImitationConfig(steps=80), tmp_path, resume=tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match="does not fit"):
        clone(Dithering(2, 2), spec(chunk=2), linear_data(), ImitationConfig(steps=80), tmp_path, resume=tmp_path)


def run_on(directory: str) -> None:
    """Start the run in a folder, or go on with it; slow enough to be killed."""
    torch.set_num_threads(1)
    found = checkpoint.latest(Path(directory))
    go(Path(directory), resume=found, steps=400, log_interval=5, checkpoint_interval=10, keep_checkpoints=2)


@pytest.mark.slow
def test_a_run_killed_ten_times_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """kill -9 some log lines after each start, and some milliseconds: mid-step, mid-log, mid-checkpoint."""
    context, moments, seen = get_context("forkserver"), random.Random(0), set()
    context.set_forkserver_preload(["tests.embodied.test_imitation", "torch.utils.tensorboard"])
    log = tmp_path / "killed" / "metrics.jsonl"
    for _ in range(10):
        enough = (log.read_bytes().count(b"\n") if log.exists() else 0) + moments.randrange(8)
        child = context.Process(target=run_on, args=(str(tmp_path / "killed"),))
        child.start()
        while child.is_alive() and (log.read_bytes().count(b"\n") if log.exists() else 0) < enough:
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.04))
        child.kill()
        child.join()
        newest = checkpoint.latest(tmp_path / "killed")
        if newest is not None:
            checkpoint.load(newest).training()  # complete and undamaged
            seen.add(newest.name)
    assert len(seen) > 3, "the kills came before anything was written"
    run_on(str(tmp_path / "killed"))
    run_on(str(tmp_path / "whole"))
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert logged(tmp_path / "whole") == logged(tmp_path / "killed")


# Mistakes -------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_cloned() -> None:
    with pytest.raises(ValueError, match="Linear has no imitation_loss"):
        Cloner(nn.Linear(2, 1), spec(), linear_data(), ImitationConfig(), CPU)

    class Broken(Regressor):
        def imitation_loss(self, obs: dict[str, Tensor], action: Tensor) -> Tensor:
            return super().imitation_loss(obs, action) * math.inf

    with pytest.raises(FloatingPointError, match="not finite at step 0"):
        Cloner(Broken(), spec(), linear_data(), ImitationConfig(), CPU).iterate()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"checkpoint_interval": 0}, "checkpoint_interval=0"),
        ({"final_learning_rate": 1.0}, r"final_learning_rate=1\.0: must lie in \[0, 0\.001\]"),
        ({"ema_decay": 1.5}, "ema_decay=1.5"),
        ({"normalization": "zscore"}, "normalization='zscore'.*valid: mean_std, minmax, none, quantiles"),
        ({"padding": "zero"}, "padding='zero'.*valid: drop, repeat"),
        ({"validation_share": 1.0}, "validation_share=1.0"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImitationConfig(**settings)
