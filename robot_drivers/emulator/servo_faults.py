"""Faults of servos, supply and host: they act on the world as time passes, whether or not packets come."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from robot_drivers.emulator.faults import CONTINUOUS, ONCE, Fault, FaultKind, FaultPlan
from robot_drivers.emulator.motors import Motors
from robot_drivers.emulator.servo import Servo

BROWN_OUT = 0.4  # [s] until a servo answers again after its supply broke down


class ServoFaults:
    """Applies the plan of one bus to its servos; give it to `World.before_step`.

    Args:
        plan: of the bus.
        servos: of the bus.
        motors: of the world.
        plug: called with whether the USB cable is in.
        suspend: called with [s] that the host sleeps.
        report: called when a fault begins.
    """

    def __init__(
        self,
        plan: FaultPlan,
        servos: Sequence[Servo],
        motors: Motors,
        *,
        plug: Callable[[bool], None],
        suspend: Callable[[float], None],
        report: Callable[[Fault], None],
    ) -> None:
        self._plan, self._servos, self._motors = plan, servos, motors
        self._plug, self._suspend, self._report = plug, suspend, report
        self._active: tuple[Fault, ...] = ()
        self._done: list[Fault] = []

    def __call__(self, time: float) -> None:
        """What is due at `time` [s]."""
        faults = self._plan.faults
        active = tuple(fault for fault in faults if fault.kind in CONTINUOUS and fault.start <= time < fault.end)
        if active != self._active:
            self._change(active)
        for fault in faults:
            if fault.kind in ONCE and time >= fault.start and not any(fault is done for done in self._done):
                self._done.append(fault)
                self._report(fault)
                self._happen(fault, time)

    def _change(self, active: tuple[Fault, ...]) -> None:
        before, self._active = self._active, active
        for fault in active:
            if fault not in before:
                self._report(fault)
        unplugged = any(fault.kind == FaultKind.UNPLUG for fault in active)
        if unplugged != any(fault.kind == FaultKind.UNPLUG for fault in before):
            self._plug(not unplugged)
        for servo in self._servos:
            self._overlay(servo.index, [fault for fault in active if fault.concerns(servo.id)])

    def _overlay(self, index: int, active: Sequence[Fault]) -> None:
        motors = self._motors
        for array, kind in (
            (motors.encoder_shift, FaultKind.ENCODER_JUMP),
            (motors.heat, FaultKind.OVERHEAT),
            (motors.burden, FaultKind.OVERLOAD),
            (motors.dip, FaultKind.VOLTAGE_DIP),
        ):
            array[index] = sum(fault.amount for fault in active if fault.kind == kind)
        kinds = {fault.kind for fault in active}
        for array, kind, reading in (
            (motors.encoder_stuck, FaultKind.STUCK_ENCODER, motors.sensed_position(0.0)),
            (motors.sensor_stuck, FaultKind.FROZEN_TEMPERATURE, motors.sensed_temperature),
        ):
            array[index] = reading[index] if kind in kinds else math.nan

    def _happen(self, fault: Fault, time: float) -> None:
        if fault.kind == FaultKind.HOST_SUSPENDED:
            self._suspend(fault.amount)
        for servo in self._servos:
            if fault.concerns(servo.id):
                if fault.kind == FaultKind.BROWN_OUT:
                    servo.reboot(time + BROWN_OUT, "brown-out")
                elif fault.kind == FaultKind.WATCHDOG_TRIP:
                    servo.trip()
