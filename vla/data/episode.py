"""One recorded episode in memory: what a collector fills, the writer stores and the reader gives back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.types import Image

STATE, ACTION = "observation.state", "action"  # every episode has these two columns
IMAGES = "observation.images."  # prefix of a camera's feature name in a dataset
INDICES = ("timestamp", "frame_index", "episode_index", "index", "task_index")  # columns that the writer adds
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_DTYPES = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float32", "float64")

Column = npt.NDArray[Any]  # (T, ...) bool, integer, float32, float64 or text


class EpisodeError(ValueError):
    """What is given is not an episode; the message says which part, what was expected and what came."""


@dataclass(frozen=True, eq=False)
class EpisodeData:
    """T frames of one episode. Frame t holds what was seen at time t / fps and the action that answered it.

    Attributes:
        instruction: what the robot was told, in words.
        fps: [1/s] frames a second; a whole number, as LeRobot wants it. A recorder that keeps every n-th control
            step has control rate / n.
        images: camera name -> (T, H, W, 3) uint8 RGB, upright; H and W even (the video format halves colours).
        columns: feature name -> (T,) or (T, ...) array: bool, integer, float32, float64, or text (T,). Kept bit by
            bit. `observation.state` (T, S) and `action` (T, A) must be there. Floats must be finite. A single number
            a frame is (T,), never (T, 1).
        names: feature name -> one name for each entry of a (T, N) column. For a (T,) integer column: the labels of
            its values 0, 1, ...
        metadata: JSON values about the episode as a whole: suite, task_id, seed, policy, success, versions.
        extras: what only an exporter or a replay needs, of any shape and length: text, or a number array. It is
            stored beside the dataset's features, because simulator states differ in length between tasks.

    Raises:
        EpisodeError: a part does not fit this description.
    """

    instruction: str
    fps: int
    images: Mapping[str, Image]
    columns: Mapping[str, Column]
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, npt.NDArray[Any] | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.instruction, str) or not self.instruction.strip():
            raise EpisodeError(f"instruction: expected words, got {self.instruction!r}")
        if isinstance(self.fps, bool) or int(self.fps) != self.fps or self.fps < 1:
            raise EpisodeError(
                f"fps: expected a whole number >= 1, got {self.fps!r}; record every n-th step so that the control "
                "rate divided by n is whole"
            )
        object.__setattr__(self, "fps", int(self.fps))
        for name in (*self.images, *self.columns, *self.extras):
            _check_name(name)
        if missing := [name for name in (STATE, ACTION) if name not in self.columns]:
            raise EpisodeError(f"columns: missing {missing}, found {sorted(self.columns)}")
        for name, column in self.columns.items():
            _check_column(name, column, self.length)
        for camera, frames in self.images.items():
            _check_images(camera, frames, self.length)
        for name, entries in self.names.items():
            _check_names(name, entries, self.columns)
        _check_json(self.metadata)
        for name, extra in self.extras.items():
            if not isinstance(extra, str) and np.asarray(extra).dtype.kind not in "biuf":
                raise EpisodeError(f"extras[{name!r}]: expected text or numbers, got {np.asarray(extra).dtype}")

    @property
    def length(self) -> int:
        """T, the number of frames."""
        return len(self.columns[ACTION])

    def __len__(self) -> int:
        return self.length


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in INDICES or name == "task" or name.startswith(IMAGES):
        raise EpisodeError(
            f"{name!r} cannot name a camera, column or extra: expected letters, digits, '_', '.', '-', and none of "
            f"{', '.join(INDICES)}, task, {IMAGES}*"
        )


def _check_column(name: str, column: Column, length: int) -> None:
    where = f"columns[{name!r}]"
    got = column.dtype if isinstance(column, np.ndarray) else type(column).__name__
    if not isinstance(column, np.ndarray) or (column.dtype.name not in _DTYPES and column.dtype.kind != "U"):
        raise EpisodeError(f"{where}: expected an array of text or of {', '.join(_DTYPES)}, got {got}")
    if column.ndim < 1 or len(column) != length or length < 1 or 0 in column.shape:
        raise EpisodeError(f"{where}: expected shape ({length}, ...) with no empty axis, got {column.shape}")
    if column.shape[1:] == (1,) or (column.dtype.kind == "U" and column.ndim != 1):
        raise EpisodeError(f"{where}: expected shape ({length},) for one value a frame, got {column.shape}")
    if column.ndim > 6:
        raise EpisodeError(f"{where}: expected at most 6 axes, got shape {column.shape}")
    if name in (STATE, ACTION) and (column.ndim != 2 or column.dtype.kind != "f"):
        raise EpisodeError(f"{where}: expected floats of shape ({length}, N), got {column.dtype} {column.shape}")
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        frame, *entry = (int(i) for i in np.argwhere(~np.isfinite(column))[0])
        raise EpisodeError(
            f"{where}: expected finite numbers, got {column[(frame, *entry)]} at frame {frame}, entry {entry}"
        )


def _check_images(camera: str, frames: Image, length: int) -> None:
    where = f"images[{camera!r}]"
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        got = frames.dtype if isinstance(frames, np.ndarray) else type(frames).__name__
        raise EpisodeError(f"{where}: expected a uint8 array, got {got}")
    if frames.ndim != 4 or frames.shape[3] != 3 or len(frames) != length or 0 in frames.shape:
        raise EpisodeError(f"{where}: expected shape ({length}, H, W, 3), got {frames.shape}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise EpisodeError(f"{where}: expected even height and width, got {frames.shape[1]} x {frames.shape[2]}")


def _check_names(name: str, entries: Sequence[str], columns: Mapping[str, Column]) -> None:
    if name not in columns:
        raise EpisodeError(f"names[{name!r}]: no such column; there are {sorted(columns)}")
    column = columns[name]
    if column.ndim == 1 and column.dtype.kind in "iu":
        low, high = int(column.min()), int(column.max())
        if low < 0 or high >= len(entries):
            raise EpisodeError(f"columns[{name!r}]: expected values 0 to {len(entries) - 1}, got {low} to {high}")
    elif column.ndim != 2 or column.shape[1] != len(entries):
        raise EpisodeError(f"names[{name!r}]: expected one name an entry of shape {column.shape}, got {len(entries)}")


def _check_json(metadata: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise EpisodeError(f"metadata: expected JSON values, got {error}") from error
