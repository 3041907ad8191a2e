"""What the robot is told. Held-out sentences are made of seen words: a model trained from scratch knows no others."""

from __future__ import annotations

from .catalogue import COLOURS, OBJECTS, RECEPTACLES

SEEN = (
    "put the {o} on the {r}",
    "place the {o} on the {r}",
    "move the {o} to the {r}",
    "bring the {o} to the {r}",
    "set the {o} down on the {r}",
    "pick up the {o} and put it on the {r}",
    "take the {o} and place it on the {r}",
    "grab the {o} and set it on the {r}",
    "lift the {o} and move it to the {r}",
    "the {o} goes on the {r}",
    "on the {r} put the {o}",
    "please put the {o} down on the {r}",
)
UNSEEN = (
    "grab the {o} and place it on the {r}",
    "please bring the {o} to the {r}",
    "on the {r} place the {o}",
    "pick up the {o} and move it to the {r}",
    "lift the {o} and set it down on the {r}",
    "take the {o} to the {r}",
    "to the {r} move the {o}",
    "please take the {o} and put it down on the {r}",
)
LENGTH = 80
"""Bytes of the longest instruction, and some to spare."""
WORDS = tuple(
    sorted(
        {word for template in (*SEEN, *UNSEEN) for word in template.format(o="", r="").split()}
        | {*COLOURS, *OBJECTS, *RECEPTACLES}
    )
)
"""Every word of every instruction, those of held-out rows included: no name is told from another by chance."""


def instruction(template: str, thing: str, receptacle: str) -> str:
    """The sentence for an object and a receptacle."""
    return template.format(o=thing, r=receptacle)
