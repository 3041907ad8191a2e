"""The configuration of a command: Hydra composes it; what a user got wrong becomes one message that helps.

A command's settings are a dataclass (defaults, types, meaning), registered with Hydra as ``<command>_schema``;
``configs/<command>.yaml`` chooses. Hydra's compose API leaves no ``outputs/`` behind and changes no directory.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, ValidationError
from omegaconf.errors import OmegaConfBaseException

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"


class UserError(Exception):
    """What a user got wrong, in words for the user; shown without a stack trace, exit status 2."""


def compose(schema: type, command: str, argv: Sequence[str], nodes: Mapping[str, Any] | None = None) -> DictConfig:
    """The configuration of a command.

    Args:
        schema: the dataclass of the command's settings.
        argv: Hydra overrides, ``key=value``.
        nodes: further configurations by path, e.g. ``{"task/checkpoint": {...}}``, for ``configs/<command>.yaml`` to
            name in its defaults.

    Raises:
        UserError: an unknown key, a value of the wrong type, an unknown choice, a required value missing.
    """
    store = ConfigStore.instance()
    store.store(name=f"{command}_schema", node=schema_node(schema))
    for path, node in (nodes or {}).items():
        group, _, name = path.rpartition("/")
        store.store(group=group or None, name=name, node=dict(node))
    overrides = parse(argv)
    choices = [o for o in overrides if _is_group(o)]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        base = _translated(command, choices, overrides)
        check_keys(base, [o for o in overrides if not _is_group(o)])
        config = _translated(command, overrides, overrides)
    missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"{missing[0]} is required: embodied {command} {missing[0]}=...")
    return config


def typed(schema: type, config: DictConfig) -> Any:
    """The configuration as the dataclass itself, whose own checks then run.

    Raises:
        UserError: a value that the dataclass rejects.
    """
    try:
        node = OmegaConf.merge(schema_node(schema), config)
        return OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        raise UserError(_value_message(error)) from error
    except ValueError as error:
        raise UserError(str(error)) from error


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain Python types."""
    try:
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(f"cannot resolve the configuration: {_first_line(error)}") from error


def schema_node(schema: type) -> DictConfig:
    """A dataclass, frozen or not, as a typed configuration that may be filled in."""
    node = OmegaConf.structured(schema)
    _unfreeze(node)
    return node


def _unfreeze(node: DictConfig) -> None:
    OmegaConf.set_readonly(node, None)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            _unfreeze(child)


# Overrides ---------------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> list[Override]:
    """Overrides from the command line.

    Raises:
        UserError: something that is no override; the message says how to write it.
    """
    return [_parse_one(argument) for argument in argv]


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
        hint = "quote a value with spaces or brackets, in single quotes inside double: \"key='a b'\""
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
    """The configuration groups, e.g. ``task``: folders of ``configs/``."""
    return sorted(path.name for path in CONFIGS.iterdir() if path.is_dir())


def options(group: str) -> list[str]:
    """What may be chosen for a group, e.g. every task."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def _is_group(override: Override) -> bool:
    return override.key_or_group in groups() and not isinstance(override.value(), dict)


def expand(argv: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep, as Hydra's basic sweeper lists them: ``seed=0,1`` gives two.

    Raises:
        UserError: nothing that can be read as overrides.
    """
    try:
        return [list(job) for job in BasicSweeper.split_arguments(parse(argv), None)[0]]
    except HydraException as error:
        raise UserError(f"cannot expand the sweep: {_first_line(error)}") from error


# Errors ------------------------------------------------------------------------------------------------------------


def nearest(word: str, known: Iterable[str], what: str) -> str:
    """``did you mean 'x'? known <what>: a, b, x``."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, 1, 0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + f"{what}: {', '.join(known) or 'none'}"


def check_keys(config: DictConfig, overrides: Iterable[Override]) -> None:
    """Raise UserError for the first override of a key that the configuration does not have."""
    for override in overrides:
        key = override.key_or_group
        if not override.is_add() and not _has(config, key):
            raise UserError(_unknown_key(config, key))


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
    message = f"unknown key {key!r}; {nearest(last, names, here)}"
    return message + (f" (a key that is not listed there: +{prefix}{last}=...)" if parent == "task" else "")


def _all_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return []
    found: list[str] = []
    for name in node:
        child = node._get_node(name)
        found += [f"{prefix}{name}", *_all_keys(child, f"{prefix}{name}.")]
    return found


def _translated(command: str, chosen: Iterable[Override], given: Iterable[Override]) -> DictConfig:
    """Hydra's compose, with its exceptions in words for the user."""
    try:
        return hydra_compose(command, overrides=[str(o.input_line) for o in chosen])
    except MissingConfigException as error:
        raise UserError(_choice_message(error)) from error
    except ConfigCompositionException as error:
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
        raise UserError(_value_message(cause, given) if cause else _first_line(error)) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(_first_line(error)) from error


def _choice_message(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if group in groups():
        return f"unknown {group} {name!r}; {nearest(name, options(group), f'known {group} choices')}"
    return _first_line(error)


_TYPES = {
    "Integer": "a whole number",
    "Float": "a number",
    "'BooleanType'": "true or false",
    "Boolean": "true or false",
    "String": "text",
}


def _value_message(error: Exception, given: Iterable[Override] = ()) -> str:
    """``seed='abc' is not a whole number`` from what OmegaConf says."""
    key = str(getattr(error, "full_key", "") or "")
    text = _first_line(error)
    if not isinstance(error, ValidationError):
        return text
    expected = next((words for name, words in _TYPES.items() if name in text), None)
    value = next((o.input_line.partition("=")[2] for o in given if o.key_or_group == key), None)
    value = value if value is not None else (re.findall(r"Value '(.*?)'", text) or ["?"])[0]
    return f"{key}={value}: {f'must be {expected}' if expected else text}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
