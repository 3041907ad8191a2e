"""Vectorised environments: every task is a ``VecEnv`` of torch tensors."""
