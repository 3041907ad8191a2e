"""The compact VLA as a bundle: image and instruction in, by the token head and by the flow head."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from embodied.normalize import ObsNormalizer
from embodied.text import encode_text
from envs.chunking import chunked_spec
from sim2real import verify as v
from sim2real.contract import contract_of
from sim2real.deployed import DeployedPolicy
from sim2real.export import ExportError, export_policy
from sim2real.inference import OnnxPolicy
from sim2real.manifest import Manifest
from sim2real.recording import Recording
from sim2real.runtime import PolicyRuntime, RuntimeFault
from sim2real.ties import lead, rounding, shortfall, ties
from tests.policies.vla.models import CHUNK, LENGTH, TEXTS, TINY, seeing, small, small_flow

SPEC = replace(chunked_spec(seeing(chunk=1), chunk=CHUNK[0], history=1), control_dt=0.2)
STEPS, ROWS = 16, 8


@dataclass
class Agent:
    """A policy with its normaliser."""

    policy: Any
    normalizer: ObsNormalizer


def make(name: str, **more: Any) -> Agent:
    torch.manual_seed(0)
    maker: Callable[..., Any] = small_flow if name in ("reinflow", "ncdpo", "dppo") else small
    policy, normalizer = maker(name, SPEC, **more), ObsNormalizer.of(SPEC)
    if maker is small:  # so that every element depends on what is seen
        torch.nn.init.normal_(policy.head.out.weight)
    normalizer.accumulate({"policy": 1 + 3 * torch.randn(200, 5), "critic": torch.randn(200, 7)})
    normalizer.commit()
    return Agent(policy, normalizer)


def recorded(steps: int = STEPS, rows: int = ROWS, seed: int = 0) -> Recording:
    """Draws in place of a rollout."""
    rng = np.random.default_rng(seed)
    start = np.zeros((steps, rows), bool)
    start[0] = True
    texts = [TEXTS[i % len(TEXTS)] for i in range(steps * rows)]
    told = encode_text(texts, LENGTH).numpy().reshape(steps, rows, LENGTH)
    image = rng.integers(0, 256, (steps, rows, 16, 16, 3), np.uint8)
    obs = rng.normal(1, 3, (steps, rows, 1, 5)).astype(np.float32)
    return Recording(obs, start, None, image, told)


def decided(agent: Agent, recording: Recording, step: int) -> np.ndarray:
    """Actions (R, H, A) of the policy itself, which reads the instruction's bytes; its noise is zeros."""
    assert recording.image is not None and recording.instruction is not None
    groups = {"policy": recording.obs[step, :, 0], "image": recording.image[step]}
    obs = {name: torch.from_numpy(x) for name, x in groups.items()}
    obs |= {"instruction": torch.from_numpy(recording.instruction[step]), "critic": torch.zeros(ROWS, 7)}
    with torch.no_grad():
        return agent.policy.act(agent.normalizer(obs), deterministic=True).action.clamp(-1, 1).numpy()


@pytest.fixture(scope="module")
def agent() -> Agent:
    return make("parallel")


@pytest.fixture(scope="module")
def bundle(agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vla") / "bundle"
    export_policy(agent.policy, agent.normalizer, SPEC, out, recorded())
    return out


SCALING = {"centre": (0.1, 0.0, -0.1), "width": (0.5, 0.25, 0.75)}
CASES: dict[str, dict[str, Any]] = {
    "parallel-separate": {"action_scaling": SCALING},
    "autoregressive": {},
    "reinflow": {"action_scaling": SCALING},
    "ncdpo": {"process": "flow"},
    "dppo": {"process": "diffusion", "diffusion": {"train_steps": 2, "prediction": "x0"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_bundle_decides_as_the_policy(name: str, tmp_path: Path):
    agent = make(name, **CASES[name])
    manifest = export_policy(agent.policy, agent.normalizer, SPEC, tmp_path / "b", recorded())
    reference = DeployedPolicy(agent.policy, agent.normalizer, SPEC)
    report = v.verify_bundle(tmp_path / "b", reference, other := recorded(seed=5))
    assert report.passed, report.failures
    assert manifest.parity.observations == STEPS * ROWS and manifest.parity.max_abs_action <= manifest.parity.tolerance
    inputs = reference.inputs(other)
    if inputs.noise is not None:
        inputs = replace(inputs, noise=np.zeros_like(inputs.noise))
    action = OnnxPolicy(tmp_path / "b" / "policy.onnx", manifest.contract).replay(inputs)[1]
    expected = np.stack([decided(agent, other, step) for step in range(STEPS)])
    assert expected.std(axis=(0, 1)).max() > 0.01  # it depends on what goes in
    differs = np.abs(action - expected).max((-2, -1)) > manifest.parity.tolerance
    assert differs.sum() <= (2 if reference.tokens else 0)


def test_the_contract_says_what_is_seen_and_told(bundle: Path, agent: Agent):
    contract = Manifest.read(bundle).contract
    assert contract.image is not None and contract.instruction is not None
    assert (contract.image.shape, contract.image.channels, contract.image.range) == ((16, 16, 3), "RGB", (0, 255))
    assert (contract.instruction.length, contract.instruction.max_words) == (LENGTH, TINY["max_words"])
    assert contract.instruction.words == tuple(agent.policy.trunk.language.tokenizer.describe()["words"])
    assert [(x.name, x.shape, x.dtype) for x in contract.model.inputs] == [
        ("obs", ("batch", 1, 5), "float32"),
        ("image", ("batch", 16, 16, 3), "uint8"),
        ("words", ("batch", 12), "int64"),
    ]
    with pytest.raises(ValueError, match=r"model\.inputs must be obs, image"):
        contract_of(SPEC, contract.model)  # without its tokenizer
    proto = onnx.load(bundle / "policy.onnx")
    assert not [tensor.name for tensor in proto.graph.initializer if "critic" in tensor.name]


def test_the_network_refuses_other_images(bundle: Path):
    network = OnnxPolicy(bundle / "policy.onnx", Manifest.read(bundle).contract)
    obs, image = np.zeros((1, 1, 5), np.float32), np.zeros((1, 16, 16, 3), np.uint8)
    words = network.words(np.zeros((1, LENGTH), np.uint8))
    assert words.shape == (1, 12) and not words.any()
    with pytest.raises(ValueError, match=r"this network takes image of shape \(B, 16, 16, 3\)"):
        network(obs, {}, words=words)
    with pytest.raises(ValueError, match=r"image \(1, 16, 16, 3\) float32; expected \(B, 16, 16, 3\) uint8"):
        network(obs, {}, image=image.astype(np.float32), words=words)
    with pytest.raises(ValueError, match=r"words \(1, 3\) int64; expected \(B, 12\) int64"):
        network(obs, {}, image=image, words=words[:, :3])


def test_the_runtime_looks_and_listens_when_it_decides(bundle: Path, agent: Agent):
    runtime, recording = PolicyRuntime(bundle), recorded()
    assert recording.image is not None
    expected = decided(agent, recording, 0)
    for row in range(4):
        terms, image, text = {"x": recording.obs[0, row, 0]}, recording.image[0, row], TEXTS[row]
        runtime.reset()
        assert runtime.deciding
        first = runtime.step(terms, image, text)
        assert not runtime.deciding
        found = [first.action, runtime.step(terms).action]  # the chunk goes on without a look
        np.testing.assert_allclose(found, expected[row], atol=1e-5)
    assert np.abs(expected[:4] - expected[:1]).max() > 0.1


def test_the_runtime_refuses_what_it_cannot_see_or_read(bundle: Path):
    runtime, terms, image = PolicyRuntime(bundle), {"x": np.zeros(5)}, np.zeros((16, 16, 3), np.uint8)
    pictures: list[tuple[Any, str]] = [
        (None, "got NoneType"),
        (image / 255, "got .* float64"),
        (image[:8], r"got \(8, 16, 3\) uint8"),
    ]
    for bad, message in pictures:
        with pytest.raises(RuntimeFault, match=rf"takes an image \(16, 16, 3\) uint8 in RGB, {message}"):
            runtime.step(terms, bad, "put")
    with pytest.raises(RuntimeFault, match="takes an instruction"):
        runtime.step(terms, image)
    with pytest.raises(RuntimeFault, match="reads at most 12"):
        runtime.step(terms, image, "put " * 13)
    assert runtime.deciding
    runtime.step(terms, image, "put")


def test_the_robot_needs_no_torch(bundle: Path):
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np; from sim2real.runtime import PolicyRuntime; "
        "step = PolicyRuntime(sys.argv[1]).step({'x': np.zeros(5)}, np.zeros((16, 16, 3), np.uint8), 'put it'); "
        "assert step.target.shape == (3,)"
    )
    root = Path(__file__).parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code, str(bundle)], cwd=root, check=False).returncode == 0


# Ties -------------------------------------------------------------------------------------------------------------


def tied(agent: Agent, gap: float) -> tuple[DeployedPolicy, Recording, np.ndarray, np.ndarray]:
    """Every element's tokens 3 and 1 lead the others by 1 nat, and token 3 leads token 1 by ``gap``."""
    reference = DeployedPolicy(agent.policy, agent.normalizer, SPEC)
    with torch.no_grad():
        reference.policy.head.out.weight.zero_()
        reference.policy.head.out.bias.view(-1, 5)[:] = torch.tensor([0.0, 1.0 - gap, 0.0, 1.0, 0.0])
    recording = reference.inputs(recorded(steps=2))
    best, second = (np.full((2, ROWS, *CHUNK), level, np.float32) for level in (0.5, -0.5))
    return reference, recording, best, second


def test_a_tie_is_told_from_a_wrong_token(agent: Agent):
    for gap, expected in ((0.0, True), (1e-3, False)):
        reference, recording, best, second = tied(agent, gap)
        assert (ties(reference, recording, best, second, 1e-5) == expected).all()
        short = shortfall(reference.exact(), recording.flat(), second.reshape(1, -1, *CHUNK))
        np.testing.assert_allclose(short, gap, atol=1e-7)
    far = np.full_like(best, 1.0)  # token 4
    far[0, 0] = best[0, 0]
    assert not ties(reference, recording, best, far, 1e-5).any()


def test_tokens_after_a_tie_are_judged_given_it():
    agent = make("autoregressive")
    reference = DeployedPolicy(agent.policy, agent.normalizer, SPEC)
    recording = reference.inputs(recorded(steps=1))
    best = reference.replay(recording)[1]
    assert shortfall(reference, recording, best).max() <= 1e-6
    turned = best.copy()
    turned[:, :, 0, 0] = np.where(best[:, :, 0, 0] > 0, best[:, :, 0, 0] - 0.5, best[:, :, 0, 0] + 0.5)
    assert shortfall(reference, recording, turned).min() > 1e-3


def test_the_rounding_and_the_lead_are_those_of_the_logits(agent: Agent):
    reference, recording, best, _ = tied(agent, 0.25)
    np.testing.assert_allclose(lead(reference, recording.flat()), 0.25, atol=1e-6)
    assert rounding(reference, reference.exact(), recording, best) <= 1e-7
    free = DeployedPolicy(agent.policy, agent.normalizer, SPEC)
    assert 1e-8 < rounding(free, free.exact(), recording, best) < 1e-4


def test_an_untrained_head_is_not_exported(tmp_path: Path):
    agent = make("parallel")
    torch.nn.init.zeros_(agent.policy.head.out.weight)
    torch.nn.init.zeros_(agent.policy.head.out.bias)
    with pytest.raises(ExportError, match="never trained"):
        export_policy(agent.policy, agent.normalizer, SPEC, tmp_path / "b", recorded())


def test_another_network_is_found(agent: Agent, bundle: Path):
    other = make("parallel")
    with torch.no_grad():
        other.policy.trunk.language.embed.weight.mul_(-1)
    reference = DeployedPolicy(other.policy, other.normalizer, SPEC)
    report = v.verify_bundle(bundle, reference, recorded())
    assert [check.name for check in report.failures] == ["parity"]
