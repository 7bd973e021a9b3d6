"""The polite layer of limits: clip into range and flag it; stop on what cannot be an action at all."""

from __future__ import annotations

import numpy as np

from vla.protocols import SafetyStop
from vla.types import ActionSpec, FloatArray, Observation


class LimitFilter:
    """Clips an action into the range of its spec, and a position to a step from the one before.

    The first position is compared with what the robot was told last; if nobody knows that, with the state, if that
    lists the same joints. Where the spec limits how steps change, a step is no longer than such a change either: the
    robot can always stop in a tick, and slower is always allowed. The driver's own gate does not trust this layer.
    """

    def __init__(self, spec: ActionSpec) -> None:
        self._spec = spec
        self._change = np.full(len(spec.names), np.inf) if spec.max_step_change is None else spec.max_step_change
        self._step = np.minimum(spec.max_step, self._change)
        self._last: FloatArray | None = None
        self._before: FloatArray | None = None  # the last but one

    def reset(self, last: FloatArray | None = None) -> None:
        """Forget the last actions: the robot stands where it was told to be, at (A,) `last`, if that is known."""
        self._last = self._before = last

    def was_sent(self, action: FloatArray) -> None:
        """Go on from (A,), which a robot's own limits may have made of the action."""
        self._last = action

    def __call__(self, action: FloatArray, observation: Observation) -> tuple[FloatArray, bool]:
        """(A,) -> (A,) in range, and whether it was changed.

        Raises:
            SafetyStop: wrong shape, NaN or infinity.
        """
        expected = self._spec.low.shape
        if action.shape != expected:
            raise SafetyStop(f"action: expected shape {expected} {self._spec.names}, got {action.shape}")
        if not np.isfinite(action).all():
            entry = int(np.argmin(np.isfinite(action)))
            raise SafetyStop(f"action: expected finite numbers, got {action[entry]} in {self._spec.names[entry]}")
        allowed = np.clip(action, self._spec.low, self._spec.high)
        if self._spec.kind == "joint_position":
            allowed = self._near(allowed, observation)
        self._before, self._last = self._last, allowed
        return allowed, bool((allowed != action).any())

    def _near(self, action: FloatArray, observation: Observation) -> FloatArray:
        """(A,) at most `max_step` from the last position, with a step that differs little from the last one."""
        if self._last is None:
            if observation.state.shape != action.shape:
                return action
            self._last = np.clip(observation.state, self._spec.low, self._spec.high)
        last = self._last
        step = last - (last if self._before is None else self._before)
        near = np.clip(
            action,
            last + np.maximum(-self._step, step - self._change),
            last + np.minimum(self._step, step + self._change),
        )
        return np.clip(near, self._spec.low, self._spec.high)  # the robot may have begun outside
