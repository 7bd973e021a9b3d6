"""A driver on the emulated robot, on a virtual clock, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from robot_drivers.aloha.calibration import GRIPPER_SETS
from robot_drivers.aloha.emulated import aloha_emulated
from robot_drivers.aloha.layout import JOINTS, START
from robot_drivers.aloha.robot import AlohaRobot
from robot_drivers.emulator.aloha import emulated_aloha
from robot_drivers.emulator.clock import VirtualClock
from robot_drivers.emulator.faults import Fault, FaultKind
from robot_drivers.emulator.joints import JointBackend
from robot_drivers.emulator.robot import EmulatedRobot

LEFT, RIGHT = "follower_left", "follower_right"
HOME = np.tile(np.append(START, 0.5), 2)  # (14,)
TICK = 0.02  # [s]


class Bench:
    """The robot, what it runs on, and a way to let time pass.

    The test's thread attends the clock, so time passes only in `wait`, or when the driver itself waits.
    """

    def __init__(self, *, gravity: bool = True, seed: int = 0, **options) -> None:
        self.clock = VirtualClock()
        self.emulation: EmulatedRobot = emulated_aloha(clock=self.clock, gravity=gravity, seed=seed)
        self.robot: AlohaRobot = aloha_emulated(emulation=self.emulation, **options)

    @property
    def backend(self) -> JointBackend:
        return self.emulation.world.backends[0]

    def put_at_home(self) -> None:
        joints = (*JOINTS, "gripper")
        pose = [*START, GRIPPER_SETS["aloha"].follower.to_joint(0.5)]
        for bus in (LEFT, RIGHT):
            self.backend.place({f"{bus}/{joint}": angle for joint, angle in zip(joints, pose, strict=True)})

    def wait(self, seconds: float) -> None:
        self.clock.sleep_until(self.clock.now() + seconds)

    def fault(self, kind: FaultKind, bus: str = LEFT, **options) -> None:
        self.emulation.buses[bus].plan.add(Fault(kind, **options))

    def read(self, id: int, register: str, bus: str = LEFT) -> int:
        return self.emulation.read(bus, id, register)

    def follow(self, path, *, ticks: int) -> list[np.ndarray]:
        """Send path(k) for k = 1..ticks, a tick apart; the states read."""
        states = []
        for k in range(1, ticks + 1):
            self.robot.send_action(path(k))
            self.wait(TICK)
            states.append(self.robot.get_reading().state)
        return states


@contextmanager
def running(*, home: bool = True, **options) -> Iterator[Bench]:
    """A connected robot; without gravity it is put at home before, which saves the way."""
    bench = Bench(**options)
    put = home and not options.get("gravity", True)
    if put:
        bench.put_at_home()
    with bench.clock.attending():
        bench.robot.connect()
        try:
            if home and not put:
                bench.robot.go_to(HOME)
            yield bench
        finally:
            bench.robot.disconnect()


def wave(bench: Bench, amplitude: float = 0.2, hz: float = 0.25):
    """A path that starts and ends at rest at HOME."""

    def path(k: int) -> np.ndarray:
        action = HOME.copy()
        action[[0, 5, 7, 12]] += amplitude * (1 - np.cos(2 * np.pi * hz * k * TICK)) / 2
        return action

    return path
