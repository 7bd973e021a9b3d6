"""A robot as a `gymnasium.Env`, so that one loop runs simulation, emulator and arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from vla.protocols import Robot, SafetyStop
from vla.runtime.clock import Clock, Pacer, SystemClock
from vla.runtime.inbox import Inbox
from vla.types import ActionSpec, FloatArray, Reading, TaskSpec

Env = gymnasium.Env[dict[str, Any], FloatArray]


class RobotEnv(Env):
    """A reset goes home slowly; a step sends, waits for the tick to end, and reads.

    `info` holds, besides what every environment gives, `channels` and `events` of the reading.

    Args:
        robot: not connected yet.
        inbox: gives the words; takes success and stop.
        home: (A,) where an episode begins; None: wherever the robot stands.
        max_steps: step limit.
        clock: paces the ticks.

    Attributes:
        home: as given; may be changed between two episodes.
        pacer: of this episode; None before the first.
    """

    def __init__(
        self,
        robot: Robot,
        inbox: Inbox,
        home: Sequence[float] | None = None,
        max_steps: int = 100_000,
        clock: Clock | None = None,
    ) -> None:
        self._robot, self._inbox, self._connected = robot, inbox, False
        inbox.on_stop = self.hold
        self.home = None if home is None else np.asarray(home, dtype=np.float64)
        self._clock = clock or SystemClock()
        self.pacer: Pacer | None = None
        self._held = False
        self._last: FloatArray | None = None  # what it was told last; None after a stop, where the driver's goal counts
        self.task = TaskSpec(0, "session", inbox.instruction, max_steps, 1)
        self.timing = {"sim": 0.0, "render": 0.0}
        self.observation_space = gymnasium.spaces.Dict()
        self.action_space = gymnasium.spaces.Space()

    @property
    def action_spec(self) -> ActionSpec:
        """The robot's."""
        return self._robot.action_spec

    def connect(self) -> None:
        """Connect the robot, before its first episode: what cannot be connected has no episode to break off.

        Raises:
            RuntimeError, OSError: it cannot be; nothing is left open.
        """
        self._robot.connect()
        self._connected = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Go home, read.

        Raises:
            RuntimeError: the robot is not connected.
            SafetyStop: somebody said stop meanwhile, or the robot cannot go there; it holds.
        """
        if not self._connected:
            raise RuntimeError("RobotEnv.reset: expected connect() before the first episode")
        super().reset(seed=seed)
        self._inbox.clear()  # before anything that takes long: what is said from now on counts
        begin = self._standing() if self.home is None else self.home
        self._last = None
        if self.home is not None or self._held:
            self._robot.resume()
            self._stop_if_told()  # after it: a stop is noticed here, or by the robot that is stopped
            try:
                self._robot.go_to(begin)
            except SafetyStop as stop:
                raise SafetyStop(self._inbox.stop_reason or str(stop)) from stop
        self._stop_if_told()
        self._held = False
        self._last = self._robot.get_goal()
        self.pacer = Pacer(self._robot.action_spec.hz, self._clock)
        self._reading = self._robot.get_reading()
        return self._observation(), self._info()

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One tick.

        Raises:
            SafetyStop: somebody said stop, or the robot's gate refused; the robot holds.
        """
        if self.pacer is None:
            raise RuntimeError("RobotEnv.step: expected reset() before the first step")
        try:
            self._stop_if_told()
            self._last = self._robot.send_action(action)
            self.pacer.wait()
            self._reading = self._robot.get_reading()
        except SafetyStop as stop:
            self._last = None
            raise SafetyStop(self._inbox.stop_reason or str(stop)) from stop
        done = self._inbox.succeeded
        return self._observation(), float(done), done, False, self._info()

    def flat_state(self) -> FloatArray:
        """(S,) of the last reading."""
        return self._reading.state

    def hold(self) -> None:
        """The robot holds still at once; for the end of an episode, before anybody writes files."""
        self._held = True
        if self._connected:
            self._robot.stop()

    def close(self) -> None:
        """Let go of the robot; a raised arm keeps its torque."""
        if self._connected:
            self._connected = False
            self._robot.disconnect()

    def _stop_if_told(self) -> None:
        if reason := self._inbox.stop_reason:
            self.hold()
            raise SafetyStop(reason)

    def _standing(self) -> FloatArray:
        """(A,) where the robot was last told to be. After a stop where the driver holds it, which is where it came to:
        what it was told may lie beyond what stopped it.
        """
        spec = self._robot.action_spec
        return np.clip(self._robot.get_goal() if self._last is None else self._last, spec.low, spec.high)

    def _observation(self) -> dict[str, Any]:
        return {"images": self._reading.images, "state": self._reading.state}

    def _info(self) -> dict[str, Any]:
        reading: Reading = self._reading
        return {
            "is_success": self._inbox.succeeded,
            "instruction": self._inbox.instruction,
            "time": reading.time,
            "sent": self._last,
            "channels": {**reading.channels, **_image_ages(reading)},
            "events": reading.events,
        }


def _image_ages(reading: Reading) -> dict[str, FloatArray]:
    """How much older than the joints each image is, [s]."""
    return {f"image_age.{name}": np.array([reading.time - at]) for name, at in reading.image_times.items()}
