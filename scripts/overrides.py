"""Overrides of the command line: read, checked against the configuration, and explained where they are wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
OPTIONAL = ("recipe", "policy_recipe", "finetune", "experiment")
"""Groups that may be left out: ``~recipe`` trains with the general defaults instead of what was tuned for the task, for
a policy on it (``~policy_recipe`` leaves out the latter alone), or for a policy's fine-tuning (``~finetune``).
``~experiment`` leaves out what a published recipe chooses."""


class UserError(Exception):
    """What a user got wrong, in words for the user; shown without a stack trace, exit status 2."""


# Overrides ---------------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> list[Override]:
    """Overrides from the command line.

    Raises:
        UserError: something that is no override; the message says how to write it.
    """
    both = ["~policy_recipe"] if "~recipe" in argv and "~policy_recipe" not in argv else []
    return [_parse_one(argument) for argument in [*argv, *both]]


def _parse_one(argument: str) -> Override:
    if argument.startswith("-"):
        key, _, value = argument.lstrip("-").partition("=")
        name = key.replace("-", "_")
        raise UserError(f"unknown option {argument!r}; settings are written without dashes: {name}={value or '...'}")
    if "=" not in argument and not argument.startswith("~"):
        raise UserError(f"cannot read {argument!r}; settings are written key=value{_as_choice(argument)}")
    try:
        return OverridesParser.create().parse_override(_whole_number(argument))
    except (OverrideParseException, HydraException) as error:
        hint = "quote a value that holds spaces, commas, brackets or an equals sign, twice: \"key='a=b'\""
        raise UserError(f"cannot read {argument!r}; {hint}") from error


def _whole_number(argument: str) -> str:
    """``total_steps=2e6`` means a whole number where one is asked for; 2000000 also does where none is."""
    match = re.fullmatch(r"(\+*[\w.]+=)(\d+(?:\.\d+)?e\+?\d+)", argument, re.IGNORECASE)
    if match is None or not float(match[2]).is_integer():
        return argument
    return f"{match[1]}{int(float(match[2]))}"


def _as_choice(word: str) -> str:
    for group in groups():
        if word in options(group):
            return f"; did you mean {group}={word}?"
    return ""


def groups() -> list[str]:
    """The configuration groups, e.g. ``task``: folders of ``configs/``, the most used first."""
    names = [path.name for path in CONFIGS.iterdir() if path.is_dir()]
    return sorted(names, key=lambda name: (("task", "policy", "algo", name).index(name), name))


def options(group: str) -> list[str]:
    """What may be chosen for a group, e.g. every task."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def is_group(override: Override) -> bool:
    return override.key_or_group in groups()


def check_choice(override: Override) -> None:
    """A group is chosen by name; an optional one may be left out by ``~``."""
    group = override.key_or_group
    if override.is_delete():
        if group not in OPTIONAL:
            raise UserError(
                f"{override.input_line}: {group} cannot be left out; its choices: {', '.join(options(group))}"
            )
    elif not isinstance(override.value(), str):
        raise UserError(
            f"{override.input_line}: {group} is chosen by name; {group} choices: {', '.join(options(group))}"
        )


def check_single(override: Override, command: str) -> None:
    if override.is_sweep_override():
        line = override.input_line
        advice = f"embodied train -m {line} trains with each" if command == "train" else "give one"
        raise UserError(f"{line} names several values; {advice} (a list is written in brackets: key=[1,2])")


def expand(argv: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep, as Hydra's basic sweeper lists them: ``seed=0,1`` gives two.

    Raises:
        UserError: nothing that can be read as overrides.
    """
    try:
        return [list(job) for job in BasicSweeper.split_arguments(parse(argv), None)[0]]
    except HydraException as error:
        raise UserError(f"cannot expand the sweep: {first_line(error)}") from error


# Errors ------------------------------------------------------------------------------------------------------------


def nearest(word: str, known: Iterable[str], what: str, prefix: str = "") -> str:
    """``did you mean '<prefix>x'? <what>: a, b, x``."""
    known = sorted(known)
    begun = [name for name in known if len(word) > 2 and name.startswith(word)]
    near = begun or difflib.get_close_matches(word, known, 1, 0.5)
    return (f"did you mean {prefix + near[0]!r}? " if near else "") + f"{what}: {', '.join(known) or 'none'}"


def check(config: DictConfig, override: Override) -> None:
    """Raise UserError for a key that the configuration does not have, or a value of another kind than it has there."""
    key = override.key_or_group
    if override.is_add():
        if not _has(config, key) and (not _has(config, key.partition(".")[0]) or _fixed(config, key)):
            raise UserError(_unknown_key(config, key))
        return
    if not _has(config, key):
        raise UserError(_unknown_key(config, key))
    if override.is_delete():
        if _fixed(config, key):
            raise UserError(f"{override.input_line}: {key} cannot be left out")
        return
    expected, found = _kind(_select(config, key)), _kind(override.value())
    if None not in (expected, found) and expected != found:
        raise UserError(f"{override.input_line}: must be {expected}")


def _fixed(config: DictConfig, key: str) -> bool:
    """The key would go into a dataclass, whose keys are what they are."""
    parent, node = key, None
    while parent and not isinstance(node, DictConfig):
        parent = parent.rpartition(".")[0]
        node = _select(config, parent) if parent else config
    return is_dataclass(OmegaConf.get_type(node))


def _kind(value: Any) -> str | None:
    """What a value is, in words; None for what may stand for anything."""
    if isinstance(value, bool):
        return "true or false"
    for kind, words in ((int | float, "a number"), (Mapping, "a mapping"), (Sequence, "a list")):
        if isinstance(value, kind) and not isinstance(value, str):
            return words
    return None if value is None or "$" in str(value) or not isinstance(value, str | QuotedString) else "text"


def _has(config: DictConfig, key: str) -> bool:
    parent, _, last = key.rpartition(".")
    node = _select(config, parent) if parent else config
    if isinstance(node, DictConfig):
        return last in {str(name) for name in node}
    return last.isdigit() and OmegaConf.is_list(node)


def _select(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return None


def _unknown_key(config: DictConfig, key: str) -> str:
    """The message about a key: the nearest one in the same place, else the same name elsewhere."""
    parent, _, last = key.rpartition(".")
    node = _select(config, parent) if parent else config
    while parent and not isinstance(node, DictConfig):
        parent, _, last = parent.rpartition(".")
        node = _select(config, parent) if parent else config
    here = f"keys of {parent}" if parent else "keys"
    names = [str(name) for name in node]
    elsewhere = [k for k in _all_keys(config) if k.rpartition(".")[2] == last and k != key]
    if elsewhere and not difflib.get_close_matches(last, names, 1, 0.7):
        return f"unknown key {key!r}; did you mean {elsewhere[0]!r}? {here}: {', '.join(sorted(names))}"
    prefix = f"{parent}." if parent else ""
    message = f"unknown key {key!r}; {nearest(last, names, here, prefix)}"
    return message + (f" (a key that is not listed there: +{prefix}{last}=...)" if parent == "task" else "")


def _all_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return []
    found: list[str] = []
    for name in map(str, node):
        child = node._get_node(name)
        found += [f"{prefix}{name}", *_all_keys(child, f"{prefix}{name}.")]
    return found


def first_line(error: BaseException) -> str:
    """The first line of an exception's message."""
    return str(error).strip().split("\n")[0]
