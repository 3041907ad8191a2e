"""Every checkpoint that comes with the suite loads, says what made it, and acts in its task."""

import json

import pytest
import torch

import envs
from embodied import checkpoint as checkpoints
from envs.graphics import NoGraphicsError, choose_gl
from scripts.agents import load_agent
from scripts.common import SHIPPED, shipped

NAMES = shipped()


def test_there_are_some():
    assert {"go2_velocity", "go1_velocity"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_made_it_and_how_it_was_judged(name):
    index = json.loads((SHIPPED / name / checkpoints.INDEX).read_text())
    program, command, *settings = index["made_by"]["command"].split(" ")
    assert program == "embodied" and command in ("train", "pretrain") and "seed" in index["made_by"]
    assert f"task={index['spec']['name']}" in settings
    assert index["evaluation"]["episodes"] >= 64
    assert sum(path.stat().st_size for path in (SHIPPED / name).iterdir()) < 2_000_000


@pytest.mark.parametrize("name", NAMES)
def test_it_acts_in_its_task(name):
    """A second of the task earns more than the same second with no action at all."""
    agent = load_agent(name)
    if "image" in agent.spec.obs:
        try:
            choose_gl()
        except NoGraphicsError as error:
            pytest.skip(str(error))
    earned = {}
    for kind in ("trained", "idle"):
        env = envs.make(agent.config["task"], num_worlds=16, num_threads=1)
        obs, total = env.reset(seed=0), torch.zeros(16)
        for _ in range(50):
            seen = obs if agent.normalizer is None else agent.normalizer(obs)
            with torch.no_grad():
                action = agent.policy.act(seen, deterministic=True).action
            result = env.step(action if kind == "trained" else torch.zeros_like(action))
            obs, total = result.obs, total + result.reward
        earned[kind] = float(total.mean())
        env.close()
    assert agent.spec.obs == envs.make(agent.config["task"], num_worlds=1).spec.obs
    assert earned["trained"] > earned["idle"]
