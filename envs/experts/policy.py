"""The privileged expert: reads the goal and the simulator's state, acts through the 7-D action."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np

from envs.experts.geometry import vertical_hand
from envs.experts.goals import Goal, is_met, read_goals
from envs.experts.servo import Command, Servo
from envs.experts.skills.base import Skill
from envs.experts.skills.drawer import OpenDrawer
from envs.experts.skills.drawer_close import CloseDrawer
from envs.experts.skills.insert import Insert
from envs.experts.skills.pick import upright_yaw
from envs.experts.skills.pick_place import PickPlace
from envs.experts.skills.rest import Rest
from envs.experts.skills.select import skill_for
from envs.experts.skills.withdraw import Withdraw, is_around, is_entangled
from envs.experts.world import SHOULDER_UP, World
from vla.types import ActionChunk, FloatArray, Observation

ELBOW = 3  # index of the elbow joint
ELBOW_STRAIGHT = -0.2  # [rad] its limit is -0.07, where position control does not recover
CLOSED_BELOW = 0.07  # [m] of opening: the gripper is closed or holds something
TILTED = (OpenDrawer, CloseDrawer, Insert)  # skills that are at a fixture with a tilted hand
FINGER_DEPTH = 0.02  # [m] how far the fingers reach down a tall object
PULL_BACK = 0.06  # [m] how far ahead the goal is while the elbow is being bent


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
        self._fresh = True  # nothing was done since `reset`
        self._goals: list[Goal] = []

    def bind(self, env: Any) -> None:
        """Attach to the unwrapped `LiberoEnv`; its scene is only read.

        Raises:
            UnknownGoal: the task's goal needs a skill that does not exist.
        """
        self._env = env
        self._world = World(env)
        self.reset()

    def unbind(self) -> None:
        """Let go of the environment, so that its memory can be given back."""
        self._env = self._world = self._skill = None
        self._goals = []

    def reset(self) -> None:
        """Forget every plan and read the goal again; the next action starts from what is there."""
        if self._world is not None:
            self._goals = read_goals(self._world)
        self._servo.reset()
        self._skill = None
        self._fresh = True

    def aims(self) -> list[tuple[str, FloatArray]]:
        """What each instruction that is possible in this scene would have the hand close on: words, (3,) [m].

        Empty for a task that does not begin with picking something up.

        Raises:
            RuntimeError: `bind` was not called.
        """
        if self._world is None:
            raise RuntimeError("LiberoExpert.aims: call bind(env) first")
        world = self._world
        if alternatives := self._env.alternatives():
            return [(words, _near_the_top(world, name)) for words, name in alternatives]
        self.reset()
        self._command(world)
        aim = self._skill.aim if isinstance(self._skill, PickPlace) else None
        return [] if aim is None else [(self._env.task.instruction, aim)]

    def memory(self) -> Any:
        """A copy of what the expert has in mind, for `recall`: present skill, speed, integrators."""
        return copy.deepcopy((self._servo, self._skill), {id(self._world): self._world})

    def recall(self, memory: Any) -> None:
        """Go on with a copy of what was in mind at some moment."""
        self._servo, self._skill = copy.deepcopy(memory, {id(self._world): self._world})

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
        if world.arm[ELBOW] > ELBOW_STRAIGHT:
            return _bend_elbow(world)
        for _ in range(3):  # a skill may find at once that it has nothing to do
            if self._skill is None:
                self._skill = self._next_skill(world)
                if self._fresh and self._must_withdraw(world, self._skill):
                    self._skill = Withdraw(*self._skill.around)
                self._fresh = False
            command = self._skill.step(world)
            if command is not None:
                return command
            self._skill = None
        return Command(world.hand.position, world.hand.rotation, False, 0.3)

    @staticmethod
    def _must_withdraw(world: World, skill: Skill) -> bool:
        if is_around(world, *skill.around):
            return True
        carries = any(world.held(name) for name in skill.around if name in world.movable)  # letting go would lose it
        return is_entangled(world) and not isinstance(skill, TILTED) and not carries

    def _next_skill(self, world: World) -> Skill:
        for goal in self._goals:
            if not is_met(goal, world) or (goal.place and world.held(goal.subject)):
                return skill_for(goal, self._goals, world)
        return Rest(world)


def _near_the_top(world: World, name: str) -> FloatArray:
    """(3,) [m] about where a vertical hand grips an object that is narrow enough; planning a grasp costs 0.2 s."""
    low, high = world.boxes(name).bounds()
    return np.append(world.mass_center(name)[:2], max(float(high[2]) - FINGER_DEPTH, 0.5 * float(low[2] + high[2])))


def _bend_elbow(world: World) -> Command:
    """The arm is almost straight: draw the hand back towards the shoulder, upright; the gripper stays as it is."""
    hand = world.hand
    shoulder = world.base + np.array([0.0, 0.0, SHOULDER_UP])
    back = shoulder - hand.position
    goal = hand.position + PULL_BACK * back / float(np.linalg.norm(back))
    return Command(goal, vertical_hand(upright_yaw(world)), world.opening < CLOSED_BELOW, 0.5)
