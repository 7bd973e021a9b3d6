"""What a collector is asked to do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

Key = tuple[str, int, int]  # suite, task, seed


@dataclass(frozen=True)
class Visit:
    """Scenes of one task that one worker runs in a row.

    Attributes:
        task: its name.
    """

    suite: str
    task_id: int
    seeds: tuple[int, ...]
    task: str


@dataclass(frozen=True)
class Attempt:
    """How one scene went.

    Attributes:
        frames: written to the dataset.
        nearest_evaluation_scene_m: [m] of a training scene.
    """

    key: Key
    outcome: str
    frames: int
    steps: int
    nearest_evaluation_scene_m: float | None = None
    error: str = ""
