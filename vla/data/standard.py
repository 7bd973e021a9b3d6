"""From recorded episodes to the numbers that OpenVLA-OFT trains on: gripper, statistics, chunks.

Source: openvla-oft 213c5ff, prismatic/vla/datasets/rlds: oxe/transforms.py `libero_dataset_transform`,
utils/data_utils.py `get_dataset_statistics` and `binarize_gripper_actions`, traj_transforms.py `chunk_act_obs`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vla.types import FloatArray

OPEN_ABOVE, CLOSED_BELOW = 0.95, 0.05  # of the gripper's range


def standard_gripper(actions: FloatArray) -> FloatArray:
    """LIBERO's actions (T, A), gripper -1 open to +1 closed -> a copy with 1 open, 0 closed."""
    standard = np.array(actions, copy=True)
    standard[:, -1] = 1.0 - np.clip(standard[:, -1], 0.0, 1.0)
    return standard


def binary_gripper(positions: FloatArray) -> FloatArray:
    """(T,) gripper positions -> 1 open, 0 closed; what lies between takes the side that it is on its way to.

    At the end of an episode, where no side is reached any more, a position stays as it is.
    """
    binary = np.array(positions, dtype=np.float64)
    side = binary[-1]
    for tick in reversed(range(len(binary))):
        if binary[tick] > OPEN_ABOVE:
            side = 1.0
        elif binary[tick] < CLOSED_BELOW:
            side = 0.0
        binary[tick] = side
    return binary


def column_statistics(values: FloatArray) -> dict[str, Any]:
    """Statistics of (T, N) as in a dataset_statistics.json: mean, std, max, min, q01, q99."""
    return {
        "mean": values.mean(axis=0).tolist(),
        "std": values.std(axis=0).tolist(),
        "max": values.max(axis=0).tolist(),
        "min": values.min(axis=0).tolist(),
        "q01": np.quantile(values, 0.01, axis=0).tolist(),
        "q99": np.quantile(values, 0.99, axis=0).tolist(),
    }


def chunks(actions: FloatArray, size: int) -> FloatArray:
    """(T, A) -> (T - size + 1, size, A): each action with those that follow; the tail gives no chunk of its own.

    Raises:
        ValueError: the episode is shorter than a chunk.
    """
    if not 1 <= size <= len(actions):
        raise ValueError(f"chunks: expected a size of 1 to {len(actions)}, the episode's length, got {size}")
    windows = np.lib.stride_tricks.sliding_window_view(actions, size, axis=0)  # (T - size + 1, A, size)
    return np.ascontiguousarray(windows.transpose(0, 2, 1))
