"""The part of the report about the exported bundle: is it sound, and what goes in and out."""

from __future__ import annotations

from typing import Any

from .data import RunData
from .glossary import plain
from .html import Markup, definitions, details, join, table, tag
from .sections import missing

WORDS = {True: "ok", False: "failed", None: "not run"}
STATES = {True: "good", False: "bad", None: "poor"}


def bundle(run: RunData) -> Markup:
    """Checks, files, observation and action."""
    if run.bundle is None:
        return missing("Not exported yet:", f"embodied export checkpoint={run.path}")
    found, contract = run.bundle, run.bundle.manifest.contract
    parts = [tag("p", _summary(run), "soft")]
    if found.checks:
        rows = [
            [tag("span", WORDS[c["passed"]], f"mark {STATES[c['passed']]}"), c["name"], c["detail"]]
            for c in found.checks
        ]
        parts.append(table(["", "Check", "Finding"], rows))
    parts.append(details("Files and hashes", _files(run)))
    parts.append(details(f"Observation: {contract.obs_size} values", _observation(contract)))
    parts.append(details(f"Command: {len(contract.action.names)} values", _action(contract)))
    return join(parts)


def _summary(run: RunData) -> str:
    assert run.bundle is not None
    manifest = run.bundle.manifest
    parity, contract = manifest.parity, manifest.contract
    memory = f", memory {', '.join(m.input for m in contract.model.memory)}" if contract.model.memory else ""
    return (
        f"One ONNX network{memory}, with normaliser and action scaling inside. At the export it was compared with the "
        f"torch policy over {parity.observations} observations of real rollouts; the commands differed by "
        f"{plain(parity.max_abs_command)} {contract.action.unit} at most. Check it again, anywhere, with: "
        f"embodied verify bundle={run.bundle.path}"
    )


def _files(run: RunData) -> Markup:
    assert run.bundle is not None
    manifest = run.bundle.manifest
    rows = [[name, f"{info.bytes / 1e3:.1f} kB", tag("code", info.sha256)] for name, info in manifest.files.items()]
    rows.append(["manifest.json", "", tag("code", manifest.sha256)])
    return table(["File", "Size", "sha256"], rows, numbers=(1,))


def _observation(contract: Any) -> Markup:
    rows = [
        [
            tag("span", f"{term.start}-{term.start + term.size - 1}", "at"),
            *(term.name, term.unit, term.frame, plain(term.scale), term.description.replace("`", "")),
            ", ".join(f"{key} {value}" for key, value in term.parameters.items()),
        ]
        for term in contract.observation
    ]
    return table(["At", "Term", "Unit", "Frame", "Scale", "Meaning", "Parameters"], rows, numbers=(4,))


def _action(contract: Any) -> Markup:
    action, robot = contract.action, contract.robot
    heads, rows = ["Element", "Offset", "Scale", "Limits"], []
    known = robot is not None and all(name in robot.joint_names for name in action.names)
    for i, name in enumerate(action.names):
        limits = (
            "" if action.command_low is None else f"{plain(action.command_low[i])} to {plain(action.command_high[i])}"
        )
        row: list[object] = [name, plain(action.offset[i]), plain(action.scale[i]), limits]
        if known:
            j = robot.joint_names.index(name)
            row += [plain(robot.kp[j]), plain(robot.kd[j]), plain(robot.torque_limit[j]), robot.sdk_index[j]]
        rows.append(row)
    if known:
        heads += ["kp [N m/rad]", "kd [N m s/rad]", "Torque limit [N m]", "Motor"]
    facts = {"Kind": f"{action.kind} [{action.unit}], every {1e3 * contract.task.control_dt:g} ms",
             "Command": "offset + scale x action, held within the limits"}  # fmt: skip
    return join([definitions(facts), table(heads, rows, numbers=range(1, len(heads)), kind="joints")])
