"""Dump a world whose physics became invalid, and replay that step on C MuJoCo.

A dump is a folder, free of pickles:

* ``model.mjb``: the compiled model with this world's per-world fields; read by the MuJoCo version that wrote it;
* ``failure.safetensors``: ``state``, the integration state before the step (float64), and ``model_fields/<name>``;
* ``failure.json``: engine, world, substeps, time step, versions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from safetensors.numpy import load_file, save_file

from .physics import Physics
from .quiet import quiet

_FORMAT = 1


def save_failure(physics: Physics, world: int, path: str | Path) -> Path:
    """Write what is needed to replay the step in which this world failed; to be called before the world is reset.

    Returns:
        The folder, made if need be.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    failure = physics.failure(world)
    model, _ = physics.get_model_data(world)
    mujoco.mj_saveModel(model, str(folder / "model.mjb"), None)
    fields = {f"model_fields/{name}": value.cpu().numpy() for name, value in failure["model_fields"].items()}
    arrays = {"state": failure["state"].cpu().numpy(), **fields}
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / "failure.safetensors")
    facts = {
        "format": _FORMAT,
        "engine": type(physics).__name__,
        "world": world,
        "substeps": int(failure["substeps"]),
        "state_spec": int(failure["state_spec"]),
        "timestep": model.opt.timestep,
        "mujoco": mujoco.__version__,
    }
    (folder / "failure.json").write_text(json.dumps(facts, indent=2) + "\n")
    return folder


@dataclass(frozen=True)
class Replay:
    """A failing step, once more, substep by substep.

    substep: the first one (from 0) after which the state was invalid; None if none was.
    error: what MuJoCo raised there, if it did.  warnings: how often MuJoCo warned, by the warning's name.
    qpos, qvel: (substeps + 1, nq) and (substeps + 1, nv), the first row before the step; repeated after an error.
    model, data: C structures as the replay left them, to look at contacts, constraints and forces.
    """

    substep: int | None
    error: str
    warnings: dict[str, int]
    qpos: np.ndarray
    qvel: np.ndarray
    model: mujoco.MjModel
    data: mujoco.MjData
    facts: dict[str, Any]

    @property
    def failed(self) -> bool:
        """The failure was reproduced."""
        return self.substep is not None


def replay(path: str | Path) -> Replay:
    """Repeat the step that failed, stopping at the substep that broke.

    Raises:
        FileNotFoundError: if ``path`` is not a folder that :func:`save_failure` wrote.
        ValueError: if it was written by another version of MuJoCo.
    """
    facts, model, data = _load(Path(path))
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # leave the bad numbers to be seen
    qpos, qvel = [data.qpos.copy()], [data.qvel.copy()]
    substep, error = None, ""
    with quiet():
        for number in range(facts["substeps"]):
            error = _try_step(model, data)
            qpos.append(data.qpos.copy())
            qvel.append(data.qvel.copy())
            if error or not _valid(data):
                substep = number
                break
    counts = {kind.name: int(data.warning[kind.value].number) for kind in _WARNINGS}
    counts = {name: count for name, count in counts.items() if count}
    return Replay(substep, error, counts, np.stack(qpos), np.stack(qvel), model, data, facts)


_WARNINGS = [kind for kind in mujoco.mjtWarning.__members__.values() if kind.name != "mjNWARNING"]


def _load(folder: Path) -> tuple[dict[str, Any], mujoco.MjModel, mujoco.MjData]:
    for name in ("failure.json", "failure.safetensors", "model.mjb"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no dump of a failure: {name} is missing")
    facts = json.loads((folder / "failure.json").read_text())
    if facts["mujoco"] != mujoco.__version__:
        raise ValueError(f"{folder} was written by MuJoCo {facts['mujoco']}, this is {mujoco.__version__}")
    model = mujoco.MjModel.from_binary_path(str(folder / "model.mjb"))
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, load_file(folder / "failure.safetensors")["state"], facts["state_spec"])
    return facts, model, data


def _try_step(model: mujoco.MjModel, data: mujoco.MjData) -> str:
    try:
        mujoco.mj_step(model, data)
    except mujoco.FatalError as error:
        return str(error)
    return ""


def _valid(data: mujoco.MjData) -> bool:
    numbers = np.concatenate([data.qpos, data.qvel, data.qacc, data.act, data.ctrl])
    return bool((np.abs(numbers) < mujoco.mjMAXVAL).all())  # NaN compares false
