"""Trying things out in a copy of the simulator: what happens there never happened."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

from envs.libero.controller import SUBSTEPS
from envs.libero.scene import Scene
from vla.types import FloatArray


@contextlib.contextmanager
def imagined(scene: Scene, substeps: int = SUBSTEPS) -> Iterator[Callable[[FloatArray], None]]:
    """Inside, the scene runs on a copy of MuJoCo's data and of the controller; the running ones are not touched.

    Whoever reaches the data through `scene.data` or robosuite's `sim.data` sees the copy, LIBERO's predicates too.
    The model is shared: inside, call `advance` and nothing that changes the model, as drawing and LIBERO's
    `_post_process` (it lights the stove) do. Copying takes about half a millisecond.

    Args:
        scene: the running scene.
        substeps: of physics in a control step. With those of the benchmark the copy moves exactly as the scene would;
            fewer and longer ones are faster and a little wrong.

    Yields:
        A function that runs one control step with a (7,) action, without what only observations and pictures need.
    """
    data, controller, wrapper = scene.data, scene.controller, scene.upstream.sim.data
    scene.data = wrapper._data = copy.copy(data)
    scene.controller = fork = controller.fork(scene.data, SUBSTEPS / substeps)
    timestep = scene.model.opt.timestep

    def advance(action: FloatArray) -> None:
        fork.command(action)
        fork.run(substeps)

    try:
        scene.model.opt.timestep = timestep * SUBSTEPS / substeps if substeps != SUBSTEPS else timestep
        yield advance
    finally:
        scene.model.opt.timestep = timestep
        scene.data = wrapper._data = data
        scene.controller = controller
