"""Lays the arms down, and lets them go limp there: the end of a day, in one command."""

from __future__ import annotations

from collections.abc import Callable

from robot_drivers.aloha.robot import AlohaRobot


def lower(robot: AlohaRobot, say: Callable[[str], None], *, torque_off: bool = True) -> None:
    """Take hold of the arms where they are, move them slowly to rest, and switch torque off if asked.

    Whatever interrupts it, also Ctrl-C: the arms hold where they are, with torque.

    Args:
        robot: not connected; it is disconnected in the end.
        say: takes lines for people.
        torque_off: whether they may go limp. Only arms that are at rest do.

    Raises:
        CameraError, ArmingRefused, BusError, RuntimeError: it cannot be connected.
        SafetyStop: resistance on the way, or an arm that is not at rest; torque stays on.
    """
    robot.connect()
    try:
        say("going to rest slowly; Ctrl-C: the arms hold")
        robot.rest()
        if torque_off:
            robot.torque_off()
        say(f"the arms are at rest, torque is {'off' if torque_off else 'on'}")
    finally:
        robot.disconnect()
