"""Verification of a bundle: is it what was exported, and does it do what the policy did?

Needs numpy and onnxruntime. With the torch policy at hand (``reference``) it also compares the two.

Legend: T decisions of R rows; L observations of a history; n size of one; D noise tensors; H action chunk; A action
size.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import manifest as m
from .contract import Contract
from .inference import FloatArray, OnnxPolicy
from .recording import Recording
from .ties import ties

if TYPE_CHECKING:
    from .deployed import DeployedPolicy

EXTREMES = (1e2, 1e4, 1e6)
LIMIT_SLACK = 1e-6  # float32 rounding of limits that the manifest holds with every digit
LATENCY_CALLS, LATENCY_WARMUP = 1000, 100


class Failed(Exception):
    """A check that does not hold; the message says what is wrong."""


@dataclass(frozen=True)
class Check:
    """One line of the report. passed: None where it could not be run."""

    name: str
    passed: bool | None
    detail: str


@dataclass
class Report:
    """All checks of a bundle. latency_us: p50 and p99 of one decision, onnxruntime, one thread."""

    checks: list[Check] = field(default_factory=list)
    latency_us: dict[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> list[Check]:
        """Checks that did not pass."""
        return [check for check in self.checks if check.passed is not True]

    @property
    def passed(self) -> bool:
        """Every check was run and holds."""
        return bool(self.checks) and not self.failures

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        checks = [{"name": c.name, "passed": c.passed, "detail": c.detail} for c in self.checks]
        return {"passed": self.passed, "checks": checks, "latency_us": self.latency_us}

    def run(self, name: str, check: Callable[[], str]) -> bool:
        """Add a check; whatever it raises makes it fail, with the message as the reason."""
        try:
            self.checks.append(Check(name, True, check()))
        except Exception as error:  # a broken file may raise anything, from any library
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self.checks.append(Check(name, False, reason[0]))
        return bool(self.checks[-1].passed)

    def skip(self, names: list[str], why: str) -> None:
        """Note checks that could not be run."""
        self.checks += [Check(name, None, why) for name in names]


def verify_bundle(
    folder: str | Path, reference: DeployedPolicy | None = None, recording: Recording | None = None
) -> Report:
    """Check the bundle in ``folder``.

    reference, recording: the torch policy and observations of its real rollouts, to compare the two.
    """
    folder, report = Path(folder), Report()
    loaded: dict[str, Any] = {}

    def read() -> str:
        loaded["manifest"] = manifest = m.Manifest.read(folder)
        return f"format {manifest.format_version}, task {manifest.contract.task.name}"

    if not report.run("manifest", read):
        report.skip(["seal", "files", "network", *_BEHAVIOUR], "the manifest cannot be read")
        return report
    manifest: m.Manifest = loaded["manifest"]
    report.run("seal", lambda: f"unchanged since the export, sha256 {m.check_seal(manifest)[:16]}...")
    report.run("files", lambda: f"{m.check_files(manifest, folder)} with the sha256 of the export")

    def load() -> str:
        loaded["network"] = network = OnnxPolicy(folder / manifest.contract.model.file, manifest.contract)
        return network.check_signature()

    report.run("network", load)
    if "network" not in loaded:
        report.skip(list(_BEHAVIOUR), "the network cannot be loaded")
        return report
    _behaviour(report, folder, manifest, loaded["network"])
    if reference is not None and recording is not None:
        report.run("contract", lambda: check_contract(manifest.contract, reference.contract))
        report.run("parity", lambda: check_parity(loaded["network"], manifest, reference, recording))
    return report


_BEHAVIOUR = ("golden vectors", "action scaling", "repeatable", "batch", "limits", "extremes", "latency")


@dataclass(frozen=True)
class GoldenVectors:
    """What the network was given and gave at the export: command and action (T, R, H, A)."""

    inputs: Recording
    command: FloatArray
    action: FloatArray


def _behaviour(report: Report, folder: Path, manifest: m.Manifest, network: OnnxPolicy) -> None:
    """The checks that run the network."""
    loaded: list[GoldenVectors] = []

    def load() -> str:
        loaded.append(read_golden(folder, manifest))
        return check_golden(network, manifest, loaded[0])

    report.run("golden vectors", load)
    if not loaded:
        report.skip(list(_BEHAVIOUR[1:]), "the golden vectors cannot be read")
        return
    golden, inputs = loaded[0], loaded[0].inputs
    report.run("action scaling", lambda: check_scaling(manifest.contract, golden))
    report.run("repeatable", lambda: check_repeatable(network, inputs))
    report.run("batch", lambda: check_batch(network, inputs, manifest.golden.tolerance))
    report.run("limits", lambda: check_limits(manifest.contract, network.replay(inputs)[0]))
    report.run("extremes", lambda: check_extremes(network))

    def latency() -> str:
        report.latency_us.update(measure_latency(network, inputs))
        return f"p50 {report.latency_us['p50']:.0f} us, p99 {report.latency_us['p99']:.0f} us on this machine"

    report.run("latency", latency)


def read_golden(folder: Path, manifest: m.Manifest) -> GoldenVectors:
    """The golden vectors of a bundle; :class:`Failed` where they are not what the manifest promises."""
    g, contract = manifest.golden, manifest.contract
    with np.load(folder / g.file, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    shapes = {"obs": contract.obs_shape, "start": (), "command": contract.action_shape, "action": contract.action_shape}
    if contract.model.noise is not None:
        shapes["noise"] = contract.model.noise.shape
    if contract.image is not None:
        shapes["image"] = contract.image.shape
    if contract.instruction is not None:
        shapes["instruction"] = (contract.instruction.length,)
    for name, tail in shapes.items():
        expected = (g.steps, g.rows, *tail)
        if name not in arrays or arrays[name].shape != expected:
            found = arrays[name].shape if name in arrays else "missing"
            raise Failed(f"{g.file}: {name} is {found}, the manifest promises {expected}")
        if not np.isfinite(arrays[name]).all():
            raise Failed(f"{g.file}: {name} is not finite")
    optional = {name: arrays[name] for name in ("noise", "image", "instruction") if name in shapes}
    inputs = Recording(arrays["obs"], arrays["start"], **optional)
    return GoldenVectors(inputs, arrays["command"], arrays["action"])


def check_golden(network: OnnxPolicy, manifest: m.Manifest, golden: GoldenVectors) -> str:
    """The network gives the recorded outputs for the recorded inputs."""
    command, action = network.replay(golden.inputs)
    errors = {"command": _gap(command, golden.command), "action": _gap(action, golden.action)}
    for name, error in errors.items():
        if not error <= manifest.golden.tolerance * _unit(manifest.contract, name):
            raise Failed(f"the network's {name} is off by {error:.3g}: it is not the network that was exported")
    return f"{golden.inputs.count} recorded decisions, largest error {max(errors.values()):.1e}"


def check_scaling(contract: Contract, golden: GoldenVectors) -> str:
    """The manifest's offsets, scales and limits turn the recorded actions into the recorded commands."""
    a = contract.action
    command = np.asarray(a.offset) + np.asarray(a.scale) * golden.action.astype(np.float64)
    command = _clip(command, a.command_low, a.command_high)
    gap = np.abs(command - golden.command).max(axis=(0, 1, 2))
    worst = int(gap.argmax())
    if not gap[worst] <= LIMIT_SLACK * max(1.0, float(np.abs(command).max())):
        raise Failed(f"offset, scale or limits of {a.names[worst]!r} are not the network's: off by {gap[worst]:.3g}")
    return f"{len(a.names)} elements, command = offset + scale * action"


def check_repeatable(network: OnnxPolicy, inputs: Recording) -> str:
    """The same inputs give the same bits; a random draw inside the network would not."""
    first, second = (network.replay(inputs) for _ in range(2))
    if not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)):
        raise Failed("the same observations give other commands the second time: the network draws random numbers")
    return "bit for bit"


def check_batch(network: OnnxPolicy, inputs: Recording, tolerance: float) -> str:
    """One row at a time gives what all rows together give."""
    together, _ = network.replay(inputs)
    rows = range(inputs.start.shape[1])
    alone = np.concatenate([network.replay(inputs.rows(row))[0] for row in rows], axis=1)
    gap = _gap(alone, together)
    if not gap <= tolerance * _unit(network.contract, "command"):
        raise Failed(f"a row alone and in a batch differ by {gap:.3g}")
    return f"a row alone and among {len(rows)} differ by {gap:.1e}"


def check_limits(contract: Contract, command: np.ndarray) -> str:
    """Every command lies within the command limits."""
    a = contract.action
    if a.command_low is None and a.command_high is None:
        return "the task states none"
    inside = _clip(command.astype(np.float64), a.command_low, a.command_high)
    excess = np.abs(inside - command).reshape(-1, len(a.names)).max(axis=0)
    worst = int(excess.argmax())
    if not excess[worst] <= LIMIT_SLACK * max(1.0, float(np.abs(inside).max())):
        raise Failed(f"{a.names[worst]!r} is commanded {excess[worst]:.3g} {a.unit} beyond its limit")
    return "within the command limits"


def check_extremes(network: OnnxPolicy, seed: int = 0) -> str:
    """Absurd but finite observations give finite commands within the limits."""
    rng, contract = np.random.default_rng(seed), network.contract
    size = int(np.prod(contract.obs_shape))
    signs = rng.choice([-1.0, 1.0], (64, size))
    rows = np.concatenate([signs, np.eye(size), -np.eye(size)]).reshape(-1, *contract.obs_shape)
    start = np.zeros((3, len(rows)), bool)
    start[0] = True
    for magnitude in EXTREMES:
        obs = (magnitude * rows).astype(np.float32)[None].repeat(3, axis=0)
        inputs = Recording(obs, start, **_extreme_senses(contract, start.shape, rng))
        if contract.model.noise is not None:
            inputs = inputs.with_noise(contract.model.noise.shape, seed)
        command, action = network.replay(inputs)
        if not (np.isfinite(command).all() and np.isfinite(action).all()):
            raise Failed(f"observations of magnitude {magnitude:g} give a command that is not finite")
        check_limits(contract, command)
    return f"finite and within limits for observations up to {EXTREMES[-1]:g}"


def _extreme_senses(contract: Contract, shape: tuple[int, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Images (*shape, h, w, 3) of nothing but black, white or noise; instructions that say nothing or unknown words."""
    found: dict[str, np.ndarray] = {}
    if contract.image is not None:
        found["image"] = rng.integers(0, 256, (*shape, *contract.image.shape), np.uint8)
        found["image"][:, ::3], found["image"][:, 1::3] = 0, 255
    if contract.instruction is not None:
        found["instruction"] = np.zeros((*shape, contract.instruction.length), np.uint8)
        found["instruction"][:, ::2, 0] = ord("?")
    return found


def check_contract(bundle: Contract, checkpoint: Contract) -> str:
    """The bundle says of its task and robot what the checkpoint says."""
    names = [field.name for field in dataclasses.fields(Contract)]
    differ = [name for name in names if getattr(bundle, name) != getattr(checkpoint, name)]
    if differ:
        raise Failed(f"the bundle and the checkpoint differ in {', '.join(differ)}")
    return "the checkpoint's"


def check_parity(network: OnnxPolicy, manifest: m.Manifest, reference: DeployedPolicy, recording: Recording) -> str:
    """torch and onnxruntime agree along a recording of real rollouts."""
    if recording.obs.shape[2:] != network.contract.obs_shape:
        raise Failed(f"the policy observes {recording.obs.shape[2:]} values, the bundle {network.contract.obs_shape}")
    recording = reference.inputs(recording)
    found, expected = network.replay(recording), reference.replay(recording)
    tied = ties(reference, recording, expected[1], found[1], manifest.parity.tolerance)
    gap = _gap(found[0][~tied], expected[0][~tied])
    if not gap <= manifest.parity.tolerance * _unit(manifest.contract, "command"):
        raise Failed(f"torch and onnxruntime differ by {gap:.3g} over {recording.count} observations of real rollouts")
    told = f"; {tied.sum()} of them ties of two tokens" if tied.any() else ""
    return f"{recording.count} observations of real rollouts, largest difference {gap:.1e}{told}"


def measure_latency(network: OnnxPolicy, inputs: Recording) -> dict[str, float]:
    """p50 and p99 of one decision at batch 1, microseconds."""
    one, memory, spent = np.ascontiguousarray(inputs.obs[0, :1]), network.initial_memory(1), []
    given = network.given(inputs, 0, rows=1)
    for call in range(LATENCY_WARMUP + LATENCY_CALLS):
        begin = time.perf_counter_ns()
        _, _, memory = network(one, memory, **given)
        if call >= LATENCY_WARMUP:
            spent.append((time.perf_counter_ns() - begin) / 1e3)
    return {"p50": float(np.percentile(spent, 50)), "p99": float(np.percentile(spent, 99))}


def _unit(contract: Contract, name: str) -> float:
    """How large one policy unit is in the command, at least 1."""
    return 1.0 if name == "action" else max(1.0, *(abs(scale) for scale in contract.action.scale))


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; NaN if either holds one, which passes no comparison."""
    return float(np.abs(a.astype(np.float64) - b).max())


def _clip(x: np.ndarray, low: tuple[float, ...] | None, high: tuple[float, ...] | None) -> np.ndarray:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)
