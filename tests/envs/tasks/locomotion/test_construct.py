"""What is drawn of a large ground."""

import numpy as np
import torch

from envs.mujoco.scene import Heightfield
from envs.tasks.locomotion.construct import MARGIN, REACH, CloseUp


def test_the_close_up_follows_the_robot_and_is_made_seldom():
    field = Heightfield(np.zeros((401, 801)), 80.0, 40.0)
    drawn = []

    def build(part):
        drawn.append((part.centre_x, part.centre_y, part.size_x))
        return object()

    close_up = CloseUp(build, field)
    walk = [close_up(torch.tensor([0.1 * i, 0.0, 0.3])) for i in range(101)]  # 10 m along x
    assert [round(x, 6) for x, _, _ in drawn] == [0.0, REACH - MARGIN + 0.1]
    assert all(size == 2 * REACH for _, _, size in drawn)
    assert len({id(model) for model in walk}) == 2 and walk[0] is walk[50] and walk[51] is walk[100]
