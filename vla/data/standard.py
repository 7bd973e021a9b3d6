"""From recorded episodes to the numbers that OpenVLA-OFT trains on: gripper, statistics.

Source: openvla-oft 213c5ff, prismatic/vla/datasets/rlds: oxe/transforms.py `libero_dataset_transform`,
utils/data_utils.py `get_dataset_statistics`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vla.types import FloatArray


def standard_gripper(actions: FloatArray) -> FloatArray:
    """LIBERO's actions (T, A), gripper -1 open to +1 closed -> a copy with 1 open, 0 closed."""
    standard = np.array(actions, copy=True)
    standard[:, -1] = 1.0 - np.clip(standard[:, -1], 0.0, 1.0)
    return standard


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
