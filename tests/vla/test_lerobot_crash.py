"""kill -9, full disks and several writers: what was finished stays, nothing is misaligned, the run goes on."""

import multiprocessing
import os

import numpy as np
import pytest

from tests.episodes import FillingDisk, assert_same, make_episode, write_episodes
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import read_dataset, read_metadata
from vla.data.lerobot.writer import DatasetWriter

KILLS = 20
PATIENCE_S = 60


@pytest.fixture(scope="module")
def processes():
    """Processes that start in milliseconds: a server that has everything imported is forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.episodes"])
    return context


def start(processes, root, numbers, kill_at_byte=None):
    ours, theirs = processes.Pipe(duplex=False)
    child = processes.Process(target=write_episodes, args=(theirs, root, numbers, kill_at_byte))
    child.start()
    theirs.close()
    return child, ours


def told_until_death(child, connection):
    """What the process told before it ended."""
    told = []
    try:
        while connection.poll(PATIENCE_S):
            told.append(connection.recv())
    except EOFError:
        pass
    child.join(PATIENCE_S)
    return told


def assert_whole(root, at_least, first=0):
    """Every episode from `first` on is complete and its own; returns the numbers of all."""
    numbers = [metadata["number"] for metadata in read_metadata(root)]
    assert len(numbers) >= at_least
    if numbers:
        dataset = read_dataset(root)
        for index in range(first, len(numbers)):
            assert_same(dataset[index], make_episode(numbers[index], 3 + numbers[index] % 3))
    return numbers


def test_killed_at_20_random_moments_every_finished_episode_loads_and_the_run_goes_on(tmp_path, processes):
    root, rng = tmp_path / "set", np.random.default_rng(4)
    finished: list[int] = []
    for _ in range(KILLS):
        first = len(finished)
        child, connection = start(processes, root, range(first, first + 1000))
        told = []
        for _ in range(rng.integers(0, 3)):
            assert connection.poll(PATIENCE_S)
            told.append(connection.recv())
        connection.poll(rng.uniform(0, 0.05))  # then it may be anywhere in the next one
        child.kill()
        told += told_until_death(child, connection)
        assert [index for _, index in told] == list(range(first, first + len(told)))
        numbers = assert_whole(root, first + len(told), first)
        assert numbers == list(range(len(numbers)))  # in order, none twice
        assert len(numbers) <= first + len(told) + 1  # the one whose row was written just before the kill
        finished = numbers
    with DatasetWriter(root) as writer:
        assert writer.add(make_episode(len(finished), 3 + len(finished) % 3)) == len(finished)
    assert len(assert_whole(root, 0)) == len(finished) + 1 > KILLS / 2
    assert read_dataset(root).verify() == read_dataset(root).info["total_frames"]
    assert not list(root.rglob("*.tmp"))


def test_killed_at_any_byte_the_episodes_before_load(tmp_path, processes):
    sizes = []

    def write(descriptor, content):
        sizes.append(len(content))
        return os.write(descriptor, content)

    writer = DatasetWriter(tmp_path / "whole", write=write)
    for number in range(2):
        writer.add(make_episode(number, 3 + number % 3))
    ends = np.cumsum(sizes)[:-1]
    for index, byte in enumerate(int(end) - index % 2 for index, end in enumerate(ends)):  # last of a file, or first
        root = tmp_path / str(index)
        child, connection = start(processes, root, range(2), kill_at_byte=byte)
        told = told_until_death(child, connection)
        assert child.exitcode == -9
        count = len(assert_whole(root, len(told)))
        with DatasetWriter(root) as writer:
            assert len(writer) == count
            assert writer.add(make_episode(count, 3 + count % 3)) == count
        assert_whole(root, count + 1)
        dataset = read_dataset(root)
        assert dataset.info["total_episodes"] == count + 1
        assert dataset.statistics["action"]["count"] == dataset.verify()
        kept = {path.relative_to(root).name for path in root.rglob("file-*.*")}
        assert kept == {f"file-{i:03d}.{kind}" for i in range(count + 1) for kind in ("mp4", "parquet")}


def test_leftover_extras_of_a_torn_episode_do_not_join_the_next(tmp_path):
    root = tmp_path / "set"
    DatasetWriter(root).add(make_episode(0))
    torn = root / "extras/chunk-000/file-001.npz"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"torn")
    assert DatasetWriter(root).add(make_episode(1)) == 1
    assert not torn.exists()
    assert read_dataset(root)[1].extras == {}


def test_several_processes_write_at_once(tmp_path, processes):
    root = tmp_path / "set"
    running = [start(processes, root, range(first, first + 5)) for first in (0, 10, 20)]
    told = [answer for child, connection in running for answer in told_until_death(child, connection)]
    assert all(child.exitcode == 0 for child, _ in running)
    numbers = assert_whole(root, 15)
    assert sorted(numbers) == [*range(5), *range(10, 15), *range(20, 25)]
    assert {index: number for number, index in told} == dict(enumerate(numbers))
    assert read_dataset(root).info["total_episodes"] == 15


@pytest.mark.parametrize("first", [True, False], ids=["first episode", "later episode"])
def test_a_disk_that_fills_up_loses_nothing(tmp_path, first):
    extras = {"sim.state": np.zeros((4, 3))}
    full, saved = 0, False
    while not saved:
        full += 1
        root = tmp_path / str(full)
        before = 0 if first else DatasetWriter(root).add(make_episode(0)) + 1
        episode = make_episode(1, extras=extras)
        disk = FillingDisk(full + (not first))  # opening an existing dataset writes once
        writer = DatasetWriter(root, write=disk)
        with pytest.raises(DatasetError, match=r"full|No space left") as caught:
            writer.add(episode)
        assert str(root) in str(caught.value)
        saved = f"episode {before} is saved" in str(caught.value)
        if not saved:
            assert f"The {before} episodes written so far are safe; make room" in str(caught.value)
            assert not list(root.glob(f"*/*/*/file-{before:03d}.*")) + list(root.glob(f"*/*/file-{before:03d}.*"))
            assert writer.add(episode) == before  # the disk has room again
        writer.close()
        assert_same(read_dataset(root)[before], episode)
        assert len(read_dataset(root)) == before + 1
    assert full >= 6  # two videos, extras, table, row, info


def test_a_full_disk_while_opening_or_closing_is_said(tmp_path):
    root = tmp_path / "set"
    DatasetWriter(root).add(make_episode(0))
    with pytest.raises(DatasetError, match=r"the disk is full. The 1 episodes"):
        DatasetWriter(root, write=FillingDisk(1))
    writer = DatasetWriter(root, write=FillingDisk(3))
    with pytest.raises(DatasetError, match=r"the disk is full. The 1 episodes"):
        writer.close()
    DatasetWriter(root).close()
    assert read_dataset(root).statistics["action"]["count"] == 5
