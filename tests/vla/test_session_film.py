"""The film of a session is a convenience: whatever becomes of it, the session goes on."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from threading import Semaphore
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tests.session_runs import ROBOT, SIMULATION, Clock, run
from vla.session.film import WAITING, Film
from vla.types import Commander, Episode, Observation, Outcome, Step

FAILURES = [
    OSError(28, "No space left on device"),
    av.error.ExternalError(0, "Generic error in an external library"),  # is no OSError
    av.error.ArgumentError(22, "Invalid argument"),  # is a ValueError
    TypeError("a mistake of ours"),
]
EVERY_FAILURE = pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)


def seen(tick):
    return Observation({"front": np.full((48, 64, 3), 5 * tick % 256, np.uint8)}, np.zeros(3), "wave", tick / 10)


def step(tick):
    return Step(tick, seen(tick), np.zeros(2), np.zeros(2), False, False, seen(tick + 1), Commander.POLICY)


def play(film, steps):
    film.on_episode_start(seen(0))
    for tick in range(steps):
        film.on_step(step(tick))
    film.on_episode_end(Episode("task", "wave", 0, Outcome.FAILURE, steps, 1), seen(steps))


def times(film):
    """[s] of its frames."""
    with av.open(str(film.path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def with_av(**replaced):
    """PyAV with something else in it."""
    return SimpleNamespace(**{**vars(av), **replaced})


def failing(monkeypatch, failure, after=0):
    """Let the encoder fail after so many frames."""
    real, left = av.VideoFrame.from_ndarray, [after]

    class Encoder:
        @staticmethod
        def from_ndarray(frame, **options):
            left[0] -= 1
            if left[0] < 0:
                raise failure
            return real(frame, **options)

    # Only the film's: the recording encodes with PyAV as well.
    monkeypatch.setattr("vla.session.film.av", with_av(VideoFrame=Encoder))


def open_files():
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    return [str(link.readlink()) for link in links if link.is_symlink()]


def test_a_film_plays_in_real_time(tmp_path):
    film = Film(tmp_path / "videos" / "film.mp4", hz=20.0, drop=False)
    play(film, 200)
    assert film.path == tmp_path / "videos" / "film.mp4"
    np.testing.assert_allclose(times(film), np.arange(101) / 10, atol=1e-3)
    assert os.listdir(film.path.parent) == ["film.mp4"]


def test_nobody_waits_for_a_slow_encoder_and_what_is_left_out_moves_nothing(tmp_path, monkeypatch):
    may, opened = threading.Event(), []
    monkeypatch.setattr(
        "vla.session.film.av", with_av(open=lambda *a, **b: opened.append(may.wait(5)) or av.open(*a, **b))
    )
    film = Film(tmp_path / "film.mp4", hz=10.0, drop=True)
    film.on_episode_start(seen(0))
    for tick in range(39):
        film.on_step(step(tick))
    may.set()
    assert film.dropped == 40 - WAITING
    film._thread.submit(int).result()  # it has caught up
    film.on_step(step(39))
    film.on_episode_end(Episode("task", "wave", 0, Outcome.FAILURE, 40, 1), None)
    assert opened == [True]
    assert film.dropped == 40 - WAITING
    np.testing.assert_allclose(times(film), [*np.arange(WAITING) / 10, 4.0], atol=1e-3)


def test_the_summary_says_what_is_missing(tmp_path, monkeypatch, robots):
    monkeypatch.setattr("vla.session.film.Semaphore", lambda count: Semaphore(3))
    may = threading.Event()
    monkeypatch.setattr("vla.session.film.av", with_av(open=lambda *a, **b: may.wait(5) and av.open(*a, **b)))
    (row,), printed, _ = run(tmp_path, *ROBOT, "max_s=1.04", clock=Clock({52: may.set}))
    assert row["video_dropped"] == 11 - 3
    assert f"video: {row['video']} (8 frames left out" in printed


def test_a_simulation_that_runs_freely_waits_for_its_film(tmp_path, monkeypatch):
    monkeypatch.setattr("vla.session.film.Semaphore", lambda count: Semaphore(1))
    (row,), printed, _ = run(tmp_path, *SIMULATION, "task=3", "max_s=2")
    assert row["video_dropped"] == 0
    assert "left out" not in printed


@EVERY_FAILURE
@pytest.mark.parametrize("after", [0, 5])
def test_an_encoder_that_fails_leaves_nothing_behind(tmp_path, monkeypatch, caplog, failure, after):
    failing(monkeypatch, failure, after)
    film = Film(tmp_path / "film.mp4", hz=10.0, drop=False)
    play(film, 20)
    assert film.path is None
    assert list(tmp_path.iterdir()) == []
    assert not [name for name in open_files() if str(tmp_path) in name]
    assert caplog.text.count("there will be no film") == 1


def test_a_disk_that_fills_up_leaves_no_half_film(tmp_path, caplog):
    (tmp_path / ".film.tmp.mp4").symlink_to("/dev/full")  # answers as a disk that fills up
    film = Film(tmp_path / "film.mp4", hz=10.0, drop=False)
    play(film, 20)
    assert film.path is None
    assert list(tmp_path.iterdir()) == []
    assert "No space left" in caplog.text


@EVERY_FAILURE
def test_a_session_outlives_its_film(tmp_path, monkeypatch, failure):
    failing(monkeypatch, failure)
    (row,), _, dataset = run(tmp_path, *SIMULATION)
    assert (row["outcome"], row["video"]) == ("SUCCESS", None)
    assert dataset[0].length == row["steps"]
