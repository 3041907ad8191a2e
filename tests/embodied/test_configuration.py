"""Configuration errors name what would have been right."""

from __future__ import annotations

import pytest

from embodied.ppo import PPOConfig
from embodied.train import TrainConfig


def test_an_unknown_key_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown key algo\.clip_rnge; did you mean 'clip_range'"):
        PPOConfig.from_mapping({"clip_rnge": 0.1})


def test_a_nested_mapping_becomes_the_learner_configuration() -> None:
    config = TrainConfig.from_mapping({"total_steps": 10, "algo": {"clip_range": 0.3}})
    assert config.algo.clip_range == 0.3
    with pytest.raises(ValueError, match=r"unknown key train\.totl_steps; did you mean 'total_steps'"):
        TrainConfig.from_mapping({"totl_steps": 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule": "adaptiv"}, "did you mean 'adaptive'"),
        ({"symmetry": "both"}, "valid: augment, mix, none"),
        ({"advantage": "grpo"}, "valid: gae, group_relative"),
        ({"gamma": 1.5}, r"algo.gamma=1.5: must lie in \[0, 1\]"),
        ({"num_epochs": 0}, "algo.num_epochs=0: must be a number above 0"),
        ({"value_clip": -1.0}, "algo.value_clip=-1.0: must be a number above 0"),
        ({"learning_rate": True}, "algo.learning_rate=True: must be a number above 0"),
        ({"learning_rate": float("nan")}, "must be a number above 0"),
    ],
)
def test_bad_values_name_the_valid_ones(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOConfig(**values)


def test_train_config_refuses_empty_runs_and_unknown_precisions() -> None:
    with pytest.raises(ValueError, match="total_steps=0"):
        TrainConfig(total_steps=0)
    with pytest.raises(ValueError, match=r"matmul_precision='half': valid: high, highest, medium"):
        TrainConfig(matmul_precision="half")
