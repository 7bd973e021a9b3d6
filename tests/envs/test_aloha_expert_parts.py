"""Kinematics, servo and poses behind ALOHA's experts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.aloha.env import AlohaEnv
from envs.aloha.robot import HZ, START, to_state
from envs.experts.aloha.arm import Arm
from envs.experts.aloha.pose import Pose
from envs.experts.aloha.reach import CLEAR, STANDOFF, TIGHT, Grasp, approach, hand
from envs.experts.aloha.servo import SPEED, Command, Servo
from envs.experts.aloha.transfer import RENAMINGS
from envs.experts.geometry import turn


@pytest.fixture(scope="module")
def env():
    made = AlohaEnv(cameras=())
    made.reset(options={"trial": 0})
    return made


@pytest.mark.parametrize(("name", "side"), [("left", -1.0), ("right", 1.0)])
def test_the_controls_that_are_found_bring_the_tool_to_the_pose(env, name, side):
    env.reset(options={"trial": 0})
    arm = Arm(env.scene.model, name)
    goal = Pose(np.array([side * 0.1, 0.55, 0.2]), hand(arm, 0.2, 1.2))
    angles, error = arm.solve(goal, START[arm.joints])
    assert error < 1e-3
    action = to_state(START)
    action[arm.entries][:6] = angles + arm.sag(angles)
    for _ in range(150):
        env.step(action)
    reached = arm.tool(env.scene.data)
    assert reached.distance(goal) < 1e-3
    assert reached.angle(goal) < 5e-3
    np.testing.assert_allclose(env.scene.state()[arm.entries][:6], angles, atol=1e-3)


def test_the_solution_does_not_depend_on_where_the_arm_is(env):
    arm = Arm(env.scene.model, "right")
    goal = Pose(np.array([0.15, 0.45, 0.05]), hand(arm, -0.3, 1.3))
    first, _ = arm.solve(goal, START[arm.joints])
    other, _ = arm.solve(goal, np.array([1.0, 0.5, -0.5, 2.0, 1.0, -2.0]))
    np.testing.assert_array_equal(first, other)


def test_a_pose_out_of_reach_is_said_to_be_missed(env):
    arm = Arm(env.scene.model, "left")
    _, error = arm.solve(Pose(np.array([0.6, 0.5, 0.1]), hand(arm, 0.0, 1.3)), START[arm.joints])
    assert error > 0.1


def test_hands_point_away_from_their_bases_and_down(env):
    left, right = Arm(env.scene.model, "left"), Arm(env.scene.model, "right")
    np.testing.assert_allclose(hand(left, 0.0, 0.0)[:, 0], [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(hand(right, 0.0, 0.0)[:, 0], [-1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(hand(right, 0.0, np.pi / 2)[:, 0], [0, 0, -1], atol=1e-9)
    np.testing.assert_allclose(hand(left, np.pi / 2, 0.0)[:, 0], [0, 1, 0], atol=1e-9)


def test_the_servo_is_capped_ramps_and_arrives():
    servo = Servo(np.append(np.full(6, 3.14 / HZ), 0.03))
    command = Command(np.array([1.0, -0.5, 0.2, 0.0, 0.0, -1.0]), 0.8)
    path = [np.zeros(7)]
    for _ in range(150):
        path.append(servo.action(command, path[-1]))
    steps = np.diff(path, axis=0)
    assert np.abs(steps[:, :6]).max() * HZ == pytest.approx(SPEED)
    assert np.abs(steps[:, 6]).max() <= 0.03
    assert np.abs(np.diff(steps[:, :6], axis=0)).max() * HZ**2 <= 20.0 + 1e-9
    np.testing.assert_allclose(path[-1], np.append(command.angles, 0.8), atol=1e-3)


def test_the_servo_keeps_below_the_limits_of_slower_joints():
    servo = Servo(np.append(np.full(6, 0.5 / HZ), 0.01))
    command, path = Command(np.ones(6), 1.0), [np.zeros(7)]
    for _ in range(30):
        path.append(servo.action(command, path[-1]))
    assert np.abs(np.diff(path, axis=0))[:, :6].max() < 0.5 / HZ
    assert np.abs(np.diff(path, axis=0))[:, 6].max() < 0.01


def test_poses_compose_and_invert():
    first = Pose(np.array([1.0, 2.0, 3.0]), turn(np.array([0.0, 0.0, 1.0]), 0.4))
    other = Pose(np.array([-0.5, 0.2, 0.1]), turn(np.array([1.0, 0.0, 0.0]), -1.0))
    back = first.inverse() @ first @ other
    np.testing.assert_allclose(back.position, other.position)
    np.testing.assert_allclose(back.rotation, other.rotation, atol=1e-12)
    assert first.moved(np.array([0.0, 0.0, 0.3])).distance(first) == pytest.approx(0.3)
    assert (first @ other).angle(first) == pytest.approx(1.0)


def test_a_cube_has_24_renamings_that_are_rotations():
    assert RENAMINGS.shape == (24, 3, 3)
    assert len({matrix.tobytes() for matrix in RENAMINGS}) == 24
    for matrix in RENAMINGS:
        np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))
        assert np.linalg.det(matrix) == pytest.approx(1.0)


def tool_at(along, aside, angle=0.0):
    """A tool that far before a grasp at the origin, off its axis and turned."""
    return Pose(np.array([-along, aside, 0.0]), turn(np.array([0.0, 0.0, 1.0]), angle))


def placed(*found, gap=0.07):
    """(3,) where it is told to go, seen from the grasp."""
    goal, _ = approach(Grasp(Pose(np.zeros(3), np.eye(3)), 0.04), tool_at(*found), gap)
    return goal.position


@given(
    st.floats(-0.03, 0.2),
    st.floats(0.0, 0.1),
    st.floats(0.0, 0.5),
    st.floats(0.03, 0.07),
    st.tuples(*[st.floats(-1e-3, 1e-3)] * 4),
)
def test_a_place_that_is_hardly_another_is_told_hardly_anything_else(along, aside, angle, gap, change):
    told = placed(along, aside, angle, gap=gap)
    other = placed(along + change[0], aside + change[1], angle + change[2], gap=gap + change[3])
    assert np.linalg.norm(told - other) < 0.015  # where it was forwards or backwards, this was 0.1


def test_the_tool_moves_in_on_the_axis_and_out_beside_the_object():
    np.testing.assert_allclose(placed(0.06, 0.0), 0.0, atol=1e-12)
    np.testing.assert_allclose(placed(0.0, TIGHT), 0.0, atol=1e-12)
    np.testing.assert_allclose(placed(0.15, 0.1), [-STANDOFF, 0.0, 0.0])
    beside = placed(0.01, 0.03)
    assert beside[0] == pytest.approx(-STANDOFF)
    assert beside[1] == pytest.approx(0.03)  # straight back: sideways it would push the object
    assert placed(0.0, 0.0, gap=0.045)[0] < -CLEAR / 2
    assert placed(0.02, 0.0, 0.4)[0] == pytest.approx(-STANDOFF)


def test_a_pose_on_the_way_and_how_far_another_is():
    one = Pose(np.zeros(3), np.eye(3))
    other = tool_at(-0.1, 0.0, 0.6)
    assert one.towards(other, 0.25).distance(one) == pytest.approx(0.025)
    assert one.towards(other, 0.25).angle(one) == pytest.approx(0.15)
    assert one.towards(other, 1.0).angle(other) == pytest.approx(0.0, abs=1e-9)
    assert one.beyond(other, (0.2, 0.61), (0.3, 0.7)) == 0.0
    assert one.beyond(other, (0.05, 0.6), (0.25, 0.7)) == pytest.approx(0.25)
    assert one.beyond(other, (0.05, 0.5), (0.25, 0.6)) == pytest.approx(1.0)
