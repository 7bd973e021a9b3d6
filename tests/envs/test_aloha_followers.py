"""The two followers as physics of an emulated servo bus."""

from __future__ import annotations

import numpy as np
import pytest

from envs.aloha.followers import Followers, open_scene

ON, OFF = np.ones(7, dtype=bool), np.zeros(7, dtype=bool)
HOME = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.03])
SLEEP = np.array([0.0, -1.7, 1.55, 0.12, 0.65, 0.0, 0.03])


@pytest.fixture
def followers():
    both = Followers(open_scene())
    for arm in ("left", "right"):
        both.command(arm, HOME, ON)
    both.advance(0.5)
    return both


def test_each_arm_goes_to_its_own_goal(followers):
    goal = HOME + np.array([0.3, 0.1, -0.1, 0.2, 0.1, -0.2, 0.02])
    followers.command("left", goal, ON)
    followers.advance(1.0)
    np.testing.assert_allclose(followers.read("left").position, goal, atol=0.01)
    np.testing.assert_allclose(followers.read("right").position, HOME, atol=0.01)
    assert np.abs(followers.read("left").velocity).max() < 0.01


def test_velocity_and_effort_are_those_of_the_motion(followers):
    goal = HOME.copy()
    goal[0] += 0.3
    followers.command("left", goal, ON)
    followers.advance(0.004)
    state = followers.read("left")
    assert state.velocity[0] > 0.3
    assert state.effort[0] > 10.0  # [N m] the error times the stiffness
    still = followers.read("right")
    assert -4.0 < still.effort[2] < -2.0  # [N m] the elbow carries the forearm


def test_a_released_arm_falls_and_the_other_does_not(followers):
    followers.command("left", HOME, OFF)
    followers.advance(1.0)
    fallen = followers.read("left")
    assert (fallen.effort == 0).all()
    assert fallen.position[2] > HOME[2] + 0.2  # the forearm hangs down
    np.testing.assert_allclose(followers.read("right").position, HOME, atol=0.01)


def test_torque_on_where_the_arm_is_holds_it_there(followers):
    followers.command("left", HOME, OFF)
    followers.advance(0.3)
    caught = followers.read("left").position
    followers.command("left", caught, ON)
    followers.advance(1.0)
    np.testing.assert_allclose(followers.read("left").position, caught, atol=0.02)


def test_one_joint_may_be_released_alone(followers):
    torque = ON.copy()
    torque[4] = False
    followers.command("right", HOME, torque)
    followers.advance(1.5)
    found = followers.read("right").position
    assert abs(found[4] - HOME[4]) > 0.1
    np.testing.assert_allclose(np.delete(found, 4), np.delete(HOME, 4), atol=0.01)


def test_time_advances_in_whole_steps_and_loses_none(followers):
    started = followers.scene.data.time
    for _ in range(1000):
        followers.advance(0.0013)
    assert followers.scene.data.time - started == pytest.approx(1.3, abs=0.0021)
    followers.advance(0.0)
    assert followers.scene.data.time - started == pytest.approx(1.3, abs=0.0021)


def test_an_arm_can_be_put_into_its_sleep_pose(followers):
    followers.place("left", SLEEP)
    np.testing.assert_array_equal(followers.read("left").position, SLEEP)
    assert (followers.read("left").velocity == 0).all()
    followers.command("left", SLEEP, OFF)
    followers.advance(1.0)
    assert np.abs(followers.read("left").position - SLEEP)[:3].max() < 0.2  # it rests on its stops


def test_two_worlds_do_not_share_their_torque(followers):
    other = Followers(open_scene())
    other.command("left", HOME, OFF)
    other.advance(1.0)
    followers.advance(1.0)
    np.testing.assert_allclose(followers.read("left").position, HOME, atol=0.01)


@pytest.mark.parametrize("goal", [HOME[:6], np.full(7, np.nan)])
def test_an_impossible_goal_is_refused_and_changes_nothing(followers, goal):
    before = followers.scene.data.ctrl.copy()
    with pytest.raises(ValueError, match=r"goal of the left arm: expected \(7,\) finite numbers"):
        followers.command("left", goal, ON)
    np.testing.assert_array_equal(followers.scene.data.ctrl, before)


def test_an_unknown_arm_is_refused(followers):
    with pytest.raises(ValueError, match="expected one of left, right, got 'middle'"):
        followers.read("middle")
