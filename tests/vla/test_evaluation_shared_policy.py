import multiprocessing

import numpy as np
import pytest

from tests.fakes import FakeEnv, PushPolicy, SteadyPolicy
from vla.evaluation.shared_policy import Answer, Query, SharedPolicy, answer_all
from vla.types import ActionChunk, Observation


def query(asker, shade=0):
    images = {"front": np.full((4, 4, 3), shade, np.uint8)}
    return Query(Observation(images, np.zeros(3), "go", 0.0), asker)


class Fragile(SteadyPolicy):
    """Cannot stand white pictures, alone or in a batch."""

    def infer(self, observation):
        if observation.images["front"].max() == 255:
            raise ArithmeticError("dazzled")
        return super().infer(observation)


def test_a_batch_is_answered_like_single_queries():
    queries = [query(asker, 40 * asker) for asker in range(3)]
    batch = answer_all(SteadyPolicy(), queries)
    single = [answer_all(SteadyPolicy(), [each])[0] for each in queries]
    assert [answer.asker for answer in batch] == [0, 1, 2]
    for together, alone in zip(batch, single, strict=True):
        np.testing.assert_array_equal(together.chunk.actions, alone.chunk.actions)


def test_a_policy_without_batches_is_asked_one_by_one():
    assert [answer.asker for answer in answer_all(PushPolicy(), [query(0), query(1)])] == [0, 1]


def test_one_bad_query_does_not_fail_those_that_waited_with_it():
    answers = answer_all(Fragile(), [query(0), query(1, 255), query(2)])
    assert [answer.error is None for answer in answers] == [True, False, True]
    assert "dazzled" in answers[1].error


def test_images_are_rendered_before_they_travel_and_errors_come_back():
    env = FakeEnv("fake_suite", 0)
    raw, _ = env.reset(options={"trial": 0})
    ours, theirs = multiprocessing.Pipe()
    theirs.send(Answer(0, ActionChunk(np.ones((1, 2)), "go", 0.0)))
    theirs.send(Answer(0, None, "Traceback: dazzled"))
    policy = SharedPolicy(ours)
    observation = Observation(raw["images"], raw["state"], "go", 0.0)
    policy.infer(observation)
    sent = theirs.recv().observation
    assert type(sent.images) is dict
    assert list(sent.images) == ["front", "wrist"]
    with pytest.raises(RuntimeError, match="dazzled"):
        policy.infer(observation)
