"""A published checkpoint as it lies on the disk: safetensors, in one file or in several with an index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class Shards:
    """files: name of a tensor -> name of the file that holds it. Tensors are read one at a time.

    Raises:
        ValueError: the folder holds no weights, or not all of them.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if (self.folder / INDEX).exists():
            self.files: dict[str, str] = read_json(self.folder / INDEX)["weight_map"]
        elif (self.folder / SINGLE).exists():
            with self._open(SINGLE) as file:
                self.files = dict.fromkeys(file.keys(), SINGLE)
        else:
            found = "does not exist" if not self.folder.exists() else f"has neither {INDEX} nor {SINGLE}"
            raise ValueError(f"{self.folder} {found}: name a folder with the published weights as safetensors")
        absent = sorted({name for name in self.files.values() if not (self.folder / name).exists()})
        if absent:
            raise ValueError(f"{self.folder} is incomplete: {', '.join(absent)} named in {INDEX} is not there")

    def _open(self, name: str) -> Any:
        try:
            return safe_open(str(self.folder / name), framework="pt")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"cannot read {self.folder / name}: {error}") from error

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All of them with their names, file by file."""
        for file_name in sorted(set(self.files.values())):
            with self._open(file_name) as file:
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    yield name, file.get_tensor(name)

    def rewrite(self, target: str | Path, change: Callable[[str, Tensor], Tensor]) -> None:
        """Write the same files to another folder, each tensor as ``change(name, tensor)`` gives it.

        Raises:
            ValueError: target is this folder.
        """
        target = Path(target)
        if target.resolve() == self.folder.resolve():
            raise ValueError(f"{target} holds the weights that would be read: choose another folder")
        target.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in self.files.values():
                shutil.copyfile(path, target / path.name)
        for file_name in sorted(set(self.files.values())):
            with self._open(file_name) as file:
                changed = {name: change(name, file.get_tensor(name)).contiguous() for name in file.keys()}  # noqa: SIM118
            save_file(changed, str(target / file_name), metadata={"format": "pt"})


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        ValueError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
