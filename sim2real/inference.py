"""The ONNX file in onnxruntime: one thread, named inputs and outputs, memory handed on by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .manifest import Contract, TensorInfo
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

    def __call__(
        self, obs: FloatArray, memory: dict[str, FloatArray]
    ) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
        """obs (B, n) -> command (B, A), action (B, A), the memory for the next step."""
        if obs.shape[1:] != (self.contract.obs_size,) or obs.dtype != np.float32:
            raise ValueError(f"observation {obs.shape} {obs.dtype}; expected (B, {self.contract.obs_size}) float32")
        feed = {self._inputs[0]: obs, **memory}
        out = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        return out["command"], out["action"], {m.input: out[m.output] for m in self.contract.model.memory}

    def replay(self, obs: FloatArray, start: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """command and action, (T, R, A) each, along a recording (T, R, n) with episode starts (T, R)."""
        memory = self.initial_memory(obs.shape[1])
        commands, actions = [], []
        for step, begins in zip(obs, start, strict=True):
            for value in memory.values():
                value[begins] = 0.0
            command, action, memory = self(np.ascontiguousarray(step), memory)
            commands.append(command)
            actions.append(action)
        return np.stack(commands), np.stack(actions)


def _info(node: ort.NodeArg) -> TensorInfo:
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(node.type, node.type)
    return TensorInfo(node.name, tuple(node.shape), dtype)


def _show(tensors: list[TensorInfo]) -> str:
    """``obs (batch, 47)``; the type only where it is not the usual one."""
    return ", ".join(
        f"{t.name} ({', '.join(map(str, t.shape))})" + (f" {t.dtype}" if t.dtype != "float32" else "") for t in tensors
    )
