"""Any rollout of the loop becomes an episode: aligned, filtered by outcome, and never more than one in memory."""

import numpy as np
import pytest

from tests.fakes import FakeEnv, SteadyPolicy
from vla.data.lerobot.reader import read_dataset
from vla.data.lerobot.writer import DatasetWriter
from vla.data.recorder import Recorder
from vla.runtime.inference import OpenLoop
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import Outcome


class Log:
    """What really happened: images as they were, actions as they were sent."""

    def on_episode_start(self, observation):
        self.images, self.states, self.sent = [observation.images["front"].copy()], [observation.state.copy()], []

    def on_step(self, step):
        self.images.append(step.after.images["front"].copy())
        self.states.append(step.after.state.copy())
        self.sent.append(step.sent.copy())

    def on_episode_end(self, episode, observation):
        self.outcome = episode.outcome


def roll(recorder, task=0, trial=0, max_steps=40, **options):
    env, log = FakeEnv("fake_suite", task, **options), Log()
    run_episode(env, OpenLoop(SteadyPolicy()), LimitFilter(env.action_spec), [recorder, log], trial=trial,
                max_steps=max_steps)  # fmt: skip
    return log


@pytest.mark.parametrize("stride", [1, 4])
def test_frames_are_what_was_seen_before_the_action_that_was_sent(stride):
    kept = []
    log = roll(Recorder(kept.append, hz=20.0, stride=stride))
    (episode,) = kept
    ticks = np.arange(0, len(log.sent), stride)
    assert (episode.fps, episode.length) == (20 // stride, len(ticks))
    np.testing.assert_array_equal(episode.images["front"], np.stack(log.images)[ticks])
    np.testing.assert_array_equal(episode.columns["observation.state"], np.stack(log.states)[ticks].astype(np.float32))
    sent = np.stack(log.sent).astype(np.float32)
    np.testing.assert_array_equal(episode.columns["action"], sent[ticks])
    assert episode.metadata["success"] is True
    assert (episode.metadata["trial"], episode.metadata["steps"]) == (0, len(sent))


def test_only_wanted_outcomes_are_kept(tmp_path):
    writer = DatasetWriter(tmp_path / "set")
    recorder = Recorder(writer.add, hz=20.0, metadata={"policy": "steady"})
    roll(recorder, trial=0)
    roll(recorder, task=3)  # cannot be solved
    roll(recorder, max_steps=2)
    with pytest.raises(ArithmeticError):
        roll(recorder, trouble={"0/1": "raise"}, trial=1)
    roll(recorder, trial=2)
    assert [row.metadata["trial"] for row in read_dataset(tmp_path / "set").episodes] == [0, 2]
    assert {row.metadata["policy"] for row in read_dataset(tmp_path / "set").episodes} == {"steady"}


def test_failures_are_kept_when_asked_for():
    kept = []
    roll(Recorder(kept.append, hz=20.0, keep=(Outcome.FAILURE,)), task=3)
    assert [episode.metadata["success"] for episode in kept] == [False]


def test_a_sink_that_fails_ends_the_run_and_the_next_episode_starts_clean():
    kept = []

    def sink(episode):
        if not kept:
            kept.append(None)
            raise OSError("full")
        kept.append(episode)

    recorder = Recorder(sink, hz=20.0)
    with pytest.raises(OSError, match="full"):
        roll(recorder)
    log = roll(recorder)
    assert kept[1].length == len(log.sent)


@pytest.mark.parametrize(("stride", "probe"), [(3, None), (0, None), (2, object())])
def test_impossible_strides_are_refused(stride, probe):
    with pytest.raises(ValueError, match="stride: "):
        Recorder(print, hz=20.0, stride=stride, probe=probe)
