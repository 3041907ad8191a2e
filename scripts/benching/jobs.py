"""A resumable graph of jobs: each is a command in a process of its own, at most a few at once.

A job's folder is ``<work>/<name>/<digest of its command>`` and holds ``log.txt`` (what the command printed), ``out``
(what it wrote) and, once it has succeeded, ``done.json``. A job with other settings is another job, in another folder;
since commands name the folders of the jobs they need, so are all that come after it. A job that was interrupted goes on
from its last checkpoint, if its command can (`embodied train`, `pretrain`); if not, or if it failed, it starts afresh.
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

from omegaconf import OmegaConf

from embodied import checkpoint as checkpoints

from ..config import ROOT

OUT = "{out}"
"""Stands in a command for the path that the job writes."""
PAUSE = 0.05  # seconds between two looks at the running processes
STOPS = (signal.SIGTERM, signal.SIGHUP)
TAIL = 15  # lines of a failed job's log that are told
CLI = (sys.executable, "-m", "scripts.cli")
RESUME = {"train": "total_steps", "pretrain": "steps"}
"""Commands of the suite that can go on with a run that was stopped, and the setting that says when it is complete."""
THREADS = "num_threads="
STOPPED = 130  # exit status of a run that was asked to stop, and has left a checkpoint


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
        """Where the job lives; the digest leaves out the threads, and where the work and the interpreter lie."""
        words = [word for word in self.command if word != sys.executable and not word.startswith(THREADS)]
        words = [word.replace(str(self.work), "") for word in words]
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
        """Written when the command has succeeded: ``command`` and ``seconds`` of its last attempt, null: not known."""
        return self.folder / "done.json"

    @property
    def done(self) -> bool:
        """Whether the command has succeeded before and what it wrote is still there."""
        return self.record.exists() and self.out.exists()

    @property
    def failure(self) -> Path:
        """There after a failure; such an attempt is not gone on with."""
        return self.folder / "failed"

    @property
    def begun(self) -> bool:
        """Whether an interrupted attempt has left something to go on with."""
        return bool(self.resume) and not self.failure.exists() and checkpoints.latest(self.out) is not None

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
    for job in graph.values():
        if job.begun and not job.done and _complete(job):
            _write_record(job, None)  # whoever was to take note of its end was killed
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
    """However the block ends, by a signal too, no process outlives it; each is asked to stop, once."""
    heeded = [kind for kind in STOPS if signal.getsignal(kind) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    before = [signal.signal(kind, lambda number, _: sys.exit(128 + number)) for kind in heeded]
    try:
        yield
    finally:
        for kind, handler in zip(heeded, before, strict=True):
            signal.signal(kind, handler)
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
        # In a session of its own, so that Ctrl-C reaches it through :func:`_stopping` alone: at a second signal a run
        # ends without a checkpoint.
        command = job.argv(resume)
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
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
        else:
            if status > 0 and status != STOPPED:
                entry.job.failure.touch()
            reason = f"exit status {status}" if status else "it wrote nothing"
            outcome.failed[name] = f"{reason}; the end of {entry.job.log}:\n{tail(entry.job.log)}"
            say(f"{name} failed: {outcome.failed[name]}")


def _complete(job: Job) -> bool:
    """Whether a run of `embodied train` or `pretrain` has come to its end."""
    command, newest, config = job.resume[len(CLI)], checkpoints.latest(job.out), job.out / "config.yaml"
    if command not in RESUME or newest is None or not config.exists():
        return False
    steps = OmegaConf.select(OmegaConf.load(config), RESUME[command])
    return steps is not None and int(newest.name.removeprefix("step_")) >= steps


def _write_record(job: Job, seconds: float | None) -> None:
    temporary = job.record.with_suffix(".tmp")
    temporary.write_text(json.dumps({"command": job.argv(), "seconds": seconds}, indent=1) + "\n", encoding="utf-8")
    temporary.replace(job.record)


def tail(log: Path, lines: int = TAIL) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def last_json(log: Path) -> dict[str, Any]:
    """The JSON object that a command prints as its last line."""
    return json.loads(tail(log, 1))
