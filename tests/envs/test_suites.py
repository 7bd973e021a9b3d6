"""The benchmark's lists: names, words, limits, initial states."""

from __future__ import annotations

import numpy as np
import pytest

from envs.libero.suites import MAX_STEPS, SUITES, cross, load_suite


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_loads_with_all_its_trials(name):
    suite = load_suite(name)
    assert len(suite.tasks) == (90 if name == "libero_90" else 10)
    for index, task in enumerate(suite.tasks):
        assert task.id == index
        assert task.trials == 50
        assert task.bddl_file.is_file()
        assert task.instruction == task.instruction.strip().lower()
    assert len({task.name for task in suite.tasks}) == len(suite.tasks)


def test_published_step_limits():
    assert MAX_STEPS == {
        "libero_spatial": 220,
        "libero_object": 280,
        "libero_goal": 300,
        "libero_10": 520,
        "libero_90": 400,
    }
    assert load_suite("libero_10_swap").tasks[0].max_steps == 520


@pytest.mark.parametrize(
    ("suite", "task_id", "words"),
    [
        ("libero_goal", 6, "put the cream cheese in the bowl"),  # the words of the file name, as published
        ("libero_10", 2, "turn on the stove and put the moka pot on it"),
        ("libero_90", 0, "close the top drawer of the cabinet"),
        ("libero_goal_task", 9, "put the cream cheese on the rack"),  # another goal, so its own words
    ],
)
def test_instructions(suite, task_id, words):
    assert load_suite(suite).tasks[task_id].instruction == words


def test_libero_90_words_hold_no_scene_names():
    assert not any("scene" in task.instruction for task in load_suite("libero_90").tasks)


def test_initial_states_differ_between_trials():
    states = load_suite("libero_spatial").tasks[0].init_states()
    assert states.dtype == np.float64
    assert len(np.unique(states, axis=0)) == 50


def test_unknown_suite_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'libero_goal_swap'"):
        load_suite("libero_goal_swp")


def test_crossed_tasks_begin_where_the_next_one_does():
    tasks = load_suite("libero_goal").tasks
    crossed = cross(tasks)
    assert [task.instruction for task in crossed] == [task.instruction for task in tasks]
    assert [task.bddl_file for task in crossed] == [task.bddl_file for task in tasks]
    np.testing.assert_array_equal(crossed[9].init_states(), tasks[0].init_states())


@pytest.mark.parametrize("name", ["libero_object", "libero_spatial", "libero_10"])
def test_tasks_of_different_scenes_are_not_crossed(name):
    with pytest.raises(ValueError, match=r"begin in different scenes.*libero_goal"):
        cross(load_suite(name).tasks)
