"""The configuration of a command: Hydra composes it; what a user got wrong becomes one message that helps.

A command's settings are a dataclass (defaults, types, meaning), registered with Hydra as ``<command>_schema``;
``configs/<command>.yaml`` chooses. Hydra's compose API leaves no ``outputs/`` behind and changes no directory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, ValidationError
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from .overrides import CONFIGS as CONFIGS
from .overrides import ROOT as ROOT
from .overrides import UserError as UserError
from .overrides import check, check_choice, check_single, first_line, is_group, options
from .overrides import expand as expand
from .overrides import groups as groups
from .overrides import nearest as nearest
from .overrides import parse as parse


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
    for override in overrides:
        check_single(override, command)
    choices = [o for o in overrides if is_group(o)]
    for choice in choices:
        check_choice(choice)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        base = _translated(command, choices, overrides)
        for override in overrides:
            if not is_group(override):
                check(base, override)
        config = _translated(command, overrides, overrides)
    plain(config)  # an interpolation that leads nowhere shows itself here
    missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"{missing[0]} is required: embodied {command} {missing[0]}=...")
    return config


def with_preset(presets: Mapping[str, Mapping[str, str]], argv: Sequence[str]) -> list[str]:
    """The command line after the settings of the preset that it names, without those that it sets itself."""
    given = {str(override.key_or_group): override.value() for override in parse(argv)}
    preset = presets.get(str(given.get("preset")), {})
    return [*(f"{key}={value}" for key, value in preset.items() if key not in given), *argv]


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
        raise UserError(f"cannot resolve the configuration: {first_line(error)}") from error


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


# What Hydra and OmegaConf say, in words for the user --------------------------------------------------------------


def _translated(command: str, chosen: Iterable[Override], given: Iterable[Override]) -> DictConfig:
    """Hydra's compose, with its exceptions in words for the user."""
    try:
        return hydra_compose(command, overrides=[str(o.input_line) for o in chosen])
    except MissingConfigException as error:
        raise UserError(_choice_message(error)) from error
    except ConfigCompositionException as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, OmegaConfBaseException):
            raise UserError(_value_message(cause, given)) from error
        raise UserError(first_line(error)) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(first_line(error)) from error


def _choice_message(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if group in groups():
        return f"unknown {group} {name!r}; {nearest(name, options(group), f'known {group} choices')}"
    return first_line(error)


_TYPES = {
    "Integer": "a whole number",
    "valid bool": "true or false",
    "Float": "a number",
    "String": "text",
}


def _value_message(error: Exception, given: Iterable[Override] = ()) -> str:
    """``seed='abc' is not a whole number`` from what OmegaConf says."""
    key = str(getattr(error, "full_key", "") or "")
    text = first_line(error)
    if isinstance(error, ConfigKeyError) and dataclasses.is_dataclass(error.object_type):
        names = [field.name for field in dataclasses.fields(error.object_type)]
        return f"unknown key {key!r}; {nearest(key.rpartition('.')[2], names, 'known keys')}"
    if not isinstance(error, ValidationError):
        return text
    expected = next((words for name, words in _TYPES.items() if name in text), None)
    value = next((str(o.input_line).partition("=")[2] for o in given if o.key_or_group == key), None)
    value = value if value is not None else (re.findall(r"Value '(.*?)'", text) or ["?"])[0]
    return f"{key}={value}: {f'must be {expected}' if expected else text}"
