"""Turns a demonstrated episode into training frames: images every few ticks, with what the expert did next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from vla.data.disturb import GRIPPER, Demonstrator
from vla.data.episode import EpisodeData
from vla.types import Episode, FloatArray, Observation, Step

LOOKAHEAD = 16  # actions that are stored with each frame
KEYFRAMES = 2  # coming keyframes that are stored with each frame
FAR = 4.0  # image coordinates are stored within this; the image is -1 to 1


class Projector(Protocol):
    """A camera's pose."""

    def project(self, points: FloatArray) -> FloatArray:
        """(N, 3) [m] -> (N, 2): x right, y down, -1 to 1 inside the image."""


class Demonstrations(Protocol):
    """What the recorder reads of an unwrapped environment."""

    def camera_poses(self) -> Mapping[str, Projector]:
        """Where each camera is now."""


class DemonstrationRecorder:
    """Watches one episode and keeps what a learner needs. A `Subscriber`.

    A frame holds images, state, the next `LOOKAHEAD` actions of the expert, and the coming keyframes: where the hand
    will be when the gripper is told to open or close, or when the episode ends. They are known in hindsight and need
    no knowledge of the task. Actions after a disturbance answer it, not this frame: they are marked as not valid.

    Args:
        env: the unwrapped environment.
        demonstrator: tells the label of each tick. The environment must be able to draw `Step.observation` after
            its step, as `LiberoEnv` is.
        stride: ticks between two frames.
        offset: ticks before the first frame.
    """

    def __init__(self, env: Demonstrations, demonstrator: Demonstrator, stride: int, offset: int) -> None:
        self._env, self._demonstrator = env, demonstrator
        self._stride, self._due = stride, offset
        self._labels: list[FloatArray] = []
        self._disturbed: list[bool] = []
        self._positions: list[FloatArray] = []
        self._ticks: list[int] = []  # of the frames
        self._observations: list[Observation] = []
        self._poses: list[Mapping[str, Projector]] = []
        self._images: list[dict[str, Any]] = []

    def on_episode_start(self, observation: Observation) -> None:
        """Note where the cameras are before the first action."""
        self._pose = self._env.camera_poses()

    def on_step(self, step: Step) -> None:
        """Keep the label; draw the images if a frame is due and the expert was in control."""
        demonstrator = self._demonstrator
        self._labels.append(demonstrator.label.copy())
        self._disturbed.append(demonstrator.disturbed)
        self._positions.append(step.observation.state[:3])
        if step.index >= self._due and not demonstrator.disturbed:
            self._due = step.index + self._stride
            self._ticks.append(step.index)
            self._observations.append(step.observation)
            self._poses.append(self._pose)
            self._images.append(dict(step.observation.images.items()))
        self._pose = self._env.camera_poses()

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """The hand's last position is the last keyframe."""
        self._steps = episode.steps
        if observation is not None:
            self._positions.append(observation.state[:3])

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self._ticks)

    def episode(self, instruction: str, fps: int, metadata: Mapping[str, Any]) -> EpisodeData:
        """The recorded episode."""
        labels, disturbed = np.stack(self._labels), np.array(self._disturbed)
        chunks, valid = zip(*(_lookahead(labels, disturbed, tick) for tick in self._ticks), strict=True)
        events = keyframe_ticks(labels[:, GRIPPER])
        coming = np.stack([_coming(events, tick) for tick in self._ticks])  # (T, KEYFRAMES) ticks
        points = np.stack(self._positions)[coming]  # (T, KEYFRAMES, 3)
        cameras = list(self._images[0])
        pixels = {
            f"keyframe_pixels.{camera}": np.stack(
                [_clipped(poses[camera].project(each)) for poses, each in zip(self._poses, points, strict=True)]
            ).astype(np.float32)  # (T, KEYFRAMES, 2)
            for camera in cameras
        }
        return EpisodeData(
            instruction=instruction,
            fps=fps,
            images={camera: np.stack([images[camera] for images in self._images]) for camera in cameras},
            columns={
                "observation.state": np.stack([each.state for each in self._observations]).astype(np.float32),
                "action": labels[self._ticks].astype(np.float32),
                "action_chunk": np.stack(chunks).astype(np.float32),  # (T, LOOKAHEAD, A)
                "action_chunk_valid": np.stack(valid),  # (T, LOOKAHEAD)
                "tick": np.array(self._ticks, dtype=np.int64),
                "keyframe_ticks": coming,
                "keyframes": points.astype(np.float32),
                **pixels,
            },
            metadata={**metadata, "steps": self._steps},
        )


def keyframe_ticks(gripper: Sequence[float] | FloatArray) -> np.ndarray:
    """(T,) gripper commands -> ticks at which the command turns round, and T, the end."""
    closing = np.asarray(gripper) > 0
    return np.append(np.flatnonzero(closing[1:] != closing[:-1]) + 1, len(closing))


def _coming(events: np.ndarray, tick: int) -> np.ndarray:
    """(KEYFRAMES,) the next events after `tick`; the end stands for those that are missing."""
    later = events[events > tick][:KEYFRAMES]
    return np.concatenate([later, np.full(KEYFRAMES - len(later), events[-1])])


def _lookahead(labels: FloatArray, disturbed: np.ndarray, tick: int) -> tuple[FloatArray, np.ndarray]:
    """(LOOKAHEAD, A) actions from `tick` on, and (LOOKAHEAD,) whether each was planned from this frame."""
    last = len(labels) - 1
    ticks = np.minimum(np.arange(tick, tick + LOOKAHEAD), last)
    undisturbed_before = np.cumsum(disturbed[ticks]) - disturbed[ticks] == 0
    return labels[ticks], undisturbed_before & (np.arange(tick, tick + LOOKAHEAD) <= last)


def _clipped(pixels: FloatArray) -> FloatArray:
    """Image coordinates; what no pixel shows is put far outside."""
    return np.clip(np.nan_to_num(pixels, nan=FAR, posinf=FAR, neginf=-FAR), -FAR, FAR)
