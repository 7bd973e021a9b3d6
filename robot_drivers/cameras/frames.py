"""The newest good frame, and why there is none."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from robot_drivers.cameras.errors import FrameBlack, FrameError, FrameFrozen, FrameMisshapen, FrameStale
from vla.types import Image


@dataclass(frozen=True)
class FrameLimits:
    """What a good frame is.

    Attributes:
        max_age: [s] no older may a frame be that somebody acts on.
        black: 0 to 255; a frame without a brighter value is black.
        refuse_repeats: whether a frame that equals the one before, in all pixels, is none. Sensors have noise, so a
            real one never does; rendered pictures of a robot that stands still do.
    """

    max_age: float = 0.2
    black: int = 12
    refuse_repeats: bool = True

    def __post_init__(self) -> None:
        if not self.max_age > 0:
            raise ValueError(f"max_age: expected seconds above 0, got {self.max_age}")
        if not 0 <= self.black <= 255:
            raise ValueError(f"black: expected 0 to 255, got {self.black}")


class _Good(NamedTuple):
    image: Image
    time: float


class _Trouble(NamedTuple):
    """Why what came last is not good."""

    kind: type[FrameError]
    expected: str
    got: str
    remedy: str


class NewestFrame:
    """Takes every frame, keeps the newest good one. One thread puts, others ask.

    Args:
        camera: name for messages.
        where: its device, for messages.
        size: [px] height and width that frames must have.
        limits: what a good frame is.
    """

    def __init__(self, camera: str, where: str, size: tuple[int, int], limits: FrameLimits) -> None:
        self._camera, self._where, self._size, self._limits = camera, where, size, limits
        self._lock = threading.Lock()
        self._good: _Good | None = None
        self._trouble: _Trouble | None = None
        self._previous: Image | None = None

    @property
    def exists(self) -> bool:
        """Whether there was a good frame yet."""
        return self._good is not None

    def put(self, image: Image, time: float) -> None:
        """A frame came.

        Args:
            image: (H, W, 3) uint8 RGB if all is well; it is kept, not copied.
            time: [s] when it was taken.
        """
        trouble = self._judge(image)
        self._previous = image
        with self._lock:
            self._trouble = trouble
            if trouble is None:
                self._good = _Good(image, time)

    def fail(self, reason: str) -> None:
        """No frame came, for this reason."""
        self._previous = None  # a device that is opened again may begin with the same picture
        with self._lock:
            self._trouble = _Trouble(
                FrameStale,
                "frames",
                reason,
                f"Look at plug, cable and hub of {self._where}; it is opened again by itself.",
            )

    def latest(self, now: float) -> tuple[Image, float]:
        """The newest good frame and its time [s].

        Raises:
            FrameError: it is too old at `now` [s], or there was none; which error says why none came since.
        """
        with self._lock:
            good, trouble = self._good, self._trouble
        if good is not None and now - good.time <= self._limits.max_age:
            return good.image, good.time
        limit = f"one at most {self._limits.max_age:.2f} s old"
        age = "no good frame yet" if good is None else f"a good frame {now - good.time:.2f} s ago was the last"
        if trouble is None:
            remedy = f"Look at cable and hub of {self._where}, and whether the computer keeps up; or raise max_age."
            raise FrameStale(self._camera, limit, age, remedy)
        raise trouble.kind(self._camera, f"{trouble.expected}, {limit}", f"{trouble.got}; {age}", trouble.remedy)

    def _judge(self, image: Image) -> _Trouble | None:
        shape = (*self._size, 3)
        if image.shape != shape or image.dtype != np.uint8:
            remedy = f"Set the size in the config to one that {self._where} offers."
            return _Trouble(FrameMisshapen, f"{shape} uint8", f"{image.shape} {image.dtype}", remedy)
        if int(image.max()) <= self._limits.black:
            remedy = f"Take the cap off {self._where}, switch the light on, look at its exposure."
            return _Trouble(FrameBlack, f"values above {self._limits.black}", "black frames", remedy)
        repeated = self._previous is not None and np.array_equal(image, self._previous)
        if repeated and self._limits.refuse_repeats:
            remedy = f"Plug {self._where} out and in: its firmware hangs, or something answers in its place."
            return _Trouble(FrameFrozen, "frames that differ", "the same frame again and again", remedy)
        return None
