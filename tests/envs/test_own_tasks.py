"""A folder with BDDL files is a suite: its words, its trials, its scenes."""

from __future__ import annotations

import numpy as np
import pytest

from envs.experts.policy import LiberoExpert
from envs.libero.conformance import check
from envs.libero.env import LiberoEnv
from envs.libero.suites import cross, load_suite
from tests.envs import stock
from vla.runtime.inference import OpenLoop
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import Outcome

WORDS = "Put the cream cheese on the plate"
GOAL, NEW_GOAL = "(On cream_cheese_1 akita_black_bowl_1)", "(On cream_cheese_1 plate_1)"


def write_task(folder, name="cheese_on_plate", words=WORDS):
    """A task that no suite of LIBERO has, in the scene of libero_goal."""
    upstream = load_suite("libero_goal").tasks[6].bddl_file.read_text()
    assert upstream.count(GOAL) == 1
    own = upstream.replace(GOAL, NEW_GOAL).replace("Put the cream cheese on the bowl", words)
    (folder / f"{name}.bddl").write_text(own)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "my_tasks"
    folder.mkdir()
    write_task(folder)
    write_task(folder, "another")
    return folder


@pytest.fixture(scope="module")
def env(folder):
    env = LiberoEnv(str(folder), 1)
    yield env
    env.close()


def test_files_are_tasks_in_the_order_of_their_names(folder):
    suite = load_suite(str(folder))
    assert [(task.id, task.name) for task in suite.tasks] == [(0, "another"), (1, "cheese_on_plate")]
    assert {task.instruction for task in suite.tasks} == {WORDS.lower()}
    assert {(task.suite, task.trials, task.max_steps) for task in suite.tasks} == {("my_tasks", 50, 400)}
    assert cross(suite.tasks)[1].instruction == WORDS.lower()


def test_trials_are_what_the_stock_loop_draws_reset_by_reset(folder, env, tmp_path):
    steps = 20
    task = (str(folder), 1)
    expected = stock.protocols(tmp_path, [task], 2, steps, images=False)[task]
    for trial in (1, 0):
        env.reset(options={"trial": trial})
        for step, action in enumerate([*stock.random_actions(steps), None]):
            np.testing.assert_array_equal(env.flat_state(), expected["state"][trial, step])
            if action is not None:
                env.step(action)
    assert len(np.unique(env.scene.init_states, axis=0)) == 50


def test_initial_states_that_are_stored_beside_it_are_taken(folder, env, tmp_path):
    write_task(tmp_path, "stored")
    np.savez(tmp_path / "stored.pruned_init.npz", states=env.scene.init_states[5:8])
    task = load_suite(str(tmp_path)).tasks[0]
    assert task.trials == 3
    np.testing.assert_array_equal(task.init_states(), env.scene.init_states[5:8])


def test_the_expert_does_it_and_training_scenes_are_others(folder, env):
    env.reset(options={"trial": 0})
    expert = LiberoExpert()
    expert.bind(env)
    episode = run_episode(env, OpenLoop(expert), LimitFilter(env.action_spec), trial=0, max_steps=env.task.max_steps)
    assert episode.outcome == Outcome.SUCCESS
    training = LiberoEnv(str(folder), 1, scene="training", render="lod")
    training.reset(options={"trial": 3})
    assert training.scene.nearest_official_m() > 0.001
    training.close()


def test_the_gate_compares_what_all_suites_share(folder):
    assert check(str(folder)).drifts == ()


def test_a_folder_without_tasks_and_a_task_without_words_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no \*\.bddl"):
        load_suite(str(tmp_path))
    write_task(tmp_path, words=" ")
    with pytest.raises(ValueError, match=r"cheese_on_plate\.bddl: expected a \(:language"):
        load_suite(str(tmp_path))
