"""Looks through every camera once and says what to mend."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from robot_drivers.cameras.camera import Camera
from robot_drivers.cameras.errors import CameraError
from robot_drivers.clock import Clock


def examine_cameras(cameras: Mapping[str, Camera], clock: Clock, say: Callable[[str], None]) -> int:
    """Open, look, close; all at once, because what fails may be the bandwidth that they share.

    Args:
        cameras: by name, closed.
        clock: the robot's.
        say: takes lines for people.

    Returns:
        The number of problems.
    """
    opened: dict[str, Camera] = {}
    count = 0
    try:
        for name, camera in cameras.items():
            try:
                camera.open(name, clock)
            except CameraError as error:
                say(f"camera {name}: 1 to mend\n  {error}")
                count += 1
            else:
                opened[name] = camera
        for name, camera in opened.items():
            try:
                image, taken = camera.latest()
            except CameraError as error:
                say(f"camera {name}: 1 to mend\n  {error}")
                count += 1
            else:
                height, width, _ = image.shape
                seen = f"{height} x {width}, mean {image.mean():.0f} of 255, {1000 * (clock.now() - taken):.0f} ms old"
                say(f"camera {name}: {seen}")
    finally:
        for camera in opened.values():
            camera.close()
    return count
