"""The robot's side: named sensor terms in, joint commands out. Needs numpy and onnxruntime, nothing of the simulator.

This is the inner loop alone. It refuses bad input and bad output; what a robot does then, and everything else that
keeps it safe (limits of rate and torque, watchdogs, a safe stop), belongs around it.

Legend: n size of one observation; L observations of a history; H actions of a chunk; A action size; D noise tensors;
h, w pixels.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import manifest as m
from .contract import Contract, Term
from .inference import FloatArray, OnnxPolicy
from .perception import word_numbers

Array = NDArray[np.float64]


class RuntimeFault(RuntimeError):
    """An observation or a command that must not reach the robot."""


@dataclass(frozen=True)
class Command:
    """One control step. Every array is (A,), in ``names`` order.

    target: in the action's unit; for ``joint_position`` a PD controller's target [rad].
    kp [N m/rad], kd [N m s/rad]: its gains; None where the bundle knows no robot.
    action: the policy's output behind the target.
    """

    names: tuple[str, ...]
    target: Array
    action: Array
    kp: Array | None
    kd: Array | None
    motor: NDArray[np.int64] | None

    def in_motor_order(self) -> list[tuple[int, float, float, float]]:
        """(motor number of the SDK, target, kp, kd) of each joint, by motor number."""
        if self.motor is None or self.kp is None or self.kd is None:
            raise RuntimeFault("this bundle knows no robot, so no motor numbers and gains")
        rows = zip(self.motor.tolist(), self.target.tolist(), self.kp.tolist(), self.kd.tolist(), strict=True)
        return sorted(rows)


class PolicyRuntime:
    """A verified bundle, one robot. Call :meth:`reset`, then :meth:`step` once every ``control_dt`` seconds.

    A step takes what was measured and returns one command. Where the policy makes chunks of actions, the network is
    asked when the last chunk is used up; where it decides on a history, the measurements of the steps between count.
    A policy that sees and is told looks and listens when it decides: :attr:`deciding` says whether the next step does.
    The terms ``last_action`` and ``gait_clock`` are computed here unless they are given; ``inputs`` names the others.

    noise: (1, D, H, A), what the next decision is made with; None for a network that takes none.

    Args:
        seed: of the noise, one ``numpy.random.default_rng`` from the start on; an episode's begin leaves it as it is.

    Raises :class:`sim2real.schema.SchemaError` where the bundle was changed or is incomplete.
    """

    def __init__(self, bundle: str | Path, seed: int = 0) -> None:
        folder = Path(bundle)
        self.manifest = m.Manifest.read(folder)
        m.check_seal(self.manifest)
        m.check_files(self.manifest, folder)
        self.contract = self.manifest.contract
        self._network = OnnxPolicy(folder / self.contract.model.file, self.contract)
        self._network.check_signature()
        self._terms = {term.name: term for term in self.contract.observation}
        self._gains = _gains(self.contract)
        self._generator = np.random.default_rng(seed)
        self.noise = self._network.draw_noise(1, self._generator)
        self.reset()

    @property
    def control_dt(self) -> float:
        """Seconds between steps."""
        return self.contract.task.control_dt

    @property
    def inputs(self) -> dict[str, Term]:
        """The terms that :meth:`step` must be given."""
        return {name: term for name, term in self._terms.items() if name not in COMPUTED}

    def reset(self, clock: float = 0.0) -> None:
        """Begin an episode: no memory, no history, no rest of a chunk, no previous action, the gait clock at ``clock``
        cycles.
        """
        self.clock = clock % 1.0
        self.standing = math.inf
        self.last_action = np.zeros(len(self.contract.action.names))
        self._memory = self._network.initial_memory(1)
        self._history: FloatArray | None = None
        self._pending: list[tuple[Array, Array]] = []

    @property
    def deciding(self) -> bool:
        """The next step asks the network; until then image and instruction are not looked at."""
        return not self._pending

    def step(
        self, terms: Mapping[str, Any], image: NDArray[np.uint8] | None = None, instruction: str | None = None
    ) -> Command:
        """Take the measurements of one control step; decide, or go on with what was decided.

        Args:
            terms: name -> (size,) values in the unit and frame of the manifest, not scaled.
            image: (h, w, 3) uint8 in RGB, where the policy sees.  instruction: where it is told.
        Raises:
            RuntimeFault: a term is missing, unknown, of another size or not finite, image or instruction are not what
                the policy takes, or the network's output is not finite. The runtime is then as it was before the call.
        """
        history = self._with(self.observation(terms))
        (target, action), *self._pending = self._pending or self._decide(history, image, instruction)
        self._history, self.last_action = history, action
        self._advance_clock(terms)
        return Command(self.contract.action.names, target, action, *self._gains)

    def _with(self, obs: FloatArray) -> FloatArray:
        """The history (L, n) with ``obs`` (n,) as its newest; in a new episode all of it."""
        if self._history is None:
            return np.repeat(obs[None], self.contract.decision.history, axis=0)
        return np.concatenate([self._history[1:], obs[None]])

    def _decide(
        self, history: FloatArray, image: NDArray[np.uint8] | None, instruction: str | None
    ) -> list[tuple[Array, Array]]:
        """Target and action, (A,) each, of every control step until the next decision."""
        senses = self._senses(image, instruction)
        target, action, memory = self._network(history[None], self._memory, self.noise, **senses)
        if not (np.isfinite(target).all() and np.isfinite(action).all()):
            raise RuntimeFault("the network's output is not finite")
        # Drawn ahead, so that a step which fails leaves the generator as it was.
        self._memory, self.noise = memory, self._network.draw_noise(1, self._generator)
        steps = zip(target[0].astype(np.float64), action[0].astype(np.float64), strict=True)
        return list(steps)[: self.contract.decision.execute]

    def _senses(self, image: Any, instruction: str | None) -> dict[str, NDArray[Any]]:
        """Image (1, h, w, 3) and words (1, W) of a decision, where the policy takes them."""
        found: dict[str, NDArray[Any]] = {}
        if (camera := self.contract.image) is not None:
            found["image"] = _picture(image, camera.shape)
        if (told := self.contract.instruction) is not None:
            if not isinstance(instruction, str):
                raise RuntimeFault("this policy takes an instruction: step(terms, instruction='...')")
            try:
                found["words"] = np.array([word_numbers(told, instruction)], np.int64)
            except ValueError as error:
                raise RuntimeFault(str(error)) from None
        return found

    def observation(self, terms: Mapping[str, Any]) -> FloatArray:
        """One observation (n,) float32 from named terms, as :meth:`step` makes it."""
        self._check_names(terms)
        out = np.empty(self.contract.obs_size, np.float32)
        values: dict[str, Array] = {}
        for name in sorted(self._terms, key=lambda name: name in COMPUTED):  # computed ones may need the others
            term = self._terms[name]
            given = terms[name] if name in terms else COMPUTED[name](self, term, values)
            values[name] = _checked(given, term)
            out[term.start : term.start + term.size] = term.scale * values[name]
        return out

    def _check_names(self, terms: Mapping[str, Any]) -> None:
        missing = [name for name in self.inputs if name not in terms]
        if missing:
            raise RuntimeFault(f"missing observation terms: {', '.join(missing)}")
        for name in terms:
            if name not in self._terms:
                near = difflib.get_close_matches(name, self._terms, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise RuntimeFault(f"unknown observation term {name!r}; {hint}terms: {', '.join(self._terms)}")

    def _advance_clock(self, terms: Mapping[str, Any]) -> None:
        """Let a control period pass: the phase, and the seconds for which the command has been zero."""
        term = self._terms.get("gait_clock")
        if term is None:
            return
        p = clock_parameters(term)
        self.clock = (self.clock + p["frequency"] * self.control_dt) % 1.0
        self.standing = self.standing + self.control_dt if _asks_to_stand(p, terms) else 0.0


def clock_parameters(term: Term) -> dict[str, float]:
    """The clock's constants.

    frequency [Hz]; offset [cycles] of the first leg; dead_band: the norm of the command that counts as motion;
    settle_s: for how long [s] the clock runs on after the command has become zero.
    """
    found = {name: term.parameters.get(name) for name in ("frequency", "offset", "dead_band", "settle_s")}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RuntimeFault(f"the manifest's term {term.name!r} lacks the parameter {name!r}")
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _last_action(runtime: PolicyRuntime, term: Term, values: Mapping[str, Array]) -> Array:
    return runtime.last_action


def _gait_clock(runtime: PolicyRuntime, term: Term, values: Mapping[str, Array]) -> Array:
    """(sin, cos) of the first leg's phase; (0, 0) once the robot has been told to stand for long enough."""
    p = clock_parameters(term)
    if _asks_to_stand(p, values) and runtime.standing > p["settle_s"] - runtime.control_dt / 2:
        return np.zeros(2)
    angle = 2 * math.pi * (runtime.clock + p["offset"])
    return np.array([math.sin(angle), math.cos(angle)])


def _asks_to_stand(p: Mapping[str, float], values: Mapping[str, Any]) -> bool:
    return "command" in values and not np.linalg.norm(values["command"]) >= p["dead_band"]


COMPUTED: dict[str, Callable[[PolicyRuntime, Term, Mapping[str, Array]], Array]] = {
    "last_action": _last_action,
    "gait_clock": _gait_clock,
}
"""Observation terms that the runtime knows by itself."""


def _checked(given: Any, term: Term) -> Array:
    try:
        value = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise RuntimeFault(f"observation term {term.name!r} is no array of numbers") from None
    if value.shape != (term.size,):
        raise RuntimeFault(f"observation term {term.name!r} has shape {value.shape}, expected ({term.size},)")
    if not np.isfinite(value).all():
        bad = [term.names[i] if term.names else str(i) for i in np.flatnonzero(~np.isfinite(value))]
        raise RuntimeFault(f"observation term {term.name!r} is not finite at {', '.join(bad)}")
    return value


def _picture(image: Any, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(1, h, w, 3) from (h, w, 3), if these are the bytes that the policy takes."""
    if not isinstance(image, np.ndarray) or image.shape != shape or image.dtype != np.uint8:
        found = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise RuntimeFault(f"this policy takes an image {shape} uint8 in RGB, got {found}")
    return np.ascontiguousarray(image[None])


def _gains(contract: Contract) -> tuple[Array | None, Array | None, NDArray[np.int64] | None]:
    """kp, kd and motor numbers of the action's elements, matched by joint name."""
    robot = contract.robot
    if robot is None or any(name not in robot.joint_names for name in contract.action.names):
        return None, None, None
    index = [robot.joint_names.index(name) for name in contract.action.names]
    motor = np.array([robot.sdk_index[i] for i in index])
    return np.array([robot.kp[i] for i in index]), np.array([robot.kd[i] for i in index]), motor
