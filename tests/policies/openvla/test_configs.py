"""What the YAML files say is what the policies take; the experiment's numbers add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from embodied.configuration import from_mapping
from embodied.ppo import PPOConfig
from policies.openvla.policy import OpenVLAConfig
from policies.pi0.policy import Pi0NoiseConfig, Pi0SDEConfig

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def read(path: str) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / path))
    return found


@pytest.mark.parametrize(
    ("name", "schema"), [("openvla", OpenVLAConfig), ("pi0", Pi0NoiseConfig), ("pi0_sde", Pi0SDEConfig)]
)
def test_the_yaml_of_a_policy_is_what_its_configuration_takes(name: str, schema: Any) -> None:
    settings = read(f"policy/{name}.yaml")
    assert settings.pop("kind") == name and settings["checkpoint"] == "???"
    config = from_mapping(schema, settings, "policy")
    assert config.lora.rank == settings["lora"]["rank"]


def test_openvla_s_yaml_shows_the_defaults() -> None:
    settings = read("policy/openvla.yaml")
    settings.pop("kind")
    assert from_mapping(OpenVLAConfig, settings, "policy") == OpenVLAConfig("???")


def test_oft_differs_in_decoding_and_likelihood() -> None:
    settings = read("policy/openvla_oft.yaml")
    assert settings.pop("defaults") == ["openvla", "_self_"]
    assert settings == {"decoding": "parallel", "likelihood": "token"}


def test_the_experiment_learns_from_160_decisions_a_step_as_rl4vla_does() -> None:
    experiment = read("experiment/openvla_7b.yaml")
    algo = PPOConfig.from_mapping(experiment["algo"])
    assert experiment["num_worlds"] * algo.num_steps / algo.num_minibatches == 160
    assert algo.micro_batch is not None and 160 % algo.micro_batch == 0
    config = from_mapping(OpenVLAConfig, {"checkpoint": "w"} | experiment["policy"], "policy")
    assert (config.lora.rank, config.lora.alpha, config.likelihood) == (32, 16.0, "action")
