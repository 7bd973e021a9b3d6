"""A recording whose disk is slow, or cannot keep what it was given."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import wait

import pytest

from tests.vla.test_session_recorder import HZ, LENGTH, recorder_at, seen, step
from vla.data.lerobot.reader import read_dataset
from vla.types import Episode, Outcome

ENDING = Episode("task", "push", 3, Outcome.FAILURE, 0, 1)


def record(recorder, count):
    """An episode that has not ended yet."""
    recorder.on_episode_start(seen(0))
    for tick in range(count):
        recorder.on_step(step(tick % LENGTH))


def test_nobody_waits_for_a_slow_disk(tmp_path, monkeypatch):
    may, waited = threading.Event(), []
    monkeypatch.setattr("os.fdatasync", lambda descriptor: waited.append(may.wait(5)))
    recorder = recorder_at(tmp_path)
    record(recorder, 2 * HZ + 5)
    may.set()
    recorder.on_episode_end(ENDING, None)
    assert waited == [True] * 3  # two videos and the rows; asked once, for the first time was not over
    assert read_dataset(tmp_path)[0].length == 2 * HZ + 5


@pytest.mark.parametrize("last", [True, False])
def test_a_disk_that_cannot_be_brought_up_to_date_is_told(tmp_path, monkeypatch, last):
    def broken(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fdatasync", broken)
    recorder = recorder_at(tmp_path)
    record(recorder, HZ)
    wait([recorder._journal._synced])
    if last:
        with pytest.raises(OSError, match="Input/output error"):
            recorder.on_episode_end(ENDING, None)
    else:
        with pytest.raises(OSError, match="Input/output error"):
            recorder.on_step(step(HZ))
        recorder.on_episode_end(ENDING, None)
    assert read_dataset(tmp_path)[0].length == HZ
