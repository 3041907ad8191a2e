"""The directions of dependency: ``scripts -> {envs, policies, sim2real} -> embodied.{types, configuration, text}``."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("embodied", "policies", "envs", "sim2real", "scripts")
SHARED = ("embodied.types", "embodied.configuration", "embodied.text")
ALLOWED = {
    "embodied": (),
    "policies": SHARED,
    "envs": SHARED,
    "sim2real": SHARED,
    "scripts": ("embodied", "policies", "envs", "sim2real"),
}
"""What each package may import of its siblings: these modules and what lies below them."""
FORBIDDEN = ("torchvision", "timm", "lerobot")
"""No CPU build of torchvision exists beside a CPU build of torch, and the others need it."""
OPTIONAL = (
    *("onnx", "onnxscript", "onnxruntime", "viser", "mjviser", "warp", "mujoco_warp", "stable_baselines3", "rsl_rl"),
    *("tensordict", "mani_skill", "sapien", "transformers", "tokenizers", "peft", "diffusers", "ray", "wandb"),
    *("pytest", "matplotlib", "pyarrow", "h5py", "msgspec", "websockets"),
)
"""Packages that only an extra brings."""


def imported(source: str, package: str) -> Iterator[tuple[int, str]]:
    """(line, full name) of everything that a module of ``package`` imports, at any depth, type checking included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__", "find_spec"):
            words = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            yield from ((node.lineno, word) for word in words if not word.startswith("."))


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def wrong_arrows(source: str, package: str) -> list[str]:
    """The imports of siblings that a module of ``package`` (``envs.mujoco``, say) is not allowed."""
    top = package.split(".")[0]
    faults = []
    for line, name in imported(source, package):
        sibling = name.split(".")[0]
        if sibling == top or sibling not in PACKAGES:
            continue
        if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[top]):
            faults.append(f"line {line}: {package} imports {name}")
    return faults


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


@pytest.mark.parametrize("package", PACKAGES)
def test_dependencies_point_one_way(package: str) -> None:
    faults = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for fault in wrong_arrows(path.read_text(encoding="utf-8"), package_of(path))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("embodied", "import policies"),
        ("embodied", "def f():\n    from envs.registry import make"),
        ("policies", "from embodied.ppo import PPO"),
        ("policies", "from embodied import ppo"),
        ("policies", "import embodied"),
        ("envs.mujoco", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from policies import make"),
        ("envs.mujoco", "import importlib\nimportlib.import_module('sim2real.export')"),
        ("envs", "import embodied.types_of_another_kind"),
        ("sim2real", "import scripts.common as common"),
    ],
)
def test_a_wrong_arrow_is_caught(package: str, source: str) -> None:
    assert len(wrong_arrows(source, package)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("policies", "from embodied.types import Obs, Policy"),
        ("envs.tasks", "from embodied import types"),
        ("envs.tasks.classic", "from ...mujoco.batch import BatchPhysics\nfrom . import rewards"),
        ("embodied", "from .types import Policy\nimport torch"),
        ("scripts", "import embodied\nimport policies\nfrom sim2real.export import export"),
    ],
)
def test_a_right_arrow_passes(package: str, source: str) -> None:
    assert wrong_arrows(source, package) == []


def test_what_everyone_may_import_imports_next_to_nothing() -> None:
    """Otherwise the one arrow into ``embodied`` would lead to all of it."""
    for module in SHARED:
        path = ROOT / (module.replace(".", "/") + ".py")
        tops = {name.split(".")[0] for _, name in imported(path.read_text(encoding="utf-8"), "embodied")}
        assert tops - set(sys.stdlib_module_names) <= {"torch", "numpy"}, module


def test_relative_imports_are_resolved() -> None:
    names = [name for _, name in imported("from ...types import Obs\nfrom . import a", "embodied.datasets.hdf5")]
    assert names == ["embodied.types.Obs", "embodied.datasets.hdf5.a"]


def test_nothing_needs_torchvision() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in [*modules(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
        for line, name in imported(path.read_text(encoding="utf-8"), package_of(path))
        if name.split(".")[0] in FORBIDDEN
    ]
    assert not found, "\n".join(found)


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run_without(blocked: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process in which these packages are not installed."""
    program = BLOCKER.format(blocked=set(blocked)) + code
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_blocker_blocks() -> None:
    assert "blocked: onnx" in run_without(OPTIONAL, "import onnx").stderr


def test_the_packages_import_without_any_extra() -> None:
    names = "embodied, policies, envs, sim2real, embodied.train, embodied.imitation, scripts.train, scripts.steer"
    names += ", scripts.pretrain"
    done = run_without((*OPTIONAL, *FORBIDDEN), f"import {names}")
    assert done.returncode == 0, done.stderr


def test_a_task_and_a_policy_are_made_without_any_extra() -> None:
    code = """
import envs, policies
env = envs.make("hopper", num_worlds=2)
policy = policies.make({"kind": "mlp"}, env.spec)
obs = env.reset(seed=0)
assert env.step(policy.act(obs).action).reward.shape == (2,)
"""
    done = run_without((*OPTIONAL, *FORBIDDEN), code)
    assert done.returncode == 0, done.stderr


def test_the_runtime_on_the_robot_needs_numpy_and_onnxruntime_alone() -> None:
    blocked = ("torch", "mujoco", "gymnasium", "hydra", "omegaconf", "scipy", "rich", "cv2", "av", "onnx", "embodied")
    done = run_without(blocked, "import sim2real.runtime, sys; assert 'onnxruntime' in sys.modules")
    if "onnxruntime" in done.stderr:
        pytest.skip("the extra `export` is not installed")
    assert done.returncode == 0, done.stderr
