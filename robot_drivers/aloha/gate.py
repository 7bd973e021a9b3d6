"""The last check before a command becomes motion. It refuses; clipping is for the polite layer, and neither trusts the
other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robot_drivers.aloha.config import Limits
from vla.protocols import SafetyStop
from vla.types import FloatArray

ROUNDING = 1e-6  # [rad] what arithmetic may add to a step that is exactly as long as allowed


class Gate:
    """Checks one command a tick against limits, the command before, and where the robot is.

    A refusal forgets the speed of the commands before, so that the next one has to start from rest.

    Args:
        names: one an entry.
        low, high: (A,) hard limits, margin included.
        checked: (A,) entries whose steps and tracking are checked: arm joints. A gripper's goal is allowed to jump, its
            motion is slowed further down, and a grasped object keeps it from its goal.
        limits: see `Limits`.
        hz: [1/s] of commands.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        low: FloatArray,
        high: FloatArray,
        checked: npt.NDArray[np.bool_],
        limits: Limits,
        hz: float,
    ) -> None:
        self._names, self._low, self._high, self._checked = names, low, high, checked
        self._limits, self._hz = limits, hz
        self._last_step = np.zeros(len(names))

    def reset(self) -> None:
        """The robot is at rest."""
        self._last_step = np.zeros(len(self._names))

    def check_form(self, action: FloatArray, age: float) -> None:
        """Refuse what is no command at all, or an old one.

        Args:
            action: should be (A,).
            age: [s] since it was decided.

        Raises:
            SafetyStop: with what, where, expected, got.
        """
        if action.shape != self._low.shape:
            self._refuse(f"expected shape {self._low.shape}, got {action.shape}")
        if not np.isfinite(action).all():
            entry = int(np.argmin(np.isfinite(action)))
            self._refuse(f"{self._names[entry]}: expected a finite number, got {action[entry]}")
        if not age <= self._limits.age:
            self._refuse(f"expected one not older than {self._limits.age:.3f} s, got {age:.3f} s; nothing was sent")

    def check(self, action: FloatArray, last: FloatArray, present: FloatArray) -> None:
        """Refuse what would move too far or too fast.

        Args:
            action: (A,) that passed `check_form`.
            last: (A,) the command before.
            present: (A,) where the robot is, on the scale of commands.

        Raises:
            SafetyStop: with what, where, expected, got.
        """
        step = action - last
        speed, change = self._limits.speed / self._hz, self._limits.acceleration / self._hz**2
        self._within(action, self._low, self._high, "outside its limits", everything=True)
        self._within(step, -speed, speed, "step from the last command is too long: move there with go_to first")
        turn = step - self._last_step
        self._within(turn, -change, change, "step changes too much from the one before: acceleration")
        reach = self._limits.tracking
        self._within(last - present, -reach, reach, "robot does not follow: blocked, overloaded or without torque")
        self._last_step = step

    def _within(
        self,
        values: FloatArray,
        low: FloatArray | float,
        high: FloatArray | float,
        what: str,
        *,
        everything: bool = False,
    ) -> None:
        bad = ~((values >= np.subtract(low, ROUNDING)) & (values <= np.add(high, ROUNDING)))
        bad &= self._checked | everything
        if bad.any():
            entry = int(np.argmax(bad))
            lowest, highest = (np.broadcast_to(bound, values.shape)[entry] for bound in (low, high))
            self._refuse(
                f"{self._names[entry]}: {what}; expected {lowest:.4f} to {highest:.4f}, got {values[entry]:.4f}"
            )

    def _refuse(self, why: str) -> None:
        self.reset()
        raise SafetyStop(f"command refused: {why}. The robot holds.")
