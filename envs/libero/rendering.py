"""Off-screen rendering on demand: one OpenGL context a process, one MuJoCo context an environment.

robosuite makes an OpenGL context for every environment; freeing an old one while a newer one is current deletes
the newer one's objects, and images silently become uninitialised memory. With one shared context that cannot
happen.
"""

from __future__ import annotations

import ctypes.util
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from vla.types import Image

BACKENDS = {"osmesa": "OSMesa", "egl": "EGL"}  # MUJOCO_GL -> shared library
# LIBERO's names of the cameras whose images the benchmark gives to a policy.
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}


class RenderingUnavailable(RuntimeError):
    """No off-screen OpenGL on this machine; the message says what to install."""


class StaleImage(RuntimeError):
    """An image was asked for after the simulation had moved on."""


def configure_gl() -> str:
    """Choose the off-screen backend and tell MuJoCo; call before MuJoCo or robosuite is imported.

    Returns:
        The backend, `osmesa` or `egl`; one that is named in MUJOCO_GL is respected.

    Raises:
        RenderingUnavailable: no library of the wanted backend is installed.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and wanted not in BACKENDS:
        raise RenderingUnavailable(f"MUJOCO_GL: expected one of {', '.join(BACKENDS)}, got '{wanted}'")
    candidates = [wanted] if wanted else list(BACKENDS)
    for backend in candidates:
        if ctypes.util.find_library(BACKENDS[backend]):
            os.environ["MUJOCO_GL"] = os.environ["PYOPENGL_PLATFORM"] = backend
            return backend
    raise RenderingUnavailable(
        f"off-screen rendering: no library found for {' or '.join(candidates)}; "
        "on Debian or Ubuntu type: sudo apt-get install -y libosmesa6"
    )


@functools.cache
def _shared_gl_context(width: int, height: int) -> Any:
    """The process's only OpenGL context, current from now on."""
    configure_gl()
    import mujoco

    context = mujoco.GLContext(width, height)
    context.make_current()
    return context


class Renderer:
    """Draws the cameras of one model, as robosuite 1.4.0 draws them.

    Args:
        model: compiled MuJoCo model; never changed.
        size: [px] height and width.
    """

    def __init__(self, model: Any, size: int) -> None:
        _shared_gl_context(640, 480)
        import mujoco

        self._mj, self._model, self._size = mujoco, model, size
        self._data = mujoco.MjData(model)  # poses to draw; the simulation's own data have moved on
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._options = mujoco.MjvOption()
        self._options.geomgroup[0] = 0  # collision shapes hidden
        self._perturbation = mujoco.MjvPerturb()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera_ids = {
            name: mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera) for name, camera in CAMERAS.items()
        }
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._viewport = mujoco.MjrRect(0, 0, size, size)

    def render(self, camera: str, qpos: Any, site_rgba: Any) -> Image:
        """Draw one camera at joint positions `qpos` (nq,) with site colours (nsite, 4): (H, W, 3) upright RGB."""
        mj, model, data = self._mj, self._model, self._data
        data.qpos[:] = qpos
        mj.mj_kinematics(model, data)
        mj.mj_comPos(model, data)
        mj.mj_camlight(model, data)
        shown = model.site_rgba.copy()
        model.site_rgba[:] = site_rgba
        self._camera.fixedcamid = self._camera_ids[camera]
        mj.mjv_updateScene(
            model, data, self._options, self._perturbation, self._camera, mj.mjtCatBit.mjCAT_ALL, self._scene
        )
        model.site_rgba[:] = shown
        mj.mjr_render(self._viewport, self._scene, self._context)
        image = np.empty((self._size, self._size, 3), dtype=np.uint8)
        mj.mjr_readPixels(image, None, self._viewport, self._context)
        return np.ascontiguousarray(image[::-1])  # OpenGL's first row is the bottom

    def close(self) -> None:
        """Free this model's OpenGL objects; the shared context stays."""
        self._context.free()


class ImagesOnDemand(dict[str, Image]):
    """Camera images that are rendered when first read, and kept.

    A `dict` because gymnasium's `Dict` space asks for one. Reading an image that was not rendered while the
    simulation stood at its moment raises `StaleImage`. Pickling and copying render what is missing.

    Args:
        cameras: names, in order.
        render: draws a camera at the moment of this observation, or raises `StaleImage`.
    """

    def __init__(self, cameras: Iterable[str], render: Callable[[str], Image]) -> None:
        super().__init__(dict.fromkeys(cameras))  # type: ignore[arg-type]
        self._render = render

    def __getitem__(self, camera: str) -> Image:
        image = super().__getitem__(camera)
        if image is None:
            image = self._render(camera)
            self[camera] = image
        return image

    def get(self, camera: str, default: Any = None) -> Any:
        """The image, or `default` when there is no such camera."""
        return self[camera] if camera in self else default

    def values(self) -> Any:
        """All images, rendered."""
        return [self[camera] for camera in self]

    def items(self) -> Any:
        """All (name, image) pairs, rendered."""
        return [(camera, self[camera]) for camera in self]

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def __reduce__(self) -> Any:
        return dict, (self.items(),)

    def copy(self) -> dict[str, Image]:
        """A plain dict with every camera rendered."""
        return dict(self.items())
