"""What an emulated bus consists of, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robot_drivers.dynamixel.registers import ServoModel


@dataclass(frozen=True)
class ServoSpec:
    """One servo and how it is mounted.

    Attributes:
        id: its ID.
        model: what it is.
        joint: the joint it moves; servos of one joint are coupled mechanically.
        mirrored: the shaft turns against the joint, which drive mode bit 0 makes up for.
        mount_error: [ticks] by which the shaft was assembled off its zero.
        eeprom: registers that differ from the factory's.
        offset_before_reverse: whether drive mode bit 0 also turns the sign of the homing offset. ROBOTIS' manual says
            that it does not; the driver of the arms' vendor computes offsets as if it did.
    """

    id: int
    model: ServoModel
    joint: str
    mirrored: bool = False
    mount_error: int = 0
    eeprom: Mapping[str, int] = field(default_factory=dict)
    offset_before_reverse: bool = False


@dataclass(frozen=True)
class BusSpec:
    """The servos behind one USB adapter.

    Attributes:
        name: of the bus; its joints are called `name/joint`.
        servos: in the order of the cable.
    """

    name: str
    servos: tuple[ServoSpec, ...]

    @property
    def joints(self) -> tuple[str, ...]:
        """`name/joint` of every joint, in the order in which they first appear."""
        return tuple(dict.fromkeys(f"{self.name}/{servo.joint}" for servo in self.servos))
