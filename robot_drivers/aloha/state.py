"""What one arm's servos say in one tick, decoded and marked with its age."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from robot_drivers.aloha.layout import ArmLayout
from robot_drivers.dynamixel import units
from robot_drivers.dynamixel.packet import Status
from vla.types import FloatArray

FASTEST = 10.0  # [rad/s] no joint with torque turns faster, whatever pushes it
SLACK = 0.1  # [rad] beside that
ADDRESS = 126
_BLOCK = struct.Struct("<hii8xHB")  # current or load, velocity, position, both trajectories, voltage, temperature
LENGTH = _BLOCK.size


class ServoState(NamedTuple):
    """One servo at one moment.

    Attributes:
        time: [s] when it was read.
        position: [ticks]
        velocity: [rad/s]
        effort: [A], or share of the largest torque for a servo that measures no current.
        voltage: [V]
        temperature: [degC]
    """

    time: float
    position: int
    velocity: float
    effort: float
    voltage: float
    temperature: float

    @classmethod
    def decode(cls, data: bytes, has_current: bool, time: float) -> ServoState:
        """The block from ADDRESS.

        Raises:
            ValueError: a wrong number of bytes.
        """
        if len(data) != LENGTH:
            raise ValueError(f"servo state: expected {LENGTH} bytes, got {len(data)}: {data.hex(' ')!r}")

        effort, velocity, position, voltage, temperature = _BLOCK.unpack(data)
        scale = units.CURRENT if has_current else units.LOAD
        return cls(
            time=time,
            position=position,
            velocity=velocity * units.VELOCITY.factor,
            effort=effort * scale.factor,
            voltage=voltage * units.VOLTAGE.factor,
            temperature=float(temperature),
        )


@dataclass(frozen=True, eq=False)
class ArmState:
    """One arm. Arrays (7,) are six joints, then the gripper's servo.

    Attributes:
        time: [s] of the oldest reading in it.
        position: [rad] (7,)
        velocity: [rad/s] (7,)
        effort: [A] (7,); share of the largest torque where a servo measures no current.
        servos: by ID, shadows included.
        stale: by ID, how many ticks ago it was read, for those that did not answer this time.
        alerts: IDs that report a hardware error.
        impossible: stale ones that did answer, but with a position that they cannot have.
    """

    time: float
    position: FloatArray  # (7,)
    velocity: FloatArray  # (7,)
    effort: FloatArray  # (7,)
    servos: Mapping[int, ServoState]
    stale: Mapping[int, int]
    alerts: frozenset[int]
    impossible: frozenset[int] = frozenset()


class StateKeeper:
    """Makes states from replies; who did not answer keeps the last reading, marked stale. Nobody becomes 0.

    A position that a joint with torque cannot have reached counts as no answer, until it is back where it was, or
    `forget`: told to stay where it is, the arm would go there.

    Args:
        layout: of the arm.
    """

    def __init__(self, layout: ArmLayout) -> None:
        self._layout = layout
        self._current = {servo.id: servo.model.has_current for servo in layout.servos}
        self._servos: dict[int, ServoState] = {}
        self._stale: dict[int, int] = {}
        self._heard: dict[int, float] = {}  # [s] when it last answered, be it the impossible

    def forget(self, id: int) -> None:
        """Whatever this servo says next is true: it was restored, and its goal is where it says it is."""
        self._heard.pop(id, None)

    def update(
        self, statuses: Mapping[int, Status], alerts: Sequence[int], now: float, driven: Collection[int] = ()
    ) -> ArmState | None:
        """The state after a tick's replies.

        Args:
            statuses: by ID; those with an error count as missing.
            alerts: IDs with the alert bit.
            now: [s]
            driven: IDs that have torque.

        Returns:
            None while a servo has never answered.
        """
        for id in self._layout.ids:
            status = statuses.get(id)
            seen = None if status is None or status.code else ServoState.decode(status.params, self._current[id], now)
            if seen is not None and (id not in driven or self._reachable(id, seen)):
                self._servos[id] = seen
                self._stale.pop(id, None)
            else:
                self._stale[id] = self._stale.get(id, 0) + 1
            if seen is not None:
                self._heard[id] = now
        if len(self._servos) < len(self._layout.ids):
            return None
        main = [self._servos[servo.id] for servo in self._layout.primaries]
        return ArmState(
            time=min(servo.time for servo in self._servos.values()),
            position=np.asarray(units.POSITION.decode([servo.position for servo in main])),
            velocity=np.array([servo.velocity for servo in main]),
            effort=np.array([servo.effort for servo in main]),
            servos={id: self._servos[id] for id in self._layout.ids},  # not in the order of their first answers
            stale=dict(self._stale),
            alerts=frozenset(alerts),
            impossible=frozenset(id for id in self._stale if self._heard.get(id) == now),
        )

    def _reachable(self, id: int, seen: ServoState) -> bool:
        before, heard = self._servos.get(id), self._heard.get(id)
        if before is None or heard is None:
            return True
        way = abs(seen.position - before.position) * units.ANGLE.factor
        return bool(way <= FASTEST * (seen.time - heard) + SLACK)
