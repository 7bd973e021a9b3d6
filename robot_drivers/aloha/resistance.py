"""Notices joints that press against something for too long.

A servo that presses with most of its torque for two seconds switches itself off, and what it carries falls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robot_drivers.aloha.layout import ArmLayout
from robot_drivers.aloha.state import ArmState


class Resistance:
    """Of the joints only: a gripper may press on what it holds.

    Args:
        layout: of the arm.
        share: of the stall current, or torque; more than this ...
        patience: [s] ... for so long is resistance.
    """

    def __init__(self, layout: ArmLayout, share: float, patience: float) -> None:
        joints = layout.primaries[:-1]
        self._names, self._ids = [servo.joint for servo in joints], [servo.id for servo in joints]
        self._most = np.array([share * servo.model.stall_effort for servo in joints])
        self._units = ["A" if servo.model.has_current else "of its largest torque" for servo in joints]
        self._patience = patience
        self._since: float | None = None

    def reset(self) -> None:
        """Begin to watch anew."""
        self._since = None

    def pressing(self, state: ArmState) -> npt.NDArray[np.bool_]:
        """(7,) which of them press, as far as they answer."""
        fresh = [id not in state.stale for id in self._ids]
        return np.append(fresh & (np.abs(state.effort[:-1]) > self._most), False)

    def objection(self, state: ArmState, now: float) -> str:
        """Which joint presses, and how hard; empty if none does.

        Args:
            state: measured.
            now: [s]
        """
        pressed = self.pressing(state)
        if not pressed.any():
            self._since = None
            return ""
        self._since = now if self._since is None else self._since
        if now - self._since < self._patience:
            return ""
        joint = int(np.argmax(pressed))
        return (
            f"{self._names[joint]} meets resistance: expected at most {self._most[joint]:.2f} "
            f"{self._units[joint]}, got {state.effort[joint]:.2f} for {self._patience} s"
        )
