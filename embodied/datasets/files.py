"""What every format's reader and writer share: episodes in order, checks, and data sets that are whole or not there."""

from __future__ import annotations

import abc
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from .episodes import DatasetError, DatasetInfo, Episode, check


class Reader(abc.ABC):
    """Episodes of a dataset on the disk, one at a time.

    path: as given.  info: what they have in common.
    """

    path: Path
    info: DatasetInfo

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of episodes."""

    @abc.abstractmethod
    def read(self, number: int) -> Episode:
        """An episode as it stands there. Raises DatasetError where it is damaged."""

    def where(self, number: int) -> str:
        """File and episode, for messages."""
        return f"{self.path}: episode {number}"

    def __getitem__(self, number: int) -> Episode:
        """An episode, checked."""
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path} has episodes 0 to {len(self) - 1}, not {number}")
        return check(self.read(number), self.info, self.where(number))

    def __iter__(self) -> Iterator[Episode]:
        return (self[number] for number in range(len(self)))


class Writer(abc.ABC):
    """Writes a dataset, episode by episode; it appears under its name when it is whole.

    Use it as a context manager: an exception inside leaves nothing behind.

    path: of the dataset, which must not be there yet.
    """

    def __init__(self, path: str | Path, info: DatasetInfo) -> None:
        self.path, self.info, self.count = Path(path), info, 0
        if self.path.exists():
            raise DatasetError(f"{self.path} is there already; choose another name")
        self._work = self.path.with_name(f".{self.path.name}.part")
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True)

    def add(self, episode: Episode) -> None:
        """Append an episode. Raises DatasetError where it is not what ``info`` says."""
        self._write(self.count, check(episode, self.info, f"{self.path}: episode {self.count}"))
        self.count += 1

    def close(self) -> None:
        """Finish the dataset and give it its name."""
        if self.count == 0:
            self.abort()
            raise DatasetError(f"{self.path}: a dataset needs at least one episode")
        try:
            self._finish()
            self._publish()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Give up; nothing stays on the disk."""
        self._release()
        shutil.rmtree(self._work, ignore_errors=True)

    @abc.abstractmethod
    def _write(self, number: int, episode: Episode) -> None:
        """Append a checked episode to what lies in ``self._work``."""

    @abc.abstractmethod
    def _finish(self) -> None:
        """Complete the files in ``self._work`` and close them."""

    @abc.abstractmethod
    def _release(self) -> None:
        """Close what is open."""

    def _publish(self) -> None:
        os.replace(self._work, self.path)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises DatasetError where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    if not isinstance(found, dict):
        raise DatasetError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def write_json(path: Path, data: Any) -> None:
    """Write JSON, making folders as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def need(package: str) -> Any:
    """Import pyarrow or h5py; the error says which extra brings them."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"datasets need the package {package}: pip install 'embodied-rl-suite[data]'") from error
