"""USB cameras through OpenCV and Video4Linux."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot_drivers.cameras.errors import CameraLost, CameraMissing
from robot_drivers.clock import Clock
from vla.types import Image

DAMAGED = 3  # frames in a row that cannot be decoded; one harms nobody


class V4l2Device:
    """Implements `camera.Device`. OpenCV is imported when it is opened.

    Args:
        path: such as `/dev/cam_top`, a name by udev that stays the same, or an index.
        size: [px] height and width.
        fps: [1/s] frames asked for.
        focus: fixed focus in the camera's own units; None: the camera focuses itself, which blurs while it does.
        fourcc: pixel format on the wire. `MJPG` fits several cameras on one USB controller, `YUYV` has no artefacts.
        exposure: fixed exposure in the camera's own units; None: automatic.
    """

    def __init__(
        self,
        path: str | int,
        size: Sequence[int] = (480, 640),
        fps: float = 30.0,
        focus: float | None = None,
        fourcc: str = "MJPG",
        exposure: float | None = None,
    ) -> None:
        if len(fourcc) != 4:
            raise ValueError(f"fourcc: expected 4 letters such as MJPG, got {fourcc!r}")
        height, width = size
        self.size = (height, width)
        self.where = path if isinstance(path, str) else f"/dev/video{path}"
        self._fps, self._focus, self._fourcc, self._exposure = fps, focus, fourcc, exposure
        self._capture: Any = None

    def open(self, clock: Clock) -> None:
        """See `Device`.

        Raises:
            CameraMissing: no such device, it is busy, or it has not this size.
        """
        import cv2

        if not Path(self.where).exists():
            found = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "no camera at all"
            raise CameraMissing(
                self.where, "a device file", f"none; there is {found}", "Plug it in, look at the udev rules."
            )
        self._capture = cv2.VideoCapture(self._index(), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            self.close()
            remedy = "Close other programs that use it; the user must be in the group video."
            raise CameraMissing(self.where, "a camera that can be opened", "a refusal", remedy)
        for what, value in self._settings(cv2):
            self._capture.set(what, value)
        got = tuple(int(self._capture.get(what)) for what in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        if got != self.size:
            self.close()
            remedy = "Choose a size that it offers: v4l2-ctl --list-formats-ext."
            raise CameraMissing(self.where, f"height and width {self.size}", f"{got}", remedy)
        self._clock = clock

    def read(self) -> tuple[Image, float]:
        """See `Device`. The time is that of the frame's arrival, before it is decoded.

        Raises:
            CameraLost: unplugged, or silent for OpenCV's own 10 s.
        """
        import cv2

        for _ in range(DAMAGED):
            if self._capture is None or not self._capture.grab():
                raise CameraLost(self.where, "a frame", "none: it was unplugged or hangs", "Plug it in again.")
            time = self._clock.now()
            decoded, bgr = self._capture.retrieve()
            if decoded:
                return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), time
        got = f"{DAMAGED} damaged ones in a row"
        raise CameraLost(self.where, "a frame that can be decoded", got, "Look at cable and hub.")

    def close(self) -> None:
        """See `Device`."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    def _index(self) -> int:
        """The number behind a name by udev; it changes when cameras are plugged in again, in another order."""
        device = Path(self.where).resolve()
        number = device.name.removeprefix("video")
        if not number.isdecimal():
            remedy = "Name a camera, such as /dev/cam_top or /dev/video0."
            raise CameraMissing(self.where, "a name of /dev/video<number>", f"one of {device}", remedy)
        return int(number)

    def _settings(self, cv2: Any) -> list[tuple[int, float]]:
        height, width = self.size
        settings = [
            (cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*self._fourcc)),  # first: it decides which sizes there are
            (cv2.CAP_PROP_FRAME_HEIGHT, height),
            (cv2.CAP_PROP_FRAME_WIDTH, width),
            (cv2.CAP_PROP_FPS, self._fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),  # an old frame in a queue is an old picture with a new stamp
        ]
        if self._focus is not None:
            settings += [(cv2.CAP_PROP_AUTOFOCUS, 0), (cv2.CAP_PROP_FOCUS, self._focus)]
        if self._exposure is not None:
            settings += [(cv2.CAP_PROP_AUTO_EXPOSURE, 1), (cv2.CAP_PROP_EXPOSURE, self._exposure)]
        return settings
