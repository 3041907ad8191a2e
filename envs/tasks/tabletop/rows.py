"""The rows of the generalisation benchmark: what each changes, and on which axis (RL4VLA, Liu et al. 2025, section 4).

A row changes what it names and nothing else: it draws from the training ranges whatever it does not mention.
"""

from __future__ import annotations

from dataclasses import dataclass

AXES = ("in_distribution", "vision", "semantics", "execution")


@dataclass(frozen=True)
class Row:
    """What differs from training; the fields' defaults are the training distribution.

    axis: one of AXES.  about: the range, in words.
    tables, things, receptacles, templates: ``seen`` or ``unseen``.
    second: chance of a second object, in quarters.  second_receptacle: there is one.
    overlay: None, or what a moving texture is blended onto: ``things`` (arm and objects) or ``all``.
    strength: weight of that texture.
    ring: objects and receptacles start outside of the training square, at other yaws.
    joints: the arm starts with offset joints.  reposition: the object is moved at the control step REPOSITION_STEP.
    """

    axis: str
    about: str
    tables: str = "seen"
    things: str = "seen"
    receptacles: str = "seen"
    templates: str = "seen"
    second: int = 2
    second_receptacle: bool = False
    overlay: str | None = None
    strength: float = 0.0
    ring: bool = False
    joints: bool = False
    reposition: bool = False


ROWS = {
    "in_distribution": Row("in_distribution", "what training draws; a second object in half of the episodes"),
    "unseen_table": Row("vision", "6 tables of 3 pattern families that training lacks", tables="unseen"),
    "texture_weak": Row("vision", "a texture, 0.3, on arm and objects", overlay="things", strength=0.3),
    "texture_strong": Row("vision", "a texture, 0.5, on arm and objects", overlay="things", strength=0.5),
    "noise_weak": Row("vision", "a texture, 0.3, on the whole image", overlay="all", strength=0.3),
    "noise_strong": Row("vision", "a texture, 0.5, on the whole image", overlay="all", strength=0.5),
    "unseen_objects": Row("semantics", "the 12 held-out pairs of colour and shape", things="unseen"),
    "unseen_receptacles": Row("semantics", "the 8 held-out pairs of colour and kind", receptacles="unseen"),
    "unseen_instructions": Row("semantics", "8 held-out sentences of seen words", templates="unseen"),
    "two_objects_seen": Row("semantics", "always a second object, seen", second=4),
    "two_objects_unseen": Row("semantics", "two objects, both held out", second=4, things="unseen"),
    "distractor_receptacle": Row("semantics", "a second receptacle, seen", second_receptacle=True),
    "two_receptacles_unseen": Row(
        "semantics", "two receptacles, both held out", receptacles="unseen", second_receptacle=True
    ),
    "unseen_positions": Row("execution", "everything outside of the training square, other yaws", ring=True),
    "unseen_robot_pose": Row("execution", "joints 1-5 off by 0, 0.08, 0.15 rad, joint 6 by 0, 0.3, 0.6", joints=True),
    "reposition": Row("execution", "the object jumps by more than 15 cm at step 5", reposition=True),
}
NUMBER = {name: number for number, name in enumerate(ROWS)}
"""A row's part of the key of its episodes; append new rows at the end."""
