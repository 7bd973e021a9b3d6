"""Joints and grippers: driver test 15, and the layout against the emulated owner's robot."""

from __future__ import annotations

import numpy as np
import pytest

from robot_drivers.aloha.calibration import GRIPPER_SETS, gripper_set, to_ticks
from robot_drivers.aloha.layout import ALOHA_WX250S, JOINTS, START, VX300S
from robot_drivers.dynamixel import units
from robot_drivers.emulator import aloha

OPENINGS = np.linspace(0, 1, 101)
ARMS = [(name, arm) for name in GRIPPER_SETS for arm in ("follower", "leader")]


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_15_grippers_round_trip_through_ticks(name, arm):
    gripper = getattr(gripper_set(name), arm)
    for opening in OPENINGS:
        [tick] = to_ticks(np.array([gripper.to_joint(opening)]))
        assert gripper.from_joint(float(units.POSITION.decode(tick))) == pytest.approx(opening, abs=1e-3)


@pytest.mark.parametrize("name", GRIPPER_SETS)
def test_15_zero_is_closed_and_one_is_open_on_both_scales(name):
    gripper = gripper_set(name).follower
    assert [gripper.from_joint(gripper.joint_closed), gripper.from_joint(gripper.joint_open)] == [0, 1]
    ends = [gripper.finger_from_joint(gripper.to_joint(end)) for end in (0.0, 1.0)]
    assert ends == pytest.approx([0, 1], abs=3e-3)  # published positions are rounded


def test_15_published_finger_positions_follow_from_the_geometry():
    gripper = gripper_set("aloha").follower
    assert gripper._finger(gripper.joint_open) == pytest.approx(0.05800, abs=2e-4)
    assert gripper._finger(gripper.joint_closed) == pytest.approx(0.01844, abs=2e-4)


def test_15_states_and_actions_differ_as_published():
    gripper = gripper_set("aloha").follower
    gaps = [gripper.finger_from_joint(gripper.to_joint(opening)) - opening for opening in OPENINGS]
    assert max(gaps) == pytest.approx(0.093, abs=2e-3)
    assert OPENINGS[int(np.argmax(gaps))] == pytest.approx(0.76, abs=0.02)


def test_an_unknown_set_names_the_known_ones():
    with pytest.raises(ValueError, match="'alohaa' is unknown; known are aloha, mobile_aloha, interbotix"):
        gripper_set("alohaa")


def test_ticks_are_those_of_the_manual():
    assert to_ticks(np.array([0.0, 1.4910, -0.6213])) == [2048, 3020, 1643]
    with pytest.raises(ValueError, match="finite"):
        to_ticks(np.array([np.nan]))


@pytest.mark.parametrize(("layout", "rows"), [(VX300S, aloha.VX300S), (ALOHA_WX250S, aloha.WX250S)])
def test_the_layout_is_that_of_the_robot_which_is_emulated(layout, rows):
    assert layout.ids == tuple(range(1, 10))
    for servo, row in zip(layout.servos, rows, strict=True):
        assert (servo.joint, servo.model, servo.reverse, servo.low, servo.high, servo.shadows) == row
    assert [servo.joint for servo in layout.primaries] == [*JOINTS, "gripper"]
    assert layout.shadows == ((2, 3), (4, 5))


@pytest.mark.parametrize("layout", [VX300S, ALOHA_WX250S])
def test_poses_are_within_limits(layout):
    assert (layout.low < layout.rest).all()
    assert (layout.rest < layout.high).all()
    assert (layout.low < START).all()
    assert (layout.high > START).all()
    ticks = [to_ticks(limits) for limits in (layout.low, layout.high)]
    for servo, low, high in zip(layout.primaries[:6], *ticks, strict=True):
        assert abs(low - servo.low) <= 3
        assert abs(high - servo.high) <= 3
