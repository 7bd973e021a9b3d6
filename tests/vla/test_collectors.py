"""What a collecting worker does with a scene: those of the evaluation are not learned from, and glances."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tests.fakes import CONF, SEARCH_PATH, BoundPolicy, FakeDemonstrations
from vla.command.config import compose_config, to_dict
from vla.command.errors import CommandError, RefusedError
from vla.data.attempts import Visit
from vla.data.collect import collect
from vla.data.collectors import DemonstrationCollector
from vla.data.demonstration import FAR
from vla.data.glances import WORDS, GlanceCollector
from vla.data.lerobot.reader import read_dataset
from vla.types import ActionSpec

OFFICIAL = 1  # the trial that is one of the evaluation's
SEEDS = (0, OFFICIAL, 2)


class Scenes(FakeDemonstrations):
    """One of them is a scene of the evaluation."""

    def reset(self, *, seed=None, options=None):
        self.nearest_official_m = 4e-4 if options["trial"] == OFFICIAL else 0.1
        return super().reset(seed=seed, options=options)

    def step(self, action):
        if self.nearest_official_m < 1e-3:
            raise AssertionError("a scene of the evaluation is played")
        return super().step(action)


class SevenAxes(Scenes):
    """Takes actions as LIBERO does; no pixel shows what lies at x = 0."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        names = ("x", "y", "z", "a", "b", "c", "gripper")
        self.action_spec = ActionSpec("eef_delta", names, np.full(7, -1.0), np.ones(7), np.full(7, np.inf), 20.0)

    def step(self, action):
        assert action.shape == (7,)
        return super().step(action[:2])

    def project(self, points):
        return np.where(points[:, :1] == 0, np.nan, points[:, :2])


class Looker(BoundPolicy):
    """Says what two instructions would have the hand close on; one of the things cannot be seen."""

    def aims(self):
        return [("take the cup", np.array([0.2, 0.3, 0.1])), ("take the ghost", np.array([0.0, 0.3, 0.1]))]


def config(root, env, policy, *overrides):
    fake = ("env=fake_demonstrations", "policy=fake_bound", "suites=[fake_suite]", "stride=2")
    composed = to_dict(compose_config(CONF, "collect", [SEARCH_PATH, *fake, f"root={root}", *overrides]))
    composed["env"]["_target_"] = f"{__name__}.{env}"
    composed["policy"]["_target_"] = f"{__name__}.{policy}"
    return composed


def run(collector, kept):
    visit = Visit("fake_suite", 0, SEEDS, "push_0")
    attempts = list(collector(kept).run(visit))
    assert [attempt.key for attempt in attempts] == [("fake_suite", 0, seed) for seed in SEEDS]
    return attempts


@pytest.mark.parametrize(("collector", "env"), [(DemonstrationCollector, "Scenes"), (GlanceCollector, "SevenAxes")])
def test_a_scene_of_the_evaluation_is_refused_before_its_first_step(tmp_path, collector, env):
    first, official, last = run(collector, config(tmp_path, env, "Looker"))
    assert (official.outcome, official.frames, official.steps) == ("ERROR", 0, 0)
    assert "equals an evaluation scene: every object is within 0.4 mm" in official.error
    for attempt in (first, last):
        assert (attempt.outcome, attempt.error) == ("SUCCESS", "")
        assert attempt.nearest_evaluation_scene_m == 0.1
    assert read_dataset(tmp_path).info["total_frames"] == first.frames + last.frames


def test_a_glance_holds_words_and_where_they_are_seen_and_no_action(tmp_path):
    first, _, last = run(GlanceCollector, config(tmp_path, "SevenAxes", "Looker", "lookahead=5"))
    assert first.frames == last.frames == 2 * WORDS  # two views
    episode = read_dataset(tmp_path)[0]
    columns = episode.columns
    assert episode.metadata["seeds"] == list(SEEDS)
    assert columns["action_chunk"].shape == (4 * WORDS, 5, 7)
    assert not columns["action_chunk_valid"].any()
    np.testing.assert_array_equal(columns["keyframe_known"], [[True, False]] * 4 * WORDS)
    seen = dict(zip(columns["instruction"], columns["keyframe_pixels.front"], strict=True))
    np.testing.assert_allclose(seen["take the cup"], [[0.2, 0.3], [FAR, FAR]], rtol=1e-6)
    assert seen["take the ghost"][0, 0] == FAR  # nowhere in the image: not in its middle


def test_glances_of_a_policy_that_tells_no_aim_are_refused(tmp_path):
    kept = config(tmp_path, "SevenAxes", "BoundPolicy", "collector=glances", "workers=1")
    with pytest.raises(RefusedError, match=r"policy: collector=glances expects.*policy=expert.*got .*\.BoundPolicy"):
        GlanceCollector(kept)
    with pytest.raises(CommandError, match="policy: collector=glances expects"):
        collect(kept, io.StringIO())
