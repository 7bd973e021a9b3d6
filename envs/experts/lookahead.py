"""The expert as a policy of chunks: it plans ahead in a copy of the simulator."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from envs.experts.policy import LiberoExpert
from envs.libero.controller import SUBSTEPS
from envs.libero.imagination import imagined
from vla.types import ActionChunk, FloatArray, Observation


class LookaheadExpert:
    """Answers with the next `chunk` actions of `LiberoExpert`. A `PrivilegedPolicy` and a `PrefixPolicy`.

    Each plan starts from the simulator's present state and is rolled out in a copy of it; the running simulation is
    not touched. What the expert had in mind (which grasp, how fast it was going) goes on from the step of the last
    plan that is nearest to where the arm is now: nobody tells a policy which of its actions were executed.

    Args:
        chunk: K, actions of a plan.
        substeps: of physics in a planned control step, 25 as in the benchmark or fewer: faster, and plans that are a
            little wrong.

    Raises:
        ValueError: `chunk` or `substeps` is out of range.
    """

    accepts_prefix = True

    def __init__(self, chunk: int = 16, substeps: int = SUBSTEPS) -> None:
        if type(chunk) is not int or chunk < 1:
            raise ValueError(f"policy.chunk: expected at least 1 action, got {chunk!r}")
        if type(substeps) is not int or not 1 <= substeps <= SUBSTEPS:
            raise ValueError(f"policy.substeps: expected 1 to {SUBSTEPS}, got {substeps!r}")
        self._chunk, self._substeps = chunk, substeps
        self._expert = LiberoExpert()
        self._env: Any = None
        self._foreseen: list[tuple[FloatArray, Any]] = []  # arm and fingers, and the expert's mind, before each action

    def bind(self, env: Any) -> None:
        """Attach to the unwrapped `LiberoEnv`."""
        self._env = env
        self._expert.bind(env)
        self.reset()

    def unbind(self) -> None:
        """Let go of the environment, so that its memory can be given back."""
        self._env, self._foreseen = None, []
        self._expert.unbind()

    def reset(self) -> None:
        """Forget every plan."""
        self._foreseen = []
        self._expert.reset()

    def infer(self, observation: Observation) -> ActionChunk:
        """The next actions, planned from the simulator's present state.

        Raises:
            RuntimeError: `bind` was not called.
        """
        return self._plan(observation, np.empty((0, 7)))

    def infer_after(self, observation: Observation, prefix: FloatArray, frozen: int) -> ActionChunk:
        """The same, but the first `frozen` actions are those of `prefix`; its others are not needed to go on smoothly.

        Raises:
            RuntimeError: `bind` was not called.
        """
        return self._plan(observation, prefix[:frozen])

    def _plan(self, observation: Observation, given: FloatArray) -> ActionChunk:
        if self._env is None:
            raise RuntimeError("LookaheadExpert.infer: call bind(env) first")
        started = time.perf_counter()
        if self._foreseen:
            here = self._posture()
            _, mind = min(self._foreseen, key=lambda seen: float(np.abs(seen[0] - here).max()))
            self._expert.recall(mind)
        actions: list[FloatArray] = []
        self._foreseen = []
        with imagined(self._env.scene, self._substeps) as advance:
            for step in range(self._chunk):
                self._foreseen.append((self._posture(), self._expert.memory()))
                # A given action is executed, but the expert is asked all the same: its mind keeps up with the time.
                own = self._expert.infer(observation).actions[0]
                actions.append(given[step] if step < len(given) else own)
                advance(actions[-1])
            self._foreseen.append((self._posture(), self._expert.memory()))
        seconds = time.perf_counter() - started
        return ActionChunk(np.array(actions), observation.instruction, observation.time, inference_s=seconds)

    def _posture(self) -> FloatArray:
        """(9,) joint angles [rad] and finger positions [m] of the scene, or of the copy while it is imagined."""
        robot = self._env.scene.upstream.robots[0]
        addresses = [*robot._ref_joint_pos_indexes, *robot._ref_gripper_joint_pos_indexes]
        return np.asarray(self._env.scene.data.qpos[addresses])
