"""The expert's plans and servo, without a simulator."""

import math

import numpy as np
import pytest

from envs.experts.geometry import (
    NOTHING,
    Boxes,
    concatenate,
    hand_frame,
    rotation_vector,
    turn,
    vertical_hand,
    wrap,
    yaw_of,
)
from envs.experts.grasps import Preferences, plan_grasps
from envs.experts.policy import LiberoExpert
from envs.experts.servo import ROTATION_SLEW, SLEW, Command, Servo
from envs.experts.skills.withdraw import Withdraw, is_entangled
from envs.experts.world import Pose

REST = Preferences(math.pi / 2)


def box(center, half, yaw=0.0):
    rotation = turn(np.array([0.0, 0.0, 1.0]), yaw)
    return Boxes(np.array([center], dtype=float), rotation[None], np.array([half], dtype=float))


FLOOR = box((0, 0, -0.5), (2, 2, 0.5))


def test_vertical_lines_meet_a_turned_box_where_it_is():
    boxes = box((0.1, 0.2, 0.3), (0.05, 0.02, 0.1), yaw=math.pi / 2)
    bottom, top = boxes.heights(np.array([[0.1, 0.2], [0.1, 0.24], [0.14, 0.2]]))
    np.testing.assert_allclose(top, [0.4, 0.4, NOTHING])
    np.testing.assert_allclose(bottom, [0.2, 0.2, -NOTHING])


def test_the_highest_of_several_boxes_counts():
    boxes = concatenate([box((0, 0, 0.1), (0.1, 0.1, 0.1)), box((0, 0, 0.3), (0.02, 0.02, 0.02))])
    np.testing.assert_allclose(boxes.heights(np.array([[0.0, 0.0], [0.05, 0.0]]))[1], [0.32, 0.2])


@pytest.mark.parametrize("angle", [1e-9, 0.3, 2.0, math.pi])
def test_rotation_vector_inverts_turn(angle):
    axis = np.array([0.6, 0.0, 0.8])
    np.testing.assert_allclose(rotation_vector(turn(axis, angle)), angle * axis, atol=1e-6)


def test_hands_are_rotations_that_look_where_they_should():
    hand = vertical_hand(0.7)
    assert yaw_of(hand) == pytest.approx(0.7)
    tilted = hand_frame(np.array([0.0, 1.0, -1.0]), np.array([1.0, 0.0, 0.0]))
    for frame in (hand, tilted):
        np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-12)
        assert np.linalg.det(frame) == pytest.approx(1.0)
    np.testing.assert_allclose(tilted[:, 2], [0.0, math.sqrt(0.5), -math.sqrt(0.5)])


def test_wrap():
    assert wrap(3 * math.pi / 2) == pytest.approx(-math.pi / 2)
    assert wrap(0.8 * math.pi, math.pi) == pytest.approx(-0.2 * math.pi)


@pytest.mark.parametrize("yaw", [0.0, math.radians(40)])
def test_a_box_is_gripped_across_its_narrow_side(yaw):
    target = box((0.1, 0.0, 0.02), (0.05, 0.02, 0.02), yaw)
    best = plan_grasps(target, FLOOR, np.array([0.1, 0.0, 0.02]), REST)[0]
    across = yaw + math.pi / 2
    assert abs(wrap(best.yaw - across, math.pi)) <= math.radians(10)
    np.testing.assert_allclose(best.position[:2], [0.1, 0.0], atol=0.012)
    assert 0.0 < best.position[2] < 0.04


def test_a_flat_plate_cannot_be_gripped():
    assert plan_grasps(box((0, 0, 0.004), (0.06, 0.03, 0.004)), FLOOR, np.zeros(3), REST) == []


def test_a_bowl_is_gripped_by_its_rim():
    walls = [
        box((0.05 * math.cos(a), 0.05 * math.sin(a), 0.025), (0.002, 0.012, 0.025), a)
        for a in np.arange(16) * math.pi / 8
    ]
    best = plan_grasps(concatenate(walls), FLOOR, np.array([0.0, 0.0, 0.02]), REST)[0]
    assert np.linalg.norm(best.position[:2]) == pytest.approx(0.05, abs=0.012)
    assert best.width < 0.025


def test_fingers_do_not_go_where_a_neighbour_stands():
    target = box((0, 0, 0.03), (0.02, 0.02, 0.03))
    neighbour = box((0.0, 0.055, 0.05), (0.04, 0.02, 0.05))
    best = plan_grasps(target, concatenate([FLOOR, neighbour]), np.zeros(3), REST)[0]
    assert abs(wrap(best.yaw, math.pi)) < math.radians(35)  # along x, not towards the neighbour


def test_a_failed_grasp_is_not_the_first_choice_again():
    target, center = box((0, 0, 0.03), (0.02, 0.02, 0.03)), np.array([0.0, 0.0, 0.03])
    first = plan_grasps(target, FLOOR, center, REST)[0]
    again = plan_grasps(target, FLOOR, center, Preferences(math.pi / 2, [(first.position, first.yaw)]))[0]
    turned = abs(wrap(again.yaw - first.yaw, math.pi))
    assert turned > math.radians(20) or np.linalg.norm(again.position - first.position) > 0.01


def follow(command, steps=60):
    """The servo on a hand that does a quarter of what it is asked in each step."""
    servo, position, rotation, velocity = Servo(), np.zeros(3), vertical_hand(0.0), np.zeros(6)
    actions = []
    for _ in range(steps):
        action = servo.action(command, position, rotation, velocity)
        actions.append(action)
        move = 0.25 * 0.05 * action[:3]
        position, velocity = position + move, move / 0.05
        angle = np.linalg.norm(action[3:6])
        if angle > 0:
            rotation = turn(action[3:6] / angle, 0.2 * 0.5 * angle) @ rotation
    return np.array(actions), position, rotation


def test_servo_arrives_and_is_smooth():
    command = Command(np.array([0.2, -0.1, 0.15]), vertical_hand(1.0), close=True, speed=0.8, precise=True)
    actions, position, rotation = follow(command)
    np.testing.assert_allclose(position, command.position, atol=0.003)
    assert np.linalg.norm(rotation_vector(command.rotation @ rotation.T)) < 0.02
    assert np.linalg.norm(actions[:, :3], axis=1).max() <= 0.8 + 1e-9
    changes = np.diff(np.vstack([np.zeros(7), actions]), axis=0)
    assert np.linalg.norm(changes[:, :3], axis=1).max() <= SLEW + 1e-9
    assert np.linalg.norm(changes[:, 3:6], axis=1).max() <= ROTATION_SLEW + 1e-4
    assert set(actions[:, 6]) == {1.0}


def test_servo_never_asks_for_exactly_no_rotation():
    actions, _, _ = follow(Command(np.zeros(3), vertical_hand(0.0), close=False), steps=3)
    assert np.all(np.abs(actions[:, 3:6]).max(axis=1) > 0)
    assert set(actions[:, 6]) == {-1.0}


class Beside:
    """A world of boxes, one of them below the finger tips, and a hand that does what it is told."""

    movable = ()

    def __init__(self, hand, rotation, opening=0.0):
        self.position, self.rotation, self.opening = np.array(hand, dtype=float), rotation, opening
        self.boxes = concatenate([box((0.3, 0.0, 0.2), (0.1, 0.1, 0.1)), FLOOR])
        self.stuck = False

    @property
    def hand(self):
        return Pose(self.position, self.rotation)

    def others(self, *excluded):
        return self.boxes

    def obey(self, command):
        if not self.stuck:
            self.opening = min(0.08, self.opening + 0.01)
            self.position = self.position + 0.25 * (command.position - self.position)


LEVEL = hand_frame(np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]))


@pytest.mark.parametrize(
    ("hand", "rotation", "entangled"),
    [
        ((0.18, 0.0, 0.2), LEVEL, True),  # at the face of a cabinet
        ((0.18, 0.0, 0.2), vertical_hand(0.0), False),  # rises past it
        ((0.0, 0.0, 0.2), LEVEL, False),  # far away
        ((-0.5, 0.0, 0.02), LEVEL, False),  # low above the table
    ],
)
def test_a_tilted_hand_is_entangled_beside_fixtures_only(hand, rotation, entangled):
    assert is_entangled(Beside(hand, rotation)) is entangled


@pytest.mark.parametrize("held", [False, True])
def test_a_tilted_hand_beside_a_fixture_lets_go_of_nothing_that_it_carries(held):
    class Carrying(Beside):
        movable, turnable = ("bowl",), ()

        def held(self, name):
            return held

    class Carry:
        around = ("bowl",)

    assert LiberoExpert._must_withdraw(Carrying((0.18, 0.0, 0.2), LEVEL), Carry()) is not held


def test_a_hand_opens_before_it_backs_out_and_stops_when_it_is_free():
    world, skill, openings = Beside((0.18, 0.0, 0.2), LEVEL), Withdraw(), []
    for _ in range(60):
        command = skill.step(world)
        if command is None:
            break
        if command.position[0] < world.position[0]:
            openings.append(world.opening)
        assert not command.close
        world.obey(command)
    assert command is None
    assert min(openings) >= 0.05
    assert world.position[0] == pytest.approx(0.14, abs=0.015)
    np.testing.assert_allclose(world.position[1:], [0.0, 0.2])


def test_a_hand_that_cannot_move_gives_up():
    world, skill = Beside((0.18, 0.0, 0.2), LEVEL), Withdraw()
    world.stuck = True
    assert [skill.step(world) is None for _ in range(30)][-1]
