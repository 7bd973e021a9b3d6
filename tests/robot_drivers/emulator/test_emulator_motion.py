from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from robot_drivers.dynamixel import units
from robot_drivers.emulator.aloha import aloha_buses
from robot_drivers.emulator.log import Kind
from robot_drivers.emulator.profile import Profile
from tests.robot_drivers.emulator.host import ARM, Host, one_arm

EVERYONE = np.array([True])


def arrival(profile: Profile, dt: float = 0.005) -> tuple[float, list[float], list[float]]:
    """[s] until the goal, positions, velocities."""
    positions, velocities = [], []
    for step in range(1, 2000):
        profile.toward_goal(dt, EVERYONE)
        positions.append(float(profile.position[0]))
        velocities.append(float(profile.velocity[0]))
        if not profile.ongoing[0]:
            return step * dt, positions, velocities
    raise AssertionError("the set point never arrives")


def profile(goal: float, speed: float | None = None, acceleration: float | None = None) -> Profile:
    made = Profile.at(np.array([0.0]))
    made.goal[0] = goal
    if speed:
        made.speed[0] = speed
    if acceleration:
        made.acceleration[0] = acceleration
    return made


def test_without_limits_the_set_point_jumps():
    assert arrival(profile(1000.0))[0] == 0.005


def test_a_rectangular_profile_takes_distance_over_speed():
    assert arrival(profile(1000.0, speed=500.0))[0] == pytest.approx(2.0, abs=0.01)


def test_a_trapezoid_keeps_both_limits_and_arrives_without_overshoot():
    time, positions, velocities = arrival(profile(-1000.0, speed=500.0, acceleration=1000.0))
    assert time == pytest.approx(1000 / 500 + 500 / 1000, abs=0.03)
    assert min(positions) == -1000.0
    assert max(np.abs(velocities)) <= 500.0
    # It stops in the last step from what is left of braking.
    assert np.abs(np.diff([0.0, *velocities[:-1]])).max() <= 1000.0 * 0.005 + 1e-9


def test_a_new_goal_behind_is_reached_after_turning_round():
    made = profile(1000.0, speed=500.0, acceleration=1000.0)
    for _ in range(200):
        made.toward_goal(0.005, EVERYONE)
    made.goal[0] = 0.0
    _, positions, _ = arrival(made)
    assert max(positions) > positions[0]
    assert positions[-1] == 0.0


@pytest.fixture
def host() -> Host:
    return Host(one_arm())


def settle(host: Host, seconds: float = 1.0) -> None:
    host.robot.advance(seconds)


def test_a_goal_is_reached_and_moving_tells_when(host):
    host.write(1, "torque_enable", 1)
    host.write(1, "goal_position", 2500)
    settle(host, 0.1)
    assert host.read(1, "moving") == 1
    assert 0.5 < units.VELOCITY.decode(host.read(1, "present_velocity")) < math.pi
    settle(host)
    assert host.read(1, "present_position") == pytest.approx(2500, abs=2)
    assert host.read(1, "moving") == 0
    assert host.read(1, "moving_status") & 1


def test_nothing_moves_at_torque_on_when_the_goal_is_where_the_arm_is(host):
    before = host.positions(*range(1, 10))
    for id in (1, 2, 4, 6, 7, 8, 9):
        host.write(id, "goal_position", before[id - 1])
        host.write(id, "torque_enable", 1)
    settle(host)
    assert host.positions(*range(1, 10)) == pytest.approx(before, abs=1)


def test_a_stale_goal_makes_the_arm_jump_at_torque_on(host):
    host.write(1, "goal_position", 2300)
    settle(host)
    assert host.read(1, "present_position") == 2048
    host.write(1, "torque_enable", 1)
    settle(host)
    assert host.read(1, "present_position") == pytest.approx(2300, abs=2)


def test_a_velocity_profile_limits_the_speed(host):
    host.write(1, "torque_enable", 1)
    host.write(1, "profile_velocity", 20)  # 0.48 rad/s
    host.write(1, "goal_position", 2048 + 652)  # 1 rad
    settle(host, 1.0)
    assert units.POSITION.decode(host.read(1, "present_position")) == pytest.approx(0.48, abs=0.05)
    assert host.read(1, "present_velocity") == pytest.approx(20, abs=1)
    assert host.read(1, "velocity_trajectory") == 20


def test_a_time_profile_takes_its_time_whatever_the_distance(host):
    host.write(1, "drive_mode", 4)
    host.write(1, "profile_velocity", 500)  # [ms]
    host.write(1, "torque_enable", 1)
    host.write(1, "goal_position", 2448)
    settle(host, 0.25 - host.patience)
    assert host.read(1, "position_trajectory") == pytest.approx(2248, abs=5)
    settle(host, 0.26)
    assert host.read(1, "position_trajectory") == 2448


def test_velocity_mode_turns_at_the_goal_velocity(host):
    host.write(8, "operating_mode", 1)
    host.write(8, "torque_enable", 1)
    settle(host, 0.2)
    assert host.read(8, "present_position") == pytest.approx(2048, abs=1)
    host.write(8, "goal_velocity", -30)
    settle(host, 0.5)
    assert host.read(8, "present_velocity") == pytest.approx(-30, abs=1)


def test_current_and_pwm_mode_push_in_the_direction_of_their_goal(host):
    for id, mode, goal, value in ((8, 0, "goal_current", -40), (6, 16, "goal_pwm", 100)):
        host.write(id, "operating_mode", mode)
        host.write(id, "torque_enable", 1)
        host.write(id, goal, value)
    before = host.positions(8, 6)
    settle(host, 0.1)
    after = host.positions(8, 6)
    assert host.read(8, "present_current") == -40
    assert after[0] < before[0] - 20
    assert after[1] > before[1] + 20


def test_low_gain_is_softer():
    sags = []
    for gain in (800, 100):
        host = Host(one_arm(gravity=True))
        host.write(4, "position_p_gain", gain)
        host.write(4, "torque_enable", 1)
        host.write(4, "goal_position", 2500)
        settle(host, 3.0)
        sags.append(host.read(4, "present_position") - 2500)
    assert sags[1] > 4 * sags[0] > 0


def test_arms_fall_without_torque_and_hold_with_it():
    host = Host(one_arm(gravity=True))
    for id in (2, 4):
        host.write(id, "torque_enable", 1)
        host.write(id, "goal_position", 2048)
    settle(host, 3.0)
    assert host.positions(2, 3, 4, 5) == pytest.approx([2048] * 4, abs=60)
    for id in (2, 4):
        host.write(id, "torque_enable", 0)
    settle(host, 4.0)
    shoulder, elbow = host.positions(2, 4)
    assert shoulder < 1000
    assert elbow > 2900


def test_current_is_the_torque_over_the_torque_constant():
    host = Host(one_arm(gravity=True))
    for id in (2, 4):
        host.write(id, "torque_enable", 1)
        host.write(id, "goal_position", 2048)
    settle(host, 3.0)
    shoulder = units.POSITION.decode(host.read(2, "present_position"))
    weight = 4.0 * math.sin(shoulder + 1.85)  # [Nm] of the built-in back end, carried by two motors
    amperes = units.CURRENT.decode([host.read(2, "present_current"), host.read(3, "present_current")])
    assert amperes == pytest.approx([weight / 2 / 2.409] * 2, rel=0.02)


def test_current_heats_and_the_supply_sags():
    host = Host(one_arm())
    host.robot.world.backends[0].obstruct(f"{ARM}/waist", high=0.0)
    assert host.read(1, "present_temperature") == 25
    assert host.read(1, "present_input_voltage") == 120
    host.write(1, "torque_enable", 1)
    host.write(1, "goal_position", 2048 + 70)  # half of full voltage
    settle(host, 30.0)
    assert host.read(1, "present_current") == pytest.approx(0.5 * 4.4 / 0.00269, rel=0.02)
    assert host.read(1, "present_temperature") == pytest.approx(25 + 125 * (1 - math.exp(-30 / 300)), abs=1)
    assert host.read(1, "present_input_voltage") == 119


def test_the_gripper_pushes_no_harder_than_its_goal_current():
    host = Host(one_arm())
    host.robot.world.backends[0].obstruct(f"{ARM}/gripper", low=0.2)
    host.write(9, "torque_enable", 1)
    host.write(9, "goal_position", 1643)
    settle(host, 1.0)
    assert host.read(9, "present_current") == -200
    host.write(9, "goal_current", 80)
    settle(host, 0.5)
    assert host.read(9, "present_current") == -80
    assert units.POSITION.decode(host.read(9, "present_position")) == pytest.approx(0.2, abs=0.003)
    settle(host, 5.0)
    assert host.read(9, "torque_enable") == 1


def test_reverse_mode_is_made_up_for_by_the_mounting():
    """Shoulder and its shadow face each other; both report the same angle and carry the same load."""
    host = Host(one_arm())
    host.write(2, "torque_enable", 1)
    host.write(2, "goal_position", 1500)
    settle(host, 2.0)
    assert host.positions(2, 3) == pytest.approx([1500, 1500], abs=2)
    host.write(2, "torque_enable", 0)
    host.write(2, "drive_mode", 0)
    assert host.read(2, "present_position") == pytest.approx(4096 - 1500, abs=2)


def crooked(**changes):
    """The arm with a shadow that was assembled 60 ticks off."""
    spec = next(spec for spec in aloha_buses() if spec.name == ARM)
    return replace(spec, servos=tuple(replace(s, mount_error=60, **changes) if s.id == 3 else s for s in spec.servos))


def test_a_shadow_that_is_off_fights_its_primary():
    host = Host(one_arm(spec=crooked()))
    primary, shadow = host.positions(2, 3)
    assert shadow - primary == 60
    host.write(2, "goal_position", 1200)
    host.write(2, "torque_enable", 1)
    settle(host, 2.0)
    # Each wants to be where it reads 1200; they meet half way, at 30 ticks of error with opposite currents.
    assert host.positions(2, 3) == pytest.approx([1170, 1230], abs=2)
    currents = [host.read(id, "present_current") for id in (2, 3)]
    assert currents[0] == pytest.approx(-currents[1], rel=0.05)
    assert currents[0] == pytest.approx(30 * 6.25 / 885 * 4.4 / 0.00269, rel=0.05)


@pytest.mark.parametrize(("before_reverse", "drive_mode", "shift"), [(False, 0, -60), (False, 1, -60), (True, 1, 60)])
def test_a_homing_offset_shifts_the_reading(before_reverse, drive_mode, shift):
    host = Host(one_arm(spec=crooked(offset_before_reverse=before_reverse)))
    host.write(3, "drive_mode", drive_mode)
    before = host.read(3, "present_position")
    host.write(3, "homing_offset", -60)
    assert host.read(3, "present_position") == before + shift


def test_position_mode_ignores_homing_offsets_beyond_a_quarter_turn():
    host = Host(one_arm())
    before = host.read(1, "present_position")
    host.write(1, "homing_offset", 1025)
    assert host.read(1, "present_position") == before
    host.write(1, "operating_mode", 4)
    assert host.read(1, "present_position") == before + 1025


def test_a_change_of_mode_resets_profile_gains_and_caps():
    host = Host(one_arm())
    host.write(9, "profile_velocity", 20)
    host.write(9, "goal_current", 50)
    host.write(9, "position_p_gain", 100)
    host.write(9, "operating_mode", 5)  # it is 5 already
    assert host.read(9, "profile_velocity") == 20
    host.write(9, "operating_mode", 4)
    assert [host.read(9, name) for name in ("profile_velocity", "goal_current", "position_p_gain")] == [0, 200, 800]


def test_torque_on_by_goal_update():
    host = Host(one_arm())
    host.write(1, "drive_mode", 8)
    host.write(1, "goal_position", 2100)
    assert host.read(1, "torque_enable") == 1


def test_a_hand_moves_joints_without_torque_only():
    host = Host(one_arm(gravity=True))
    host.robot.world.backends[0].guide(lambda time: {f"{ARM}/waist": 0.5, f"{ARM}/wrist_rotate": -0.5})
    host.write(8, "torque_enable", 1)
    settle(host)
    assert units.POSITION.decode(host.positions(1, 8)) == pytest.approx([0.5, 0.0], abs=0.01)


def test_torque_transitions_are_logged(host):
    host.write(1, "torque_enable", 1)
    host.write(1, "torque_enable", 1)
    host.write(1, "torque_enable", 0)
    assert [(e.id, e.detail) for e in host.robot.log.events(Kind.TORQUE)] == [(1, "on"), (1, "off")]
