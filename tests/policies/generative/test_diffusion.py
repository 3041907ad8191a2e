"""Schedules and steps against diffusers' schedulers; everything else by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from policies.generative.diffusion import Diffusion, DiffusionConfig, alpha_bars, betas, coefficients
from policies.generative.process import noise_count

from .models import Told, sampled

PREDICTIONS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
"""Our name -> diffusers'."""


def schedulers() -> Any:
    return pytest.importorskip("diffusers.schedulers", reason="the extra `generative` is not installed")


def options(steps: int, schedule: str, prediction: str) -> dict[str, Any]:
    """Keyword arguments of diffusers' schedulers; its linear schedule is made for 1000 steps."""
    return {
        "num_train_timesteps": steps,
        "beta_schedule": {"cosine": "squaredcos_cap_v2", "linear": "linear"}[schedule],
        "beta_start": 1e-4 * 1000 / steps,
        "beta_end": 0.02 * 1000 / steps,
        "prediction_type": PREDICTIONS[prediction],
        "clip_sample": True,
        "timestep_spacing": "trailing",
    }


@pytest.mark.parametrize(("schedule", "steps"), [("cosine", 20), ("cosine", 100), ("linear", 50), ("linear", 1000)])
def test_schedules_equal_those_of_diffusers(schedule: str, steps: int) -> None:
    theirs = schedulers().DDPMScheduler(**options(steps, schedule, "epsilon"))
    torch.testing.assert_close(torch.tensor(betas(schedule, steps)), theirs.betas, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(torch.tensor(alpha_bars(schedule, steps)), theirs.alphas_cumprod, atol=1e-6, rtol=1e-4)


def output(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    """Some network: large enough that the clean chunk is clipped in part."""
    return 0.6 * torch.sin(3 * x) + t.view(-1, 1, 1) + 0.1 * cond.view(-1, 1, 1)


def follow(process: Diffusion, theirs: Any, step: Any) -> None:
    """Walk the whole chain beside diffusers' scheduler, from the same states."""
    total = theirs.config.num_train_timesteps
    theirs.set_timesteps(process.steps)
    assert theirs.timesteps.tolist() == list(process.indices)
    x, cond = torch.randn(4, 2, 3, dtype=torch.float64), torch.randn(4, 1, dtype=torch.float64)
    for k, index in enumerate(theirs.timesteps.tolist()):
        said = output(x, x.new_full((1,), (index + 1) / total), cond)
        noise = torch.randn_like(x)
        ours = process.mean(said, x, k) + process.std[k] * noise
        expected = step(theirs, said, index, x, noise)
        torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-5)
        x = expected


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_full_sampling_equals_diffusers_ddpm_step(
    prediction: str, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = schedulers()
    drawn: list[Tensor] = []
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: drawn[-1])

    def step(theirs: Any, said: Tensor, index: int, x: Tensor, noise: Tensor) -> Tensor:
        drawn.append(noise)
        return theirs.step(said, index, x).prev_sample

    process = Diffusion(DiffusionConfig(train_steps=50, schedule=schedule, prediction=prediction))
    follow(process, module.DDPMScheduler(**options(50, schedule, prediction)), step)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_fewer_steps_equal_diffusers_ddim_step(prediction: str, eta: float, steps: int) -> None:
    def step(theirs: Any, said: Tensor, index: int, x: Tensor, noise: Tensor) -> Tensor:
        more = {"variance_noise": noise} if eta else {}
        return theirs.step(said, index, x, eta=eta, use_clipped_model_output=True, **more).prev_sample

    process = Diffusion(DiffusionConfig(train_steps=20, steps=steps, prediction=prediction, eta=eta))
    follow(process, schedulers().DDIMScheduler(**options(20, "cosine", prediction)), step)


def test_the_coefficients_of_a_step_by_hand() -> None:
    """From a = 1/4 to a' = 3/4: eta 0 keeps direction; eta 1 has sigma^2 = (1/4)/(3/4) (1 - 1/3) = 2/9."""
    of_x0, of_x, std = coefficients(0.25, 0.75, 0.0)
    assert (of_x, std) == (pytest.approx(0.5 / math.sqrt(0.75)), 0.0)
    assert of_x0 == pytest.approx(math.sqrt(0.75) - 0.5 * of_x)
    _, of_x, std = coefficients(0.25, 0.75, 1.0)
    assert std**2 == pytest.approx(2 / 9)
    assert of_x == pytest.approx(math.sqrt((0.25 - 2 / 9) / 0.75))


def test_the_last_step_leads_to_the_clean_chunk_without_noise() -> None:
    for eta in (0.0, 1.0):
        process = Diffusion(DiffusionConfig(train_steps=6, steps=3, eta=eta, prediction="x0"))
        assert (process.of_x0[-1], process.of_x[-1], process.std[-1]) == (1.0, 0.0, 0.0)
        assert noise_count(process) == (1 if eta == 0 else 3)


def test_a_network_that_knows_the_action_recovers_it() -> None:
    action = torch.rand(5, 2, 3, dtype=torch.float64) - 0.5
    process = Diffusion(DiffusionConfig(train_steps=10, prediction="x0"))
    noise = torch.randn(5, noise_count(process), 2, 3, dtype=torch.float64)
    chain = sampled(process, lambda x, t, cond: action, noise, torch.zeros(5, 1))
    assert len(chain) == 11
    assert torch.equal(chain[0], noise[:, 0])
    torch.testing.assert_close(chain[-1], action)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_is_zero_for_the_right_answer_only(prediction: str) -> None:
    action, noise = torch.randn(2, 6, 2, 3, dtype=torch.float64).unbind(0)
    process = Diffusion(DiffusionConfig(train_steps=10, prediction=prediction))
    t = (torch.arange(6, dtype=torch.float64) + 2) / 10
    left = torch.tensor(process.alpha_bar, dtype=torch.float64)[1:7].view(-1, 1, 1)
    right = {"epsilon": noise, "x0": action, "v": left.sqrt() * noise - (1 - left).sqrt() * action}[prediction]
    seen: list[Tensor] = []

    def function(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        seen.append(x)
        return right + offset

    network, offset = Told(function), 0.0
    cond = torch.zeros(6, 1)
    assert process.matching_loss(network, action, cond, t, noise).abs().max() < 1e-20
    torch.testing.assert_close(seen[0], left.sqrt() * action + (1 - left).sqrt() * noise)
    offset = 0.5
    torch.testing.assert_close(process.matching_loss(network, action, cond, t, noise), torch.full((6,), 0.25).double())


def test_times_are_uniform_over_the_training_steps_and_follow_the_generator() -> None:
    process = Diffusion(DiffusionConfig(train_steps=4))
    t = process.draw_times(8000, torch.zeros(()), torch.Generator().manual_seed(3))
    assert torch.equal(t, process.draw_times(8000, torch.zeros(()), torch.Generator().manual_seed(3)))
    counts = torch.bincount((4 * t).long(), minlength=5)[1:]
    assert counts.sum() == 8000
    assert (counts / 2000 - 1).abs().max() < 0.08


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosin"}, "policy.diffusion.schedule='cosin': did you mean 'cosine'"),
        ({"prediction": "eps"}, "policy.diffusion.prediction='eps': .*valid: epsilon, v, x0"),
        ({"train_steps": 20, "steps": 3}, "policy.diffusion.steps=3: must divide train_steps=20"),
        ({"eta": 1.5}, r"policy.diffusion.eta=1.5: must lie in \[0, 1\]"),
        ({"clip": 0.0}, "policy.diffusion.clip=0.0: must be a number above 0"),
    ],
)
def test_mistakes_name_what_would_be_right(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffusionConfig(**options)
