from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from embodied import checkpoint
from embodied.imitation import Cloner, ImitationConfig, clone
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
