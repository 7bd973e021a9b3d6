"""A small host for tests: one request at a time, on a port of the emulator."""

from __future__ import annotations

from robot_drivers.dynamixel import packet
from robot_drivers.dynamixel.models import XM430_W350
from robot_drivers.dynamixel.packet import Status
from robot_drivers.dynamixel.parser import Damage, Frame, Parser
from robot_drivers.emulator.aloha import aloha_buses, aloha_joints
from robot_drivers.emulator.clock import VirtualClock
from robot_drivers.emulator.joints import JointBackend
from robot_drivers.emulator.port import EmulatedPort
from robot_drivers.emulator.robot import EmulatedRobot

ARM = "follower_left"
REGISTERS = XM430_W350  # the table with the most registers; addresses are the same in all


def one_arm(bus: str = ARM, **options) -> EmulatedRobot:
    """One arm on a virtual clock, with the built-in back end as `robot.world.backends[0]`."""
    options.setdefault("clock", VirtualClock())
    gravity = options.pop("gravity", False)
    spec = options.pop("spec", None) or next(spec for spec in aloha_buses() if spec.name == bus)
    return EmulatedRobot([spec], [JointBackend(aloha_joints(spec.name), gravity=gravity)], **options)


class Host:
    """Sends packets and collects what comes back within `patience` [s]."""

    def __init__(self, robot: EmulatedRobot, bus: str = ARM, patience: float = 0.02) -> None:
        self.robot, self.patience = robot, patience
        self.port: EmulatedPort = robot.port(bus, timeout=patience)

    def exchange(self, request: bytes) -> list[Frame | Damage]:
        """What the host reads within its patience."""
        self.port.write(request)
        parser = Parser()
        return parser.feed(self.port.read(4096)) + parser.flush()

    def ask(self, request: bytes) -> list[Status]:
        """The intact statuses among it."""
        return [s for item in self.exchange(request) if isinstance(item, Frame) and (s := item.status()) is not None]

    def write(self, id: int, name: str, value: int) -> Status | None:
        """Write one register; None if nobody answers."""
        register = REGISTERS[name]
        statuses = self.ask(packet.write(id, register.address, register.encode(value)))
        return statuses[0] if statuses else None

    def read(self, id: int, name: str) -> int:
        """Read one register."""
        register = REGISTERS[name]
        [status] = self.ask(packet.read(id, register.address, register.length))
        return register.decode(status.params)

    def sync_write(self, name: str, values: dict[int, int]) -> None:
        """Write a register of several servos; nobody answers."""
        register = REGISTERS[name]
        self.port.write(packet.sync_write(register.address, [(id, register.encode(v)) for id, v in values.items()]))

    def positions(self, *ids: int) -> list[int]:
        """Present positions [ticks]."""
        return [REGISTERS["present_position"].decode(s.params) for s in self.ask(packet.sync_read(ids, 132, 4))]
