"""Policies by name: ``configs/policy/<name>.yaml`` holds ``kind`` and the parameters of that kind."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from embodied.configuration import choice, from_mapping
from embodied.types import Policy, TaskSpec

from .scaled import ScaledPolicy

KINDS = {
    "mlp": ("policies.mlp", "MLPPolicy", "MLPConfig"),
    "gru": ("policies.gru", "GRUPolicy", "GRUConfig"),
    "ncdpo": ("policies.generative.ncdpo", "NCDPOPolicy", "NCDPOConfig"),
    "dppo": ("policies.generative.dppo", "DPPOPolicy", "DPPOConfig"),
    "reinflow": ("policies.generative.reinflow", "ReinFlowPolicy", "ReinFlowConfig"),
    "flow_sde": ("policies.generative.flow_sde", "FlowSDEPolicy", "FlowSDEConfig"),
    "fpo": ("policies.generative.fpo", "FPOPolicy", "FPOConfig"),
    "compact_vla": ("policies.vla.tokens", "CompactVLAPolicy", "CompactVLAConfig"),
    "openvla": ("policies.openvla.policy", "OpenVLAPolicy", "OpenVLAConfig"),
    "pi0": ("policies.pi0.policy", "Pi0NoisePolicy", "Pi0NoiseConfig"),
    "pi0_sde": ("policies.pi0.policy", "Pi0SDEPolicy", "Pi0SDEConfig"),
    "remote": ("policies.remote", "RemotePolicy", "RemoteConfig"),
    "residual": ("policies.generative.residual", "ResidualPolicy", "ResidualConfig"),
    "dsrl": ("policies.steering.dsrl", "DSRLPolicy", "DSRLConfig"),
    "expo": ("policies.steering.expo", "EXPOPolicy", "EXPOConfig"),
}
"""kind -> (module, policy class, configuration dataclass); the class takes (spec, configuration)."""


def make(config: Mapping[str, Any], spec: TaskSpec) -> Policy:
    """Make a policy for a task.

    Args:
        config: ``kind`` and the fields of that kind's configuration dataclass; with ``action_scaling`` (centre and
            width, noted by pretraining) it becomes a :class:`policies.scaled.ScaledPolicy`.
        spec: what the task observes and how it acts; it sizes the networks.

    Raises:
        ValueError: unknown kind, key or value; the message names the valid ones.
    """
    config = dict(config)
    config.pop("name", None)
    kind, scaling = config.pop("kind", "mlp"), config.pop("action_scaling", None)
    choice("policy.kind", kind, KINDS)
    module, policy, schema = KINDS[kind]
    found = importlib.import_module(module)
    made = getattr(found, policy)(spec, from_mapping(getattr(found, schema), config, "policy"))
    return made if scaling is None else ScaledPolicy(made, **scaling, size=spec.action.size)
