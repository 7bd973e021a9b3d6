"""Brings back a joint whose servos switched themselves off after an overload or in the heat. Only a reboot does.

Never by itself: while they reboot nothing holds the joint, so somebody must support the arm. The other joints hold.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.recovery import AGAIN, PATIENCE, SETTLE
from robot_drivers.clock import Clock
from robot_drivers.dynamixel.errors import CorruptReply, NoReply, hardware_errors


def revive(arm: Arm, joint: str, clock: Clock, say: Callable[[str], None], ready: Callable[[], None]) -> None:
    """Reboot the servos of a joint that report a hardware error, and let them hold where they stand.

    Args:
        arm: not connected; its port is closed again in the end.
        joint: name of it.
        clock: to wait on.
        say: takes lines for people.
        ready: returns when somebody supports the arm; what it raises leaves everything as it is.

    Raises:
        ValueError: there is no such joint.
        BusError: see `errors`; what was not switched on yet stays without torque.
        RuntimeError: none of its servos reports an error, or one still does.
    """
    servos = [servo for servo in arm.layout.servos if servo.joint == joint]
    if not servos:
        known = ", ".join(dict.fromkeys(servo.joint for servo in arm.layout.servos))
        raise ValueError(f"joint: expected one of {known}, got {joint!r}")
    bus = arm.bus
    bus.open()
    try:
        off = {servo.id: bus.read(servo.id, servo.model["hardware_error_status"]) for servo in servos}
        broken = [servo for servo in servos if off[servo.id]]
        if not broken and not _let_go(arm, joint):
            raise RuntimeError(f"{bus.name} {joint}: expected a hardware error, got none; nothing was rebooted")
        for servo in broken:
            say(f"{bus.name} {joint} (ID {servo.id}): {', '.join(hardware_errors(off[servo.id]))}")
        ready()
        for servo in broken:
            with suppress(NoReply, CorruptReply):  # it may be rebooting all the same; the pings will tell
                bus.reboot(servo.id)
        clock.sleep_until(clock.now() + SETTLE)
        end = clock.now() + PATIENCE
        for servo in broken:
            while not _answers(arm, servo.id) and clock.now() < end:
                clock.sleep_until(clock.now() + AGAIN)
            if still := bus.read(servo.id, servo.model["hardware_error_status"]):
                why = ", ".join(hardware_errors(still))
                raise RuntimeError(f"{bus.name} {joint} (ID {servo.id}): still {why}; let it cool for 20 min")
        for servo in servos:
            arm.recover(servo)
        arm.set_torque(servos, True)
        for servo in servos:
            bus.write(servo.id, servo.model["bus_watchdog"], 0)  # nobody will be asking it: it must hold for ever
        say(f"{bus.name} {joint}: holds where it stands")
    finally:
        bus.close()


def _let_go(arm: Arm, joint: str) -> bool:
    """Whether it is limp in an arm that holds: somebody broke off after the reboot."""
    on = {servo.id: arm.bus.read(servo.id, servo.model["torque_enable"]) for servo in arm.layout.servos}
    own = [on[servo.id] for servo in arm.layout.servos if servo.joint == joint]
    return any(on.values()) and not all(own)


def _answers(arm: Arm, id: int) -> bool:
    try:
        arm.bus.ping(id)
    except (NoReply, CorruptReply):
        return False
    return True
