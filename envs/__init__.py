"""Vectorised environments: every task is a ``VecEnv`` of torch tensors."""

from .adapters.registration import register
from .registry import load_task_config, make, task_names

__all__ = ["load_task_config", "make", "task_names"]

register()  # gymnasium.make_vec("embodied/<task>") works after `import envs`
