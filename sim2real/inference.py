"""The ONNX file in onnxruntime: one thread, named inputs and outputs, memory handed on by name.

Legend: B rows; L observations of a history; n size of one; D noise tensors; H action chunk; A action size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .contract import Contract, TensorInfo
from .recording import Recording
from .schema import SchemaError

FloatArray = NDArray[np.float32]
FORMAT_KEY = "embodied.format_version"
CONTRACT_KEY = "embodied.contract_sha256"


class OnnxPolicy:
    """A bundle's network. Inputs that do not have the promised shape and type are refused, never padded or cut."""

    def __init__(self, path: Path, contract: Contract) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.contract = contract
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._inputs = [tensor.name for tensor in contract.model.inputs]
        self._outputs = [tensor.name for tensor in contract.model.outputs]

    def check_signature(self) -> str:
        """The file's inputs, outputs and contract hash are the manifest's; returns the signature."""
        found = {
            "inputs": [_info(node) for node in self._session.get_inputs()],
            "outputs": [_info(node) for node in self._session.get_outputs()],
        }
        for side, tensors in found.items():
            expected = list(getattr(self.contract.model, side))
            if tensors != expected:
                raise SchemaError(f"the network's {side} are {_show(tensors)}, the manifest says {_show(expected)}")
        embedded, ours = self.metadata.get(CONTRACT_KEY), self.contract.sha256()
        if embedded != ours:
            raise SchemaError(
                "the network was exported under another contract (joints, gains, terms, limits): "
                f"it holds {embedded}, the manifest's hashes to {ours}"
            )
        return f"{_show(found['inputs'])} -> {_show(found['outputs'])}"

    def initial_memory(self, rows: int) -> dict[str, FloatArray]:
        """Zeros, input name -> (rows, ...)."""
        return {m.input: np.zeros((rows, *m.shape), np.float32) for m in self.contract.model.memory}

    def draw_noise(self, rows: int, generator: np.random.Generator) -> FloatArray | None:
        """(rows, D, H, A) as deterministic decisions take it, from ``generator``; None where the network takes none."""
        noise = self.contract.model.noise
        if noise is None:
            return None
        return np.float32(noise.scale) * generator.standard_normal((rows, *noise.shape), dtype=np.float32)

    def __call__(
        self, obs: FloatArray, memory: dict[str, FloatArray], noise: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
        """obs (B, L, n), noise (B, D, H, A) -> command (B, H, A), action (B, H, A), the next decision's memory."""
        _check("observation", obs, self.contract.obs_shape)
        feed = {self._inputs[0]: obs, **memory}
        if (info := self.contract.model.noise) is not None:
            if noise is None:
                raise ValueError(f"this network takes noise of shape (B, {', '.join(map(str, info.shape))})")
            _check("noise", noise, info.shape)
            feed[info.input] = noise
        out = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        return out["command"], out["action"], {m.input: out[m.output] for m in self.contract.model.memory}

    def replay(self, recording: Recording) -> tuple[FloatArray, FloatArray]:
        """command and action, (T, R, H, A) each, along a recording."""
        memory = self.initial_memory(recording.start.shape[1])
        commands, actions = [], []
        for step, (obs, begins) in enumerate(zip(recording.obs, recording.start, strict=True)):
            for value in memory.values():
                value[begins] = 0.0
            noise = None if recording.noise is None else np.ascontiguousarray(recording.noise[step])
            command, action, memory = self(np.ascontiguousarray(obs), memory, noise)
            commands.append(command)
            actions.append(action)
        return np.stack(commands), np.stack(actions)


def _check(what: str, x: FloatArray, shape: tuple[int, ...]) -> None:
    if x.shape[1:] != shape or x.dtype != np.float32:
        raise ValueError(f"{what} {x.shape} {x.dtype}; expected (B, {', '.join(map(str, shape))}) float32")


def _info(node: ort.NodeArg) -> TensorInfo:
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(node.type, node.type)
    return TensorInfo(node.name, tuple(node.shape), dtype)


def _show(tensors: list[TensorInfo]) -> str:
    """``obs (batch, 47)``; the type only where it is not the usual one."""
    return ", ".join(
        f"{t.name} ({', '.join(map(str, t.shape))})" + (f" {t.dtype}" if t.dtype != "float32" else "") for t in tensors
    )
