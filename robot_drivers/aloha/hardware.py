"""Real arms. They move only when the caller says so in so many words; nothing here ever becomes an emulation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.calibration import gripper_set
from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import LEADER_LAYOUTS, VX300S, ArmLayout
from robot_drivers.aloha.leaders import LeaderArms
from robot_drivers.aloha.robot import SIDES, AlohaRobot
from robot_drivers.cameras.camera import Camera
from robot_drivers.clock import Clock, SystemClock
from robot_drivers.dynamixel.bus import Bus
from robot_drivers.dynamixel.port import SerialPort

PORTS: Mapping[str, str] = {  # as udev names them, see 99-aloha.rules
    f"{role}_{side}": f"/dev/ttyDXL_{role}_{side}" for role in ("follower", "leader") for side in SIDES
}
NOT_ARMED = (
    "real arms: expected armed=true, got false; nothing was opened. Clear the workspace, keep a hand at the power "
    "switch, then say robot.armed=true; to try without arms use robot=aloha_emulated"
)


def aloha(
    *,
    armed: bool = False,
    ports: Mapping[str, str] = PORTS,
    gripper: str = "aloha",
    config: ArmConfig | None = None,
    cameras: Mapping[str, Camera] | None = None,
    write_eeprom: bool = False,
    clock: Clock | None = None,
) -> AlohaRobot:
    """Two followers on serial ports.

    Args:
        armed: must be True, or `connect` refuses.
        ports: bus -> path.
        gripper: name of the constants, see `calibration.GRIPPER_SETS`.
        config: behaviour.
        cameras: by name.
        write_eeprom: whether arming may set EEPROM values that differ.
        clock: real time if None.

    Raises:
        ValueError: unknown constants, or a port is missing in the mapping.
    """
    config, clock = config or ArmConfig(), clock or SystemClock()
    arms = [_arm(f"follower_{side}", ports, VX300S, config, clock) for side in SIDES]
    refusal = "" if armed is True else NOT_ARMED
    return AlohaRobot(
        arms, gripper_set(gripper), config, clock, cameras=cameras, refusal=refusal, write_eeprom=write_eeprom
    )


def leaders(
    *,
    ports: Mapping[str, str] = PORTS,
    model: str = "aloha_wx250s",
    gripper: str = "aloha",
    config: ArmConfig | None = None,
    clock: Clock | None = None,
) -> LeaderArms:
    """Two leaders on serial ports. They get torque only to be brought to the followers.

    Args:
        ports: bus -> path.
        model: see `layout.LEADER_LAYOUTS`.
        gripper, config, clock: see `aloha`.

    Raises:
        ValueError: unknown model or constants, or a port is missing in the mapping.
    """
    config, clock = config or ArmConfig(), clock or SystemClock()
    if model not in LEADER_LAYOUTS:
        raise ValueError(f"leader model {model!r} is unknown; known are {', '.join(LEADER_LAYOUTS)}")
    arms = [_arm(f"leader_{side}", ports, LEADER_LAYOUTS[model], config, clock) for side in SIDES]
    return LeaderArms(arms, gripper_set(gripper), VX300S, config, clock)


def _arm(name: str, ports: Mapping[str, str], layout: ArmLayout, config: ArmConfig, clock: Clock) -> Arm:
    if name not in ports:
        raise ValueError(f"ports: expected one for {name}, got {', '.join(ports)}")
    return Arm(Bus(name, partial(SerialPort, ports[name]), clock), layout, config, clock)
