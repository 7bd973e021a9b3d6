"""A session on disk as it runs: columns, events, kill -9, a full disk, pictures that are encoded on the way."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest

from tests.episodes import MEAN_TOLERANCE, FillingDisk, picture
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.layout import JOURNALS, LOCK
from vla.data.lerobot.reader import read_dataset
from vla.data.lerobot.recovery import recover
from vla.data.lerobot.writer import DatasetWriter
from vla.data.session_recorder import SessionRecorder
from vla.types import Commander, Episode, Observation, Outcome, Step

PATIENCE_S = 60
LENGTH = 40
HZ = 20


def seen(tick, words="push", **changes):
    """What is seen at a tick; everything follows from its number."""
    images = {name: picture(number, tick, LENGTH) for number, name in enumerate(("front", "wrist"))}
    channels = {"effort": np.array([0.1 * tick, 1.0, 2.0]), "image_age.front": np.array([0.001 * tick])}
    parts = {"state": np.array([tick / 3, -tick, 0.5]), "channels": channels, **changes}
    return Observation(images, parts["state"], words, 100 + tick / 20, parts["channels"], parts.get("events", ()))


def step(tick, commander=Commander.POLICY, **changes):
    action = np.array([tick / 7, 1.0])
    return Step(tick, seen(tick, **changes), action, action, False, False, seen(tick + 1), commander)


def play(recorder, steps, outcome=Outcome.FAILURE, detail="", last=None):
    recorder.on_episode_start(steps[0].observation)
    for each in steps:
        recorder.on_step(each)
    info = {"detail": detail} if detail else {}
    recorder.on_episode_end(Episode("task", "push", 3, outcome, len(steps), 1, info=info), last)


def recorder_at(root, **options):
    return SessionRecorder(root, hz=HZ, robot_type="fake", action_names=("x", "gripper"), **options)


def test_a_session_becomes_an_episode_with_everything_that_happened(tmp_path):
    steps = [
        step(0),
        step(1, Commander.NOBODY),
        step(2, Commander.PERSON, words="pull"),
        step(3, words="pull", events=("wrist: warm",)),
        step(4, words="pull", channels={"effort": np.ones(3)}),
    ]
    recorder = recorder_at(tmp_path, metadata={"policy": "mini"})
    play(recorder, steps, Outcome.STOPPED, "Ctrl-C", last=seen(5, events=("elbow: hot",)))
    recorder.close()
    assert recorder.recorded == [0]
    assert not any((tmp_path / JOURNALS).iterdir())
    dataset = read_dataset(tmp_path)
    episode = dataset[0]
    assert dataset.verify() == 5
    assert dataset.statistics["action"]["count"] == 5
    assert {name: episode.metadata[name] for name in ("policy", "outcome", "detail", "task", "trial", "steps")} == {
        "policy": "mini", "outcome": "STOPPED", "detail": "Ctrl-C", "task": "task", "trial": 3, "steps": 5,
    }  # fmt: skip
    columns = episode.columns
    assert [episode.names["commander"][i] for i in columns["commander"]] == ["policy", "nobody", "person", "policy",
                                                                             "policy"]  # fmt: skip
    assert columns["instruction"].tolist() == ["push", "push", "pull", "pull", "pull"]
    assert columns["events"].tolist() == [
        "", "the person asks for control", "words: pull; take-over", "wrist: warm; hand-back",
        "no image_age.front, the last one is repeated; elbow: hot; stop: Ctrl-C",
    ]  # fmt: skip
    np.testing.assert_array_equal(columns["action"], np.array([each.sent for each in steps], dtype=np.float32))
    np.testing.assert_allclose(columns["observation.effort"][3], [0.3, 1, 2], atol=1e-6)
    np.testing.assert_allclose(columns["observation.image_age.front"], [0, 0.001, 0.002, 0.003, 0.003], atol=1e-7)
    np.testing.assert_allclose(columns["observation.time"], np.arange(5) / 20, atol=1e-6)
    np.testing.assert_array_equal(episode.extras["replay.action"], [each.sent for each in steps])
    np.testing.assert_array_equal(episode.extras["replay.after"], [each.after.state for each in steps])
    for camera in ("front", "wrist"):
        shown = np.stack([each.observation.images[camera] for each in steps])
        assert np.abs(episode.images[camera].astype(int) - shown).mean() < MEAN_TOLERANCE
        np.testing.assert_array_equal(dataset.images(0, camera, 2, 4), episode.images[camera][2:4])


def test_sessions_of_several_episodes_and_an_empty_one(tmp_path):
    recorder = recorder_at(tmp_path, cameras=["wrist"])
    for count in (3, 4):
        play(recorder, [step(tick) for tick in range(count)])
    recorder.on_episode_start(seen(0))
    recorder.on_episode_end(Episode("task", "push", 0, Outcome.STOPPED, 0, 0), None)
    recorder.close()
    dataset = read_dataset(tmp_path)
    assert [row.length for row in dataset.episodes] == [3, 4]
    assert dataset.cameras == ("wrist",)


def record_until_killed(connection, root, kill_at_byte=None):
    """Body of a process: tell of each finished step; die at a byte if asked to."""
    left = kill_at_byte

    def write(descriptor, content):
        nonlocal left
        if left is not None:
            if len(content) > left:
                os.write(descriptor, content[:left])
                os.kill(os.getpid(), signal.SIGKILL)
            left -= len(content)
        return os.write(descriptor, content)

    recorder = recorder_at(root, write=write)
    recorder.on_episode_start(seen(0))
    for tick in range(10_000):
        recorder.on_step(step(tick % LENGTH))
        connection.send(tick)


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.vla.test_session_recorder"])
    return context


def killed(processes, root, rng=None, byte=None):
    """The last step that a process told of before it was killed, at random or at a byte; -1 for none."""
    ours, theirs = processes.Pipe(duplex=False)
    child = processes.Process(target=record_until_killed, args=(theirs, root, byte))
    child.start()
    theirs.close()
    told = -1
    try:
        if byte is None:
            for _ in range(int(rng.integers(1, 30))):
                assert ours.poll(PATIENCE_S)
                told = ours.recv()
            ours.poll(rng.uniform(0, 0.02))
            child.kill()
        while ours.poll(PATIENCE_S):
            told = ours.recv()
    except EOFError:
        pass
    child.join(PATIENCE_S)
    assert child.exitcode == -signal.SIGKILL
    return told


def assert_recorded(episode, told):
    """All steps that were told of are there, and perhaps the one after; content is their own."""
    assert told + 1 <= episode.length <= told + 2
    assert episode.metadata["outcome"] == "ERROR"
    ticks = np.arange(episode.length) % LENGTH
    np.testing.assert_array_equal(episode.extras["replay.action"][:, 0], ticks / 7)
    shown = np.stack([picture(0, tick, LENGTH) for tick in ticks])
    assert np.abs(episode.images["front"].astype(int) - shown).mean() < MEAN_TOLERANCE


def test_killed_at_random_moments_every_finished_step_is_readable(tmp_path, processes):
    rng = np.random.default_rng(5)
    for number in range(10):
        told = killed(processes, tmp_path, rng)
        assert_recorded(read_dataset(tmp_path)[number], told)  # opening finishes it
    assert read_dataset(tmp_path).verify() > 50
    recorder = recorder_at(tmp_path / "other")
    assert recorder.mended == []


def test_killed_at_any_byte_of_the_first_steps(tmp_path, processes):
    found = set()
    for byte in [*range(0, 4000, 350), 1, 5000, 9000, 20000]:
        root = tmp_path / str(byte)
        told = killed(processes, root, byte=byte)
        recover(root)
        if told >= 0 or (root / "meta" / "info.json").exists():
            episode = read_dataset(root)[0]
            assert_recorded(episode, told)
            found.add(episode.length)
        assert DatasetWriter(root).add  # opens
        assert not any((root / JOURNALS).glob("*"))
    assert max(found) > 1


def cut_off(recorder, count, ended):
    """The journal of a recorder that is gone, and its rows."""
    recorder.on_episode_start(seen(0))
    for tick in range(count):
        recorder.on_step(step(tick))
    if ended:
        recorder._journal.end({"outcome": "STOPPED", "success": True, "detail": ""}, "stop: Ctrl-C")
    recorder._journal.close()
    folder = recorder._journal.folder
    return folder, [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("ended", [True, False])
def test_steps_whose_pictures_a_power_cut_took_are_left_out(tmp_path, caplog, ended):
    folder, rows = cut_off(recorder_at(tmp_path), 6, ended)
    os.truncate(folder / "front.h264", rows[4]["ends"]["front"] - 1)
    os.truncate(folder / "wrist.h264", rows[5]["ends"]["wrist"] - 1)
    dataset = read_dataset(tmp_path)
    assert "the last 2 of 6 steps" in caplog.text
    assert dataset.verify() == 4
    assert (dataset[0].metadata["outcome"], dataset[0].metadata["success"]) == ("ERROR", False)
    assert dataset[0].columns["events"].tolist() == [""] * 4
    assert_recorded(dataset[0], 3)


@pytest.mark.parametrize("left", [1, None])
def test_a_journal_without_any_picture_is_refused_and_stays(tmp_path, left):
    folder, _ = cut_off(recorder_at(tmp_path), 2, ended=False)
    if left is None:
        (folder / "wrist.h264").unlink()
    else:
        os.truncate(folder / "wrist.h264", left)
    with pytest.raises(DatasetError, match=rf"wrist.h264: expected at least .* got {left or 0}. .* move .* away"):
        recover(tmp_path)
    assert (folder / "rows.jsonl").exists()


def test_a_damaged_journal_does_not_keep_the_others_out_for_good(tmp_path):
    recorders = [recorder_at(tmp_path) for _ in range(2)]
    damaged, whole = sorted(cut_off(recorder, 2, ended=True)[0] for recorder in recorders)
    (damaged / "rows.jsonl").write_text("nonsense\n")
    with pytest.raises(DatasetError, match="not JSON"):
        recover(tmp_path)
    damaged.rename(tmp_path / "moved_away")
    assert recover(tmp_path) == [0]  # in the same process
    assert not whole.exists()


def test_a_dataset_of_other_episodes_is_refused_before_the_first_frame_and_stays_readable(tmp_path):
    play(recorder_at(tmp_path), [step(0)])
    other = recorder_at(tmp_path, cameras=["front"])
    with pytest.raises(DatasetError, match=r"feature 'observation.images.wrist' differs"):
        other.on_episode_start(seen(0))
    other.on_episode_end(Episode("task", "push", 0, Outcome.ERROR, 0, 0), None)
    with pytest.raises(ValueError, match=r"there are .*'wrist'.*, got .*'top'"):
        recorder_at(tmp_path / "new", cameras=["top"]).on_episode_start(seen(0))
    assert len(read_dataset(tmp_path)) == 1


@pytest.mark.parametrize("old", [False, True])
def test_who_finishes_a_journal_knows_its_robot_or_a_later_writer_says_it(tmp_path, old):
    folder, _ = cut_off(recorder_at(tmp_path), 2, ended=False)
    if old:
        head = json.loads((folder / "head.json").read_text())
        del head["robot_type"]
        (folder / "head.json").write_text(json.dumps(head))
    assert read_dataset(tmp_path).info["robot_type"] == ("unknown" if old else "fake")
    DatasetWriter(tmp_path)
    DatasetWriter(tmp_path, robot_type="fake")
    DatasetWriter(tmp_path, robot_type="other")
    assert read_dataset(tmp_path).info["robot_type"] == "fake"


def test_a_recording_that_is_running_is_left_alone(tmp_path):
    recorder = recorder_at(tmp_path)
    recorder.on_episode_start(seen(0))
    recorder.on_step(step(0))
    assert recover(tmp_path) == []
    play_on = Episode("task", "push", 0, Outcome.SUCCESS, 1, 0)
    recorder.on_episode_end(play_on, None)
    assert len(read_dataset(tmp_path)) == 1


def test_a_journal_that_became_an_episode_is_not_added_twice(tmp_path, monkeypatch):
    recorder = recorder_at(tmp_path)
    monkeypatch.setattr("vla.data.lerobot.recovery.shutil.rmtree", lambda folder: None)  # killed before the removal
    play(recorder, [step(0), step(1)])
    monkeypatch.undo()
    assert len(list((tmp_path / JOURNALS).iterdir())) == 1
    assert len(read_dataset(tmp_path)) == 1
    assert not any((tmp_path / JOURNALS).iterdir())


@pytest.mark.parametrize("count", [0, 2])
def test_nobody_looks_for_journals_while_one_is_removed(tmp_path, monkeypatch, count):
    removed, remove = [], shutil.rmtree

    def remove_locked(folder):
        with (tmp_path / LOCK).open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(folder)
        removed.append(folder)

    recorder = recorder_at(tmp_path)
    recorder.on_episode_start(seen(0))
    for tick in range(count):
        recorder.on_step(step(tick))
    folder = recorder._journal.folder
    monkeypatch.setattr(shutil, "rmtree", remove_locked)
    recorder.on_episode_end(Episode("task", "push", 0, Outcome.STOPPED, count, 0), None)
    assert removed == [folder]
    assert recorder.recorded == [0][:count]


@pytest.mark.parametrize("still_full", [True, False])
def test_a_full_disk_ends_the_episode_and_keeps_what_was_recorded(tmp_path, still_full):
    disk = FillingDisk(30)
    recorder = recorder_at(tmp_path, write=disk)
    recorder.on_episode_start(seen(0))
    finished = 0

    def play_on():
        nonlocal finished
        for tick in range(100):
            recorder.on_step(step(tick))
            finished += 1

    with pytest.raises(OSError, match="No space left"):
        play_on()
    ending = Episode("task", "push", 0, Outcome.ERROR, finished, 0)
    if still_full:
        disk.left = 1
        with pytest.raises(OSError, match="No space left"):
            recorder.on_episode_end(ending, None)
    else:
        recorder.on_episode_end(ending, None)
    assert finished > 3
    assert read_dataset(tmp_path)[0].length == finished


@pytest.mark.parametrize("last", range(2, 7))
def test_a_disk_that_fills_up_while_an_episode_is_finished_loses_nothing(tmp_path, last):
    disk = FillingDisk(1000)
    recorder = recorder_at(tmp_path, write=disk)
    recorder.on_episode_start(seen(0))
    recorder.on_step(step(0))
    recorder.on_step(step(1))
    recorder._journal._shown.result()  # the pictures of a step that never comes
    disk.left = last  # the journal's last line, info.json, instructions, extras, table, row
    with pytest.raises(DatasetError, match=r"the disk is full|No space left"):
        recorder.on_episode_end(Episode("task", "push", 0, Outcome.SUCCESS, 2, 0), None)
    dataset = read_dataset(tmp_path)
    assert [row.length for row in dataset.episodes] == [2]
    assert dataset.episodes[0].metadata["success"]
    assert dataset.verify() == 2


def test_what_cannot_be_recorded_is_said(tmp_path):
    with pytest.raises(ValueError, match="whole control rate"):
        SessionRecorder(tmp_path / "a", hz=12.5, robot_type="fake", action_names=())
    recorder = recorder_at(tmp_path / "b")
    recorder.on_episode_start(seen(0))
    with pytest.raises(ValueError, match="JSON compliant"):
        recorder.on_step(step(0, state=np.array([np.nan, 0, 0])))
    (tmp_path / "c" / JOURNALS / "x").mkdir(parents=True)
    DatasetWriter(tmp_path / "d")
    damaged = tmp_path / "d" / JOURNALS / "x"
    damaged.mkdir(parents=True)
    (damaged / "head.json").write_text('{"metadata": {}, "cameras": []}')
    (damaged / "rows.jsonl").write_text("nonsense\n{}\n")
    with pytest.raises(DatasetError, match=r"rows.jsonl: not JSON .* Move .* away"):
        recover(tmp_path / "d")
