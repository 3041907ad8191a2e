"""The loss against numbers worked by hand, its derivative against autograd's of a formula written apart."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from embodied.losses import ppo_loss, value_loss
from embodied.ppo_config import PPOConfig
from embodied.rollout import Batch
from embodied.types import Evaluation


def batch_of(advantage: list[float], **more: Tensor) -> Batch:
    n = len(advantage)
    fields = {"value": torch.zeros(n), "target": torch.zeros(n), "log_prob": torch.zeros(n, 2)} | more
    return Batch(obs={}, action=torch.zeros(n, 1, 1), advantage=torch.tensor(advantage), **fields)  # type: ignore


def evaluation_of(
    ratios: list[list[float]], entropy: float = 0.0, value: float = 0.0, auxiliary: list[float] | None = None
) -> Evaluation:
    log_prob = torch.tensor(ratios).log()
    own = None if auxiliary is None else torch.tensor(auxiliary)
    return Evaluation(log_prob, torch.full_like(log_prob, entropy), torch.full((len(ratios),), value), own)


PLAIN = PPOConfig(clip_range=0.2, entropy_coef=0.0, value_coef=0.0)


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [
        (1.0, -(0.75 * 1.2 + 0.25 * 0.5)),  # min(1.5, 1.2) and min(0.5, 0.9)
        (-1.0, 0.75 * 1.5 + 0.25 * 0.9),  # min(-1.5, -1.2) and min(-0.5, -0.9)
    ],
)
def test_each_factor_has_its_own_ratio_weight_and_clip(advantage: float, expected: float) -> None:
    weight, clip = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 0.5])
    loss = ppo_loss(evaluation_of([[1.5, 0.5]]), batch_of([advantage]), PLAIN, weight, clip)
    assert loss.total.item() == pytest.approx(expected, rel=1e-6)
    assert loss.clip_fraction.item() == 1.0


def test_the_kl_estimate_is_the_sum_over_factors_and_mean_over_original_decisions() -> None:
    ones = torch.ones(2)
    kl = (1.5 - 1 - math.log(1.5)) + (0.5 - 1 - math.log(0.5))
    ratios = [[1.5, 0.5], [1.0, 1.0], [9.0, 9.0]]
    original = torch.tensor([True, True, False])
    loss = ppo_loss(evaluation_of(ratios), batch_of([1.0, 1.0, 1.0], original=original), PLAIN, ones, ones)
    assert loss.kl.item() == pytest.approx(kl / 2, rel=1e-5)


def test_masked_decisions_count_in_no_mean() -> None:
    ones = torch.ones(2)
    config = PPOConfig()
    few = ppo_loss(evaluation_of([[1.1, 0.9]], 2.0, 0.5, [3.0]), batch_of([0.7]), config, ones, ones)
    many = batch_of([0.7, 1e9], mask=torch.tensor([True, False]))
    evaluation = evaluation_of([[1.1, 0.9], [3.0, 3.0]], 2.0, 0.5, [3.0, 1e9])
    masked = ppo_loss(evaluation, many, config, ones, ones)
    torch.testing.assert_close(masked.parts, few.parts)
    torch.testing.assert_close(masked.total, few.total)
    for with_mask, without in zip(masked.slope, few.slope, strict=True):
        assert with_mask is not None and without is not None
        torch.testing.assert_close(with_mask[:1], without)
        assert not with_mask[1:].any()


def test_the_scale_of_the_loss_does_not_depend_on_the_number_of_factors() -> None:
    one = ppo_loss(evaluation_of([[1.1]]), batch_of([2.0], log_prob=torch.zeros(1, 1)), PLAIN, *[torch.ones(1)] * 2)
    seven = batch_of([2.0], log_prob=torch.zeros(1, 7))
    many = ppo_loss(evaluation_of([[1.1] * 7]), seven, PLAIN, *[torch.ones(7)] * 2)
    torch.testing.assert_close(one.total, many.total)


def test_a_loss_of_the_policys_own_is_added_as_it_stands() -> None:
    ones, ratios = torch.ones(2), [[1.5, 0.5], [1.1, 1.0]]
    plain = ppo_loss(evaluation_of(ratios), batch_of([1.0, -1.0]), PLAIN, ones, ones)
    own = torch.tensor([2.0, 4.0], requires_grad=True)
    evaluation = evaluation_of(ratios)
    evaluation.auxiliary = own
    loss = ppo_loss(evaluation, batch_of([1.0, -1.0]), PLAIN, ones, ones)
    assert plain.auxiliary.item() == 0.0 and loss.auxiliary.item() == 3.0
    torch.testing.assert_close(loss.total, plain.total + 3.0)
    loss.backward(evaluation, 0.5)
    assert own.grad is not None
    assert own.grad.tolist() == [0.25, 0.25]


def test_entropy_and_value_enter_with_their_coefficients() -> None:
    config = PPOConfig(entropy_coef=0.1, value_coef=0.5)
    ones = torch.ones(2)
    loss = ppo_loss(evaluation_of([[1.0, 1.0]], entropy=3.0, value=2.0), batch_of([0.0]), config, ones, ones)
    assert loss.total.item() == pytest.approx(-0.1 * 3.0 + 0.5 * 4.0, rel=1e-6)
    grpo = PPOConfig(entropy_coef=0.1, value_coef=0.5, advantage="group_relative")
    loss = ppo_loss(evaluation_of([[1.0, 1.0]], entropy=3.0, value=2.0), batch_of([0.0]), grpo, ones, ones)
    assert loss.total.item() == pytest.approx(-0.3, rel=1e-6)


def test_value_clipping_takes_the_larger_error() -> None:
    value, old, target = torch.tensor([1.0, 0.1]), torch.zeros(2), torch.tensor([1.0, 1.0])
    assert value_loss(value, old, target, None)[0].tolist() == pytest.approx([0.0, 0.81])
    assert value_loss(value, old, target, 0.2)[0].tolist() == pytest.approx([0.64, 0.81])


def test_a_large_error_of_the_value_counts_linearly() -> None:
    value, target = torch.tensor([0.5, 3.0, -3.0]), torch.zeros(3)
    found, slope = value_loss(value, value, target, None, value_huber=2.0)
    assert found.tolist() == pytest.approx([0.25, 2 * 2 * 3 - 4, 2 * 2 * 3 - 4])
    assert slope.tolist() == pytest.approx([1.0, 4.0, -4.0])
    clipped, _ = value_loss(value, torch.zeros(3), target, 0.1, value_huber=2.0)
    assert clipped.tolist() == pytest.approx([0.25, 8.0, 8.0])


def total_of(told: list[Tensor], batch: Batch, config: PPOConfig, weight: Tensor, clip: Tensor) -> Tensor:
    """The loss of decisions that all count, by PyTorch's own functions."""
    log_prob, entropy, value, own = told
    ratio = torch.exp(log_prob - batch.log_prob)
    advantage = batch.advantage[..., None]
    reach = config.clip_range * clip
    kept = torch.max(torch.min(ratio, 1 + reach), 1 - reach)
    share = weight / weight.sum()
    gain = (torch.min(ratio * advantage, kept * advantage) + config.entropy_coef * entropy) * share
    limit = math.inf if config.value_clip is None else config.value_clip
    near = batch.value + (value - batch.value).clamp(-limit, limit)
    if config.value_huber is None:
        errors = torch.max((value - batch.target) ** 2, (near - batch.target) ** 2)
    else:
        huber = torch.nn.HuberLoss(reduction="none", delta=config.value_huber)
        errors = 2 * torch.max(huber(value, batch.target), huber(near, batch.target))
    loss = -gain.sum(-1).mean() + own.mean()
    return loss + config.value_coef * errors.mean() if config.advantage == "gae" else loss


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(64,), (8, 8)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"value_clip": 0.2},
        {"value_huber": 0.7, "value_clip": 0.3},
        {"entropy_coef": 0.0, "value_coef": 0.5},
        {"advantage": "group_relative"},
    ],
)
def test_the_derivative_is_autograds(settings: dict, shape: tuple[int, ...], masked: bool) -> None:
    torch.manual_seed(0)
    draw = lambda *more: torch.randn(*shape, *more, dtype=torch.float64)  # noqa: E731
    config = PPOConfig(**settings)
    weight, clip = torch.tensor([3.0, 1.0, 0.5]).double(), torch.tensor([1.0, 0.5, 2.0]).double()
    told = [0.3 * draw(3), draw(3), draw(), draw()]
    batch = Batch({}, draw(1, 1), torch.zeros(*shape, 3).double(), told[2] + 0.3 * draw(), draw(), draw())
    counted = torch.rand(shape) > 0.4 if masked else torch.ones(shape, dtype=torch.bool)
    chosen = Batch(
        {}, *(getattr(batch, name)[counted] for name in ("action", "log_prob", "value", "advantage", "target"))
    )
    leaves = [x[counted].requires_grad_() for x in told]
    expected = total_of(leaves, chosen, config, weight, clip)
    slopes = torch.autograd.grad(expected, leaves, allow_unused=True)

    batch.mask = counted if masked else None
    given = [x.clone().requires_grad_() for x in told]
    loss = ppo_loss(Evaluation(*given), batch, config, weight, clip)
    loss.backward(Evaluation(*given), 2.0)
    torch.testing.assert_close(loss.total, expected.detach())
    for x, slope in zip(given, slopes, strict=True):
        found = torch.zeros_like(x) if x.grad is None else x.grad
        torch.testing.assert_close(found[counted], torch.zeros_like(found[counted]) if slope is None else 2 * slope)
        assert not found[~counted].any()


def test_what_needs_no_gradient_gets_none() -> None:
    log_prob = torch.zeros(3, 1, requires_grad=True)
    evaluation = Evaluation(log_prob, torch.zeros(3, 1), torch.zeros(3))
    batch = Batch({}, torch.zeros(3, 1, 1), *[torch.zeros(3, 1), torch.zeros(3), torch.ones(3), torch.ones(3)])
    ppo_loss(evaluation, batch, PPOConfig(), torch.ones(1), torch.ones(1)).backward(evaluation)
    assert log_prob.grad is not None
    torch.testing.assert_close(log_prob.grad, torch.full((3, 1), -1 / 3))


def test_mirror_images_count_in_the_loss_and_not_in_the_kl() -> None:
    ones = torch.ones(2)
    mask, original = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    ratios = [[1.5, 0.5], [1.1, 1.0], [9.0, 9.0]]
    loss = ppo_loss(evaluation_of(ratios), batch_of([1.0] * 3, mask=mask, original=original), PLAIN, ones, ones)
    assert loss.kl.item() == pytest.approx((1.5 - 1 - math.log(1.5)) + (0.5 - 1 - math.log(0.5)), rel=1e-5)
    assert loss.policy.item() == pytest.approx(-((1.2 + 0.5) / 2 + (1.1 + 1.0) / 2) / 2, rel=1e-5)


def test_a_weight_may_be_a_tensor() -> None:
    found = []
    for weight in (0.25, torch.tensor(0.25)):
        log_prob = torch.zeros(3, 1, requires_grad=True)
        evaluation = Evaluation(log_prob, torch.zeros(3, 1), torch.zeros(3))
        batch = batch_of([1.0, 2.0, 3.0], log_prob=torch.zeros(3, 1))
        ppo_loss(evaluation, batch, PLAIN, torch.ones(1), torch.ones(1)).backward(evaluation, weight)
        assert log_prob.grad is not None
        found.append(log_prob.grad.flatten().tolist())
    assert found[0] == found[1] == pytest.approx([-0.25 / 3, -0.5 / 3, -0.25])
