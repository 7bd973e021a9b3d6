"""A subscriber that records any rollout of the control loop as an episode: what was seen, and what was sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import numpy as np

from vla.data.episode import ACTION, STATE, Column, EpisodeData
from vla.types import Episode, FloatArray, Image, Observation, Outcome, Step


class SimulatorProbe(Protocol):
    """What only a simulator knows, for an export that can be replayed (see `vla.data.libero_hdf5`)."""

    def scene(self) -> Mapping[str, str]:
        """Extras of the whole episode: names and text."""

    def moment(self) -> Mapping[str, FloatArray]:
        """Extras of this moment: names and (N,) arrays."""


def frame_rate(hz: float, stride: int) -> int:
    """[1/s] of a recording with a frame every `stride` control steps.

    Raises:
        ValueError: not a whole number.
    """
    if stride < 1 or hz % stride:
        raise ValueError(f"stride: expected a divisor of the control rate {hz:g} Hz, got {stride}")
    return int(hz // stride)


class Recorder:
    """Holds the frames of one episode and hands them on when it ends, if its outcome is wanted.

    Frame t is what was seen before an action and that action. Images are read while they are fresh: those of the
    first observation when the episode starts, later ones as `Step.after` of the step before.

    Args:
        sink: takes an episode, such as `DatasetWriter.add`. It runs when the episode has ended, outside the steps;
            what it raises ends the run.
        hz: [1/s] control rate; a whole multiple of `stride`.
        stride: control steps between two frames.
        keep: outcomes that are recorded.
        metadata: JSON values for every episode: suite, policy, versions.
        probe: what to keep of the simulator; only with stride 1.

    Raises:
        ValueError: the stride does not divide the rate, or a probe without every step.
    """

    def __init__(
        self,
        sink: Callable[[EpisodeData], object],
        *,
        hz: float,
        stride: int = 1,
        keep: Collection[Outcome] = (Outcome.SUCCESS,),
        metadata: Mapping[str, Any] | None = None,
        probe: SimulatorProbe | None = None,
    ) -> None:
        self._fps = frame_rate(hz, stride)
        if probe is not None and stride != 1:
            raise ValueError(f"stride: a recording that can be replayed needs every step (1), got {stride}")
        self._sink, self._stride = sink, stride
        self._keep, self._metadata = frozenset(keep), dict(metadata or {})
        self._probe = probe
        self._clear()

    def on_episode_start(self, observation: Observation) -> None:
        """Forget the last episode; read the first frame."""
        self._clear()
        if self._probe:
            self._scene = self._probe.scene()
        self._see(observation)

    def on_step(self, step: Step) -> None:
        """Keep what was sent; read the next frame if one is due."""
        self._actions.append(step.sent)
        if not step.success and (step.index + 1) % self._stride == 0:
            self._see(step.after)

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Hand the episode on if it is wanted, and let go of its frames in any case."""
        try:
            if episode.outcome in self._keep and self._actions:
                self._sink(self._recorded(episode))
        finally:
            self._clear()

    def _clear(self) -> None:
        self._images: list[dict[str, Image]] = []
        self._states: list[FloatArray] = []
        self._actions: list[FloatArray] = []
        self._moments: list[Mapping[str, FloatArray]] = []
        self._scene = {}

    def _see(self, observation: Observation) -> None:
        self._images.append({name: np.array(image) for name, image in observation.images.items()})
        self._states.append(np.array(observation.state))
        if self._probe:
            self._moments.append(self._probe.moment())

    def _recorded(self, episode: Episode) -> EpisodeData:
        actions = np.stack(self._actions)  # (ticks, A)
        ticks = np.arange(0, len(actions), self._stride)
        frames = slice(len(ticks))  # what was seen after the last action has no action of its own
        columns: dict[str, Column] = {
            STATE: np.stack(self._states[frames]).astype(np.float32),
            ACTION: actions[ticks].astype(np.float32),
        }
        extras: dict[str, Any] = dict(self._scene)
        if self._probe:
            kept = self._moments[frames]
            extras |= {name: np.stack([moment[name] for moment in kept]) for name in kept[0]}
            extras["sim.action"] = actions  # before rounding to float32
        return EpisodeData(
            instruction=episode.instruction,
            fps=self._fps,
            images={
                camera: np.stack([images[camera] for images in self._images[frames]]) for camera in self._images[0]
            },
            columns=columns,
            metadata={
                **self._metadata,
                "task": episode.task,
                "trial": episode.trial,
                "outcome": str(episode.outcome),
                "success": episode.outcome == Outcome.SUCCESS,
                "steps": episode.steps,
            },
            extras=extras,
        )
