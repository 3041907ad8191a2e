"""A resumable graph of jobs: each is a command in a process of its own, at most a few at once.

A job's folder is ``<work>/<name>/<digest of its command>`` and holds ``log.txt`` (what the command printed), ``out``
(what it wrote) and, once it has succeeded, ``done.json``. A job with other settings is another job, in another folder;
since commands name the folders of the jobs they need, so are all that come after it. A job that was interrupted goes on
from its last checkpoint, if its command can (`embodied train`, `pretrain`), and starts afresh otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embodied import checkpoint as checkpoints

from ..config import ROOT

OUT = "{out}"
"""Stands in a command for the path that the job writes."""
PAUSE = 0.05  # seconds between two looks at the running processes
TAIL = 15  # lines of a failed job's log that are told
CLI = (sys.executable, "-m", "scripts.cli")
RESUME = ("train", "pretrain")
"""Commands of the suite that can go on with a run that was stopped."""


@dataclass(frozen=True)
class Job:
    """A command and what has to be done before it.

    name: unique in a graph; a relative path.
    command: argv; ``{out}`` in it becomes :attr:`out`.
    needs: names of other jobs.
    resume: argv that goes on with a run folder, ``{out}``; empty: there is none.
    """

    name: str
    command: tuple[str, ...]
    work: Path
    needs: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the job lives; the digest leaves out where the work and the interpreter lie."""
        words = [word.replace(str(self.work), "") for word in self.command if word != sys.executable]
        return self.work / self.name / hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]

    @property
    def out(self) -> Path:
        """What the command writes, a file or a folder."""
        return self.folder / "out"

    @property
    def log(self) -> Path:
        """What the command printed."""
        return self.folder / "log.txt"

    @property
    def record(self) -> Path:
        """Written when the command has succeeded: ``command`` and the ``seconds`` of its last attempt."""
        return self.folder / "done.json"

    @property
    def done(self) -> bool:
        """Whether the command has succeeded before and what it wrote is still there."""
        return self.record.exists() and self.out.exists()

    @property
    def begun(self) -> bool:
        """Whether an interrupted attempt has left something to go on with."""
        return bool(self.resume) and checkpoints.latest(self.out) is not None

    def argv(self, resume: bool = False) -> list[str]:
        """The command line, or that to go on."""
        return [word.replace(OUT, str(self.out)) for word in (self.resume if resume else self.command)]


def suite_job(name: str, arguments: Iterable[str], work: Path, needs: Sequence[Job] = ()) -> Job:
    """A job that runs ``embodied <arguments>``."""
    arguments = tuple(arguments)
    resume = (*CLI, arguments[0], f"resume={OUT}") if arguments[0] in RESUME else ()
    return Job(name, (*CLI, *arguments), work, tuple(job.name for job in needs), resume)


def module_job(
    name: str, module: str, settings: Mapping[str, Any], work: Path, needs: Sequence[Job] = (), resumes: bool = False
) -> Job:
    """A job that runs a module of the suite with settings as JSON and the path that it writes.

    resumes: called once more, it goes on from the checkpoints that it has left.
    """
    command = (sys.executable, "-m", module, json.dumps(settings, sort_keys=True), OUT)
    return Job(name, command, work, tuple(job.name for job in needs), command if resumes else ())


@dataclass
class Outcome:
    """How a graph ended.

    done: names of the jobs whose output is there.
    failed: name -> what went wrong, with the end of the log.
    skipped: name -> the need that was not met.
    """

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def run(jobs: Iterable[Job], processes: int = 2, say: Callable[[str], None] = print) -> Outcome:
    """Run what is not done yet; where a job fails, those that do not need it go on.

    Raises:
        ValueError: a need that no job has, jobs that need each other, or two different jobs of one name.
    """
    graph = unique(jobs)
    _check(graph)
    outcome = Outcome(done={name for name, job in graph.items() if job.done})
    waiting = [job for name, job in graph.items() if name not in outcome.done]
    if waiting:
        say(f"{len(graph)} jobs, {len(outcome.done)} of them done before; {processes} at once")
    running: dict[str, _Running] = {}
    with _stopping(running):
        while waiting or running:
            waiting = _start(waiting, running, processes, outcome)
            time.sleep(PAUSE)
            _reap(running, outcome, len(graph), say)
    return outcome


def unique(jobs: Iterable[Job]) -> dict[str, Job]:
    """The jobs by name, in their order; the same job may come twice."""
    graph: dict[str, Job] = {}
    for job in jobs:
        if graph.setdefault(job.name, job) != job:
            raise ValueError(f"two different jobs are named {job.name}")
    return graph


def _check(graph: Mapping[str, Job]) -> None:
    unknown = {need for job in graph.values() for need in job.needs} - set(graph)
    if unknown:
        raise ValueError(f"needed, and no job: {', '.join(sorted(unknown))}")
    settled: set[str] = set()
    while left := [job for job in graph.values() if job.name not in settled]:
        free = {job.name for job in left if settled.issuperset(job.needs)}
        if not free:
            raise ValueError(f"jobs that need each other: {', '.join(sorted(job.name for job in left))}")
        settled |= free


# Processes ---------------------------------------------------------------------------------------------------------


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    since: float
    resumed: bool


@contextlib.contextmanager
def _stopping(running: Mapping[str, _Running]) -> Iterator[None]:
    """However the block ends, by SIGTERM too, no process outlives it."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for entry in running.values():
            entry.process.terminate()
        for entry in running.values():
            entry.process.wait()


def _start(waiting: Sequence[Job], running: dict[str, _Running], processes: int, outcome: Outcome) -> list[Job]:
    """Start what can start and give up what cannot; the jobs that still wait."""
    left = []
    for job in waiting:
        lost = [need for need in job.needs if need in outcome.failed or need in outcome.skipped]
        if lost:
            outcome.skipped[job.name] = lost[0]
        elif len(running) < processes and outcome.done.issuperset(job.needs):
            running[job.name] = _launch(job, job.begun)
        else:
            left.append(job)
    return left


def _launch(job: Job, resume: bool) -> _Running:
    if not resume:
        shutil.rmtree(job.folder, ignore_errors=True)  # what an interrupted attempt has left
        job.folder.mkdir(parents=True)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    with job.log.open("ab") as log:
        process = subprocess.Popen(job.argv(resume), stdout=log, stderr=subprocess.STDOUT, env=environment)
    return _Running(job, process, time.monotonic(), resume)


def _reap(running: dict[str, _Running], outcome: Outcome, total: int, say: Callable[[str], None]) -> None:
    """Take note of the processes that have ended."""
    for name, entry in list(running.items()):
        status = entry.process.poll()
        if status is None:
            continue
        del running[name]
        seconds = time.monotonic() - entry.since
        if status == 0 and entry.job.out.exists():
            _write_record(entry.job, seconds)
            outcome.done.add(name)
            say(f"[{len(outcome.done)}/{total}] {name}: {seconds:.0f} s{' more' if entry.resumed else ''}")
        elif entry.resumed:
            say(f"{name} could not go on, and starts afresh; the end of {entry.job.log}:\n{tail(entry.job.log)}")
            running[name] = _launch(entry.job, resume=False)
        else:
            reason = f"exit status {status}" if status else "it wrote nothing"
            outcome.failed[name] = f"{reason}; the end of {entry.job.log}:\n{tail(entry.job.log)}"
            say(f"{name} failed: {outcome.failed[name]}")


def _write_record(job: Job, seconds: float) -> None:
    temporary = job.record.with_suffix(".tmp")
    temporary.write_text(json.dumps({"command": job.argv(), "seconds": seconds}, indent=1) + "\n", encoding="utf-8")
    temporary.replace(job.record)


def tail(log: Path, lines: int = TAIL) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def last_json(log: Path) -> dict[str, Any]:
    """The JSON object that a command prints as its last line."""
    return json.loads(tail(log, 1))
