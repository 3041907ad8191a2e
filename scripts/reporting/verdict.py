"""The report's headline: one sentence and the figures behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .data import RunData
from .glossary import duration, figure, plain, steps

HEADLINES = ("success", "fall", "error_lin_vel", "error_ang_vel", "swing_height", "terrain_level", "return")
FLAT_ONLY = ("fall", "error_lin_vel", "error_ang_vel", "swing_height")


@dataclass(frozen=True)
class Tile:
    """A key figure. state: good or poor against its target; empty where it has none."""

    label: str
    value: str
    note: str = ""
    state: str = ""


def verdict(run: RunData) -> tuple[str, str, str]:
    """(state, word, sentence); state: good, poor, bad or none."""
    if run.bundle is not None and run.bundle.passed is False:
        failed = ", ".join(check["name"] for check in run.bundle.checks if check["passed"] is not True)
        return "bad", "Do not deploy", f"the exported bundle does not verify ({failed}). {_sentence(run)}"
    if not run.metrics():
        return "none", "Not measured yet", f"{_trained(run)} Measure it with: embodied evaluate checkpoint={run.path}"
    states = {name: state_of(run, name, run.metrics().get(name)) for name in HEADLINES}
    missed = [figure(name).label.lower() for name, state in states.items() if state == "poor"]
    if not any(states.values()):
        return "none", "Measured", _sentence(run)
    if missed:
        return "poor", "Not there yet", f"{_sentence(run)} Short of the suite's target: {', '.join(missed)}."
    return "good", "On target", _sentence(run)


def tiles(run: RunData) -> list[Tile]:
    """The key figures: of the evaluation where there is one, else of the end of training."""
    found = [_tile(run, name) for name in HEADLINES if name in run.metrics()]
    if not found and run.records:
        last = {key.removeprefix("episode/"): value for key, value in run.records[-1].items()}
        found = [
            Tile(figure(name).label, figure(name).show(last[name]), "at the end of training")
            for name in HEADLINES
            if isinstance(last.get(name), int | float)
        ]
    trained = run.env_steps or (run.records[-1].get("step", 0) if run.records else 0)
    if trained:
        took = f"in {duration(run.seconds)}" if run.seconds else ""
        found.append(Tile("Environment steps", steps(trained), f"trained {took}".strip()))
    if run.bundle is not None:
        found += _bundle_tiles(run.bundle.manifest, run.bundle.latency_us)
    return found


def _bundle_tiles(manifest: Any, latency: dict[str, float]) -> list[Tile]:
    parity = manifest.parity
    good = "good" if parity.max_abs_command <= parity.tolerance else "poor"
    unit = manifest.contract.action.unit
    value = f"{plain(parity.max_abs_command)} {unit}"
    made = [Tile("Export parity", value, f"largest difference to torch; {parity.tolerance:g} allowed", good)]
    if latency:
        made.append(Tile("Decision time", f"{latency['p50']:.0f} µs", f"p99 {latency['p99']:.0f} µs, one thread"))
    return made


def _tile(run: RunData, name: str) -> Tile:
    words, found = figure(name), run.metrics()[name]
    note = "" if found.get("low") is None else words.span(found["low"], found["high"])
    return Tile(words.label, words.show(found["mean"]), note, state_of(run, name, found))


def target_of(run: RunData, name: str) -> float | None:
    """The bar that the suite sets itself for a metric, as stored; those of walking are for flat ground."""
    return None if name in FLAT_ONLY and run.task.get("terrain") else figure(name).target


def state_of(run: RunData, name: str, found: dict[str, Any] | None) -> str:
    """good or poor against the target; empty where there is none."""
    target = target_of(run, name)
    if target is None or found is None:
        return ""
    reached = found["mean"] >= target if figure(name).better == "high" else found["mean"] <= target
    return "good" if reached else "poor"


def target_words(name: str) -> str:
    """``at most 0.15 m/s``; empty where the suite sets no target."""
    words = figure(name)
    if words.target is None:
        return ""
    value = words.show(words.target)
    if words.target == 0 and words.better == "low":
        return "none"
    return f"{'at least' if words.better == 'high' else 'at most'} {value}"


def _sentence(run: RunData) -> str:
    """What was measured, in words."""
    metrics, parts = run.metrics(), []
    if "success" in metrics:
        s = metrics["success"]
        parts.append(f"{figure('success').show(s['mean'])} of {s['n']} episodes succeeded{_reach('success', s)}")
    elif "return" in metrics:
        r = metrics["return"]
        parts.append(f"a mean return of {plain(r['mean'])} over {r['n']} episodes{_reach('return', r)}")
    if "error_lin_vel" in metrics and "error_ang_vel" in metrics:
        lin, ang = (figure(name).show(metrics[name]["mean"]) for name in ("error_lin_vel", "error_ang_vel"))
        parts.append(f"commands are followed to {lin} and {ang} on average")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else _trained(run)


def _reach(name: str, found: dict[str, Any]) -> str:
    if found.get("low") is None:
        return ""
    return f" (95 % interval {figure(name).span(found['low'], found['high'])})"


def _trained(run: RunData) -> str:
    if not run.records:
        return "Nothing was logged in this run."
    return f"Trained for {steps(run.records[-1].get('step', 0))} environment steps."


def evaluation_title(run: RunData, stem: str) -> str:
    """``go2_velocity_hard, 256 episodes, seed 0``."""
    content = run.evaluations[stem]
    parts = [str(content.get("task", run.name)), f"{content.get('episodes', '?')} episodes"]
    parts += [f"seed {content.get('seed', '?')}", *(content.get("changes") or [])]
    return ", ".join(parts)
