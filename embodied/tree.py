"""Nested state in one safetensors file: no pickle, so reading a file never runs code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, broken, of another format, or of another model."""


def save_tree(path: Path, tree: Any) -> None:
    """Write nested dicts, lists, tuples, numbers, strings, None, tensors and arrays to one safetensors file.

    Tensors and arrays are its tensors; the rest is JSON in its header.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(tree, "", tensors)
    save_file(tensors, str(path), metadata={"tree": json.dumps(skeleton)})


def load_tree(path: Path) -> Any:
    """The inverse of :func:`save_tree`; tensors come back on the CPU."""
    tensors, metadata = read_tensors(path)
    return _unpack(json.loads(metadata["tree"]), tensors)


def _pack(node: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, Tensor | np.ndarray):
        kind = "tensor" if isinstance(node, Tensor) else "array"
        tensor = node.detach().cpu() if isinstance(node, Tensor) else torch.from_numpy(np.ascontiguousarray(node))
        # A copy, because safetensors refuses tensors that share memory.
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        return {kind: name}
    if isinstance(node, Mapping):
        return {"dict": [[key, _pack(value, f"{name}/{key}", tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        kind = "list" if isinstance(node, list) else "tuple"
        return {kind: [_pack(value, f"{name}/{i}", tensors) for i, value in enumerate(node)]}
    if isinstance(node, np.generic):
        return node.item()
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"cannot store {type(node).__name__} at {name or '/'} in a checkpoint")


def _unpack(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "dict":
        return {key: _unpack(value, tensors) for key, value in content}
    items = [_unpack(value, tensors) for value in content]
    return items if kind == "list" else tuple(items)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file and the strings in its header."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
