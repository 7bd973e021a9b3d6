"""The same robot on the emulated bus. Nothing here can reach hardware, and nothing falls back to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import serial

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.calibration import gripper_set
from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import ALOHA_WX250S, VX300S
from robot_drivers.aloha.leaders import LeaderArms
from robot_drivers.aloha.robot import SIDES, AlohaRobot
from robot_drivers.cameras.camera import Camera, Device
from robot_drivers.cameras.frames import FrameLimits
from robot_drivers.cameras.live import LiveCamera
from robot_drivers.clock import Clock
from robot_drivers.dynamixel.bus import Bus
from robot_drivers.dynamixel.errors import PortMissing
from robot_drivers.dynamixel.port import Port, StreamPort
from robot_drivers.emulator.aloha import LEADERS, aloha_joints, emulated_aloha
from robot_drivers.emulator.backend import Backend
from robot_drivers.emulator.joints import JointBackend
from robot_drivers.emulator.robot import EmulatedRobot


class Scene(Backend, Protocol):
    """Physics of both followers in a world that can be seen, such as a simulator."""

    def camera(self, name: str) -> Device:
        """A device that films it.

        Raises:
            ValueError: there is no such camera.
        """


def emulated_bus(emulation: EmulatedRobot, name: str, clock: Clock) -> Bus:
    """A bus of the emulation, without pseudo-terminals."""

    def open_port() -> Port:
        try:
            return StreamPort(emulation.port(name))
        except serial.SerialException as error:
            raise PortMissing(name, str(error)) from error

    return Bus(name, open_port, clock)


def aloha_emulated(
    *,
    emulation: EmulatedRobot | None = None,
    clock: Clock | None = None,
    seed: int = 0,
    gripper: str = "aloha",
    config: ArmConfig | None = None,
    cameras: Mapping[str, Camera] | None = None,
) -> AlohaRobot:
    """Two followers on an emulated bus.

    Args:
        emulation: a running one, whose clock is used; one of its own if None, closed at the end.
        clock: of an emulation of its own; real time if None.
        seed: of an emulation of its own.
        gripper: name of the constants, see `calibration.GRIPPER_SETS`.
        config: behaviour.
        cameras: by name.
    """
    on_close: Callable[[], None] = lambda: None  # noqa: E731
    if emulation is None:
        emulation = emulated_aloha(clock=clock, seed=seed)
        on_close = emulation.close
    grippers, config = gripper_set(gripper), config or ArmConfig()
    arms = [
        Arm(emulated_bus(emulation, f"follower_{side}", emulation.clock), VX300S, config, emulation.clock)
        for side in SIDES
    ]
    return AlohaRobot(arms, grippers, config, emulation.clock, cameras=cameras, on_close=on_close)


def aloha_in_scene(
    scene: Scene,
    *,
    cameras: Sequence[str] = (),
    frame_limits: FrameLimits | None = None,
    clock: Clock | None = None,
    seed: int = 0,
    gripper: str = "aloha",
    config: ArmConfig | None = None,
) -> AlohaRobot:
    """Two followers on an emulated bus, whose servos move a simulated scene, and cameras that film it.

    Args:
        scene: physics of the followers; leaders get the built-in one.
        cameras: names, as the scene has them.
        frame_limits: of all of them.
        clock, seed, gripper, config: see `aloha_emulated`.

    Raises:
        ValueError: there is no such camera.
    """
    leaders = JointBackend([joint for bus in LEADERS for joint in aloha_joints(bus)])
    emulation = emulated_aloha(backends=[scene, leaders], clock=clock, seed=seed)
    films = {name: LiveCamera(scene.camera(name), frame_limits) for name in cameras}
    return aloha_emulated(emulation=emulation, gripper=gripper, config=config, cameras=films)


def leaders_emulated(
    emulation: EmulatedRobot, *, gripper: str = "aloha", config: ArmConfig | None = None
) -> LeaderArms:
    """The two leaders of the same emulation; move them with its back end's `guide`.

    Args:
        emulation: running.
        gripper, config: see `aloha_emulated`.
    """
    grippers, config = gripper_set(gripper), config or ArmConfig()
    arms = [
        Arm(emulated_bus(emulation, f"leader_{side}", emulation.clock), ALOHA_WX250S, config, emulation.clock)
        for side in SIDES
    ]
    return LeaderArms(arms, grippers, VX300S, config, emulation.clock)
