"""Improve a pretrained diffusion or flow policy without touching its weights, by soft actor-critic (DSRL, EXPO).

embodied steer task=pick_cube init=runs/pick_cube/PRETRAINED rule=dsrl
embodied steer init=RUN rule=expo policy.candidates=4 policy.edit_scale=0.2 total_steps=1e5
embodied steer init=RUN rule=dsrl policy.base.diffusion.eta=0
embodied steer resume=runs/pick_cube/2026-01-31_12-00-00-seed0
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING, DictConfig, OmegaConf

import policies
from embodied import checkpoint as checkpoints
from embodied.configuration import choice
from embodied.runtime import keep_memory, use_threads
from embodied.train import TrainingStopped, TrainResult, drive
from policies.steering.dsrl import DSRLConfig
from policies.steering.expo import EXPOConfig

from .agents import load_agent, read_config
from .common import make_env, pick_device, resolve_checkpoint, user_errors
from .config import UserError, compose, plain, typed
from .evaluate import check_fit
from .runs import check_free, closing_words, given, open_run, resumed, say, shown, source_of, stored
from .starting import keep_decisions
from .steering import SteeringRunConfig, SteeringTrainer

RULES = {"dsrl": DSRLConfig, "expo": EXPOConfig}
LEARNER = {field.name for field in fields(SteeringRunConfig)}


@dataclass(frozen=True)
class SteerConfig(SteeringRunConfig):
    """The settings of a run, beside those of the learner.

    rule: dsrl (choose the noise that sampling starts from) or expo (choose among chunks and their edits).
    init: the pretrained run or checkpoint whose policy is steered; its weights stay as they are.
    task: where: the pretrained policy's own task unless another is named; each of its keys is open to change.
    policy: of the rule: policy.hidden, policy.bound (dsrl), policy.candidates and policy.edit_scale (expo); of the
        frozen policy: policy.base, its own settings, of which those of sampling are open to change.
    device: where it runs: auto, cpu, cuda or cuda:<number>.
    engine: the physics: auto, batch (CPU threads) or warp (CUDA).
    num_worlds: simulations side by side.
    num_threads: CPU threads of the simulation; 0: as many as there are.
    run_dir: where the run is kept; default: runs/<task>/<date-time>-seed<seed>.
    resume: a run folder to continue; of the other settings only a few may change then.
    """

    rule: str = MISSING
    init: str = MISSING
    task: Any = MISSING
    policy: Any = None
    device: str = "auto"
    engine: str = "auto"
    num_worlds: int = 16
    run_dir: str | None = None
    resume: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("rule", self.rule, RULES)


SCHEMA = SteerConfig


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if all that was asked for was learnt, 1 if the run could not go on, 130 if it was stopped."""
    try:
        return 0 if run(configure(argv)).finished else 130
    except TrainingStopped as error:
        say(f"{error}")
        return 1


# Configuration ----------------------------------------------------------------------------------------------------


def configure(argv: Sequence[str]) -> DictConfig:
    """The checked configuration of one run, fresh or resumed."""
    source = given(argv, "resume")
    config = fresh(argv) if source is None else resumed(SteerConfig, "steer", source, argv)
    typed(SteerConfig, config)
    if config.resume is None and config.run_dir is not None:
        check_free(Path(config.run_dir), "steer")
    return config


def fresh(argv: Sequence[str]) -> DictConfig:
    """The configuration of a new run around the policy of ``init``."""
    init, rule = given(argv, "init"), given(argv, "rule")
    if init is None or rule is None:
        raise UserError("init and rule are required: embodied steer init=RUN rule=dsrl (or expo)")
    if given(argv, "policy") is not None:
        raise UserError("policy is that of init; what steers it is chosen by rule, its settings are policy.<key>")
    with user_errors():
        choice("rule", rule, RULES)
    pretrained = read_config(init)
    nodes = {"task/pretrained": pretrained["task"], "steered/rule": steered(rule, pretrained["policy"])}
    config = compose(SteerConfig, "steer", argv, nodes)
    keep_decisions(config, pretrained["task"], argv)
    return config


def steered(rule: str, base: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a policy that is steered by a rule, for ``policies.make``."""
    settings = dataclasses.asdict(RULES[rule]())
    return {"kind": rule, **settings, "hidden": list(settings["hidden"]), "base": dict(base)}


# The run ----------------------------------------------------------------------------------------------------------


def run(config: DictConfig) -> TrainResult:
    """Build the task and the steered policy, and learn."""
    device, settings = pick_device(config.device), plain(config)
    env = make_env(
        settings["task"],
        num_worlds=config.num_worlds,
        device=device,
        engine=config.engine,
        num_threads=config.num_threads,
        seed=config.seed,
    )
    try:
        trainer = make_trainer(env, config, settings)
        run_dir = open_run(config, settings)
        source = source_of(config, run_dir, trainer.config.total_steps)
        if source is not None:
            trainer.resume(source)
        return _learn(trainer, run_dir, source, stored(settings))
    finally:
        env.close()


def make_trainer(env: Any, config: DictConfig, settings: Mapping[str, Any]) -> SteeringTrainer:
    """The run at its start: the frozen policy with its weights and normaliser, and an actor that knows nothing.

    Raises:
        UserError: the pretrained policy does not fit the task, or cannot be steered by this rule.
    """
    learner: SteeringRunConfig = typed(
        SteeringRunConfig, OmegaConf.create({key: value for key, value in settings.items() if key in LEARNER})
    )
    use_threads(config.num_threads)
    keep_memory()
    torch.manual_seed(config.seed)
    # A resumed run has all of it in its checkpoint; where it began need not be there any more.
    begun = checkpoints.latest(Path(config.run_dir)) if config.resume else None
    with user_errors():
        policy: Any = policies.make(settings["policy"], env.spec)
        agent = load_agent(resolve_checkpoint(config.init) if begun is None else begun)
        check_fit(agent.spec, env.spec, critic=True)
        if begun is None:
            policy.start_from(agent.policy)
        normalizer = None if agent.normalizer is None else agent.normalizer.to(env.device)
        return SteeringTrainer(env, policy, normalizer, learner)


def _learn(trainer: SteeringTrainer, run_dir: Path, source: Path | None, config: dict[str, Any]) -> TrainResult:
    spec, total_steps = trainer.env.spec, trainer.config.total_steps
    say(f"{'resuming' if source else 'steering'} {spec.name} for {total_steps:,} steps in {run_dir}")
    wandb = {"name": run_dir.name, "project": "embodied", "config": config}
    with shown(spec, run_dir, total_steps) as listeners:
        result = drive(trainer, run_dir, config, source, listeners, wandb)
    closing_words(result, spec, "steer")
    return result
