"""What this machine can do, and the command that mends what is missing.

embodied doctor
embodied doctor --json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from . import probes
from .config import UserError
from .probes import Check

MARKS = {"ok": "[green]ok[/green]", "missing": "[yellow]--[/yellow]", "broken": "[red]!![/red]"}


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 unless something that everything needs is broken."""
    unknown = [argument for argument in argv if argument != "--json"]
    if unknown:
        raise UserError(f"unknown option {unknown[0]!r}; embodied doctor takes --json and nothing else")
    sections = examine(quiet="--json" in argv)
    broken = any(check.status == "broken" for check in sections["core"])
    if "--json" in argv:
        content = {name: [check.as_dict() for check in checks] for name, checks in sections.items()}
        print(json.dumps({"core_works": not broken, **content}, indent=2))
    else:
        show(sections, broken)
    return int(broken)


def examine(quiet: bool = False) -> dict[str, list[Check]]:
    """Every check, by section: core, graphics, accelerators, extras."""
    sections: dict[str, list[Check]] = {}
    for name, section in probes.SECTIONS.items():
        if not quiet and sys.stderr.isatty():
            print(f"\rlooking at: {name:20s}", end="", file=sys.stderr, flush=True)
        sections[name] = section()
    if not quiet and sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    return sections


def show(sections: dict[str, list[Check]], broken: bool) -> None:
    """The findings as a table, then what to do."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for name, checks in sections.items():
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        for check in checks:
            table.add_row(f"  {MARKS[check.status]}", check.name, escape(check.detail))
        console.print(f"[bold]{name}[/bold]")
        console.print(table, "")
    advice = [check for checks in sections.values() for check in checks if check.mend]
    if advice:
        console.print("[bold]to mend, or to add[/bold]")
    for check in advice:
        console.print(f"  {check.name}: [cyan]{escape(check.mend)}[/cyan]", soft_wrap=True, highlight=False)
    verdict = "[red]the core is broken: nothing will run before that is mended" if broken else "[green]the core works"
    console.print(("\n" if advice else "") + verdict)
