"""From points of the world to pixels of a camera's image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla.types import FloatArray


@dataclass(frozen=True, eq=False)
class CameraPose:
    """Where a camera is; it looks along its negative z axis, x is right and y is up in its image.

    Attributes:
        position: (3,) [m], world frame.
        rotation: (3, 3), its axes in the world frame.
        half_height: tangent of half of the vertical field of view.
        aspect: width of the image over its height.
    """

    position: FloatArray
    rotation: FloatArray
    half_height: float
    aspect: float = 1.0

    def project(self, points: FloatArray) -> FloatArray:
        """(N, 3) [m] world points -> (N, 2) in the image: x right, y down, -1 to 1 inside it.

        Points in the camera's plane or behind it come out as infinity: no pixel shows them.
        """
        local = (points - self.position) @ self.rotation  # (N, 3)
        depth = -local[:, 2]
        scale = self.half_height * np.array([self.aspect, -1.0])
        with np.errstate(divide="ignore", invalid="ignore"):
            image = local[:, :2] / (depth[:, None] * scale)
        return np.where(depth[:, None] > 0, image, np.inf)


def camera_pose(model: Any, data: Any, name: str, aspect: float = 1.0) -> CameraPose:
    """The pose of a MuJoCo camera as the kinematics stand; `aspect` is that of its image, width over height."""
    camera = model.camera(name).id
    half_height = math.tan(0.5 * math.radians(float(model.cam_fovy[camera])))
    return CameraPose(data.cam_xpos[camera].copy(), data.cam_xmat[camera].reshape(3, 3).copy(), half_height, aspect)
