"""One small bundle of each kind, made once; tests that spoil a bundle spoil a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sim2real.export import export_policy

from .toys import Agent, make_agent


@pytest.fixture(scope="session")
def mlp_agent() -> Agent:
    return make_agent("mlp", seed=0)


@pytest.fixture(scope="session")
def gru_agent() -> Agent:
    return make_agent("gru", seed=1)


@pytest.fixture(scope="session")
def flow_agent() -> Agent:
    """Chunks of 4 from histories of 3 observations, with noise that is drawn for every decision."""
    return make_agent("reinflow", seed=2, chunk=4, history=3, inference_noise="random")


@pytest.fixture(scope="session")
def mlp_bundle(tmp_path_factory: pytest.TempPathFactory, mlp_agent: Agent) -> Path:
    return _export(mlp_agent, tmp_path_factory.mktemp("mlp") / "bundle")


@pytest.fixture(scope="session")
def gru_bundle(tmp_path_factory: pytest.TempPathFactory, gru_agent: Agent) -> Path:
    return _export(gru_agent, tmp_path_factory.mktemp("gru") / "bundle")


@pytest.fixture(scope="session")
def flow_bundle(tmp_path_factory: pytest.TempPathFactory, flow_agent: Agent) -> Path:
    return _export(flow_agent, tmp_path_factory.mktemp("flow") / "bundle")


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda bundle: Path(shutil.copytree(bundle, tmp_path / "copy"))


def _export(agent: Agent, out: Path) -> Path:
    export_policy(agent.policy, agent.normalizer, agent.spec, out, agent.recording(), provenance={"commit": "abc"})
    return out
