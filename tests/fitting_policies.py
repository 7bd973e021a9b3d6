"""Policies that go with some robots only: one says what it needs, one must be told what there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.fakes import PushPolicy, SteadyPolicy
from vla.embodiment import Embodiment
from vla.types import ActionChunk, ActionSpec, Observation


class RobotPolicy(SteadyPolicy):
    """One that says which robot it is for, and whether it looks."""

    def __init__(self, cameras: Sequence[str], state: int, action: int, blind: bool = False, hz: float = 20.0) -> None:
        super().__init__()
        names = [[f"{part}_{i}" for i in range(size)] for part, size in (("s", state), ("a", action))]
        self.embodiment = Embodiment("fake", tuple(cameras), tuple(names[0]), tuple(names[1]), chunk=4, hz=hz)
        self.blind = blind

    def infer(self, observation: Observation) -> ActionChunk:
        actions = np.repeat(super().infer(observation).actions[:, :1], len(self.embodiment.action), axis=1)
        return ActionChunk(actions, observation.instruction, observation.time)


class ToldPolicy(PushPolicy):
    """Must be told the robot, and can act on deltas only."""

    def prepare(self, spec: ActionSpec) -> None:
        if spec.kind != "eef_delta":
            raise ValueError(f"policy: expected a robot that takes deltas, got {spec.kind}")
        self._spec = spec

    def infer(self, observation: Observation) -> ActionChunk:
        actions = np.tile(self._spec.high, (self._chunk_size, 1))
        return ActionChunk(actions, observation.instruction, observation.time)
