"""Slow moves: minimum jerk from where the arm is to where it should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_drivers.aloha.config import Homing
from robot_drivers.aloha.layout import ArmLayout
from robot_drivers.aloha.resistance import Resistance
from robot_drivers.aloha.state import ArmState
from vla.types import FloatArray

PEAK = 1.875  # largest speed of a minimum-jerk move, as a multiple of its mean
SHORTEST = 0.2  # [s]


@dataclass(frozen=True, eq=False)
class MinimumJerk:
    """A move that begins and ends at rest.

    Attributes:
        start, end: (N,)
        begins: [s]
        duration: [s]
    """

    start: FloatArray  # (N,)
    end: FloatArray  # (N,)
    begins: float
    duration: float

    def at(self, now: float) -> FloatArray:
        """(N,) at `now` [s]; the ends before and after."""
        part = min(1.0, max(0.0, (now - self.begins) / self.duration))
        share = part**3 * (10 - 15 * part + 6 * part**2)
        return np.asarray(self.start + share * (self.end - self.start))

    def is_over(self, now: float) -> bool:
        """Whether the end has been reached."""
        return now >= self.begins + self.duration


def duration(start: FloatArray, end: FloatArray, homing: Homing) -> float:
    """[s] that a move of (7,) takes when no joint may be faster than allowed."""
    fastest = np.append(np.full(len(start) - 1, homing.speed), homing.gripper_speed)
    return max(SHORTEST, float(np.max(PEAK * np.abs(end - start) / fastest)))


class MoveGuard:
    """Ends a slow move that meets resistance.

    Args:
        layout: of the arm.
        homing: what counts as resistance.
    """

    def __init__(self, layout: ArmLayout, homing: Homing) -> None:
        self._names = [servo.joint for servo in layout.primaries]
        self._tracking = homing.tracking
        self._resistance = Resistance(layout, homing.current_share, homing.patience)

    def reset(self) -> None:
        """A new move."""
        self._resistance.reset()

    def objection(self, goal: FloatArray, state: ArmState, now: float) -> str:
        """Why the move must end; empty if it need not. The gripper may press on what it holds.

        Args:
            goal: [rad] (7,) as last sent.
            state: measured.
            now: [s]
        """
        error = np.abs(goal - state.position)[:-1]
        joint = int(np.argmax(error))
        if error[joint] > self._tracking:
            return f"{self._names[joint]} does not follow: expected within {self._tracking} rad, got {error[joint]:.3f}"
        return self._resistance.objection(state, now)
