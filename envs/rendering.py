"""Off-screen rendering on demand: one OpenGL context a process, one MuJoCo context an environment.

robosuite makes an OpenGL context for every environment; freeing an old one while a newer one is current deletes
the newer one's objects, and images silently become uninitialised memory. With one shared context that cannot
happen.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes.util
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla.types import FloatArray, Image

BACKENDS = {"osmesa": "OSMesa", "egl": "EGL"}  # MUJOCO_GL -> shared library
PACKAGES = {"osmesa": "libosmesa6", "egl": "libegl1 libegl-mesa0 libgl1-mesa-dri"}  # Debian's names


class RenderingUnavailable(RuntimeError):
    """No off-screen OpenGL on this machine; the message says what to install."""


def gl_strings() -> dict[str, str]:
    """Backend, vendor, renderer and version of this process's OpenGL context."""
    with gl_context():
        from OpenGL import GL

        names = {"vendor": GL.GL_VENDOR, "name": GL.GL_RENDERER, "version": GL.GL_VERSION}
        return {"backend": configure_gl(), **{key: GL.glGetString(name).decode() for key, name in names.items()}}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that an image depends on besides the compiled model, so that it can be drawn at any later time.

    Attributes:
        qpos: (nq,) joint positions.
        body_pos, body_quat: (nbody, 3), (nbody, 4) placements, which differ between trials for fixtures.
        site_rgba: (nsite, 4) colours, which show a burning stove.
    """

    qpos: FloatArray
    body_pos: FloatArray
    body_quat: FloatArray
    site_rgba: FloatArray

    @classmethod
    def take(cls, model: Any, data: Any) -> Snapshot:
        """Copy what is to be drawn from the running simulation."""
        return cls(data.qpos.copy(), model.body_pos.copy(), model.body_quat.copy(), model.site_rgba.copy())


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
        f"on Debian or Ubuntu type: sudo apt-get install -y {PACKAGES[candidates[0]]}"
    )


@functools.cache
def _shared_gl_context() -> Any:
    """The process's only OpenGL context."""
    configure_gl()
    import mujoco

    context = mujoco.GLContext(640, 480)  # images are drawn into buffers of their own size
    # Collected with the modules at interpreter exit, it would fail noisily: let go of it before.
    atexit.register(_shared_gl_context.cache_clear)
    return context


class _Ownership:
    """In which thread the context is current."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.owner: int | None = None
        self.shared = False


_ownership = _Ownership()


@contextlib.contextmanager
def gl_context() -> Iterator[None]:
    """Inside, the process's OpenGL context is current in this thread; once it is shared, others wait meanwhile."""
    with _ownership.lock:
        if _ownership.owner != threading.get_ident():
            _shared_gl_context().make_current()
            _ownership.owner = threading.get_ident()
        try:
            yield
        finally:
            if _ownership.shared:
                _let_go()


def share_gl_context() -> None:
    """From now on several threads draw; call it in the one that drew until now.

    A context is current in one thread at a time, and EGL refuses to take it from another one: so each lets go of it
    after every picture. Who draws in one thread only, like an evaluation, is spared that.
    """
    with _ownership.lock:
        _ownership.shared = True
        if _ownership.owner == threading.get_ident():
            _let_go()


def _let_go() -> None:
    _ownership.owner = None
    if configure_gl() == "egl":  # OSMesa lets a context be taken over
        from mujoco import egl
        from OpenGL import EGL

        EGL.eglMakeCurrent(egl.EGL_DISPLAY, EGL.EGL_NO_SURFACE, EGL.EGL_NO_SURFACE, EGL.EGL_NO_CONTEXT)


class Renderer:
    """Draws the cameras of one model.

    Args:
        model: compiled MuJoCo model.
        cameras: our name of a camera -> its name in the model.
        size: [px] height and width.
        hidden: geom groups that are not drawn.
        drawn: a model of the same scene whose meshes are drawn in place of the model's own; None: its own.
    """

    def __init__(
        self,
        model: Any,
        cameras: Mapping[str, str],
        size: tuple[int, int],
        hidden: Sequence[int] = (),
        drawn: Any = None,
    ) -> None:
        configure_gl()
        import mujoco

        self._mj, self._model, self._size = mujoco, model, size
        self._data = mujoco.MjData(model)  # poses to draw; the simulation's own data have moved on
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._options = mujoco.MjvOption()
        for group in hidden:
            self._options.geomgroup[group] = 0
        self._perturbation = mujoco.MjvPerturb()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera_ids = {
            name: mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera) for name, camera in cameras.items()
        }
        height, width = size
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        # Meshes go to OpenGL here, once; poses and everything else come from the original model.
        with gl_context():
            self._context = mujoco.MjrContext(model if drawn is None else drawn, mujoco.mjtFontScale.mjFONTSCALE_150)
        self._viewport = mujoco.MjrRect(0, 0, width, height)

    def render(self, camera: str, snapshot: Snapshot) -> Image:
        """Draw one camera: (H, W, 3) upright RGB. The simulation may be anywhere; it is left as it was."""
        mj, model, data = self._mj, self._model, self._data
        self._camera.fixedcamid = self._camera_ids[camera]
        with _placed(model, snapshot):
            data.qpos[:] = snapshot.qpos
            mj.mj_kinematics(model, data)
            mj.mj_comPos(model, data)
            mj.mj_camlight(model, data)
            mj.mjv_updateScene(
                model, data, self._options, self._perturbation, self._camera, mj.mjtCatBit.mjCAT_ALL, self._scene
            )
        image = np.empty((*self._size, 3), dtype=np.uint8)
        with gl_context():
            mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)  # another renderer's may be bound
            mj.mjr_render(self._viewport, self._scene, self._context)
            mj.mjr_readPixels(image, None, self._viewport, self._context)
        return np.ascontiguousarray(image[::-1])  # OpenGL's first row is the bottom

    def close(self) -> None:
        """Free this model's OpenGL objects; the shared context stays."""
        with gl_context():
            self._context.free()


@contextlib.contextmanager
def _placed(model: Any, snapshot: Snapshot) -> Iterator[None]:
    """Give the model the snapshot's placements and colours; put its own back afterwards."""
    fields = ("body_pos", "body_quat", "site_rgba")
    own = {name: getattr(model, name).copy() for name in fields}
    try:
        for name in fields:
            getattr(model, name)[:] = getattr(snapshot, name)
        yield
    finally:
        for name in fields:
            getattr(model, name)[:] = own[name]


class ImagesOnDemand(dict[str, Image]):
    """Camera images that are rendered when first read, and kept.

    A `dict` because gymnasium's `Dict` space asks for one. Copying and pickling render what is missing; what is
    unpickled is a plain dict.

    Args:
        cameras: names, in order.
        render: draws a camera at the moment of this observation.
    """

    def __init__(self, cameras: Iterable[str], render: Callable[[str], Image]) -> None:
        super().__init__(dict.fromkeys(cameras))  # type: ignore[arg-type]
        self._render = render

    def __getitem__(self, camera: str) -> Image:
        if super().__getitem__(camera) is None:
            self[camera] = self._render(camera)
        return super().__getitem__(camera)

    def __iter__(self) -> Iterator[str]:
        # Without it `dict(images)` and `{**images}` would take the slots of a dict as they are, undrawn ones as None.
        return super().__iter__()

    def get(self, camera: str, default: Any = None) -> Any:
        """The image, or `default` when there is no such camera."""
        return self[camera] if camera in self.keys() else default

    def values(self) -> Any:
        """All images, rendered."""
        return [self[camera] for camera in self]

    def items(self) -> Any:
        """All (name, image) pairs, rendered."""
        return [(camera, self[camera]) for camera in self]

    def copy(self) -> dict[str, Image]:
        """A plain dict with every camera rendered."""
        return dict(self.items())

    def __deepcopy__(self, memo: Any) -> ImagesOnDemand:
        twin = ImagesOnDemand(self, self._render)
        twin.update({camera: image.copy() for camera, image in self.items()})
        return twin

    def __reduce__(self) -> Any:
        return dict, (self.items(),)
