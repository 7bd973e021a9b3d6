"""One servo: its memory, and what writing to it does to its motor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from robot_drivers.dynamixel.errors import ALERT, hardware_errors
from robot_drivers.emulator.log import Kind
from robot_drivers.emulator.memory import GOALS, INSTRUCTION, TRIPPED, ControlTable, Refused
from robot_drivers.emulator.motors import Motors
from robot_drivers.emulator.sensors import FIRST
from robot_drivers.emulator.settings import FOLLOWED
from robot_drivers.emulator.spec import ServoSpec

TORQUE_ON_BY_GOAL = 8  # bit of `drive_mode`
# What a change of the operating mode sets back, by the manual's note on Operating Mode (11).
RESET_BY_MODE = (
    "position_d_gain", "position_i_gain", "position_p_gain", "feedforward_2nd_gain", "feedforward_1st_gain",
    "profile_acceleration", "profile_velocity",
)  # fmt: skip

Report = Callable[[Kind, int, str], None]


class Servo:
    """Memory, motor and state of one servo.

    Args:
        spec: which one, and how it is mounted.
        index: its place in the arrays of `motors`.
        motors: of all servos.
        report: called with kind, ID and words when something happens inside.

    Attributes:
        table: its memory.
    """

    def __init__(self, spec: ServoSpec, index: int, motors: Motors, report: Report) -> None:
        self.spec, self.index = spec, index
        self.table = ControlTable(spec.model, {"id": spec.id, **spec.eeprom})
        self._motors, self._report = motors, report
        self._registered: tuple[int, bytes] | None = None
        self._power_up()

    @property
    def id(self) -> int:
        """The ID it answers to."""
        return self.table["id"]

    @property
    def asleep(self) -> bool:
        """Whether it is rebooting: deaf, mute and without torque."""
        return math.isfinite(self._motors.wakes[self.index])

    @property
    def alert(self) -> int:
        """The alert bit for the error byte, if there is a hardware error."""
        return ALERT if self.table["hardware_error_status"] else 0

    def sense(self, block: bytes) -> None:
        """Put fresh measurements into the memory, see `sensors.sensed`."""
        self.table.set_block(FIRST, block)

    def report(self, kind: Kind, detail: str) -> None:
        """Note something in the log."""
        self._report(kind, self.id, detail)

    def write(self, address: int, data: bytes, *, ram_only: bool = False) -> None:
        """Carry out a write.

        Raises:
            Refused: by the rules of the memory; nothing was changed.
        """
        was_on, mode = self.table["torque_enable"], self.table["operating_mode"]
        names = self.table.write(address, data, ram_only=ram_only)
        if self.table["operating_mode"] != mode:
            self._reset(RESET_BY_MODE)
        if self.table["drive_mode"] & TORQUE_ON_BY_GOAL and GOALS.intersection(names):
            self.table.set("torque_enable", 1)
        self._follow(names if len(names) == 1 and names[0] in GOALS else FOLLOWED)
        on = self.table["torque_enable"]
        if on != was_on:
            self.report(Kind.TORQUE, "on" if on else "off")
        if on > was_on:
            self._motors.hold(self.index)
        if on > was_on or "goal_position" in names or "goal_velocity" in names:
            self._motors.aim(self.index)
        if "bus_watchdog" in names:
            self._motors.tripped[self.index] = False
            self._motors.changed()

    def reg_write(self, address: int, data: bytes) -> None:
        """Keep a write for `action`.

        Raises:
            Refused: it would be refused now.
        """
        self.table.check(address, data)
        self._registered = address, data
        self.table.set("registered_instruction", 1)

    def action(self) -> None:
        """Carry out what `reg_write` kept.

        Raises:
            Refused: nothing is kept, or the write is refused by now.
        """
        if self._registered is None:
            raise Refused(INSTRUCTION, "action without reg write")
        (address, data), self._registered = self._registered, None
        self.table.set("registered_instruction", 0)
        self.write(address, data)

    def reboot(self, until: float, why: str) -> None:
        """Lose RAM and torque, and sleep until that moment [s]."""
        self._motors.wakes[self.index] = until
        self._set_torque_off()
        self.table.set("hardware_error_status", 0)
        self._follow(("hardware_error_status",))
        self.report(Kind.REBOOT, why)

    def wake(self) -> None:
        """End a reboot."""
        self._motors.wakes[self.index] = math.inf
        self._power_up()

    def shut_down(self, bits: int) -> None:
        """Switch the motor off for these bits of `hardware_error_status`."""
        self.table.set("hardware_error_status", self.table["hardware_error_status"] | bits)
        self._follow(("hardware_error_status",))
        self.report(Kind.ALARM, ", ".join(hardware_errors(bits)))
        self._set_torque_off()

    def trip(self) -> None:
        """The bus watchdog fires: stop where you are, keep torque, take no goals."""
        self.table.set("bus_watchdog", TRIPPED)
        self._motors.tripped[self.index] = True
        self._follow(("bus_watchdog",))
        self._motors.hold(self.index)
        self.report(Kind.WATCHDOG, "tripped")

    def _power_up(self) -> None:
        self.table.forget()
        self._registered = None
        self._motors.tripped[self.index] = False
        self._motors.overloaded[self.index] = 0.0
        self._follow(FOLLOWED)
        self._motors.forget_turns(self.index)
        self._motors.hold(self.index)
        self.table.set("goal_position", round(self._motors.profile.position[self.index]))
        self._follow(("goal_position",))

    def _set_torque_off(self) -> None:
        if self.table["torque_enable"]:
            self.table.set("torque_enable", 0)
            self._follow(("torque_enable",))
            self.report(Kind.TORQUE, "off")

    def _reset(self, names: Iterable[str]) -> None:
        for name in names:
            self.table.set(name, self.spec.model[name].default)
        self.table.reset_goals()

    def _follow(self, names: Iterable[str]) -> None:
        """Let the motor know these registers."""
        for name in names:
            if name in self.spec.model.registers and name in self._motors.raw:
                self._motors.raw[name][self.index] = self.table[name]
                if name != "goal_position":
                    self._motors.changed()
