"""A policy acts, a person takes over when they want to, and nothing jumps in between."""

from __future__ import annotations

import threading

from vla.protocols import EpisodicTeleoperator, Inference, ReleasableTeleoperator, Teleoperator
from vla.types import ActionSpec, Commander, FloatArray, Observation


class SharedControl:
    """Implements `vla.protocols.Inference`.

    When the person wants control, the robot holds until what they command with stands where the robot does; then they
    command. When they let go, the policy begins anew from where the robot is; without a policy the robot holds the
    last action, so that a closed gripper keeps its grip. Position limits between two ticks are kept by the safety
    filter for either of them.

    Args:
        inference: commands while the person does not; None: nobody does.
        teleoperator: what the person commands with; connected. A new episode takes control from it, if it can be
            released.

    Attributes:
        commander: who decided in the last tick.
    """

    def __init__(self, inference: Inference | None, teleoperator: Teleoperator) -> None:
        self._inference, self._teleoperator = inference, teleoperator
        self._without_person = Commander.NOBODY if inference is None else Commander.POLICY
        self._released = threading.Event()
        self._last: FloatArray | None = None
        self._calls, self._seconds = 0, 0.0  # before the policy last began anew
        self.commander = self._without_person

    def reset(self, spec: ActionSpec, last: FloatArray | None = None) -> None:
        """A new episode: the policy begins, and the robot stands where it was told to be: at (A,) `last`."""
        self._spec = spec
        self._released.clear()
        self._hand_back()
        if isinstance(self._teleoperator, EpisodicTeleoperator):
            self._teleoperator.reset()
        if self._inference is not None:
            self._inference.reset(spec, last)
        self._last = last
        self._calls, self._seconds = 0, 0.0
        self.commander = self._without_person

    @property
    def policy_calls(self) -> int:
        """Of the policy, in the whole episode."""
        return self._calls + (self._inference.policy_calls if self._inference else 0)

    @property
    def policy_s(self) -> float:
        """[s] of the policy, in the whole episode."""
        return self._seconds + (self._inference.policy_s if self._inference else 0.0)

    def release(self) -> None:
        """Hand back in the next tick, if the teleoperator can be released. From any thread."""
        self._released.set()

    def next_action(self, observation: Observation) -> FloatArray:
        """The (A,) action of this tick, whoever commands."""
        commander = self._next_commander(observation)
        returns = commander == Commander.POLICY and self.commander != Commander.POLICY
        if returns and self._inference is not None:
            calls, seconds = self.policy_calls, self.policy_s
            self._inference.reset(self._spec, self._last)  # what it had planned before the person came is stale
            self._calls, self._seconds = calls, seconds
        self.commander = commander
        if commander == Commander.POLICY and self._inference is not None:
            self._last = self._inference.next_action(observation)
        elif commander == Commander.PERSON:
            self._last = self._teleoperator.get_action()
        else:
            self._last = self._spec.hold(self._standing(observation))
        return self._last

    def was_sent(self, action: FloatArray) -> None:
        """Go on from (A,), whoever commanded it."""
        self._last = action
        if self.commander == Commander.POLICY and self._inference is not None:
            self._inference.was_sent(action)

    def _hand_back(self) -> None:
        if isinstance(self._teleoperator, ReleasableTeleoperator):
            self._teleoperator.hand_back()

    def _next_commander(self, observation: Observation) -> Commander:
        if self._released.is_set():
            self._released.clear()
            self._hand_back()
        if not self._teleoperator.wants_control():
            return self._without_person
        if self.commander == Commander.PERSON:
            return Commander.PERSON
        aligned = self._teleoperator.align(self._standing(observation))
        return Commander.PERSON if aligned else Commander.NOBODY

    def _standing(self, observation: Observation) -> FloatArray:
        """(A,) where the robot was last told to be; before that, where it is. A delta stands nowhere: no motion."""
        if self._last is not None:
            return self._last
        return observation.state.copy() if self._spec.kind == "joint_position" else self._spec.hold(None)
