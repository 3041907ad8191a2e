"""EnvPool in a Python of its own: reads numbers of steps from stdin, writes the seconds they took to stdout.

    python envpool_worker.py TASK NUM_ENVS NUM_THREADS ACTION_STD

Needs envpool and numpy only. Actions are drawn beforehand from N(0, ACTION_STD), clipped to the action space.
"""

from __future__ import annotations

import json
import sys
import time

import envpool
import numpy as np


def main() -> None:
    task, num_envs, num_threads, std = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    env = envpool.make(task, env_type="gymnasium", num_envs=num_envs, num_threads=num_threads)
    shape = (16, num_envs, *env.action_space.shape)
    drawn = np.random.default_rng(0).normal(0.0, std, shape).astype(env.action_space.dtype)
    actions = np.clip(drawn, env.action_space.low, env.action_space.high)
    env.reset()
    config = env.spec.config
    period = getattr(config, "ctrl_dt", None)
    print(json.dumps({"version": envpool.__version__, "control_dt": period}), flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        for step in range(int(line)):
            env.step(actions[step % len(actions)])
        print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main()
