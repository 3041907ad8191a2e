"""What the figures are called, what they mean, and which of them are good. Any other metric goes by its own name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A metric in words.

    unit: to show it in; empty for a pure number.  scale: from the stored value to that unit, 100 for ``%`` and ``cm``.
    better: ``high``, ``low`` or empty where neither is.
    target: the bar that the suite sets itself for it, as stored; None where it sets none.
    """

    label: str
    meaning: str
    unit: str = ""
    better: str = ""
    target: float | None = None

    @property
    def scale(self) -> float:
        """What a stored value is multiplied by to be in ``unit``."""
        return 100.0 if self.unit in ("%", "cm") else 1.0

    def show(self, value: float | None, unit: bool = True) -> str:
        """A stored value for people, with its unit unless told otherwise."""
        if value is None:
            return "-"
        text = plain(self.scale * value) if self.unit != "%" else percent(self.scale * value)
        return f"{text} {self.unit}" if unit and self.unit else text

    def span(self, low: float, high: float) -> str:
        """``0.42 to 0.48 m/s``."""
        return f"{self.show(low, unit=False)} to {self.show(high)}"


FIGURES = {
    "return": Figure(
        "Return", "Sum of the rewards of an episode: what the policy was trained to make large.", "", "high"
    ),
    "length": Figure("Episode length", "Control steps until the episode ended; longer means fewer falls.", "steps"),
    "success": Figure("Success", "Share of episodes that reached the task's goal.", "%", "high", 0.95),
    "fall": Figure("Falls", "Share of episodes in which the robot fell.", "%", "low", 0.0),
    "error_lin_vel": Figure(
        "Velocity error", "Mean distance between commanded and actual horizontal velocity.", "m/s", "low", 0.15
    ),
    "error_ang_vel": Figure(
        "Turning error", "Mean difference between commanded and actual yaw rate.", "rad/s", "low", 0.2
    ),
    "swing_height": Figure(
        "Swing height",
        "Mean peak height of the feet in a step; shuffling shows as a few millimetres.",
        "cm",
        "high",
        0.06,
    ),
    "physics_failure": Figure(
        "Simulation failures",
        "Share of episodes that ended because the simulation itself became invalid.",
        "%",
        "low",
        0.0,
    ),
    "terrain_level": Figure(
        "Terrain level", "How far the curriculum has taken the robots; higher is rougher.", "", "high"
    ),
    "steps_per_second": Figure("Speed", "Environment steps simulated and learnt from in a second.", "steps/s", "high"),
    "learning_rate": Figure(
        "Learning rate", "Step size of the optimiser; adapted so that the policy changes at a steady pace."
    ),
    "kl": Figure(
        "Policy change (KL)",
        "How far one update moved the policy's action distribution; large values mean unstable steps.",
    ),
    "loss/entropy": Figure(
        "Entropy", "How much the policy still tries things out; it falls as the policy commits itself.", "nats"
    ),
    "std": Figure("Exploration", "Standard deviation of the actions, in policy units."),
    "loss/value": Figure("Value loss", "Error of the critic, which predicts the return.", "", "low"),
    "loss/policy": Figure("Policy loss", "The clipped surrogate objective of PPO; its size says little."),
    "explained_variance": Figure(
        "Explained variance",
        "Share of the returns' variation that the critic predicts; 1 is perfect, 0 is a constant guess.",
        "",
        "high",
    ),
    "clip_fraction": Figure("Clipped share", "Share of decisions whose likelihood ratio left the clip range."),
    "grad_norm/actor": Figure("Actor gradient", "Size of the actor's gradient before clipping."),
    "grad_norm/critic": Figure("Critic gradient", "Size of the critic's gradient before clipping."),
    "advantage/std": Figure("Advantage spread", "Standard deviation of the advantages before they are normalised."),
    "groups/used": Figure("Groups used", "Share of groups whose episodes ended differently; the others teach nothing."),
    "updates_skipped": Figure("Updates skipped", "Rollouts without enough groups to learn from, so far."),
    "loss/preference": Figure("Preference loss", "Below 0.69 successes have become likelier against failures."),
}

TERMS = {
    "Environment step": "One control step of one simulated world; 1024 worlds that take one step each count 1024.",
    "95 % interval": "If the evaluation were repeated many times, 95 % of such intervals would hold the true value.",
    "Bundle": "The exported policy: an ONNX network with its normaliser inside, golden vectors, and a manifest that "
    "says what goes in and out, in which units and order.",
    "Golden vectors": "Recorded inputs with the outputs that the trained policy gave; every copy must give them again.",
    "Parity": "The largest difference between the trained policy in torch and its export in onnxruntime.",
    "Domain randomisation": "Friction, masses, delays and the like differ from world to world, so that the policy does "
    "not rely on one simulated robot.",
}


def figure(name: str) -> Figure:
    """The words for a metric; ``episode/`` and ``reward/`` are prefixes."""
    name = name.removeprefix("episode/")
    if name in FIGURES:
        return FIGURES[name]
    if name.startswith("reward/"):
        return Figure(words(name.removeprefix("reward/")), "Weighted reward term, summed over an episode.")
    return Figure(words(name), "")


def words(name: str) -> str:
    """``track_lin_vel`` as ``Track lin vel``."""
    text = name.replace("/", " ").replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def percent(value: float) -> str:
    """``98.4``, and ``100`` where the decimal says nothing."""
    return f"{value:.0f}" if abs(value - round(value)) < 0.05 else f"{value:.1f}"


def plain(value: float) -> str:
    """``12,345``, ``12.3``, ``0.15``, ``0.012`` or ``1.2e-07``."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 0.1 else f"{value:.2g}"


def steps(value: float) -> str:
    """Environment steps: ``6 M``, ``713 k``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """``9 min 42 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
