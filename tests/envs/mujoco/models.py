"""Small models for the physics engines' tests."""

import mujoco

ARM = """
<mujoco>
  <option timestep="0.005" integrator="implicitfast"/>
  <default>
    <geom type="capsule" size="0.03" contype="0" conaffinity="0"/>
    <joint damping="0.1" armature="0.01"/>
  </default>
  <worldbody>
    <body name="upper" pos="0 0 2">
      <joint name="shoulder" axis="0 1 0"/>
      <geom fromto="0 0 0 0.3 0 0" mass="1"/>
      <body name="lower" pos="0.3 0 0">
        <joint name="elbow" axis="0 0 1"/>
        <geom fromto="0 0 0 0.25 0 0" mass="0.6"/>
        <body name="hand" pos="0.25 0 0">
          <joint name="wrist" axis="1 0 0"/>
          <geom name="hand" type="box" size="0.04 0.06 0.02" mass="0.3"/>
          <site name="tip" pos="0.05 0 0"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="shoulder" joint="shoulder" kp="40" kv="2"/>
    <position name="elbow" joint="elbow" kp="20" kv="1"/>
    <motor name="wrist" joint="wrist" gear="0.2"/>
  </actuator>
  <sensor>
    <gyro site="tip"/>
    <accelerometer site="tip"/>
    <framepos objtype="site" objname="tip"/>
    <actuatorfrc actuator="shoulder"/>
  </sensor>
</mujoco>
"""
"""Three joints and no contact."""

BALLS = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 1"/>
    <body name="box" pos="0 0 0.11"><freejoint/><geom name="box" type="box" size="0.2 0.1 0.1" mass="2"/></body>
    <body name="ball" pos="0.6 0 0.3"><freejoint/><geom name="ball" type="sphere" size="0.1" mass="1"/></body>
    <body name="slider" pos="0 1 1">
      <joint name="slide" type="slide" axis="1 0 0" limited="true" range="-1 1" frictionloss="0.1"/>
      <geom name="slider" type="capsule" size="0.05 0.1" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="slide"/></actuator>
  <sensor>
    <contact geom1="ball" geom2="floor" data="found force" num="1" reduce="netforce"/>
    <framelinvel objtype="body" objname="ball"/>
  </sensor>
</mujoco>
"""
"""Things that fall on a floor, and a motor."""


def arm() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(ARM)


def balls() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(BALLS)
