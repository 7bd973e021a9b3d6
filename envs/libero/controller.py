"""The benchmark's operational-space controller, stepped without what the stock loop computes in vain.

robosuite 1.4.0 runs, in each of the 25 substeps of a control step, two complete `mj_forward`, a complete
`mj_step` and every observable. Position and velocity stages of the second and third pass recompute what the
first one found. Here each substep runs them once; only the constraint solver runs as often as in robosuite,
because its warm start carries rounding from one call to the next. The resulting state is bit-identical.

Source: robosuite 1.4.0, environments/base.py `step`, robots/single_arm.py `control`, controllers/osc.py.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from vla.types import FloatArray

SUBSTEPS = 25  # 20 Hz control over 2 ms physics
# robosuite samples every sensor inside a control step: its clock counts 2 ms a substep against a period of
# 50 ms, and `env.reset` and `set_init_state` have each advanced it by one (utils/observables.py, `update`).
SENSOR_SUBSTEP = 23


class LeanController:
    """Turns a 7-D action into 25 physics substeps.

    Args:
        upstream: the robosuite environment (`ControlEnv.env`) that was just reset; its controller's gains,
            limits and first reading of the arm are taken over.
    """

    def __init__(self, upstream: Any) -> None:
        import mujoco
        from robosuite.utils import control_utils, transform_utils

        self._mj, self._control, self._transform = mujoco, control_utils, transform_utils
        self._model, self._data = upstream.sim.model._model, upstream.sim.data._data
        robot = upstream.robots[0]
        controller = robot.controller
        self._site = upstream.sim.model.site_name2id(controller.eef_name)
        self._qpos, self._qvel = list(controller.qpos_index), list(controller.qvel_index)
        self._arm_ctrl = list(robot._ref_joint_actuator_indexes)
        self._grip_ctrl = [upstream.sim.model.actuator_name2id(name) for name in robot.gripper.actuators]
        self._torque_low, self._torque_high = robot.torque_limits
        grip_range = self._model.actuator_ctrlrange[self._grip_ctrl]
        self._grip_bias = 0.5 * (grip_range[:, 1] + grip_range[:, 0])
        self._grip_weight = 0.5 * (grip_range[:, 1] - grip_range[:, 0])
        self._grip_speed = np.array([-1.0, 1.0]) * robot.gripper.speed
        self._kp, self._kd = controller.kp, controller.kd
        self._input_min, self._input_max = controller.input_min, controller.input_max
        self._scale = abs(controller.output_max - controller.output_min) / abs(self._input_max - self._input_min)
        self._output_offset = (controller.output_max + controller.output_min) / 2.0
        self._input_offset = (self._input_max + self._input_min) / 2.0
        nv = self._model.nv
        self._jac_pos, self._jac_rot = np.zeros((3, nv)), np.zeros((3, nv))  # (3, nv)
        self._full_mass = np.zeros((nv, nv))  # (nv, nv)
        self.reset(controller)

    def reset(self, controller: Any) -> None:
        """Start an episode from what a freshly built robosuite controller has read.

        The first control step of an episode still uses that reading, taken at the robot's home pose before
        the benchmark's initial state was set; the stock loop does the same.
        """
        self._eef_pos, self._eef_mat = controller.ee_pos, controller.ee_ori_mat
        self._eef_vel, self._eef_angvel = controller.ee_pos_vel, controller.ee_ori_vel
        self._joint_pos, self._joint_vel = controller.joint_pos, controller.joint_vel
        self._jac_arm_pos, self._jac_arm_rot = controller.J_pos, controller.J_ori
        self._jac_arm, self._mass = controller.J_full, controller.mass_matrix
        self._home = controller.initial_joint
        self._goal_pos, self._goal_mat = np.array(controller.goal_pos), np.array(controller.goal_ori)
        self._grip = np.zeros(1)
        self._reading_is_current = True

    def fork(self, data: Any, stretch: float = 1.0) -> LeanController:
        """A controller in the same state that moves `data`, a copy of the simulator's; this one is left alone.

        Args:
            data: MuJoCo's data to move.
            stretch: how much longer its physics substeps are than the benchmark's.
        """
        fork = copy.copy(self)
        fork._data = data
        # Everything else is replaced when it changes, and may be shared; these are written in place.
        fork._jac_pos, fork._jac_rot = self._jac_pos.copy(), self._jac_rot.copy()
        fork._full_mass = self._full_mass.copy()
        fork._grip_speed = self._grip_speed * stretch  # the fingers' set point moves with every substep
        return fork

    def command(self, action: FloatArray) -> None:
        """Take a new action for the next control step. `action`: (7,) position, rotation, gripper."""
        self._command: FloatArray | None = action[:6]
        self._grip_sign = np.sign(action[6:])

    def run(self, substeps: int) -> None:
        """Advance the physics by `substeps` of 2 ms each."""
        for _ in range(substeps):
            self._mj.mj_forward(self._model, self._data)
            self._read()
            if self._command is not None:
                self._set_goal(self._command)
                self._command = None
            self._actuate()

    def _read(self) -> None:
        """Read arm pose, velocity, Jacobians and inertia, unless the reading of the reset still stands."""
        if self._reading_is_current:
            self._reading_is_current = False
            return
        mj, model, data = self._mj, self._model, self._data
        # The stock loop calls a second mj_forward here. Only its solver can change anything (warm start).
        mj.mj_forwardSkip(model, data, mj.mjtStage.mjSTAGE_VEL, 1)
        mj.mj_jacSite(model, data, self._jac_pos, self._jac_rot, self._site)
        self._eef_pos = np.array(data.site_xpos[self._site])
        self._eef_mat = np.array(data.site_xmat[self._site].reshape([3, 3]))
        self._eef_vel = np.dot(self._jac_pos, data.qvel)
        self._eef_angvel = np.dot(self._jac_rot, data.qvel)
        self._joint_pos = data.qpos[self._qpos]
        self._joint_vel = data.qvel[self._qvel]
        self._jac_arm_pos = np.array(self._jac_pos[:, self._qvel])  # (3, 7)
        self._jac_arm_rot = np.array(self._jac_rot[:, self._qvel])  # (3, 7)
        self._jac_arm = np.vstack([self._jac_arm_pos, self._jac_arm_rot])  # (6, 7)
        mj.mj_fullM(model, self._full_mass, data.qM)
        self._mass = self._full_mass[self._qvel, :][:, self._qvel]  # (7, 7)

    def _set_goal(self, command: FloatArray) -> None:
        """Move the goal relative to the pose just read; an exactly zero rotation keeps the old orientation."""
        delta = np.clip(command, self._input_min, self._input_max)
        delta = (delta - self._input_offset) * self._scale + self._output_offset
        if any(not math.isclose(value, 0.0) for value in delta[3:]):
            self._goal_mat = self._control.set_goal_orientation(delta[3:], self._eef_mat)
        self._goal_pos = self._eef_pos + delta[:3]

    def _actuate(self) -> None:
        """Compute torques, advance the fingers' set point, integrate one substep."""
        data = self._data
        force = np.multiply(self._goal_pos - self._eef_pos, self._kp[:3]) + np.multiply(-self._eef_vel, self._kd[:3])
        twist = self._control.orientation_error(self._goal_mat, self._eef_mat)
        torque = np.multiply(twist, self._kp[3:]) + np.multiply(-self._eef_angvel, self._kd[3:])
        _, mass_pos, mass_rot, nullspace = self._control.opspace_matrices(
            self._mass, self._jac_arm, self._jac_arm_pos, self._jac_arm_rot
        )
        wrench = np.concatenate([np.dot(mass_pos, force), np.dot(mass_rot, torque)])
        torques = np.dot(self._jac_arm.T, wrench) + data.qfrc_bias[self._qvel]
        torques += self._control.nullspace_torques(self._mass, nullspace, self._home, self._joint_pos, self._joint_vel)
        self._grip = np.clip(self._grip + self._grip_speed * self._grip_sign, -1.0, 1.0)
        data.ctrl[self._grip_ctrl] = self._grip_bias + self._grip_weight * self._grip
        data.ctrl[self._arm_ctrl] = np.clip(torques, self._torque_low, self._torque_high)
        self._mj.mj_step2(self._model, data)
