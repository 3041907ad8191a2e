"""Forward kinematics and Jacobian against MuJoCo's own."""

import mujoco
import numpy as np
import pytest
import torch

from envs.mdp.kinematics import SerialArm

ARM = """
<mujoco>
  <worldbody>
    <body pos="0.1 0.2 0.3" quat="0.9 0.1 0.3 0.2">
      <body pos="0 0 0.1"><joint name="a" axis="0 0 1"/><geom size="0.1"/>
        <body pos="0.2 0 0" quat="1 1 0 0"><geom size="0.1"/>
          <body pos="0 0.1 0.3" quat="1 0 1 0"><joint name="b" axis="0 0 1"/><geom size="0.1"/>
            <body pos="0.1 0 0" quat="1 0 0 1"><geom size="0.1"/><site name="tip" pos="0.1 0.2 0" quat="1 0.5 0 0"/>
            </body>
          </body>
          <body><joint name="slide" type="slide" axis="0 0 1"/><geom size="0.1"/></body>
          <body><joint name="tilted" axis="0 1 0"/><geom size="0.1"/></body>
          <body><joint name="beside" axis="0 0 1"/><geom size="0.1"/></body>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
CPU = torch.device("cpu")


@pytest.fixture
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(ARM)


def test_pose_and_jacobian_are_mujocos_also_through_bodies_without_joints(model):
    arm, data = SerialArm(model, ["a", "b"], "tip", CPU), mujoco.MjData(model)
    q = torch.randn(6, 2, dtype=torch.float64)
    position, rotation, jacobian = arm.jacobian(q)
    dofs = [int(model.joint(name).dofadr[0]) for name in ("a", "b")]
    for row in range(len(q)):
        data.qpos[dofs] = q[row].numpy()
        mujoco.mj_forward(model, data)
        linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        mujoco.mj_jacSite(model, data, linear, angular, model.site("tip").id)
        np.testing.assert_allclose(position[row], data.site("tip").xpos, atol=1e-14)
        np.testing.assert_allclose(rotation[row].ravel(), data.site("tip").xmat, atol=1e-14)
        np.testing.assert_allclose(jacobian[row], np.vstack([linear, angular])[:, dofs], atol=1e-14)
    torch.testing.assert_close(arm(q), (position, rotation))


def test_the_jacobian_is_the_derivative(model):
    arm = SerialArm(model, ["a", "b"], "tip", CPU)
    q = torch.randn(1, 2, dtype=torch.float64)
    derivative = torch.autograd.functional.jacobian(lambda x: arm(x)[0][0], q)[:, 0]
    torch.testing.assert_close(arm.jacobian(q)[2][0, :3], derivative)


def test_single_precision_stays_single(model):
    position, rotation, jacobian = SerialArm(model, ["a", "b"], "tip", CPU).jacobian(torch.zeros(2, 2))
    assert {position.dtype, rotation.dtype, jacobian.dtype} == {torch.float32}


@pytest.mark.parametrize("joints", [["a", "slide"], ["a", "tilted"], ["beside", "b"]])
def test_joints_that_are_no_chain_of_z_hinges(model, joints):
    with pytest.raises(ValueError, match=f"'{joints[1]}'"):
        SerialArm(model, joints, "tip", CPU)
