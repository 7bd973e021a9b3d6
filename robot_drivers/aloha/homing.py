"""Slow moves: minimum jerk from where the arm is to where it should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_drivers.aloha.config import Homing
from robot_drivers.aloha.layout import ArmLayout
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
        primaries = layout.primaries
        self._names = [servo.joint for servo in primaries]
        self._most = np.array([homing.current_share * servo.model.stall_effort for servo in primaries])
        self._units = ["A" if servo.model.has_current else "of its largest torque" for servo in primaries]
        self._tracking, self._patience = homing.tracking, homing.patience
        self._pressed_since: float | None = None

    def reset(self) -> None:
        """A new move."""
        self._pressed_since = None

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
        pressed = np.abs(state.effort)[:-1] > self._most[:-1]
        if not pressed.any():
            self._pressed_since = None
            return ""
        self._pressed_since = now if self._pressed_since is None else self._pressed_since
        if now - self._pressed_since < self._patience:
            return ""
        joint = int(np.argmax(pressed))
        return (
            f"{self._names[joint]} meets resistance: expected at most {self._most[joint]:.2f} "
            f"{self._units[joint]}, got {state.effort[joint]:.2f} for {self._patience} s"
        )
