"""Policies by name: ``configs/policy/<name>.yaml`` holds ``kind`` and the parameters of that kind."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from embodied.types import Policy, TaskSpec

from .networks import pick

KINDS = {"mlp": ("policies.mlp", "MLPPolicy", "MLPConfig"), "gru": ("policies.gru", "GRUPolicy", "GRUConfig")}
"""kind -> (module, policy class, configuration dataclass); the class takes (spec, configuration)."""


def make(config: Mapping[str, Any], spec: TaskSpec) -> Policy:
    """Make a policy for a task.

    Args:
        config: ``kind`` and the fields of that kind's configuration dataclass.
        spec: what the task observes and how it acts; it sizes the networks.

    Raises:
        ValueError: unknown kind, key or value; the message names the valid ones.
    """
    config = dict(config)
    config.pop("name", None)
    kind = pick("policy.kind", config.pop("kind", "mlp"), list(KINDS))
    module, policy, schema = KINDS[kind]
    found = importlib.import_module(module)
    return getattr(found, policy)(spec, _fill(getattr(found, schema), config))


def _fill(schema: type, config: Mapping[str, Any]) -> Any:
    known = [field.name for field in dataclasses.fields(schema)]
    for key in config:
        pick("policy key", key, known)
    return schema(**config)
