"""The numpy types that cross every border: observation, action chunk, action spec, step, episode.

Axis letters (used at line ends everywhere): B batch, K chunk length, A action, S state, H W image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]  # (H, W, 3) RGB, upright


class Outcome(StrEnum):
    """How an episode ended. An exception is an ERROR, never a FAILURE."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    ERROR = "ERROR"
    STOPPED = "STOPPED"


class Commander(StrEnum):
    """Who decided in a tick."""

    POLICY = "policy"
    NOBODY = "nobody"  # the robot holds: there is no policy, or the person's arms are being brought to it
    PERSON = "person"


@dataclass(frozen=True, eq=False)
class Observation:
    """What a policy sees at one moment.

    Attributes:
        images: camera name -> (H, W, 3) uint8 RGB, upright. May be rendered only when read.
        state: (S,) float64; the names and units of its entries are in the embodiment.
        instruction: what the robot is told to do, in words.
        time: [s] monotonic, of the oldest sensor reading.
        channels: what else was measured, see `Reading.channels`; empty in most simulations.
        events: what an operator should know, see `Reading.events`.
    """

    images: Mapping[str, Image]
    state: FloatArray  # (S,)
    instruction: str
    time: float
    channels: Mapping[str, FloatArray] = field(default_factory=dict)
    events: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ActionChunk:
    """K actions planned at once, in env units.

    Attributes:
        actions: (K, A) float64, K >= 1, all finite.
        instruction: the words this chunk was planned for.
        observed_at: [s] `Observation.time` of the observation it answers.
        inference_s: [s] how long the policy took.

    Raises:
        ValueError: if `actions` is not a finite (K, A) array.
    """

    actions: FloatArray  # (K, A)
    instruction: str
    observed_at: float
    inference_s: float = 0.0

    def __post_init__(self) -> None:
        actions = np.asarray(self.actions, dtype=np.float64)
        if actions.ndim != 2 or 0 in actions.shape:
            raise ValueError(f"ActionChunk.actions: expected shape (K, A) with K, A >= 1, got {actions.shape}")
        if not np.isfinite(actions).all():
            step, entry = np.argwhere(~np.isfinite(actions))[0]
            raise ValueError(
                f"ActionChunk.actions: expected finite numbers, got {actions[step, entry]} "
                f"at step {step}, entry {entry}"
            )
        object.__setattr__(self, "actions", actions)


@dataclass(frozen=True, eq=False)
class ActionSpec:
    """What an action means and which actions are allowed.

    Attributes:
        kind: `joint_position` (absolute) or `eef_delta` (a motion relative to now).
        names: one name an entry, unit in brackets. An entry with `gripper` in its name is a gripper.
        low, high: (A,) limits.
        max_step: (A,) the largest allowed change between two ticks at `hz`; inf where there is no limit.
        hz: [1/s] control rate.
        max_step_change: (A,) the largest allowed change of that change from one tick to the next; None: no limit.
    """

    kind: Literal["joint_position", "eef_delta"]
    names: tuple[str, ...]
    low: FloatArray  # (A,)
    high: FloatArray  # (A,)
    max_step: FloatArray  # (A,)
    hz: float
    max_step_change: FloatArray | None = None  # (A,)

    def __post_init__(self) -> None:
        shape = (len(self.names),)
        for name in ("low", "high", "max_step", "max_step_change"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise ValueError(f"ActionSpec.{name}: expected shape {shape}, got {np.shape(value)}")

    @property
    def gripper(self) -> npt.NDArray[np.bool_]:
        """(A,) which entries command a gripper; they are kept when the robot holds, and never blended."""
        return np.array(["gripper" in name for name in self.names])

    def hold(self, last: FloatArray | None) -> FloatArray:
        """The action that keeps the robot where it is: repeat a position, zero a delta but for the gripper.

        Args:
            last: (A,) the action before; None if there was none (a delta's gripper then gets 0, no command).

        Returns:
            (A,).

        Raises:
            ValueError: there is no position to repeat.
        """
        if last is None:
            if self.kind == "joint_position":
                raise ValueError("ActionSpec.hold: expected the last position, got None; there is nothing to repeat")
            return np.zeros(len(self.names))
        return last.copy() if self.kind == "joint_position" else np.where(self.gripper, last, 0.0)


@dataclass(frozen=True, eq=False)
class Step:
    """One tick of the control loop, as subscribers see it.

    Attributes:
        index: 0 for the first action of the episode.
        observation: what the action answered.
        requested: (A,) what the policy asked for.
        sent: (A,) what was really sent after the safety filter.
        clipped: whether the safety filter changed it.
        success: whether the task was solved after this step.
        after: what was seen after the action. An environment that draws images when they are read can always draw
            these while `on_step` runs, but perhaps no longer those of `observation`.
        commander: who decided.
    """

    index: int
    observation: Observation
    requested: FloatArray  # (A,)
    sent: FloatArray  # (A,)
    clipped: bool
    success: bool
    after: Observation
    commander: Commander = Commander.POLICY


@dataclass(frozen=True, eq=False)
class Episode:
    """One attempt at a task and how it ended.

    Attributes:
        task: name of the task.
        instruction: the words at the start.
        trial: which of the benchmark's initial states.
        outcome: see `Outcome`.
        steps: actions executed (settle steps not counted).
        policy_calls: how often the policy was asked.
        timing: [s] seconds by part: `sim`, `render`, `policy`, `wall`.
        info: anything else worth a column (JSON values only).
    """

    task: str
    instruction: str
    trial: int
    outcome: Outcome
    steps: int
    policy_calls: int
    timing: Mapping[str, float] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Reading:
    """What a robot's sensors say at one moment; an `Observation` without words.

    Attributes:
        images: camera name -> (H, W, 3) uint8 RGB, upright.
        image_times: camera name -> [s] when the image was taken, on the clock of `time`.
        state: (S,) float64, as the embodiment lists it.
        time: [s] monotonic, of the oldest joint reading in `state`.
        channels: what else was measured, by name: `velocity` (S,) [1/s], `effort` (S,) [A], `temperature` [degC].
        events: what an operator should know, in words; empty when all is well.
    """

    images: Mapping[str, Image]
    image_times: Mapping[str, float]
    state: FloatArray  # (S,)
    time: float
    channels: Mapping[str, FloatArray] = field(default_factory=dict)
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskSpec:
    """One task of a benchmark, known before anything is built.

    Attributes:
        id: index in its suite.
        name: file-safe name.
        instruction: the words the policy gets.
        max_steps: published step limit (settle steps not counted).
        trials: number of official initial states.
    """

    id: int
    name: str
    instruction: str
    max_steps: int
    trials: int


@dataclass(frozen=True)
class Conformance:
    """Whether this machine draws and simulates what the published numbers were measured on.

    Attributes:
        fingerprint: versions, renderer, hashes: what a result depends on. JSON values only.
        drifts: one sentence for each difference: what differs, expected, got, how to mend it.
    """

    fingerprint: Mapping[str, Any]
    drifts: tuple[str, ...]
