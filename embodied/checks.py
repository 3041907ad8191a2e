"""What learner, policy and environment must agree on, told before a run begins."""

from __future__ import annotations

from .ppo_config import PPOConfig
from .types import Policy, VecEnv


def check_minibatches(env: VecEnv, policy: Policy, algo: PPOConfig) -> None:
    """Raise ValueError if a rollout cannot be shared out to so many minibatches; groups may wait for better ones."""
    what, available = ("sequences", 1) if policy.recurrent else ("decisions", algo.num_steps)
    available *= env.num_rows
    if not algo.grouped and available < algo.num_minibatches:
        raise ValueError(
            f"algo.num_minibatches={algo.num_minibatches}: a rollout has only {available} {what} to share out; "
            "take fewer minibatches or more worlds (num_worlds)"
        )


def check_groups(env: VecEnv, algo: PPOConfig) -> None:
    """Raise ValueError unless rollouts are whole episodes of rows that begin alike, where the learner compares those.

    An environment tells by ``group`` of its configuration how many neighbouring rows begin the same episodes.
    """
    if not algo.grouped:
        return
    group, spec = int(getattr(getattr(env, "config", None), "group", 1)), env.spec
    if group != algo.group_size:
        raise ValueError(
            f"algo.group_size={algo.group_size}: {spec.name} begins the same episode in {group} neighbouring worlds; "
            f"set task.group={algo.group_size}, on a task that has this key (put_on_plate)"
        )
    if env.num_rows % group:
        raise ValueError(f"algo.group_size={group}: {env.num_rows} rows do not divide by it")
    if not 0 < spec.horizon <= algo.num_steps:
        raise ValueError(
            f"algo.num_steps={algo.num_steps}: a whole episode of {spec.name} has {spec.horizon} decisions"
        )
    if algo.loss == "dpo" and spec.success_metric is None:
        raise ValueError(f"algo.loss=dpo: {spec.name} does not measure success, which tells what is preferred")
