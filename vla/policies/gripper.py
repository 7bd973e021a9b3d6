"""The gripper's number: from the meaning it has in the data to the one the robot takes."""

from __future__ import annotations

import numpy as np

from vla.embodiment import Gripper
from vla.types import FloatArray


def from_robot(actions: FloatArray, gripper: Gripper) -> FloatArray:
    """The other way round, for what `to_robot` can answer: (..., A) -> (..., A), a copy."""
    translated = actions.copy()
    if gripper is Gripper.LIBERO:
        translated[..., -1] = (1 - actions[..., -1]) / 2
    return translated


def to_robot(actions: FloatArray, gripper: Gripper) -> FloatArray:
    """Translate the last number of each action: (..., A) -> (..., A), a copy.

    For LIBERO, 0 (close) ... 1 (open) becomes +1 (close) or -1 (open); exactly 0.5 becomes 0, neither.
    Source: openvla-oft 213c5ff, experiments/robot/robot_utils.py `normalize_gripper_action`, `invert_gripper_action`.
    """
    translated = actions.copy()
    if gripper is Gripper.LIBERO:
        translated[..., -1] = -np.sign(2 * actions[..., -1] - 1)
    return translated
