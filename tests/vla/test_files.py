"""Files that are whole after a kill and after a power cut."""

from __future__ import annotations

import os
import stat

import pytest
import torch

from tests.episodes import FillingDisk
from tests.vla.test_mini import checkpoint
from vla.files import replace_atomic, write_atomic, write_json
from vla.models.mini.checkpoint import write_checkpoint
from vla.training.run_folder import save_state


@pytest.fixture
def order(monkeypatch):
    """What reached the disk, and which names were taken, in order."""
    done, sync, rename = [], os.fsync, os.replace

    def fsync(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size
        done.append(("flushed", kind))
        sync(descriptor)

    def replace(source, target):
        done.append(("named", os.path.basename(target)))
        rename(source, target)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.replace", replace)  # `Path.replace` calls it
    return done


def test_content_is_on_disk_before_the_name_and_the_name_after_it(tmp_path, order):
    write_atomic(tmp_path / "a.txt", b"content")
    assert order == [("flushed", 7), ("named", "a.txt"), ("flushed", "folder")]
    assert (tmp_path / "a.txt").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (lambda folder: save_state(folder / "state.pt", {"weights": torch.ones(3)}), ["state.pt"]),
        (lambda folder: write_checkpoint(folder, checkpoint()), ["model.safetensors", "checkpoint.json"]),
        (lambda folder: write_json(folder / "plan.json", {"hash": "0"}), ["plan.json"]),
    ],
    ids=["state", "checkpoint", "json"],
)
def test_what_must_survive_a_power_cut_is_flushed_before_it_is_named(tmp_path, order, write, names):
    write(tmp_path)
    assert [name for what, name in order if what == "named"] == names
    for number, name in enumerate(names):
        (before, size), named, after = order[3 * number : 3 * number + 3]
        assert (before, named, after) == ("flushed", ("named", name), ("flushed", "folder"))
        assert size == (tmp_path / name).stat().st_size


def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new", FillingDisk(1))

    def killed(temporary):
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_atomic(path, killed)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
