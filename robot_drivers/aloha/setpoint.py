"""The goal of each tick: stay, follow commands no faster than allowed, or move slowly; and what silence makes of it."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.homing import MinimumJerk, MoveGuard, duration
from robot_drivers.aloha.layout import ArmLayout
from robot_drivers.aloha.resistance import Resistance
from robot_drivers.aloha.state import ArmState
from robot_drivers.aloha.watchdog import HostWatchdog, Silence
from vla.types import FloatArray


class Mode(StrEnum):
    """Where goals come from."""

    HOLD = "hold"
    FOLLOW = "follow"
    MOVE = "move"


class Setpoint:
    """The goal of one arm. Not locked; that is the worker's business.

    Args:
        layout: of the arm.
        config: its speeds and patience.

    Attributes:
        mode: where goals come from.
        goal: [rad] (7,) the newest.
    """

    def __init__(self, layout: ArmLayout, config: ArmConfig) -> None:
        self.mode, self.goal = Mode.HOLD, np.zeros(7)
        self._layout, self._config = layout, config
        self._host = HostWatchdog(config.watch)
        self._guard = MoveGuard(layout, config.homing)
        self._resistance = Resistance(layout, config.limits.effort_share, config.limits.effort_patience)
        self._steps = np.append(np.full(6, config.limits.speed), config.gripper_speed) * config.period
        self._target = self.goal
        self._move: MinimumJerk | None = None

    def follow(self, target: FloatArray, now: float) -> None:
        """A command came at `now` [s]: go to [rad] (7,)."""
        self._host.feed(now)
        self.mode, self._target = Mode.FOLLOW, target.copy()

    def move(self, end: FloatArray, seconds: float, now: float) -> None:
        """Begin a slow move to [rad] (7,) that takes `seconds`, or longer if it must; commands are not awaited."""
        self._host.release()
        self._guard.reset()
        self._resistance.reset()
        self._move = MinimumJerk(self.goal.copy(), end.copy(), now, max(self.move_time(end), seconds))
        self.mode = Mode.MOVE

    def hold(self, state: ArmState | None) -> None:
        """Stay where the arm is; one that holds already keeps its goal, and the gripper keeps its own in any case."""
        if self.mode != Mode.HOLD and state is not None:
            self.stay(state)
        self.mode = Mode.HOLD
        self._host.release()

    def stay(self, state: ArmState, which: npt.NDArray[np.bool_] | bool = True) -> None:
        """Let the goal be where the arm is, but for the gripper: what it holds would fall.

        A joint that did not answer is where its last reading was no more; it keeps its goal.

        Args:
            state: measured.
            which: (7,) joints; the others keep their goal.
        """
        fresh = np.array([*(servo.id not in state.stale for servo in self._layout.primaries[:6]), False])
        self.goal = np.where(fresh & which, state.position, self.goal)

    def adopt(self, state: ArmState, ids: Collection[int]) -> None:
        """Let the goals of these servos, the gripper's too, be where they are."""
        self.goal = np.where([servo.id in ids for servo in self._layout.primaries], state.position, self.goal)

    def move_time(self, end: FloatArray) -> float:
        """[s] that a slow move to [rad] (7,) takes."""
        return duration(self.goal, end, self._config.homing)

    def react(self, now: float, *, may_rest: bool) -> str:
        """Hold or go to rest if nobody commands; an event in words, or nothing.

        Args:
            now: [s]
            may_rest: False for an arm at fault, which stays where it is.
        """
        silence = self._host.silence(now)
        if silence == Silence.REST and may_rest:
            self.move(np.append(self._layout.rest, self.goal[6]), 0.0, now)
            return "nobody commands; going to rest slowly"
        if silence == Silence.HOLD and self.mode == Mode.FOLLOW:
            self.mode = Mode.HOLD
            return "no fresh command; holding"
        return ""

    def advance(self, state: ArmState, limp: npt.NDArray[np.bool_], share: float, now: float) -> str:
        """Set the goal of this tick; why the arm must hold, or nothing.

        Args:
            state: measured.
            limp: (7,) which joints have no torque.
            share: of the largest speed, for following.
            now: [s]
        """
        if self.mode == Mode.HOLD:  # hands may carry a limp joint; torque that comes on must not pull it back
            self.goal = np.where(limp, state.position, self.goal)
        if self.mode == Mode.FOLLOW:
            self.goal = self.goal + np.clip(self._target - self.goal, -share * self._steps, share * self._steps)
        if self.mode == Mode.MOVE and self._move is not None:
            if objection := self._guard.objection(self.goal, state, now):
                return f"move ended: {objection}"
            self.goal = self._move.at(now)
            if self._move.is_over(now):
                self.mode = Mode.HOLD
        elif objection := self._resistance.objection(state, now):
            self._resistance.reset()
            self.hold(state)
            # Also of an arm that held already: they would press on until their servos give up. The others do not sink.
            self.stay(state, self._resistance.pressing(state))
            return f"gave way: {objection}"
        return ""
