"""Starting a run from a pretrained checkpoint: which of its settings the run takes over, and whether they fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from torch import nn

from embodied import checkpoint as checkpoints
from embodied.transfer import describe
from embodied.types import TaskSpec

from .common import user_errors
from .config import CONFIGS, options, parse
from .runs import say

FINETUNE = "finetune"
"""The group of what was tuned for a policy that starts from a pretrained one: <task>_<policy>, or else <policy>."""
DECISION_KEYS = ("chunk", "history", "image_size")
"""Keys of a task that say what a decision is and sees; a pretrained policy goes with them."""
WHICH = ("id", "obs", "control_mode", "camera", "kwargs")
"""Keys of a task that stands for many which say which one it is; a run on the same task goes on with that one."""
RULE = ("kind", "logprob_reduction")
"""Keys of a policy that say how it learns, not what it is; another rule goes by its own."""
ALWAYS = "action_scaling"
"""A part of a pretrained policy's configuration that no choice of configs/policy has."""


def choices(pretrained: Mapping[str, Any], argv: Sequence[str]) -> list[str]:
    """The choices of task and policy that a pretrained run made, and what was tuned for fine-tuning that policy.

    What the command line chooses, or leaves out by ``~``, is not among them.
    """
    given = {str(override.key_or_group): override for override in parse(argv)}
    own = {"task": pretrained["task"]["name"], "policy": pretrained["policy"]["kind"]}
    task, policy = (str(given[name].value()) if name in given else own[name] for name in ("task", "policy"))
    if "recipe" not in given:
        own[FINETUNE] = f"{task}_{policy}" if f"{task}_{policy}" in options(FINETUNE) else policy
    return [f"{group}={name}" for group, name in own.items() if group not in given and name in options(group)]


def inherit(config: DictConfig, pretrained: Mapping[str, Any], argv: Sequence[str]) -> None:
    """Take over a pretrained run's settings of policy, chunks and images, and which of many tasks it is, in place.

    What the command line names goes first, then what was tuned for fine-tuning. They go before those of the task's
    recipe, which may be meant for another policy. Another kind of policy takes those
    that it has as well: for two rules of one generative policy, the settings of network and process.
    """
    overrides = _tuned(argv) | {str(o.key_or_group): o.value() for o in parse(argv) if not o.is_delete()}
    if config.policy.kind == pretrained["policy"]["kind"]:
        policy = OmegaConf.create(dict(pretrained["policy"]))
        for key, value in overrides.items():
            if key.startswith("policy."):
                OmegaConf.update(policy, key.removeprefix("policy."), value)
        OmegaConf.update(config, "policy", policy, merge=False, force_add=True)
    for key, value in pretrained["policy"].items():
        known = (key in config.policy and key not in RULE) or key == ALWAYS
        if known and value is not None and not _named(f"policy.{key}", overrides):
            OmegaConf.update(config, f"policy.{key}", value, merge=False, force_add=True)
    same = config.task.get("name") == pretrained["task"].get("name")
    _keep(config, pretrained["task"], (*DECISION_KEYS, *(WHICH if same else ())), overrides)


def keep_decisions(config: DictConfig, trained: Mapping[str, Any], argv: Sequence[str]) -> None:
    """Decide on another task as on the one that a policy was trained on, unless the command line says how; in place."""
    _keep(config, trained, DECISION_KEYS, [str(override.key_or_group) for override in parse(argv)])


def _keep(config: DictConfig, trained: Mapping[str, Any], keys: Iterable[str], given: Iterable[str]) -> None:
    """Take over keys that both tasks have."""
    for key in keys:
        if key in trained and key in config.task:
            _take(config, f"task.{key}", trained[key], given)


def _take(config: DictConfig, key: str, value: Any, given: Iterable[str]) -> None:
    """Take over a value, of a mapping each that it holds, unless it was given."""
    if isinstance(value, Mapping) and key not in given:
        for name, part in value.items():
            _take(config, f"{key}.{name}", part, given)
    elif not _named(key, given):
        OmegaConf.update(config, key, value, force_add=True)


def _tuned(argv: Sequence[str]) -> dict[str, Any]:
    """``policy.<key>`` -> value, of the chosen configs/finetune."""
    name = next((str(o.value()) for o in parse(argv) if o.key_or_group == FINETUNE and not o.is_delete()), None)
    return {} if name is None else {f"policy.{key}": value for key, value in _tuned_policy(name).items()}


def _tuned_policy(name: str) -> dict[str, Any]:
    """What a file of configs/finetune says of the policy, after the files that it builds on."""
    said = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(CONFIGS / FINETUNE / f"{name}.yaml")))
    found: dict[str, Any] = {}
    for base in said.get("defaults", []):
        if base != "_self_":
            found |= _tuned_policy(str(PurePosixPath(name).parent / base))  # names are relative, as for Hydra
    return found | said.get("policy", {})


def _named(key: str, given: Iterable[str]) -> bool:
    return any(name == key or name.startswith(f"{key}.") for name in given)


def check_start(init: Path, policy: Any, spec: TaskSpec) -> None:
    """Raise UserError unless a policy for this task can start from the checkpoint.

    The weights are loaded on the way, and once more where training starts.
    """
    with user_errors():
        found = checkpoints.load(init)
        checkpoints.load_pretrained(found, cast(nn.Module, policy), spec)
    for line in describe(found.spec, spec):
        say(line)
