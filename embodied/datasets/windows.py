"""Windows: what a chunked policy with an observation history learns from, one for each frame of a dataset.

Legend: F frames; n windows; H action chunk; A action size; L observations of a group's history, oldest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..configuration import choice, positive, within
from ..types import Obs
from .episodes import Episodes

PADDINGS = ("repeat", "drop")


class Window(NamedTuple):
    """obs: group -> (L, ...), or (...) without history.  action: (H, A).  mask: (H,) bool, False where padded.

    A batch of n windows has the leading shape (n,).
    """

    obs: Obs
    action: Tensor
    mask: Tensor


class Windows(Dataset[Window]):
    """Decisions of a dataset: at frame f, observations f-L+1 .. f and actions f .. f+H-1 of the same episode.

    Before an episode's first frame stands its first observation, as an environment fills a history after a reset;
    behind its last frame stands its last action.

    chunk: H.
    history: group -> L; a group that is not named has none, and no axis for it.
    episodes: which of the episodes, by number; None: all.
    padding: ``repeat`` keeps windows that reach beyond the end of their episode, with the last action repeated;
        ``drop`` leaves them out.
    """

    def __init__(
        self,
        data: Episodes,
        chunk: int = 1,
        history: Mapping[str, int] | None = None,
        episodes: Tensor | None = None,
        padding: str = "repeat",
    ) -> None:
        positive("chunk", chunk)
        choice("padding", padding, PADDINGS)
        self.data, self.chunk, self.history = data, chunk, dict(history or {})
        for name, length in self.history.items():
            choice("history", name, data.obs)
            positive(f"history.{name}", length)
        owner = data.episode_of_frame()
        self._first, self._last = data.starts[owner], data.starts[owner + 1] - 1
        frames = torch.arange(data.num_frames) if episodes is None else data.frames_of(episodes)
        self.frames = frames if padding == "repeat" else frames[frames + chunk - 1 <= self._last[frames]]
        if not len(self.frames):
            longest = int(data.lengths.max())
            raise ValueError(f"padding={padding!r}, chunk={chunk}: no window is left, episodes have {longest} steps")

    def __len__(self) -> int:
        return len(self.frames)

    def firsts(self) -> Tensor:
        """The rows of the first decisions of episodes."""
        return (self.frames == self._first[self.frames]).nonzero().squeeze(-1)

    def batch(self, rows: Tensor) -> Window:
        """The windows (n,) as one batch."""
        frames = self.frames[rows].unsqueeze(-1)
        ahead = frames + torch.arange(self.chunk)
        last = self._last[frames]
        obs = {name: self._history(name, x, frames) for name, x in self.data.obs.items()}
        return Window(obs, self.data.action[ahead.minimum(last)], ahead <= last)

    def _history(self, name: str, x: Tensor, frames: Tensor) -> Tensor:
        if name not in self.history:
            return x[frames.squeeze(-1)]
        back = torch.arange(1 - self.history[name], 1)
        return x[(frames + back).maximum(self._first[frames])]

    def __getitem__(self, row: int) -> Window:
        obs, action, mask = self.batch(torch.tensor([row]))
        return Window({name: x[0] for name, x in obs.items()}, action[0], mask[0])


def split(count: int, validation_share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Numbers of the training and the validation episodes of ``count``, each sorted; a function of the seed.

    Both parts get an episode where there are two and the share is not 0.
    """
    within("validation_share", validation_share, 0.0, 0.9)
    held_out = 0 if validation_share == 0 else min(count - 1, max(1, round(count * validation_share)))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[held_out:].sort().values, order[:held_out].sort().values


def epochs(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of row numbers: every epoch a new order, each row once, an incomplete last batch left out."""
    size = min(batch_size, count)
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count - count % size].split(size)
