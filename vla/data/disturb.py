"""Demonstrations that show how to get back: an executed action is at times not the one the expert asked for.

A demonstration without mistakes does not show how to correct them. Here the expert is asked at every step, and what it
says is the label; what is executed is sometimes something else, and the expert then has to live with it.
Source of the idea: DART, Laskey et al. 2017; dataset aggregation, Ross et al. 2011.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vla.protocols import Inference
from vla.types import ActionSpec, Commander, FloatArray, Observation


class Demonstrator(Inference, Protocol):
    """An executor that also tells what would have been right.

    Attributes:
        label: (A,) what the expert asked for at the last tick.
        disturbed: whether something else was executed.
    """

    label: FloatArray
    disturbed: bool


class NoisyDemonstrator:
    """The expert, pushed away now and then. Implements `Demonstrator`.

    Args:
        expert: asked at every tick.
        seed: of the pushes.
        start_share: part of the episodes that begin with a random motion, unseen by the learner.
        push_share: part of the episodes with pushes.
        push_rate: probability that a push begins in a tick.
        strength: standard deviation of a push, as a part of the fastest motion; a third of it for rotations of a hand.
        slip_share: part of the pushes that also turn the grippers round.
    """

    commander = Commander.POLICY

    def __init__(
        self,
        expert: Inference,
        seed: int,
        *,
        start_share: float = 0.5,
        push_share: float = 0.7,
        push_rate: float = 0.03,
        strength: float = 0.45,
        slip_share: float = 0.08,
    ) -> None:
        self._expert, self._seed = expert, seed
        self._start_share, self._push_share, self._push_rate = start_share, push_share, push_rate
        self._strength, self._slip_share = strength, slip_share

    def reset(self, spec: ActionSpec, last: FloatArray | None = None) -> None:
        """Start the episode anew, with the same pushes."""
        self._expert.reset(spec)
        self._spec, self._scale = spec, self._strength * _fastest(spec)
        self._generator = np.random.default_rng(self._seed)
        self._left = 0  # ticks of the present push
        self._push = np.zeros(0)
        self._slips = False
        self._started = self._generator.random() >= self._start_share
        self._pushed = self._generator.random() < self._push_share

    @property
    def policy_calls(self) -> int:
        """Of the expert."""
        return self._expert.policy_calls

    @property
    def policy_s(self) -> float:
        """[s] of the expert."""
        return self._expert.policy_s

    def next_action(self, observation: Observation) -> FloatArray:
        """The (A,) action to execute; `label` is what the expert asked for."""
        self.label = self._expert.next_action(observation)
        if self._left == 0:
            self._begin_push()
        self.disturbed = self._left > 0
        if not self.disturbed:
            return self.label
        self._left -= 1
        spec = self._spec
        action = np.clip(self.label + self._push, spec.low, spec.high)
        if self._slips:
            action[spec.gripper] = (spec.low + spec.high - self.label)[spec.gripper]
        return action

    def was_sent(self, action: FloatArray) -> None:
        """What was executed is not what the expert asked for, and that is the point: it is not told."""

    def _begin_push(self) -> None:
        generator = self._generator
        if not self._started:
            self._started = True
            self._left = int(generator.integers(4, 16))
            self._push, self._slips = generator.normal(0.0, 1.3 * self._scale), False
            if self._spec.kind == "eef_delta":
                self._push[2:3] = np.abs(self._push[2:3])  # away from the table
        elif self._pushed and generator.random() < self._push_rate:
            self._left = int(generator.integers(2, 7))
            self._push = generator.normal(0.0, self._scale)
            self._slips = generator.random() < self._slip_share


class TakenOver:
    """The learner acts, and the expert takes over now and then. Implements `Demonstrator`.

    Stretches of the learner and of the expert follow each other, so that the expert shows its whole next chunk from
    states that the learner came to. The expert is asked in all of them: keyframes are where it would have acted. After
    `budget` ticks the expert alone finishes the episode.

    Args:
        expert: asked at every tick.
        learner: acts in its stretches.
        seed: of the stretches' lengths.
        learner_ticks, expert_ticks: shortest and longest stretch.
        budget: ticks after which the learner acts no more.
    """

    commander = Commander.POLICY

    def __init__(
        self,
        expert: Inference,
        learner: Inference,
        seed: int,
        *,
        learner_ticks: tuple[int, int] = (8, 64),
        expert_ticks: tuple[int, int] = (9, 17),
        budget: int = 200,
    ) -> None:
        self._expert, self._learner, self._seed = expert, learner, seed
        self._learner_ticks, self._expert_ticks, self._budget = learner_ticks, expert_ticks, budget

    def reset(self, spec: ActionSpec, last: FloatArray | None = None) -> None:
        """Start the episode anew."""
        self._spec = spec
        self._expert.reset(spec)
        self._learner.reset(spec)
        self._generator = np.random.default_rng(self._seed)
        self._tick = self._left = 0
        self.disturbed = False

    @property
    def policy_calls(self) -> int:
        """Of the learner."""
        return self._learner.policy_calls

    @property
    def policy_s(self) -> float:
        """[s] of both."""
        return self._expert.policy_s + self._learner.policy_s

    def next_action(self, observation: Observation) -> FloatArray:
        """The (A,) action to execute; `label` is what the expert asks for."""
        over = self._tick >= self._budget
        if self.disturbed if over else self._left == 0:
            self.disturbed = not self.disturbed
            ticks = self._learner_ticks if self.disturbed else self._expert_ticks
            self._left = int(self._generator.integers(*ticks, endpoint=True))
            # What either had in mind before the other's stretch is stale.
            (self._learner if self.disturbed else self._expert).reset(self._spec)
        self._left, self._tick = max(0, self._left - 1), self._tick + 1
        self.label = self._expert.next_action(observation)
        return self._learner.next_action(observation) if self.disturbed else self.label

    def was_sent(self, action: FloatArray) -> None:
        """(A,) for whoever acted."""
        (self._learner if self.disturbed else self._expert).was_sent(action)


def _fastest(spec: ActionSpec) -> FloatArray:
    """(A,) largest motion in a tick; a third of it where a hand turns, none for grippers. Positions have `max_step`."""
    if spec.kind == "joint_position":
        return np.where(spec.gripper, 0.0, spec.max_step)
    turns = np.array(["rot" in name for name in spec.names])
    return np.where(spec.gripper, 0.0, np.where(turns, spec.high / 3, spec.high))
