from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sim2real.inference import OnnxPolicy
from sim2real.manifest import Manifest
from sim2real.schema import SchemaError


def _load(bundle: Path) -> OnnxPolicy:
    contract = Manifest.read(bundle).contract
    return OnnxPolicy(bundle / contract.model.file, contract)


def test_memory_goes_in_and_out(gru_bundle: Path):
    network = _load(gru_bundle)
    memory = network.initial_memory(3)
    assert {name: value.shape for name, value in memory.items()} == {"h_in": (3, 12)}
    obs = np.ones((3, 9), np.float32)
    command, action, after = network(obs, memory)
    assert command.shape == action.shape == (3, 2) and after["h_in"].shape == (3, 12)
    again, _, _ = network(obs, after)
    assert np.abs(again - command).max() > 1e-4  # it remembers


def test_an_observation_of_another_form_is_refused(mlp_bundle: Path):
    network = _load(mlp_bundle)
    with pytest.raises(ValueError, match=r"observation \(1, 8\) float32; expected \(B, 9\)"):
        network(np.zeros((1, 8), np.float32), {})
    with pytest.raises(ValueError, match="float64"):
        network(np.zeros((1, 9)), {})  # type: ignore[arg-type]


def test_the_signature_is_compared(mlp_bundle: Path, gru_bundle: Path):
    assert "obs (batch, 9) -> command (batch, 2)" in _load(mlp_bundle).check_signature()
    other = OnnxPolicy(gru_bundle / "policy.onnx", Manifest.read(mlp_bundle).contract)
    with pytest.raises(SchemaError, match=r"the network's inputs are obs \(batch, 9\), h_in \(batch, 12\)"):
        other.check_signature()
