"""What LeRobot keeps of every feature: min, max, mean, std, count and quantiles.

Shapes as in lerobot 0.4.4 compute_stats.py: a number a frame gives (1,), a (T, ...) column gives (...), images give
(3, 1, 1) in [0, 1]. Quantiles of columns are exact; LeRobot estimates them with histograms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.episode import Column
from vla.types import FloatArray, Image

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
IMAGE_SAMPLES = 20  # frames of an episode that the statistics of its images come from
IMAGE_STRIDE_PX = 2

Statistics = dict[str, npt.NDArray[Any]]


def of_column(column: Column) -> Statistics:
    """Statistics over the frames of a (T, ...) number column."""
    values = column.astype(np.float64)
    values = values[:, None] if values.ndim == 1 else values
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        "count": np.array([len(values)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def of_images(frames: Image) -> Statistics:
    """Statistics of (T, H, W, 3) over evenly spread frames and pixels; `count` is the number of frames looked at."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, IMAGE_SAMPLES).round().astype(int))
    seen = frames[chosen, ::IMAGE_STRIDE_PX, ::IMAGE_STRIDE_PX]
    channels = [_of_histogram(np.bincount(seen[..., c].ravel(), minlength=256)) for c in range(3)]
    stacked = {name: np.array([channel[name] for channel in channels]).reshape(3, 1, 1) for name in channels[0]}
    return {**stacked, "count": np.array([len(chosen)])}


def _of_histogram(counts: npt.NDArray[Any]) -> dict[str, float]:
    """Statistics in [0, 1] of one colour, from how often each of the 256 values occurs."""
    levels = np.arange(256) / 255
    total, cumulated = counts.sum(), np.cumsum(counts)
    mean = float(counts @ levels / total)
    present = levels[counts > 0]
    return {
        "min": present[0],
        "max": present[-1],
        "mean": mean,
        "std": float(np.sqrt(counts @ (levels - mean) ** 2 / total)),
        **{name: levels[np.searchsorted(cumulated, q * total)] for name, q in QUANTILES.items()},
    }


def pool(parts: Sequence[Mapping[str, npt.NDArray[Any]]]) -> Statistics:
    """Statistics of all episodes from those of each, for images: exact, but for quantiles (LeRobot's weighted mean)."""
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    stacked = {name: np.stack([part[name] for part in parts]).astype(np.float64) for name in NAMES if name != "count"}
    weights = (counts / counts.sum()).reshape(-1, *([1] * (stacked["mean"].ndim - 1)))
    mean: FloatArray = (weights * stacked["mean"]).sum(0)
    variance = (weights * (stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2)).sum(0)
    return {
        "min": stacked["min"].min(0),
        "max": stacked["max"].max(0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
        **{name: (weights * stacked[name]).sum(0) for name in QUANTILES},
    }
