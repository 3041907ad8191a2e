"""Every flow and diffusion rule works on the trunk."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

import policies
from embodied.types import Policy
from policies.vla.condition import VisionLanguageEncoder
from policies.vla.trunk import TrunkConfig

from .models import CHUNK, TINY, observations, seeing, small_flow

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "policy"
RULES = {
    "reinflow": {},
    "ncdpo": {"process": "flow"},
    "flow_sde": {},
    "fpo": {},
    "dppo": {"finetune_steps": 1},
    "residual": {"process": "flow"},
}


@pytest.mark.parametrize("kind", RULES)
def test_every_rule_acts_and_judges_by_the_trunk(kind: str) -> None:
    policy, obs = small_flow(kind, **RULES[kind]).double(), observations(6)
    assert isinstance(policy, Policy)
    with torch.no_grad():
        decision = policy.act(obs, policy.initial_memory(6))
    evaluation = policy.evaluate_actions(obs, decision.action, decision.trace)
    assert decision.action.shape == (6, *CHUNK)
    assert (evaluation.log_prob - decision.log_prob).abs().max() < 1e-6
    evaluation.log_prob.sum().backward()
    embedded = policy.encoder.trunk.language.embed.weight.grad
    assert (embedded is None) if kind == "residual" else bool(embedded.any())


def test_flow_matching_reaches_all_of_the_trunk() -> None:
    policy, obs = small_flow("reinflow"), observations(6)
    loss = policy.imitation_loss(obs, torch.rand(6, *CHUNK))
    assert loss.shape == (6,)
    loss.sum().backward()
    assert [n for n, p in policy.encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_rules_start_from_each_others_weights() -> None:
    source, target, obs = small_flow("reinflow"), small_flow("ncdpo", process="flow"), observations(3)
    target.load_pretrained(source.state_dict())
    assert torch.equal(source.act(obs, deterministic=True).action, target.act(obs, deterministic=True).action)


def test_the_condition_is_made_of_image_instruction_and_measurements() -> None:
    encoder = VisionLanguageEncoder(seeing(), TrunkConfig(**TINY)).double()
    obs = observations(4)
    cond = encoder(obs, torch.float64)
    assert cond.shape == (4, encoder.size) and cond.dtype == torch.float64
    for name in ("image", "instruction", "policy"):
        assert not torch.allclose(cond, encoder(obs | {name: obs[name].roll(1, 0)}, torch.float64)), name


def test_the_decision_comes_in_two_parts() -> None:
    policy, obs = small_flow("reinflow").double(), observations(4)
    numbers = policy.encoder.trunk.language.tokenizer.padded(["the red plate"] * 4, 12)
    obs["instruction"] = obs["instruction"][2:3].expand(4, -1)
    cond = policy.export_condition(obs["policy"], obs["image"], numbers)
    action = policy.chain(cond, cond.new_zeros(4, *policy.noise_shape))[-1]
    torch.testing.assert_close(action, policy.act(obs, deterministic=True).action)


def test_without_a_vla_encoder_nothing_has_changed() -> None:
    """The names in a checkpoint of the flat encoder are those of the networks alone."""
    policy = policies.make({"kind": "reinflow", "mlp": {"hidden": [4]}}, seeing())
    names = {name.split(".")[0] + "." + name.split(".")[1] for name in policy.state_dict() if "." in name}  # type: ignore[attr-defined]
    assert {n for n in names if n.startswith("encoder")} == {"encoder.image"}


def test_the_configuration_files_make_their_policies() -> None:
    spec = seeing(64, chunk=4)
    token = policies.make(yaml.safe_load((CONFIGS / "compact_vla.yaml").read_text()), spec)
    parts = yaml.safe_load((CONFIGS / "parts" / "generative.yaml").read_text())
    flow = yaml.safe_load((CONFIGS / "compact_vla_flow.yaml").read_text())
    del flow["defaults"]
    merged = copy.deepcopy(parts)
    for key, value in flow.items():
        merged[key] = merged.get(key, {}) | value if isinstance(value, dict) else value
    obs = observations(2, 64)
    for policy in (token, policies.make(merged, spec)):
        assert policy.act(obs).action.shape == (2, 4, 3)
    assert dataclasses.asdict(TrunkConfig()) == flow["trunk"]
