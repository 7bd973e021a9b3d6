"""What is learned of recorded rollouts and sessions: which frames, and which actions from each of them."""

from __future__ import annotations

import numpy as np
import pytest

from vla.data.demonstration import FAR
from vla.data.episode import EpisodeData
from vla.data.frames import load_frames
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.writer import DatasetWriter
from vla.data.lessons import Selection

CAMERAS, COMMANDERS = ("agentview", "wrist"), ("policy", "nobody", "person")


def recording(length=5, commanders=None, words=None, **metadata):
    """Action and state are the index of their frame, and so is the grey of its picture, times ten."""
    count = np.arange(length)
    columns = {
        "observation.state": np.repeat(count[:, None], 8, 1).astype(np.float32),
        "action": np.repeat(count[:, None], 7, 1).astype(np.float32),
    }
    names = {}
    if commanders is not None:
        columns["commander"] = np.array([COMMANDERS.index(each) for each in commanders])
        names["commander"] = COMMANDERS
    if words is not None:
        columns["instruction"] = np.array(words)
    image = np.broadcast_to((count * 10)[:, None, None, None], (length, 64, 64, 3)).astype(np.uint8)
    return EpisodeData("go", 20, dict.fromkeys(CAMERAS, image), columns, names, metadata)


def load(tmp_path, *episodes, chunk=3, **selection):
    with DatasetWriter(tmp_path / "d", robot_type="libero") as writer:
        for each in episodes:
            writer.add(each)
    return load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", chunk, Selection(**selection))


def test_each_frame_of_a_rollout_teaches_the_actions_that_followed_it(tmp_path):
    frames = load(tmp_path, recording(3, steps=3), recording(2))
    assert frames.actions.shape == (5, 3, 7)
    np.testing.assert_array_equal(frames.actions[..., 0], [[0, 1, 2], [1, 2, 2], [2, 2, 2], [0, 1, 1], [1, 1, 1]])
    np.testing.assert_array_equal(frames.valid, np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]], bool))
    np.testing.assert_allclose(frames.images.mean(axis=(1, 2, 3, 4)), [0, 10, 20, 0, 10], atol=3)
    assert frames.episode.tolist() == [0, 0, 0, 1, 1]


def test_its_keyframes_are_unknown_and_outside_the_images(tmp_path):
    frames = load(tmp_path, recording())
    assert not frames.known.any()
    assert (frames.points == FAR).all()
    assert not frames.offsets.any()


def test_a_tick_in_which_nobody_commands_is_not_learned_nor_what_comes_after_it_from_before(tmp_path):
    frames = load(tmp_path, recording(5, ["policy", "policy", "nobody", "person", "person"]))
    np.testing.assert_array_equal(frames.state[:, 0], [0, 1, 3, 4])
    np.testing.assert_array_equal(frames.valid, np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]], bool))
    np.testing.assert_allclose(frames.images.mean(axis=(1, 2, 3, 4)), [0, 10, 30, 40], atol=3)


def test_a_persons_corrections_alone(tmp_path):
    one, other = recording(4, ["policy", "person", "person", "policy"]), recording(2, ["policy", "policy"])
    frames = load(tmp_path, one, other, commanders=("person",))
    np.testing.assert_array_equal(frames.state[:, 0], [1, 2])
    np.testing.assert_array_equal(frames.valid, np.array([[1, 1, 0], [1, 0, 0]], bool))


def test_an_action_that_answers_other_words_is_not_learned_from_before(tmp_path):
    frames = load(tmp_path, recording(4, words=["left", "left", "right", "left"]))
    assert [frames.instructions[task] for task in frames.task] == ["left", "left", "right", "left"]
    np.testing.assert_array_equal(frames.valid.sum(axis=1), [2, 1, 1, 1])


def test_episodes_of_other_outcomes_are_left_out_and_those_that_name_none_are_not(tmp_path):
    episodes = [recording(2, outcome="SUCCESS"), recording(3, outcome="FAILURE"), recording(4)]
    assert len(load(tmp_path, *episodes)) == 9
    some = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 3, Selection(("SUCCESS",)))
    assert some.episode.tolist() == [0, 0, 2, 2, 2, 2]


def test_another_selection_is_decoded_beside_the_first(tmp_path):
    frames = load(tmp_path, recording(4, ["policy", "person", "person", "policy"]))
    people = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 2, Selection(commanders=("person",)))
    assert (len(frames), len(people)) == (4, 2)
    assert people.actions.shape[1] == 2


def test_a_recording_that_left_control_steps_out_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"episode 0 holds 5 frames of 20 control steps.*stride=1"):
        load(tmp_path, recording(5, steps=20))


def test_nothing_to_learn_is_said(tmp_path):
    with pytest.raises(DatasetError, match=r"none of its 1 episodes.*person.*recordings\.commanders"):
        load(tmp_path, recording(2, ["policy", "policy"]), commanders=("person",))


@pytest.mark.parametrize("wrong", [{"outcomes": ("GOOD",)}, {"commanders": ()}])
def test_an_unknown_selection_is_refused(wrong):
    with pytest.raises(ValueError, match=rf"recordings\.{next(iter(wrong))}: expected some of"):
        Selection(**wrong)
