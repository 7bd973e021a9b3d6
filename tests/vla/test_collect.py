"""Collecting: killed at any moment it goes on, every scene is tried once, and only successes are kept."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.fakes import CONF, SEARCH_PATH, FakeBenchmark, FakeDemonstrations
from tests.vla.test_evaluation_kill import ROOT, wait_until
from vla.command.config import compose_config, to_dict
from vla.command.errors import CommandError, RefusedError
from vla.data.collect import collect, main, plan_visits
from vla.data.episode import EpisodeData
from vla.data.lerobot.reader import read_dataset
from vla.data.lerobot.writer import DatasetWriter

FAKE = ("env=fake_demonstrations", "policy=fake_bound", "suites=[fake_suite]", "visit=2", "stride=2", "episodes=5")


KILLS = int(os.environ.get("COLLECT_KILLS", "2"))
SCENES = f"episodes={5 * max(1, KILLS // 2)}"  # of each task, so that none of the runs comes to its end


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


def test_a_dataset_says_how_it_was_made(tmp_path):
    learner = tmp_path / "learner"
    learner.mkdir()
    (learner / "weights").write_bytes(b"1")
    root, overrides = tmp_path / "data", [f"+policy.checkpoint={learner}", "episodes=1"]
    arguments = [SEARCH_PATH, *FAKE, f"root={root}", *overrides]
    main(CONF, arguments)
    first = (root / "commands.jsonl").read_text().splitlines()
    main(CONF, arguments)  # nothing to do
    (learner / "weights").write_bytes(b"2")
    main(CONF, [*arguments, "episodes=2"])
    lines = (root / "commands.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert (len(rows), lines[:1]) == (2, first)
    assert shlex.split(rows[0]["command"]) == ["python", "scripts/collect.py", *arguments]
    weights = [row["policy_files"]["policy.checkpoint"]["weights"] for row in rows]
    assert weights == [hashlib.sha256(content).hexdigest() for content in (b"1", b"2")]
    assert len(rows[0]["code"]["vla"]) == 64


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_it_goes_on_without_a_gap_or_a_double(tmp_path, undisturbed):
    command = [sys.executable, "scripts/collect.py", SEARCH_PATH, *FAKE, SCENES, f"root={tmp_path}", "workers=1"]
    journal, moments = tmp_path / "attempts.jsonl", np.random.default_rng(0)
    for kill in range(KILLS):
        before = len(journal.read_bytes()) if journal.exists() else 0
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            wait_until(lambda before=before: journal.exists() and len(journal.read_bytes()) > before, process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moments.uniform(0.0, 0.15))  # somewhere in the work on the next scenes
            process.send_signal(signal.SIGKILL)
        if kill == 1:
            with journal.open("a") as file:
                file.write('{"key": ["fake_suite", 3')
    collect(config(tmp_path, SCENES), io.StringIO())
    read_dataset(tmp_path).verify()
    if KILLS > 2:
        undisturbed = tmp_path / "undisturbed"
        collect(config(undisturbed, SCENES), io.StringIO())
    assert sorted(keys(tmp_path)) == sorted(keys(undisturbed))


def test_a_dead_worker_is_told_and_nothing_is_lost(tmp_path, undisturbed):
    with pytest.raises(CommandError, match=r"died \(SIGKILL\)"):
        collect(config(tmp_path, "env.trouble={1/3:kill}", "workers=1"), io.StringIO())
    collect(config(tmp_path), io.StringIO())
    assert sorted(keys(tmp_path)) == sorted(keys(undisturbed))


class Deaf:
    """A worker that cannot be told anything, not even its first visit."""

    log = "worker.log"

    def __init__(self):
        self.connection, self.stopped = self, False

    def how_it_died(self):
        return "SIGSEGV"

    def send(self, message):
        raise BrokenPipeError("worker")

    def stop(self):
        self.stopped = True


def test_workers_are_stopped_when_one_of_them_cannot_be_told_its_first_visit(tmp_path, monkeypatch):
    children = [Deaf(), Deaf()]
    started = iter(children)
    monkeypatch.setattr("vla.data.collect.start_child", lambda *_: next(started))
    with pytest.raises(CommandError, match=r"A worker died \(SIGSEGV\).*worker.log"):
        collect(config(tmp_path, "workers=2"), io.StringIO())
    assert [child.stopped for child in children] == [True, True]


@pytest.mark.parametrize(
    ("options", "lost"),
    [
        (("env.trouble={1/3:refuse}",), {(1, 3)}),
        (("env.trouble={1/3:refuse}", "collector=rollouts", "policy=fake_steady"), {(1, 3)}),
        (("+policy.unable=2",), {(2, seed) for seed in range(5)}),
    ],
)
def test_a_scene_that_cannot_be_is_told_once_and_the_others_go_on(tmp_path, options, lost):
    collect(config(tmp_path, *options), io.StringIO())
    rows = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    refused = [row for row in rows if "free of collisions" in row["error"] or "no skill" in row["error"]]
    assert {tuple(row["key"][1:]) for row in refused} == lost
    assert all(row["outcome"] == "ERROR" and row["frames"] == 0 for row in refused)
    told = io.StringIO()
    collect(config(tmp_path, *options), told)
    assert "0 to do" in told.getvalue()


def test_what_breaks_is_not_taken_for_a_scene_that_cannot_be(tmp_path):
    with pytest.raises(CommandError, match="died"):
        collect(config(tmp_path, "env.trouble={1/3:raise}", "workers=1"), io.StringIO())
    assert [1, 3] not in [json.loads(row)["key"][1:] for row in (tmp_path / "attempts.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("visit=0", "at least 1"),
        ("tasks=[0,71]", r"got \[71\]"),
        ("tasks=3", "expected all"),
        ("env.tasks=[3]", "say tasks="),
    ],
)
def test_impossible_settings_are_refused(tmp_path, option, message):
    with pytest.raises(RefusedError, match=message):
        collect(config(tmp_path, option), io.StringIO())


@pytest.mark.parametrize("collector", ["demonstrations", "rollouts"])
def test_a_stride_that_does_not_divide_the_rate_is_refused_before_the_first_scene(tmp_path, collector):
    with pytest.raises(CommandError, match="stride: expected a divisor of the control rate 20 Hz, got 3"):
        collect(config(tmp_path, f"collector={collector}", "stride=3", "env.trouble={0/0:kill}"), io.StringIO())
    assert (tmp_path / "attempts.jsonl").read_text() == ""


def test_the_environment_says_of_which_robot_a_new_dataset_is(tmp_path):
    one = ("tasks=[0]", "episodes=1", "workers=1")
    collect(config(tmp_path / "named", *one), io.StringIO())
    assert read_dataset(tmp_path / "named").info["robot_type"] == "pusher"

    nameless = ("env=fake", "policy=fake_steady", "suites=null", "collector=rollouts", *one)
    root = tmp_path / "nameless"
    collect(to_dict(compose_config(CONF, "collect", [SEARCH_PATH, *nameless, f"root={root}"])), io.StringIO())
    assert read_dataset(root).info["robot_type"] == "unknown"


def test_a_dataset_that_names_its_robot_is_gone_on_with(tmp_path):
    one = ("tasks=[0]", "workers=1")
    collect(config(tmp_path, *one, "episodes=1"), io.StringIO())
    path = tmp_path / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"robot_type": "libero"}))
    collect(config(tmp_path, *one), io.StringIO())
    assert len(keys(tmp_path)) > 1
    assert read_dataset(tmp_path).info["robot_type"] == "libero"


def test_a_second_command_on_one_root_is_refused_and_the_first_goes_on(tmp_path):
    class Busy(io.StringIO):
        def write(self, text):
            with pytest.raises(RefusedError, match=rf"another process is collecting into {tmp_path}.*another root"):
                collect(config(tmp_path, "tasks=[0]"), io.StringIO())
            return super().write(text)

    told = Busy()
    collect(config(tmp_path, "tasks=[0]"), told)
    assert "5 to do" in told.getvalue()
    rows = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert sorted(row["key"][2] for row in rows) == list(range(5))
    collect(config(tmp_path, "tasks=[0]"), io.StringIO())  # free again


def test_a_suite_that_would_not_be_collected_is_refused(tmp_path, capsys):
    assert main(CONF, ["env.suite=libero_goal", f"root={tmp_path}"]) == 2
    assert "suites=null" in capsys.readouterr().err


def test_a_folder_that_is_no_dataset_is_told_without_a_traceback(tmp_path, capsys):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text('{"codebase_version": "v1.0"}')
    assert main(CONF, [SEARCH_PATH, *FAKE, f"root={tmp_path}"]) == 1
    assert "info.json" in capsys.readouterr().err


SESSION = {"policy": "p", "runtime": "r", "teleop": "t", "trial": 0, "seed": 0, "hz": 20.0}  # as `Session` writes it


@pytest.mark.parametrize("of", [{"suite": "fake_suite", "task_id": 0}, {"robot": "r"}, None])
def test_what_something_else_recorded_is_not_gone_on_with(tmp_path, of):
    columns = {"observation.state": np.zeros((4, 3), np.float32), "action": np.zeros((4, 2), np.float32)}
    images = {"front": np.zeros((4, 32, 32, 3), np.uint8)}
    with DatasetWriter(tmp_path) as writer:
        writer.add(EpisodeData("wave", 20, images, columns, metadata={} if of is None else {**SESSION, **of}))
    with pytest.raises(RefusedError, match=rf"scripts/collect.py, got {tmp_path}, .*Choose another root"):
        collect(config(tmp_path), io.StringIO())


def test_rollouts_are_recorded_as_they_went(tmp_path):
    options = ("collector=rollouts", "policy=fake_steady", "keep=[FAILURE]", "tasks=[2,3]", "stride=1")
    collect(config(tmp_path, *options), io.StringIO())
    dataset = read_dataset(tmp_path)
    dataset.verify()
    rows = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert {row["key"][1]: row["outcome"] for row in rows} == {2: "SUCCESS", 3: "FAILURE"}
    assert {episode.metadata["task_id"] for episode in dataset.episodes} == {3}
    # Of the scenes, also of the first one in each environment.
    assert {episode.length for episode in dataset.episodes} == {FakeDemonstrations.max_steps}
    assert (dataset[0].columns["action"] > 0).all()  # what the policy sent

    told = io.StringIO()
    collect(config(tmp_path, *options), told)
    assert "0 to do" in told.getvalue()


def test_a_folder_whose_tasks_have_other_numbers_now_is_refused(tmp_path, monkeypatch):
    collect(config(tmp_path, "tasks=[0]", "episodes=1"), io.StringIO())
    before = FakeBenchmark.__post_init__

    def with_a_new_file(benchmark):
        before(benchmark)
        benchmark.tasks = [replace(task, name=f"new_{task.id}") for task in benchmark.tasks]

    monkeypatch.setattr(FakeBenchmark, "__post_init__", with_a_new_file)
    with pytest.raises(RefusedError, match=r"task 0 of fake_suite is 'push_0', and now it is 'new_0'.*another root"):
        collect(config(tmp_path, "episodes=1"), io.StringIO())
    assert len(keys(tmp_path)) == 1


def test_a_word_where_a_list_belongs_is_refused(tmp_path):
    message = r"suites: expected a list, such as suites=\[fake_suite\], got 'fake_suite'"
    with pytest.raises(RefusedError, match=message):
        collect(config(tmp_path, "suites=fake_suite"), io.StringIO())
    with pytest.raises(RefusedError, match=r"keep: expected a list, such as keep=\[SUCCESS\], got 'SUCCESS'"):
        collect(config(tmp_path, "keep=SUCCESS"), io.StringIO())
