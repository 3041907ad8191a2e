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
    obs = np.ones((3, 1, 9), np.float32)
    command, action, after = network(obs, memory)
    assert command.shape == action.shape == (3, 1, 2) and after["h_in"].shape == (3, 12)
    again, _, _ = network(obs, after)
    assert np.abs(again - command).max() > 1e-4  # it remembers


def test_noise_goes_in(flow_bundle: Path):
    network, obs = _load(flow_bundle), np.ones((3, 3, 9), np.float32)
    noise = network.draw_noise(3, np.random.default_rng(7))
    assert noise is not None and noise.dtype == np.float32
    np.testing.assert_array_equal(noise, np.random.default_rng(7).standard_normal((3, 1, 4, 2), np.float32))
    command, action, _ = network(obs, {}, noise)
    assert command.shape == action.shape == (3, 4, 2)
    np.testing.assert_array_equal(network(obs, {}, noise)[0], command)
    assert np.abs(command[0] - command[1]).max() > 1e-3  # the same observation, other noise
    with pytest.raises(ValueError, match=r"takes noise of shape \(B, 1, 4, 2\)"):
        network(obs, {})
    with pytest.raises(ValueError, match=r"noise \(3, 4, 2\) float32; expected \(B, 1, 4, 2\)"):
        network(obs, {}, noise[:, 0])


def test_a_network_without_noise_draws_none(mlp_bundle: Path):
    assert _load(mlp_bundle).draw_noise(3, np.random.default_rng(7)) is None


def test_an_observation_of_another_form_is_refused(mlp_bundle: Path):
    network = _load(mlp_bundle)
    with pytest.raises(ValueError, match=r"obs \(1, 1, 8\) float32; expected \(B, 1, 9\)"):
        network(np.zeros((1, 1, 8), np.float32), {})
    with pytest.raises(ValueError, match="float64"):
        network(np.zeros((1, 1, 9)), {})  # type: ignore[arg-type]


def test_the_signature_is_compared(mlp_bundle: Path, gru_bundle: Path):
    assert "obs (batch, 1, 9) -> command (batch, 1, 2)" in _load(mlp_bundle).check_signature()
    other = OnnxPolicy(gru_bundle / "policy.onnx", Manifest.read(mlp_bundle).contract)
    with pytest.raises(SchemaError, match=r"the network's inputs are obs \(batch, 1, 9\), h_in \(batch, 12\)"):
        other.check_signature()
