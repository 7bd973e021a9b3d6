"""The arms as data: joints, servos, limits, poses.

IDs, models, drive modes and tick limits: the vendor's vx300s and wx250s motor configurations
(Interbotix/interbotix_ros_manipulators); joint limits: the vendor's URDF, which gym-aloha's model repeats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from robot_drivers.dynamixel.models import MODELS, XC430_W150, XL430_W250, XM430_W350, XM540_W270
from robot_drivers.dynamixel.registers import ServoModel
from vla.types import FloatArray

JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
GRIPPER_ID = 9
NO_SECONDARY = 255
MODE_POSITION, MODE_CURRENT_POSITION = 3, 5  # `operating_mode`


@dataclass(frozen=True)
class ServoLayout:
    """One servo as it must be found.

    Attributes:
        id: ID.
        joint: which joint it moves.
        model: which servo it is.
        reverse: drive mode bit 0; the servo itself turns the sign.
        low, high: [ticks] position limits in its EEPROM.
        shadows: ID of the servo whose writes it obeys; None for one that leads.
        mode: operating mode.
        current_limit: [2.69 mA] in its EEPROM; None where it does not matter.
    """

    id: int
    joint: str
    model: ServoModel
    reverse: bool = False
    low: int = 0
    high: int = 4095
    shadows: int | None = None
    mode: int = MODE_POSITION
    current_limit: int | None = None

    @property
    def eeprom(self) -> Mapping[str, int]:
        """What its EEPROM must hold, as raw values. Only compared, unless told otherwise."""
        values = {
            "return_delay_time": 0,
            "drive_mode": int(self.reverse),
            "operating_mode": self.mode,
            "secondary_id": NO_SECONDARY if self.shadows is None else self.shadows,
            "velocity_limit": 131,  # 3.14 rad/s
            "max_position_limit": self.high,
            "min_position_limit": self.low,
        }
        return values if self.current_limit is None else {**values, "current_limit": self.current_limit}


@dataclass(frozen=True, eq=False)
class ArmLayout:
    """One arm.

    Attributes:
        name: the vendor's.
        servos: in order of ID.
        low, high: [rad] (6,) joint limits, without margin.
        rest: [rad] (6,) where it can lie without torque.
    """

    name: str
    servos: tuple[ServoLayout, ...]
    low: FloatArray  # (6,)
    high: FloatArray  # (6,)
    rest: FloatArray  # (6,)

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """All IDs."""
        return tuple(servo.id for servo in self.servos)

    @cached_property
    def primaries(self) -> tuple[ServoLayout, ...]:
        """The seven servos that take goals: six joints, then the gripper."""
        return tuple(servo for servo in self.servos if servo.shadows is None)

    @cached_property
    def shadows(self) -> tuple[tuple[int, int], ...]:
        """(primary, shadow) IDs."""
        return tuple((servo.shadows, servo.id) for servo in self.servos if servo.shadows is not None)

    def servo(self, id: int) -> ServoLayout:
        """The servo with this ID."""
        return self.servos[self.ids.index(id)]


def _arm(name: str, big: ServoModel, rows: tuple[ServoLayout, ...], *limits: list[float]) -> ArmLayout:
    low, high, rest = (np.array(values) for values in limits)
    servos = tuple(row if row.model is not XM430_W350 or row.id > 7 else replace(row, model=big) for row in rows)
    return ArmLayout(name, servos, low, high, rest)


_S = ServoLayout
_TURN = 3.14158
VX300S = _arm(
    "vx300s",
    XM540_W270,
    (
        _S(1, "waist", XM430_W350),
        _S(2, "shoulder", XM430_W350, True, 841, 2867),
        _S(3, "shoulder", XM430_W350, False, 841, 2867, shadows=2),
        _S(4, "elbow", XM430_W350, True, 898, 3094),
        _S(5, "elbow", XM430_W350, False, 898, 3094, shadows=4),
        _S(6, "forearm_roll", XM430_W350),
        _S(7, "wrist_angle", XM430_W350, True, 830, 3504),
        _S(8, "wrist_rotate", XM430_W350),
        _S(9, "gripper", XM430_W350, mode=MODE_CURRENT_POSITION, current_limit=200),
    ),
    [-_TURN, -1.8500, -1.7628, -_TURN, -1.8675, -_TURN],
    [_TURN, 1.2566, 1.6057, _TURN, 2.2340, _TURN],
    [0.0, -1.7, 1.55, 0.12, 0.65, 0.0],
)
ALOHA_WX250S = _arm(
    "aloha_wx250s",
    XM430_W350,
    (
        _S(1, "waist", XM430_W350),
        _S(2, "shoulder", XM430_W350, False, 819, 3345),
        _S(3, "shoulder", XM430_W350, True, 819, 3345, shadows=2),
        _S(4, "elbow", XM430_W350, False, 648, 3094),
        _S(5, "elbow", XM430_W350, True, 648, 3094, shadows=4),
        _S(6, "forearm_roll", XM430_W350),
        _S(7, "wrist_angle", XM430_W350, True, 910, 3447),
        _S(8, "wrist_rotate", XM430_W350),
        _S(9, "gripper", XC430_W150),
    ),
    [-_TURN, -1.8850, -2.1468, -_TURN, -1.7453, -_TURN],
    [_TURN, 1.9897, 1.6057, _TURN, 2.1468, _TURN],
    [0.0, -1.1, 1.24, 0.0, -0.24, 0.0],
)
# The WidowX-250 as it was sold alone: smaller servos at wrist and gripper.
WX250S = replace(
    ALOHA_WX250S,
    name="wx250s",
    servos=tuple(s if s.id < 8 else replace(s, model=XL430_W250) for s in ALOHA_WX250S.servos),
)
LEADER_LAYOUTS: Mapping[str, ArmLayout] = {layout.name: layout for layout in (ALOHA_WX250S, WX250S)}
START = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0])  # [rad] (6,) where ALOHA's episodes begin
MODEL_NAMES: Mapping[int, str] = {number: model.name for number, model in MODELS.items()}
MAX_SPEED = math.pi  # [rad/s] of an arm's joint without load, and the velocity limit in its servos
