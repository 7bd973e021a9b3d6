"""What can go wrong with a camera, as types. Every message says where, what was expected, what came, what to do."""

from __future__ import annotations

from vla.protocols import SafetyStop


class CameraError(RuntimeError):
    """Something is wrong with a camera.

    Args:
        camera: which.
        expected: what should have come.
        got: what came.
        remedy: what the reader can do.
    """

    def __init__(self, camera: str, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"camera {camera}: expected {expected}, got {got}. {remedy}")
        self.camera = camera


class CameraMissing(CameraError):
    """It cannot be opened, or what opens it is not installed."""


class CameraLost(CameraError):
    """It was open and gives no frames any more."""


class FrameError(CameraError, SafetyStop):
    """There is no frame to act on: whoever moves must stop."""


class FrameStale(FrameError):
    """No frame came for too long."""


class FrameBlack(FrameError):
    """Only black frames came for too long."""


class FrameFrozen(FrameError):
    """Only repetitions of one frame came for too long."""


class FrameMisshapen(FrameError):
    """Frames have another size or type than they must have."""
