"""What `vla.protocols` promises of every environment: subclass, give an `env` fixture and two actions."""

from __future__ import annotations

import copy
import json
import pickle
import re
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env


class EnvContract:
    """Collected only through its subclasses."""

    still: np.ndarray  # (A,) keeps the robot where it is
    moving: np.ndarray  # (A,) moves it within ten steps
    cameras: tuple[str, str]

    def test_passes_the_env_checker(self, env):
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*(infinity|alternative render modes|symmetric and normalized).*"
            )
            check_env(env)

    def test_says_what_the_loop_and_the_evaluator_read(self, env):
        observation, info = env.reset(options={"trial": 0})
        spec = env.action_spec
        assert env.action_space.shape == spec.low.shape == (len(spec.names),)
        np.testing.assert_array_equal(env.action_space.low, spec.low)
        np.testing.assert_array_equal(env.action_space.high, spec.high)
        assert (spec.max_step > 0).all()
        assert observation["state"].dtype == env.flat_state().dtype == np.float64
        assert info["instruction"] == env.task.instruction
        assert info["is_success"] is False
        started = info["time"]
        _, _, _, _, info = env.step(self.still)
        assert info["time"] == pytest.approx(started + 1 / spec.hz)
        assert set(env.timing) == {"sim", "render"}
        assert json.dumps(env.task.name)
        assert pickle.loads(pickle.dumps(env.task)) == env.task  # noqa: S301  (our own bytes)

    def test_says_where_hands_and_cameras_are(self, env):
        env.reset(options={"trial": 0})
        hands = env.hands()
        assert hands.shape == (env.action_spec.gripper.sum(), 3)
        for _ in range(10):
            env.step(self.moving)
        assert (np.linalg.norm(env.hands() - hands, axis=1) > 1e-3).all()
        assert set(env.camera_poses()) == set(env.cameras)
        assert np.isfinite(env.camera_poses()[self.cameras[0]].project(env.hands())).all()

    def test_a_trial_is_the_same_in_any_order(self, env):
        first = {}
        for trial in (0, 1, 0):
            env.reset(options={"trial": trial})
            for _ in range(3):
                env.step(self.moving)
            first.setdefault(trial, env.flat_state())
            np.testing.assert_array_equal(env.flat_state(), first[trial])
        assert not np.array_equal(first[0], first[1])

    def test_images_are_rendered_only_when_read_and_only_once(self, env):
        observation, _ = env.reset(options={"trial": 0})
        for _ in range(8):
            env.step(self.still)
        assert env.timing["render"] == 0
        image = observation["images"][self.cameras[1]]
        spent = env.timing["render"]
        assert spent > 0
        assert observation["images"][self.cameras[1]] is image
        assert env.timing["render"] == spent

    def test_a_past_observation_can_still_be_drawn(self, env):
        camera = self.cameras[0]
        fresh = env.reset(options={"trial": 1})[0]["images"][camera]
        late, _ = env.reset(options={"trial": 1})
        for _ in range(10):
            env.step(self.moving)
        env.reset(options={"trial": 2})
        before = env.flat_state()
        np.testing.assert_array_equal(late["images"][camera], fresh)
        np.testing.assert_array_equal(env.flat_state(), before)

    def test_copies_and_pickles_hold_every_camera(self, env):
        images = env.reset(options={"trial": 0})[0]["images"]
        plain = pickle.loads(pickle.dumps(images))  # noqa: S301  (our own bytes)
        assert type(plain) is dict
        assert set(plain) == set(images) == set(env.cameras)
        copied = dict(env.reset(options={"trial": 0})[0]["images"])
        for camera, image in plain.items():
            np.testing.assert_array_equal(copied[camera], image)
        np.testing.assert_array_equal(copy.deepcopy(images)[self.cameras[1]], plain[self.cameras[1]])

    def test_step_limit_truncates(self, env):
        env.reset(options={"trial": 0})
        flags = [env.step(self.still)[2:4] for _ in range(env.task.max_steps)]
        assert flags[-2] == (False, False)
        assert flags[-1] == (False, True)

    def test_a_reset_leaves_the_callers_random_numbers_alone(self, env):
        np.random.seed(3)
        expected = np.random.uniform(size=4)
        np.random.seed(3)
        env.reset(options={"trial": 5})
        np.testing.assert_array_equal(np.random.uniform(size=4), expected)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_an_action_that_is_not_finite_is_refused_and_changes_nothing(self, env, bad):
        env.reset(options={"trial": 0})
        before = env.flat_state()
        for entry in (2, -1):
            action = self.still.copy()
            action[entry] = bad
            name = re.escape(env.action_spec.names[entry])
            with pytest.raises(ValueError, match=f"expected finite.*got {bad} for {name}"):
                env.step(action)
        np.testing.assert_array_equal(env.flat_state(), before)

    def test_an_action_of_another_shape_is_refused_and_changes_nothing(self, env):
        env.reset(options={"trial": 0})
        before = env.flat_state()
        size = len(self.still)
        with pytest.raises(ValueError, match=rf"expected shape \({size},\).*got \({size - 1},\)"):
            env.step(self.still[:-1])
        np.testing.assert_array_equal(env.flat_state(), before)

    def test_a_trial_out_of_range_is_refused(self, env):
        with pytest.raises(ValueError, match="trials 0 to 49, got 50"):
            env.reset(options={"trial": 50})
