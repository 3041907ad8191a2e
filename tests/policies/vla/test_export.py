"""Image, word numbers and measurements in, actions out, as ONNX; and what onnxruntime makes of it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from .models import CHUNK, TEXTS, TINY, observations, small, small_flow

INPUTS = ("obs", "image", "words")


class Exported(nn.Module):
    """A method of a policy as a module."""

    def __init__(self, policy: Any, method: Callable[..., Tensor]) -> None:
        super().__init__()
        self.policy, self.method = policy, method

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.method(*inputs)


def session(module: nn.Module, example: tuple[Tensor, ...], names: tuple[str, ...]) -> Any:
    """onnxruntime with the module's graph, for any number of rows."""
    for needed in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(needed, reason="the extra `export` is not installed")
    import onnxruntime

    batch = torch.export.Dim("batch", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            opset_version=20,
            input_names=list(names),
            output_names=["out"],
            dynamic_shapes=(tuple({0: batch} for _ in names),),
            verbose=False,
        )
    assert program is not None
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def seen(policy: Any, trunk: Any, rows: int) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Observations, and the same as the graph takes them: a runtime tokenizes to the full width."""
    obs = observations(rows)
    words = trunk.language.tokenizer.padded([TEXTS[i % len(TEXTS)] for i in range(rows)], TINY["max_words"])
    return obs, (obs["policy"], obs["image"], words)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parallel", "autoregressive"])
def test_onnxruntime_takes_the_same_tokens(name: str) -> None:
    torch.manual_seed(0)
    policy = small(name)
    graph = session(Exported(policy, policy.export_forward), seen(policy, policy.trunk, 2)[1], INPUTS)
    for rows in (1, 5):
        obs, given = seen(policy, policy.trunk, rows)
        (action,) = graph.run(None, {k: x.numpy() for k, x in zip(INPUTS, given, strict=True)})
        assert action.shape == (rows, *CHUNK)
        np.testing.assert_allclose(action, policy.act(obs, deterministic=True).action.numpy(), atol=1e-5)


@pytest.mark.slow
def test_onnxruntime_finds_the_same_condition_and_chunk() -> None:
    torch.manual_seed(0)
    policy = small_flow("reinflow")
    read = session(Exported(policy, policy.export_condition), seen(policy, policy.encoder.trunk, 2)[1], INPUTS)
    example = torch.zeros(2, policy.encoder.size), torch.zeros(2, *policy.noise_shape)
    move = session(Exported(policy, lambda cond, noise: policy.chain(cond, noise)[-1]), example, ("cond", "noise"))
    for rows in (1, 5):
        obs, given = seen(policy, policy.encoder.trunk, rows)
        (cond,) = read.run(None, {k: x.numpy() for k, x in zip(INPUTS, given, strict=True)})
        np.testing.assert_allclose(cond, policy.condition(obs).detach().numpy(), atol=1e-5)
        (action,) = move.run(None, {"cond": cond, "noise": np.zeros((rows, *policy.noise_shape), np.float32)})
        np.testing.assert_allclose(action, policy.act(obs, deterministic=True).action.detach().numpy(), atol=1e-5)
