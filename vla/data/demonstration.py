"""Turns a demonstrated episode into training frames: images every few ticks, with what the expert did next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from vla.data.disturb import Demonstrator
from vla.data.episode import EpisodeData
from vla.types import ActionSpec, Episode, FloatArray, Observation, Step

KEYFRAMES = 2  # coming keyframes that are stored with each frame
FAR = 4.0  # image coordinates are stored within this; the image is -1 to 1


class Projector(Protocol):
    """A camera's pose."""

    def project(self, points: FloatArray) -> FloatArray:
        """(N, 3) [m] -> (N, 2): x right, y down, -1 to 1 inside the image."""


class Demonstrations(Protocol):
    """What the recorder reads of an unwrapped environment."""

    action_spec: ActionSpec

    def camera_poses(self) -> Mapping[str, Projector]:
        """Where each camera is now."""

    def hands(self) -> FloatArray:
        """(G, 3) [m] where each gripper's hand is now, in the order of the actions."""


class DemonstrationRecorder:
    """Watches one episode and keeps what a learner needs. A `Subscriber`.

    A frame holds images, state, the next `lookahead` actions of the expert, and the coming keyframes: where a hand will
    be when its gripper is next told to open or close, or when the episode ends. With one gripper the next two such
    moments, with two grippers the next one of each. They are known in hindsight and need no knowledge of the task.
    Actions after a disturbance answer it, not this frame: they are marked as not valid.

    Args:
        env: the unwrapped environment.
        demonstrator: tells the label of each tick. The environment must be able to draw `Step.observation` after
            its step, as `LiberoEnv` is.
        stride: ticks between two frames.
        offset: ticks before the first frame.
        lookahead: L, actions that are stored with each frame.
    """

    def __init__(
        self, env: Demonstrations, demonstrator: Demonstrator, stride: int, offset: int, lookahead: int
    ) -> None:
        self._env, self._demonstrator = env, demonstrator
        self._stride, self._due, self._lookahead = stride, offset, lookahead
        self._labels: list[FloatArray] = []
        self._disturbed: list[bool] = []
        self._hands: list[FloatArray] = []  # (G, 3) before each action, and after the last
        self._ticks: list[int] = []  # of the frames
        self._observations: list[Observation] = []
        self._poses: list[Mapping[str, Projector]] = []
        self._images: list[dict[str, Any]] = []

    def on_episode_start(self, observation: Observation) -> None:
        """Note where cameras and hands are before the first action."""
        self._pose = self._env.camera_poses()
        self._hands.append(self._env.hands())

    def on_step(self, step: Step) -> None:
        """Keep the label; draw the images if a frame is due and the expert was in control."""
        demonstrator = self._demonstrator
        self._labels.append(demonstrator.label.copy())
        self._disturbed.append(demonstrator.disturbed)
        if step.index >= self._due and not demonstrator.disturbed:
            self._due = step.index + self._stride
            self._ticks.append(step.index)
            self._observations.append(step.observation)
            self._poses.append(self._pose)
            self._images.append(dict(step.observation.images.items()))
        self._pose = self._env.camera_poses()
        self._hands.append(self._env.hands())

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Nothing to note but the length: where the hands ended is known."""
        self._steps = episode.steps

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self._ticks)

    def episode(self, instruction: str, fps: int, metadata: Mapping[str, Any]) -> EpisodeData:
        """The recorded episode."""
        labels, disturbed = np.stack(self._labels), np.array(self._disturbed)
        chunks, valid = ahead(labels, disturbed, self._ticks, self._lookahead)
        hands = np.stack(self._hands)  # (ticks + 1, G, 3)
        grippers = np.flatnonzero(self._env.action_spec.gripper)
        coming, whose = next_keyframes(labels[:, grippers], self._ticks)  # (T, KEYFRAMES) each
        points = hands[coming, whose]  # (T, KEYFRAMES, 3)
        now = hands[np.array(self._ticks)[:, None], whose]  # (T, KEYFRAMES, 3)
        cameras = list(self._images[0])
        pixels = {
            f"keyframe_pixels.{camera}": np.stack(
                [clipped(poses[camera].project(each)) for poses, each in zip(self._poses, points, strict=True)]
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
                "action_chunk": chunks.astype(np.float32),  # (T, L, A)
                "action_chunk_valid": valid,  # (T, L)
                "tick": np.array(self._ticks, dtype=np.int64),
                "keyframe_ticks": coming,
                "keyframes": points.astype(np.float32),
                "keyframe_offsets": (points - now).astype(np.float32),
                **pixels,
            },
            metadata={**metadata, "steps": self._steps},
        )


def ahead(actions: FloatArray, broken: np.ndarray, ticks: Sequence[int], count: int) -> tuple[FloatArray, np.ndarray]:
    """The actions that follow some ticks of an episode.

    Args:
        actions: (T, A) of every tick.
        broken: (T,) whether something else than the action was executed: those after it answer that.
        ticks: F, of the frames.
        count: L.

    Returns:
        (F, L, A) actions from each tick on, the last one repeated, and (F, L) whether each was planned from there.
    """
    last = len(actions) - 1
    wanted = np.asarray(ticks, dtype=np.int64)[:, None] + np.arange(count)  # (F, L)
    held = np.minimum(wanted, last)
    before = np.cumsum(broken) - broken  # (T,) how many before each tick
    return actions[held], (before[held] == before[held[:, :1]]) & (wanted <= last)


def next_keyframes(grippers: FloatArray, ticks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The keyframes that follow each frame.

    Args:
        grippers: (ticks, G) commands, of one or two grippers.
        ticks: T, of the frames.

    Returns:
        (T, KEYFRAMES) their ticks, and (T, KEYFRAMES) whose gripper it is.

    Raises:
        ValueError: another number of grippers.
    """
    count = grippers.shape[1]
    if count not in (1, KEYFRAMES):
        raise ValueError(f"keyframes: expected 1 or {KEYFRAMES} grippers, got {count}")
    events = [keyframe_ticks(grippers[:, gripper]) for gripper in range(count)]
    each = KEYFRAMES // count
    coming = np.array([[*(at for gripper in events for at in _coming(gripper, tick, each))] for tick in ticks])
    return coming, np.broadcast_to(np.repeat(np.arange(count), each), coming.shape)


def keyframe_ticks(gripper: Sequence[float] | FloatArray) -> np.ndarray:
    """(T,) gripper commands -> ticks at which the command passes the middle of its range, and T, the end."""
    commands = np.asarray(gripper)
    closing = commands > (commands.min() + commands.max()) / 2
    return np.append(np.flatnonzero(closing[1:] != closing[:-1]) + 1, len(closing))


def _coming(events: np.ndarray, tick: int, count: int) -> np.ndarray:
    """(count,) the next events after `tick`; the end stands for those that are missing."""
    later = events[events > tick][:count]
    return np.concatenate([later, np.full(count - len(later), events[-1])])


def clipped(pixels: FloatArray) -> FloatArray:
    """(..., 2) image coordinates -> the same within `FAR`; what no pixel shows is put there."""
    return np.clip(np.nan_to_num(pixels, nan=FAR, posinf=FAR, neginf=-FAR), -FAR, FAR)
