"""What RL4VLA published (Liu et al. 2025, "What Can RL Bring to VLA Generalization?"), in percent.

OpenVLA (7B) on ManiSkill's put-on-plate: supervised fine-tuning on 16k demonstrations, and PPO on top of a warm-up.
Success at the last step; 192 episodes a row.
"""

from __future__ import annotations

AXES = {
    "SFT (16k demonstrations)": {"in_distribution": 78.1, "vision": 64.2, "semantics": 54.0, "execution": 39.8},
    "PPO": {"in_distribution": 93.8, "vision": 76.6, "semantics": 72.8, "execution": 78.3},
}
"""Mean success over the rows of each axis."""
RETENTION = {
    "SFT (16k demonstrations)": {"vision": 82, "semantics": 69, "execution": 51},
    "PPO": {"vision": 82, "semantics": 78, "execution": 84},
}
"""An axis's mean as a share of the success in distribution."""
