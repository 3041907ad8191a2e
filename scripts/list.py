"""What there is: tasks, policies, robots, shipped checkpoints, recent runs.

embodied list
embodied list tasks
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from embodied import checkpoint as checkpoints

from .common import SHIPPED, recent_runs, shipped
from .config import CONFIGS, ROOT, UserError, nearest, options

Rows = list[tuple[str, str]]


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    for word in argv:
        if word not in SECTIONS:
            raise UserError(f"cannot list {word!r}; {nearest(word, SECTIONS, 'sections')}")
    for number, name in enumerate(argv or SECTIONS):
        show(name, SECTIONS[name](), first=number == 0)
    return 0


def tasks() -> Rows:
    """Every task, with the description that its YAML gives."""
    return [(name, described("task", name)) for name in options("task")]


def policy_kinds() -> Rows:
    """Every policy, with the first comment of its YAML."""
    return [(name, described("policy", name)) for name in options("policy")]


def robots() -> Rows:
    """Every robot: a module of ``envs/robots``, with its header's first line."""
    files = sorted((ROOT / "envs" / "robots").glob("*.py"))
    models = [path for path in files if (ROOT / "assets" / "robots" / path.stem).is_dir()]
    return [(path.stem, header(path)) for path in models]


def shipped_checkpoints() -> Rows:
    """Every checkpoint that comes with the suite, with its task and how long it was trained."""
    return [(name, trained(SHIPPED / name)) for name in shipped()]


def runs() -> Rows:
    """The newest run folders below ``runs/``."""
    return [(str(run), trained(run)) for run in recent_runs(10)]


SECTIONS: dict[str, Callable[[], Rows]] = {
    "tasks": tasks,
    "policies": policy_kinds,
    "robots": robots,
    "checkpoints": shipped_checkpoints,
    "runs": runs,
}


def described(group: str, name: str) -> str:
    """The ``description`` of a YAML file, or else its first comment."""
    path = CONFIGS / group / f"{name}.yaml"
    content = OmegaConf.load(path)
    if "description" in content:
        return str(content.description)
    comments = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    return next((line for line in comments if not line.startswith("@package")), "").strip()


def header(path: Path) -> str:
    """The first line of a module's docstring, without importing it."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].replace("``", "")


def trained(folder: Path) -> str:
    """``go2_velocity, 6.0M steps, seed 0`` of a checkpoint or a run folder."""
    try:
        found = checkpoints.load(folder)
    except checkpoints.CheckpointError as error:
        return f"unreadable: {error}"
    policy = found.config.get("policy", {}).get("kind", "?")
    return f"{found.spec.name}, {policy}, {found.env_steps / 1e6:.2g}M steps, seed {found.config.get('seed', '?')}"


def show(title: str, rows: Rows, first: bool) -> None:
    """A table on a terminal, tab-separated lines elsewhere."""
    if not sys.stdout.isatty():
        for name, text in rows:
            print(f"{title}\t{name}\t{text}")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not first:
        console.print()
    console.print(f"[bold]{title}[/bold]")
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    for name, text in rows or [("none yet", "")]:
        table.add_row(f"  [cyan]{escape(name)}[/cyan]", escape(text))
    console.print(table)
