"""The page of `embodied bench vla`: everything in one file, films included; made from the JSON document alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import vla_charts as charts
from .html import Markup, data_uri, definitions, details, escape, join, table, tag
from .page import HERE, PAGE, anchor, footer

Found = Mapping[str, Any]
"""What ``scripts.benching.vla_tables.document`` and ``write`` put into the JSON file."""
SUCCESS = "success"


def render(found: Found, films: Sequence[Path]) -> str:
    """The whole page. films: of the episodes in ``found["gallery"]``, in order."""
    style = "".join((HERE / name).read_text(encoding="utf-8") for name in ("report.css", "vla.css"))
    title = f"{found['task']}: {found['name']}"
    return PAGE.substitute(title=escape(title), style=style, script="", body=_body(found, films, title))


def _body(found: Found, films: Sequence[Path], title: str) -> Markup:
    parts: dict[str, Callable[[Found], Markup]] = {
        "Methods": methods,
        "Axes": axes,
        "Rows": rows,
        "Robustness": robustness,
        "Failures": failures,
        "Language": language,
        "Paired tests": tests,
        "Time of a decision": latency,
        "Gallery": lambda f: gallery(f, films),
        "Provenance": provenance,
    }
    made = {name: content for name, part in parts.items() if (content := part(found))}
    links = join((tag("a", name, href=f"#{anchor(name)}") for name in made), "")
    about = (
        f"{found['episodes']} episodes a row, the same for every policy (seed {found['seed']}). Success counts at the "
        f"end of an episode; intervals are of {found['level']:.0%}."
    )
    header = tag("header", join([tag("h1", title), tag("p", about, "sub"), tag("nav", links)]))
    missing = found["failed"]
    note = tag("p", f"Jobs that failed, and are missing here: {', '.join(missing)}", "missing") if missing else ""
    sections = (tag("section", join([tag("h2", name), made[name]]), id=anchor(name)) for name in made)
    return join([header, note, *sections, footer()])


# Success --------------------------------------------------------------------------------------------------------------


def rows(found: Found) -> Markup:
    """Success at the end by row and policy; success at any time folds away."""
    shown = join([_rows(found, "success_at_end"), details("Success at any time", _rows(found, "success_once"))])
    return details("Every policy", shown) if "methods" in found else shown


def _rows(found: Found, figure: str) -> Markup:
    policies = found["policies"]
    body = []
    for row, entry in found["rows"].items():
        cells = [_cell(policy["rows"][row][figure]) if row in policy["rows"] else "-" for policy in policies.values()]
        body.append([tag("span", row, title=entry["about"]), entry["axis"], *cells])
    return table(["row", "axis", *policies], body)


def methods(found: Found) -> Markup:
    """Means over training runs, for both budgets; nothing where single policies were compared."""
    parts = [tag("p", found["warmup"], "soft")] if "warmup" in found else []
    for budget, by_name in found.get("methods", {}).items():
        body = [
            [row, entry["axis"], *(_cell(method["rows"].get(row)) for method in by_name.values())]
            for row, entry in found["rows"].items()
        ]
        parts += [tag("h3", f"Matched {budget}"), table(["row", "axis", *by_name], body), _cost(by_name)]
    return join(parts)


def _cost(by_name: Found) -> Markup:
    body = [
        [name, ", ".join(f"{x:,}" for x in method["env_steps"]), ", ".join(f"{x:,.0f}" for x in method["seconds"])]
        for name, method in by_name.items()
    ]
    return details("What it cost", table(["method", "environment steps, of each seed", "seconds of learning"], body))


def axes(found: Found) -> Markup:
    """Means over the rows of an axis and what of the success in distribution is retained, beside RL4VLA's."""
    columns = {name: policy["axes"] for name, policy in found["policies"].items()}
    for budget, by_name in found.get("methods", {}).items():
        merged = {
            f"{name}, {budget}": {
                axis: {"success": figure, "retention": method["retention"].get(axis)}
                for axis, figure in method["axes"].items()
            }
            for name, method in by_name.items()
        }
        columns = merged if budget == next(iter(found["methods"])) else {**columns, **merged}
    theirs, kept = (found["published"][key] for key in ("success_percent", "retention_percent"))
    names = list(next(iter(theirs.values())))
    body: list[list[object]] = []
    for axis in names:
        ours = [_cell(column.get(axis, {}).get("success")) for column in columns.values()]
        body.append([f"{axis}: mean", *ours, *(f"{figures[axis]:.1f}" for figures in theirs.values())])
        if axis in next(iter(kept.values())):
            shares = [_cell(column.get(axis, {}).get("retention")) for column in columns.values()]
            body.append([f"{axis}: retained", *shares, *(str(figures[axis]) for figures in kept.values())])
    note = tag("p", f"In percent. Right: {found['published']['source']}, of a model of 7B parameters.", "soft")
    return join([note, table(["", *columns, *(f"RL4VLA {name}" for name in theirs)], body)])


def robustness(found: Found) -> Markup:
    """Success against the strength of a shift, where rows differ in nothing else."""
    policies = found["policies"]
    names = dict.fromkeys(name for policy in policies.values() for name in policy["robustness"])
    drawn = []
    for name in names:
        series = {policy: figures["robustness"].get(name, []) for policy, figures in policies.items()}
        picture = Markup(charts.curves(series, name))
        drawn.append(tag("figure", join([tag("figcaption", f"{name}, success in %"), picture]), "card"))
    if not drawn:
        return Markup("")
    return join([Markup(charts.legend(list(policies))), tag("div", join(drawn), "grid")])


# What went wrong ------------------------------------------------------------------------------------------------------


def failures(found: Found) -> Markup:
    """What episodes came to, over all rows and row by row."""
    policies = found["policies"]
    kinds = list(next(iter(next(iter(policies.values()))["rows"].values()))["outcomes"])
    overall = {
        name: {kind: sum(row["outcomes"][kind] for row in policy["rows"].values()) for kind in kinds}
        for name, policy in policies.items()
    }
    by_row = [
        details(name, Markup(charts.stacked({row: entry["outcomes"] for row, entry in policy["rows"].items()})))
        for name, policy in policies.items()
    ]
    shown = [Markup(charts.legend(kinds)), Markup(charts.stacked(overall)), *by_row]
    return tag("div", join(shown), "outcomes")


def language(found: Found) -> Markup:
    """Whether the object that is named is the one taken."""
    meanings = {
        "followed": "named object taken first, of all episodes with two",
        "followed_of_taken": "the same, of those in which one was taken",
        "swapped_followed": "with the other one named: that one taken first",
        "swapped_changed": "another object taken than before, where one was taken both times",
    }
    body = [
        [name, *(_cell(policy["language"].get(key)) for key in meanings)] for name, policy in found["policies"].items()
    ]
    return table(["", *meanings.values()], body)


def tests(found: Found) -> Markup:
    """Differences of paired episodes; p by McNemar's exact test, adjusted by Holm's method."""
    significant = [entry for entry in found["comparisons"] if entry["p_holm"] < 1 - found["level"]]
    parts = [
        tag("p", f"{len(significant)} of {len(found['comparisons'])} differences are significant together.", "soft")
    ]
    heads = ["first", "second", "row or axis", "first - second, points", "won : lost", "p", "p, adjusted"]
    for name, entries in (("Significant", significant), ("All", found["comparisons"])):
        body = [
            [
                entry["first"],
                entry["second"],
                entry.get("row") or f"{entry['axis']} (all rows)",
                _cell(entry["difference"]),
                f"{entry['only_first']} : {entry['only_second']}",
                f"{entry['p']:.2g}",
                f"{entry['p_holm']:.2g}",
            ]
            for entry in entries
        ]
        parts.append(details(name, table(heads, body, numbers=(4, 5, 6)), opened=name == "Significant"))
    return join(parts) if found["comparisons"] else Markup("")


def latency(found: Found) -> Markup:
    """One decision at a time, on the machine of the benchmark."""
    body = [
        [name, f"{x['median_ms']:.1f} ms", f"{x['p95_ms']:.1f} ms", x["n"]]
        for name, x in ((name, policy["latency"]) for name, policy in found["policies"].items())
    ]
    return table(["", "median", "95th percentile", "decisions"], body, numbers=(1, 2, 3))


def gallery(found: Found, films: Sequence[Path]) -> Markup:
    """Failures on film, every control step."""
    shown = []
    for shot, path in zip(found["gallery"], films, strict=True):
        uri = data_uri(path.read_bytes(), "video/mp4")
        text = f"{shot['policy']}, {shot['row']}, episode {shot['number']}: {shot['outcome'].replace('_', ' ')}"
        if shot["filmed"] != shot["outcome"]:
            text += f" (when filmed: {shot['filmed'].replace('_', ' ')})"
        picture = Markup(f'<video controls loop muted playsinline preload="metadata" src="{uri}"></video>')
        shown.append(tag("figure", join([picture, tag("figcaption", text)])))
    return tag("div", join(shown), "gallery") if shown else Markup("")


def provenance(found: Found) -> Markup:
    """Which code, machine, command and weights."""
    made = found["provenance"]
    commit, machine = made["commit"], made["machine"]
    dirty = " with uncommitted changes" if commit["dirty"] else ""
    items: dict[str, object] = {
        "Command": tag("code", " ".join(made["command"])),
        "Commit": f"{commit['hash'] or 'outside of a checkout'}{dirty}",
        "Written": made["time"],
        "Versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        "Machine": f"{machine['cpu']}, {machine['cpus']} CPUs, {', '.join(machine['gpus']) or 'no GPU'}",
    }
    weights = [[name, policy["source"], policy["digest"]] for name, policy in found["policies"].items()]
    return join([definitions(items), details("Weights", table(["policy", "source", "sha256, begin"], weights))])


def _cell(figure: Found | None) -> Markup:
    """A share in percent with its interval."""
    if figure is None or figure["mean"] is None:
        return escape("-")
    mean = f"{100 * figure['mean']:.1f}"
    if figure["low"] is None:
        return escape(mean)
    reach = tag("small", f"{100 * figure['low']:.0f} to {100 * figure['high']:.0f}")
    return join([escape(mean), " ", reach], "")
