"""What an image costs and how far `lod` images are from `full` ones, measured side by side."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable

import numpy as np

from envs.libero import lod
from envs.libero.env import LiberoEnv
from envs.libero.rendering import CAMERAS, LiberoRenderer
from envs.rendering import Snapshot


@dataclasses.dataclass(frozen=True)
class RenderCost:
    """One camera of one task's first scene.

    Attributes:
        suite, task_id, camera: which image.
        full_faces, lod_faces: triangles in the scene.
        full_ms, lod_ms: [ms] fastest of the repeats.
        mean_difference, p99_difference: of the absolute differences of all pixels and channels, 0 to 255.
    """

    suite: str
    task_id: int
    camera: str
    full_faces: int
    lod_faces: int
    full_ms: float
    lod_ms: float
    mean_difference: float
    p99_difference: float


def measure(suite: str, task_id: int = 0, image_size: int = 256, repeats: int = 10) -> list[RenderCost]:
    """Draw both cameras in both profiles by turns, so that other load on the machine falls on both."""
    env = LiberoEnv(suite, task_id, image_size)
    env.reset(options={"trial": 0})
    model = env.scene.model
    snapshot = Snapshot.take(model, env.scene.data)
    faces = [lod.drawn_faces(each) for each in (model, lod.simplified_copy(model))]
    renderers = [LiberoRenderer(model, image_size, profile) for profile in ("full", "lod")]
    costs = []
    for camera in CAMERAS:
        full, simplified = (renderer.render(camera, snapshot).astype(int) for renderer in renderers)
        times = np.empty((repeats, 2))
        for row in times:
            for i, renderer in enumerate(renderers):
                started = time.perf_counter()
                renderer.render(camera, snapshot)
                row[i] = 1e3 * (time.perf_counter() - started)
        difference = np.abs(full - simplified)
        mean, p99 = float(difference.mean()), float(np.percentile(difference, 99))
        fastest = times.min(axis=0)
        costs.append(
            RenderCost(suite, task_id, camera, faces[0], faces[1], float(fastest[0]), float(fastest[1]), mean, p99)
        )
    for renderer in renderers:
        renderer.close()
    return costs


def table(costs: Iterable[RenderCost]) -> str:
    """The measurements as a Markdown table."""
    lines = [
        "| task | camera | faces full | lod | ms full | lod | ratio | difference mean | p99 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.suite} {c.task_id} | {c.camera} | {c.full_faces:,} | {c.lod_faces:,} | {c.full_ms:.1f} | {c.lod_ms:.1f} "
        f"| {c.full_ms / c.lod_ms:.1f}x | {c.mean_difference:.2f} | {c.p99_difference:.0f} |"
        for c in costs
    ]
    return "\n".join(lines)
