"""Glances: many scenes, no motion. They teach where to look, at a hundredth of a demonstration's cost.

A demonstration shows one arrangement of things and one instruction, in some thirty frames that are much alike. A
glance is a new arrangement seen from two poses of the arm, with several instructions that would be possible there, and
for each the place where the hand would close. There is no action to imitate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vla.command.errors import RefusedError
from vla.data.attempts import Attempt, Key, Visit
from vla.data.collectors import Collector, ToLearnFrom, refused, scene_seed
from vla.data.demonstration import FAR, KEYFRAMES, clipped
from vla.data.episode import EpisodeData
from vla.protocols import SceneRefused
from vla.types import ActionSpec, Outcome

WORDS = 2  # instructions for each view of a scene
MOVES = (6, 22)  # ticks of the random motion before the second view


class GlanceCollector(Collector):
    """Looks at scenes; one episode of a dataset is all that was seen on one visit.

    Raises:
        RefusedError: the policy cannot say what the hand would close on.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        if not hasattr(self.policy, "aims"):
            raise RefusedError(
                f"policy: collector=glances expects one that tells what the hand would close on (aims), such as "
                f"policy=expert for LIBERO, got {config['policy']['_target_']}."
            )

    def attempts(self, env: Any, visit: Visit) -> Iterator[Attempt]:
        """Look at each scene, then write."""
        frames: list[dict[str, Any]] = []
        env = ToLearnFrom(env)
        attempts = [self._look(env, (visit.suite, visit.task_id, seed), frames) for seed in visit.seeds]
        if frames:
            self.writer.add(_episode(frames, visit, env.unwrapped.action_spec, self.config["lookahead"]))
        yield from attempts

    def _look(self, env: Any, key: Key, frames: list[dict[str, Any]]) -> Attempt:
        unwrapped, before = env.unwrapped, len(frames)
        generator = np.random.default_rng(scene_seed(key))
        try:
            raw, _ = env.reset(options={"trial": key[2]})
            self.policy.reset()
            aims = self.policy.aims()
        except SceneRefused as error:
            return refused(key, error)
        for view in range(2):
            if view == 1:
                raw = _wander(env, generator)
            poses = unwrapped.camera_poses()
            images = dict(raw["images"].items()) if aims else {}
            for index in generator.permutation(len(aims))[:WORDS]:
                words, aim = aims[index]
                pixels = {camera: pose.project(aim[None])[0] for camera, pose in poses.items()}
                frames.append({"images": images, "state": raw["state"], "words": words, "aim": aim, "pixels": pixels})
        return Attempt(key, str(Outcome.SUCCESS), len(frames) - before, 0, unwrapped.nearest_official_m)


def _wander(env: Any, generator: np.random.Generator) -> dict[str, Any]:
    """Move the arm in some direction, not downwards; the last observation."""
    action = np.zeros(len(env.unwrapped.action_spec.names))
    action[:3] = generator.normal(0.0, 0.6, 3) * (1, 1, 0.5)
    action[3:6] = generator.normal(0.0, 0.1, 3)
    action[2], action[-1] = abs(action[2]) - 0.2, -1.0
    raw: dict[str, Any] = {}
    for _ in range(int(generator.integers(*MOVES))):
        raw, *_ = env.step(np.clip(action, -1.0, 1.0))
    return raw


def _episode(frames: list[dict[str, Any]], visit: Visit, spec: ActionSpec, lookahead: int) -> EpisodeData:
    count, cameras = len(frames), list(frames[0]["images"])
    actions = len(spec.names)  # filled with zeros that are marked as not valid
    points = np.repeat(np.stack([frame["aim"] for frame in frames])[:, None], KEYFRAMES, axis=1)  # (T, KEYFRAMES, 3)
    known = np.zeros((count, KEYFRAMES), dtype=bool)
    known[:, 0] = True
    pixels = {}
    for camera in cameras:
        first = np.stack([frame["pixels"][camera] for frame in frames])
        placed = np.full((count, KEYFRAMES, 2), FAR)
        placed[:, 0] = clipped(first)
        pixels[f"keyframe_pixels.{camera}"] = placed.astype(np.float32)
    return EpisodeData(
        instruction="look",
        fps=round(spec.hz),
        images={camera: np.stack([frame["images"][camera] for frame in frames]) for camera in cameras},
        columns={
            "observation.state": np.stack([frame["state"] for frame in frames]).astype(np.float32),
            "action": np.zeros((count, actions), np.float32),
            "action_chunk": np.zeros((count, lookahead, actions), np.float32),
            "action_chunk_valid": np.zeros((count, lookahead), bool),
            "keyframes": points.astype(np.float32),
            "keyframe_known": known,
            "instruction": np.array([frame["words"] for frame in frames]),
            **pixels,
        },
        metadata={
            "suite": visit.suite,
            "task_id": visit.task_id,
            "task": visit.task,
            "seeds": list(visit.seeds),
            "policy": "glances",
        },
    )
