"""The film of a session is a convenience: whatever becomes of it, the session goes on."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tests.session_runs import SIMULATION, run
from vla.session.film import Film
from vla.types import Commander, Episode, Observation, Outcome, Step

FAILURES = [
    OSError(28, "No space left on device"),
    av.error.ExternalError(0, "Generic error in an external library"),  # is no OSError
    av.error.ArgumentError(22, "Invalid argument"),  # is a ValueError
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
    monkeypatch.setattr("vla.session.film.av", SimpleNamespace(**{**vars(av), "VideoFrame": Encoder}))


def open_files():
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    return [str(link.readlink()) for link in links if link.is_symlink()]


def test_a_film_plays_in_real_time(tmp_path):
    film = Film(tmp_path / "videos" / "film.mp4", hz=20.0)
    play(film, 20)
    assert film.path == tmp_path / "videos" / "film.mp4"
    with av.open(str(film.path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(11) / 10, atol=1e-3)
    assert os.listdir(film.path.parent) == ["film.mp4"]


@EVERY_FAILURE
@pytest.mark.parametrize("after", [0, 5])
def test_an_encoder_that_fails_leaves_nothing_behind(tmp_path, monkeypatch, caplog, failure, after):
    failing(monkeypatch, failure, after)
    film = Film(tmp_path / "film.mp4", hz=10.0)
    play(film, 20)
    assert film.path is None
    assert list(tmp_path.iterdir()) == []
    assert not [name for name in open_files() if str(tmp_path) in name]
    assert caplog.text.count("there will be no film") == 1


def test_a_disk_that_fills_up_leaves_no_half_film(tmp_path, caplog):
    (tmp_path / ".film.tmp.mp4").symlink_to("/dev/full")  # answers as a disk that fills up
    film = Film(tmp_path / "film.mp4", hz=10.0)
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
