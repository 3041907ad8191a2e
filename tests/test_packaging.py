"""What ``pyproject.toml`` says is what the tree holds, and the tree's names are this distribution's alone."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .test_layout import PACKAGES, ROOT, imported, modules, package_of

NAME = "embodied-rl-suite"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "hydra": "hydra-core",
    "rsl_rl": "rsl-rl-lib",
    "warp": "warp-lang",
    "yaml": "pyyaml",
}
"""Import names that are not their distribution's name."""

PEERS = {"mjlab"}
"""Other suites that ours is measured against where someone has installed them; nothing needs them."""


def declared() -> set[str]:
    """Every distribution that pyproject.toml names, in the core or an extra."""
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def test_every_package_of_the_tree_is_listed() -> None:
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")}
    found = sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_every_folder_of_modules_is_a_package() -> None:
    assert {path.parent for path in modules()} == {p.parent for p in modules() if p.name == "__init__.py"}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_top_level_name_belongs_to_this_distribution_alone(name: str) -> None:
    owners = set(importlib.metadata.packages_distributions().get(name, []))
    assert owners <= {NAME}, f"{name} is also brought by {owners - {NAME}}"


@pytest.mark.parametrize("name", PACKAGES)
def test_an_import_finds_this_checkout(name: str) -> None:
    module = importlib.import_module(name)
    assert Path(module.__file__ or "").parent == ROOT / name


def test_the_installed_command_is_the_one_declared() -> None:
    try:
        entry_points = importlib.metadata.distribution(NAME).entry_points
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the checkout is not installed")
    assert {point.name: point.value for point in entry_points} == PROJECT["project"]["scripts"]


def test_every_import_is_declared() -> None:
    ours = {*PACKAGES, *PEERS, *sys.stdlib_module_names, "benchmarks", "tests"}
    needed = {
        DISTRIBUTIONS.get(top, top): f"{path.relative_to(ROOT)}:{line}"
        for path in modules()
        for line, name in imported(path.read_text(encoding="utf-8"), package_of(path))
        if (top := name.split(".")[0]) and top not in ours
    }
    unknown = {name: where for name, where in needed.items() if canonicalize_name(name) not in declared()}
    assert not unknown, f"imported and not declared in pyproject.toml: {unknown}"


def test_what_may_not_be_required_is_not() -> None:
    assert not declared() & {"torchvision", "torchaudio", "timm", "lerobot"}


def test_the_core_is_small() -> None:
    core = {canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]}
    optional = {canonicalize_name(Requirement(line).name) for name in EXTRAS for line in EXTRAS[name]}
    assert len(core) <= 13
    assert not core & optional


def test_dev_holds_all_that_the_tests_need() -> None:
    (own,) = [Requirement(line) for line in EXTRAS["dev"] if Requirement(line).name == NAME]
    assert {"baselines", "export", "gpu", "plots", "view"} <= own.extras <= set(EXTRAS)


# Constraints -------------------------------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name: version for name, version in found}


def test_constraints_are_names_and_public_versions_only() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in pins())
    assert all(re.fullmatch(r"[0-9][0-9.]*(post[0-9]+)?", version) for version in pins().values())


def test_what_the_core_and_the_tests_need_is_pinned() -> None:
    extras = [EXTRAS[name] for name in ("baselines", "data", "export", "generative", "gpu", "plots", "view", "dev")]
    wanted = [Requirement(line) for lines in (PROJECT["project"]["dependencies"], *extras) for line in lines]
    for requirement in wanted:
        if requirement.name != NAME:
            assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement


def test_the_pinned_versions_are_those_under_test() -> None:
    differ = {}
    for name, version in pins().items():
        try:
            installed = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed != version:
            differ[name] = (version, installed)
    assert not differ, f"pinned, installed: {differ}"
