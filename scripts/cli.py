"""The console command: ``embodied <command> [key=value ...]``; each command is a module of ``scripts``."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "demos": "record demonstrations of a task by an expert",
    "pretrain": "learn a policy from demonstrations",
    "train": "train a policy on a task",
    "steer": "improve a pretrained policy without touching its weights",
    "evaluate": "measure a trained policy, with confidence intervals",
    "play": "watch a trained policy: a video, a window, or in the browser",
    "export": "write a trained policy as an ONNX bundle for a robot",
    "verify": "check a bundle: hashes, golden vectors, parity with torch",
    "serve": "answer for a policy over a websocket, as openpi's servers do",
    "report": "write a run's report, one HTML file",
    "convert": "write a dataset in another format",
    "bench": "compare methods by a fixed protocol, over seeds and with intervals",
    "list": "tasks, policies, robots and shipped checkpoints",
    "doctor": "what this machine can do, and how to mend what is missing",
}
EXAMPLES = (
    ("embodied list", "what there is"),
    ("embodied play go2_velocity", "watch a checkpoint that comes with the suite"),
    ("embodied train task=go2_velocity", "train; the run is kept under runs/"),
    ("embodied train task=hopper algo.gamma=0.97", "change any setting"),
    ("embodied train -m task=hopper seed=0,1,2", "several runs, one after the other"),
    ("embodied demos task=pick_cube expert=scripted out=DATA", "record demonstrations"),
    ("embodied pretrain task=pick_cube dataset=DATA", "learn from them; `train init=RUN` goes on"),
    ("embodied steer init=RUN rule=dsrl", "improve what was learnt, its weights left as they are"),
    ("embodied evaluate checkpoint=RUN episodes=256", "measure what was learnt"),
    ("embodied export checkpoint=RUN out=BUNDLE", "hand it to a robot"),
)
FIRST = {
    "demos": "task",
    "pretrain": "task",
    "train": "task",
    "steer": "init",
    "evaluate": "checkpoint",
    "play": "checkpoint",
    "export": "checkpoint",
    "verify": "bundle",
    "serve": "checkpoint",
    "report": "run_dir",
    "bench": "what",
}
"""What a first word without ``=`` stands for: ``embodied play go2_velocity`` means ``checkpoint=go2_velocity``."""
TRACEBACK = "EMBODIED_TRACEBACK"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status: 0 success, 1 a negative finding, 2 a user's mistake, 130 stopped."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        overview()
        return 0
    if arguments[0] == "--version":
        print(version())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        return _fail(f"unknown command {name!r}; {_nearest(name)}")
    return run(name, rest)


def run(name: str, argv: Sequence[str]) -> int:
    """Run one command; a user's mistake becomes one message and exit status 2."""
    # Before torch is loaded: its threads must not spin between products while the simulation's threads need the CPU.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from .config import UserError

    try:
        # Importing is part of it: a command may need an extra.
        module = importlib.import_module(f".{name}", __package__)
        if "-h" in argv or "--help" in argv:
            from .help import print_help

            print_help(name, COMMANDS[name], module)
            return 0
        return int(module.main(named(name, argv)) or 0)
    except BrokenPipeError:  # the reader of a pipe has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UserError, OSError) as error:  # OSError: a file that cannot be written, a full disk
        if os.environ.get(TRACEBACK):
            raise
        return _fail(str(error), name)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def named(command: str, argv: Sequence[str]) -> list[str]:
    """The arguments, with a first word that has no name given the one it usually has."""
    first = argv[0] if argv else ""
    if command not in FIRST or not first or "=" in first or first[0] in "-+~":
        return list(argv)
    return [f"{FIRST[command]}={first}", *argv[1:]]


def overview() -> None:
    """What the suite is, its commands and some examples."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print("[bold]embodied[/bold] - simulate, learn, measure, export, run on the robot\n", highlight=False)
    console.print("Usage: embodied <command> [key=value ...]      embodied <command> --help\n", markup=False)
    for title, rows in (("Commands", COMMANDS.items()), ("Examples", EXAMPLES)):
        table = Table.grid(padding=(0, 3))
        table.add_column(no_wrap=True)
        for left, right in rows:
            table.add_row(f"  [cyan]{escape(left)}[/cyan]", right)
        console.print(f"[bold]{title}[/bold]")
        console.print(table, "")


def version() -> str:
    """``embodied-rl-suite 0.1.0``."""
    import importlib.metadata

    try:
        return f"embodied-rl-suite {importlib.metadata.version('embodied-rl-suite')}"
    except importlib.metadata.PackageNotFoundError:
        return "embodied-rl-suite (a checkout that is not installed)"


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, COMMANDS, 1, 0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + f"commands: {', '.join(COMMANDS)}"


def _fail(message: str, command: str = "") -> int:
    """Print an error, on one rank only; exit status 2."""
    if os.environ.get("RANK", "0") == "0":
        print(f"embodied{' ' + command if command else ''}: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
