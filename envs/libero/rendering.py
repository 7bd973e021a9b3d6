"""LIBERO's cameras, drawn as robosuite 1.4.0 draws them, in full or with simplified meshes."""

from __future__ import annotations

from typing import Any, Literal

from envs.libero import lod
from envs.rendering import Renderer

# LIBERO's names of the cameras whose images the benchmark gives to a policy.
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}
COLLISION_GROUP = 0  # robosuite's geom group of shapes that collide; it hides them


class LiberoRenderer(Renderer):
    """Draws the cameras of one scene.

    Args:
        model: compiled MuJoCo model.
        size: [px] height and width.
        profile: `full`, or `lod` to draw simplified meshes (see `envs.libero.lod`).
    """

    def __init__(self, model: Any, size: int, profile: Literal["full", "lod"] = "full") -> None:
        drawn = lod.simplified_copy(model) if profile == "lod" else None
        super().__init__(model, CAMERAS, (size, size), (COLLISION_GROUP,), drawn)
