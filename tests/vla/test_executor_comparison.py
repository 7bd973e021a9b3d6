"""How executors are measured: seams, ages, reactions, jerk."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes import CONF
from vla.evaluation.executors import (
    Measured,
    command_jerk,
    reaction_ticks,
    seams,
    table,
    words_ticks,
)
from vla.types import ActionSpec, Episode, Outcome

SPEC = ActionSpec("eef_delta", (*"abcdef", "gripper"), -np.ones(7), np.ones(7), np.full(7, np.inf), 20.0)


def test_seams_are_where_the_plan_changes_and_the_first_motion_is_none():
    assert seams([None, None, 0, 0, 0, 4, 4, None, 7]) == [5, 7, 8]
    assert seams([0, 0, 0]) == []


def test_reactions_count_until_an_action_knows_of_the_moment():
    # Plans of ticks 0 and 2; the second is executed from tick 3 on.
    assert reaction_ticks([0, 0, 0, 2, 2]) == [0, 2, 1]


def test_jerk_of_steady_acceleration_is_zero_and_of_a_jump_is_its_size():
    ramp = np.outer(np.arange(6), np.ones(2))
    np.testing.assert_allclose(command_jerk(ramp), 0.0, atol=1e-12)
    jump = np.zeros((6, 1))
    jump[3:] = 0.5
    np.testing.assert_allclose(command_jerk(jump), [0, 0, 0, 0.5, 0.5, 0], atol=1e-12)


def test_an_episode_is_taken_in_whole():
    seen = Measured()
    commands = np.zeros((6, 1))
    commands[3:] = 0.5
    episode = Episode("t", "go", 0, Outcome.SUCCESS, 6, 2)
    seen.add(episode, commands, [0, 0, 0, 1, 1, None], None)
    assert (seen.episodes, seen.ticks, seen.held, seen.steps) == (1, 6, 1, [6])
    assert seen.seams == [0.5, 0.0]
    assert seen.jumps == [0.5, 0.0]
    assert seen.ages == [2]


def test_a_fade_is_counted_in_the_window_but_not_at_the_seam():
    seen = Measured()
    commands = np.zeros((8, 1))
    commands[5:] = 0.5  # three ticks after the plan has changed
    seen.add(Episode("t", "go", 0, Outcome.SUCCESS, 8, 2), commands, [0, 0, 2, 2, 2, 2, 2, 2], None)
    assert (seen.seams, seen.jumps) == ([0.5], [0.0])


@pytest.mark.parametrize(("runtime", "expected"), [("open_loop", 0.0), ("splice", 6.0)])
def test_changed_words_are_answered_after_the_latency(runtime, expected):
    latency_s = 0.3 if expected else 0.0
    found = words_ticks(CONF, (f"runtime={runtime}", f"runtime.latency_s={latency_s}"), SPEC)
    assert expected <= found <= expected + 6  # a query for the old words may be on its way


def test_the_table_has_a_row_for_each_setting():
    seen = Measured(seams=[0.2], jumps=[0.15], ages=[1], reactions=[1], steps=[9], held=0, ticks=9, episodes=2)
    reference = Measured(seams=[0.1], jumps=[0.1], ages=[0], reactions=[0], steps=[9], held=0, ticks=9, episodes=2)
    text = table(CONF, {("expert, every tick", 0.0): reference, ("splice", 0.1): seen}, SPEC)
    assert "| splice | 0.1 | 0.150 | 0.200 |" in text
    assert "+0.100" in text
    assert "1/2" in text
