"""What `embodied bench finetune` compares: tasks, bases (what is cloned from demonstrations) and methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from embodied.configuration import choice, from_mapping, nearest, positive

SCRATCH, FINETUNE = "scratch", "finetune"
STAGES = (SCRATCH, FINETUNE)
FIGURES = ("return", "success")


@dataclass(frozen=True)
class TaskPlan:
    """How a task is measured and demonstrated.

    name: a choice of configs/task.
    figure: what counts: return, or success for a sparse reward.
    threshold: the figure's value that a method is to reach soon.
    expert_steps: environment steps that the expert, PPO by the task's recipe, is trained for; 0: a scripted expert.
    episodes: of the demonstrations.  noise: of the expert in them.
    scratch: whether methods that start from nothing are tried.
    settings: overrides of the task itself, for every command.
    train: overrides of every training except the expert's.
    tuned: whether fine-tuning goes by configs/finetune alone: a method's ``learning`` is left out, and no learning
        rate is tried.
    """

    name: str
    figure: str = "return"
    threshold: float = 0.0
    expert_steps: int = 0
    episodes: int = 96
    noise: float = 0.0
    scratch: bool = True
    settings: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    tuned: bool = False

    def __post_init__(self) -> None:
        choice(f"protocol.tasks.{self.name}.figure", self.figure, FIGURES)
        positive(f"protocol.tasks.{self.name}.episodes", self.episodes)


@dataclass(frozen=True)
class Base:
    """A policy that learns from the demonstrations; methods start from it.

    policy: a choice of configs/policy.  settings: overrides of `embodied pretrain`.
    """

    name: str
    policy: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A rule with its settings.

    stage: scratch or finetune.  base: what the latter starts from.
    policy: a choice of configs/policy.  settings: overrides of `embodied train` that say what it is.
    learning: those that say how it learns, where a task has no tuned files.
    learning_rate: of a recipe that is taken as it stands, and so is not tuned; None: one of the trials'.
    """

    name: str
    policy: str
    stage: str = FINETUNE
    base: str | None = None
    settings: tuple[str, ...] = ()
    learning: tuple[str, ...] = ()
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        choice(f"protocol.methods.{self.name}.stage", self.stage, STAGES)
        if (self.base is None) != (self.stage == SCRATCH):
            raise ValueError(f"protocol.methods.{self.name}: a base belongs to stage=finetune, and to no other")
        if self.learning_rate is not None:
            positive(f"protocol.methods.{self.name}.learning_rate", self.learning_rate)


@dataclass(frozen=True)
class Protocol:
    """Everything by its name."""

    tasks: dict[str, TaskPlan]
    bases: dict[str, Base]
    methods: dict[str, Method]

    @classmethod
    def of(cls, data: Mapping[str, Any], tasks: Iterable[str], methods: Iterable[str]) -> Protocol:
        """The tasks and methods chosen by name, and the bases that they need.

        Raises:
            ValueError: an unknown name or key, or a method whose base is not there.
        """
        bases = {name: _entry(Base, name, entry, "bases") for name, entry in data["bases"].items()}
        chosen = {name: _entry(Method, name, _named(data["methods"], name, "methods"), "methods") for name in methods}
        for method in chosen.values():
            if method.base is not None:
                choice(f"protocol.methods.{method.name}.base", method.base, bases)
        needed = {method.base for method in chosen.values()}
        return cls(
            {name: _entry(TaskPlan, name, _named(data["tasks"], name, "tasks"), "tasks") for name in tasks},
            {name: base for name, base in bases.items() if name in needed},
            chosen,
        )

    def methods_of(self, task: str) -> list[Method]:
        """The methods that are tried on a task."""
        scratch = self.tasks[task].scratch
        return [method for method in self.methods.values() if scratch or method.stage != SCRATCH]


def _named(entries: Mapping[str, Any], name: str, what: str) -> Mapping[str, Any]:
    if name not in entries:
        raise ValueError(f"{what}: unknown {name!r}; {nearest(name, entries)}")
    return entries[name]


def _entry(cls: type[Any], name: str, entry: Mapping[str, Any], group: str) -> Any:
    return from_mapping(cls, {"name": name, **entry}, f"protocol.{group}.{name}")
