"""K denoising steps as one ONNX graph with the noise as an input, and what onnxruntime makes of it."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from .models import observations, small

CASES: dict[str, dict[str, Any]] = {
    "ncdpo": {"diffusion": {"train_steps": 4}},
    "reinflow": {"network": "unet", "flow": {"steps": 2}},
    "fpo": {"network": "transformer", "process": "shortcut"},
}
"""A rule, a network and a process each; the graph does not depend on more."""


class Exported(nn.Module):
    """``export_forward`` as a module."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        return self.policy.export_forward(obs, noise)


def to_onnx(policy: Any) -> bytes:
    """The graph with a free number of rows."""
    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros(2, 5), torch.zeros(2, *policy.noise_shape)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Exported(policy).eval(),
            example,
            dynamo=True,
            opset_version=20,
            input_names=["obs", "noise"],
            output_names=["action"],
            dynamic_shapes=({0: batch}, {0: batch}),
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_onnxruntime_makes_the_same_actions(kind: str) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="the extra `export` is not installed")
    import onnxruntime

    policy = small(kind, **CASES[kind]).float()
    session = onnxruntime.InferenceSession(to_onnx(policy), providers=["CPUExecutionProvider"])
    for rows in (1, 7):
        obs = observations(rows)["policy"]
        noise = torch.randn(rows, *policy.noise_shape)
        (action,) = session.run(None, {"obs": obs.numpy(), "noise": noise.numpy()})
        np.testing.assert_allclose(action, policy.export_forward(obs, noise).detach().numpy(), atol=1e-5)
