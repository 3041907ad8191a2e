"""The task without a camera: starts, success by hand, reward, metrics, rows, continuation, expert."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

import envs
from embodied.evaluate import evaluate
from embodied.text import decode_text
from embodied.types import VecEnv
from envs.tasks.tabletop import ROWS, TabletopEnv
from envs.tasks.tabletop.episodes import REPOSITION_STEP, episode
from envs.tasks.tabletop.experts import make_expert
from envs.tasks.tabletop.scoring import FAILURES


def make(n: int = 4, **overrides) -> TabletopEnv:
    given = {"image_size": 0, "episodes": n, **overrides}
    return envs.make("put_on_plate", num_worlds=n, num_threads=1, overrides=given)  # type: ignore[return-value]


def still(env: VecEnv) -> torch.Tensor:
    action = torch.zeros(env.num_rows, 1, 5)
    action[..., 4] = 1.0  # fingers stay open
    return action


def put(env: TabletopEnv, row: int, xyz: torch.Tensor) -> None:
    """Put the object of the instruction somewhere, at rest."""
    env.physics.field("qpos")[row, 9:12] = xyz.double()
    env.physics.field("qvel")[row, 9:15] = 0.0


def test_observations_are_what_the_spec_says() -> None:
    env = make()
    obs = env.reset(seed=0)
    assert isinstance(env, VecEnv) and set(obs) == {"policy", "critic", "instruction"}
    (told,) = env.spec.obs["instruction"].terms
    used = {word for row in ROWS for n in range(64) for word in episode(row, n).text.split()}
    assert used <= set(told.parameters["words"]) and {"red", "cube", "plate", "bowl", "please"} <= used
    for name, group in env.spec.obs.items():
        assert obs[name].shape == (4, *group.shape) and str(obs[name].dtype) == f"torch.{group.dtype}"
    assert [term.name for term in env.spec.obs["policy"].terms] == [
        *("joint_pos", "opening", "hand_pos", "hand_rot", "hand_lead")
    ]
    assert decode_text(obs["instruction"]) == [episode("in_distribution", n).text for n in range(4)]
    assert env.spec.control_dt == 0.1 and env.spec.horizon == 60 and env.spec.action.names[-1] == "gripper"


@pytest.mark.parametrize("row", sorted(ROWS))
def test_things_stand_where_the_episode_says_and_stay_there(row: str) -> None:
    env = make(6, row=row)
    env.reset(seed=2)
    for world, ep in enumerate(env.episodes):
        assert ep == episode(row, 12 + world)
    start = env.read()
    for _ in range(4):
        result = env.step(still(env))
    s = env.read()
    for world, ep in enumerate(env.episodes):
        for k, placed in enumerate(ep.objects):
            np.testing.assert_allclose(start.object_pos[world, k, :2], placed.at, atol=1e-6)
            rolls = 0.01 if placed.pair[1] == "ball" else 2.5e-3  # a few contacts creep while they settle
            np.testing.assert_allclose(s.object_pos[world, k], start.object_pos[world, k], atol=rolls)
        for k, placed in enumerate(ep.receptacles):
            np.testing.assert_allclose(s.base_pos[world, k, :2], placed.at, atol=1e-6)
        if len(ep.objects) == 1:
            np.testing.assert_allclose(s.object_pos[world, 1], [-1, 0, 1], atol=1e-6)
    assert (result.reward == 0).all() and env.failures == 0


def test_contacts_follow_the_sizes_of_each_world() -> None:
    """An object rests at its own half height, scaled, in each world: geoms differ within one compiled model."""
    env = make(24)
    env.reset(seed=0)
    for _ in range(6):
        env.step(still(env))
    s = env.read()
    heights = {round(float(z), 3) for z in s.object_pos[:, 0, 2]}
    torch.testing.assert_close(s.object_pos[:, 0, 2], env._buffers["half"], atol=5e-4, rtol=0)
    assert len(heights) > 6


def test_success_by_hand() -> None:
    env = make(8)
    env.reset(seed=0)
    middle = env.read().base_pos[:, 0].clone()
    middle[:, 2] = env.read().rest
    env._buffers["ever_held"][:6, 0] = 1.0
    for world in range(8):
        put(env, world, middle[world])
    result = env.step(still(env))
    assert env._buffers["placed"].tolist() == [1.0] * 6 + [0.0] * 2  # never held: pushed there does not count
    torch.testing.assert_close(result.reward[:6], torch.full((6,), 1.1))
    put(env, 0, middle[0] + torch.tensor([0.0, 0.0, 0.2]))  # in the air
    put(env, 1, torch.tensor([0.3, 0.3, 0.05]))  # beside it
    result = env.step(still(env))
    assert env._buffers["placed"].tolist() == [0.0, 0.0] + [1.0] * 4 + [0.0] * 2
    assert result.reward[0] == pytest.approx(-1.0)
    metrics = env.episode_metrics()
    assert metrics["success_once"][:6].all() and metrics["success_at_end"][:2].sum() == 0
    assert metrics["never_grasped"][6:].all()


def test_the_wrong_receptacle_is_no_success() -> None:
    env = make(4, row="distractor_receptacle")
    env.reset(seed=0)
    other = env.read().base_pos[:, 1].clone()
    other[:, 2] += env._buffers["half"]
    env._buffers["ever_held"][:, 0] = 1.0
    for world in range(4):
        put(env, world, other[world])
    env.step(still(env))
    metrics = env.episode_metrics()
    assert metrics["success"].sum() == 0 and metrics["wrong_place"].all()


def test_the_expert_solves_it_and_the_reward_telescopes() -> None:
    env = make(48)
    env.reset(seed=0)
    env.autoreset = False
    expert, total = make_expert(env), torch.zeros(48)
    for _ in range(60):
        result = env.step(expert.act())
        total += result.reward
    assert result.terminated.all() and not result.truncated.any()
    m = result.metrics
    assert m["success"].mean() >= 0.95 and (m["success"] == m["success_at_end"]).all()
    assert m["followed"].mean() >= 0.97 and (m["success_once"] >= m["success_at_end"]).all()
    expected = 0.1 * m["grasped"] + 0.1 * env._buffers["firmly"] + m["success"]
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(m["return"], expected)
    failed = torch.stack([m[name] for name in FAILURES]).sum(0)
    torch.testing.assert_close(failed, 1 - m["success"])


def test_the_sparse_reward_pays_success_alone() -> None:
    env = make(8, reward="sparse")
    env.reset(seed=0)
    env.autoreset = False
    expert = make_expert(env)
    for _ in range(60):
        result = env.step(expert.act())
    torch.testing.assert_close(result.metrics["return"], result.metrics["success"])


def test_taking_the_other_object_does_not_follow() -> None:
    env = make(8, row="two_objects_seen")
    env.reset(seed=0)
    env.autoreset = False
    swapped = torch.arange(8) < 4

    class Contrary(type(make_expert(env))):
        def plan(self, rows, s):
            s.object_pos[swapped] = s.object_pos[swapped].flip(1)
            s.object_rot[swapped] = s.object_rot[swapped].flip(1)
            s.holding[swapped] = s.holding[swapped].flip(1)
            s.symmetry[:], s.grasp[:] = 3.0, 0.0
            return super().plan(rows, s)

    # the state's tensors are views of the buffers of all worlds, so act on copies of single rows
    expert = Contrary(env)
    for _ in range(60):
        result = env.step(expert.act(expert.rows))
    followed, failed = result.metrics["followed"], result.metrics["wrong_object"]
    assert (followed[~swapped] == 1).all() and (followed[swapped] == 0).sum() >= 3
    assert failed[swapped].sum() >= 3 and failed[~swapped].sum() == 0


def test_the_object_jumps_in_its_row() -> None:
    env = make(6, row="reposition")
    env.reset(seed=0)
    before = env.read().object_pos[:, 0].clone()
    for step in range(1, REPOSITION_STEP + 2):
        env.step(still(env))
        moved = (env.read().object_pos[:, 0] - before).norm(dim=-1)
        assert (moved > 0.149).all() if step >= REPOSITION_STEP else (moved < 0.02).all()
    for world, ep in enumerate(env.episodes):
        np.testing.assert_allclose(env.read().object_pos[world, 0, :2], ep.moved_to, atol=0.01)


def test_a_tilted_hand_straightens() -> None:
    env = make(16, row="unseen_robot_pose")
    env.reset(seed=0)
    tilt = env.read().hand_rot[:, 2, 2]
    assert (tilt > -0.99).sum() >= 8  # -1: upright, fingers down
    for _ in range(20):
        env.step(still(env))
    assert (env.read().hand_rot[:, 2, 2] < -0.99).all()


def test_evaluation_plays_the_same_episodes_for_any_number_of_worlds() -> None:
    def run(n: int) -> list[float]:
        env = make(n, episodes=6, horizon=3)
        expert = torch.Generator().manual_seed(0)
        del expert
        seen: list[str] = []

        def act(obs):
            seen.extend(decode_text(obs["instruction"]))
            return still(env)

        evaluate(env, act, 6, seed=3)
        return sorted(set(seen))

    expected = sorted({episode("in_distribution", 18 + n).text for n in range(6)})
    assert run(6) == expected and set(run(3)) >= set(expected)


def test_the_episode_terminates_at_its_deadline() -> None:
    for deadline in (True, False):
        env = make(2, horizon=2, deadline=deadline)
        env.reset(seed=0)
        assert not env.step(still(env)).done.any()
        last = env.step(still(env))
        assert last.terminated.tolist() == [deadline] * 2 and last.truncated.tolist() == [not deadline] * 2


def test_reset_of_some_rows_leaves_the_others() -> None:
    env = make(4, episodes=0)
    obs = env.reset(seed=0)
    kept = list(env.episodes)
    fresh = env.reset_rows(torch.tensor([False, True, False, False]), obs)
    for name in obs:
        assert torch.equal(fresh[name][[0, 2, 3]], obs[name][[0, 2, 3]])
    assert [a == b for a, b in zip(kept, env.episodes, strict=True)] == [True, False, True, True]
    assert decode_text(fresh["instruction"])[1] == env.episodes[1].text


def test_continuation_is_bit_exact() -> None:
    env, again = make(3, episodes=0, horizon=8), make(3, episodes=0, horizon=8)
    env.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    script = torch.rand(14, 3, 1, 5, generator=generator) * 2 - 1
    for action in script[:6]:
        env.step(action)
    again.load_state_dict(env.state_dict())
    for action in script[6:]:
        one, two = env.step(action), again.step(action)
        torch.testing.assert_close(one.obs, two.obs, atol=0, rtol=0)
        assert torch.equal(one.reward, two.reward)


def test_demonstrations_end_soon_after_success() -> None:
    env = make(8, cut_after_success=6)
    env.reset(seed=0)
    expert, length = make_expert(env), torch.zeros(8)
    for _ in range(60):
        result = env.step(expert.act())
        ended = result.done & (length == 0)
        length[ended] = result.metrics["length"][ended] if bool(result.done.any()) else 0.0
        expert.reset(result.done.nonzero().squeeze(-1))
    assert (length < 45).all() and (length > 10).all()


def test_an_episode_that_is_cut_knows_its_deadline_as_any_other() -> None:
    cut, whole = make(2, cut_after=10), make(2)
    expert = make_expert(cut)
    assert torch.equal(cut.reset(seed=0)["critic"], whole.reset(seed=0)["critic"])
    for step in range(1, 11):
        result = cut.step(expert.act())
        assert bool(result.truncated.all()) == (step == 10)
    assert not result.terminated.any()


def test_the_sensors_are_mujocos_own_contacts() -> None:
    env = make(8)
    env.reset(seed=0)
    expert = make_expert(env)
    for _ in range(9):
        env.step(expert.act())
    env.physics.forward()
    for world in range(8):
        model, data = env.physics.get_model_data(world)
        pairs = {tuple(sorted(model.geom_bodyid[geom] for geom in c.geom)) for c in data.contact[: data.ncon]}
        for thing in range(2):
            pads = [(model.body(f"object_{thing}").id, model.body(f"{side}_finger").id) for side in ("left", "right")]
            expected = all(tuple(sorted(pair)) in pairs for pair in pads)
            assert bool(env._held()[world, thing]) == expected
    assert env._held().any()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"row": "unseen_tabel"}, "did you mean 'unseen_table'"),
        ({"image_size": -1}, "task.image_size=-1"),
        ({"ik_steps": 3}, "task.ik_steps=3: the 20 physics steps do not divide"),
        ({"group": 3}, "task.group=3: 4 worlds"),
        ({"colour": "red"}, "unknown key task.colour"),
    ],
)
def test_mistakes(overrides: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(4, **overrides)


def test_scales_and_radii_are_the_compilers() -> None:
    """rbound of a dressing, against MuJoCo's own for the same sizes."""
    from envs.tasks.tabletop.dressing import Wardrobe, dress
    from envs.tasks.tabletop.scene import physics_model

    model, dressing = physics_model(0.005), dress(episode("in_distribution", 0))
    geoms = Wardrobe(model).geoms
    hidden = dressing.contype + dressing.conaffinity == 0
    np.testing.assert_allclose(dressing.rbound[hidden], model.geom_rbound[geoms][hidden], rtol=1e-12)
    assert (dressing.rgba[hidden, 3] == 0).all() and (dressing.rgba[~hidden, 3] == 1).all()
    assert isinstance(model, mujoco.MjModel)
