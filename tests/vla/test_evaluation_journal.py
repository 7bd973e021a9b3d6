import errno
import json
import os

import pytest

from tests.fakes import fake_row
from vla.command.errors import RefusedError
from vla.evaluation.journal import Journal, JournalError, key_of, read_rows


@pytest.fixture
def path(tmp_path):
    return tmp_path / "episodes.jsonl"


def test_rows_come_back_as_they_went_in(path):
    rows = [fake_row(trial=k, instruction="Schüssel\n\u2028") for k in range(3)]
    with Journal(path) as journal:
        for row in rows:
            journal.append(row)
    assert read_rows(path) == rows
    with Journal(path) as journal:
        assert journal.rows == rows


def test_a_last_line_torn_at_any_byte_is_cut_off_and_can_be_written_again(path):
    first, second = fake_row(trial=0), fake_row(trial=1)
    lines = [(json.dumps(row) + "\n").encode() for row in (first, second)]
    for length in range(len(lines[1])):
        path.write_bytes(lines[0] + lines[1][:length])
        assert read_rows(path) == [first]
        with Journal(path) as journal:
            assert journal.rows == [first]
            journal.append(second)
        assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("bad", ["{broken", "[1, 2]", '{"suite": "x"}', "null", "\x00\x00"])
def test_a_corrupt_line_in_the_middle_is_an_error_that_names_the_line(path, bad):
    good = json.dumps(fake_row())
    path.write_text(f"{good}\n{bad}\n{json.dumps(fake_row(trial=1))}\n")
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"episodes\.jsonl:2"):
        Journal(path)
    assert path.read_bytes() == before


def test_an_episode_twice_is_an_error(path):
    path.write_text(2 * (json.dumps(fake_row()) + "\n"))
    with pytest.raises(JournalError, match="twice"):
        read_rows(path)


@pytest.mark.parametrize("fitting", [None, 0, 1, 40])
def test_a_full_disk_loses_nothing_and_leaves_a_readable_journal(path, fitting):
    full = False

    def write(descriptor, data):
        if not full:
            return os.write(descriptor, data)
        if fitting is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data[:fitting])

    with Journal(path, write) as journal:
        journal.append(fake_row(trial=0))
        full = True
        with pytest.raises(JournalError, match=r"disk is full. The 1 episodes .* eval\.resume=true"):
            journal.append(fake_row(trial=1))
        full = False
        journal.append(fake_row(trial=2))
    assert [row["trial"] for row in read_rows(path)] == [0, 2]


def test_finish_puts_rows_into_plan_order(path):
    rows = [fake_row(trial=k) for k in (2, 0, 1)]
    with Journal(path) as journal:
        for row in rows:
            journal.append(row)
        journal.finish(sorted(map(key_of, rows)))
    assert [row["trial"] for row in read_rows(path)] == [0, 1, 2]
    assert os.listdir(path.parent) == [path.name]


def test_a_second_run_in_the_same_folder_is_refused(path):
    with Journal(path), pytest.raises(RefusedError, match="another process"):
        Journal(path)
    with Journal(path):  # free again
        pass


def test_nan_never_gets_into_the_journal(path):
    with Journal(path) as journal, pytest.raises(ValueError, match="JSON compliant"):
        journal.append(fake_row(wall_s=float("nan")))
    assert read_rows(path) == []
