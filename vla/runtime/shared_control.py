"""A policy acts, a person takes over when they want to, and nothing jumps in between."""

from __future__ import annotations

from enum import StrEnum

from vla.protocols import Inference, Teleoperator
from vla.types import ActionSpec, FloatArray, Observation


class Commander(StrEnum):
    """Who decides in a tick."""

    POLICY = "policy"
    NOBODY = "nobody"  # the robot holds while the person's arms are brought to it
    PERSON = "person"


class SharedControl:
    """Implements `vla.protocols.Inference`.

    When the person wants control, the robot holds until what they command with stands where the robot does; then they
    command. When they let go, the policy begins anew from where the robot is. Position limits between two ticks are
    kept by the safety filter for either of them.

    Args:
        inference: commands while the person does not.
        teleoperator: what the person commands with; connected.

    Attributes:
        commander: who decided in the last tick.
        handovers: how often the commander changed in this episode.
    """

    def __init__(self, inference: Inference, teleoperator: Teleoperator) -> None:
        self._inference, self._teleoperator = inference, teleoperator
        self.commander, self.handovers = Commander.POLICY, 0

    def reset(self, spec: ActionSpec) -> None:
        """A new episode: the policy begins."""
        self._spec = spec
        self._inference.reset(spec)
        self._last: FloatArray | None = None
        self._calls, self._seconds = 0, 0.0  # before the policy last began anew
        self.commander, self.handovers = Commander.POLICY, 0

    @property
    def policy_calls(self) -> int:
        """Of the policy, in the whole episode."""
        return self._calls + self._inference.policy_calls

    @property
    def policy_s(self) -> float:
        """[s] of the policy, in the whole episode."""
        return self._seconds + self._inference.policy_s

    def next_action(self, observation: Observation) -> FloatArray:
        """The (A,) action of this tick, whoever commands."""
        commander = self._next_commander(observation)
        if commander != self.commander:
            self.handovers += 1
            if commander == Commander.POLICY:
                self._calls, self._seconds = self.policy_calls, self.policy_s
                self._inference.reset(self._spec)  # what it had planned before the person came is stale
        self.commander = commander
        if commander == Commander.POLICY:
            self._last = self._inference.next_action(observation)
        elif commander == Commander.PERSON:
            self._last = self._teleoperator.get_action()
        else:
            self._last = self._spec.hold(self._standing(observation))
        return self._last

    def _next_commander(self, observation: Observation) -> Commander:
        if not self._teleoperator.wants_control():
            return Commander.POLICY
        if self.commander == Commander.PERSON:
            return Commander.PERSON
        aligned = self._teleoperator.align(self._standing(observation))
        return Commander.PERSON if aligned else Commander.NOBODY

    def _standing(self, observation: Observation) -> FloatArray:
        """(A,) where the robot was last told to be; before that, where it is."""
        return observation.state.copy() if self._last is None else self._last
