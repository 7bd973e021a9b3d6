"""The policy that does nothing: a baseline, and the cheapest way to try an environment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla.types import ActionChunk, ActionSpec, FloatArray, Observation

LIBERO_STILL = (0, 0, 0, 0, 0, 0, -1)  # gripper open; the action of the official settle steps


class HoldPolicy:
    """Keeps the robot where it is at the start of the episode. Implements `vla.protocols.SpecPolicy`.

    What that means follows from the robot. Absolute positions: those that were seen first; those seen now would sag,
    for gravity bends a holding arm. Deltas: zeros, with grippers at their lower limit, which is open in LIBERO. Whoever
    does not call `prepare` gets LIBERO's action.

    Args:
        action: (A,) what to repeat instead.
        chunk_size: K.
    """

    def __init__(self, action: Sequence[float] | None = None, chunk_size: int = 8) -> None:
        self._given = None if action is None else np.asarray(action, dtype=np.float64)  # (A,)
        self._still: FloatArray | None = self._given  # (A,); None: where the robot is seen first
        if self._given is None:
            self._still = np.asarray(LIBERO_STILL, dtype=np.float64)
        self._first: FloatArray | None = None  # (A,)
        self._chunk_size = chunk_size

    def prepare(self, spec: ActionSpec) -> None:
        """Learn what an action means.

        Raises:
            ValueError: the given action is not one of this robot.
        """
        if self._given is None:
            self._still = np.where(spec.gripper, spec.low, 0.0) if spec.kind == "eef_delta" else None
        elif self._given.shape != (len(spec.names),):
            raise ValueError(f"policy.action: expected {len(spec.names)} numbers, {spec.names}, got {self._given.size}")

    def reset(self) -> None:
        """Forget where the robot was."""
        self._first = None

    def infer(self, observation: Observation) -> ActionChunk:
        """The same chunk, whatever is seen. Images are not read, so none is rendered."""
        if self._first is None:
            self._first = observation.state.copy() if self._still is None else self._still
        return ActionChunk(np.tile(self._first, (self._chunk_size, 1)), observation.instruction, observation.time)
