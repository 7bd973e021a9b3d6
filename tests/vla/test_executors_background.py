"""Every executor with a policy that thinks in a thread beside the loop."""

import dataclasses
import threading
from collections.abc import Mapping
from concurrent.futures import wait

import numpy as np
import pytest

from tests.vla.test_executors import DELTAS, EVERY, POSITIONS, Scripted, seen
from vla.runtime.inference import TemporalEnsembling


class Thinking(Scripted):
    """Answers when it may, in the thread in which it was asked; looks at the images only then."""

    def __init__(self, size=8):
        super().__init__(size)
        self.may, self.threads = threading.Semaphore(0), set()

    def infer(self, observation):
        self.may.acquire()
        self.threads.add(threading.get_ident())
        dict(observation.images)
        return super().infer(observation)


class DrawnHere(Mapping):
    """Images that only one thread can draw, as with OpenGL."""

    def __init__(self):
        self.thread = threading.get_ident()

    def __getitem__(self, name):
        assert threading.get_ident() == self.thread
        return np.zeros((2, 2, 3), np.uint8)

    def __iter__(self):
        return iter(["front"])

    def __len__(self):
        return 1


def act(inference, tick, words="go"):
    return inference.next_action(dataclasses.replace(seen(tick, words), images=DrawnHere()))


def act_on_the_answer(inference, tick, words="go"):
    """The next action, once the answer that is on its way is there."""
    wait([inference._query.answer])
    return act(inference, tick, words)


@EVERY
def test_in_the_background_the_policy_thinks_while_the_loop_goes_on(make):
    policy = Thinking(size=100)
    inference = make(policy, latency_s="background")
    inference.reset(DELTAS)
    for tick in range(50):
        np.testing.assert_array_equal(act(inference, tick), np.zeros(3))  # holds, asks once, waits for nothing
        assert inference.planned_at is None
    policy.may.release()
    act_on_the_answer(inference, 50)
    assert inference.planned_at == 0
    assert policy.asked[0] == 0
    assert policy.threads.isdisjoint({threading.get_ident()})
    assert inference.policy_s > 0
    policy.may.release(1000)
    inference.reset(DELTAS)  # a query that is on its way ends first


@EVERY
@pytest.mark.parametrize("spec", [DELTAS, POSITIONS], ids=["deltas", "positions"])
def test_begun_anew_under_way_it_holds_what_was_sent_and_waits_for_nobody(make, spec):
    policy = Thinking(size=100)
    inference = make(policy, latency_s="background")
    inference.reset(DELTAS)
    act(inference, 0)  # a query that nobody will want the answer of
    inference.reset(spec, np.array([0.3, 0.2, 1.0]))  # such as when a person hands back
    held = [0.3, 0.2, 1.0] if spec is POSITIONS else [0.0, 0.0, 1.0]
    for tick in range(5):
        np.testing.assert_array_equal(act(inference, tick), held)
    policy.may.release(1000)
    act_on_the_answer(inference, 5)
    assert inference.planned_at == 0
    assert policy.resets == 2


@pytest.mark.parametrize("spec", [DELTAS, POSITIONS], ids=["deltas", "positions"])
def test_a_plan_that_is_over_when_it_arrives_is_dropped_and_the_next_one_is_followed(spec, caplog):
    policy = Thinking(size=4)
    inference = TemporalEnsembling(policy, latency_s="background")
    inference.reset(spec, np.array([0.3, 0.2, 1.0]))
    held = [0.3, 0.2, 1.0] if spec is POSITIONS else [0.0, 0.0, 1.0]
    for tick in range(4):
        act(inference, tick)
    policy.may.release()  # such as a first query, which is slow
    np.testing.assert_array_equal(act_on_the_answer(inference, 4), held)
    assert inference.planned_at is None
    assert "it took 4 ticks to plan 4 actions" in caplog.text
    policy.may.release()
    act_on_the_answer(inference, 5)
    assert inference.planned_at == 4  # it was asked again in the tick in which the late one arrived
    policy.may.release(1000)


@EVERY
def test_in_the_background_an_answer_for_old_words_is_dropped(make):
    policy = Thinking()
    inference = make(policy, latency_s="background")
    inference.reset(DELTAS)
    act(inference, 0, "close it")
    policy.may.release(1000)
    np.testing.assert_array_equal(act_on_the_answer(inference, 1, "open it"), np.zeros(3))
    assert act_on_the_answer(inference, 2, "open it")[2] == -1.0
    assert inference.planned_at == 1


@EVERY
def test_in_the_background_position_control_waits_for_its_first_plan_only(make):
    policy = Thinking(size=100_000)
    inference = make(policy, latency_s="background")
    inference.reset(POSITIONS)
    policy.may.release()
    act(inference, 0)
    assert inference.planned_at == 0
    for tick in range(1, 20):
        act(inference, tick)
    policy.may.release(1000)
    inference.reset(POSITIONS)


@EVERY
def test_in_the_background_an_error_comes_out_of_a_later_tick(make):
    class Broken(Thinking):
        def infer(self, observation):
            self.may.acquire()
            raise RuntimeError("out of memory")

    policy = Broken()
    inference = make(policy, latency_s="background")
    inference.reset(DELTAS)
    act(inference, 0)
    policy.may.release(1000)
    with pytest.raises(RuntimeError, match="out of memory"):
        act_on_the_answer(inference, 1)
