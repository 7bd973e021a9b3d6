"""What a servo's RAM must hold. A reboot forgets it, and when the supply dips, a servo reboots without a word."""

from __future__ import annotations

from collections.abc import Mapping

from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import MODE_CURRENT_POSITION, MODE_POSITION, ServoLayout
from robot_drivers.dynamixel import units
from robot_drivers.dynamixel.bus import Bus

FIRST, END = 64, 116  # addresses from torque_enable to the end of profile_velocity
TRIPPED = -1  # `bus_watchdog` after it fired: the servo holds and takes no goals, without a word


def wanted(servo: ServoLayout, config: ArmConfig, *, torque: bool) -> Mapping[str, int]:
    """Register -> raw value."""
    values = {
        **config.gains,
        "profile_velocity": config.profile_velocity,
        "profile_acceleration": config.profile_acceleration,
        "bus_watchdog": round(config.watch.servo / units.WATCHDOG.factor) if torque else 0,
        "torque_enable": int(torque),
    }
    if servo.mode == MODE_CURRENT_POSITION:
        values["goal_current"] = config.gripper_current
    return values


def read_ram(bus: Bus, servo: ServoLayout, *, until: float | None = None) -> dict[str, int]:
    """Register -> raw value, of those from FIRST to END, in one request.

    Args:
        bus: where it is.
        servo: which.
        until: [s] in a tick: ask once, and wait no longer than this; None: there is time.

    Raises:
        BusError: see `errors`.
    """
    block = bus.read_block(servo.id, FIRST, END - FIRST, until=until)
    return {
        name: register.decode(block[register.address - FIRST : register.end - FIRST])
        for name, register in servo.model.registers.items()
        if register.address >= FIRST and register.end <= END
    }


def differences(found: Mapping[str, int], expected: Mapping[str, int]) -> tuple[str, ...]:
    """Names of registers that differ."""
    return tuple(name for name, raw in expected.items() if found[name] != raw)


def goal_ticks(servo: ServoLayout, ticks: int) -> int:
    """The nearest goal that the servo takes; beyond its limits it would refuse, and in a sync write in silence."""
    return min(servo.high, max(servo.low, ticks)) if servo.mode == MODE_POSITION else ticks


def restore(bus: Bus, servo: ServoLayout, config: ArmConfig, *, torque: bool) -> tuple[str, ...]:
    """Bring a servo's RAM to what it must be, without motion: the goal becomes the present position.

    Nothing is written that is right already; a servo that holds keeps its goal.

    Args:
        bus: where it is.
        servo: which.
        config: what it must hold.
        torque: whether its motor shall be on. A motor that is on is never switched off here.

    Returns:
        The registers that were wrong.

    Raises:
        BusError: see `errors`.
    """
    table, expected = servo.model.registers, wanted(servo, config, torque=torque)
    found = read_ram(bus, servo)
    wrong = differences(found, expected)
    if not torque:
        wrong = tuple(name for name in wrong if name != "torque_enable")
    if found["bus_watchdog"] == TRIPPED:
        bus.write(servo.id, table["bus_watchdog"], 0)
    holds = found["torque_enable"] == 1 and found["bus_watchdog"] != TRIPPED
    for name in wrong:
        if name not in ("bus_watchdog", "torque_enable"):
            bus.write(servo.id, table[name], expected[name])
    if torque and not holds:
        present = bus.read(servo.id, table["present_position"])
        bus.write(servo.id, table["goal_position"], goal_ticks(servo, present))
    for name in ("bus_watchdog", "torque_enable"):
        if name in wrong:
            bus.write(servo.id, table[name], expected[name])
    return wrong
