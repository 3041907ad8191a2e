"""The ONNX file in onnxruntime: one thread, named inputs and outputs, memory handed on by name.

Legend: B rows; L observations of a history; n size of one; D noise tensors; H action chunk; A action size; h, w pixels;
b bytes of an instruction, W its word numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .contract import Contract, TensorInfo
from .perception import word_numbers
from .recording import Recording
from .schema import SchemaError

FloatArray = NDArray[np.float32]
DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
}
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
        self._known: dict[bytes, list[int]] = {}
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

    def words(self, instruction: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Instructions (B, b), UTF-8 filled up with zeros, as word numbers (B, W); each is tokenized once.

        Raises:
            ValueError: this network is told nothing, or one has more words than it reads.
        """
        if self.contract.instruction is None:
            raise ValueError("this network takes no instruction")
        texts = [row.tobytes().split(b"\0", 1)[0] for row in instruction]
        for text in texts:
            if text not in self._known:
                self._known[text] = word_numbers(self.contract.instruction, text.decode())
        return np.array([self._known[text] for text in texts], np.int64)

    def __call__(
        self,
        obs: FloatArray,
        memory: dict[str, FloatArray],
        noise: FloatArray | None = None,
        image: NDArray[np.uint8] | None = None,
        words: NDArray[np.int64] | None = None,
    ) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
        """A decision: command (B, H, A), action (B, H, A), the next decision's memory.

        obs: (B, L, n).  noise: (B, D, H, A).  image: (B, h, w, 3).  words: (B, W), of :meth:`words`. What the network
        does not take is not looked at.
        """
        c = self.contract
        parts = ((c.model.noise, noise), (c.image, image), (c.instruction, words))
        given = {"obs": obs, **memory, **{part.input: x for part, x in parts if part is not None}}
        feed = {tensor.name: _checked(tensor, given[tensor.name]) for tensor in self.contract.model.inputs}
        out = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        return out["command"], out["action"], {m.input: out[m.output] for m in self.contract.model.memory}

    def given(self, recording: Recording, step: int, rows: int | None = None) -> dict[str, NDArray[Any]]:
        """Noise, image and words of the first ``rows`` rows of a recorded decision; None: of all."""
        found = {name: np.ascontiguousarray(x[step, :rows]) for name, x in recording.optional().items()}
        told = found.pop("instruction", None)
        return found if told is None or self.contract.instruction is None else {**found, "words": self.words(told)}

    def replay(self, recording: Recording) -> tuple[FloatArray, FloatArray]:
        """command and action, (T, R, H, A) each, along a recording."""
        memory = self.initial_memory(recording.start.shape[1])
        commands, actions = [], []
        for step, (obs, begins) in enumerate(zip(recording.obs, recording.start, strict=True)):
            for value in memory.values():
                value[begins] = 0.0
            command, action, memory = self(np.ascontiguousarray(obs), memory, **self.given(recording, step))
            commands.append(command)
            actions.append(action)
        return np.stack(commands), np.stack(actions)


def _checked(tensor: TensorInfo, x: NDArray[Any] | None) -> NDArray[Any]:
    """x, if it is what an input takes; nothing is padded, cut or converted."""
    shape = f"(B, {', '.join(map(str, tensor.shape[1:]))})"
    if x is None:
        raise ValueError(f"this network takes {tensor.name} of shape {shape}")
    if x.shape[1:] != tensor.shape[1:] or x.dtype != tensor.dtype:
        raise ValueError(f"{tensor.name} {x.shape} {x.dtype}; expected {shape} {tensor.dtype}")
    return x


def _info(node: ort.NodeArg) -> TensorInfo:
    return TensorInfo(node.name, tuple(node.shape), DTYPES.get(node.type, node.type))


def _show(tensors: list[TensorInfo]) -> str:
    """``obs (batch, 47)``; the type only where it is not the usual one."""
    return ", ".join(
        f"{t.name} ({', '.join(map(str, t.shape))})" + (f" {t.dtype}" if t.dtype != "float32" else "") for t in tensors
    )
