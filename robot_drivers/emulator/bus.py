"""One bus: requests in, replies out, each at its time."""

from __future__ import annotations

import random
from collections.abc import Callable

from robot_drivers.dynamixel.packet import BROADCAST
from robot_drivers.dynamixel.parser import Damage, Frame, Parser
from robot_drivers.emulator.faults import Fault, FaultKind, FaultPlan
from robot_drivers.emulator.log import EventLog, Kind
from robot_drivers.emulator.protocol import Dispatcher, Reply
from robot_drivers.emulator.servo import Servo
from robot_drivers.emulator.servo_faults import ServoFaults
from robot_drivers.emulator.spec import BusSpec
from robot_drivers.emulator.uart import Delivery, Line, Timing
from robot_drivers.emulator.wire_faults import EFFECTS
from robot_drivers.emulator.world import World

PAUSE = 0.01  # [s] after so long a silence, what is left of a request is forgotten


class EmulatedBus:
    """The servos behind one adapter, as the host's bytes meet them.

    Args:
        spec: what is on the bus.
        world: where its servos live.
        log: account of packets and events.
        timing: how much time the line takes.
        seed: of everything random.
        suspend: called with [s] when a fault lets the host sleep.

    Attributes:
        name: of the bus.
        servos: on it.
        plan: its faults; add to it at any time.
        plugged: whether the USB cable is in.
    """

    def __init__(
        self,
        spec: BusSpec,
        world: World,
        log: EventLog,
        *,
        timing: Timing,
        seed: int,
        suspend: Callable[[float], None],
    ) -> None:
        self.name = spec.name
        self.servos = world.servos[spec.name]
        self.plan = FaultPlan(f"{seed}/{spec.name}/faults")
        self.plugged = True
        self._world, self._log = world, log
        self._line = Line(timing, random.Random(f"{seed}/{spec.name}/line"))
        self._dispatcher = Dispatcher(self.servos, world, random.Random(f"{seed}/{spec.name}/reboots"))
        self._parser, self._heard_at, self._number = Parser(), 0.0, 0
        faults = ServoFaults(
            self.plan,
            self.servos,
            world.motors,
            plug=self.plug,
            suspend=suspend,
            report=lambda fault: self._note_fault(world.time, fault),
        )
        world.before_step.append(faults)

    def servo(self, id: int) -> Servo:
        """The servo that answers to `id`.

        Raises:
            KeyError: there is none, or more than one.
        """
        found = [servo for servo in self.servos if servo.id == id]
        if len(found) != 1:
            ids = [servo.id for servo in self.servos]
            raise KeyError(f"{self.name}: expected one servo with ID {id}, got {len(found)}; there are {ids}")
        return found[0]

    def plug(self, plugged: bool) -> None:
        """Pull the USB cable or put it back; the servos keep their supply."""
        with self._world.lock:
            if plugged != self.plugged:
                self.plugged = plugged
                self._log.add(self._world.time, self.name, Kind.REPLUG if plugged else Kind.UNPLUG, None, "")

    def catch_up(self, now: float) -> None:
        """Let time pass until `now` [s] without a request."""
        with self._world.lock:
            self._world.advance(now)

    def receive(self, data: bytes, now: float, baud: int) -> list[Delivery]:
        """The host writes `data` at `now` [s]: what it will read, and when."""
        with self._world.lock:
            found: list[Frame | Damage] = []
            if now - self._heard_at > PAUSE:
                found += self._parser.flush()
            self._heard_at = now
            found += self._parser.feed(data)
            deliveries: list[Delivery] = []
            for item in found:
                if isinstance(item, Damage):
                    self._log.add(now, self.name, Kind.DAMAGE, None, str(item))
                else:
                    deliveries += self._exchange(item, now, baud)
            return deliveries

    def _exchange(self, frame: Frame, now: float, baud: int) -> list[Delivery]:
        """One request and its replies."""
        arrived, collided = self._line.request(len(frame.wire), baud, now)
        self._world.advance(arrived)
        number, self._number = self._number, self._number + 1
        self._log.add(arrived, self.name, Kind.REQUEST, frame.id, frame.wire.hex())
        if collided:
            self._log.add(arrived, self.name, Kind.COLLISION, frame.id, "the host wrote into a reply")
            return []

        def strikes(kinds: frozenset[FaultKind], id: int) -> list[Fault]:
            struck = self.plan.strikes(kinds, arrived, number, id, frame.instruction)
            for fault in struck:
                self._note_fault(arrived, fault)
            return struck

        if strikes(_LOST, frame.id):
            return []
        replies = [Reply(BROADCAST, frame.wire)] if strikes(_ECHOED, frame.id) else []
        for reply in self._dispatcher.answer(frame, baud, arrived):
            pieces = [reply]
            for fault in strikes(_REPLIES, reply.id) if reply.wire else ():
                effect = EFFECTS[fault.kind]
                pieces = [
                    changed
                    for piece in pieces
                    for changed in (effect(piece, fault, self.plan.rng) if piece.wire else [piece])
                ]
            replies += pieces
        for reply in replies:
            if reply.wire:
                self._log.add(arrived, self.name, Kind.REPLY, reply.id, reply.wire.hex())
        return self._line.replies(replies, baud, arrived)

    def _note_fault(self, time: float, fault: Fault) -> None:
        self._log.add(time, self.name, Kind.FAULT, None, str(fault.kind))


_LOST = frozenset({FaultKind.DROP_REQUEST})
_ECHOED = frozenset({FaultKind.ECHO})
_REPLIES = frozenset(EFFECTS)
