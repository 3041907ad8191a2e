"""`embodied serve` and its client over loopback: a real socket, a real server in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embodied.text import encode_text
from policies import remote
from policies.remote import TOKEN, RemoteConfig, RemoteError, RemotePolicy
from policies.wire import pack, unpack
from scripts.cli import main
from scripts.common import Agent
from scripts.config import UserError
from scripts.remote import digest, parse_source, remote_agent
from scripts.serve import ServeConfig, is_loopback, make_server, of_agent, of_bundle
from scripts.serving import Entry, PolicyServer, Served
from tests.policies.vla.models import TEXTS, observations, seeing, small
from tests.sim2real.toys import make_agent

pytest.importorskip("msgspec", reason="the extra `serve` is not installed")
exceptions = pytest.importorskip("websockets.exceptions", reason="the extra `serve` is not installed")
connect = pytest.importorskip("websockets.sync.client").connect

SPEC = seeing()
ROW = {"observation/state": np.ones(5, np.float32), "prompt": "put"}


@contextmanager
def running(server: PolicyServer, port: int = 0) -> Iterator[int]:
    """The server in a thread; yields its port."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    found: list[int] = []

    def note(port: int) -> None:
        found.append(port)
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    task = loop.create_task(server.run("127.0.0.1", port, note))
    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        assert not thread.is_alive()


def echo(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Two actions of three elements: the state's first ones, then the length of the prompt."""
    return np.stack([np.stack([r["observation/state"][:3], np.full(3, len(r["prompt"]))]) for r in rows])


def toy(decide: Callable[[Sequence[dict[str, Any]]], np.ndarray] = echo, **options: Any) -> PolicyServer:
    inputs = {"observation/state": Entry((5,)), "prompt": Entry(None, "str", 60)}
    return PolicyServer(Served(inputs, {"task": "toy"}, decide), **options)


def policy(port: int, **options: Any) -> RemotePolicy:
    return RemotePolicy(SPEC, RemoteConfig(f"ws://127.0.0.1:{port}", **{"retries": 0, "timeout": 10.0, **options}))


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)


def test_the_remote_policy_decides_as_the_one_that_is_served():
    torch.manual_seed(0)
    local = small("parallel", SPEC)
    with running(PolicyServer(of_agent(Agent(local, None, SPEC, {}), "abc"))) as port:
        client, obs = policy(port), observations(3)
        decision = client.act(obs)
        assert torch.equal(decision.action, local.act(obs, deterministic=True).action)
        assert decision.log_prob.shape == (3, 1) and client.value(obs).tolist() == [0, 0, 0]
        assert client.connection.metadata["digest"] == "abc"
        assert client.connection.metadata["observation"]["observation/image"] == {
            "dtype": "uint8",
            "shape": [16, 16, 3],
        }
        client.connection.close()


def test_it_speaks_as_openpi_does():
    """Metadata, then the answer to each observation with its timing, as openpi-client's own loop reads them."""
    with running(toy()) as port:
        with connect(f"ws://127.0.0.1:{port}", compression=None) as socket:
            assert unpack(socket.recv()) == {"task": "toy"}
            for prompt, timings in (("a", {"infer_ms"}), ("abc", {"infer_ms", "prev_total_ms"})):
                socket.send(pack({**ROW, "prompt": prompt, "unknown": np.zeros(2)}))
                answer = unpack(socket.recv())
                np.testing.assert_array_equal(answer["actions"], [[1, 1, 1], [len(prompt)] * 3])
                assert set(answer["server_timing"]) == timings
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as health:
            assert health.read() == b"OK\n"


def test_the_token(monkeypatch: pytest.MonkeyPatch):
    obs = observations(1)
    with running(toy(token="secret")) as port:
        for wrong in (None, "", "secre", "secrets", "ünd"):
            if wrong is not None:
                monkeypatch.setenv(TOKEN, wrong)
            if wrong is None or wrong.isascii():
                with pytest.raises(RemoteError, match=f"refuses the connection: .*401.*{TOKEN}"):
                    policy(port).act(obs)
        monkeypatch.setenv(TOKEN, "secret")
        client = policy(port)
        assert client.act(obs).action.shape == (1, 2, 3)
        client.connection.close()


def test_web_pages_are_kept_out():
    with running(toy()) as port, pytest.raises(exceptions.InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{port}", origin="https://example.org")


MISTAKES: dict[str, tuple[Any, str]] = {
    "text": ("hello", "a request is a binary message"),
    "malformed": (b"\x81\xa1x", "not a msgpack message"),
    "no map": (pack([1]), "an observation is a map, got list"),
    "objects": (pack({"x": np.ones(1, "u1")}).replace(b"\xa3|u1", b"\xa2|O"), r"dtype '\|O' is not allowed"),
    "missing": (pack({"prompt": "x"}), "lacks observation/state; it must hold observation/state, prompt"),
    "shape": (pack({**ROW, "observation/state": np.ones(4)}), r"array \(5,\) of float32, got \(4,\) float64"),
    "not finite": (pack({**ROW, "observation/state": np.full(5, np.nan)}), "observation/state is not finite"),
    "long": (pack({**ROW, "prompt": "x" * 61}), "a text of at most 60 bytes"),
    "zero": (pack({**ROW, "prompt": "a\0b"}), "a text of at most 60 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_client_is_told_what_it_got_wrong_and_others_go_on(name: str):
    message, expected = MISTAKES[name]
    with (
        running(toy()) as port,
        connect(f"ws://127.0.0.1:{port}") as good,
        connect(f"ws://127.0.0.1:{port}") as bad,
    ):
        for socket in (good, bad):
            socket.recv()
        bad.send(message)
        answer = bad.recv()
        assert isinstance(answer, str) and re.search(expected, answer), answer
        with pytest.raises(exceptions.ConnectionClosed):
            bad.recv()
        good.send(pack(ROW))
        assert unpack(good.recv())["actions"].shape == (2, 3)


def test_a_request_that_is_too_large_is_not_read():
    with running(toy(max_bytes=1000)) as port:
        client = policy(port, retries=3)
        with pytest.raises(RemoteError, match=r"refuses: .*1009"):  # at once: asking again would not help
            client.connection.infer({**ROW, "more": np.zeros(1000, np.uint8)})
        assert client.connection.infer(ROW)["actions"].shape == (2, 3)
        client.connection.close()


def test_a_failure_here_is_no_clients_business(caplog: pytest.LogCaptureFixture):
    def fail(rows: Sequence[dict[str, Any]]) -> np.ndarray:
        raise RuntimeError("a path of ours")

    told = "says: the policy failed; the server's log says why"
    with running(toy(fail)) as port, pytest.raises(RemoteError, match=told):
        policy(port).connection.infer(ROW)
    assert "a path of ours" in caplog.text


def test_requests_that_wait_are_answered_together():
    sizes, entered, go = [], threading.Event(), threading.Event()

    def slow(rows: Sequence[dict[str, Any]]) -> np.ndarray:
        sizes.append(len(rows))
        entered.set()
        assert go.wait(10)
        return echo(rows)

    found: dict[int, np.ndarray] = {}

    def ask(i: int, port: int) -> None:
        client = policy(port)
        found[i] = client.connection.infer({**ROW, "prompt": "x" * i})["actions"]
        client.connection.close()

    server = toy(slow, max_batch=3)
    with running(server) as port:
        threads = [threading.Thread(target=ask, args=(i, port)) for i in range(6)]
        threads[0].start()
        assert entered.wait(10)
        for thread in threads[1:]:
            thread.start()
        for _ in range(1000):
            if server._waiting.qsize() == 5:
                break
            threading.Event().wait(0.01)
        go.set()
        for thread in threads:
            thread.join(10)
    assert sizes == [1, 3, 2]
    assert [int(found[i][1, 0]) for i in range(6)] == list(range(6))


def test_a_server_that_comes_back_is_found_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "BACKOFF_S", 0.01)
    obs = observations(2)
    with running(toy()) as port:
        client = policy(port, retries=8)
        first = client.act(obs).action
    with running(toy(), port):
        assert torch.equal(client.act(obs).action, first)
    with pytest.raises(RemoteError, match=f"no policy server at ws://127.0.0.1:{port}"):
        client.act(obs)
    other = toy()
    other.served.metadata["task"] = "another"
    with running(other, port), pytest.raises(RemoteError, match="another policy answers"):
        client.act(obs)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.ones((1, 3)), r"shape \(1, 3\); this task executes \(2, 3\)"),
        (np.ones((2, 4)), "have 4 elements, the task's 3"),
        (np.full((2, 3), np.nan), "not finite"),
        (np.ones(3), r"have shape \(3,\)"),
    ],
)
def test_actions_that_do_not_fit_are_refused(actions: np.ndarray, message: str):
    with running(toy(lambda rows: actions[None])) as port:
        client = policy(port)
        with pytest.raises(RemoteError, match=message):
            client.act(observations(1))
        client.connection.close()


def test_a_longer_chunk_is_cut():
    with running(toy(lambda rows: np.arange(15.0).reshape(1, 5, 3))) as port:
        client = policy(port)
        assert client.act(observations(1)).action.tolist() == [[[0, 1, 2], [3, 4, 5]]]
        client.connection.close()


def test_a_remote_policy_cannot_be_trained():
    client, obs = policy(1), observations(1)
    for attempt in (
        client.actor_parameters,
        client.critic_parameters,
        lambda: client.evaluate_actions(obs, torch.zeros(1, 2, 3), {}),
        lambda: client.imitation_loss(obs, torch.zeros(1, 2, 3)),
    ):
        with pytest.raises(ValueError, match="can be evaluated, not trained"):
            attempt()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"uri": "http://x"}, "policy.uri='http://x': must begin with ws://"), ({"retries": -1}, "policy.retries")],
)
def test_a_configuration_that_makes_no_sense(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        RemoteConfig(**{"uri": "ws://x:1", **options})


def test_a_row_is_sent_under_the_servers_names():
    obs = {**observations(2), "instruction": encode_text(TEXTS[:2], 60)}
    rows = remote.rows_of(obs, RemoteConfig("ws://x:1", state="s", image="", instruction="task"))
    assert [set(row) for row in rows] == [{"s", "task"}] * 2 and rows[1]["task"] == TEXTS[1]
    np.testing.assert_array_equal(rows[1]["s"], obs["policy"][1].numpy())


# The command and the agent -----------------------------------------------------------------------------------------


def test_only_a_token_opens_the_door_to_others(monkeypatch: pytest.MonkeyPatch):
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.2", "example.org")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    with pytest.raises(UserError, match=f"whoever reaches this machine could use the policy; set {TOKEN}"):
        make_server(ServeConfig(checkpoint="go2_velocity", host="0.0.0.0"), None)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "one of checkpoint=RUN and bundle=BUNDLE"),
        (["checkpoint=a", "bundle=b"], "one of checkpoint=RUN and bundle=BUNDLE"),
        (["checkpoint=go2_velocity", "port=70000"], "port=70000"),
        (["bundle=/nowhere"], "no bundle"),
    ],
)
def test_a_users_mistake(argv: list[str], message: str):
    from scripts import serve

    with pytest.raises(UserError, match=message):
        serve.main(argv)


def test_a_shipped_checkpoint_says_enough_to_be_evaluated():
    server = make_server(ServeConfig(checkpoint="hopper", device="cpu"), None)
    with running(server) as port:
        agent = remote_agent(f"ws://127.0.0.1:{port}?timeout=5&retries=0")
        assert agent.spec.name == "hopper" and agent.config["task"]["name"] == "hopper"
        obs = {"policy": torch.randn(2, *agent.spec.obs["policy"].shape)}
        action = agent.policy.act(obs).action
        assert action.shape == (2, 1, 3) and len(digest(f"ws://127.0.0.1:{port}")) == 16
        agent.policy.connection.close()  # type: ignore[attr-defined]


def test_another_server_needs_a_task():
    with running(toy()) as port:
        with pytest.raises(UserError, match="does not say which task it acts in"):
            remote_agent(f"ws://127.0.0.1:{port}")
        with pytest.raises(UserError, match="hoper"):
            remote_agent(f"ws://127.0.0.1:{port}?task=hoper")
        agent = remote_agent(f"ws://127.0.0.1:{port}?task=hopper&chunk=2&retries=0")
        assert (
            agent.config["task"]["chunk"] == 2
            and agent.spec.action.chunk == 2
            and agent.policy.act(observations(1)).action.shape == (1, 2, 3)
        )
        agent.policy.connection.close()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="no policy server"):
        remote_agent(f"ws://127.0.0.1:{port}?retries=0")


def test_an_address_with_options():
    config, task = parse_source("ws://host:1/path?task=t&chunk=4&image_size=224&state=s&image=&timeout=2.5&retries=1")
    assert config == RemoteConfig("ws://host:1/path", state="s", image="", timeout=2.5, retries=1)
    assert task == {"task": "t", "chunk": 4, "image_size": 224}
    with pytest.raises(UserError, match="stat"):
        parse_source("ws://host:1?stat=s")
    with pytest.raises(UserError):
        parse_source("ws://host:1?chunk=x")


@pytest.mark.slow
def test_a_bundle_answers_as_its_policy(tmp_path: Path):
    from sim2real.export import export_policy
    from tests.sim2real.test_vla import SPEC as CHUNKED
    from tests.sim2real.test_vla import make, recorded

    agent = make("reinflow")
    export_policy(agent.policy, agent.normalizer, CHUNKED, tmp_path / "b", recorded())
    local, there = of_agent(Agent(agent.policy, agent.normalizer, CHUNKED, {}), ""), of_bundle(tmp_path / "b")
    assert local.inputs == there.inputs
    rows = [there.checked(row) for row in remote.rows_of(observations(4), RemoteConfig("ws://x:1"))]
    np.testing.assert_allclose(there.decide(rows), local.decide(rows).clip(-1, 1), atol=1e-5)


def test_memories_are_not_served():
    agent = make_agent("gru", seed=0)
    with pytest.raises(UserError, match="has a memory, and the protocol knows no episodes"):
        of_agent(Agent(agent.policy, agent.normalizer, agent.spec, {}), "")


def test_help_is_printed(capsys: pytest.CaptureFixture[str]):
    from scripts import cli

    if "serve" not in cli.COMMANDS:
        pytest.skip("the command is not registered")
    assert main(["serve", "--help"]) == 0
    assert "127.0.0.1" in capsys.readouterr().out


def test_a_server_is_evaluated_like_its_checkpoint(tmp_path: Path):
    """The same episode, to the last digit; one row, since the width of a batch moves the last digit itself."""
    settings = ["episodes=1", "num_worlds=1", "num_threads=1", "device=cpu"]
    with running(make_server(ServeConfig(checkpoint="hopper", device="cpu"), None)) as port:
        for source, name in (("hopper", "local"), (f"ws://127.0.0.1:{port}", "remote")):
            assert main(["evaluate", f"checkpoint={source}", *settings, f"out={tmp_path / name}.json"]) == 0
    local, there = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("local", "remote"))
    assert local["metrics"] == there["metrics"] and there["crashed"] == 0


def test_training_says_that_it_cannot(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main(["train", "task=hopper", "policy=remote", "policy.uri=ws://x:1", f"run_dir={tmp_path / 'run'}"]) == 2
    assert "can be evaluated, not trained" in capsys.readouterr().err
