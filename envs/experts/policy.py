"""The privileged expert: reads the goal and the simulator's state, acts through the 7-D action."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from envs.experts.goals import Goal, is_met, read_goals
from envs.experts.servo import Command, Servo
from envs.experts.skills.base import Skill
from envs.experts.skills.rest import Rest
from envs.experts.skills.select import skill_for
from envs.experts.world import World
from vla.types import ActionChunk, Observation


class LiberoExpert:
    """Scripted policy for LIBERO and LIBERO-PRO. Implements `vla.protocols.PrivilegedPolicy`.

    Every step decides anew from the simulator's present state: which goal is not met yet, which skill brings it
    about, and where the hand goes next. `reset()` may be called at any moment; the expert goes on from there.
    """

    def __init__(self) -> None:
        self._env: Any = None
        self._world: World | None = None
        self._servo = Servo()
        self._skill: Skill | None = None
        self._goals: list[Goal] = []

    def bind(self, env: Any) -> None:
        """Attach to the unwrapped `LiberoEnv`; its scene is only read.

        Raises:
            UnknownGoal: the task's goal needs a skill that does not exist.
        """
        self._env = env
        self._world = World(env)
        self._goals = read_goals(self._world)
        self.reset()

    def reset(self) -> None:
        """Forget every plan; the next action starts from what is there."""
        self._servo.reset()
        self._skill = None

    def infer(self, observation: Observation) -> ActionChunk:
        """One action for the simulator's present state.

        Raises:
            RuntimeError: `bind` was not called.
        """
        if self._world is None:
            raise RuntimeError("LiberoExpert.infer: call bind(env) first")
        started = time.perf_counter()
        world = self._world
        hand = world.hand
        action = self._servo.action(self._command(world), hand.position, hand.rotation, world.hand_velocity)
        return ActionChunk(
            action[None],
            observation.instruction,
            observation.time,
            inference_s=time.perf_counter() - started,
        )

    def _command(self, world: World) -> Command:
        """Ask the present skill; when it has nothing more to do, take the next one."""
        for _ in range(3):  # a skill may find at once that it has nothing to do
            if self._skill is None:
                self._skill = self._next_skill(world)
            command = self._skill.step(world)
            if command is not None:
                return command
            self._skill = None
        return Command(world.hand.position, world.hand.rotation, False, 0.3)

    def _next_skill(self, world: World) -> Skill:
        for goal in self._goals:
            if not is_met(goal, world) or (goal.place and world.held(goal.subject)):
                return skill_for(goal, self._goals, world)
        return Rest(world)
