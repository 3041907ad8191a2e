"""The parts of the report, each a function of the run that returns HTML."""

from __future__ import annotations

from typing import Any

import yaml

from . import charts
from .data import EVALUATION, RunData
from .glossary import TERMS, duration, figure, plain, words
from .html import Markup, definitions, details, escape, join, table, tag
from .verdict import HEADLINES, evaluation_title, state_of, target_of, target_words, tiles, verdict

LEARNING = ("episode/return", "episode/success", "episode/error_lin_vel", "episode/error_ang_vel", "episode/length",
            "episode/fall", "episode/swing_height", "episode/terrain_level")  # fmt: skip
OPTIMISER = ("learning_rate", "kl", "loss/entropy", "std", "loss/value", "explained_variance", "clip_fraction",
             "steps_per_second")  # fmt: skip
HIDDEN = ("step", "iteration", "seconds", "collect_seconds", "decide_seconds", "update_seconds", "minibatches",
          "episode/physics_failure")  # fmt: skip


def missing(what: str, command: str) -> Markup:
    """What to do about something that is not there."""
    return tag("p", join([escape(what), " ", tag("code", command)], ""), "missing")


def headline(run: RunData) -> Markup:
    """The verdict and the key figures."""
    state, word, sentence = verdict(run)
    shown = [
        tag("div", join([tag("div", t.label, "label"), _value(t.value, t.state), tag("div", t.note, "note")]), "tile")
        for t in tiles(run)
    ]
    text = tag("p", join([tag("b", f"{word}."), " ", escape(sentence)], ""))
    return join([tag("div", text, f"verdict {state}"), tag("div", join(shown), "tiles")])


def _value(text: str, state: str) -> Markup:
    mark = {"good": tag("span", " ✓", "mark good"), "poor": tag("span", " ✗", "mark poor")}.get(state, Markup(""))
    figure_, _, unit = text.partition(" ")
    return tag("div", join([figure_, tag("small", f" {unit}") if unit else "", mark], ""), "value")


def film(run: RunData, uri: str | None, still: str | None) -> Markup:
    """The video; on paper a still of it."""
    if uri is None:
        reason = run.path / "video.txt"  # left by scripts/quickstart.py where filming failed
        if reason.is_file():
            return tag("p", f"No video could be made. {reason.read_text(encoding='utf-8').strip()}", "missing")
        return missing("No video yet:", f"embodied play checkpoint={run.path} video={run.path / 'video.mp4'}")
    poster = f' poster="{still}"' if still else ""
    picture = f'<img class="still" alt="A frame of the video" src="{still}">' if still else ""
    shown = Markup(f'<video controls loop muted autoplay playsinline{poster} src="{uri}"></video>{picture}')
    note = "The trained policy in its own task, in real time."
    if run.spec is not None and run.spec.command:
        note += " Orange: what is asked of it. Blue: what it does, measured in the simulation."
    return join([shown, tag("p", note, "soft caption")])


def about(run: RunData) -> Markup:
    """The run in a few lines, beside the video."""
    policy = run.config.get("policy") or {}
    spec = run.spec
    items: dict[str, object] = {"Task": run.name}
    if spec is not None:
        items["Sees"] = f"{spec.obs['policy'].shape[0]} values" + _terms(spec)
        items["Does"] = f"{spec.action.size} x {words(spec.action.kind).lower()} [{spec.action.unit}]"
        items["Decides"] = f"{1 / spec.control_dt:g} times a second"
    if policy:
        sizes = policy.get("hidden")
        items["Policy"] = f"{policy.get('kind', '?').upper()} {' - '.join(map(str, sizes)) if sizes else ''}"
    rule = run.config.get("rule")  # of a steered policy
    learner = f"{rule.upper()} by soft actor-critic" if rule else "PPO"
    items["Learner"] = f"{learner}, {run.config.get('num_worlds', '?')} worlds side by side"
    if run.seconds:
        items["Training"] = duration(run.seconds)
    items["Seed"] = run.provenance.get("seed", run.config.get("seed", "?"))
    return definitions(items)


def _terms(spec: Any) -> str:
    names = [term.name.replace("_", " ") for term in spec.obs["policy"].terms]
    return f": {', '.join(names)}" if names else ""


def curves(run: RunData) -> Markup:
    """What was learnt, and below it how the learner went about it."""
    if not run.records:
        return tag("p", "The run has logged nothing yet.", "missing")
    logged = run.keys()
    other = [k for k in logged if k.startswith("episode/") and k not in LEARNING + HIDDEN and "reward/" not in k]
    learnt = [_curve(run, key) for key in (*LEARNING, *other) if key in logged]
    learner = [_curve(run, key) for key in OPTIMISER if key in logged]
    rest = [k for k in logged if not k.startswith("episode/") and k not in OPTIMISER + HIDDEN]
    further = [_curve(run, key) for key in rest] + [_curve(run, k) for k in logged if k.startswith("episode/reward/")]
    note = "Over environment steps; means of the episodes that ended last, with noise and randomisation as in training."
    return join([
        tag("p", note, "soft"),
        tag("div", join(learnt), "grid"),
        tag("h3", "The learner"),
        tag("div", join(learner), "grid"),
        details("Further curves, with every reward term", tag("div", join(further), "grid")) if further else Markup(""),
    ])  # fmt: skip


def _curve(run: RunData, key: str) -> Markup:
    what, (xs, ys) = figure(key), run.series(key)
    ys = [what.scale * y for y in ys]
    bar = target_of(run, key.removeprefix("episode/")) if key.startswith("episode/") else None
    target = None if bar is None else what.scale * bar
    most = 100.0 if what.unit == "%" else None
    drawn = charts.line_chart(xs, ys, log=key == "learning_rate", target=target, most=most, label=what.label)
    unit = f" [{what.unit}]" if what.unit else ""
    now = plain(ys[-1]) if ys else ""
    caption = tag("figcaption", join([tag("span", what.label + unit), tag("span", now, "now")], ""))
    return tag("figure", join([caption, Markup(drawn)], ""), "card", title=what.meaning or key)


def evaluation(run: RunData) -> Markup:
    """Every evaluation as a table, the first one's reward terms as bars."""
    if not run.metrics():
        return missing("Not evaluated yet:", f"embodied evaluate checkpoint={run.path} episodes=256")
    parts = []
    for stem in run.evaluations:
        if len(run.evaluations) > 1:
            parts.append(tag("h3", evaluation_title(run, stem)))
        parts.append(_metrics_table(run, stem))
    first = run.evaluations.get(EVALUATION, {})
    drawn = "its most likely action" if first.get("deterministic", True) else "actions that it draws"
    note = (
        f"{first.get('episodes', '?')} episodes from seed {first.get('seed', '?')}; the policy takes {drawn}. "
        f"{first.get('crashed', 0)} episodes crashed."
    )
    return join([tag("p", note, "soft"), *parts])


def _metrics_table(run: RunData, stem: str) -> Markup:
    rows = []
    for name, found in sorted(run.metrics(stem).items(), key=lambda item: _rank(item[0])):
        if name.startswith("reward/"):
            continue
        what, low, high = figure(name), found.get("low"), found.get("high")
        reach = "" if low is None or high is None else what.span(low, high)
        state = state_of(run, name, found) if stem == EVALUATION else ""
        mark = tag("span", f"{'✓' if state == 'good' else '✗'} {target_words(name)}", f"mark {state}") if state else ""
        rows.append([
            tag("span", what.label, title=what.meaning), what.show(found["mean"]), reach, _interval(found, what.unit),
            what.show(found.get("std")), mark,
        ])  # fmt: skip
    return table(["", "Mean", "95 % interval", "", "Spread (std)", "Target"], rows, numbers=(1, 2, 4))


def _rank(name: str) -> int:
    """The headline figures first, the rest as they come."""
    return HEADLINES.index(name) if name in HEADLINES else len(HEADLINES)


def _interval(found: dict[str, Any], unit: str) -> Markup:
    if found.get("low") is None:
        return Markup("")
    low, high = found["low"], found["high"]
    ends = (0.0, 1.0) if unit == "%" else (min(0.0, low * 1.15), max(0.0, high * 1.15))
    return Markup(charts.interval(low, found["mean"], high, ends))


def rewards(run: RunData) -> Markup:
    """What the return is made of."""
    sums = {k.removeprefix("reward/"): v["mean"] for k, v in run.metrics().items() if k.startswith("reward/")}
    source = "the evaluation"
    if not sums and run.records:
        sums = {key.removeprefix("episode/reward/"): value for key, value in run.records[-1].items()
                if key.startswith("episode/reward/") and isinstance(value, int | float)}  # fmt: skip
        source = "the end of training"
    if not sums:
        return tag("p", "This task does not tell its reward's terms apart.", "missing")
    note = f"Mean sum over an episode of each weighted term, from {source}: what pays and what costs."
    named = {words(name): value for name, value in sums.items()}
    return join([tag("p", note, "soft"), tag("div", Markup(charts.bars(named)), "card")])


def glossary(run: RunData) -> Markup:
    """The figures on this page, and the words around them, in a sentence each."""
    shown = [*(run.metrics()), *run.keys()]
    seen: dict[str, object] = {}
    for name in shown:
        what = figure(name)
        if what.meaning and not name.removeprefix("episode/").startswith("reward/"):
            seen[what.label] = what.meaning
    return definitions({**TERMS, **seen})


def configuration(run: RunData) -> Markup:
    """Every setting, one foldable part a group."""
    if not run.config:
        return tag("p", "config.yaml is missing.", "missing")
    groups = {key: value for key, value in run.config.items() if isinstance(value, dict)}
    top = {key: value for key, value in run.config.items() if key not in groups}
    parts = [details(words(key), tag("pre", _yaml(value))) for key, value in groups.items()]
    return join([details("Run", tag("pre", _yaml(top))), *parts])


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True).strip()


def provenance(run: RunData) -> Markup:
    """Which code, versions, machine and command line."""
    made = run.provenance
    if not made:
        return tag("p", "provenance.json is missing.", "missing")
    commit = made.get("commit") or {}
    dirty = " with uncommitted changes" if commit.get("dirty") else ""
    machine = made.get("machine") or {}
    versions = ", ".join(f"{name} {version}" for name, version in (made.get("versions") or {}).items())
    gpus = ", ".join(machine.get("gpus") or []) or "no GPU"
    computer = f"{machine.get('cpu', '?')}, {machine.get('cpus', '?')} CPUs, {machine.get('memory_gb', '?')} GB, {gpus}"
    command = made.get("command") or []
    items: dict[str, object] = {
        "Command": tag("code", command if isinstance(command, str) else " ".join(map(str, command))),
        "Commit": f"{commit.get('hash') or 'outside of a checkout'}{dirty}",
        "Seed": made.get("seed", "?"),
        "Started": made.get("time", "?"),
        "Versions": f"Python {made.get('python', '?')}, {versions}",
        "Machine": computer,
        "Checkpoint": ", ".join(run.checkpoints) or "none yet",
    }
    return definitions(items)
