"""What can go wrong on the bus, as types. Every message says where, what was expected, what came, what to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

ALERT = 0x80  # in the error byte of any status: `hardware_error_status` is not zero

SERVO_ERRORS: Mapping[int, str] = MappingProxyType(
    {
        0: "no error",
        1: "result fail: the instruction could not be carried out",
        2: "instruction error: unknown instruction, or action without reg write",
        3: "CRC error: the request arrived damaged",
        4: "data range error: value or address out of range, or a goal written after the bus watchdog tripped",
        5: "data length error: too few bytes for the register",
        6: "data limit error: value outside the limit that another register sets",
        7: "access error: read-only register, or EEPROM while torque is on",
    }
)
HARDWARE_ERRORS: Mapping[int, str] = MappingProxyType(
    {
        0x01: "input voltage",
        0x04: "overheating",
        0x08: "motor encoder",
        0x10: "electrical shock",
        0x20: "overload",
    }
)


def hardware_errors(status: int) -> tuple[str, ...]:
    """The names of the bits that are set in `hardware_error_status`."""
    names = [name for bit, name in HARDWARE_ERRORS.items() if status & bit]
    unknown = status & ~sum(HARDWARE_ERRORS)
    return (*names, f"unknown bits 0x{unknown:02x}") if unknown else tuple(names)


class BusError(RuntimeError):
    """Something went wrong on a bus.

    Args:
        where: port, servo and register or instruction.
        expected: what should have come.
        got: what came.
        remedy: what the reader can do.
    """

    def __init__(self, where: str, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"{where}: expected {expected}, got {got}. {remedy}")
        self.where = where


class NoReply(BusError):
    """One or more servos did not answer in time.

    Attributes:
        ids: which.
    """

    def __init__(self, where: str, ids: Collection[int], waited: float) -> None:
        self.ids = tuple(ids)
        super().__init__(
            where,
            f"a status packet of ID {_listed(self.ids)}",
            f"none within {1000 * waited:.1f} ms",
            "Check power (12 V), the 3-pin cables, ID and baud rate of the servo, and that no hub is in between.",
        )


class CorruptReply(BusError):
    """Bytes came, but not the reply that was asked for.

    Attributes:
        ids: whose reply is missing.
    """

    def __init__(self, where: str, ids: Collection[int], damage: str) -> None:
        self.ids = tuple(ids)
        super().__init__(
            where,
            f"an intact status packet of ID {_listed(self.ids)}",
            damage,
            "Check cables and connectors; two servos with one ID, or a second program on the port, look the same.",
        )


class ServoError(BusError):
    """A servo refused an instruction.

    Attributes:
        id: which servo.
        code: error number, see `SERVO_ERRORS`.
        alert: whether the servo also reports a hardware error.
    """

    def __init__(self, where: str, id: int, error: int) -> None:
        self.id, self.code, self.alert = id, error & ~ALERT, bool(error & ALERT)
        meaning = SERVO_ERRORS.get(self.code, "unknown")
        alert = "; its alert bit is set: read hardware_error_status (70)" if self.alert else ""
        super().__init__(
            where,
            f"ID {id} to obey",
            f"error {self.code} ({meaning}){alert}",
            "Compare the value with the limits in its EEPROM, and the register with the model's control table.",
        )


class PortBusy(BusError):
    """Another program holds the port."""

    def __init__(self, port: str, detail: str) -> None:
        super().__init__(
            port,
            "to be the only one who opens it",
            detail,
            "Close Dynamixel Wizard, other drivers, or an earlier run of this one.",
        )


class PortMissing(BusError):
    """There is no such port, or it may not be opened."""

    def __init__(self, port: str, detail: str) -> None:
        super().__init__(
            port,
            "a serial port that can be opened",
            detail,
            "Check the USB cable, the udev rule that names the port, and that you are in its group (dialout).",
        )


class Unplugged(BusError):
    """The port disappeared while it was in use."""

    def __init__(self, port: str, detail: str) -> None:
        super().__init__(port, "an open port", detail, "Plug the USB cable back in; the driver opens the port again.")


def _listed(ids: Collection[int]) -> str:
    return ", ".join(str(servo) for servo in ids)
