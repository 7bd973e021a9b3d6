"""Holding means something else to each robot."""

import numpy as np
import pytest

from tests.fakes import ROBOT_SPEC
from vla.policies.hold import HoldPolicy
from vla.protocols import SpecPolicy
from vla.types import ActionSpec, Observation

LIBERO = ActionSpec("eef_delta", (*"xyzabc", "gripper"), -np.ones(7), np.ones(7), np.full(7, np.inf), 20.0)


def seen(*state):
    return Observation({}, np.array(state, dtype=np.float64), "wait", 0.0)


def test_deltas_are_zero_and_the_gripper_stays_open():
    policy = HoldPolicy()
    policy.prepare(LIBERO)
    actions = policy.infer(seen(1, 2)).actions
    assert actions.tolist() == [[0, 0, 0, 0, 0, 0, -1]] * 8
    assert not np.signbit(actions[:, :6]).any()


def test_positions_are_those_of_the_start_of_the_episode():
    policy = HoldPolicy()
    assert isinstance(policy, SpecPolicy)
    policy.prepare(ROBOT_SPEC)
    for start in (0.1, 0.2):
        policy.reset()
        assert policy.infer(seen(start, 0, 1)).actions.tolist() == [[start, 0, 1]] * 8
        assert policy.infer(seen(start - 0.01, 0, 1)).actions.tolist() == [[start, 0, 1]] * 8  # it sagged


def test_a_robot_that_is_not_known_cannot_be_held():
    policy = HoldPolicy()
    policy.reset()
    with pytest.raises(RuntimeError, match=r"call prepare\(spec\) before the first infer"):
        policy.infer(seen(1, 2))
