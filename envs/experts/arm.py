"""Inverse kinematics of the arm on a private copy of the state: can a pose be reached, and how comfortably?"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.experts.geometry import IntArray, rotation_vector
from vla.types import FloatArray

ITERATIONS = 40
DAMPING = 0.02  # [m] of damped least squares; larger is slower and steadier
STEP_LIMIT = 0.3  # [rad] a joint turns in one iteration at most
LIMIT_MARGIN = 0.06  # [rad] solutions stay this far inside the joints' ranges
REST_PULL = 0.05  # part of the way to the resting angles that the free direction takes in an iteration
RADIUS = 0.2  # [m] a radian of orientation error counts as much as this


class ArmModel:
    """Kinematics of the arm.

    Args:
        model: MuJoCo model; it is only read.
        site: the hand's site.
        qpos: (7,) addresses of the arm's joints.
        rest: (7,) [rad] resting angles, which the controller also prefers.
    """

    def __init__(self, model: Any, site: int, qpos: list[int], rest: FloatArray) -> None:
        import mujoco

        self._mj, self._model, self._site, self._qpos = mujoco, model, site, qpos
        self._data = mujoco.MjData(model)  # private: the simulator's own is only read
        joints = [int(np.flatnonzero(model.jnt_qposadr == address)[0]) for address in qpos]
        self._dofs = [int(model.jnt_dofadr[joint]) for joint in joints]
        self._low = model.jnt_range[joints, 0] + LIMIT_MARGIN
        self._high = model.jnt_range[joints, 1] - LIMIT_MARGIN
        self._rest = rest

    def touches(self, robot: IntArray, allowed: IntArray) -> int:
        """How many contacts the arm has in the pose found last, except with some geoms.

        Args:
            robot: ids of the robot's geoms.
            allowed: ids of geoms that may be touched.
        """
        self._mj.mj_collision(self._model, self._data)
        count = 0
        for first, second in self._data.contact.geom:
            ours = np.isin([first, second], robot)
            if ours.sum() == 1:  # the robot and something else
                count += int(not np.isin(second if ours[0] else first, allowed))
        return count

    def error(self, live: Any, position: FloatArray, rotation: FloatArray) -> float:
        """[m] how far from a pose the arm must stay, starting from the joint angles in `live` (MjData, only read).

        Args:
            live: the simulator's data.
            position: (3,) [m] wanted.
            rotation: (3, 3) wanted.
        """
        data = self._data
        data.qpos[:] = live.qpos
        jacobian = np.zeros((2, 3, self._model.nv))
        best = np.inf
        for _ in range(ITERATIONS):
            self._mj.mj_kinematics(self._model, data)
            self._mj.mj_comPos(self._model, data)
            offset = position - data.site_xpos[self._site]
            turn = rotation_vector(rotation @ data.site_xmat[self._site].reshape(3, 3).T)
            error = np.concatenate([offset, RADIUS * turn])
            best = min(best, float(np.linalg.norm(error)))
            if best < 0.003:
                break
            self._mj.mj_jacSite(self._model, data, jacobian[0], jacobian[1], self._site)
            full = np.concatenate([jacobian[0][:, self._dofs], RADIUS * jacobian[1][:, self._dofs]])  # (6, 7)
            inverse = full.T @ np.linalg.inv(full @ full.T + DAMPING**2 * np.eye(6))  # (7, 6)
            angles = data.qpos[self._qpos]
            free = (np.eye(7) - inverse @ full) @ (REST_PULL * (self._rest - angles))
            step = np.clip(inverse @ error + free, -STEP_LIMIT, STEP_LIMIT)
            data.qpos[self._qpos] = np.clip(angles + step, self._low, self._high)
        return best
