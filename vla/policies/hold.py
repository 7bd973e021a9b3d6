"""The policy that does nothing: a baseline, and the cheapest way to try an environment."""

from __future__ import annotations

import numpy as np

from vla.types import ActionChunk, ActionSpec, FloatArray, Observation

CHUNK = 8  # K


class HoldPolicy:
    """Keeps the robot where it is at the start of the episode. Implements `vla.protocols.SpecPolicy`.

    What that means follows from the robot. Absolute positions: those that were seen first; those seen now would sag,
    for gravity bends a holding arm. Deltas: zeros, with grippers at their lower limit, which is open in LIBERO.
    """

    def __init__(self) -> None:
        self._spec: ActionSpec | None = None
        self._still: FloatArray | None = None  # (A,) of this episode; None: nothing was seen yet

    def prepare(self, spec: ActionSpec) -> None:
        """Learn what an action means."""
        self._spec = spec

    def reset(self) -> None:
        """Forget where the robot was."""
        self._still = None

    def infer(self, observation: Observation) -> ActionChunk:
        """The same chunk, whatever is seen. Images are not read, so none is rendered.

        Raises:
            RuntimeError: `prepare` was not called.
        """
        if self._spec is None:
            raise RuntimeError("HoldPolicy: call prepare(spec) before the first infer")
        if self._still is None:
            deltas = self._spec.kind == "eef_delta"
            self._still = np.where(self._spec.gripper, self._spec.low, 0.0) if deltas else observation.state.copy()
        return ActionChunk(np.tile(self._still, (CHUNK, 1)), observation.instruction, observation.time)
