from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import envs
import policies
from embodied.normalize import ObsNormalizer
from sim2real.deployed import DeployedPolicy
from sim2real.export import export_policy
from sim2real.inference import CONTRACT_KEY
from sim2real.manifest import Manifest
from sim2real.rollout import record
from sim2real.runtime import PolicyRuntime, RuntimeFault
from sim2real.schema import SchemaError

from .test_manifest import edit
from .test_verify import rehash
from .toys import Agent, make_agent

TERMS = {"joint_pos": [0.2, -0.1], "joint_vel": [4.0, -6.0], "command": [0.5]}


def test_terms_are_scaled_and_placed(mlp_bundle: Path):
    runtime = PolicyRuntime(mlp_bundle)
    assert list(runtime.inputs) == ["joint_pos", "joint_vel", "command"] and runtime.control_dt == 0.02
    # offset 0.25 cycles: the clock starts at sin 1, cos 0
    np.testing.assert_allclose(runtime.observation(TERMS), [0.2, -0.1, 0.2, -0.3, 0.5, 0, 0, 1, 0], atol=1e-6)


def test_steps_equal_torch(gru_bundle: Path, gru_agent: Agent):
    """The previous action, the clock (2 Hz, 20 ms: 0.04 cycles a step) and the memory are carried by hand."""
    runtime = PolicyRuntime(gru_bundle)
    deployed = DeployedPolicy(gru_agent.policy, gru_agent.normalizer, gru_agent.spec)
    memory, previous = torch.zeros(1, 12), np.zeros(2)
    for step in range(30):
        angle = 2 * math.pi * (0.25 + 0.04 * step)
        terms = {"joint_pos": [0.01 * step, 0.0], "joint_vel": [1.0, 2.0], "command": [0.5]}
        obs = [0.01 * step, 0, 0.05, 0.1, 0.5, *previous, math.sin(angle), math.cos(angle)]
        with torch.no_grad():
            expected, action, memory = deployed(torch.tensor([[obs]], dtype=torch.float32), memory)
        command = runtime.step(terms)
        np.testing.assert_allclose(command.target, expected[0, 0].numpy(), atol=2e-5)
        np.testing.assert_allclose(command.action, action[0, 0].numpy(), atol=5e-5)
        previous = action[0, 0].numpy()


OBS = [0.2, -0.1, 0.2, -0.3, 0.5]
"""TERMS as the network sees them."""


def expected_actions(agent: Agent, steps: int, seed: int, execute: int = 4) -> list[np.ndarray]:
    """What the flow policy does in an episode of TERMS: history, chunks, clock, previous action and noise by hand."""
    deployed = DeployedPolicy(agent.policy, agent.normalizer, agent.spec)
    generator, history, actions = np.random.default_rng(seed), list[list[float]](), [np.zeros(2)]
    for step in range(steps):
        angle = 2 * math.pi * (0.25 + 0.04 * step)
        history.append([*OBS, *actions[-1], math.sin(angle), math.cos(angle)])
        if step % execute == 0:
            seen = torch.tensor([[history[max(0, step - ago)] for ago in (2, 1, 0)]], dtype=torch.float32)
            with torch.no_grad():
                noise = torch.tensor(generator.standard_normal((1, 1, 4, 2), np.float32))
                chunk = deployed(seen, noise)[1][0].numpy()
        actions.append(chunk[step % execute])
    return actions[1:]


def test_chunks_are_decided_on_histories_with_noise(flow_bundle: Path, flow_agent: Agent):
    runtime = PolicyRuntime(flow_bundle, seed=3)
    assert runtime.control_dt == 0.02
    found = [runtime.step(TERMS).action for _ in range(22)]
    np.testing.assert_allclose(found, expected_actions(flow_agent, 22, seed=3), atol=5e-5)
    assert np.std(found, axis=0).min() > 0.05  # the chunks' steps and the decisions differ
    other = PolicyRuntime(flow_bundle, seed=4)
    assert np.abs(other.step(TERMS).action - found[0]).max() > 1e-3


def test_reset_drops_the_chunk_and_the_history_and_goes_on_drawing(flow_bundle: Path, flow_agent: Agent):
    runtime = PolicyRuntime(flow_bundle, seed=3)
    for _ in range(6):
        runtime.step(TERMS | {"command": [0.9]})
    runtime.reset()
    fresh = np.random.default_rng(3)
    for _ in range(2):  # the decisions of the episode before
        fresh.standard_normal((1, 1, 4, 2), np.float32)
    np.testing.assert_array_equal(runtime.noise, fresh.standard_normal((1, 1, 4, 2), np.float32))
    first = np.array([*OBS, 0, 0, 1, 0], np.float32)
    with torch.no_grad():
        deployed = DeployedPolicy(flow_agent.policy, flow_agent.normalizer, flow_agent.spec)
        chunk = deployed(torch.tensor(first).expand(1, 3, 9), torch.tensor(runtime.noise))[1][0].numpy()
    np.testing.assert_allclose([runtime.step(TERMS).action for _ in range(4)], chunk, atol=5e-5)


def test_a_refused_step_changes_neither_history_nor_noise(flow_bundle: Path):
    runtime, untouched = PolicyRuntime(flow_bundle), PolicyRuntime(flow_bundle)
    for step in range(10):
        if step in (0, 2, 4):
            with pytest.raises(RuntimeFault, match="not finite"):
                runtime.step(TERMS | {"command": [math.nan]})
        np.testing.assert_array_equal(runtime.step(TERMS).target, untouched.step(TERMS).target)


def test_fewer_actions_than_a_chunk_may_be_executed(flow_bundle: Path, flow_agent: Agent, copy_of: Any):
    bundle = copy_of(flow_bundle)
    edit(bundle, lambda d: d["contract"]["decision"].update(execute=2, period=0.04), reseal=True)
    proto = onnx.load(bundle / "policy.onnx")
    entry = next(p for p in proto.metadata_props if p.key == CONTRACT_KEY)
    entry.value = Manifest.read(bundle).contract.sha256()
    onnx.save(proto, bundle / "policy.onnx")
    rehash(bundle)
    runtime = PolicyRuntime(bundle, seed=3)
    found = [runtime.step(TERMS).action for _ in range(7)]
    np.testing.assert_allclose(found, expected_actions(flow_agent, 7, seed=3, execute=2), atol=5e-5)


def test_reset_begins_afresh(gru_bundle: Path):
    runtime = PolicyRuntime(gru_bundle)
    first = [runtime.step(TERMS).target for _ in range(3)]
    assert np.abs(first[0] - first[1]).max() > 1e-6
    runtime.reset()
    np.testing.assert_array_equal([runtime.step(TERMS).target for _ in range(3)], first)


def test_the_clock_rests_with_the_command(mlp_bundle: Path):
    runtime = PolicyRuntime(mlp_bundle)
    assert runtime.observation(TERMS | {"command": [0.09]})[-2:].tolist() == [0, 0]
    assert runtime.observation(TERMS | {"command": [-0.1]})[-2:].tolist() == pytest.approx([1, 0], abs=1e-7)


def test_a_computed_term_may_be_given(mlp_bundle: Path):
    given = PolicyRuntime(mlp_bundle).observation(TERMS | {"gait_clock": [0.6, 0.8], "last_action": [1, 2]})
    np.testing.assert_allclose(given[5:], [1, 2, 0.6, 0.8], atol=1e-7)


def test_gains_and_motors_follow_the_joints(mlp_bundle: Path):
    command = PolicyRuntime(mlp_bundle).step(TERMS)
    assert command.names == ("hip", "knee")
    assert command.kp is not None and command.kd is not None and command.motor is not None
    assert (command.kp.tolist(), command.kd.tolist(), command.motor.tolist()) == ([35, 40], [0.5, 0.75], [1, 0])
    assert command.in_motor_order() == [(0, command.target[1], 40.0, 0.75), (1, command.target[0], 35.0, 0.5)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint_pos": None}, "'joint_pos' .*shape"),
        ({"joint_pos": [0.0]}, r"'joint_pos' has shape \(1,\), expected \(2,\)"),
        ({"joint_pos": [[0.0, 0.0]]}, r"'joint_pos' has shape \(1, 2\)"),
        ({"joint_vel": [0.0, math.nan]}, "'joint_vel' is not finite at knee"),
        ({"command": [math.inf]}, "'command' is not finite at 0"),
        ({"joint_vel": ["a", "b"]}, "'joint_vel' is no array of numbers"),
        ({"joint_velocity": [0.0, 0.0]}, "unknown observation term 'joint_velocity'; did you mean 'joint_vel'"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(change: dict[str, Any], message: str, gru_bundle: Path):
    runtime, untouched = PolicyRuntime(gru_bundle), PolicyRuntime(gru_bundle)
    with pytest.raises(RuntimeFault, match=message):
        runtime.step(TERMS | change)
    np.testing.assert_array_equal(runtime.step(TERMS).target, untouched.step(TERMS).target)


def test_a_missing_term_is_named(mlp_bundle: Path):
    with pytest.raises(RuntimeFault, match="missing observation terms: joint_vel, command"):
        PolicyRuntime(mlp_bundle).step({"joint_pos": [0.0, 0.0]})


def test_a_changed_bundle_does_not_load(mlp_bundle: Path, copy_of: Any):
    bundle = copy_of(mlp_bundle)
    (bundle / "policy.onnx").write_bytes((bundle / "policy.onnx").read_bytes() + b"\0")
    with pytest.raises(SchemaError, match=r"policy\.onnx has"):
        PolicyRuntime(bundle)


def test_it_runs_without_torch_and_the_rest(mlp_bundle: Path):
    blocked = ["torch", "mujoco", "onnx", "gymnasium", "hydra", "embodied", "envs", "policies", "scipy", "safetensors"]
    code = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        "from sim2real.runtime import PolicyRuntime\n"
        f"PolicyRuntime(sys.argv[1]).step({TERMS})\n"
    )
    root = Path(__file__).parent.parent.parent
    subprocess.run([sys.executable, "-c", code, str(mlp_bundle)], cwd=root, check=True)


def measured(runtime: PolicyRuntime, obs: torch.Tensor) -> dict[str, np.ndarray]:
    """The terms that a robot measures, from the environment's observation (n,)."""
    return {t.name: obs[t.start : t.start + t.size].numpy() / t.scale for t in runtime.inputs.values()}


@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_in_the_loop_it_walks_as_torch_does(kind: str, tmp_path: Path):
    """The Go2 in the simulator: torch drives one world, the bundle's runtime its twin, in noise."""
    torch.manual_seed(0)
    env, twin = (envs.make("go2_velocity", num_worlds=1, seed=0, num_threads=1) for _ in range(2))
    policy: Any = policies.make({"kind": kind, "hidden": (32,)}, env.spec)
    policy.actor[-1].weight.data.mul_(20.0 if kind == "mlp" else 60.0)
    normalizer = ObsNormalizer.of(env.spec)
    recording = record(env, policy, normalizer, steps=64)
    normalizer.accumulate({"policy": torch.tensor(recording.obs[:, 0, 0]), "critic": twin.reset(0)["critic"]})
    normalizer.commit()
    export_policy(policy, normalizer, env.spec, tmp_path / "b", recording)
    runtime = PolicyRuntime(tmp_path / "b")

    obs, seen, memory = env.reset(seed=3), twin.reset(seed=3), policy.initial_memory(1)
    runtime.reset(clock=float(twin._buffers["clock"][0]))  # type: ignore[attr-defined]
    actions = []
    for _ in range(100):
        with torch.no_grad():
            decision = policy.act(normalizer(obs), memory, deterministic=True)
        command = runtime.step(measured(runtime, seen["policy"][0]))
        action = torch.tensor(command.action, dtype=torch.float32)[None, None]
        ours, theirs = env.step(decision.action), twin.step(action)
        np.testing.assert_allclose(action, decision.action, atol=1e-3)
        np.testing.assert_allclose(theirs.obs["critic"], ours.obs["critic"], atol=1e-2)
        assert ours.done.tolist() == theirs.done.tolist()
        obs, seen, memory = ours.obs, theirs.obs, decision.memory
        if ours.done.any():
            memory = policy.initial_memory(1)
            runtime.reset(clock=float(twin._buffers["clock"][0]))  # type: ignore[attr-defined]
        actions.append(action.flatten().numpy())
    assert np.std(actions, axis=0).mean() > 0.02  # the policy did something


@pytest.mark.slow
def test_an_episode_in_chunks_is_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """torch drives a Go2 by decisions of 4 steps on histories of 3; the runtime says so of its twin, step for step.

    The twin makes torch's actions, so that rounding does not grow with the steps. A residual on a base that plans two
    decisions ahead, with noise: history, chunk, memory and generator at once.
    """
    env = envs.make("go2_velocity", num_worlds=1, num_threads=1, overrides={"chunk": 4, "history": 3})
    twin = envs.make("go2_velocity", num_worlds=1, num_threads=1)
    # x0: predicting the noise multiplies each library's rounding, on some processors beyond what an export allows
    base = {"train_steps": 4, "prediction": "x0"}
    agent = make_agent(
        "residual", 0, spec=env.spec, base_chunk=8, hidden=[16], inference_noise="random", diffusion=base
    )
    policy, normalizer = agent.policy, agent.normalizer
    export_policy(policy, normalizer, env.spec, tmp_path / "b", record(env, policy, normalizer, steps=64))
    runtime, generator = PolicyRuntime(tmp_path / "b", seed=5), np.random.default_rng(5)
    obs, seen, memory = env.reset(seed=3), twin.reset(seed=3), policy.initial_memory(1)
    runtime.reset(clock=float(twin._buffers["clock"][0]))  # type: ignore[attr-defined]
    steps = 0
    for _ in range(250):
        noise = torch.tensor(generator.standard_normal((1, *policy.noise_shape), np.float32))
        monkeypatch.setattr(policy, "draw_noise", lambda cond, deterministic, noise=noise: noise)
        with torch.no_grad():
            decision = policy.act(normalizer(obs), memory, deterministic=True)
        ours = env.step(decision.action)
        for action in decision.action[0]:
            command = runtime.step(measured(runtime, seen["policy"][0]))
            np.testing.assert_allclose(command.action, action, atol=1e-3)
            theirs = twin.step(action[None, None])
            seen, steps = theirs.obs, steps + 1
            if theirs.done:
                break
        assert ours.done.tolist() == theirs.done.tolist()
        if ours.done:
            break
        np.testing.assert_allclose(ours.obs["policy"][:, -1], seen["policy"], atol=1e-2)
        obs, memory = ours.obs, decision.memory
    assert steps > 40 and ours.metrics["length"].item() == steps
