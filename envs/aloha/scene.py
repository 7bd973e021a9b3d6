"""The compiled scene: resets and control steps as dm_control makes them under gym-aloha, bit for bit."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from envs.aloha.predicates import SUCCESS, Contacts
from envs.aloha.robot import (
    ARMS,
    FINGER_CLOSED,
    FINGER_OPEN,
    START,
    SUBSTEPS,
    TOOL,
    action_spec,
    to_controls,
    to_state,
)
from envs.aloha.suites import AlohaTask
from vla.types import FloatArray

_log = logging.getLogger(__name__)
ROBOT_SIZE = len(START)  # the robot's joints come first in qpos, the objects' free joints last


class AlohaScene:
    """One task's world: both arms and the objects.

    Attributes:
        task: which.
        model, data: MuJoCo's own structures. Kinematics and contacts always belong to the present `data.qpos`.
        action_spec: what `advance` takes.
    """

    def __init__(self, task: AlohaTask) -> None:
        import mujoco

        mujoco.set_mju_user_warning(_log.warning)  # MuJoCo would write MUJOCO_LOG.TXT into the working directory
        self._mj = mujoco
        self.task = task
        self.model: Any = mujoco.MjModel.from_xml_path(str(task.mjcf))
        self.data: Any = mujoco.MjData(self.model)
        self.action_spec = action_spec(self.model)

    def reset(self, poses: FloatArray) -> None:
        """Both arms in their start pose, and the objects where `poses` (objects, 7) says [m], quaternion wxyz.

        dm_control's nested reset contexts make three forward passes, without actuation; the constraint solver's warm
        start goes through all of them, and shows in the last bits of what follows.
        """
        mj, model, data = self._mj, self.model, self.data
        mj.mj_resetData(model, data)
        self._forward_without_actuation()
        data.qpos[:ROBOT_SIZE] = START
        data.ctrl[:] = START
        data.qpos[ROBOT_SIZE:] = poses.ravel()
        self._forward_without_actuation()
        self._forward_without_actuation()

    def lay(self, poses: FloatArray) -> None:
        """Put the objects at rest somewhere, (objects, 7); the arms stay as they are."""
        self.data.qpos[ROBOT_SIZE:] = poses.ravel()
        self.data.qvel[ROBOT_SIZE:] = 0.0
        self.refresh()

    def advance(self, action: FloatArray) -> None:
        """Run one control step of 20 ms with a (14,) action; MuJoCo cuts off what is out of range."""
        self.data.ctrl[:] = to_controls(action)
        self.step(SUBSTEPS)

    def step(self, substeps: int) -> None:
        """Run so many steps of 2 ms with the controls as they are."""
        mj, model, data = self._mj, self.model, self.data
        mj.mj_step2(model, data)  # the first halves are those of the last mj_step1 or mj_forward
        if substeps > 1:
            mj.mj_step(model, data, nstep=substeps - 1)
        mj.mj_step1(model, data)

    def refresh(self) -> None:
        """Bring kinematics and contacts up to date after `data.qpos` was written to."""
        self._mj.mj_step1(self.model, self.data)

    def state(self) -> FloatArray:
        """(14,) joint positions [rad], grippers 0 closed to 1 open."""
        return to_state(self.data.qpos[:ROBOT_SIZE])

    def velocity(self) -> FloatArray:
        """(14,) joint speeds [rad/s], grippers [1/s] on the scale of `state`."""
        speed = np.delete(self.data.qvel[:ROBOT_SIZE], (7, 15))
        speed[[6, 13]] /= FINGER_OPEN - FINGER_CLOSED
        return speed

    def commanded(self) -> FloatArray:
        """(14,) the last action, as far as it was in the range of `action_spec`."""
        return np.clip(to_state(self.data.ctrl), self.action_spec.low, self.action_spec.high)

    def tools(self) -> FloatArray:
        """(2, 3) [m] the points between the finger tips, left and right."""
        hands = [self.data.body(f"vx300s_{arm}/gripper_link") for arm in ARMS]
        return np.stack([hand.xpos + TOOL * hand.xmat.reshape(3, 3)[:, 0] for hand in hands])

    def object_poses(self) -> FloatArray:
        """(objects, 7) position [m] and quaternion (wxyz)."""
        return np.array(self.data.qpos[ROBOT_SIZE:]).reshape(-1, 7)

    def contacts(self) -> Contacts:
        """What touches what."""
        return Contacts(self.model, self.data)

    def is_success(self) -> bool:
        """Whether the task is solved at this moment."""
        return SUCCESS[self.task.name](self.contacts())

    def flat_state(self) -> FloatArray:
        """(1 + nq + nv,) float64: [time, qpos, qvel]."""
        return np.concatenate([[self.data.time], self.data.qpos, self.data.qvel])

    def _forward_without_actuation(self) -> None:
        options = self.model.opt
        enabled = options.disableflags
        options.disableflags |= self._mj.mjtDisableBit.mjDSBL_ACTUATION
        self._mj.mj_forward(self.model, self.data)
        options.disableflags = enabled
