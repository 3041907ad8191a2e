"""What the rules share: weights that go from one to another, imitation, export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import policies
from embodied.configuration import from_mapping
from policies.generative.base import GenerativeConfig
from policies.generative.encoders import ImageConfig

from .models import SPEC, observations, small

RULES = ("ncdpo", "dppo", "reinflow", "flow_sde", "fpo", "residual")


@pytest.mark.parametrize("target", RULES)
@pytest.mark.parametrize("source", [rule for rule in RULES if rule != "residual"])
def test_pretrained_weights_go_from_any_rule_to_any_other(source: str, target: str) -> None:
    pretrained, policy = small(source, process="flow"), small(target, process="flow")
    kept = {name: x.clone() for name, x in policy.state_dict().items() if not name.startswith(("network", "encoder"))}
    policy.load_pretrained(pretrained.state_dict())
    obs = observations(3, torch.float64)
    noise = torch.randn(3, *policy.noise_shape, dtype=torch.float64)
    pair = [p.chain(p.condition(obs), noise)[-1] for p in (pretrained, policy)]
    assert torch.equal(*pair)
    assert all(torch.equal(policy.state_dict()[name], x) for name, x in kept.items())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"mlp": {"hidden": [8, 16], "time_size": 4}},
            r"network.first.weight is \(8, 11\), not \(16, 11\).*and \d more",
        ),
        ({"network": "unet"}, "network.first.weight is missing"),
        (
            {"process": "mean_flow"},
            r"network.time.layers.0.weight is \(8, 8\), not \(8, 4\); the pretrained policy must",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_untouched(other: dict, message: str) -> None:
    policy, pretrained = small("reinflow"), small("reinflow", **other)
    before = {name: x.clone() for name, x in policy.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        policy.load_pretrained(pretrained.state_dict())
    assert all(torch.equal(policy.state_dict()[name], x) for name, x in before.items())


def test_the_perceptron_takes_its_actor_alone() -> None:
    source, target = (policies.make({"kind": "mlp", "hidden": [8]}, SPEC) for _ in range(2))
    target.load_pretrained(source.state_dict())  # type: ignore[attr-defined]
    obs = observations(3)
    assert torch.equal(source.act(obs, deterministic=True).action, target.act(obs, deterministic=True).action)
    assert not torch.equal(source.value(obs), target.value(obs))
    other = policies.make({"kind": "mlp", "hidden": [9]}, SPEC)
    with pytest.raises(ValueError, match=r"actor.0.weight is \(9, 5\), not \(8, 5\)"):
        target.load_pretrained(other.state_dict())  # type: ignore[attr-defined]


IMITATORS = {
    "mlp": {"kind": "mlp", "hidden": [64, 64]},
    "epsilon": {"kind": "dppo", "diffusion": {"train_steps": 10}},
    "x0": {"kind": "ncdpo", "diffusion": {"train_steps": 10, "prediction": "x0"}},
    "v": {"kind": "ncdpo", "diffusion": {"train_steps": 10, "prediction": "v", "eta": 0.0}, "network": "unet"},
    "flow": {"kind": "reinflow", "network": "transformer", "transformer": {"width": 32, "depth": 1, "heads": 2}},
    "shortcut": {"kind": "fpo", "process": "shortcut", "shortcut": {"steps": 1}},
    "mean-flow": {"kind": "flow_sde", "process": "mean_flow", "mean_flow": {"steps": 1}},
}
LARGER = {"mlp": {"hidden": [64, 64]}, "unet": {"channels": [16, 32], "kernel_size": 3}, "critic_hidden": [8]}


@pytest.mark.parametrize("name", IMITATORS)
def test_imitation_learns_a_function_of_the_observation(name: str) -> None:
    """From demonstrations of half the sine of the first three measurements, both actions of the chunk alike."""
    config = IMITATORS[name]
    policy = policies.make(config if name == "mlp" else LARGER | config, SPEC)
    learner = torch.optim.Adam(policy.parameters(), 3e-3)  # type: ignore[attr-defined]

    def demonstrations(rows: int):
        obs = observations(rows)
        return obs, 0.5 * obs["policy"][:, None, :3].sin().expand(-1, 2, -1)

    def error() -> float:
        torch.manual_seed(1)
        obs, action = demonstrations(500)
        return (policy.act(obs, deterministic=True).action - action).square().mean().item()

    before = error()
    for _ in range(300):
        obs, action = demonstrations(128)
        loss = policy.imitation_loss(obs, action)  # type: ignore[attr-defined]
        assert loss.shape == (128,)
        learner.zero_grad()
        loss.mean().backward()
        learner.step()
    assert error() < min(0.025, before / 4)


def test_two_modes_are_both_kept() -> None:
    """A Gaussian policy would go to the mean, 0, of demonstrations at -0.5 and 0.5; a flow keeps both."""
    policy = policies.make(LARGER | {"kind": "reinflow", "inference_noise": "random", "flow": {"steps": 20}}, SPEC)
    learner = torch.optim.Adam(policy.parameters(), 3e-3)  # type: ignore[attr-defined]
    for _ in range(400):
        side = (torch.randint(2, (128, 1, 1)) - 0.5).expand(-1, 2, 3)
        loss = policy.imitation_loss(observations(128), side).mean()  # type: ignore[attr-defined]
        learner.zero_grad()
        loss.backward()
        learner.step()
    action = policy.act(observations(1000), deterministic=True).action[:, 0, 0]
    assert (action.abs() > 0.25).float().mean() > 0.6
    assert 0.35 < (action > 0).float().mean() < 0.65


def test_recurrent_policies_refuse_imitation() -> None:
    policy = policies.make({"kind": "gru"}, SPEC)
    with pytest.raises(ValueError, match=r"policy\.kind=gru cannot learn by imitation"):
        policy.imitation_loss(observations(2), torch.zeros(2, 2, 3))  # type: ignore[attr-defined]


@pytest.mark.parametrize("rule", RULES)
def test_the_exported_decision_is_the_deterministic_one(rule: str) -> None:
    policy = small(rule)
    obs = observations(3, torch.float64)
    zeros = torch.zeros(3, *policy.noise_shape, dtype=torch.float64)
    expected = policy.act(obs, policy.initial_memory(3), deterministic=True).action
    torch.testing.assert_close(policy.export_forward(obs["policy"], zeros), expected)


CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "policy"


def test_sections_may_be_mappings() -> None:
    policy = small("ncdpo", image={"channels": [4], "features": 3})
    assert policy.config.image == ImageConfig((4,), 3)


def read(name: str) -> dict:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


@pytest.mark.parametrize("rule", RULES)
def test_the_configuration_files_make_their_policies(rule: str) -> None:
    """As Hydra merges them: the shared part, then the rule's own."""
    shared, own = read("parts/generative"), read(rule)
    assert own.pop("defaults") == ["parts/generative@_here_", "_self_"]
    assert own["kind"] == rule and own["logprob_reduction"] in ("sum", "mean")
    merged = {key: value | own.get(key, {}) if isinstance(value, dict) else value for key, value in shared.items()}
    policy = policies.make(own | merged | {key: x for key, x in own.items() if not isinstance(x, dict)}, SPEC)
    assert policy.act(observations(2), policy.initial_memory(2)).action.shape == (2, 2, 3)


def test_what_the_configuration_files_share_are_the_defaults() -> None:
    assert from_mapping(GenerativeConfig, read("parts/generative"), "policy") == GenerativeConfig()
