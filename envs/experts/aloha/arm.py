"""One ViperX arm: where its tool is, which joint angles bring the tool to a pose, and how gravity bends it."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.aloha.robot import ARMS, TOOL
from envs.experts.aloha.pose import Pose
from envs.experts.geometry import rotation_vector, turn
from vla.types import FloatArray

ITERATIONS = 40
DAMPING = 0.01  # [m] of damped least squares; larger is slower and steadier
STEP_LIMIT = 0.3  # [rad] a joint turns in one iteration at most
LIMIT_MARGIN = 0.02  # [rad] solutions stay this far inside the joints' ranges
RADIUS = 0.2  # [m] a radian of orientation error counts as much as this
CLOSE = 2e-4  # [m] a solution as near as this is good
REACHED = 2e-3  # [m] a goal that is missed by no more can be reached
# Shoulder, elbow, forearm roll, wrist angle, wrist rotation: the search starts with a bent wrist, far from the
# singularity of a straight one, and so finds the same one of the possible solutions from wherever the arm is.
READY = (-0.3, 0.9, 0.0, 0.6, 0.0)  # [rad]


class Arm:
    """Kinematics of one arm on a private copy of the state.

    Args:
        model: MuJoCo model of an ALOHA scene; it is only read.
        name: `left` or `right`.

    Attributes:
        joints: of `qpos`, `qvel` and the controls: the arm's six.
        entries: of an action or a state: the arm's six joints and its gripper.
        finger: index of the left finger in `qpos`.
        facing: (3, 3) orientation of a level hand that points away from the arm's base.
    """

    def __init__(self, model: Any, name: str) -> None:
        import mujoco

        self._mj, self._model = mujoco, model
        self._data = mujoco.MjData(model)  # private: the simulator's own is only read
        self.name = name
        index = ARMS.index(name)
        self.joints = slice(8 * index, 8 * index + 6)
        self.entries = slice(7 * index, 7 * index + 7)
        self.finger = 8 * index + 6
        self.hand: int = model.body(f"vx300s_{name}/gripper_link").id
        base = model.body(f"vx300s_{name}").id
        self._base = model.body_pos[base]
        self.facing = turn(np.array([0.0, 0.0, 1.0]), 0.0 if name == "left" else np.pi)
        self._low = model.jnt_range[self.joints, 0] + LIMIT_MARGIN
        self._high = model.jnt_range[self.joints, 1] - LIMIT_MARGIN
        self._stiffness = model.actuator_gainprm[self.joints, 0]  # [N m / rad]

    def tool(self, data: Any) -> Pose:
        """The point between the finger tips: x along the fingers, y in the direction of the left finger."""
        rotation = data.xmat[self.hand].reshape(3, 3)
        return Pose(data.xpos[self.hand] + TOOL * rotation[:, 0], rotation.copy())

    def solve(self, goal: Pose, present: FloatArray) -> tuple[FloatArray, float]:
        """(6,) [rad] joint angles that bring the tool to a pose, and how far from it they leave it [m].

        Args:
            goal: of the tool, in the world.
            present: (6,) [rad] where the arm is; the search starts there if it fails from `READY`.
        """
        offset = self.facing.T @ (goal.position - self._base)
        found, error = self._search(goal, np.array([np.arctan2(offset[1], offset[0]), *READY]))
        if error > REACHED:
            other, other_error = self._search(goal, present)
            if other_error < error:
                return other, other_error
        return found, error

    def sag(self, angles: FloatArray) -> FloatArray:
        """(6,) [rad] how much further than `angles` the controls must be, so that the arm rests in them."""
        data = self._data
        data.qpos[self.joints] = angles
        self._mj.mj_kinematics(self._model, data)
        self._mj.mj_comPos(self._model, data)
        torque = np.zeros(self._model.nv)
        self._mj.mj_rne(self._model, data, 0, torque)  # velocities are zero: gravity only
        return np.asarray(torque[self.joints] / self._stiffness)

    def _search(self, goal: Pose, start: FloatArray) -> tuple[FloatArray, float]:
        """Damped least squares from (6,) `start`; the best angles and their distance [m] from the goal."""
        data, columns = self._data, self.joints
        jacobian = np.zeros((2, 3, self._model.nv))
        angles = np.clip(start, self._low, self._high)
        best, best_angles = np.inf, angles
        for _ in range(ITERATIONS):
            data.qpos[columns] = angles
            self._mj.mj_kinematics(self._model, data)
            self._mj.mj_comPos(self._model, data)
            tool = self.tool(data)
            turned = rotation_vector(goal.rotation @ tool.rotation.T)
            error = np.concatenate([goal.position - tool.position, RADIUS * turned])
            if (distance := float(np.linalg.norm(error))) < best:
                best, best_angles = distance, angles
            if distance < CLOSE:
                break
            self._mj.mj_jac(self._model, data, jacobian[0], jacobian[1], tool.position, self.hand)
            full = np.concatenate([jacobian[0][:, columns], RADIUS * jacobian[1][:, columns]])  # (6, 6)
            step = full.T @ np.linalg.solve(full @ full.T + DAMPING**2 * np.eye(6), error)
            angles = np.clip(angles + np.clip(step, -STEP_LIMIT, STEP_LIMIT), self._low, self._high)
        return best_angles, best
