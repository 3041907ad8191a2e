"""The suite's bookkeeping, with sections that end at once."""

import json

import pytest
import torch

from scripts import gpu_suite


def run(tmp_path, *arguments: str) -> tuple[int, dict]:
    out = tmp_path / "gpu.json"
    status = gpu_suite.main(["--device", "cpu", "--num-worlds", "2", "--quick", "--out", str(out), *arguments])
    return status, json.loads(out.read_text())


@pytest.mark.slow
def test_a_failing_section_is_recorded_and_the_others_run(tmp_path, capsys):
    status, results = run(tmp_path, "--task", "no_such_task", "--only", "environment", "tests")
    assert status == 1
    failed, passed = results["sections"]["environment"], results["sections"]["tests"]
    assert failed["status"] == "failed" and "unknown task 'no_such_task'" in failed["error"] and failed["seconds"] > 0
    assert passed["status"] == "ok" and "passed" in passed["result"]["summary"]
    assert results["arguments"]["num_worlds"] == 2 and results["provenance"]["versions"]["torch"] == torch.__version__
    assert "environment: failed" in capsys.readouterr().out


@pytest.mark.slow
def test_a_hanging_section_is_stopped(tmp_path):
    status, results = run(tmp_path, "--timeout", "0.1", "--only", "mjlab")
    assert status == 1 and "longer than 0.1 s" in results["sections"]["mjlab"]["error"]


def test_rate_counts_what_was_done_in_a_second(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 11.0])
    monkeypatch.setattr(gpu_suite.time, "perf_counter", lambda: next(clock))
    calls = []
    args = gpu_suite._arguments(["--device", "cpu", "--steps", "5", "--rounds", "2", "--warm-up", "1"])
    result = gpu_suite.rate(lambda: calls.append(1), 8, torch.device("cpu"), args)
    assert len(calls) == 1 + 2 * 5
    assert result == {"per_second": (20.0 + 40.0) / 2, "rounds": [20.0, 40.0]}  # 40 things in 2 s, then in 1 s


def test_file_names_are_plain(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200 (80GB)")
    assert gpu_suite._slug(torch.device("cuda")) == "nvidia_h200_80gb"
    assert gpu_suite._slug(torch.device("cpu")) == "cpu"


def test_without_cuda_the_way_out_is_named(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu_suite._arguments([])
    assert "--device cpu" in capsys.readouterr().err
