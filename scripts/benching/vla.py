"""`embodied bench vla`: any policies on the rows of put_on_plate, with shared episodes; or a comparison of methods."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embodied.provenance import provenance
from envs.graphics import NoGraphicsError, choose_gl

from ..config import UserError
from . import jobs, vla_compare
from .vla_config import VLABenchConfig, configure
from .vla_figures import ByRow, Result
from .vla_gallery import Shot, choose
from .vla_methods import Methods
from .vla_players import fixed
from .vla_row import FILMS, PLAYED, FilmSettings, RowSettings
from .vla_tables import document, write

SWAPPED_ROW = "two_objects_seen"
"""The row that is also played with the other object named."""


@dataclass(frozen=True)
class Entry:
    """A policy of the table: where its weights lie, and their digest."""

    source: str
    digest: str


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, or 1 if a job failed (what the others have shown is written all the same)."""
    config = configure(argv)
    work, outcome = Path(config.work).resolve(), jobs.Outcome()
    if config.compare:
        trained = vla_compare.train(config, work, outcome)
        entries, methods = {name: Entry(*fixed(path)) for name, path in trained.sources.items()}, trained.methods
    else:
        entries, methods = {name: Entry(*fixed(path)) for name, path in named(config.policies).items()}, None
    results, swapped = play(config, entries, work, outcome)
    shots = choose({name: results[name] for name in shown(methods, results)}, config.gallery)
    films = film(config, entries, shots, work, outcome)
    found = document(results, swapped, methods, config.level, config.resamples)
    for name, entry in entries.items():
        if name in found["policies"]:
            found["policies"][name] |= asdict(entry)
    name = config.name or ("compare" if config.compare else "rows")
    about = {"name": name, "episodes": config.episodes, "seed": config.seed, "failed": sorted(outcome.failed)}
    about["provenance"] = provenance(config.seed, ["embodied", "bench", *argv])
    paths = write({**about, **found}, films, Path(config.out), name)
    for failed, reason in outcome.failed.items():
        print(f"failed: {failed}: {reason}")
    print("\n".join(f"written to {path}" for path in paths))
    print(json.dumps({"results": str(paths[0]), "failed": len(outcome.failed)}))
    return 1 if outcome.failed else 0


def named(policies: Any) -> dict[str, str]:
    """Name -> source; a name that is not given is that of the run's folder, with a number where it would come twice."""
    if isinstance(policies, Mapping):
        return {str(name): str(source) for name, source in policies.items()}
    found: dict[str, str] = {}
    for source in [policies] if isinstance(policies, str) else policies:
        path = Path(str(source))
        step = path.name.startswith("step_") and path.parent.name == "checkpoints"
        name = plain_name = (path.parents[1] if step else path).resolve().name
        number = 2
        while name in found:
            name, number = f"{plain_name}-{number}", number + 1
        found[name] = str(source)
    return found


def shown(methods: Methods | None, results: Mapping[str, ByRow]) -> list[str]:
    """Whose failures are filmed: everybody's; of methods those of the first seed's last checkpoint."""
    if methods is None:
        return list(results)
    return [name for entry in methods[vla_compare.SAMPLES].values() if (name := entry["policies"][0]) in results]


# Jobs ---------------------------------------------------------------------------------------------------------------


def run(config: VLABenchConfig, batch: Sequence[jobs.Job], outcome: jobs.Outcome) -> None:
    """Run what is not done; what went wrong is added to the outcome."""
    done = jobs.run(batch, config.processes, lambda line: print(line, flush=True))
    outcome.failed |= done.failed
    outcome.skipped |= done.skipped


def row_job(config: VLABenchConfig, name: str, entry: Entry, row: str, work: Path, swap: bool = False) -> jobs.Job:
    """A policy on a row."""
    settings = RowSettings(
        **asdict(entry),
        row=row,
        episodes=config.episodes,
        seed=config.seed,
        num_worlds=config.num_worlds,
        num_threads=config.num_threads,
        swap=swap,
    )
    return jobs.module_job(f"rows/{name}/{row}{'_swapped' if swap else ''}", PLAYED, asdict(settings), work)


def play(
    config: VLABenchConfig, entries: Mapping[str, Entry], work: Path, outcome: jobs.Outcome
) -> tuple[dict[str, ByRow], dict[str, Result]]:
    """policy -> row -> result, and policy -> result with the other object named; what failed is not there."""
    plan = {
        (name, row): row_job(config, name, entry, row, work) for name, entry in entries.items() for row in config.rows
    }
    swaps = {
        name: row_job(config, name, entry, SWAPPED_ROW, work, swap=True)
        for name, entry in entries.items()
        if SWAPPED_ROW in config.rows
    }
    run(config, [*plan.values(), *swaps.values()], outcome)
    results: dict[str, dict[str, Result]] = {}
    for (name, row), job in plan.items():
        if job.done:
            results.setdefault(name, {})[row] = _read(job.out)
    if not results:
        raise UserError(f"no row could be played: {'; '.join(outcome.failed.values())}")
    return dict(results), {name: _read(job.out) for name, job in swaps.items() if job.done}


def film(
    config: VLABenchConfig, entries: Mapping[str, Entry], shots: Sequence[Shot], work: Path, outcome: jobs.Outcome
) -> list[tuple[Shot, str, Path]]:
    """The shots with what the episode came to when it was played again, and the film; none where nothing draws."""
    try:
        choose_gl()  # the jobs inherit it
    except NoGraphicsError as error:
        print(f"no films: {error}")
        return []
    plan = []
    for shot in shots:
        entry = entries[shot.policy]
        settings = FilmSettings(**asdict(entry), row=shot.row, number=shot.number, num_threads=config.num_threads)
        name = f"films/{shot.policy}/{shot.row}_{shot.number}"
        plan.append((shot, jobs.module_job(name, FILMS, asdict(settings), work)))
    run(config, [job for _, job in plan], outcome)
    return [(shot, jobs.last_json(job.log)["outcome"], job.out) for shot, job in plan if job.done]


def _read(path: Path) -> Result:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
