import io
import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import FakeEnv, PushPolicy, SteadyPolicy, fake_config
from vla.command.processes import StopRequest
from vla.evaluation import runner as runner_module
from vla.evaluation.journal import Journal
from vla.evaluation.plan import make_plan
from vla.evaluation.progress import Progress
from vla.evaluation.runner import Runner
from vla.evaluation.shared_policy import Answer, Query, Ready, SharedPolicy, answer_all
from vla.types import ActionChunk, Observation


def query(serial, shade=0):
    images = {"front": np.full((4, 4, 3), shade, np.uint8)}
    return Query(Observation(images, np.zeros(3), "go", 0.0), serial)


class Fragile(SteadyPolicy):
    """Cannot stand white pictures, alone or in a batch."""

    def infer(self, observation):
        if observation.images["front"].max() == 255:
            raise ArithmeticError("dazzled")
        return super().infer(observation)


def test_a_batch_is_answered_like_single_queries():
    queries = [query(serial, 40 * serial) for serial in range(3)]
    batch = answer_all(SteadyPolicy(), queries)
    single = [answer_all(SteadyPolicy(), [each])[0] for each in queries]
    assert [answer.serial for answer in batch] == [0, 1, 2]
    for together, alone in zip(batch, single, strict=True):
        np.testing.assert_array_equal(together.chunk.actions, alone.chunk.actions)


def test_a_policy_without_batches_is_asked_one_by_one():
    assert [answer.serial for answer in answer_all(PushPolicy(), [query(0), query(1)])] == [0, 1]


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


@dataclass
class Pretended:
    """A child process without a process; the test is at the other end of its pipe."""

    connection: Any
    end: Any
    log: Path = Path("log")

    def how_it_died(self):
        return "SIGKILL"

    def stop(self):
        self.connection.close()


def test_the_answer_to_a_dead_worker_is_not_given_to_its_successor(tmp_path, monkeypatch):
    plan = make_plan(fake_config(tmp_path, "policy=fake_steady", "eval.inference=shared", "eval.workers=1"))
    started = []

    def start(*_, **__):
        started.append(Pretended(*multiprocessing.Pipe()))
        return started[-1]

    monkeypatch.setattr(runner_module, "start_child", start)
    progress = Progress(len(plan.keys), [], io.StringIO())
    with Journal(tmp_path / "episodes.jsonl") as journal, StopRequest() as stop:
        runner = Runner(plan, tmp_path, journal, progress, stop, files={}, drifted=False)
        runner._policy = start()
        policy = started[0].end

        def say(worker, *messages):
            for message in messages:
                worker.end.send(message)
                runner._listen()

        runner._start(0)
        say(started[1], Ready(), query(-1, 1))
        first = policy.recv()
        started[1].end.close()  # it dies while the policy thinks
        runner._listen()
        say(started[2], Ready(), query(-1, 2))
        second = policy.recv()
        for asked in (first, second):
            policy.send(answer_all(SteadyPolicy(), [asked])[0])
            runner._listen()
        received = []
        while started[2].end.poll():
            received.append(started[2].end.recv())
    assert [answer.serial for answer in received[1:]] == [second.serial]
    assert first.serial != second.serial
