"""A task of this suite as other libraries expect it: Gymnasium, Stable-Baselines3, rsl_rl.

``gymnasium.make_vec("embodied/<task>", num_envs=...)`` works after ``import envs``. The modules ``sb3`` and ``rsl_rl``
need the extra ``baselines`` and are imported where they are used.
"""

from .gymnasium import GymnasiumEnv, GymnasiumVectorEnv
from .registration import register

__all__ = ["GymnasiumEnv", "GymnasiumVectorEnv", "register"]
