"""The two engines on the same task: the same start, the same actions, 10 control steps of 10 substeps.

Warp computes in float32. Over half a second of free motion the hands stay within a tenth of a millimetre; what lies on
the table is held by contacts, whose solution differs more, and stays within a millimetre.
"""

import pytest
import torch

import envs
from envs.tasks.manipulation.experts import make_expert

pytest.importorskip("mujoco_warp")
pytestmark = pytest.mark.warp


@pytest.mark.slow
@pytest.mark.parametrize("task", ["pick_cube"])
def test_engines_agree(task):
    batch = envs.make(task, num_worlds=2, num_threads=1, engine="batch")
    warp = envs.make(task, num_worlds=2, engine="warp")
    torch.testing.assert_close(warp.reset(seed=0), batch.reset(seed=0), atol=1e-5, rtol=1e-5)
    expert = make_expert(batch)
    for _ in range(10):
        action = expert.act()
        one, two = batch.step(action), warp.step(action)
        torch.testing.assert_close(two.reward, one.reward)
    s, other = batch.read(), warp.read()
    assert (s.hand_pos - torch.tensor([0.45, 0.0, 0.2])).norm(dim=-1).min() > 0.05  # it moved
    torch.testing.assert_close(other.hand_pos, s.hand_pos, atol=1e-4, rtol=0)
    torch.testing.assert_close(other.object_pos, s.object_pos, atol=1e-3, rtol=0)
