"""The policy that does nothing: a baseline, and the cheapest way to try an environment."""

from __future__ import annotations

import numpy as np

from vla.types import ActionChunk, FloatArray, Observation


class HoldPolicy:
    """Answers every observation with the same action, by default LIBERO's "stay, gripper open".

    Args:
        action: (A,) what to repeat; the default is the action of the official settle steps.
        chunk_size: K.
    """

    def __init__(self, action: tuple[float, ...] = (0, 0, 0, 0, 0, 0, -1), chunk_size: int = 8) -> None:
        self._actions: FloatArray = np.tile(np.asarray(action, dtype=np.float64), (chunk_size, 1))  # (K, A)

    def reset(self) -> None:
        """Nothing to forget."""

    def infer(self, observation: Observation) -> ActionChunk:
        """The same chunk, whatever is seen. Images are not read, so none is rendered."""
        return ActionChunk(self._actions, observation.instruction, observation.time)
