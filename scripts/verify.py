"""Check a bundle: exit status 0 if it is sound, 1 if it is not.

embodied verify bundle=BUNDLE
embodied verify bundle=BUNDLE checkpoint=RUN
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import MISSING

from .config import UserError, compose, typed
from .export import need_extra, rollouts, untouched

if TYPE_CHECKING:
    from sim2real.verify import Report


@dataclass(frozen=True)
class VerifyConfig:
    """The settings of a verification.

    bundle: the folder that `embodied export` wrote.
    checkpoint: also compare with the policy it came from, over fresh rollouts; null: the bundle alone.
    observations: of these rollouts.
    seed: of these rollouts; other than the export's, so that they are others.
    """

    bundle: str = MISSING
    checkpoint: str | None = None
    observations: int = 4096
    seed: int = 1


SCHEMA = VerifyConfig


def main(argv: Sequence[str]) -> int:
    """Run the command; the last line of stdout is a JSON object."""
    need_extra("onnxruntime")
    config: VerifyConfig = typed(VerifyConfig, compose(VerifyConfig, "verify", argv))
    folder = Path(config.bundle).expanduser()
    if not folder.is_dir():
        raise UserError(f"bundle={config.bundle}: no such folder; write one with `embodied export checkpoint=...`")
    report = verify(folder, config)
    show(report, folder)
    print(json.dumps({"bundle": str(folder), **report.to_dict()}))
    return 0 if report.passed else 1


def verify(folder: Path, config: VerifyConfig) -> Report:
    """The checks of the bundle, with those against a checkpoint if one is given."""
    from sim2real.verify import verify_bundle

    if config.checkpoint is None:
        return verify_bundle(folder)
    from sim2real.deployed import DeployedPolicy

    from .agents import load_agent

    agent = load_agent(config.checkpoint)
    try:
        reference = DeployedPolicy(agent.policy, agent.normalizer or untouched, agent.spec)
    except ValueError as error:
        raise UserError(str(error)) from error
    return verify_bundle(folder, reference, rollouts(agent, config.observations, config.seed))


def show(report: Report, folder: Path) -> None:
    """The checks as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    words = {True: "[green]ok[/green]", False: "[bold red]failed[/bold red]", None: "[yellow]not run[/yellow]"}
    table = Table(title=f"{folder}", title_justify="left")
    for name in ("check", "", "finding"):
        table.add_column(name, no_wrap=name != "finding")
    for check in report.checks:
        table.add_row(check.name, words[check.passed], escape(check.detail))
    console = Console()
    console.print(table)
    failed = ", ".join(check.name for check in report.failures)
    console.print(
        "[green]the bundle is sound[/green]" if report.passed else f"[bold red]not sound:[/bold red] {failed}"
    )
