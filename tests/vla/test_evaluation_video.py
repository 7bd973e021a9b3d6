import errno
import os

import av
import numpy as np
import pytest

from tests.fakes import FakeEnv, PushPolicy
from vla.evaluation import video
from vla.evaluation.video import VideoRecorder
from vla.runtime.inference import OpenLoop
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import Episode, Observation, Outcome, Step


def film(folder, stride=4, task_id=0, max_steps=40, trouble=None, drifted=False, **settings):
    """Run an episode of the fake with a camera on it."""
    np.random.seed(0)
    env = FakeEnv("fake_suite", task_id, trouble=trouble, **settings)
    recorder = VideoRecorder(folder / "videos" / "name", hz=20.0, stride=stride, drifted=drifted)
    episode = run_episode(
        env, OpenLoop(PushPolicy()), LimitFilter(env.action_spec), [recorder], trial=0, max_steps=max_steps
    )
    return recorder, episode, env


def decode(path):
    """Stream facts and the pictures of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate, frames


@pytest.mark.parametrize(("max_steps", "stride", "frames"), [(8, 4, 3), (9, 4, 4), (3, 4, 2), (5, 1, 6)])
def test_h264_in_real_time_with_the_first_every_nth_and_the_last_view(tmp_path, max_steps, stride, frames):
    recorder, _, _ = film(tmp_path, stride, task_id=3, max_steps=max_steps)
    codec, pixels, rate, pictures = decode(recorder.path)
    assert (codec, pixels, float(rate)) == ("h264", "yuv420p", 20 / stride)
    assert len(pictures) == frames


@pytest.mark.parametrize(("task_id", "outcome", "channel"), [(0, "success", 1), (3, "failure", 0)])
def test_name_and_border_show_the_outcome(tmp_path, task_id, outcome, channel):
    recorder, _, _ = film(tmp_path, task_id=task_id)
    assert recorder.path.name == f"name_{outcome}.mp4"
    corner = decode(recorder.path)[3][-1][-1, -1].astype(int)  # the last row is border
    assert corner.argmax() == channel


@pytest.mark.parametrize(("size", "cameras"), [(31, ("front",)), (33, ("front", "wrist", "third"))])
def test_odd_sizes_and_any_number_of_cameras(tmp_path, size, cameras):
    recorder, _, _ = film(tmp_path, size=size, cameras=cameras)
    height, width = decode(recorder.path)[3][0].shape[:2]
    assert height % 2 == width % 2 == 0
    assert width >= size * min(2, len(cameras))


def test_without_a_camera_nothing_is_filmed(tmp_path):
    observation = Observation({}, np.zeros(3), "go", 0.0)
    step = Step(0, observation, np.zeros(2), np.zeros(2), False, False, observation)
    recorder = VideoRecorder(tmp_path / "videos" / "name", hz=20.0, stride=1)
    recorder.on_episode_start(observation)
    recorder.on_step(step)
    recorder.on_episode_end(Episode("push", "go", 0, Outcome.FAILURE, 1, 1), observation)
    assert recorder.path is None
    assert not (tmp_path / "videos").exists()


def test_index_comes_first_so_that_a_browser_can_start(tmp_path):
    data = film(tmp_path)[0].path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_drift_is_said_in_the_metadata(tmp_path):
    for drifted in (True, False):
        recorder, _, _ = film(tmp_path, drifted=drifted)
        with av.open(str(recorder.path)) as container:
            assert (container.metadata.get("comment") == "drifted") == drifted


def test_filming_changes_no_result(tmp_path):
    _, filmed, env = film(tmp_path)
    np.random.seed(0)
    other = FakeEnv("fake_suite", 0)
    plain = run_episode(other, OpenLoop(PushPolicy()), LimitFilter(other.action_spec), trial=0, max_steps=40)
    assert (filmed.outcome, filmed.steps) == (plain.outcome, plain.steps)
    np.testing.assert_array_equal(env.flat_state(), other.flat_state())


def test_an_error_is_filmed_up_to_where_it_happened(tmp_path):
    with pytest.raises(ArithmeticError):
        film(tmp_path, stride=1, trouble={"0/0": "raise"})
    assert len(decode(tmp_path / "videos" / "name_error.mp4")[3]) == 3


FAILURES = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    av.error.ExternalError(0, "Generic error in an external library"),  # is no OSError
    av.error.ArgumentError(errno.EINVAL, "Invalid argument"),  # is a ValueError
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_video_that_cannot_be_written_leaves_nothing_and_costs_no_episode(tmp_path, monkeypatch, caplog, failure):
    def failing(path, *rest):
        path.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(video, "_encode", failing)
    recorder, episode, _ = film(tmp_path)
    assert recorder.path is None
    assert episode.outcome == "SUCCESS"
    assert [path.suffix for path in (tmp_path / "videos").iterdir()] == [".jpg"]
    assert "could not be written" in caplog.text
