"""The border types refuse what they cannot mean."""

import numpy as np
import pytest

from vla.types import ActionChunk, ActionSpec


def spec(kind="eef_delta"):
    return ActionSpec(kind, ("x", "y"), np.full(2, -1.0), np.full(2, 1.0), np.full(2, np.inf), 20.0)


@pytest.mark.parametrize("shape", [(7,), (0, 7), (2, 0), (1, 2, 7)])
def test_a_chunk_has_a_step_and_an_entry(shape):
    with pytest.raises(ValueError, match=r"expected shape \(K, A\)"):
        ActionChunk(np.zeros(shape), "words", 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_chunk_is_finite_and_says_where_it_is_not(value):
    actions = np.zeros((4, 7))
    actions[2, 5] = value
    with pytest.raises(ValueError, match="at step 2, entry 5"):
        ActionChunk(actions, "words", 0.0)


def test_a_chunk_is_float64_whatever_the_policy_gave():
    assert ActionChunk(np.ones((1, 2), dtype=np.float32), "words", 0.0).actions.dtype == np.float64


def test_limits_have_the_shape_of_the_names():
    with pytest.raises(ValueError, match=r"ActionSpec.high: expected shape \(2,\), got \(3,\)"):
        ActionSpec("eef_delta", ("x", "y"), -np.ones(2), np.ones(3), np.ones(2), 20.0)


def test_hold_repeats_a_position_and_zeroes_a_delta():
    last = np.array([0.3, -0.4])
    np.testing.assert_array_equal(spec("eef_delta").hold(last), [0, 0])
    held = spec("joint_position").hold(last)
    np.testing.assert_array_equal(held, last)
    assert held is not last
