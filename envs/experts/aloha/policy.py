"""The privileged expert for ALOHA: reads the simulator's state, acts through the 14-D absolute action."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from envs.experts.aloha.insertion import Insertion
from envs.experts.aloha.servo import Command, Servo
from envs.experts.aloha.transfer import TransferCube
from envs.experts.aloha.world import World
from vla.types import ActionChunk, FloatArray, Observation


class Plan(Protocol):
    """What solves a task."""

    def commands(self) -> dict[str, Command]:
        """What each arm does now, by its name."""


PLANS: dict[str, Callable[[World], Plan]] = {"transfer_cube": TransferCube, "insertion": Insertion}


class AlohaExpert:
    """Scripted policy for both tasks. Implements `vla.protocols.PrivilegedPolicy`.

    Every tick decides anew from the simulator's present state; only the last step of each arm is remembered, so that
    the motion is smooth. `reset()` may be called at any moment; the expert goes on from there.
    """

    def __init__(self) -> None:
        self._world: World | None = None
        self._plan: Plan | None = None

    def bind(self, env: Any) -> None:
        """Attach to the unwrapped `AlohaEnv`; its scene is only read."""
        self._spec = env.action_spec
        self._world = World(env)
        self._plan = PLANS[env.task.name](self._world)
        self._servos = {name: Servo(self._spec.max_step[arm.entries]) for name, arm in self._world.arms.items()}

    def unbind(self) -> None:
        """Let go of the environment, so that its memory can be given back."""
        self._world = self._plan = None

    def reset(self) -> None:
        """Start from rest; the next action starts from what is there."""
        if self._world is not None:
            for servo in self._servos.values():
                servo.reset()

    def infer(self, observation: Observation) -> ActionChunk:
        """One action for the simulator's present state.

        Raises:
            RuntimeError: `bind` was not called.
        """
        if self._world is None or self._plan is None:
            raise RuntimeError("AlohaExpert.infer: call bind(env) first")
        started = time.perf_counter()
        action = self._action(self._world, self._plan)
        seconds = time.perf_counter() - started
        return ActionChunk(action[None], observation.instruction, observation.time, inference_s=seconds)

    def _action(self, world: World, plan: Plan) -> FloatArray:
        world.look()
        action = np.empty_like(self._spec.low)
        for name, command in plan.commands().items():
            arm = world.arms[name]
            action[arm.entries] = self._servos[name].action(command, world.commanded(arm))
        return np.asarray(np.clip(action, self._spec.low, self._spec.high))
