"""States for the terms' tests: robots at rest with chosen fields replaced; random motions and their mirror images."""

from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from envs.mdp.scan import HeightScan
from envs.mdp.state import LeggedState, base_motion, leg_phase

SCALES, DELAYS = ("stiffness", "damping", "link_mass"), ("action_delay", "observation_delay")


def state(n: int = 1, joints: int = 12, legs: int = 4, **fields: Any) -> LeggedState:
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
        **{name: torch.ones(n, joints) for name in SCALES},
        **{name: zeros(n) for name in DELAYS},
        "height_scan": zeros(n, 0),
    }
    values |= {
        name: value if isinstance(value, torch.Tensor) else torch.tensor(value) for name, value in fields.items()
    }
    return LeggedState(**values)


def random_motion(n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """n robots in any orientation, each on its own slope, for ``moving_state``. Legs are FR, FL, RR, RL."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {"quat": (4,), "slope": (2,)}
    shapes |= {"pos_w": (3,), "lin_vel_w": (3,), "ang_vel_b": (3,), "command": (3,), "com_shift": (3,)}
    shapes |= {name: (4, 3) for name in ("joint_vel", "joint_offset", "encoder_bias", "torque", "action")}
    shapes |= {name: (4,) for name in ("foot_height", "air_time", "contact")}
    shapes |= {name: (4, 3) for name in SCALES}
    shapes |= {name: () for name in ("clock", "base_height", "friction", "added_mass", *DELAYS)}
    motion = {name: torch.randn(n, *shape, generator=generator) for name, shape in shapes.items()}
    return motion | {"quat": motion["quat"] / motion["quat"].norm(dim=-1, keepdim=True)}


def reflected(motion: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The motion's image in the world's x-z plane; for gaits whose left legs are half a cycle from the right."""
    polar, axial = torch.tensor([1.0, -1.0, 1.0]), torch.tensor([-1.0, 1.0, -1.0])
    matrix = Rotation.from_quat(motion["quat"].numpy(), scalar_first=True).as_matrix()
    quat = Rotation.from_matrix(np.diag(polar) @ matrix @ np.diag(polar)).as_quat(scalar_first=True)
    out = dict(motion, quat=torch.tensor(quat, dtype=torch.float32), clock=motion["clock"] + 0.5)
    out |= {name: motion[name] * polar for name in ("pos_w", "lin_vel_w", "com_shift")}
    out["ang_vel_b"] = motion["ang_vel_b"] * axial
    out["command"] = motion["command"] * torch.tensor([1.0, -1.0, -1.0])
    out["slope"] = motion["slope"] * torch.tensor([1.0, -1.0])
    out |= {name: motion[name][:, [1, 0, 3, 2]] for name in ("foot_height", "air_time", "contact")}
    for name in ("joint_vel", "joint_offset", "encoder_bias", "torque", "action"):  # an abduction turns about x
        out[name] = motion[name][:, [1, 0, 3, 2]] * torch.tensor([-1.0, 1.0, 1.0])
    out |= {name: motion[name][:, [1, 0, 3, 2]] for name in SCALES}
    return out


def moving_state(motion: dict[str, torch.Tensor], scan: HeightScan, offsets: torch.Tensor) -> LeggedState:
    """The state of robots in this motion, as a task derives it; the ground rises by ``slope`` along x and y."""
    n, m = len(motion["clock"]), dict[str, Any](motion)
    slope, clock = m.pop("slope"), m.pop("clock")
    qpos, qvel = torch.cat([m.pop("pos_w"), m.pop("quat")], -1), torch.cat([m.pop("lin_vel_w"), m.pop("ang_vel_b")], -1)
    m = {name: value.reshape(n, 12) if value.dim() == 3 else value for name, value in m.items()}
    heights = scan(qpos, lambda points: (points * slope[:, None]).sum(-1), nominal=0.3)
    m |= base_motion(qpos, qvel) | {"contact": m["contact"] > 0, "phase": leg_phase(clock, offsets)}
    return state(n, **m, moving=torch.arange(n) % 4 > 0, height_scan=heights)
