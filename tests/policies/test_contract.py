"""What every policy promises the learner; a new policy adds one line to POLICIES."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import policies
from embodied.normalize import ObsNormalizer
from embodied.ppo import PPO, PPOConfig
from embodied.rollout import Carry, Rollout, collect, minibatches
from embodied.types import ActionSpec, Evaluation, ObsGroup, ObsTerm, Policy, TaskSpec
from tests.helpers.environments import PointMass

POLICIES: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "hidden": [16, 16]},
    "mlp-default-init": {"kind": "mlp", "hidden": [16], "activation": "tanh", "init": "default", "min_std": 0.1},
    "gru": {"kind": "gru", "memory_size": 12, "hidden": [16], "critic_hidden": [16]},
}

TRUNK: dict[str, Any] = {"width": 16, "blocks": 2, "heads": 2}
TOKENS: dict[str, Any] = {"kind": "compact_vla", "trunk": TRUNK, "bins": 9, "critic": "separate", "critic_hidden": [16]}
POLICIES |= {
    "compact-vla": TOKENS | {"privileged_rl_weight": 1.0},
    "compact-vla-autoregressive": TOKENS | {"decoding": "autoregressive", "likelihood": "token", "temperature": 1.5},
}
SMALL: dict[str, Any] = {
    "critic_hidden": [16],
    "mlp": {"hidden": [16, 16], "time_size": 4},
    "unet": {"channels": [8, 16], "groups": 4, "kernel_size": 3, "time_size": 4},
    "transformer": {"width": 8, "depth": 1, "heads": 2, "time_size": 4},
    "diffusion": {"train_steps": 4, "schedule": "cosine"},
    "flow": {"steps": 3, "clip": 2.0},
    "shortcut": {"steps": 2, "finest": 4},
    "mean_flow": {"steps": 1},
}
RULES: dict[str, dict[str, Any]] = {
    "ncdpo": {"kind": "ncdpo", "checkpoint_steps": True},
    "dppo": {"kind": "dppo", "finetune_steps": 1},
    "reinflow": {"kind": "reinflow"},
    "flow_sde": {"kind": "flow_sde"},
    "fpo": {"kind": "fpo", "samples": 3},
    "residual": {"kind": "residual"},
}
PROCESSES = ("diffusion", "flow", "shortcut", "mean_flow")
NETWORKS = ("mlp", "unet", "transformer")
VARIANTS: dict[str, dict[str, Any]] = {
    "ncdpo-ddim": {"kind": "ncdpo", "diffusion": {"train_steps": 6, "steps": 3, "eta": 0.0, "prediction": "x0"}},
    "ncdpo-one-step": {
        "kind": "ncdpo",
        "network": "unet",
        "diffusion": {"train_steps": 4, "steps": 1, "prediction": "v"},
    },
    "dppo-last-step": {"kind": "dppo", "finetune_steps": 1, "diffusion": {"train_steps": 4, "prediction": "v"}},
    "dppo-all-steps": {
        "kind": "dppo",
        "logprob_reduction": "sum",
        "diffusion": {"train_steps": 6, "schedule": "linear"},
    },
    "dppo-one-of-one": {"kind": "dppo", "diffusion": {"train_steps": 1}},
    "reinflow": {"kind": "reinflow", "network": "transformer"},
    "reinflow-one-step": {"kind": "reinflow", "flow": {"steps": 1}, "logprob_reduction": "sum"},
    "reinflow-two-times": {"kind": "reinflow", "process": "shortcut"},
    "flow-sde": {"kind": "flow_sde"},
    "flow-sde-one-step": {"kind": "flow_sde", "random_steps": "one", "process": "shortcut"},
    "fpo": {"kind": "fpo", "samples": 3},
    "fpo-one-sample": {"kind": "fpo", "samples": 1, "logprob_reduction": "mean", "process": "mean_flow"},
    "residual": {"kind": "residual", "base_chunk": 4},
    "reinflow-vla": {"kind": "reinflow", "encoder": "vla", "trunk": TRUNK},
}
POLICIES |= {name: SMALL | extra for name, extra in VARIANTS.items()}
GENERATIVE = {
    f"{rule}-{network}-{process}": SMALL | extra | {"network": network, "process": process}
    for rule, extra in RULES.items()
    for network in NETWORKS
    for process in PROCESSES
    if not (rule == "flow_sde" and process == "diffusion")
}
"""Every rule with every network and process."""

SPEC = TaskSpec(
    name="chunked",
    control_dt=0.1,
    horizon=10,
    obs={"policy": ObsGroup.of(ObsTerm("x", 5)), "critic": ObsGroup.of(ObsTerm("y", 7))},
    action=ActionSpec(("a", "b", "c"), chunk=2),
)


@pytest.fixture(params=list(POLICIES))
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return POLICIES[request.param]


def obs_of(rows: int) -> dict[str, Tensor]:
    return {"policy": torch.randn(rows, 5), "critic": torch.randn(rows, 7)}


def disturbed(policy: Policy) -> Policy:
    """The policy away from its initial weights, where an output near zero would hide mistakes."""
    with torch.no_grad():
        for parameter in policy.parameters():  # type: ignore[attr-defined]
            parameter.add_(0.1 * torch.randn_like(parameter))
    return policy


def test_it_fulfils_the_protocol_and_its_shapes(config: dict[str, Any]) -> None:
    policy = policies.make(config, SPEC)
    assert isinstance(policy, Policy) and isinstance(policy, nn.Module)
    factors = len(policy.factor_weight)
    assert policy.factor_clip.shape == (factors,)
    memory = policy.initial_memory(6)
    assert memory or not policy.recurrent
    decision = policy.act(obs_of(6), memory)
    assert decision.action.shape == (6, 2, 3)
    assert decision.log_prob.shape == (6, factors)
    assert decision.value.shape == policy.value(obs_of(6), memory).shape == (6,)
    assert {name: x.shape for name, x in decision.memory.items()} == {name: x.shape for name, x in memory.items()}


def test_deterministic_decisions_repeat_and_others_vary(config: dict[str, Any]) -> None:
    policy = disturbed(policies.make(config, SPEC))
    obs, memory = obs_of(4), policy.initial_memory(4)
    certain = [policy.act(obs, memory, deterministic=True).action for _ in range(2)]
    drawn = [policy.act(obs, memory).action for _ in range(2)]
    assert torch.equal(*certain)
    assert not torch.equal(*drawn)


def collected(config: dict[str, Any]) -> tuple[Policy, Rollout]:
    """A second rollout of a disturbed policy, in which episodes start and end, normalised by the first."""
    env = PointMass(8, horizon=5)
    policy = disturbed(policies.make(config, env.spec))
    normalizer = ObsNormalizer.of(env.spec)
    rollout, carry = Rollout(13, 8), Carry.start(env, policy, env.reset(seed=0))
    for _ in range(2):
        carry = collect(env, policy, rollout, carry, normalizer)
        normalizer.commit()
    rollout.advantage = rollout.target = torch.arange(13.0 * 8).view(13, 8)
    return policy, rollout


def test_the_first_ratio_is_one_for_every_decision(config: dict[str, Any]) -> None:
    policy, rollout = collected(config)
    seen = 0
    for batch in minibatches(rollout, 3, policy.recurrent):
        evaluation: Evaluation = policy.evaluate_actions(batch.obs, batch.action, batch.trace)
        ratio = (evaluation.log_prob - batch.log_prob).exp()
        assert (ratio - 1).abs().max() < 2e-5
        assert evaluation.entropy.shape == evaluation.log_prob.shape == batch.log_prob.shape
        torch.testing.assert_close(evaluation.value, batch.value, atol=1e-5, rtol=1e-5)
        assert evaluation.auxiliary is None or evaluation.auxiliary.shape == evaluation.value.shape
        seen += batch.advantage.numel()
    assert seen == 13 * 8


@pytest.mark.parametrize("name", [*VARIANTS, *GENERATIVE])
def test_in_double_precision_the_first_ratio_is_one_within_a_millionth(name: str) -> None:
    policy: Any = disturbed(policies.make((POLICIES | GENERATIVE)[name], SPEC)).double()  # type: ignore[attr-defined]
    obs, order = obs_of(24), torch.randperm(24)[:15]
    decision = policy.act(obs, policy.initial_memory(24))
    part = {key: x[order] for key, x in obs.items()}
    trace = {key: x[order] for key, x in decision.trace.items()}
    evaluation = policy.evaluate_actions(part, decision.action[order], trace)
    assert evaluation.log_prob.dtype == torch.float64
    assert ((evaluation.log_prob - decision.log_prob[order]).exp() - 1).abs().max() < 1e-6


@pytest.mark.parametrize("name", list(VARIANTS))
def test_rows_are_independent_so_that_several_agents_can_share_a_policy(name: str) -> None:
    policy: Any = disturbed(policies.make(POLICIES[name], SPEC)).double()  # type: ignore[attr-defined]
    worlds, agents = 3, 4
    obs = obs_of(worlds * agents)
    decision = policy.act(obs, policy.initial_memory(worlds * agents))
    assert decision.action.shape == (worlds * agents, 2, 3)
    whole = policy.evaluate_actions(obs, decision.action, decision.trace).log_prob
    for agent in range(agents):
        rows = torch.arange(worlds) * agents + agent
        own, trace = ({key: x[rows] for key, x in parts.items()} for parts in (obs, decision.trace))
        torch.testing.assert_close(policy.evaluate_actions(own, decision.action[rows], trace).log_prob, whole[rows])


def test_judging_a_decision_changes_nothing_and_repeats_exactly(config: dict[str, Any]) -> None:
    policy, rollout = collected(config)
    (batch,) = minibatches(rollout, 1, policy.recurrent)
    kept = {name: x.clone() for name, x in batch.trace.items()} | {"action": batch.action.clone()}
    first, second = (policy.evaluate_actions(batch.obs, batch.action, batch.trace).log_prob for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(kept[name], x) for name, x in (batch.trace | {"action": batch.action}).items())


def test_every_parameter_learns_and_belongs_to_actor_or_critic(config: dict[str, Any]) -> None:
    policy, rollout = collected(config)
    ppo = PPO(policy, PPOConfig(num_epochs=1, num_minibatches=1))
    ppo.update(rollout)
    module: Any = policy
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    assert {id(p) for p in ppo.actor + ppo.critic} == {id(p) for p in named.values()}
    assert not {id(p) for p in ppo.actor} & {id(p) for p in ppo.critic}
    unmoved = [name for name, p in named.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unmoved == []


def test_the_policy_gradient_leaves_the_critic_alone_and_the_value_loss_the_actor(config: dict[str, Any]) -> None:
    policy, rollout = collected(config)
    (batch,) = minibatches(rollout, 1, policy.recurrent)
    module: Any = policy
    evaluation = policy.evaluate_actions(batch.obs, batch.action, batch.trace)
    evaluation.log_prob.sum().backward(retain_graph=True)
    assert all(p.grad is None or not p.grad.any() for p in module.critic_parameters())
    module.zero_grad()
    evaluation.value.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in module.actor_parameters())


def test_state_survives_a_round_trip(config: dict[str, Any]) -> None:
    source: Any = disturbed(policies.make(config, SPEC))
    target: Any = policies.make(config, SPEC)
    target.load_state_dict(source.state_dict())
    obs, memory = obs_of(3), source.initial_memory(3)
    assert torch.equal(source.act(obs, memory, True).action, target.act(obs, memory, True).action)


def test_without_a_critic_group_the_critic_reads_what_the_policy_reads(config: dict[str, Any]) -> None:
    spec = TaskSpec("bare", 0.1, 10, {"policy": ObsGroup.of(ObsTerm("x", 5))}, ActionSpec(("a",)))
    policy = policies.make(config, spec)
    obs = {"policy": torch.randn(4, 5)}
    assert policy.value(obs, policy.initial_memory(4)).shape == (4,)


def test_a_task_without_the_group_policy_is_an_error_that_lists_the_groups(config: dict[str, Any]) -> None:
    spec = TaskSpec("odd", 0.1, 10, {"image": ObsGroup(shape=(4, 4, 3))}, ActionSpec(("a",)))
    with pytest.raises(ValueError, match="task 'odd' has no observation group 'policy'; it has image"):
        policies.make(config, spec)
