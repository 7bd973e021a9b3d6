"""The two follower arms as physics behind emulated servos: goals and torque flags in, motion and effort out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from envs.aloha.placements import official_poses
from envs.aloha.robot import ARMS
from envs.aloha.suites import load_suite
from envs.rendering import configure_gl
from vla.types import FloatArray

if TYPE_CHECKING:
    from envs.aloha.scene import AlohaScene

# [N m] of the six joints, [N] of a finger. With torque, the model's friction (30 to 60) stands for the servos'
# damping; a released servo can be turned by hand, and a released arm falls. Estimates, for gear ratios of 150 to 350.
RELEASED_FRICTION = np.array([1.0, 1.0, 1.0, 0.4, 0.4, 0.2, 2.0])
RELEASED_DAMPING = np.array([1.0, 1.0, 1.0, 0.2, 0.2, 0.1, 20.0])  # [N m s / rad], [N s / m]; estimates


@dataclass(frozen=True, eq=False)
class FollowerState:
    """One arm at one moment: six joints, then the gripper (its left finger; the right one mirrors it).

    Attributes:
        position: (7,) [rad] and [m].
        velocity: (7,) [rad/s] and [m/s].
        effort: (7,) [N m] and [N] of the actuators; 0 where torque is off.
        load: (7,) [N m] and [N] what carries and moves the arm, as a real servo's current would show it: effort without
            the dry friction by which the model damps its servos. Contacts are left out, but those of fingers.
    """

    position: FloatArray
    velocity: FloatArray
    effort: FloatArray
    load: FloatArray


class Followers:
    """Both arms and a task's objects in one simulation, which only `advance` moves on.

    There is no lock inside: when several threads call, they take turns by a lock of their own.

    Args:
        scene: the simulation. Where servos lose their torque its model is changed.

    Attributes:
        scene: the same.
    """

    def __init__(self, scene: AlohaScene) -> None:
        self.scene, model = scene, scene.model
        fields = ("actuator_gainprm", "actuator_biasprm", "dof_frictionloss", "dof_damping")
        self._powered = {name: getattr(model, name).copy() for name in fields}
        self._released = np.zeros(model.nu, dtype=bool)
        self._owed = 0.0  # [s] asked for and not simulated yet: less than a step

    def command(self, arm: str, goal: FloatArray, torque: npt.NDArray[np.bool_]) -> None:
        """Set the goals that an arm's servos hold from now on.

        Args:
            arm: `left` or `right`.
            goal: (7,) joints [rad] and finger position [m]; beyond the range, the end of the range.
            torque: (7,) which servos have torque; the others turn freely but for friction.

        Raises:
            ValueError: unknown arm, or a goal that is not (7,) finite numbers; nothing is changed.
        """
        servos = _servos(arm)
        goal = np.asarray(goal, dtype=np.float64)
        if goal.shape != (7,) or not np.isfinite(goal).all():
            raise ValueError(f"goal of the {arm} arm: expected (7,) finite numbers [rad], [m], got {goal}")
        model, mirrored = self.scene.model, np.append(goal, -goal[6])
        powered = np.append(torque, torque[6]).astype(bool)
        self.scene.data.ctrl[servos] = mirrored
        if np.array_equal(self._released[servos], ~powered):
            return
        self._released[servos] = ~powered
        for name in ("actuator_gainprm", "actuator_biasprm"):
            getattr(model, name)[servos] = self._powered[name][servos] * powered[:, None]
        released = {"dof_frictionloss": RELEASED_FRICTION, "dof_damping": RELEASED_DAMPING}
        for name, values in released.items():
            getattr(model, name)[servos] = np.where(powered, self._powered[name][servos], np.append(values, values[6]))

    def advance(self, seconds: float) -> None:
        """Simulate so long [s], in whole steps of 2 ms; what is left over is made up for by the next call."""
        self._owed += seconds
        steps = int(self._owed / self.scene.model.opt.timestep + 1e-9)
        if steps > 0:
            self.scene.step(steps)
            self._owed -= steps * self.scene.model.opt.timestep

    def read(self, arm: str) -> FollowerState:
        """Where an arm is, how fast it moves, and how hard its actuators work."""
        servos, data = _servos(arm), self.scene.data
        first_seven = slice(servos.start, servos.start + 7)
        load = data.actuator_force + data.qfrc_constraint[: len(self._released)]
        load[6::8] = data.actuator_force[6::8]
        load[self._released] = 0.0
        values = (data.qpos, data.qvel, data.actuator_force, load)
        return FollowerState(*(np.array(value[first_seven]) for value in values))

    def place(self, arm: str, position: FloatArray) -> None:
        """Put an arm at rest somewhere at once, such as in its sleep pose before it is switched on.

        Time begins anew: of what `advance` was asked for, nothing is left over.

        Args:
            arm: `left` or `right`.
            position: (7,) joints [rad] and finger position [m].
        """
        servos, data = _servos(arm), self.scene.data
        data.qpos[servos] = np.append(position, -position[6])
        data.qvel[servos] = 0.0
        self._owed = 0.0
        self.scene.refresh()


def open_scene(suite: str = "aloha_transfer_cube", trial: int = 0) -> AlohaScene:
    """A simulation of its own.

    Args:
        suite: whose objects lie on the table.
        trial: where they lie.

    Raises:
        ValueError: unknown suite or trial.
    """
    configure_gl()
    from envs.aloha.scene import AlohaScene

    task = load_suite(suite).tasks[0]
    scene = AlohaScene(task)
    scene.reset(official_poses(task.name, trial))
    return scene


def _servos(arm: str) -> slice:
    """An arm's six joints and two fingers in `qpos`, `qvel` and the controls."""
    if arm not in ARMS:
        raise ValueError(f"arm: expected one of {', '.join(ARMS)}, got '{arm}'")
    first = 8 * ARMS.index(arm)
    return slice(first, first + 8)
