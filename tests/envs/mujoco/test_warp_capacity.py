"""The room for contacts and constraints, counted by hand."""

from envs.mujoco.scene import SceneConfig, build_model
from envs.mujoco.warp_capacity import Capacity
from envs.robots import GO2

from .models import arm, balls


def test_of_a_few_shapes():
    """Box 4, sphere 1, capsule 2 contacts: 7, taken up to 8, four pyramid edges each; a friction loss and a limit."""
    assert Capacity.of(balls()) == Capacity(nconmax=16, njmax=1 + 1 + 8 * 4)


def test_without_contacts_only_the_floor_of_eight_is_kept():
    assert Capacity.of(arm()) == Capacity(nconmax=16, njmax=8 * 4)


def test_friction_loss_of_every_degree_of_freedom():
    assert Capacity.of(balls(), frictional=True).njmax - Capacity.of(balls()).njmax == balls().nv - 1


def test_of_a_walking_go2():
    """Four spherical feet; 12 joints with friction loss and limits."""
    model = build_model(GO2, SceneConfig(collision="feet", cone="elliptic"))
    assert Capacity.of(model) == Capacity(nconmax=16, njmax=12 + 12 + 8 * 3)
