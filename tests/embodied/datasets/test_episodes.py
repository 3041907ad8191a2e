from __future__ import annotations

import numpy as np
import pytest
import torch

from embodied.datasets import DatasetError, DatasetInfo, Episodes, GroupInfo
from embodied.datasets.episodes import check
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec

from .examples import INFO, episode, episodes


def test_episodes_lie_one_after_the_other() -> None:
    data = episodes(3, 2)
    assert len(data) == 2 and data.num_frames == 5
    assert data.starts.tolist() == [0, 3, 5]
    assert data.obs["policy"][:, 0].tolist() == [0, 1, 2, 100, 101]
    assert data.action[3].tolist() == [1.0, 0.0]
    assert data.episode_of_frame().tolist() == [0, 0, 0, 1, 1]
    assert data.frames_of(torch.tensor([1])).tolist() == [3, 4]
    assert data.returns.tolist() == [3.0, 1.0]  # 0 + 1 + 2 and 0 + 1
    assert data.success.tolist() == [1.0, 0.0] and data.terminated.tolist() == [True, False]


def test_unknown_success_is_nan() -> None:
    assert Episodes(INFO, [episode(2, success=None)]).success.isnan().all()


def test_info_of_a_task_names_every_element() -> None:
    group = ObsGroup.of(
        ObsTerm("joint", 2, "rad", names=("hip", "knee")), ObsTerm("goal", 2, "m"), ObsTerm("t", 1, "s")
    )
    info = DatasetInfo.of(TaskSpec("walk", 0.02, 10, {"policy": group}, ActionSpec(("u",))), expert="me")
    assert info.obs["policy"].names == ("joint.hip", "joint.knee", "goal.0", "goal.1", "t")
    assert info.obs["policy"].units == ("rad", "rad", "m", "m", "s")
    assert info.extra["expert"] == "me" and TaskSpec.from_dict(info.extra["spec"]).name == "walk"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": np.zeros((0, 2), np.float32)}, "has no steps"),
        ({"action": np.zeros((4, 3), np.float32)}, r"action has shape \(4, 3\), expected \(4, 2\)"),
        ({"reward": np.zeros(3, np.float32)}, r"reward has shape \(3,\), expected \(4,\)"),
        ({"reward": np.array([0, 1, np.nan, 3])}, "reward is not finite at step 2"),
        ({"obs": {"goal": np.zeros((4, 1))}}, "group 'policy' is missing; there: goal"),
        ({"obs": {"policy": np.zeros((4, 2)), "goal": np.zeros((4, 1))}}, r"obs 'policy' has shape \(4, 2\)"),
        ({"final_obs": {"policy": np.full(3, np.inf), "goal": np.zeros(1)}}, "final obs 'policy' is not finite"),
    ],
)
def test_what_is_wrong_with_an_episode(changes: dict, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"file\.x: episode 7: .*{message}|file\.x: episode 7: {message}"):
        check(episode(4, **changes), INFO, "file.x: episode 7")


def test_a_dataset_has_episodes_actions_and_a_period() -> None:
    with pytest.raises(DatasetError, match="holds no episodes"):
        Episodes(INFO, [])
    with pytest.raises(DatasetError, match="action_names is empty"):
        DatasetInfo("t", 0.1, {"policy": GroupInfo((1,))}, ())
    with pytest.raises(DatasetError, match="control_dt=0"):
        DatasetInfo("t", 0.0, {"policy": GroupInfo((1,))}, ("u",))
