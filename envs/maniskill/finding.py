"""ManiSkill and its environments by name, with errors that say what to install or to fetch."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from embodied.configuration import nearest

from . import vulkan

RL4VLA = "PutOnPlateInScene25"
"""How the ids begin that RL4VLA's own build of ManiSkill registers."""


def find(identifier: str) -> Any:
    """The registration of an environment; a ``module:`` before the id is imported first.

    Raises:
        ValueError: ManiSkill, the module or the id is missing; the message says what to do.
    """
    registered = _registered()
    module, _, name = identifier.rpartition(":")
    if module:
        _import(module)
    if name not in registered:
        raise ValueError(f"unknown ManiSkill environment {name!r}; {_advice(name, registered)}")
    return registered[name]


@contextmanager
def unasked() -> Iterator[None]:
    """Within it, missing assets are a ValueError that says how to fetch them: ManiSkill asks on the terminal whether it
    shall, and ends the process where the answer is no. ``MS_SKIP_ASSET_DOWNLOAD_PROMPT=1`` lets it fetch them."""
    from mani_skill.utils import download_asset

    asked = download_asset.prompt_yes_no
    if os.environ.get("MS_SKIP_ASSET_DOWNLOAD_PROMPT") != "1":
        download_asset.prompt_yes_no = _refuse
    try:
        yield
    finally:
        download_asset.prompt_yes_no = asked


def _refuse(question: str) -> NoReturn:
    """Questions begin with the word Environment or Robot, and its name."""
    owner = question.split()[1]
    raise ValueError(
        f"{owner} needs assets that are not here; fetch them by: python -m mani_skill.utils.download_asset {owner} "
        "(they go to the folder that MS_ASSET_DIR names)"
    )


def _registered() -> dict[str, Any]:
    vulkan.choose_driver()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SAPIEN's about the loader that it brings along
            importlib.import_module("mani_skill.envs")  # registers all of them
        from mani_skill.utils.registration import REGISTERED_ENVS
    except ImportError as error:
        raise ValueError(
            f"ManiSkill cannot be imported ({error}); pip install 'embodied-rl-suite[maniskill]'"
        ) from error
    return REGISTERED_ENVS


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"task.id: cannot import the module {module!r} before the colon: {error}") from error


def _advice(name: str, registered: Mapping[str, Any]) -> str:
    if name.startswith(RL4VLA):
        return (
            "it comes with the RL4VLA repository: install the ManiSkill that is inside it in place of mani_skill, with "
            "its assets, and name the module that registers it, as in task.id=module:" + name
        )
    return nearest(name, registered)
