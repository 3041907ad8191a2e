"""Scripted experts: they see the simulation's state, and show a task solved in one of two ways.

A plan says where the hand should be now; the shared base turns it into an action. Which of the two ways an episode
takes is drawn at its start, so that demonstrations have two modes.
"""

from __future__ import annotations

from embodied.configuration import choice

from ..env import ManipulationEnv
from .expert import Expert
from .peg import PegExpert
from .pick import PickExpert
from .push import PushExpert
from .push_t import PushTExpert
from .reach import ReachExpert
from .stack import StackExpert

EXPERTS: dict[str, type[Expert]] = {
    "reach": ReachExpert,
    "push": PushExpert,
    "pick_cube": PickExpert,
    "stack": StackExpert,
    "peg_insertion": PegExpert,
    "push_t": PushTExpert,
}


def make_expert(env: ManipulationEnv, noise: float = 0.0, seed: int = 0) -> Expert:
    """The expert of this environment's task; see :class:`Expert`."""
    choice("expert", env.config.task, EXPERTS)
    return EXPERTS[env.config.task](env, noise=noise, seed=seed)


__all__ = ["EXPERTS", "Expert", "make_expert"]
