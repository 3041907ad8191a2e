"""States for the terms' tests: a robot at rest in its stance, with chosen fields replaced."""

import torch

from envs.mdp.state import LeggedState


def state(n: int = 1, joints: int = 12, legs: int = 4, **fields) -> LeggedState:
    """n robots at rest; keyword arguments replace fields (lists become tensors)."""
    zeros = torch.zeros
    values = {
        "base_pos_w": zeros(n, 3),
        "base_height": zeros(n) + 0.3,
        "gravity_b": torch.tensor([[0.0, 0.0, -1.0]]).repeat(n, 1),
        "lin_vel_b": zeros(n, 3),
        "ang_vel_b": zeros(n, 3),
        **{name: zeros(n, joints) for name in ("joint_pos", "joint_vel", "joint_offset", "torque", "encoder_bias")},
        **{name: zeros(n, joints) for name in ("action", "action_1", "action_2")},
        "command": zeros(n, 3),
        "moving": torch.zeros(n, dtype=torch.bool),
        "phase": zeros(n, legs),
        "foot_height": zeros(n, legs),
        "foot_vel_w": zeros(n, legs, 3),
        "contact": torch.ones(n, legs, dtype=torch.bool),
        "air_time": zeros(n, legs),
        "landed": torch.zeros(n, legs, dtype=torch.bool),
        "body_contact": zeros(n),
        "friction": torch.ones(n),
        "added_mass": zeros(n),
        "com_shift": zeros(n, 3),
        "height_scan": zeros(n, 0),
    }
    values |= {
        name: value if isinstance(value, torch.Tensor) else torch.tensor(value) for name, value in fields.items()
    }
    return LeggedState(**values)
