"""What YAML may say of a ManiSkill task; no ManiSkill needed."""

from __future__ import annotations

from typing import Any

import pytest

from embodied.configuration import from_mapping
from envs.maniskill.config import ManiSkillConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obs": "rgbd"}, "valid: rgb, state"),
        ({"reward": "normalised_dense"}, "did you mean 'normalized_dense'"),
        ({"on_success": "stop"}, "valid: continue, terminate, truncate"),
        ({"success": "end"}, "valid: at_end, once"),
        ({"backend": "physx_gpu"}, "did you mean 'physx_cpu'"),
        ({"image_size": -1}, "at least 0"),
        ({"max_episode_steps": 0}, "at least 1"),
        ({"controlmode": "x"}, "did you mean 'control_mode'"),
    ],
)
def test_mistakes_name_the_valid_choices(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(ManiSkillConfig, {"name": "a", "kind": "maniskill", "id": "b"} | change, "task")
