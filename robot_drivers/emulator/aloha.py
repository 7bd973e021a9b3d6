"""An ALOHA robot as data: two ViperX-300 followers, two WidowX-250 leaders, each on a bus of its own.

IDs, models, drive modes, limits and shadows: the vendor's vx300s and wx250s motor configurations
(Interbotix/interbotix_ros_manipulators) and the ALOHA read-me. Leaders are of the ALOHA edition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robot_drivers.clock import Clock
from robot_drivers.dynamixel import units
from robot_drivers.dynamixel.models import XC430_W150, XM430_W350, XM540_W270
from robot_drivers.dynamixel.registers import ServoModel
from robot_drivers.emulator.backend import Backend
from robot_drivers.emulator.joints import Joint, JointBackend
from robot_drivers.emulator.robot import EmulatedRobot
from robot_drivers.emulator.spec import BusSpec, ServoSpec
from robot_drivers.emulator.uart import Timing

JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
FOLLOWERS = ("follower_left", "follower_right")
LEADERS = ("leader_left", "leader_right")

# One row a servo: joint, model, reversed, position limits [ticks], ID that it shadows.
_Row = tuple[str, ServoModel, bool, int, int, int | None]
VX300S: tuple[_Row, ...] = (
    ("waist", XM540_W270, False, 0, 4095, None),
    ("shoulder", XM540_W270, True, 841, 2867, None),
    ("shoulder", XM540_W270, False, 841, 2867, 2),
    ("elbow", XM540_W270, True, 898, 3094, None),
    ("elbow", XM540_W270, False, 898, 3094, 4),
    ("forearm_roll", XM540_W270, False, 0, 4095, None),
    ("wrist_angle", XM540_W270, True, 830, 3504, None),
    ("wrist_rotate", XM430_W350, False, 0, 4095, None),
    ("gripper", XM430_W350, False, 0, 4095, None),
)
WX250S: tuple[_Row, ...] = (
    ("waist", XM430_W350, False, 0, 4095, None),
    ("shoulder", XM430_W350, False, 819, 3345, None),
    ("shoulder", XM430_W350, True, 819, 3345, 2),
    ("elbow", XM430_W350, False, 648, 3094, None),
    ("elbow", XM430_W350, True, 648, 3094, 4),
    ("forearm_roll", XM430_W350, False, 0, 4095, None),
    ("wrist_angle", XM430_W350, True, 910, 3447, None),
    ("wrist_rotate", XM430_W350, False, 0, 4095, None),
    ("gripper", XC430_W150, False, 0, 4095, None),
)
# Registers of single IDs: the follower's gripper closes with limited current (538 mA).
FOLLOWER_EEPROM: Mapping[int, Mapping[str, int]] = {9: {"operating_mode": 5, "current_limit": 200}}

SLEEP: Mapping[str, tuple[float, ...]] = {  # [rad] arms folded, grippers half open
    "follower": (0.0, -1.7, 1.55, 0.12, 0.65, 0.0, 0.4),
    "leader": (0.0, -1.1, 1.24, 0.0, -0.24, 0.0, 0.0),
}
_GRIPPER_STOPS = {"follower": (-0.75, 1.7), "leader": (-1.8, 1.0)}  # [rad] wide enough for all known assemblies
# Plausible, not measured: inertia [kg m^2], friction [Nm s/rad], weight [Nm], and where the joint hangs [rad].
_BODY = {
    "follower": {
        "waist": (0.2, 1.0, 0.0, 0.0),
        "shoulder": (0.25, 1.5, 4.0, -1.85),
        "elbow": (0.1, 1.0, 2.0, 1.6),
        "forearm_roll": (0.02, 0.5, 0.0, 0.0),
        "wrist_angle": (0.02, 0.5, 0.4, 0.8),
        "wrist_rotate": (0.005, 0.2, 0.0, 0.0),
        "gripper": (0.002, 0.2, 0.0, 0.0),
    },
    "leader": {
        "waist": (0.1, 0.5, 0.0, 0.0),
        "shoulder": (0.12, 0.8, 2.0, -1.88),
        "elbow": (0.05, 0.5, 1.0, 1.6),
        "forearm_roll": (0.01, 0.3, 0.0, 0.0),
        "wrist_angle": (0.01, 0.3, 0.2, -1.57),
        "wrist_rotate": (0.003, 0.1, 0.0, 0.0),
        "gripper": (0.002, 0.1, 0.0, 0.0),
    },
}


def aloha_buses() -> tuple[BusSpec, ...]:
    """The four buses, followers first, with the EEPROM that the robot's owner has set up."""
    followers = (BusSpec(name, _servos(VX300S, FOLLOWER_EEPROM)) for name in FOLLOWERS)
    leaders = (BusSpec(name, _servos(WX250S, {})) for name in LEADERS)
    return (*followers, *leaders)


def aloha_joints(bus: str) -> tuple[Joint, ...]:
    """The joints of one arm for the built-in back end.

    Args:
        bus: one of FOLLOWERS or LEADERS.
    """
    kind = "follower" if bus in FOLLOWERS else "leader"
    limits = {row[0]: units.POSITION.decode(row[3:5]).tolist() for row in (VX300S if kind == "follower" else WX250S)}
    limits["gripper"] = _GRIPPER_STOPS[kind]
    joints = []
    for name, start in zip(JOINTS, SLEEP[kind], strict=True):
        inertia, friction, weight, rest = _BODY[kind][name]
        low, high = limits[name]
        joints.append(Joint(f"{bus}/{name}", low, high, inertia, friction, weight, rest, start))
    return tuple(joints)


def emulated_aloha(
    *,
    backends: Sequence[Backend] | None = None,
    gravity: bool = True,
    clock: Clock | None = None,
    timing: Timing | None = None,
    seed: int = 0,
) -> EmulatedRobot:
    """The whole robot, arms folded and torque off.

    Args:
        backends: physics of all joints; the built-in one if None.
        gravity: whether arms fall without torque in the built-in back end.
        clock, timing, seed: see `EmulatedRobot`.
    """
    buses = aloha_buses()
    if backends is None:
        backends = [JointBackend([joint for bus in buses for joint in aloha_joints(bus.name)], gravity=gravity)]
    return EmulatedRobot(buses, backends, clock=clock, timing=timing, seed=seed)


def _servos(rows: tuple[_Row, ...], eeprom: Mapping[int, Mapping[str, int]]) -> tuple[ServoSpec, ...]:
    servos = []
    for id, (joint, model, reverse, low, high, shadowed) in enumerate(rows, start=1):
        values = {
            "baud_rate": 3,  # 1 Mbps
            "return_delay_time": 0,
            "velocity_limit": 131,  # 3.14 rad/s
            "drive_mode": int(reverse),
            "min_position_limit": low,
            "max_position_limit": high,
            "secondary_id": 255 if shadowed is None else shadowed,
            **eeprom.get(id, {}),
        }
        servos.append(ServoSpec(id, model, joint, mirrored=reverse, eeprom=values))
    return tuple(servos)
