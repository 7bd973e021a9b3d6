"""gym-aloha's tasks through a robot's driver: commands go over a bus to servos, which move the same scene."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from envs.aloha.env import AlohaEnv
from envs.aloha.gripper import GripperLinkage, Opening
from envs.aloha.live import LiveScene
from envs.aloha.robot import HZ, START, to_state
from envs.rendering import Snapshot
from vla.protocols import Robot
from vla.types import FloatArray, Reading

GRIPPERS = (6, 13)


class Clock(Protocol):
    """The clock of driver and bus."""

    def now(self) -> float:
        """[s]."""

    def sleep_until(self, moment: float) -> None:
        """Return when `now()` has reached `moment` [s]."""

    def attending(self) -> AbstractContextManager[None]:
        """Around the work of a thread that takes no time on a virtual clock until it sleeps."""


class AlohaRobotEnv(AlohaEnv):
    """`AlohaEnv`, but a step commands a robot whose servos move the scene, and the state is what the robot reports.

    An episode begins as on a real robot: the arms are armed in their rest pose and go to the start pose slowly, then
    somebody lays the objects down. Actions and states are on the scales of `AlohaEnv`, the limits are the robot's.
    Objects, images and success are the scene's.

    Args:
        make_robot: builds a robot around a scene, on a clock; called for every episode.
        make_clock: builds the clock of an episode; virtual, for this thread reads the scene while it stands still.
        grippers: linkage of the grippers.
        settings: see `AlohaEnv`.
    """

    def __init__(
        self, make_robot: Callable[..., Robot], make_clock: Callable[[], Clock], grippers: Opening, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._make_robot, self._make_clock = make_robot, make_clock
        self._linkage = GripperLinkage(grippers)
        self._live = LiveScene(grippers, scene=self.scene)
        self._episode = ExitStack()  # what is open until the next one
        self._reading: Reading | None = None
        robot, scene = make_robot(self._live, clock=make_clock()).action_spec, self.action_spec
        self.action_spec = dataclasses.replace(robot, max_step=np.minimum(robot.max_step, scene.max_step))
        self.action_space = spaces.Box(robot.low, robot.high, dtype=np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arm the robot, go to the start pose, lay the objects down.

        Raises:
            ValueError: there is no such trial.
            SafetyStop: the robot cannot go to the start pose.
        """
        self._episode.close()
        self._reading = None
        self._live.fold()  # the scene's reset starts from the same servos whatever the last episode left
        _, info = super().reset(seed=seed, options=options)
        started, poses = time.perf_counter(), self.scene.object_poses()
        self._live.fold()
        self._clock = self._make_clock()
        self._robot = self._make_robot(self._live, clock=self._clock)
        self._episode.enter_context(self._clock.attending())
        self._robot.connect()
        self._episode.callback(self._robot.disconnect)
        self._robot.go_to(self._to_robot(to_state(START)))
        # Half-way between two ticks of the driver: whatever is sent is taken by the next one.
        self._due = self._clock.now() + 0.5 / HZ
        self._clock.sleep_until(self._due)
        self._live.lay(poses)
        self._reading = self._robot.get_reading()
        self._seen = Snapshot.take(self.scene.model, self.scene.data)
        self.timing["sim"] += time.perf_counter() - started
        return self._observation(), info | {"channels": self._reading.channels, "sent": to_state(START)}

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Command the robot, and look at the end of the tick of 20 ms.

        Raises:
            ValueError: `action` is not (14,) finite numbers; nothing was sent.
            SafetyStop: the robot's gate refused, or the robot is at fault; it holds.
        """
        action = self._checked(action)
        started = time.perf_counter()
        sent = np.where(self.action_spec.gripper, action, self._robot.send_action(self._to_robot(action)))
        self._due += 1.0 / HZ
        self._clock.sleep_until(self._due)
        self._reading = self._robot.get_reading()
        success = self.scene.is_success()
        self._steps += 1
        self._seen = Snapshot.take(self.scene.model, self.scene.data)
        self.timing["sim"] += time.perf_counter() - started
        info = self._info(success) | {"channels": self._reading.channels, "events": self._reading.events}
        return self._observation(), float(success), success, self._steps >= self.task.max_steps, info | {"sent": sent}

    def close(self) -> None:
        """Let go of the robot, free the OpenGL objects."""
        self._episode.close()
        super().close()

    def _observation(self) -> dict[str, Any]:
        seen = super()._observation()
        return seen if self._reading is None else seen | {"state": self._reading.state}

    def _to_robot(self, action: FloatArray) -> FloatArray:
        """(14,) with the grippers on the scale of the servo's angle."""
        action = action.copy()
        for gripper in GRIPPERS:
            action[gripper] = self._linkage.commanded(float(action[gripper]))
        return np.asarray(action)
