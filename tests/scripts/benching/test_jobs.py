from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from embodied import checkpoint as checkpoints
from embodied.metrics import read_jsonl
from scripts.benching.jobs import OUT, Job, last_json, run, suite_job, unique
from scripts.config import ROOT

from ..helpers import TINY, tiny_run

WRITE = "import sys; open(sys.argv[1], 'a').write('x')"


def job(work: Path, name: str, code: str = WRITE, needs: tuple[str, ...] = ()) -> Job:
    return Job(name, (sys.executable, "-c", code, OUT), work, needs)


def quiet(_: str) -> None:
    pass


def test_what_a_job_leaves(tmp_path: Path) -> None:
    made = job(tmp_path, "a/b", WRITE + "; print('hello'); print('{\"x\": 1}')")
    assert not made.done
    assert run([made], say=quiet).done == {"a/b"}
    assert made.done and made.out.read_text() == "x"
    assert "hello" in made.log.read_text() and last_json(made.log) == {"x": 1}
    assert json.loads(made.record.read_text())["seconds"] > 0
    assert made.folder.parent == tmp_path / "a" / "b"


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    made = job(tmp_path, "a")
    run([made], say=quiet)
    since = made.record.stat().st_mtime_ns
    assert run([made], say=quiet).done == {"a"}
    assert made.record.stat().st_mtime_ns == since


def test_an_interrupted_job_starts_afresh(tmp_path: Path) -> None:
    made = job(tmp_path, "a")
    made.folder.mkdir(parents=True)
    made.out.write_text("half")
    run([made], say=quiet)
    assert made.out.read_text() == "x"


TRAIN = ["train", *TINY, "total_steps=128", "checkpoint_interval=64", "run_dir={out}"]


@pytest.mark.slow
def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    whole, halved = (suite_job("a", TRAIN, tmp_path / work) for work in ("whole", "halved"))
    run([whole], say=quiet)
    tiny_run(halved.out, "total_steps=64", "checkpoint_interval=64")  # stopped halfway
    OmegaConf.save(OmegaConf.load(whole.out / "config.yaml"), halved.out / "config.yaml")
    assert halved.begun and not halved.done
    said: list[str] = []
    assert run([halved], say=said.append).done == {"a"} and "more" in said[-1]
    ends = [checkpoints.latest(job.out) for job in (whole, halved)]
    assert ends[0].name == ends[1].name
    assert (ends[0] / "model.safetensors").read_bytes() == (ends[1] / "model.safetensors").read_bytes()
    steps = [record["step"] for record in read_jsonl(halved.out / "metrics.jsonl")]
    assert steps == [record["step"] for record in read_jsonl(whole.out / "metrics.jsonl")]


@pytest.mark.slow
def test_a_run_that_failed_is_not_gone_on_with(tmp_path: Path) -> None:
    made = suite_job("a", TRAIN, tmp_path)
    tiny_run(made.out, "total_steps=64")
    (made.out / "config.yaml").write_text("nonsense: true\n")
    assert "not a run of" in run([made], say=quiet).failed["a"] and not made.begun
    assert checkpoints.latest(made.out) is not None  # whoever wants it can look at it until the next call
    said: list[str] = []
    assert run([made], say=said.append).done == {"a"} and "more" not in said[-1]
    assert checkpoints.latest(made.out).name.endswith("128")


@pytest.mark.slow
def test_a_run_whose_end_nobody_took_note_of_is_done(tmp_path: Path) -> None:
    made = suite_job("a", TRAIN, tmp_path)
    tiny_run(made.out, "total_steps=128")
    assert run([made], say=quiet).done == {"a"} and made.done and not made.log.exists()


GENTLE = """
import os, signal, sys, time
for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(kind, lambda number, _: open(sys.argv[1] + ".signals", "a").write(f"{number} "))
open(sys.argv[1] + ".ready", "w").close()
while not os.path.exists(sys.argv[1] + ".signals") and not os.path.exists(sys.argv[1] + ".enough"):
    time.sleep(0.02)
time.sleep(0.5)  # a checkpoint is written
open(sys.argv[1], "w").close()
"""
RUNNER = """
import signal, sys
from pathlib import Path
from scripts.benching.jobs import OUT, Job, run
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests themselves may run in the background
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[3]))
run([Job("a", (sys.executable, "-c", sys.argv[2], OUT), Path(sys.argv[1]))])
"""


@contextmanager
def running(work: Path, hang_up: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A bench in a process group of its own, and where its one job, which runs, writes."""
    command = [sys.executable, "-c", RUNNER, str(work), GENTLE, hang_up]
    runner = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        while not (ready := list(work.rglob("out.ready"))):
            assert runner.poll() is None
            time.sleep(0.05)
        yield runner, ready[0].with_name("out")
    finally:
        runner.terminate()
        runner.wait(timeout=30)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGHUP])
def test_the_terminal_stops_a_job_by_one_signal(tmp_path: Path, kind: signal.Signals) -> None:
    with running(tmp_path, "SIG_DFL") as (runner, out):
        os.killpg(runner.pid, kind)  # as Ctrl-C does, or a terminal that is closed
        assert runner.wait(timeout=30) != 0
    assert out.with_name("out.signals").read_text().split() == [str(int(signal.SIGTERM))]


def test_under_nohup_it_outlives_the_terminal(tmp_path: Path) -> None:
    with running(tmp_path, "SIG_IGN") as (runner, out):
        os.killpg(runner.pid, signal.SIGHUP)
        time.sleep(0.3)
        assert runner.poll() is None and not out.with_name("out.signals").exists()
        out.with_name("out.enough").touch()
        assert runner.wait(timeout=30) == 0 and out.exists()


def test_other_settings_are_another_job(tmp_path: Path) -> None:
    first, second = job(tmp_path, "a"), job(tmp_path, "a", WRITE + ";")
    run([first], say=quiet)
    assert first.done and not second.done
    assert first.folder.parent == second.folder.parent


def test_the_work_may_be_moved(tmp_path: Path) -> None:
    def after(work: Path) -> Job:
        return Job("b", (sys.executable, str(job(work, "a").out)), work)

    assert after(tmp_path).folder.name == after(tmp_path / "elsewhere").folder.name


def test_threads_make_no_other_job(tmp_path: Path) -> None:
    folders = {suite_job("a", ["demos", f"num_threads={n}", "out={out}"], tmp_path).folder for n in (1, 2)}
    assert len(folders) == 1


def test_jobs_wait_for_what_they_need(tmp_path: Path) -> None:
    first = job(tmp_path, "first", "import sys, time; time.sleep(0.3); open(sys.argv[1], 'w').write('1')")
    reading = f"import sys; open(sys.argv[1], 'w').write(open({str(first.out)!r}).read() + '2')"
    second = job(tmp_path, "second", reading, ("first",))
    assert run([second, first], say=quiet).done == {"first", "second"}
    assert second.out.read_text() == "12"


def test_a_failure_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    bad = job(tmp_path, "bad", "print('before'); raise RuntimeError('no luck')")
    silent = job(tmp_path, "silent", "pass")
    after, last = job(tmp_path, "after", needs=("bad",)), job(tmp_path, "last", needs=("after",))
    said: list[str] = []
    outcome = run([bad, after, last, silent, job(tmp_path, "good")], say=said.append)
    assert outcome.done == {"good"}
    assert set(outcome.failed) == {"bad", "silent"}
    assert "exit status 1" in outcome.failed["bad"] and "RuntimeError: no luck" in outcome.failed["bad"]
    assert "wrote nothing" in outcome.failed["silent"]
    assert outcome.skipped == {"after": "bad", "last": "after"}
    assert any("bad failed" in line for line in said)
    # Once mended, only what is missing is run.
    assert run([job(tmp_path, "bad"), after, last], say=quiet).done == {"bad", "after", "last"}


@pytest.mark.parametrize("processes", [1, 2])
def test_no_more_than_so_many_at_once(tmp_path: Path, processes: int) -> None:
    code = "import sys, time; a = time.time(); time.sleep(0.2); open(sys.argv[1], 'w').write(f'{a} {time.time()}')"
    made = [job(tmp_path, f"{i}", code) for i in range(4)]
    run(made, processes, quiet)
    spans = [tuple(map(float, one.out.read_text().split())) for one in made]
    overlaps = [sum(a < begin < b for a, b in spans) for begin, _ in spans]
    assert max(overlaps) <= processes - 1


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
def test_no_process_outlives_an_interruption(tmp_path: Path, how: str) -> None:
    slow = job(tmp_path, "slow", "import time; time.sleep(60)")
    bad = job(tmp_path, "bad", "raise SystemExit(3)")

    def stop(line: str) -> None:
        if "failed" in line and how == "terminate":
            signal.raise_signal(signal.SIGTERM)
        elif "failed" in line:
            raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt if how == "interrupt" else SystemExit):
        run([slow, bad], 2, stop)
    assert time.monotonic() - begin < 20
    assert not slow.done


def test_graphs_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needed, and no job: nobody"):
        run([job(tmp_path, "a", needs=("nobody",))])
    with pytest.raises(ValueError, match="need each other: a, b"):
        run([job(tmp_path, "a", needs=("b",)), job(tmp_path, "b", needs=("a",))])
    with pytest.raises(ValueError, match="two different jobs are named a"):
        unique([job(tmp_path, "a"), job(tmp_path, "a", "pass")])
    assert list(unique([job(tmp_path, "a"), job(tmp_path, "a")])) == ["a"]
