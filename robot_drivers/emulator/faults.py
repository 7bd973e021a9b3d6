"""What can be made to go wrong, when, and for whom; seeded, so that it goes wrong the same way again."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class FaultKind(StrEnum):
    """What goes wrong; docs/emulator.md describes each."""

    DROP_REQUEST = "drop_request"
    DROP_REPLY = "drop_reply"
    CORRUPT = "corrupt"
    TRUNCATE = "truncate"
    SPLIT = "split"
    DUPLICATE = "duplicate"
    LATE = "late"
    NOISE = "noise"
    ECHO = "echo"
    WRONG_ID = "wrong_id"
    SHORT_PAYLOAD = "short_payload"
    DUPLICATE_ID = "duplicate_id"
    SLOW_BUS = "slow_bus"

    STUCK_ENCODER = "stuck_encoder"
    ENCODER_JUMP = "encoder_jump"
    FROZEN_TEMPERATURE = "frozen_temperature"
    OVERHEAT = "overheat"
    OVERLOAD = "overload"
    VOLTAGE_DIP = "voltage_dip"

    BROWN_OUT = "brown_out"
    WATCHDOG_TRIP = "watchdog_trip"
    UNPLUG = "unplug"
    HOST_SUSPENDED = "host_suspended"


# What `value` is, and its default.
VALUES: Mapping[FaultKind, float] = MappingProxyType(
    {
        FaultKind.SPLIT: 0.003,  # [s] gap between the parts
        FaultKind.LATE: 0.05,  # [s]
        FaultKind.NOISE: 3,  # bytes before the reply
        FaultKind.WRONG_ID: 1,  # added to the ID
        FaultKind.SLOW_BUS: 0.01,  # [s] before every reply
        FaultKind.ENCODER_JUMP: 4096,  # [ticks] added
        FaultKind.OVERHEAT: 5.0,  # [K/s]
        FaultKind.OVERLOAD: 1.0,  # share of the stall torque
        FaultKind.VOLTAGE_DIP: 3.0,  # [V] less
        FaultKind.HOST_SUSPENDED: 5.0,  # [s] that pass for the servos only
    }
)
CONTINUOUS = frozenset(
    {
        FaultKind.STUCK_ENCODER,
        FaultKind.ENCODER_JUMP,
        FaultKind.FROZEN_TEMPERATURE,
        FaultKind.OVERHEAT,
        FaultKind.OVERLOAD,
        FaultKind.VOLTAGE_DIP,
        FaultKind.UNPLUG,
    }
)
ONCE = frozenset({FaultKind.BROWN_OUT, FaultKind.WATCHDOG_TRIP, FaultKind.HOST_SUSPENDED})


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong on one bus.

    Attributes:
        kind: what.
        start, end: [s] of the emulated time; a fault that happens once happens at `start`.
        first, last: numbers of requests, counted from 0, both included; faults of packets only.
        ids: of servos (254 for requests to all, and for fast replies); None for every one.
        instructions: of requests; None for every one. Faults of packets only.
        probability: of striking each packet that fits. Faults of packets only.
        times: after so many strikes it is over; None for never. Faults of packets only.
        value: how much, see VALUES; None for the default there.
    """

    kind: FaultKind
    start: float = 0.0
    end: float = math.inf
    first: int = 0
    last: int | None = None
    ids: tuple[int, ...] | None = None
    instructions: tuple[int, ...] | None = None
    probability: float = 1.0
    times: int | None = None
    value: float | None = None

    @property
    def amount(self) -> float:
        """`value`, or the default of the kind."""
        return VALUES.get(self.kind, 0.0) if self.value is None else self.value

    def concerns(self, id: int) -> bool:
        """Whether it is for this servo."""
        return self.ids is None or id in self.ids

    def json(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON values."""
        return {
            field.name: value
            for field in fields(self)
            if (value := asdict(self)[field.name]) != field.default or field.name == "kind"
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fault:
        """The inverse of `json`.

        Raises:
            ValueError: unknown kinds or fields, with the known ones.
        """
        known = {field.name for field in fields(cls)}
        if unknown := set(data) - known:
            raise ValueError(f"fault: unknown field {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        try:
            values["kind"] = FaultKind(values.get("kind", ""))
        except ValueError:
            raise ValueError(f"fault: unknown kind {values.get('kind')!r}; known are {', '.join(FaultKind)}") from None
        return cls(**values)


@dataclass
class _Entry:
    fault: Fault
    strikes: int = 0


class FaultPlan:
    """The faults of one bus.

    Args:
        seed: of everything random about them.
        faults: from the start.

    Attributes:
        rng: where faults draw from.
    """

    def __init__(self, seed: str = "", faults: Iterable[Fault] = ()) -> None:
        self.rng = random.Random(seed)
        self._entries: list[_Entry] = []
        for fault in faults:
            self.add(fault)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All of them, in the order in which they were added."""
        return tuple(entry.fault for entry in self._entries)

    def add(self, fault: Fault) -> None:
        """One more."""
        self._entries.append(_Entry(fault))

    def clear(self) -> None:
        """No faults from now on."""
        self._entries.clear()

    def strikes(self, kinds: Collection[FaultKind], time: float, number: int, id: int, instruction: int) -> list[Fault]:
        """The faults of packets that strike this packet, in the order of the plan.

        Args:
            kinds: of these.
            time: [s]
            number: of the request.
            id: whom the request is for, or whose reply it is.
            instruction: of the request.
        """
        found = []
        for entry in self._entries:
            fault = entry.fault
            if (
                fault.kind in kinds
                and fault.start <= time < fault.end
                and fault.first <= number <= (number if fault.last is None else fault.last)
                and fault.concerns(id)
                and (fault.instructions is None or instruction in fault.instructions)
                and (fault.times is None or entry.strikes < fault.times)
                and (fault.probability >= 1 or self.rng.random() < fault.probability)
            ):
                entry.strikes += 1
                found.append(fault)
        return found
