"""Vectorised environments: every task is a ``VecEnv`` of torch tensors."""

from .registry import load_task_config, make, task_names

__all__ = ["load_task_config", "make", "task_names"]
