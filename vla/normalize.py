"""Between physical units and the numbers a network sees. The constants come from a dataset's statistics.

Source: openvla-oft 213c5ff, prismatic/vla/datasets/rlds/utils/data_utils.py `normalize_action_and_proprio`,
modeling_prismatic.py `_unnormalize_actions`, experiments/robot/openvla_utils.py `normalize_proprio`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.types import FloatArray

_TINY = 1e-8  # upstream adds it to every range


class Normalization(StrEnum):
    """Which statistics a range is made of."""

    BOUNDS = "bounds"  # smallest and largest
    BOUNDS_Q99 = "bounds_q99"  # 1st and 99th percentile
    NORMAL = "normal"  # mean and standard deviation


_COLUMNS = {
    Normalization.BOUNDS: ("min", "max"),
    Normalization.BOUNDS_Q99: ("q01", "q99"),
    Normalization.NORMAL: ("mean", "std"),
}


@dataclass(frozen=True, eq=False)
class Normalizer:
    """Maps vectors of one kind (actions, or states) to about [-1, 1] and back.

    Attributes:
        kind: see `Normalization`.
        first: (A,) low end of the range, or mean.
        second: (A,) high end of the range, or standard deviation.
        mask: (A,) False where a number passes unchanged (LIBERO's gripper).
        constant: (A,) True where the data never changes; such numbers become 0 in training.
    """

    kind: Normalization
    first: FloatArray
    second: FloatArray
    mask: npt.NDArray[np.bool_]
    constant: npt.NDArray[np.bool_]

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any], kind: Normalization) -> Normalizer:
        """Read one entry (`action` or `proprio`) of a dataset_statistics.json.

        Raises:
            ValueError: a column is missing or its length differs.
        """
        columns = (*_COLUMNS[kind], "min", "max")
        if missing := [name for name in columns if name not in statistics]:
            raise ValueError(f"statistics for {kind.value}: missing {missing}, found {sorted(statistics)}")
        first, second, low, high = (np.asarray(statistics[name], dtype=np.float64) for name in columns)
        mask = np.asarray(statistics.get("mask", np.ones(first.shape)), dtype=bool)
        if not first.shape == second.shape == low.shape == high.shape == mask.shape or first.ndim != 1:
            raise ValueError(f"statistics: expected vectors of one length, got shapes {first.shape}, {second.shape}, "
                             f"{low.shape}, {high.shape} and mask {mask.shape}")  # fmt: skip
        return cls(kind, first, second, mask, low == high)

    def normalize(self, values: npt.ArrayLike, zero_constant: bool = False) -> FloatArray:
        """(..., A) physical -> (..., A) normalised; ranges are clipped to [-1, 1].

        Args:
            values: in physical units.
            zero_constant: set numbers that never change in the data to 0, as training does.
        """
        given = self._checked(values)
        if self.kind is Normalization.NORMAL:
            scaled = (given - self.first) / (self.second + _TINY)
        else:
            scaled = np.clip(2 * (given - self.first) / (self.second - self.first + _TINY) - 1, -1, 1)
        result = np.where(self.mask, scaled, given)
        return np.where(self.constant, 0.0, result) if zero_constant else result

    def unnormalize(self, values: npt.ArrayLike) -> FloatArray:
        """(..., A) normalised -> (..., A) physical. Nothing is clipped."""
        given = self._checked(values)
        if self.kind is Normalization.NORMAL:
            scaled = given * (self.second + _TINY) + self.first
        else:
            scaled = 0.5 * (given + 1) * (self.second - self.first + _TINY) + self.first
        return np.where(self.mask, scaled, given)

    def _checked(self, values: npt.ArrayLike) -> FloatArray:
        given = np.asarray(values, dtype=np.float64)
        if given.shape[-1:] != self.first.shape:
            raise ValueError(f"normalisation: expected vectors of {len(self.first)} numbers, got shape {given.shape}")
        return given


def choose_statistics(keys: Sequence[str], wanted: str | None) -> str:
    """Pick a dataset of a dataset_statistics.json by name, or the only one.

    `libero_spatial` also finds `libero_spatial_no_noops`.

    Raises:
        ValueError: not found, or several and none named; lists the keys there are.
    """
    if wanted is None and len(keys) == 1:
        return keys[0]
    if wanted is None:
        raise ValueError(f"statistics: expected one of several to be named (policy.statistics=KEY): {sorted(keys)}")
    for candidate in (wanted, f"{wanted}_no_noops"):
        if candidate in keys:
            return candidate
    near = difflib.get_close_matches(wanted, keys, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"statistics: no key {wanted!r}; this checkpoint has {sorted(keys)}.{hint}")
