"""The memory of one servo: what it holds, what may be written when, and what a reboot forgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from robot_drivers.dynamixel.models import INDIRECT_BLOCKS, TABLE_END
from robot_drivers.dynamixel.registers import Register, ServoModel

RESULT, INSTRUCTION, RANGE, LENGTH, LIMIT, ACCESS = 1, 2, 4, 5, 6, 7  # see `errors.SERVO_ERRORS`
GOALS = frozenset({"goal_pwm", "goal_current", "goal_velocity", "goal_position"})
TRIPPED = -1  # `bus_watchdog` after it fired

POSITION_MODE = 3  # the only one in which position limits hold
_LIMIT_OF = {"goal_pwm": "pwm_limit", "goal_current": "current_limit", "goal_velocity": "velocity_limit"}


class Refused(Exception):
    """An instruction that the servo answers with an error.

    Attributes:
        code: see `errors.SERVO_ERRORS`.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class ControlTable:
    """Bytes with the rules of the control table.

    Args:
        model: which servo.
        eeprom: values that differ from the factory's.

    Attributes:
        writes: register name -> how often the host wrote it; for EEPROM, how far it is worn.
    """

    def __init__(self, model: ServoModel, eeprom: Mapping[str, int]) -> None:
        self.model = model
        self.writes: Counter[str] = Counter()
        self._bytes = bytearray(TABLE_END)
        self._starts = {register.address: register for register in model.registers.values()}
        self._places = {r.name: (slice(r.address, r.end), r.signed) for r in model.registers.values()}
        for register in model.registers.values():
            self.set(register.name, eeprom.get(register.name, register.default))
        self.forget()

    def forget(self) -> None:
        """Set RAM as after power came back."""
        for register in self.model.registers.values():
            if not register.eeprom:
                self.set(register.name, register.default)
        self.reset_goals()

    def reset_goals(self) -> None:
        """Goals that only cap start at their limit; the one that drives the motor in this mode starts at 0."""
        for goal, driving_mode in (("goal_pwm", 16), ("goal_current", 0)):
            if goal in self.model.registers:
                self.set(goal, 0 if self["operating_mode"] == driving_mode else self[_LIMIT_OF[goal]])

    def __getitem__(self, name: str) -> int:
        place, signed = self._places[name]
        return int.from_bytes(self._bytes[place], "little", signed=signed)

    def set(self, name: str, value: int) -> None:
        """Change a register from inside the servo, without rules."""
        register = self.model[name]
        self._bytes[register.address : register.end] = register.encode(value)

    def set_block(self, address: int, data: bytes) -> None:
        """Change bytes from inside the servo, without rules."""
        self._bytes[address : address + len(data)] = data

    def read(self, address: int, length: int) -> bytes:
        """What a read answers; addresses between registers read as 0.

        Raises:
            Refused: beyond the table.
        """
        if not 0 < length <= TABLE_END - address:
            raise Refused(RANGE, f"read of {length} bytes at {address}")
        if self._touches_indirect_data(address, length):
            return bytes(self._bytes[target] for target in self._targets(address, length))
        return bytes(self._bytes[address : address + length])

    def write(self, address: int, data: bytes, *, ram_only: bool = False) -> list[str]:
        """What a write does: all of it or nothing.

        Args:
            address: of the first byte.
            data: whole registers.
            ram_only: leave EEPROM as it is, as for a write to a secondary ID.

        Returns:
            The registers written.

        Raises:
            Refused: see `errors.SERVO_ERRORS`.
        """
        changes = self.check(address, data)
        if ram_only and any(register.eeprom for register, _ in changes):
            return []
        for register, value in changes:
            self.set(register.name, value)
            self.writes[register.name] += 1
        return [register.name for register, _ in changes]

    def check(self, address: int, data: bytes) -> list[tuple[Register, int]]:
        """What a write would change.

        Raises:
            Refused: it would not be allowed.
        """
        targets = self._targets(address, len(data))
        changes: list[tuple[Register, int]] = []
        start = 0
        while start < len(targets):
            register = self._starts.get(targets[start])
            if register is None:
                # Firmware reports 4, not 7, for addresses of another series: DynamixelSDK issue 175.
                raise Refused(RANGE, f"no register begins at {targets[start]}")
            end = start + register.length
            if targets[start:end] != list(range(register.address, register.end)):
                raise Refused(LENGTH, f"{register.name} needs {register.length} bytes")
            value = register.decode(data[start:end])
            self._allow(register, value)
            changes.append((register, value))
            start = end
        return changes

    def _allow(self, register: Register, value: int) -> None:
        name = register.name
        if not register.writable:
            raise Refused(ACCESS, f"{name} is read-only")
        if register.eeprom and self["torque_enable"]:
            raise Refused(ACCESS, f"{name} is EEPROM, locked while torque is on")
        if self["bus_watchdog"] == TRIPPED and (name in GOALS or (name == "bus_watchdog" and value)):
            raise Refused(RANGE, f"{name} is locked: the bus watchdog tripped")
        if not register.low <= value <= register.high:
            raise Refused(RANGE, f"{name} {value} outside {register.low}..{register.high}")
        if name == "operating_mode" and value not in self.model.operating_modes:
            raise Refused(RANGE, f"{self.model.name} has no operating mode {value}")
        if name == "torque_enable" and value and self["hardware_error_status"]:
            raise Refused(RESULT, "torque stays off after a shutdown, until a reboot")
        low, high = self._limits(name)
        if not low <= value <= high:
            raise Refused(LIMIT, f"{name} {value} outside {low}..{high}")

    def _limits(self, name: str) -> tuple[float, float]:
        if name in _LIMIT_OF:
            limit = self[_LIMIT_OF[name]]
            return -limit, limit
        if name == "goal_position" and self["operating_mode"] == POSITION_MODE:
            return self["min_position_limit"], self["max_position_limit"]
        return -float("inf"), float("inf")

    def _touches_indirect_data(self, address: int, length: int) -> bool:
        return any(address < data + 28 and address + length > data for _, _, data in INDIRECT_BLOCKS)

    def _targets(self, address: int, length: int) -> list[int]:
        """Where each byte of a block really lies, after indirect addresses."""
        targets = list(range(address, address + length))
        if self._touches_indirect_data(address, length):
            for _, addresses, data in INDIRECT_BLOCKS:
                for k, place in enumerate(targets):
                    if data <= place < data + 28:
                        pointer = addresses + 2 * (place - data)
                        targets[k] = int.from_bytes(self._bytes[pointer : pointer + 2], "little")
        return targets
