"""Token policies: sampling and teacher forcing agree exactly, all levels add up, and untrained heads are refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import policies
from embodied.types import ActionSpec, Policy
from policies.vla.tokens import CompactVLAConfig, action_limits

from .models import CHUNK, KINDS, TINY, observations, seeing, small, small_flow


@pytest.fixture(params=list(KINDS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_it_fulfils_the_protocol_and_its_shapes(name: str) -> None:
    policy = small(name)
    assert isinstance(policy, Policy)
    factors = {"token": 6, "action": 2, "chunk": 1}[policy.config.likelihood]
    decision = policy.act(observations(4))
    assert decision.action.shape == (4, *CHUNK) and decision.trace == {} and decision.memory == {}
    assert policy.factor_weight.shape == policy.factor_clip.shape == (factors,)
    assert decision.log_prob.shape == (4, factors) and decision.value.shape == (4,)


def test_sampling_and_teacher_forcing_agree(name: str) -> None:
    policy, obs = small(name).double(), observations(24)
    decision = policy.act(obs)
    order = torch.randperm(24)[:15]
    evaluation = policy.evaluate_actions({k: x[order] for k, x in obs.items()}, decision.action[order], {})
    assert evaluation.log_prob.dtype == torch.float64
    assert (evaluation.log_prob - decision.log_prob[order]).abs().max() < 1e-6
    torch.testing.assert_close(evaluation.value, decision.value[order])
    torch.testing.assert_close(policy.value(obs), decision.value)
    assert evaluation.entropy.shape == evaluation.log_prob.shape and bool((evaluation.entropy > 0).all())


@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
def test_the_probabilities_of_all_chunks_sum_to_one(decoding: str) -> None:
    policy = small("parallel", decoding=decoding, likelihood="chunk", bins=2).double()
    chunks = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)), dtype=torch.float64).view(-1, *CHUNK)
    one = {k: x[:1].expand(len(chunks), *x.shape[1:]) for k, x in observations(1).items()}
    log_prob = policy.evaluate_actions(one, chunks, {}).log_prob
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-9)


def test_only_autoregressive_tokens_know_those_before() -> None:
    obs = observations(3)
    action = torch.zeros(3, *CHUNK)
    other = action.clone()
    other[:, 0, 1] = 1.0  # the second of six tokens
    for decoding, known in (("parallel", []), ("autoregressive", [2, 3, 4, 5])):
        policy = small("parallel", decoding=decoding, likelihood="token").double()
        before, after = (policy.evaluate_actions(obs, x, {}).log_prob for x in (action, other))
        moved = [i for i in range(6) if i != 1 and not torch.allclose(before[:, i], after[:, i])]
        assert moved == known


def test_levels_of_the_likelihood_add_up() -> None:
    obs, action = observations(3), torch.rand(3, *CHUNK) * 2 - 1
    found = {}
    for level in ("token", "action", "chunk"):
        torch.manual_seed(0)
        found[level] = small("parallel", likelihood=level).evaluate_actions(obs, action, {})
    for part in ("log_prob", "entropy"):
        token, action_, chunk = (getattr(found[level], part) for level in ("token", "action", "chunk"))
        torch.testing.assert_close(token.view(3, *CHUNK).sum(-1), action_)
        torch.testing.assert_close(action_.sum(-1, keepdim=True), chunk)


def test_deterministic_decisions_are_the_likeliest_and_repeat() -> None:
    policy, obs = small("parallel", likelihood="chunk"), observations(5)
    best = policy.act(obs, deterministic=True)
    assert torch.equal(best.action, policy.act(obs, deterministic=True).action)
    for _ in range(20):
        assert bool((policy.act(obs).log_prob <= best.log_prob + 1e-6).all())


def test_one_batch_row_does_not_touch_another(name: str) -> None:
    policy, obs = small(name).double(), observations(6)
    action = policy.act(obs).action
    whole = policy.evaluate_actions(obs, action, {})
    for rows in ([0], [1, 4], [5, 2, 3]):  # instructions of other lengths are padded otherwise
        part = policy.evaluate_actions({k: x[rows] for k, x in obs.items()}, action[rows], {})
        torch.testing.assert_close(part.log_prob, whole.log_prob[rows])
        torch.testing.assert_close(part.value, whole.value[rows])


def test_every_parameter_learns_and_belongs_to_actor_or_critic(name: str) -> None:
    policy, obs = small(name), observations(8)
    decision = policy.act(obs)
    evaluation = policy.evaluate_actions(obs, decision.action, {})
    (evaluation.log_prob.sum() + evaluation.value.sum()).backward()
    actor, critic = ({id(p) for p in part} for part in (policy.actor_parameters(), policy.critic_parameters()))
    assert not actor & critic and actor | critic == {id(p) for p in policy.parameters()}
    assert [n for n, p in policy.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_separate_critic_leaves_the_trunk_alone_and_sees_what_is_privileged() -> None:
    policy, obs = small("parallel-separate"), observations(4)
    policy.value(obs).sum().backward()
    assert all(p.grad is None for p in policy.actor_parameters())
    assert torch.equal(policy.value(obs), policy.value(obs | {"image": 255 - obs["image"]}))
    assert not torch.equal(policy.value(obs), policy.value(obs | {"critic": obs["critic"] + 1}))


def test_a_shared_critic_sees_the_image_and_the_instruction() -> None:
    policy, obs = small("parallel"), observations(4)
    assert torch.equal(policy.value(obs), policy.value(obs | {"critic": obs["critic"] + 1}))
    assert not torch.allclose(policy.value(obs), policy.value(obs | {"image": 255 - obs["image"]}))
    other = obs["instruction"].roll(1, 0)
    assert not torch.allclose(policy.value(obs), policy.value(obs | {"instruction": other}))


def test_pretrained_trunk_and_head_are_taken_and_the_critic_is_not() -> None:
    source, target, obs = small("autoregressive"), small("autoregressive"), observations(4)
    critic = target.critic.out.weight.clone()
    target.load_pretrained(source.state_dict())
    assert torch.equal(target.act(obs, deterministic=True).action, source.act(obs, deterministic=True).action)
    assert torch.equal(target.critic.out.weight, critic)


def test_a_head_that_was_never_trained_is_refused() -> None:
    target = small("parallel")
    fresh: Any = policies.make({"trunk": TINY} | KINDS["parallel"], seeing())
    assert fresh.act(observations(2)).log_prob.flatten().tolist() == pytest.approx([3 * -1.6094379] * 4)
    with pytest.raises(ValueError, match="the token head of these weights was never trained"):
        target.load_pretrained(fresh.state_dict())
    with pytest.raises(
        ValueError, match=r"have no token head \(they have critic, encoder, network, noise, noise_range\)"
    ):
        target.load_pretrained(small_flow("reinflow").state_dict())
    with pytest.raises(ValueError, match=r"do not fit: head.query is \(2, 16\), not \(6, 16\)|head.embed"):
        small("autoregressive").load_pretrained(target.state_dict())


def test_tokens_cover_the_tasks_limits() -> None:
    assert action_limits(ActionSpec(("a",), low=-0.5, high=2.0)) == (-0.5, 2.0)
    assert action_limits(ActionSpec(("a",))) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bins": 1}, "policy.bins=1: must be a whole number of at least 2"),
        ({"decoding": "paralel"}, "policy.decoding='paralel': did you mean 'parallel'"),
        ({"likelihood": "step"}, "policy.likelihood='step': valid: action, chunk, token"),
        ({"temperature": 0}, "policy.temperature=0: must be a number above 0"),
        ({"label_smoothing": 2.0}, "policy.label_smoothing=2.0"),
        ({"critic": "none"}, "policy.critic='none'"),
        ({"trunk": {"with": 1}}, "unknown key policy.trunk.with; did you mean 'width'"),
    ],
)
def test_mistakes_name_what_would_be_right(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompactVLAConfig(**config)
