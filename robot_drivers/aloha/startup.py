"""From closed ports to ticking workers, of all arms or of none."""

from __future__ import annotations

from collections.abc import Sequence

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.worker import ArmWorker
from robot_drivers.clock import Clock


def start_workers(
    arms: Sequence[Arm], clock: Clock, *, torque: bool, write_eeprom: bool = False
) -> tuple[ArmWorker, ...]:
    """Open, check and arm every arm, then start its ticks.

    Args:
        arms: not connected.
        clock: their time.
        torque: whether to switch motors on.
        write_eeprom: whether arming may set EEPROM values that differ.

    Raises:
        ArmingRefused, BusError: every port is closed again; an arm that was armed already holds.
    """
    workers: list[ArmWorker] = []
    try:
        for arm in arms:
            arm.connect(torque=torque, write_eeprom=write_eeprom)
            workers.append(ArmWorker(arm, clock))
            workers[-1].start()
    except BaseException:
        for worker in workers:
            worker.end()
        for arm in arms:
            arm.bus.close()
        raise
    return tuple(workers)
