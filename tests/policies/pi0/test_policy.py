from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from embodied.ppo import PPO, PPOConfig
from embodied.types import Policy
from policies.generative.flow_sde import sde_std
from policies.pi0.policy import PADDING, Pi0NoiseConfig

from ..vla.models import CHUNK, observations, seeing
from .models import LORA, disturbed, made
from .published import ACTION, SIDE, checkpoint

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "noise": ("flow_noise", {}),
    "noise-lora": ("flow_noise", {"lora": LORA, "logprob_reduction": "sum"}),
    "sde": ("flow_sde", {"noise_level": 0.5}),
    "sde-one": ("flow_sde", {"random_steps": "one"}),
}


@pytest.fixture(params=list(KINDS))
def policy(request: pytest.FixtureRequest, weights: Path) -> Any:
    torch.manual_seed(0)
    rule, settings = KINDS[request.param]
    return disturbed(made(weights, rule, **settings))


def obs_of(rows: int) -> dict[str, Tensor]:
    return observations(rows, SIDE)


def test_it_fulfils_the_protocol_and_its_shapes(policy: Any) -> None:
    assert isinstance(policy, Policy)
    found: Any = policy
    decision = found.act(obs_of(5))
    assert decision.action.shape == (5, *CHUNK) and decision.log_prob.shape == (5, 1) and decision.value.shape == (5,)
    assert decision.trace[PADDING].shape == (5, CHUNK[0], ACTION - CHUNK[1])


def test_the_first_ratio_is_one(policy: Any) -> None:
    obs, order = obs_of(10), torch.randperm(10)[:7]
    decision = policy.act(obs)
    part, trace = ({k: x[order] for k, x in group.items()} for group in (obs, decision.trace))
    found = policy.evaluate_actions(part, decision.action[order], trace)
    assert ((found.log_prob - decision.log_prob[order]).exp() - 1).abs().max() < 1e-3
    torch.testing.assert_close(found.value, decision.value[order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(policy.value(part), found.value, atol=1e-4, rtol=1e-4)
    assert found.entropy.shape == found.log_prob.shape


def test_in_double_precision_the_first_ratio_is_one_within_a_millionth(policy: Any) -> None:
    policy, obs = policy.double(), obs_of(6)
    decision = policy.act(obs)
    found = policy.evaluate_actions(obs, decision.action, decision.trace)
    assert found.log_prob.dtype == torch.float64
    assert ((found.log_prob - decision.log_prob).exp() - 1).abs().max() < 1e-6


@pytest.mark.parametrize("part", LORA["parts"])
def test_a_part_that_learns_whole_has_float32_weights_beside_bfloat16_ones(part: str, weights: Path) -> None:
    policy, obs = made(weights, dtype="bfloat16", lora=LORA | {"rank": 0, "parts": [part]}), obs_of(4)
    decision = policy.act(obs)
    policy.evaluate_actions(obs, decision.action, decision.trace).log_prob.sum().backward()
    learning = [p for name, p in policy.weights.named_parameters() if p.requires_grad]
    assert {p.dtype for p in learning} == {torch.float32} and any(p.grad is not None and p.grad.any() for p in learning)


@pytest.mark.parametrize("rule", ["flow_noise", "flow_sde"])
def test_beside_a_bfloat16_network_chain_and_likelihood_are_float32(rule: str, weights: Path) -> None:
    policy, obs = made(weights, rule, dtype="bfloat16"), obs_of(12)
    decision = policy.act(obs)
    found = policy.evaluate_actions(obs, decision.action, decision.trace)
    assert decision.action.dtype == found.log_prob.dtype == torch.float32
    assert (found.log_prob - decision.log_prob).abs().max() < 0.15


def test_the_noise_of_the_padding_belongs_to_the_decision(weights: Path) -> None:
    policy, obs = made(weights), obs_of(6)
    decision = policy.act(obs)
    other = decision.trace | {PADDING: torch.randn_like(decision.trace[PADDING])}
    same, changed = (policy.evaluate_actions(obs, decision.action, t).log_prob for t in (decision.trace, other))
    assert (same - decision.log_prob).abs().max() < 1e-3 < (changed - decision.log_prob).abs().max()


def test_a_task_of_all_elements_has_no_padding(weights: Path) -> None:
    spec = seeing(SIDE)
    action = spec.action.__class__(tuple("abcdef"), low=-1.0, high=1.0, chunk=2)
    policy = made(weights, spec=spec.__class__("six", 0.1, 1, spec.obs, action))
    assert policy.act(obs_of(3)).trace[PADDING].shape == (3, 2, 0)


def test_deterministic_decisions_repeat_and_others_vary(policy: Any) -> None:
    obs = obs_of(4)
    certain = [policy.act(obs, deterministic=True).action for _ in range(2)]
    drawn = [policy.act(obs).action for _ in range(2)]
    assert torch.equal(*certain) and not torch.equal(*drawn)


def test_a_deterministic_decision_follows_the_flow(weights: Path) -> None:
    """From zero noise by 3 Euler steps of the velocity."""
    policy, obs = made(weights), obs_of(2)
    cond, x = policy.condition(obs), torch.zeros(2, *CHUNK)
    with torch.no_grad():
        for k in range(3):
            x = x + policy.network(x, policy.network.embed_times(torch.tensor([k / 3])), cond) / 3
    torch.testing.assert_close(policy.act(obs, deterministic=True).action, x)


def test_flow_sde_s_likelihood_is_the_mean_normal_density_of_its_steps(weights: Path) -> None:
    policy, obs = made(weights, "flow_sde", noise_level=0.4), obs_of(3)
    decision = policy.act(obs)
    cond = policy.encoder.read(obs, torch.float32, decision.trace[PADDING])
    states, steps = torch.cat([decision.trace["chain"], decision.action.unsqueeze(1)], 1), 3
    total = torch.zeros(3)
    for k in range(steps):
        x, t = states[:, k], k / steps
        with torch.no_grad():
            v = policy.network(x, policy.network.embed_times(torch.tensor([t])), cond)
        mean = x + (v - 0.4**2 / (2 * max(t, 1 / steps)) * (x - t * v)) / steps
        density = torch.distributions.Normal(mean, sde_std(k, steps, 0.4)).log_prob(states[:, k + 1])
        total += density.mean((-2, -1)) / steps
    torch.testing.assert_close(decision.log_prob.squeeze(-1), total, atol=1e-4, rtol=1e-4)


def test_imitation_is_flow_matching_at_the_published_times(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, obs, action = made(weights), obs_of(4), torch.rand(4, *CHUNK)
    even = torch.tensor([0.0, 0.2, 0.7, 0.99])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: even)
    time = 0.001 + 0.999 * even ** (2 / 3)
    torch.manual_seed(3)
    found = policy.imitation_loss(obs, action)
    torch.manual_seed(3)
    padding, noise = torch.randn(4, CHUNK[0], ACTION - CHUNK[1]), torch.randn(4, *CHUNK)
    cond = policy.encoder.read(obs, torch.float32, padding)
    share = time.view(-1, 1, 1)
    v = policy.network(share * noise + (1 - share) * action, time.unsqueeze(-1), cond)
    torch.testing.assert_close(found, (v - (action - noise)).square().mean((-2, -1)), atol=1e-5, rtol=1e-4)


def test_the_times_of_imitation_are_beta_distributed(weights: Path) -> None:
    draws = made(weights).process.draw_times(20_000, torch.zeros(1))
    published = 1 - draws
    assert published.min() >= 0.001 and published.max() <= 1.0
    assert published.mean().item() == pytest.approx(0.001 + 0.999 * 1.5 / 2.5, abs=5e-3)


def test_every_parameter_learns_and_belongs_to_actor_or_critic(policy: Any) -> None:
    ppo = PPO(policy, PPOConfig())
    obs = obs_of(8)
    decision = policy.act(obs)
    found = policy.evaluate_actions(obs, decision.action, decision.trace)
    (found.log_prob.sum() + found.value.sum() + found.entropy.sum()).backward()
    learning = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    assert {id(p) for p in ppo.actor + ppo.critic} == {id(p) for p in learning.values()}
    # The last layer's part of images and prompt that no keys and values come of moves the critic alone.
    assert [name for name, p in learning.items() if p.grad is None or not p.grad.any()] == []


def test_by_default_the_expert_alone_learns(weights: Path) -> None:
    policy = made(weights)
    parts = {name.split(".")[1] for name, p in policy.named_parameters() if p.requires_grad and "weights." in name}
    projections = {"state_proj", "action_in_proj", "action_time_mlp_in", "action_time_mlp_out", "action_out_proj"}
    assert parts == {"expert"} | projections


def test_a_decision_reads_once(policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count = [0]
    read = policy.weights.read

    def counted(*args: Any) -> Any:
        count[0] += 1
        return read(*args)

    monkeypatch.setattr(policy.weights, "read", counted)
    obs = obs_of(2)
    decision = policy.act(obs)
    policy.evaluate_actions(obs, decision.action, decision.trace)
    policy.imitation_loss(obs, decision.action)
    policy.value(obs)
    assert count[0] == 4


# Weights --------------------------------------------------------------------------------------------------------------


def test_our_state_holds_what_learns_and_goes_back(policy: Any, weights: Path) -> None:
    state, obs = policy.state_dict(), obs_of(3)
    frozen = {name for name, p in policy.named_parameters() if not p.requires_grad}
    assert frozen and not frozen & set(state)
    other = copy.deepcopy(policy)
    shared = {id(p) for p in policy.parameters()} & {id(p) for p in other.parameters()}
    assert shared == {id(p) for p in policy.parameters() if not p.requires_grad}
    disturbed(other)
    mine = policy.act(obs, deterministic=True)
    assert not torch.equal(other.act(obs, deterministic=True).action, mine.action)
    other.load_state_dict(state)
    its = other.act(obs, deterministic=True)
    assert torch.equal(mine.action, its.action) and torch.equal(mine.value, its.value)


def test_one_rule_starts_from_what_another_learnt(weights: Path) -> None:
    source, target, obs = disturbed(made(weights, "flow_noise")), made(weights, "flow_sde"), obs_of(2)
    target.load_pretrained(source.state_dict())
    actions = [each.act(obs, deterministic=True).action for each in (source, target)]
    assert torch.equal(*actions)
    with pytest.raises(ValueError, match="these weights do not fit"):
        made(weights, lora=LORA).load_pretrained(source.state_dict())


@pytest.mark.parametrize("settings", [{}, {"lora": LORA}], ids=["expert", "lora"])
def test_exported_weights_say_the_same(settings: dict[str, Any], weights: Path, tmp_path: Path) -> None:
    policy, obs = disturbed(made(weights, **settings), 0.2), obs_of(3)
    policy.export_pretrained(tmp_path / "merged")
    mine, its, before = (
        each.act(obs, deterministic=True).action for each in (policy, made(tmp_path / "merged"), made(weights))
    )
    torch.testing.assert_close(mine, its, atol=1e-3, rtol=1e-3)
    assert (mine - before).abs().max() > 0.05


def test_openpi_s_layout_is_read_too(tmp_path: Path) -> None:
    assert made(checkpoint(tmp_path, "openpi")).act(obs_of(2)).trace[PADDING].shape == (2, 2, 9 - 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"process": "diffusion"}, "policy.process='diffusion'"),
        ({"dtype": "half"}, "policy.dtype='half'"),
        ({"max_tokens": 0}, "policy.max_tokens=0"),
        ({"lora": {"rang": 1}}, "unknown key policy.lora.rang"),
        ({"min_noise": 0.5}, "policy.max_noise=0.16: must exceed min_noise=0.5"),
    ],
)
def test_bad_settings_are_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pi0NoiseConfig(checkpoint="nowhere", **change)


def test_a_prompt_must_fit(weights: Path) -> None:
    with pytest.raises(ValueError, match=r"policy.max_tokens=5"):
        made(weights, max_tokens=5).value(obs_of(1))
