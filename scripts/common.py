"""What several commands share: find a checkpoint, make an environment, choose a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

import envs
from embodied import checkpoint as checkpoints
from embodied.normalize import ObsNormalizer
from embodied.types import CRITIC_GROUP, Obs, Policy, TaskSpec, VecEnv

from .config import ROOT, UserError, nearest

SHIPPED = ROOT / "assets" / "checkpoints"
RUNS = Path("runs")
OWN = ("embodied", "envs", "policies", "sim2real", "scripts")


class Agent(NamedTuple):
    """A trained policy with all that is needed to run it.

    normalizer: standardises observations before the policy sees them; None where the run used none.
    config: the resolved configuration of the run that trained it (``task``, ``policy``, ``algo``, ``seed``, ...).
    """

    policy: Policy
    normalizer: ObsNormalizer | None
    spec: TaskSpec
    config: dict[str, Any]

    def see(self, obs: Obs) -> Obs:
        """Raw observations of any task that fits, (B, ...) a group, as the policy sees them: standardised.

        What only the critic is told may be told otherwise, or not at all, by another task or version, or by a robot:
        then it is zeros.
        """
        critic = self.spec.obs.get(CRITIC_GROUP)
        if critic is not None:
            told, rows = obs.get(CRITIC_GROUP), next(iter(obs.values()))
            if told is None or told.shape[1:] != critic.shape:
                obs = {**obs, CRITIC_GROUP: torch.zeros(len(rows), *critic.shape, device=rows.device)}
        return obs if self.normalizer is None else self.normalizer(obs)


@contextmanager
def user_errors() -> Iterator[None]:
    """Around the building of things from configuration: what goes wrong there is the configuration's fault."""
    try:
        yield
    except ImportError as error:  # a missing extra; but a name missing in our own code is our mistake
        if (error.name or "").partition(".")[0] in OWN:
            raise
        raise UserError(str(error)) from error
    except (ValueError, FileNotFoundError, checkpoints.CheckpointError) as error:
        raise UserError(str(error)) from error
    except (TypeError, KeyError, AttributeError) as error:  # a value of a type that nobody expected
        problem = f"{type(error).__name__}: {error}"
        raise UserError(
            f"cannot be built from this configuration ({problem}; EMBODIED_TRACEBACK=1 shows where)"
        ) from error


def shipped() -> list[str]:
    """The names of the trained checkpoints that come with the suite."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{checkpoints.INDEX}"))


def resolve_checkpoint(name: str | Path) -> Path:
    """The checkpoint directory that a run folder, a checkpoint folder, a file in one or a shipped name means.

    Raises:
        UserError: there is none; the message lists what is there.
    """
    path = Path(name).expanduser()
    if path.exists():
        with user_errors():
            return checkpoints.find(path)
    if str(name) in shipped():
        return SHIPPED / str(name)
    runs = [str(run) for run in recent_runs()]
    raise UserError(
        f"no checkpoint {str(name)!r}: it is neither a folder nor a shipped checkpoint; "
        f"{nearest(str(name), shipped(), 'shipped')}; runs: {', '.join(runs) or 'none yet'}"
    )


def recent_runs(most: int = 5) -> list[Path]:
    """Run folders under ``runs/`` that hold a checkpoint, newest first."""
    indices = RUNS.glob(f"*/*/checkpoints/step_*/{checkpoints.INDEX}")
    runs = {index.parents[2] for index in indices}
    return sorted(runs, key=lambda run: run.stat().st_mtime, reverse=True)[:most]


def run_folder(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint directory belongs to; None for a shipped one."""
    in_run = checkpoint.parent.name == "checkpoints" and checkpoint.name.startswith("step_")
    return checkpoint.parent.parent if in_run else None


def make_env(
    task: Mapping[str, Any],
    *,
    num_worlds: int,
    device: torch.device,
    engine: str = "auto",
    num_threads: int = 0,
    seed: int = 0,
) -> VecEnv:
    """``envs.make`` from a whole task configuration, with its complaints as user errors."""
    if num_worlds < 1:
        raise UserError(f"num_worlds={num_worlds}: must be at least 1")
    with user_errors():
        return envs.make(task, num_worlds=num_worlds, device=device, engine=engine, num_threads=num_threads, seed=seed)


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is a device.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name}: must be auto, cpu, cuda or cuda:<number>") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name}: must be auto, cpu, cuda or cuda:<number>")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={name}: this machine has no CUDA device that torch can use; see `embodied doctor`")
    return device
