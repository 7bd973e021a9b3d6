"""What a robot asks of a camera, and what a camera asks of its device."""

from __future__ import annotations

from typing import Protocol

from robot_drivers.clock import Clock
from vla.types import Image


class Camera(Protocol):
    """Gives the newest frame whenever it is asked."""

    def open(self, name: str, clock: Clock) -> None:
        """Begin to capture, and return when there is a frame.

        Args:
            name: what the robot calls it.
            clock: the robot's, for time stamps.

        Raises:
            CameraError: it cannot be opened, or gives no usable frame; nothing is left open.
        """

    def latest(self) -> tuple[Image, float]:
        """The newest image (H, W, 3) uint8 RGB, and when it was taken [s] on the robot's clock.

        Raises:
            FrameError: there is no recent one.
        """

    def close(self) -> None:
        """End capturing; nothing if it is not open."""


class Device(Protocol):
    """Where frames come from. One thread uses it at a time; it may be opened again after `close`.

    Attributes:
        where: what a person looks for, such as a path or a serial number.
        size: [px] height and width of its frames.
    """

    where: str
    size: tuple[int, int]

    def open(self, clock: Clock) -> None:
        """Take hold of the hardware.

        Args:
            clock: the robot's.

        Raises:
            CameraMissing: it is not there, or cannot be used.
        """

    def read(self) -> tuple[Image, float]:
        """Wait for the next frame: (H, W, 3) uint8 RGB, upright, and when it was taken [s].

        Raises:
            CameraLost: none will come until it is opened again.
        """

    def close(self) -> None:
        """Let go of the hardware; nothing if it is not open."""
