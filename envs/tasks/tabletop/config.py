"""What YAML says of the tabletop."""

from __future__ import annotations

from dataclasses import dataclass

from embodied.configuration import choice, whole

from ..manipulation.config import ManipulationConfig
from .rows import ROWS


@dataclass(frozen=True)
class TabletopConfig(ManipulationConfig):
    """The arm, its control and the physics as in :class:`ManipulationConfig`, and:

    reward: ``dense``, what the step gained of the potential of :func:`scoring.potential`; or ``sparse``, of success.
    row: which distribution episodes come from, of :data:`rows.ROWS`.
    image_size: height and width of the camera's image in pixels; 0: no camera, for experts and for training on states.
    num_render_workers: processes that draw; 0: this one does.
    episodes: of an evaluation. Episodes then are the numbers seed * episodes, seed * episodes + 1, ... in order over
        the worlds; 0: numbers are drawn, none of which an evaluation has.
    group: so many neighbouring worlds draw the same numbers, for group-relative advantages.
    cut_after: an episode is cut after so many control steps, as if nobody had looked on; 0: never. The deadline stays.
    cut_after_success: an episode ends so many control steps after it first succeeded, as demonstrations do; 0: never.
    """

    task: str = "put_on_plate"
    horizon: int = 60
    control_dt: float = 0.1
    ik_steps: int = 2
    reward: str = "dense"
    position_scale: float = 0.04
    rotation_scale: float = 0.2
    start_noise: float = 0.0
    row: str = "in_distribution"
    image_size: int = 96
    num_render_workers: int = 0
    episodes: int = 0
    group: int = 1
    cut_after: int = 0
    cut_after_success: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("task.row", self.row, ROWS)
        for name in ("image_size", "num_render_workers", "episodes", "cut_after", "cut_after_success"):
            whole(f"task.{name}", getattr(self, name), low=0)
        whole("task.group", self.group)
