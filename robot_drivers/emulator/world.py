"""All servos and the physics behind them, moved on in small steps whenever somebody looks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from robot_drivers.dynamixel import units
from robot_drivers.emulator.alarms import alarms
from robot_drivers.emulator.backend import Backend, Motion
from robot_drivers.emulator.log import EventLog, Kind
from robot_drivers.emulator.motors import Motors
from robot_drivers.emulator.sensors import sensed
from robot_drivers.emulator.servo import Report, Servo
from robot_drivers.emulator.settings import Hardware
from robot_drivers.emulator.spec import BusSpec

STEP = 0.005  # [s]


class World:
    """Servos of several buses on shared physics.

    Args:
        buses: what there is.
        backends: physics; together they have every joint of the buses exactly once.
        log: where servos report.

    Attributes:
        backends: as given.
        servos: bus name -> its servos.
        motors: arrays over all servos.
        lock: hold it while reading or changing anything here.
        before_step: called with the time before every step; where faults act.

    Raises:
        ValueError: joints are missing or there twice.
    """

    def __init__(self, buses: Sequence[BusSpec], backends: Sequence[Backend], log: EventLog) -> None:
        joints = [name for backend in backends for name in backend.joints]
        wanted = [name for bus in buses for name in bus.joints]
        if sorted(joints) != sorted(wanted):
            raise ValueError(f"joints of the back ends: expected {sorted(wanted)}, got {sorted(joints)}")
        self._steps = 0
        self.lock = threading.RLock()
        self.before_step: list[Callable[[float], None]] = []
        self._log = log
        self.backends = tuple(backends)
        ends = np.cumsum([len(backend.joints) for backend in backends]).tolist()
        self._slices = [slice(end - len(backend.joints), end) for backend, end in zip(backends, ends, strict=True)]
        places = [(bus, spec) for bus in buses for spec in bus.servos]
        hardware = Hardware(
            [spec for _, spec in places],
            np.array([joints.index(f"{bus.name}/{spec.joint}") for bus, spec in places]),
            np.array([buses.index(bus) for bus, _ in places]),
            len(joints),
        )
        self.motors = Motors(hardware, _joined([backend.motion() for backend in backends]).position)
        self._all = [
            Servo(spec, index, self.motors, self._reporter(bus.name)) for index, (bus, spec) in enumerate(places)
        ]
        self.servos = {
            bus.name: [servo for servo, (owner, _) in zip(self._all, places, strict=True) if owner is bus]
            for bus in buses
        }

    @property
    def time(self) -> float:
        """[s] emulated so far."""
        return self._steps * STEP

    def advance(self, moment: float) -> None:
        """Let the world go on until `moment` [s]; nothing if it is there already."""
        while self.time + STEP <= moment:
            self._step()

    def sense(self, servos: Sequence[Servo], moment: float) -> None:
        """Put what these servos measure at `moment` [s] into their memories."""
        blocks = sensed(self.motors, moment, max(0.0, moment - self.time))
        for servo in servos:
            servo.sense(blocks[servo.index])

    def heard(self, servos: Sequence[Servo], moment: float) -> None:
        """An intact request passed by these servos at `moment` [s]."""
        self.motors.heard[[servo.index for servo in servos]] = moment

    def _step(self) -> None:
        for act in self.before_step:
            act(self.time)
        drive = self.motors.drive(STEP)
        parts = [
            backend.step(STEP, drive.part(joints)) for backend, joints in zip(self.backends, self._slices, strict=True)
        ]
        self.motors.measure(STEP, parts[0] if len(parts) == 1 else _joined(parts))
        self._steps += 1
        for index, bits in alarms(self.motors):
            self._all[index].shut_down(bits)
        raw = self.motors.raw
        limit = raw["bus_watchdog"] * units.WATCHDOG.factor
        late = (limit > 0) & self.motors.on & (self.time - self.motors.heard > limit)
        for index in np.flatnonzero(late).tolist():
            self._all[index].trip()
        for index in np.flatnonzero(self.motors.wakes <= self.time).tolist():
            self._all[index].wake()

    def _reporter(self, bus: str) -> Report:
        def report(kind: Kind, id: int, detail: str) -> None:
            self._log.add(self.time, bus, kind, id, detail)

        return report


def _joined(parts: Sequence[Motion]) -> Motion:
    position, velocity, torque = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("position", "velocity", "torque")
    )
    return Motion(position, velocity, torque)
