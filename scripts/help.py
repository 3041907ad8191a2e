"""``embodied <command> --help``: the module's own header, and its settings from the dataclass that defines them."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .config import CONFIGS, groups, options, schema_node


def print_help(name: str, summary: str, module: ModuleType) -> None:
    """Usage, examples and every setting with its default and meaning."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"[bold]embodied {name}[/bold] - {summary}\n", highlight=False)
    for line in _examples(module):
        console.print(f"  [cyan]{escape(line)}[/cyan]", highlight=False)
    for title, (schema, config) in schemas(module, name).items():
        console.print(f"\n[bold]{title}[/bold]", highlight=False)
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        for key, default, meaning in settings(schema, config):
            table.add_row(f"  [cyan]{escape(key)}[/cyan]", escape(default), escape(meaning))
        console.print(table)


def schemas(module: ModuleType, name: str) -> dict[str, tuple[type, str]]:
    """Title -> the dataclass of the settings and the name of their YAML: the module's SCHEMAS, or its one SCHEMA."""
    several = getattr(module, "SCHEMAS", None)
    if several is not None:
        return several
    return {"Settings": (module.SCHEMA, name)} if hasattr(module, "SCHEMA") else {}


def _examples(module: ModuleType) -> list[str]:
    """The command lines of the module's header."""
    lines = [line.strip() for line in (module.__doc__ or "").splitlines()]
    return [line for line in lines if line.startswith(("embodied ", "torchrun ", "python "))]


def settings(schema: type, command: str) -> list[tuple[str, str, str]]:
    """(key, default, meaning) of every setting; the YAML's choice goes before the dataclass's default."""
    chosen = _chosen(command)
    rows: list[tuple[str, str, str]] = []
    meanings = docs(schema)
    for key, default in _leaves(schema_node(schema)):
        group = key in groups() and key in chosen
        values = f" ({', '.join(options(key))})" if group else ""
        shown = _shown(chosen[key]) if key in chosen else default
        rows.append((key, shown, meanings.get(key, "") + values))
    return sorted(rows, key=lambda row: (row[1] != "required", row[0] not in groups(), "." in row[0]))


def _chosen(command: str) -> dict[str, Any]:
    """The values and group choices that ``configs/<command>.yaml`` states."""
    path = CONFIGS / f"{command}.yaml"
    if not path.exists():
        return {}
    content = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(content, dict)
    defaults = [entry for entry in content.pop("defaults", []) if isinstance(entry, dict)]
    chosen = {str(key): value for entry in defaults for key, value in entry.items() if " " not in str(key)}
    return chosen | {str(key): value for key, value in content.items()}


def _leaves(node: DictConfig, prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key in map(str, node):
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none() and len(child):
            found += _leaves(child, f"{prefix}{key}.")
        else:
            required = OmegaConf.is_missing(node, key)
            found.append((f"{prefix}{key}", "required" if required else _shown(node[key])))
    return found


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def docs(schema: type, prefix: str = "") -> dict[str, str]:
    """Setting -> meaning, from the lines ``key: meaning.`` of the dataclass's docstring and its parents'."""
    found: dict[str, str] = {}
    for cls in reversed(schema.__mro__):
        found |= {f"{prefix}{key}": text for key, text in _doc_lines(inspect.cleandoc(cls.__doc__ or "")).items()}
    for name, field in getattr(schema, "__dataclass_fields__", {}).items():
        kind = field.default_factory
        if isinstance(kind, type) and is_dataclass(kind):
            found |= docs(kind, f"{prefix}{name}.")
    return found


def _doc_lines(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    keys: list[str] = []
    for part in re.split(r"\n|(?<=\.)  (?=\w+: )", text):
        match = re.match(r"(\w+(?:, \w+)*): (.*)", part)
        if match:
            keys = match[1].split(", ")
        elif not part.startswith("    "):
            keys = []
        for key in keys:
            found[key] = f"{found[key]} {part.strip()}" if not match else match[2]
    return {key: meaning.rstrip(".").replace("``", "") for key, meaning in found.items()}
