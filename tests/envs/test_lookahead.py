"""The expert that plans ahead: the simulation is left as it was, to the last bit, and the plan comes true."""

import itertools

import numpy as np
import pytest

from envs.experts.lookahead import LookaheadExpert
from envs.libero.env import LiberoEnv
from envs.libero.imagination import imagined
from vla.protocols import PrefixPolicy, PrivilegedPolicy
from vla.types import Observation


@pytest.fixture(scope="module")
def env():
    env = LiberoEnv("libero_goal", 7, cameras=())  # the stove: LIBERO keeps its flame in Python and in the model
    yield env
    env.close()


# Of islands, which are off, and of another solver: MuJoCo leaves these pointing at memory it never writes.
UNWRITTEN = ("island", "iefc", "idof", "efc_AR")


def seen(tick=0):
    return Observation({}, np.zeros(8), "turn on the stove", tick / 20)


def bound(env, **arguments):
    policy = LookaheadExpert(**arguments)
    policy.bind(env.unwrapped)
    return policy


def everything(env):
    """Every number of the simulator: MuJoCo's data with contacts and warm start, the model's, the controller's."""
    scene, found = env.scene, {}
    for holder in (scene.data, scene.data.contact, scene.model, scene.controller):
        for name in dir(holder) if holder is not scene.controller else vars(holder):
            skipped = name.startswith("__") or any(part in name for part in UNWRITTEN)
            value = None if skipped else getattr(holder, name)
            if isinstance(value, np.ndarray):
                found[type(holder).__name__, name] = value.copy()
    found["timestep"] = np.array(scene.model.opt.timestep)
    stove = scene.upstream.get_object("flat_stove_1").object_properties["vis_site_names"]
    found["flame"] = np.array([lit for _, lit in stove.values()])
    return found


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=str(name), strict=True)


@pytest.mark.parametrize("substeps", [25, 10])
def test_planning_leaves_the_simulation_as_it_was(env, substeps):
    env.reset(options={"trial": 0})
    policy = bound(env, chunk=60, substeps=substeps)  # long enough to turn the knob
    for action in policy.infer(seen()).actions[:45]:
        env.step(action)
    before, success = everything(env), env.scene.is_success()
    policy.infer(seen(45))
    policy.infer_after(seen(45), np.zeros((4, 7)), 2)
    assert_same(before, everything(env))
    assert env.scene.is_success() == success


def test_an_episode_with_plans_ends_in_the_same_state_as_one_without(env):
    env.reset(options={"trial": 1})
    actions = bound(env, chunk=20).infer(seen()).actions
    states = []
    for plans in (True, False):
        env.reset(options={"trial": 1})
        policy = bound(env, chunk=5)
        for action in actions:
            if plans:
                policy.infer(seen())
            env.step(action)
        states.append(env.flat_state())
    np.testing.assert_array_equal(*states)


def test_the_plan_comes_true(env):
    env.reset(options={"trial": 2})
    policy = bound(env, chunk=12)
    actions = policy.infer(seen()).actions
    with imagined(env.scene) as advance:
        for action in actions:
            advance(action)
        foreseen = env.flat_state()
    for action in actions:
        env.step(action)
    np.testing.assert_array_equal(env.flat_state(), foreseen)


def test_undisturbed_plans_follow_from_each_other(env):
    """Asked again in the middle of a chunk, it goes on as it had planned: it remembers what it was doing."""
    env.reset(options={"trial": 3})
    policy = bound(env, chunk=16)
    for start in itertools.count(step=8):
        first = policy.infer(seen(start)).actions
        for action in first[:8]:
            env.step(action)
        np.testing.assert_array_equal(policy.infer(seen(start + 8)).actions[:8], first[8:])
        if start == 24:
            break


def test_a_given_beginning_is_kept_and_planned_on_from(env):
    env.reset(options={"trial": 4})
    policy = bound(env, chunk=10)
    free = policy.infer(seen()).actions
    policy.reset()
    given = np.tile([0.0, 0.5, 0.0, 0.0, 0.0, 0.0, -1.0], (6, 1))
    chunk = policy.infer_after(seen(), given, 3).actions
    np.testing.assert_array_equal(chunk[:3], given[:3])
    assert chunk.shape == (10, 7)
    assert np.abs(chunk[3:] - free[3:]).max() > 1e-3


def test_it_solves_a_task_in_chunks(env):
    env.reset(options={"trial": 0})
    policy = bound(env, chunk=16, substeps=10)
    for tick in range(0, 240, 16):
        for action in policy.infer(seen(tick)).actions:
            _, _, done, _, _ = env.step(action)
            if done:
                return
    pytest.fail("not solved within 240 steps")


def test_a_failing_plan_leaves_the_simulation_too(env):
    env.reset(options={"trial": 0})
    before = everything(env)

    def fail():
        with imagined(env.scene, 10) as advance:
            advance(np.ones(7))
            advance(np.ones(3))

    with pytest.raises(ValueError, match=r"broadcast|shape"):
        fail()
    assert_same(before, everything(env))


def test_it_is_privileged_takes_prefixes_and_must_be_bound():
    assert isinstance(LookaheadExpert(), PrivilegedPolicy)
    assert isinstance(LookaheadExpert(), PrefixPolicy)
    with pytest.raises(RuntimeError, match="call bind"):
        LookaheadExpert().infer(seen())


@pytest.mark.parametrize("arguments", [{"chunk": 0}, {"chunk": 2.5}, {"substeps": 0}, {"substeps": 26}])
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(ValueError, match=r"policy\.(chunk|substeps): expected"):
        LookaheadExpert(**arguments)
