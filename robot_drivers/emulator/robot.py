"""A running emulation: buses, physics, clock, and how a host gets at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from robot_drivers.clock import Clock, SystemClock
from robot_drivers.emulator.backend import Backend
from robot_drivers.emulator.bus import EmulatedBus
from robot_drivers.emulator.clock import Timeline, VirtualClock
from robot_drivers.emulator.log import EventLog
from robot_drivers.emulator.port import EmulatedPort
from robot_drivers.emulator.spec import BusSpec
from robot_drivers.emulator.terminal import TerminalPort
from robot_drivers.emulator.uart import Timing
from robot_drivers.emulator.world import World


class EmulatedRobot:
    """Several buses on one clock. Use it in a `with`, or call `close`.

    Args:
        buses: what there is.
        backends: physics; together they have every joint of the buses exactly once.
        clock: a `SystemClock` for people and processes, a `VirtualClock` for tests.
        timing: how much time the lines take.
        seed: of everything random; the same seed and requests give the same log on a virtual clock.

    Attributes:
        clock: the host's; give it to the driver.
        buses: name -> bus.
        log: account of packets and events.
        world: servos and physics.
    """

    def __init__(
        self,
        buses: Sequence[BusSpec],
        backends: Sequence[Backend],
        *,
        clock: Clock | None = None,
        timing: Timing | None = None,
        seed: int = 0,
    ) -> None:
        self.clock = clock or SystemClock()
        self.log = EventLog()
        self.world = World(buses, backends, self.log)
        self._timeline = Timeline(self.clock)
        self._terminals: list[TerminalPort] = []
        self.buses = {
            spec.name: EmulatedBus(
                spec,
                self.world,
                self.log,
                timing=timing or Timing(),
                seed=seed,
                suspend=self._timeline.skip,
            )
            for spec in buses
        }

    def __enter__(self) -> EmulatedRobot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def now(self) -> float:
        """[s] emulated time, to which the world has moved on when this returns."""
        moment = self._timeline.now()
        with self.world.lock:
            self.world.advance(moment)
        return moment

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on a virtual clock.

        Raises:
            ValueError: the clock is a real one.
        """
        if not isinstance(self.clock, VirtualClock):
            raise ValueError("advance: expected an emulation on a virtual clock; this one runs on real time, just wait")
        self._timeline.pass_to(self._timeline.now() + seconds)
        self.now()

    def read(self, bus: str, id: int, register: str) -> int:
        """What a servo has in a register now, without a packet.

        Raises:
            KeyError: no such bus, servo or register.
        """
        moment = self.now()
        with self.world.lock:
            servo = self.buses[bus].servo(id)
            self.world.sense([servo], moment)
            return servo.table[register]

    def writes(self, bus: str, id: int) -> dict[str, int]:
        """How often the host wrote each register of a servo; for EEPROM, its wear."""
        return dict(self.buses[bus].servo(id).table.writes)

    def port(self, bus: str, *, baudrate: int = 1_000_000, timeout: float | None = 0.0) -> EmulatedPort:
        """Open a bus without a pseudo-terminal, with the interface of `serial.Serial`.

        Raises:
            serial.SerialException: its cable is pulled.
        """
        return EmulatedPort(self.buses[bus], self._timeline, baudrate=baudrate, timeout=timeout)

    def serve(self, directory: Path) -> dict[str, Path]:
        """Put every bus on a pseudo-terminal.

        Args:
            directory: where links with the stable names `ttyDXL_<bus>` appear.

        Returns:
            bus -> link.
        """
        directory.mkdir(parents=True, exist_ok=True)
        links = {name: directory / f"ttyDXL_{name}" for name in self.buses}
        self._terminals += [TerminalPort(bus, self._timeline, links[name]) for name, bus in self.buses.items()]
        return links

    def close(self) -> None:
        """End all threads and remove the terminals."""
        while self._terminals:
            self._terminals.pop().close()
