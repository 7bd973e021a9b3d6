"""Behind the expert's skills: what it says near a handle."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from envs.experts.geometry import turn
from envs.experts.goals import Goal
from envs.experts.skills.drawer import DEPTH, STANDOFF, Handle, OpenDrawer, level_hand
from envs.experts.world import Pose

HANDLE = Handle(np.array([0.1, -0.2, 1.1]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), 0.008, body=3)
LEVEL = level_hand(SimpleNamespace(), HANDLE, np.pi / 2, np.array([0.0, 0.0, 1.0]))


def told(depth, above, angle=0.0):
    """Where a hand is told to go: (3,) [m] from the grasp, and the command."""
    end = HANDLE.center - DEPTH * HANDLE.outward
    rotation = turn(np.array([1.0, 0.0, 0.0]), angle) @ LEVEL
    hand = Pose(end + depth * HANDLE.outward + above * np.array([0.0, 0.0, 1.0]), rotation)
    skill = OpenDrawer(Goal("open", "top_region"))
    command = skill._reach(SimpleNamespace(hand=hand), HANDLE, LEVEL)
    return command.position - end, command


def test_on_the_handles_line_the_hand_goes_in_and_beside_it_straight_back():
    np.testing.assert_allclose(told(0.06, 0.004)[0], 0.0, atol=1e-12)
    place, command = told(0.01, -0.03)
    np.testing.assert_allclose(place, [0.0, STANDOFF * 0.088 / 0.09, -0.03], atol=1e-3)
    np.testing.assert_array_equal(command.rotation, turn(np.array([1.0, 0.0, 0.0]), 0.0) @ LEVEL)
    assert told(0.03, 0.0, 0.35)[0][1] > 0.07  # turned away
    assert told(0.075, -0.02)[0][1] == pytest.approx(0.048)  # far enough: in and onto the line at once


@given(
    st.floats(-0.01, 0.12),
    st.floats(-0.029, 0.029),
    st.floats(-0.3, 0.3),
    st.tuples(*[st.floats(-1e-3, 1e-3)] * 3),
)
def test_from_a_place_that_is_hardly_another_it_is_told_hardly_anything_else(depth, above, angle, change):
    assume(abs(angle) + 1e-3 < 0.3)
    place, _ = told(depth, above, angle)
    other, _ = told(depth + change[0], above + change[1], angle + change[2])
    assert np.linalg.norm(place - other) < 0.012
