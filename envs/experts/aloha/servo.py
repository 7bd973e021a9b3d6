"""From wanted joint angles to the next action: proportional, capped in speed and in change of speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.aloha.robot import HZ
from vla.types import FloatArray

GAIN = 0.15  # part of the way that is asked for in a tick
SPEED = 2.0  # [rad/s] of the fastest joint, below the servos' 3.14
ACCELERATION = 20.0  # [rad/s^2]
SLOW = 0.6  # [rad/s] near things
MARGIN = 0.95  # part of the allowed step that is used


@dataclass(frozen=True, eq=False)
class Command:
    """What one arm shall do now.

    Attributes:
        angles: (6,) [rad] where the controls shall come to rest.
        opening: of the gripper, 0 closed to 1 open.
        speed: [rad/s] of the fastest joint.
    """

    angles: FloatArray
    opening: float
    speed: float = SPEED


class Servo:
    """Moves the command of one arm; remembers the last step, so that the next one is close to it.

    Args:
        max_step: (7,) largest change of the command in a tick, joints [rad] and gripper.
    """

    def __init__(self, max_step: FloatArray) -> None:
        self._joint_step = MARGIN * float(max_step[:6].min())
        self._gripper_step = MARGIN * float(max_step[6])
        self.reset()

    def reset(self) -> None:
        """Start from rest."""
        self._last = np.zeros(6)  # [rad] step of the last tick

    def action(self, command: Command, commanded: FloatArray) -> FloatArray:
        """(7,) the next command.

        Args:
            command: where to.
            commanded: (7,) the command that is in force.
        """
        wanted = GAIN * (command.angles - commanded[:6])
        cap = min(command.speed / HZ, self._joint_step)
        wanted *= min(1.0, cap / max(float(np.abs(wanted).max()), 1e-9))
        change = ACCELERATION / HZ**2
        self._last = self._last + np.clip(wanted - self._last, -change, change)
        gripper = np.clip(command.opening - commanded[6], -self._gripper_step, self._gripper_step)
        return np.asarray(commanded + np.append(self._last, gripper))
