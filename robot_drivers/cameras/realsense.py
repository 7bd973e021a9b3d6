"""Intel RealSense cameras, their colour stream. Needs the extra `realsense` (pyrealsense2)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from robot_drivers.cameras.errors import CameraLost, CameraMissing
from robot_drivers.clock import Clock
from vla.types import Image

_WAIT = 1000  # [ms] for a frame


class RealSenseDevice:
    """Implements `camera.Device`. pyrealsense2 is imported when it is opened.

    Args:
        serial: number on the camera; also `rs-enumerate-devices -s` lists it.
        size: [px] height and width.
        fps: [1/s] frames; one of those that the camera offers at this size.
    """

    def __init__(self, serial: str | int, size: Sequence[int] = (480, 640), fps: int = 30) -> None:
        height, width = size
        self.size = (height, width)
        self._serial, self._fps = str(serial), fps  # YAML reads a number where there are only digits
        self.where = f"RealSense {self._serial}"
        self._pipeline: Any = None

    def open(self, clock: Clock) -> None:
        """See `Device`.

        Raises:
            CameraMissing: pyrealsense2 is not installed, the camera is not there, or it has not this size and rate.
        """
        try:
            rs = importlib.import_module("pyrealsense2")
        except ImportError as error:
            remedy = "Type: .venv/bin/pip install -e '.[realsense]'; on Debian or Ubuntu it needs libusb-1.0-0."
            raise CameraMissing(self.where, "the package pyrealsense2", f"none ({error})", remedy) from error
        height, width = self.size
        pipeline, config = rs.pipeline(), rs.config()
        config.enable_device(self._serial)
        config.enable_stream(rs.stream.color, width, height, rs.format.rgb8, self._fps)
        try:
            pipeline.start(config)
        except RuntimeError as error:
            remedy = "Plug it into USB 3; rs-enumerate-devices lists serial numbers, sizes and rates."
            expected = f"colour of {width} x {height} at {self._fps} 1/s"
            raise CameraMissing(self.where, expected, str(error), remedy) from error
        self._pipeline, self._clock = pipeline, clock

    def read(self) -> tuple[Image, float]:
        """See `Device`. The time is that of the frame's arrival.

        Raises:
            CameraLost: unplugged, or silent for a second.
        """
        if self._pipeline is None:
            raise CameraLost(self.where, "an open camera", "a closed one", "Call open() first.")
        try:
            frame = self._pipeline.wait_for_frames(_WAIT).get_color_frame()
        except RuntimeError as error:
            raise CameraLost(self.where, "a frame", str(error), "Plug it in again.") from error
        time = self._clock.now()
        return np.array(frame.get_data(), dtype=np.uint8), time  # a copy: the buffer belongs to the camera

    def close(self) -> None:
        """See `Device`."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            with suppress(
                RuntimeError
            ):  # stopping one that was unplugged is refused, and there is nothing left to stop
                pipeline.stop()
