"""The expert in the simulator: it solves tasks, touches nothing but the action, and takes over anywhere."""

import numpy as np
import pytest

from envs.experts.goals import UnknownGoal
from envs.experts.policy import LiberoExpert
from envs.libero.env import LiberoEnv
from vla.protocols import PrivilegedPolicy
from vla.types import Observation


@pytest.fixture(scope="module")
def env():
    env = LiberoEnv("libero_object", 0)
    env.reset(options={"trial": 0})
    yield env
    env.close()


@pytest.fixture
def expert(env):
    env.reset(options={"trial": 0})
    expert = LiberoExpert()
    expert.bind(env)
    return expert


def seen(observation, instruction=""):
    return Observation(observation["images"], observation["state"], instruction, 0.0)


def run(env, expert, observation, beyond=0):
    """Act until the episode ends, and `beyond` steps more. Returns (actions (T, 7), info)."""
    actions, info, extra = [], {}, beyond
    ended = False
    while not ended or extra > 0:
        extra -= int(ended)
        actions.append(expert.infer(seen(observation)).actions[0])
        observation, _, terminated, truncated, info = env.step(actions[-1])
        ended = ended or terminated or truncated
    return np.array(actions), info


def test_is_a_privileged_policy():
    assert isinstance(LiberoExpert(), PrivilegedPolicy)


def test_must_be_bound_first(env):
    observation, _ = env.reset(options={"trial": 0})
    with pytest.raises(RuntimeError, match="bind"):
        LiberoExpert().infer(seen(observation))


def test_solves_a_task_twice_the_same_way_and_smoothly(env, expert):
    results = []
    for _ in range(2):
        observation, _ = env.reset(options={"trial": 3})
        expert.reset()
        actions, info = run(env, expert, observation)
        assert info["is_success"]
        results.append((actions, env.flat_state()))
    (first, first_state), (second, second_state) = results
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first_state, second_state)
    assert len(first) < 200
    assert np.abs(first).max() <= 1.0
    assert np.linalg.norm(first[:, :3], axis=1).max() <= 0.8 + 1e-9
    assert np.linalg.norm(np.diff(first[:, :3], axis=0), axis=1).max() <= 0.2 + 1e-9
    assert np.linalg.norm(np.diff(first[:, 3:6], axis=0), axis=1).max() <= 0.13
    assert np.count_nonzero(np.diff(first[:, 6])) <= 2  # the gripper does not chatter


def test_finishes_the_motion_when_asked_beyond_success(env, expert):
    observation, _ = env.reset(options={"trial": 1})
    expert.reset()
    actions, info = run(env, expert, observation, beyond=60)
    assert info["is_success"]
    assert actions[-1, 6] == -1.0  # let go
    assert np.abs(actions[-1, :6]).max() < 0.1  # and at rest


def test_takes_over_after_random_actions(env, expert):
    observation, _ = env.reset(options={"trial": 2})
    random = np.random.default_rng(0)
    for _ in range(30):
        observation, *_ = env.step(random.uniform(-1, 1, 7))
    expert.reset()
    assert run(env, expert, observation)[1]["is_success"]


def test_takes_over_with_the_object_in_the_hand(env, expert):
    observation, _ = env.reset(options={"trial": 0})
    while not expert._world.held("alphabet_soup_1"):
        observation, *_ = env.step(expert.infer(seen(observation)).actions[0])
    for _ in range(8):
        observation, *_ = env.step(expert.infer(seen(observation)).actions[0])
    expert.reset()
    actions, info = run(env, expert, observation)
    assert info["is_success"]
    assert actions[0, 6] == 1.0  # it does not drop what it holds


@pytest.mark.parametrize(("suite", "task"), [("libero_goal", 0), ("libero_goal", 7), ("libero_10", 9)])
def test_asked_anew_every_few_steps_it_goes_on_with_what_it_finds(suite, task):
    """Dataset aggregation asks in the middle of motions; an answer that begins again from above never gets done."""
    env = LiberoEnv(suite, task)
    observation, _ = env.reset(options={"trial": 0})
    expert = LiberoExpert()
    expert.bind(env)
    random, info = np.random.default_rng(0), {}
    try:
        ended, due, step = False, 0, 0
        while not ended:
            if step == due:
                expert.reset()
                due += int(random.integers(4, 14))
            observation, _, terminated, truncated, info = env.step(expert.infer(seen(observation)).actions[0])
            ended, step = terminated or truncated, step + 1
    finally:
        env.close()
    assert info["is_success"]


@pytest.mark.parametrize(("task", "phase"), [(0, "pull"), (7, "turn")])
def test_asked_anew_at_a_gripped_handle_it_neither_opens_nor_rises(task, phase):
    env = LiberoEnv("libero_goal", task)
    observation, _ = env.reset(options={"trial": 0})
    expert = LiberoExpert()
    expert.bind(env)
    try:
        while getattr(expert._skill, "_phase", "") != phase:
            observation, *_ = env.step(expert.infer(seen(observation)).actions[0])
        for _ in range(3):
            observation, *_ = env.step(expert.infer(seen(observation)).actions[0])
        went_on = expert.infer(seen(observation)).actions[0]
        expert.reset()
        anew = expert.infer(seen(observation)).actions[0]
    finally:
        env.close()
    assert anew[6] == went_on[6] == 1.0
    assert np.abs(anew[:6] - went_on[:6]).max() < 0.35  # asked from rest and from above it would be 0.6


@pytest.mark.parametrize(("suite", "task"), [("libero_10", 2), ("libero_spatial", 4)])
def test_asked_anew_at_any_moment_it_answers_as_a_demonstration_would(suite, task):
    """Dataset aggregation asks anew; where the answer differs from a demonstration's, a learner gets two answers."""
    env = LiberoEnv(suite, task)
    try:
        observation, _ = env.reset(options={"trial": 40})
        expert = LiberoExpert()
        expert.bind(env)
        same = []
        for tick in range(400):
            going_on = expert.infer(seen(observation)).actions[0]
            if tick % 3 == 2:
                memory = expert.memory()
                expert.reset()
                anew = expert.infer(seen(observation)).actions[0]
                same.append(anew[6] == going_on[6] and np.linalg.norm(anew[:3] - going_on[:3]) < 0.25)
                expert.recall(memory)
            observation, _, terminated, truncated, info = env.step(going_on)
            if terminated or truncated:
                break
        assert info["is_success"]
        assert np.mean(same) > 0.95, np.flatnonzero(np.logical_not(same)) * 3 + 2
    finally:
        env.close()


def test_only_reads_the_simulator(env, expert):
    observation, _ = env.reset(options={"trial": 0})
    model, data = env.scene.model, env.scene.data
    fields = ("geom_rgba", "site_rgba", "body_pos", "body_quat", "geom_pos", "geom_size", "qpos0")
    live = ("qpos", "qvel", "ctrl", "qacc_warmstart", "xpos", "geom_xpos", "site_xpos", "subtree_com")
    before = {name: getattr(model, name).copy() for name in fields}
    before |= {name: getattr(data, name).copy() for name in live}
    state, contacts = env.flat_state(), int(data.ncon)
    for _ in range(3):
        expert.infer(seen(observation))
    np.testing.assert_array_equal(env.flat_state(), state)
    assert int(data.ncon) == contacts
    for name, value in before.items():
        owner = model if name in fields else data
        np.testing.assert_array_equal(getattr(owner, name), value, err_msg=name)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (["stack", "milk_1", "basket_1"], "no skill for predicate 'stack'.*|libero_object task 0"),
        (["on", "milk_1", "moon_region"], "no object or region 'moon_region'"),
        (["open", "milk_1"], "'milk_1' has no joint"),
        (["in", "basket_1"], "has 1 arguments, expected 2"),
    ],
)
def test_names_the_predicate_it_cannot_do(env, monkeypatch, goal, message):
    monkeypatch.setitem(env.scene.upstream.parsed_problem, "goal_state", [goal])
    with pytest.raises(UnknownGoal, match=message) as error:
        LiberoExpert().bind(env)
    assert "libero_object task 0" in str(error.value)
    assert goal[0] in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "task"),
    [
        ("libero_spatial", 4),
        ("libero_goal", 3),
        ("libero_goal", 5),
        ("libero_goal", 7),
        ("libero_10", 3),
        ("libero_10", 9),
    ],
)
def test_solves_one_task_for_each_skill(suite, task):
    env = LiberoEnv(suite, task)
    observation, _ = env.reset(options={"trial": 0})
    expert = LiberoExpert()
    expert.bind(env)
    assert run(env, expert, observation)[1]["is_success"]
    env.close()
