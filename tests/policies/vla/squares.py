"""A task in plain torch: point at the square that the instruction names; the other one has another colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embodied.text import encode_text
from embodied.types import ActionSpec, Obs, ObsGroup, ObsTerm, StepResult, TaskSpec

COLOURS = ("red", "blue")
PLACES, CELL = 3, 8
SIDE, LENGTH = PLACES * CELL, 24
TEXTS = tuple(f"go to the {colour} square" for colour in COLOURS)


class Squares:
    """One decision an episode, paid 1 if right. The action is the named square's place: column and row, -1, 0 or 1."""

    def __init__(self, rows: int, seed: int = 0) -> None:
        told = ObsTerm("instruction", LENGTH, parameters={"words": list(TEXTS)})
        obs = {
            "policy": ObsGroup.of(ObsTerm("nothing", 1)),
            "image": ObsGroup(shape=(SIDE, SIDE, 3), dtype="uint8", normalize=False),
            "instruction": ObsGroup(terms=(told,), shape=(LENGTH,), dtype="uint8", normalize=False),
        }
        self.spec = TaskSpec("squares", 0.1, 1, obs, ActionSpec(("column", "row"), low=-1.0, high=1.0))
        self.num_rows, self.device = rows, torch.device("cpu")
        self.generator = torch.Generator().manual_seed(seed)
        self.obs, self.answer = draw(rows, self.generator)

    def reset(self, seed: int | None = None) -> Obs:
        if seed is not None:
            self.generator.manual_seed(seed)
        self.obs, self.answer = draw(self.num_rows, self.generator)
        return self.obs

    def step(self, action: Tensor) -> StepResult:
        right = (action[:, 0] == self.answer).all(-1)
        ended = torch.ones_like(right)
        last = self.obs
        self.obs, self.answer = draw(self.num_rows, self.generator)
        metrics = {"return": right.float(), "length": ended.float(), "success": right.float()}
        return StepResult(self.obs, right.float(), ended, ~ended, last, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])

    def close(self) -> None:
        """Nothing to release."""


def draw(rows: int, generator: torch.Generator) -> tuple[Obs, Tensor]:
    """Observations of scenes drawn evenly, and the right actions (rows, 2)."""
    cells = torch.rand(rows, PLACES**2, generator=generator).argsort(-1)[:, :2]  # of the red and the blue square
    named = torch.randint(2, (rows,), generator=generator)
    image = torch.full((rows, PLACES, PLACES, 3), 90, dtype=torch.uint8)
    for i, colour in enumerate(((220, 30, 30), (30, 30, 220))):
        image.flatten(1, 2)[torch.arange(rows), cells[:, i]] = torch.tensor(colour, dtype=torch.uint8)
    image = image.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
    place = cells[torch.arange(rows), named]
    answer = torch.stack([place % PLACES, place // PLACES], -1).float() - 1
    texts = encode_text([TEXTS[i] for i in named.tolist()], LENGTH)
    return {"policy": torch.zeros(rows, 1), "image": image, "instruction": texts}, answer
