"""Collecting: killed at any moment it goes on, every scene is tried once, and only successes are kept."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.fakes import CONF, MAX_STEPS, SEARCH_PATH
from tests.vla.test_evaluation_kill import PATIENCE_S, ROOT, wait_until
from vla.data.collect import collect, plan_visits
from vla.data.lerobot.reader import read_dataset
from vla.evaluation.config import compose_config, to_dict
from vla.evaluation.errors import EvaluationError, RefusedError

FAKE = ("env=fake_demonstrations", "policy=fake_bound", "suites=[fake_suite]", "visit=2", "stride=2", "episodes=5")


def config(root, *overrides):
    return to_dict(compose_config(CONF, "collect", [SEARCH_PATH, *FAKE, f"root={root}", *overrides]))


def keys(root):
    return [(each.metadata["task_id"], each.metadata["seed"]) for each in read_dataset(root).episodes]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a run that nobody disturbs keeps."""
    root = tmp_path_factory.mktemp("undisturbed")
    collect(config(root), io.StringIO())
    return root


def test_tasks_take_turns():
    visits = plan_visits(config("unused", "env.suite=fake_suite"))
    assert [visit.task_id for visit in visits[:5]] == [0, 1, 2, 3, 0]
    assert sorted((v.task_id, seed) for v in visits for seed in v.seeds) == [(t, s) for t in range(4) for s in range(5)]


def test_every_scene_is_tried_once_and_only_successes_are_kept(undisturbed):
    rows = [json.loads(line) for line in (undisturbed / "attempts.jsonl").read_text().splitlines()]
    assert sorted(tuple(row["key"][1:]) for row in rows) == [(t, s) for t in range(4) for s in range(5)]
    kept = keys(undisturbed)
    assert sorted(kept) == sorted(tuple(row["key"][1:]) for row in rows if row["outcome"] == "SUCCESS")
    assert len(kept) > 8
    assert all(task != 3 for task, _ in kept)  # it cannot be solved
    dataset = read_dataset(undisturbed)
    dataset.verify()
    assert dataset.fps == 10

    told = io.StringIO()
    collect(config(undisturbed), told)
    assert "0 to do" in told.getvalue()
    assert keys(undisturbed) == kept


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_it_goes_on_without_a_gap_or_a_double(tmp_path, undisturbed):
    command = [sys.executable, "scripts/collect.py", SEARCH_PATH, *FAKE, f"root={tmp_path}", "workers=1"]
    journal = tmp_path / "attempts.jsonl"
    for kill in range(int(os.environ.get("COLLECT_KILLS", "2"))):
        before = len(journal.read_bytes()) if journal.exists() else 0
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_until(lambda before=before: journal.exists() and len(journal.read_bytes()) > before, process)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)
        process.stdout.close()
        if kill == 1:
            with journal.open("a") as file:
                file.write('{"key": ["fake_suite", 3')
    collect(config(tmp_path), io.StringIO())
    read_dataset(tmp_path).verify()
    assert sorted(keys(tmp_path)) == sorted(keys(undisturbed))


def test_a_dead_worker_is_told_and_nothing_is_lost(tmp_path, undisturbed):
    with pytest.raises(EvaluationError, match=r"died \(SIGKILL\)"):
        collect(config(tmp_path, "env.trouble={1/3:kill}", "workers=1"), io.StringIO())
    collect(config(tmp_path), io.StringIO())
    assert sorted(keys(tmp_path)) == sorted(keys(undisturbed))


def test_impossible_settings_are_refused(tmp_path):
    with pytest.raises(RefusedError, match="at least 1"):
        collect(config(tmp_path, "visit=0"), io.StringIO())


def test_rollouts_are_recorded_as_they_went(tmp_path):
    options = ("collector=rollouts", "policy=fake_steady", "keep=[FAILURE]", "tasks=[2,3]", "stride=1")
    collect(config(tmp_path, *options), io.StringIO())
    dataset = read_dataset(tmp_path)
    dataset.verify()
    rows = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert {row["key"][1]: row["outcome"] for row in rows} == {2: "SUCCESS", 3: "FAILURE"}
    assert {episode.metadata["task_id"] for episode in dataset.episodes} == {3}
    assert {episode.length for episode in dataset.episodes} == {MAX_STEPS}
    assert (dataset[0].columns["action"] > 0).all()  # what the policy sent

    told = io.StringIO()
    collect(config(tmp_path, *options), told)
    assert "0 to do" in told.getvalue()
