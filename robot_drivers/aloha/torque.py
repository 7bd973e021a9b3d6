"""Switches several motors in a few requests for all of them: one by one they would take a session several ticks.

Nobody answers to a sync write, and one may be lost, so each is read back before the next one relies on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import ServoLayout
from robot_drivers.aloha.ram import goal_ticks, restore, wanted
from robot_drivers.dynamixel.bus import Bus
from robot_drivers.dynamixel.registers import Register


def switch_on(bus: Bus, servos: Sequence[ServoLayout], config: ArmConfig) -> None:
    """Let limp motors hold where they stand.

    Args:
        bus: where they are.
        servos: which; gains and profiles are in their RAM already, as connecting left it.
        config: what RAM must hold.

    Raises:
        BusError: see `errors`; some may have been switched on.
    """
    torque, watchdog, goal, position = _registers(servos)
    patience = wanted(servos[0], config, torque=True)["bus_watchdog"]
    present = _read(bus, [servo.id for servo in servos], (position,))
    goals = {servo.id: goal_ticks(servo, present[servo.id][position]) for servo in servos if servo.id in present}
    # With an old goal, which stays where a request is lost, a motor would jump as it comes on.
    ready = _written(bus, {id: {watchdog: patience, goal: ticks} for id, ticks in goals.items()})
    done = _written(bus, {id: {torque: 1} for id in ready})
    for servo in servos:
        if servo.id not in done:
            restore(bus, servo, config, torque=True)


def switch_off(bus: Bus, servos: Sequence[ServoLayout]) -> None:
    """Let motors go limp; their joints fall.

    Args:
        bus: where they are.
        servos: which.

    Raises:
        BusError: see `errors`; some may have been switched off.
    """
    torque, watchdog, *_ = _registers(servos)
    done = _written(bus, {servo.id: {watchdog: 0, torque: 0} for servo in servos})
    for servo in servos:
        if servo.id not in done:
            bus.write(servo.id, watchdog, 0)
            bus.write(servo.id, torque, 0)


def _registers(servos: Sequence[ServoLayout]) -> tuple[Register, ...]:
    """The same for all models of an arm."""
    return tuple(
        servos[0].model[name] for name in ("torque_enable", "bus_watchdog", "goal_position", "present_position")
    )


def _written(bus: Bus, values: Mapping[int, Mapping[Register, int]]) -> list[int]:
    """Write by ID the same registers of several servos; who has them so."""
    if not values:
        return []
    registers = tuple(next(iter(values.values())))
    for register in registers:
        bus.sync_write(register, {id: raw[register] for id, raw in values.items()})
    return [id for id, found in _read(bus, tuple(values), registers).items() if found == values[id]]


def _read(bus: Bus, ids: Collection[int], registers: Collection[Register]) -> dict[int, dict[Register, int]]:
    """By ID of those that answer, what is in these registers."""
    first, end = min(r.address for r in registers), max(r.end for r in registers)
    replies = bus.sync_read(tuple(ids), first, end - first)
    return {
        id: {r: r.decode(status.params[r.address - first : r.end - first]) for r in registers}
        for id, status in replies.statuses.items()
        if not status.code
    }
