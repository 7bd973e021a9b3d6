from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from vla.evaluation.dispatch import Dispatcher
from vla.evaluation.plan import EpisodeKey


def keys(*trials_of_task):
    return [EpisodeKey("s", task, trial) for task, n in enumerate(trials_of_task) for trial in range(n)]


def test_a_worker_stays_on_its_task_then_takes_an_untouched_one_then_steals():
    dispatcher = Dispatcher(keys(2, 3, 4, 1))
    assert dispatcher.next(None) == EpisodeKey("s", 0, 0)
    assert dispatcher.next(None) == EpisodeKey("s", 1, 0)
    assert dispatcher.next(0) == EpisodeKey("s", 0, 1)
    assert dispatcher.next(0) == EpisodeKey("s", 2, 0)
    assert dispatcher.next(None) == EpisodeKey("s", 3, 0)
    assert dispatcher.next(3) == EpisodeKey("s", 2, 1)  # three left of task 2, two of task 1


def test_what_was_put_back_comes_next():
    dispatcher = Dispatcher(keys(2))
    first = dispatcher.next(None)
    dispatcher.put_back(first)
    assert dispatcher.next(None) == first


@given(st.lists(st.integers(0, 5), max_size=6), st.integers(1, 4), st.randoms())
def test_every_episode_is_handed_out_once(trials, workers, random):
    dispatcher = Dispatcher(keys(*trials))
    tasks = [None] * workers
    given_out = Counter()
    while len(dispatcher):
        worker = random.randrange(workers)
        key = dispatcher.next(tasks[worker])
        tasks[worker] = key.task_id
        given_out[key] += 1
    assert given_out == Counter(keys(*trials))
    assert dispatcher.next(0) is None
