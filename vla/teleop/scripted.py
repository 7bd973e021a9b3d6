"""A person who always does the same: for tests, demos, and taking over without hands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla.types import ActionSpec, FloatArray


class Scripted:
    """Wants control from a tick on, plays a motion, and lets go. Implements `vla.protocols.SpecTeleoperator`.

    Args:
        motion: (T, A) one row a tick. For positions: what is added to where the robot stood at the take-over; for
            deltas: the actions.
        start: ticks from the beginning of the session's first episode until it wants control.
        repeat: begin again so many ticks after letting go; None: once.
    """

    def __init__(self, motion: Sequence[Sequence[float]], start: int = 0, repeat: int | None = None) -> None:
        self._motion = np.asarray(motion, dtype=np.float64)
        if self._motion.ndim != 2 or 0 in self._motion.shape or not np.isfinite(self._motion).all():
            raise ValueError(f"teleop.motion: expected finite numbers of shape (T, A), got shape {self._motion.shape}")
        if start < 0 or (repeat is not None and repeat < 1):
            raise ValueError(f"teleop.start, teleop.repeat: expected 0 and 1 at least, got {start} and {repeat}")
        self._wait, self._repeat = start, repeat
        self._base = np.zeros(self._motion.shape[1])
        self._played = 0
        self._positions = True

    def prepare(self, spec: ActionSpec) -> None:
        """Learn whether actions are positions or deltas.

        Raises:
            ValueError: the motion has another width than an action.
        """
        width = self._motion.shape[1]
        if width != len(spec.names):
            raise ValueError(f"teleop.motion: expected {len(spec.names)} numbers a tick {spec.names}, got {width}")
        self._positions = spec.kind == "joint_position"

    def connect(self) -> None:
        """Nothing to open."""

    def wants_control(self) -> bool:
        """Whether the motion is due and not over; asked once a tick."""
        if self._wait > 0:
            self._wait -= 1
            return False
        if self._played < len(self._motion):
            return True
        if self._repeat is not None:
            self._wait, self._played = self._repeat - 1, 0
        return False

    def align(self, action: FloatArray) -> bool:
        """The motion begins at (A,): there is nothing to wait for."""
        self._base = action.copy()
        return True

    def get_action(self) -> FloatArray:
        """(A,) the next one of the motion."""
        self._played += 1
        motion: FloatArray = self._motion[self._played - 1]
        return self._base + motion if self._positions else motion.copy()

    def disconnect(self) -> None:
        """Nothing to close."""
