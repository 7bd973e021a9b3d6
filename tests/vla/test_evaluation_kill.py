"""kill -9 of the whole run, several times, then the same rows as if nothing had happened."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes import QUICK, SEARCH_PATH, fake_config, timeless
from vla.evaluation.evaluate import evaluate
from vla.evaluation.journal import read_rows

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


def start(path, *overrides, **options):
    command = [sys.executable, "scripts/eval.py", SEARCH_PATH, *QUICK, f"run_dir={path}", *overrides]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )


def wait_until(condition, process):
    """Poll, at most PATIENCE_S; `Popen.wait` with a timeout paces the loop."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        try:
            process.wait(timeout=0.02)
            assert condition(), process.stdout.read().decode()
        except subprocess.TimeoutExpired:
            pass


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


def wait_for_end(descriptors):
    """Wait until all processes behind these pidfds have ended."""
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], PATIENCE_S)[0], "an orphan goes on"
        os.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and uses pidfds")
def test_killed_three_times_it_ends_with_the_rows_of_an_uninterrupted_run(tmp_path):
    plan = ("eval.episodes=3", "env.trouble={0/1:hang_once,1/2:hang_once,2/0:hang_once}", f"env.scratch={tmp_path}")
    path, journal = tmp_path / "run", tmp_path / "run" / "episodes.jsonl"
    for kill, hung_task in enumerate((0, 1, 2)):
        process = start(path, *plan, "eval.resume=true", "eval.workers=1")
        wait_until((tmp_path / f"hang_once_{hung_task}").exists, process)
        children = [os.pidfd_open(pid) for pid in descendants(process.pid)]
        assert children
        process.kill()
        process.wait()
        wait_for_end(children)
        process.stdout.close()
        if kill == 1:
            with journal.open("ab") as file:  # what a kill in the middle of a write leaves
                file.write(b'{"suite": "fake_suite", "task_id": 3, "tri')
    rows_before = len(read_rows(journal))
    assert 0 < rows_before < 12
    last = start(path, *plan, "eval.resume=true", "eval.workers=2")
    output, _ = last.communicate(timeout=PATIENCE_S)
    assert last.returncode == 0, output.decode()

    quiet = tmp_path / "quiet"
    with open(os.devnull, "w") as sink:
        evaluate(fake_config(quiet, "eval.episodes=3", "eval.workers=1"), "", sink)
    killed, reference = (timeless(read_rows(file)) for file in (journal, quiet / "episodes.jsonl"))
    assert killed == reference
    assert len(killed) == 12


def test_ctrl_c_reaches_the_whole_group_and_gives_one_message(tmp_path):
    plan = ("env.tasks=[0]", "env.trouble={0/0:hang_once}", f"env.scratch={tmp_path}", "eval.workers=1")
    process = start(tmp_path / "run", *plan, start_new_session=True)
    wait_until((tmp_path / "hang_once_0").exists, process)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Stopped by SIGINT. 0 of 1 episodes" in output.decode()
    assert "eval.resume=true" in output.decode()
    assert "Traceback" not in output.decode()
