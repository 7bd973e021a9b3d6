"""Devices that give what a test wants, on a virtual clock."""

from __future__ import annotations

import numpy as np

from robot_drivers.cameras.errors import CameraLost, CameraMissing

SIZE = (12, 16)
PERIOD = 1 / 30  # [s]


def picture(number: int, size=SIZE) -> np.ndarray:
    """A noisy frame, another one for each number."""
    return np.random.default_rng(number).integers(40, 200, (*size, 3)).astype(np.uint8)


class FakeDevice:
    """A camera of 30 frames a second, until the test sets `fault`."""

    where = "/dev/fake"

    def __init__(self, size=SIZE) -> None:
        self.size = size
        self.fault = ""
        self.opened = self.closed = self.number = 0

    def open(self, clock) -> None:
        if self.fault == "unplugged":
            raise CameraMissing(self.where, "a device file", "none", "Plug it in.")
        self.clock = clock
        self.opened += 1

    def read(self):
        self.clock.sleep_until(self.clock.now() + (3.0 if self.fault == "silent" else PERIOD))
        if self.fault == "unplugged":
            raise CameraLost(self.where, "a frame", "none: it was unplugged or hangs", "Plug it in again.")
        if self.fault == "bug":
            raise ZeroDivisionError("a driver's own trouble")
        self.number += self.fault != "frozen"
        image = picture(self.number, (6, 8) if self.fault == "wrong size" else self.size)
        if self.fault == "black":
            image = image // 20
        return image, self.clock.now()

    def close(self) -> None:
        self.closed += 1
