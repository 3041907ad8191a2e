"""Policies by name, and what a wrong name says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import policies
from embodied.ppo import PPOConfig
from policies.gru import GRUPolicy
from policies.mlp import MLPPolicy
from tests.helpers.environments import PointMass

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SPEC = PointMass(1).spec


def test_the_configuration_files_make_their_policies() -> None:
    made = {name: policies.make(read("policy", name), SPEC) for name in ("mlp", "gru")}
    assert isinstance(made["mlp"], MLPPolicy) and isinstance(made["gru"], GRUPolicy)
    widths = [layer.out_features for layer in made["mlp"].actor if hasattr(layer, "out_features")]
    assert widths == [128, 128, 64, 2]


def read(group: str, name: str) -> dict:
    return yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())


def test_the_learners_configuration_file_holds_the_defaults() -> None:
    assert PPOConfig.from_mapping(read("algo", "ppo")) == PPOConfig()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "mpl"}, "policy.kind='mpl': did you mean 'mlp'"),
        ({"kind": "mlp", "hiden": [1]}, "unknown key policy.hiden; did you mean 'hidden'"),
        ({"kind": "mlp", "activation": "sin"}, "policy.activation='sin'.*valid: elu, gelu, relu, silu, tanh"),
        ({"kind": "gru", "memory_size": 0}, "policy.memory_size=0: must be at least 1"),
        ({"kind": "gru", "init": "x"}, "policy.init='x'"),
    ],
)
def test_mistakes_name_what_would_be_right(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policies.make(config, SPEC)
