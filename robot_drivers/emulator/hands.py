"""Scripts for the hands that move leader arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np


class Keyframes:
    """Poses at times, straight lines in between; a `joints.Hand`.

    Args:
        frames: (time [s], {joint: position [rad]}), in order of time. A joint is held from its first frame on; before,
            and if it is in none, it is left alone.

    Raises:
        ValueError: times that do not grow.
    """

    def __init__(self, frames: Sequence[tuple[float, Mapping[str, float]]]) -> None:
        times = [time for time, _ in frames]
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise ValueError(f"keyframes: expected growing times, got {times}")
        joints = dict.fromkeys(name for _, pose in frames for name in pose)
        self._tracks = {
            name: tuple(zip(*((time, pose[name]) for time, pose in frames if name in pose), strict=True))
            for name in joints
        }

    def __call__(self, time: float) -> dict[str, float]:
        """Where the hand wants the joints at `time` [s]."""
        return {
            name: float(np.interp(time, times, positions))
            for name, (times, positions) in self._tracks.items()
            if time >= times[0]
        }
