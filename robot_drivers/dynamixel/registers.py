"""What a register and a servo model are; the models themselves are in `models.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robot_drivers.dynamixel import units
from robot_drivers.dynamixel.units import Scale

EEPROM_END = 64


@dataclass(frozen=True)
class Register:
    """One entry of a control table.

    EEPROM survives a reboot, wears out, and can only be written with torque off; RAM is lost.

    Attributes:
        name: snake_case of the manual's name.
        address: of its first byte.
        length: in bytes, 1, 2 or 4; little-endian.
        signed: two's complement.
        writable: False if the host can only read it.
        default: factory value; for RAM the value after every reboot. Goals start at limits, see the emulator's memory.
        low, high: what a write may hold, both included; limits that other registers set come on top.
        scale: to physical units.
    """

    name: str
    address: int
    length: int
    signed: bool = False
    writable: bool = True
    default: int = 0
    low: int = 0
    high: int = 0
    scale: Scale = units.RAW

    @property
    def eeprom(self) -> bool:
        """Whether it survives a reboot and is locked while torque is on."""
        return self.address < EEPROM_END

    @property
    def end(self) -> int:
        """First address after it."""
        return self.address + self.length

    def encode(self, raw: int) -> bytes:
        """Raw value -> (length,) bytes.

        Raises:
            ValueError: the value does not fit.
        """
        try:
            return int(raw).to_bytes(self.length, "little", signed=self.signed)
        except OverflowError:
            kind = "signed" if self.signed else "unsigned"
            raise ValueError(f"{self.name}: expected a {kind} number of {self.length} bytes, got {raw}") from None

    def decode(self, data: bytes) -> int:
        """(length,) bytes -> raw value.

        Raises:
            ValueError: a wrong number of bytes; a short reply must never become the number 0.
        """
        if len(data) != self.length:
            raise ValueError(f"{self.name}: expected {self.length} bytes, got {len(data)}: {data.hex(' ')!r}")
        return int.from_bytes(data, "little", signed=self.signed)


@dataclass(frozen=True)
class ServoModel:
    """What distinguishes one kind of servo.

    Attributes:
        number: as a ping reports it.
        name: as it is sold.
        registers: name -> register, in order of address.
        operating_modes: values that `operating_mode` takes.
        stall_torque: [Nm] at 12 V.
        stall_current: [A] at 12 V.
        no_load_speed: [rad/s] at 12 V.
    """

    number: int
    name: str
    registers: Mapping[str, Register]
    operating_modes: frozenset[int]
    stall_torque: float
    stall_current: float
    no_load_speed: float

    @property
    def has_current(self) -> bool:
        """Whether it measures and limits current; without, `present_load` is at the same address."""
        return "present_current" in self.registers

    @property
    def stall_effort(self) -> float:
        """What it says of its effort when it stalls: current [A], or 1, its load as a share of the largest torque."""
        return self.stall_current if self.has_current else 1.0

    def __getitem__(self, name: str) -> Register:
        """The register of that name.

        Raises:
            KeyError: with the model and the names it has.
        """
        try:
            return self.registers[name]
        except KeyError:
            raise KeyError(f"{self.name} has no register {name!r}; it has {', '.join(self.registers)}") from None
