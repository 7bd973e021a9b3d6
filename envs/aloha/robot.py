"""Two ViperX 300 followers: joints, limits, start pose and gripper scale, as gym-aloha 0.1.5 has them.

The scale of the grippers is a trap. Here an action and a state both say where the fingers are, 0 closed and 1 open,
linear in metres, as in gym-aloha. Of the real ALOHA only the state is on this scale: its actions are on that of the
leader's gripper *joint*, and the linkage between them is not linear, so the two differ by up to 0.09 when the fingers
stand still. The simulated fingers also reach less than the scale: 0.065 to 0.975; what is asked for beyond that is cut
off by MuJoCo, and an empty closed gripper stops at 0.100.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vla.types import ActionSpec, FloatArray

HZ = 50.0  # [1/s] control rate; DT in gym_aloha/constants.py
SUBSTEPS = 10  # of 0.002 s
ARMS = ("left", "right")
JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
ACTION_SIZE = 14  # 6 joints and a gripper for each arm
FINGER_CLOSED, FINGER_OPEN = 0.01844, 0.05800  # [m] PUPPET_GRIPPER_POSITION_CLOSE and _OPEN
START = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.02239, -0.02239] * 2)  # (16,) START_ARM_POSE [rad], fingers [m]
START.setflags(write=False)
TOOL = 0.14  # [m] from a gripper's frame, along x, to the point between the finger tips; the fingers end at 0.154
JOINT_SPEED = 3.14  # [rad/s] Velocity_Limit 131 of the servos, also the URDF's limit
GRIPPER_TRAVEL = 1.4910 + 0.6213  # [rad] of the gripper's servo from closed to open; PUPPET_GRIPPER_JOINT_*


def opening(finger: FloatArray | float) -> Any:
    """Finger position [m] -> 0 closed to 1 open; gym-aloha's normalize_puppet_gripper_position."""
    return (finger - FINGER_CLOSED) / (FINGER_OPEN - FINGER_CLOSED)


def finger_position(opened: FloatArray | float) -> Any:
    """0 closed to 1 open -> finger position [m]; gym-aloha's unnormalize_puppet_gripper_position."""
    return opened * (FINGER_OPEN - FINGER_CLOSED) + FINGER_CLOSED


def to_controls(action: FloatArray) -> FloatArray:
    """(14,) action -> (16,) MuJoCo's controls: the right finger of a gripper mirrors the left one."""
    left, right = finger_position(action[[6, 13]])
    return np.concatenate([action[:6], [left, -left], action[7:13], [right, -right]])


def to_state(positions: FloatArray) -> FloatArray:
    """(16,) joint and finger positions -> (14,) state [rad], grippers 0 closed to 1 open (their left fingers)."""
    state = np.delete(positions, (7, 15))
    state[[6, 13]] = opening(state[[6, 13]])
    return state


def action_spec(model: Any) -> ActionSpec:
    """What the robot of a compiled scene takes: absolute joint positions within the joints' ranges."""
    low, high = to_state(model.jnt_range[:16, 0]), to_state(model.jnt_range[:16, 1])
    grippers = np.array([6, 13])
    low[grippers], high[grippers] = 0.0, 1.0
    max_step = np.full(ACTION_SIZE, JOINT_SPEED / HZ)
    max_step[grippers] /= GRIPPER_TRAVEL
    names = tuple(
        name for arm in ARMS for name in (*(f"{arm}_{joint} [rad]" for joint in JOINTS), f"{arm}_gripper [open]")
    )
    return ActionSpec(kind="joint_position", names=names, low=low, high=high, max_step=max_step, hz=HZ)
