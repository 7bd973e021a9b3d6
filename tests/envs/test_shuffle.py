"""Shuffled scenes: reproducible, different from the official ones, and the words stay true."""

from __future__ import annotations

import numpy as np
import pytest

from envs.libero.env import LiberoEnv
from envs.libero.shuffle import related_objects


@pytest.fixture(scope="module")
def shuffled():
    env = LiberoEnv("libero_object", 5, scene="shuffled")
    yield env
    env.close()


def positions(env):
    """{object: (3,)} of what stands on the floor or table."""
    upstream = env.scene.upstream
    return {name: env.scene.data.xpos[upstream.obj_body_id[name]].copy() for name in upstream.objects_dict}


def test_a_trial_is_the_same_scene_in_any_order(shuffled):
    first = {}
    for trial in (0, 1, 2):
        shuffled.reset(options={"trial": trial})
        first[trial] = shuffled.flat_state()
    for trial in (2, 0, 1):
        shuffled.reset(options={"trial": trial})
        np.testing.assert_array_equal(shuffled.flat_state(), first[trial])


def test_objects_trade_places_and_the_task_is_not_solved(shuffled):
    seen = []
    for trial in range(6):
        _, info = shuffled.reset(options={"trial": trial})
        assert not info["is_success"]
        seen.append(positions(shuffled)["tomato_sauce_1"])
    assert np.ptp(np.array(seen), axis=0)[:2].max() > 0.15  # the official states vary it by millimetres


def test_relations_in_the_words_stay_true():
    env = LiberoEnv("libero_spatial", 0, scene="shuffled")  # the bowl between the plate and the ramekin
    official = LiberoEnv("libero_spatial", 0)
    for trial in range(4):
        env.reset(options={"trial": trial})
        official.reset(options={"trial": trial})
        now, then = positions(env), positions(official)
        shift = now["plate_1"] - then["plate_1"]
        for name in ("akita_black_bowl_1", "akita_black_bowl_2", "glazed_rim_porcelain_ramekin_1"):
            np.testing.assert_allclose((now[name] - then[name])[:2], shift[:2], atol=0.01)
    env.close()
    official.close()


NAMES = ["akita_black_bowl_1", "plate_1", "cookies_1", "glazed_rim_porcelain_ramekin_1", "porcelain_mug_1"]


@pytest.mark.parametrize(
    ("words", "related"),
    [
        ("pick up the black bowl next to the cookie box and place it on the plate", {0, 2}),
        ("pick up the black bowl between the plate and the ramekin and place it on the plate", {0, 1, 3}),
        ("put the white mug on the left plate and put the yellow and white mug on the right plate", {1}),
        ("put the bowl on the plate", set()),
        ("pick up the alphabet soup and place it in the basket", set()),
    ],
)
def test_words_that_relate_objects(words, related):
    assert related_objects(words, NAMES) == {NAMES[index] for index in related}
