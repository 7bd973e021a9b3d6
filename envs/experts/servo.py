"""From a wanted hand pose to the next 7-D action: proportional, speed-capped, ramped, with a small integrator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.experts.geometry import rotation_vector
from vla.types import FloatArray

METRES = 0.05  # [m] translation asked for by an action of 1
RADIANS = 0.5  # [rad] rotation asked for by an action of 1
GAIN = 1.5  # part of the error asked for at once; the arm covers about a quarter of what is asked in a step
DAMPING_S = 0.05  # [s] the error is seen this far ahead at the present speed: the arm coasts about 10 mm
ROTATION_GAIN = 1.4
ROTATION_SPEED = 0.7  # cap of the rotation part: 0.07 rad a step about x, 0.045 about y and z
COVERED, ROTATION_COVERED = 0.25, 0.15  # part of what is asked for that the arm covers in a step
STEP_S = 0.05  # [s] control period
SLEW = 0.2  # largest change of the translation part in one step: full speed after 4 steps (0.2 s)
ROTATION_SLEW = 0.12  # the same for rotation
INTEGRATE_WITHIN = 0.03  # [m] the integrator works on the last centimetres only
INTEGRATE = 0.15  # part of the error added in a step
INTEGRAL_LIMIT = 0.03  # [m]
TINY_ROTATION = 1e-5  # an exactly zero rotation would keep the controller's old orientation goal


@dataclass(frozen=True, eq=False)
class Command:
    """Where the hand shall go now.

    Attributes:
        position: (3,) [m] of the point between the finger tips, world frame.
        rotation: (3, 3) hand orientation, world frame.
        close: whether the gripper shall be closed.
        speed: cap of the translation part of the action, in (0, 0.8].
        precise: whether the integrator may work on the remaining error.
    """

    position: FloatArray
    rotation: FloatArray
    close: bool
    speed: float = 0.8
    precise: bool = False


class Servo:
    """Remembers the last action, so that the next one is close to it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start from the present motion."""
        self._last: FloatArray | None = None
        self._integral = np.zeros(3)

    def action(self, command: Command, position: FloatArray, rotation: FloatArray, velocity: FloatArray) -> FloatArray:
        """(7,) action in [-1, 1].

        Args:
            command: where to go.
            position: (3,) [m] present position.
            rotation: (3, 3) present orientation.
            velocity: (6,) present velocity, [m/s] and [rad/s].
        """
        if self._last is None:
            move = _capped(velocity[:3] * STEP_S / (COVERED * METRES), command.speed)
            turn = _capped(velocity[3:] * STEP_S / (ROTATION_COVERED * RADIANS), ROTATION_SPEED)
            self._last = np.concatenate([move, turn])
        error = command.position - position
        if command.precise and float(np.linalg.norm(error)) < INTEGRATE_WITHIN:
            self._integral = np.clip(self._integral + INTEGRATE * error, -INTEGRAL_LIMIT, INTEGRAL_LIMIT)
        else:
            self._integral = 0.7 * self._integral  # fades, so that leaving a precise phase makes no jump
        wanted = GAIN * (error + self._integral - DAMPING_S * velocity[:3]) / METRES
        move = _towards(self._last[:3], _capped(wanted, command.speed), SLEW)
        turn = ROTATION_GAIN * rotation_vector(command.rotation @ rotation.T) / RADIANS
        turn = _towards(self._last[3:], _capped(turn, ROTATION_SPEED), ROTATION_SLEW)
        self._last = np.concatenate([move, turn])
        action = np.append(self._last, 1.0 if command.close else -1.0)
        if not np.any(np.abs(turn) > TINY_ROTATION):
            action[3] = TINY_ROTATION
        return np.asarray(np.clip(action, -1.0, 1.0))


def _capped(vector: FloatArray, limit: float) -> FloatArray:
    """`vector` shortened to length `limit`."""
    length = float(np.linalg.norm(vector))
    return np.asarray(vector if length <= limit else vector * (limit / length))


def _towards(last: FloatArray, wanted: FloatArray, step: float) -> FloatArray:
    """`wanted`, but at most `step` away from `last`."""
    return np.asarray(last + _capped(wanted - last, step))
