"""Who notices that nobody commands any more: the host for a silent program, the servos for a silent host.

The servos' own watchdog stops them in silence: a sync write is not answered, so a tripped servo ignores goals without a
word. `RamWatch` reads it back.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.config import Watch
from robot_drivers.aloha.layout import ServoLayout
from robot_drivers.aloha.ram import TRIPPED, differences, read_ram, wanted
from robot_drivers.dynamixel.errors import BusError, Unplugged

ROUND = 1.8  # [s] in which every servo's RAM is read back


class Silence(Enum):
    """What the age of the newest command asks for."""

    NONE = auto()
    HOLD = auto()
    REST = auto()


class HostWatchdog:
    """Judges the age of commands.

    Args:
        watch: how long to wait.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._fed_at: float | None = None

    def feed(self, now: float) -> None:
        """A command came at `now` [s]."""
        self._fed_at = now

    def release(self) -> None:
        """Nobody is expected to command."""
        self._fed_at = None

    def silence(self, now: float) -> Silence:
        """What to do at `now` [s]."""
        if self._fed_at is None:
            return Silence.NONE
        age = now - self._fed_at
        if age > self._watch.rest_after:
            return Silence.REST
        return Silence.HOLD if age > self._watch.hold_after else Silence.NONE


@dataclass(frozen=True)
class Loss:
    """A servo whose RAM is not what it must be.

    Attributes:
        servo: which.
        registers: what differs.
        tripped: whether its bus watchdog fired.
        torque: whether its motor is off, though it ought to be on.
    """

    servo: ServoLayout
    registers: tuple[str, ...]
    tripped: bool
    torque: bool


class RamWatch:
    """Reads back one servo's RAM at a time, all of them within ROUND [s]; suspects at once.

    Args:
        arm: whose servos.
    """

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._every = int(ROUND * arm.config.hz / len(arm.layout.ids))
        self._ticks, self._next = 0, 0
        self._turn = self._put_off = False  # whether the next servo's turn has come, and whether a look was put off
        self._suspects: list[int] = []

    def suspect(self, ids: Collection[int]) -> None:
        """Read these back in the next ticks, one a tick."""
        self._suspects = list(dict.fromkeys((*self._suspects, *ids)))

    def step(self, silent: frozenset[int], until: float, *, short: bool = False) -> Loss | None:
        """One tick: what was found lost, if it was time to look.

        Args:
            silent: IDs that are rebooting.
            until: [s] when a look must be over.
            short: there is hardly time for one; it may be put off to the next tick, and no further.

        Raises:
            Unplugged: the port is gone.
        """
        self._ticks += 1
        ids = self._arm.layout.ids
        self._turn |= self._ticks % self._every == 0
        if not self._suspects and not self._turn:
            return None
        self._put_off = short and not self._put_off
        if self._put_off:
            return None
        if self._suspects:
            id = self._suspects.pop(0)
        else:
            id, self._next = ids[self._next], (self._next + 1) % len(ids)
            self._turn = False
        return None if id in silent else self._look(self._arm.layout.servo(id), until)

    def _look(self, servo: ServoLayout, until: float) -> Loss | None:
        try:
            with self._arm.bus.line():  # or torque might be switched on purpose in between
                torque, found = self._arm.torque[servo.id], read_ram(self._arm.bus, servo, until=until)
        except Unplugged:
            raise
        except BusError:
            self.suspect((servo.id,))  # ask again; that it is silent is seen elsewhere
            return None
        wrong = differences(found, wanted(servo, self._arm.config, torque=torque))
        if not wrong:
            return None
        return Loss(servo, wrong, found["bus_watchdog"] == TRIPPED, torque and not found["torque_enable"])
