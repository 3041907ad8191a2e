"""Write a run's report: one HTML file with curves, evaluation, video, bundle, configuration and provenance.

embodied report run_dir=RUN
embodied report run_dir=RUN out=report.html video=walk.mp4
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from .config import compose, typed


@dataclass(frozen=True)
class ReportConfig:
    """The settings of a report.

    run_dir: the run's folder.
    out: the HTML file; null: report.html in the run folder.
    video: an MP4 file to show; null: video.mp4 in the run folder, if it is there.
    bundle: the exported bundle; null: bundle in the run folder, if it is there.
    """

    run_dir: str = MISSING
    out: str | None = None
    video: str | None = None
    bundle: str | None = None


SCHEMA = ReportConfig


def main(argv: Sequence[str]) -> int:
    """Run the command; the last line of stdout is a JSON object."""
    from .reporting.data import read_run
    from .reporting.page import render
    from .reporting.verdict import verdict

    config: ReportConfig = typed(ReportConfig, compose(ReportConfig, "report", argv))
    run_dir = Path(config.run_dir).expanduser()
    out = Path(config.out) if config.out else run_dir / "report.html"
    run = read_run(run_dir, _path(config.video), _path(config.bundle))
    page = render(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.part")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(out)
    state, word, sentence = verdict(run)
    print(f"{word}: {sentence}\nwrote {out} ({len(page) / 1e6:.1f} MB)", file=sys.stderr, flush=True)
    print(json.dumps({"report": str(out), "verdict": word, "state": state, "notes": run.notes}))
    return 0


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name).expanduser()
