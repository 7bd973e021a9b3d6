"""A camera whose frames a thread captures, so that nobody waits for one."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from robot_drivers.cameras.camera import Camera, Device
from robot_drivers.cameras.errors import CameraError, CameraMissing
from robot_drivers.cameras.frames import FrameLimits, NewestFrame
from robot_drivers.clock import Clock
from vla.types import Image

_LOOK = 0.02  # [s] between two looks at what the thread does
_LEAVE = 2.0  # [s] a driver that hangs in a read may keep its thread; a daemon, it ends with the program


class LiveCamera:
    """Implements `camera.Camera`. A device that fails is closed and opened again until it works.

    Args:
        device: where frames come from.
        limits: what a good frame is.
        first_within: [s] in which the first good frame must come; cameras adjust their exposure first.
        retry_after: [s] between two attempts to open a device that failed.
    """

    def __init__(
        self, device: Device, limits: FrameLimits | None = None, first_within: float = 5.0, retry_after: float = 0.5
    ) -> None:
        self._device, self._limits = device, limits or FrameLimits()
        self._first_within, self._retry_after = first_within, retry_after
        self._thread: threading.Thread | None = None
        self._hung: threading.Thread | None = None  # its driver had not returned when it was closed
        self._ended, self._began = threading.Event(), threading.Event()

    def open(self, name: str, clock: Clock) -> None:
        """See `Camera`.

        Raises:
            CameraMissing: the device cannot be opened.
            FrameError: no good frame came in time.
        """
        if self._thread is not None:
            raise RuntimeError(f"camera {name}: expected a camera that is not open; call close() first")
        if self._hung is not None and self._hung.is_alive():  # it will close the device when it wakes
            where = self._device.where
            raise CameraMissing(where, "a free device", "one whose driver hangs in its last read", "Plug it in anew.")
        self._device.open(clock)
        self._clock = clock
        self._frames = NewestFrame(name, self._device.where, self._device.size, self._limits)
        self._ended.clear()
        self._began.clear()
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)
        self._thread.start()
        self._began.wait()
        deadline = clock.now() + self._first_within
        while not self._frames.exists and clock.now() < deadline:
            clock.sleep_until(clock.now() + _LOOK)
        try:
            self.latest()
        except CameraError:
            self.close()
            raise

    def latest(self) -> tuple[Image, float]:
        """See `Camera`.

        Raises:
            FrameError: there is no recent frame.
            RuntimeError: it is not open.
        """
        if self._thread is None:
            raise RuntimeError("LiveCamera.latest: expected an open camera; call open() first")
        return self._frames.latest(self._clock.now())

    def close(self) -> None:
        """End the thread, which closes the device."""
        self._ended.set()
        thread, self._thread = self._thread, None
        deadline = self._clock.now() + _LEAVE if thread else 0.0
        while thread is not None and thread.is_alive() and self._clock.now() < deadline:
            self._clock.sleep_until(self._clock.now() + _LOOK)  # a virtual clock stands still while this thread works
            thread.join(0.001)
        self._hung = thread

    def _run(self) -> None:
        with self._clock.attending(self._began):
            try:
                while not self._ended.is_set():
                    self._capture()
            finally:
                self._device.close()

    def _capture(self) -> None:
        """One frame, or one attempt to get the device back."""
        try:
            image, time = self._device.read()
        except Exception as error:  # whatever a driver raises: this thread must live, and the robot be told why
            self._frames.fail(_reason(error))
            self._reopen()
        else:
            self._frames.put(image, time)

    def _reopen(self) -> None:
        self._device.close()
        while not self._ended.is_set():
            self._clock.sleep_until(self._clock.now() + self._retry_after)
            try:
                self._device.open(self._clock)
            except Exception as error:  # as above
                self._frames.fail(_reason(error))
            else:
                return


def open_all(cameras: Mapping[str, Camera], clock: Clock) -> None:
    """Open cameras by name, all or none.

    Raises:
        CameraError: one could not be opened; all are closed.
    """
    try:
        for name, camera in cameras.items():
            camera.open(name, clock)
    except BaseException:
        close_all(cameras)
        raise


def close_all(cameras: Mapping[str, Camera]) -> None:
    """Close every one of them."""
    for camera in cameras.values():
        camera.close()


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, CameraError) else f"{type(error).__name__}: {error}"
