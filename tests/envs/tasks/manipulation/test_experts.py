"""The scripted experts solve their tasks, in both of their ways."""

import pytest
import torch

import envs
from envs.tasks.manipulation import TASKS
from envs.tasks.manipulation.experts import EXPERTS, make_expert

LEAST = dict.fromkeys(("reach", "push", "pick_cube", "stack"), 0.95) | {"peg_insertion": 0.80, "push_t": 0.80}


def play(task: str, noise: float = 0.0, n: int = 32):
    """Success (n,), mode (n,) and hand positions (T, n, 3) of one episode in each row."""
    env = envs.make(task, num_worlds=n, num_threads=1)
    env.reset(seed=0)
    env.autoreset = False
    expert, solved, path = make_expert(env, noise=noise, seed=0), torch.zeros(n, dtype=torch.bool), []
    for _ in range(env.spec.horizon):
        path.append(env.read().hand_pos)
        solved |= env.step(expert.act()).terminated
    return solved, expert.mode, torch.stack(path)


def test_every_task_has_an_expert():
    assert set(EXPERTS) == set(TASKS) == set(LEAST)


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(TASKS))
def test_solves_its_task_in_both_modes(task):
    solved, mode, _ = play(task)
    assert solved.float().mean() >= LEAST[task]
    for one in (0, 1):
        assert (mode == one).sum() > 8 and solved[mode == one].float().mean() >= LEAST[task] - 0.1


@pytest.mark.parametrize("task", ["reach", "pick_cube"])
def test_noise_moves_the_hand_and_is_survived(task):
    clean, _, straight = play(task, n=16)
    noisy, _, path = play(task, noise=0.2, n=16)
    assert clean.float().mean() >= 0.95 and noisy.float().mean() >= 0.9
    assert (path[5] - straight[5]).norm(dim=-1).mean() > 2e-3


def test_modes_of_reach_pass_on_different_sides():
    env = envs.make("reach", num_worlds=64, num_threads=1)
    env.reset(seed=0)
    env.autoreset = False
    expert, start = make_expert(env), env.read()
    for _ in range(4):
        env.step(expert.act())
    way, gone = (start.goal - start.hand_pos)[:, :2], (env.read().hand_pos - start.hand_pos)[:, :2]
    left = way[:, 0] * gone[:, 1] - way[:, 1] * gone[:, 0] > 0
    far = way.norm(dim=-1) > 0.1
    assert torch.equal(left[far], expert.mode[far] == 0) and far.sum() > 20


def test_modes_of_pick_grasp_different_faces():
    """Both grasp along a face; mode 0 turns the hand by less than 45 degrees, mode 1 by more."""
    env = envs.make("pick_cube", num_worlds=32, num_threads=1)
    env.reset(seed=0)
    expert = make_expert(env)
    yaw = expert.plan(expert.rows, env.read()).yaw
    assert torch.equal(yaw.abs() > torch.pi / 4, expert.mode == 1)
    assert (yaw.abs() <= torch.pi / 2 + 1e-4).all()


def test_the_same_seed_acts_the_same_and_rows_are_a_part_of_all():
    env = envs.make("pick_cube", num_worlds=8, num_threads=1)
    env.reset(seed=0)
    one, two, other = (make_expert(env, noise=0.3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.mode, two.mode)
    first = one.act()
    assert first.shape == (8, 1, 5) and first.abs().max() <= 1
    assert torch.equal(first, two.act()) and not torch.equal(first, other.act())
    quiet = make_expert(env, seed=1)
    rows = torch.tensor([5, 2])
    assert torch.equal(quiet.act(rows), quiet.act()[rows])


def test_reset_draws_new_modes_for_the_rows_that_start():
    env = envs.make("push", num_worlds=64, num_threads=1)
    env.reset(seed=0)
    expert = make_expert(env)
    before, rows = expert.mode.clone(), torch.arange(32)
    expert.stage[:] = 2
    expert.reset(rows)
    assert (expert.stage[:32] == 0).all() and (expert.stage[32:] == 2).all()
    assert torch.equal(expert.mode[32:], before[32:]) and not torch.equal(expert.mode[:32], before[:32])


def test_mistakes():
    env = envs.make("reach", num_worlds=1, num_threads=1)
    with pytest.raises(ValueError, match="negative"):
        make_expert(env, noise=-0.1)
