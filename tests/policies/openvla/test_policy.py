from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from embodied.ppo import PPO, PPOConfig
from embodied.types import Policy
from policies.openvla.policy import OpenVLAConfig
from policies.vla.bins import factor_count

from ..vla.models import CHUNK, observations, seeing
from .models import LORA, disturbed, made, plain
from .published import BINS, SIDE

KINDS: dict[str, dict[str, Any]] = {
    "openvla": {},
    "openvla-token": {"likelihood": "token", "temperature": 1.5},
    "openvla-units": {"unnorm_key": "bridge_orig", "gradient_checkpointing": False},
    "oft": {"decoding": "parallel"},
    "oft-chunk": {"decoding": "parallel", "likelihood": "chunk", "temperature": 0.7},
}


@pytest.fixture(params=list(KINDS))
def policy(request: pytest.FixtureRequest, weights: Path) -> Any:
    torch.manual_seed(0)
    return disturbed(made(weights, **KINDS[request.param]))


def obs_of(rows: int) -> dict[str, Tensor]:
    return observations(rows, SIDE)


def test_it_fulfils_the_protocol_and_its_shapes(policy: Any) -> None:
    assert isinstance(policy, Policy)
    policy = cast(Any, policy)
    factors = factor_count(policy.config.likelihood, CHUNK)
    decision = policy.act(obs_of(5))
    assert decision.action.shape == (5, *CHUNK) and decision.log_prob.shape == (5, factors)
    assert policy.factor_weight.shape == policy.factor_clip.shape == (factors,)
    assert decision.trace["token"].shape == (5, *CHUNK) and decision.value.shape == (5,)


def test_the_first_ratio_is_one(policy: Any) -> None:
    obs, order = obs_of(12), torch.randperm(12)[:7]
    decision = policy.act(obs)
    part, trace = ({k: x[order] for k, x in group.items()} for group in (obs, decision.trace))
    found = policy.evaluate_actions(part, decision.action[order], trace)
    assert ((found.log_prob - decision.log_prob[order]).exp() - 1).abs().max() < 2e-4
    torch.testing.assert_close(found.value, decision.value[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(policy.value(part), found.value, atol=1e-5, rtol=1e-5)


def test_in_double_precision_the_first_ratio_is_one_within_a_millionth(policy: Any) -> None:
    policy, obs = policy.double(), obs_of(6)
    decision = policy.act(obs)
    found = policy.evaluate_actions(obs, decision.action, decision.trace)
    assert found.log_prob.dtype == torch.float64
    assert ((found.log_prob - decision.log_prob).exp() - 1).abs().max() < 1e-6


@pytest.mark.parametrize("decoding", ["autoregressive", "parallel"])
def test_in_bfloat16_the_first_ratio_is_one_within_its_precision(decoding: str, weights: Path) -> None:
    policy, obs = made(weights, decoding=decoding, dtype="bfloat16"), obs_of(16)
    decision = policy.act(obs)
    found = policy.evaluate_actions(obs, decision.action, decision.trace)
    assert found.log_prob.dtype == torch.float32
    assert (found.log_prob - decision.log_prob).abs().max() < 0.15
    assert {p.dtype for p in policy.actor_parameters()} == {torch.float32}


@pytest.mark.parametrize("part", LORA["parts"])
def test_a_part_that_learns_whole_has_float32_weights_beside_bfloat16_ones(part: str, weights: Path) -> None:
    policy, obs = made(weights, dtype="bfloat16", lora=LORA | {"rank": 0, "parts": [part]}), obs_of(6)
    decision = policy.act(obs)
    found = policy.evaluate_actions(obs, decision.action, decision.trace)
    assert (found.log_prob - decision.log_prob).abs().max() < 0.15
    found.log_prob.sum().backward()
    learning = [p for p in policy.actor_parameters()]
    assert {p.dtype for p in learning} == {torch.float32} and any(p.grad is not None and p.grad.any() for p in learning)


def test_deterministic_decisions_repeat_and_others_vary(policy: Any) -> None:
    obs = obs_of(6)
    certain = [policy.act(obs, deterministic=True) for _ in range(2)]
    drawn = [policy.act(obs).trace["token"] for _ in range(2)]
    assert torch.equal(certain[0].action, certain[1].action) and not torch.equal(*drawn)
    likeliest = certain[0].log_prob.sum(-1)
    assert policy.config.decoding == "autoregressive" or (policy.act(obs).log_prob.sum(-1) <= likeliest + 1e-4).all()


def test_rows_do_not_know_of_each_other(policy: Any) -> None:
    obs = obs_of(8)  # of instructions of four lengths
    token = torch.randint(0, BINS, (8, *CHUNK))
    action = policy.actions.action(token)
    whole = policy.evaluate_actions(obs, action, {"token": token})
    for row in range(8):
        own = {name: x[row : row + 1] for name, x in obs.items()}
        alone = policy.evaluate_actions(own, action[row : row + 1], {"token": token[row : row + 1]})
        torch.testing.assert_close(alone.log_prob[0], whole.log_prob[row], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.value[0], whole.value[row], atol=1e-5, rtol=1e-4)


def test_log_probabilities_are_those_of_all_tokens(weights: Path) -> None:
    """One element, its 256 tokens: they sum up to 1; and the entropy is theirs."""
    spec = seeing(SIDE, chunk=1)
    spec = spec.__class__(spec.name, 0.1, 1, spec.obs, spec.action.__class__(("a",), low=-1.0, high=1.0))
    policy = disturbed(made(weights, spec, temperature=2.0))
    obs = {name: x.expand(BINS, *x.shape[1:]) for name, x in obs_of(1).items()}
    token = torch.arange(BINS).view(-1, 1, 1)
    found = policy.evaluate_actions(obs, policy.actions.action(token), {"token": token})
    p = found.log_prob.exp().flatten()
    assert p.sum().item() == pytest.approx(1, abs=1e-4)
    assert found.entropy[0].item() == pytest.approx(-(p * p.log()).sum().item(), rel=1e-4)


def test_imitation_is_the_mean_cross_entropy_of_the_demonstrated_tokens(policy: Any) -> None:
    obs, token = obs_of(3), torch.randint(0, 255, (3, *CHUNK))
    found = policy.imitation_loss(obs, policy.actions.action(token))
    logits, _ = policy._judge(obs, token)
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 2), token.flatten(), reduction="none")
    torch.testing.assert_close(found, wanted.view(3, -1).mean(-1))


def test_every_parameter_learns_and_belongs_to_actor_or_critic(policy: Any) -> None:
    ppo = PPO(policy, PPOConfig())
    obs = obs_of(6)
    decision = policy.act(obs)
    found = policy.evaluate_actions(obs, decision.action, decision.trace)
    (found.log_prob.sum() + found.value.sum() + found.entropy.sum()).backward()
    learning = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert {id(p) for p in ppo.actor + ppo.critic} == {id(p) for n, p in policy.named_parameters() if n in learning}
    unmoved = [n for n, p in policy.named_parameters() if n in learning and (p.grad is None or not p.grad.any())]
    assert unmoved == []
    assert all(("lora_" in name) != name.startswith("critic.") for name in learning)


def test_the_policy_gradient_leaves_the_value_head_alone(policy: Any) -> None:
    obs = obs_of(3)
    decision = policy.act(obs)
    policy.evaluate_actions(obs, decision.action, decision.trace).log_prob.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in policy.critic_parameters())


def test_recomputing_activations_changes_no_gradient(weights: Path) -> None:
    grads = []
    for wanted in (False, True):
        torch.manual_seed(1)
        policy = disturbed(made(weights, gradient_checkpointing=wanted))
        obs = obs_of(3)
        token = torch.randint(0, BINS, (3, *CHUNK))
        policy.evaluate_actions(obs, policy.actions.action(token), {"token": token}).log_prob.sum().backward()
        grads.append({n: p.grad for n, p in policy.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys() and len(grads[0]) > 50
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], atol=1e-4, rtol=1e-3)


def test_recomputing_keeps_fewer_activations(weights: Path) -> None:
    kept = []
    for wanted in (False, True):
        policy, obs = made(weights, gradient_checkpointing=wanted), obs_of(4)
        token, size = torch.zeros(4, *CHUNK, dtype=torch.long), [0]

        def note(x: Tensor, size: list[int] = size) -> Tensor:
            size[0] += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            policy.evaluate_actions(obs, policy.actions.action(token), {"token": token})
        kept.append(size[0])
    assert kept[1] < kept[0] / 2


# Weights --------------------------------------------------------------------------------------------------------------


def test_at_the_start_adapters_change_nothing(weights: Path) -> None:
    obs, token = obs_of(4), torch.randint(0, BINS, (4, *CHUNK))
    bare, adapted = (policy._judge(obs, token)[0] for policy in (plain(weights), made(weights)))
    torch.testing.assert_close(bare, adapted)


def test_our_state_holds_adapters_and_value_head_and_goes_back(policy: Any, weights: Path) -> None:
    state, obs = policy.state_dict(), obs_of(4)
    assert all("lora_" in name or name.startswith("critic.") for name in state)
    other = made(weights, **{k: getattr(policy.config, k) for k in ("decoding", "likelihood", "unnorm_key")})
    assert not torch.equal(policy.act(obs, deterministic=True).log_prob, other.act(obs, deterministic=True).log_prob)
    other.load_state_dict(state)
    mine, its = (each.act(obs, deterministic=True) for each in (policy, other))
    assert torch.equal(mine.action, its.action) and torch.equal(mine.value, its.value)


@pytest.mark.parametrize("parts", [LORA["parts"], ["language"]])
def test_merged_weights_in_the_published_layout_say_the_same(parts: list[str], weights: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy = disturbed(made(weights, lora=LORA | {"parts": parts}), 0.3)
    policy.export_pretrained(tmp_path / "merged")
    merged, obs, token = plain(tmp_path / "merged"), obs_of(4), torch.randint(0, BINS, (4, *CHUNK))
    mine, its, before = (each._judge(obs, token)[0] for each in (policy, merged, plain(weights)))
    torch.testing.assert_close(mine, its, atol=1e-4, rtol=1e-4)
    assert (mine - before).abs().max() > 0.1


def test_fully_fine_tuned_weights_are_exported_too(weights: Path, tmp_path: Path) -> None:
    policy, obs = disturbed(plain(weights), 0.05), obs_of(4)
    policy.export_pretrained(tmp_path / "full")
    token = torch.randint(0, BINS, (4, *CHUNK))
    torch.testing.assert_close(plain(tmp_path / "full")._judge(obs, token)[0], policy._judge(obs, token)[0])
    with pytest.raises(ValueError, match=r"choose another folder"):
        policy.export_pretrained(weights)


def test_a_pretrained_actor_comes_without_its_critic(weights: Path) -> None:
    source, target = disturbed(made(weights)), made(weights)
    critic = copy.deepcopy(target.critic.state_dict())
    target.load_pretrained(source.state_dict())
    assert all(torch.equal(x, target.state_dict()[n]) for n, x in source.state_dict().items() if "lora_" in n)
    assert all(torch.equal(x, critic[n]) for n, x in target.critic.state_dict().items())
    with pytest.raises(ValueError, match=r"these weights do not fit"):
        target.load_pretrained(made(weights, lora=LORA | {"rank": 2}).state_dict())


def test_copies_share_the_frozen_network(weights: Path) -> None:
    policy = made(weights)
    copied = copy.deepcopy(policy)
    shared = {id(p) for p in policy.parameters()} & {id(p) for p in copied.parameters()}
    assert shared == {id(p) for p in policy.parameters() if not p.requires_grad}
    obs = obs_of(2)
    assert torch.equal(copied.act(obs, deterministic=True).action, policy.act(obs, deterministic=True).action)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoding": "paralel"}, "policy.decoding='paralel': did you mean 'parallel'"),
        ({"likelihood": "word"}, "policy.likelihood"),
        ({"dtype": "float16"}, "policy.dtype"),
        ({"temperature": 0.0}, "policy.temperature"),
        ({"lora": {"rnk": 1}}, "unknown key policy.lora.rnk"),
    ],
)
def test_bad_settings_are_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OpenVLAConfig("nowhere", **change)
