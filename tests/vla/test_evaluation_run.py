import errno
import io
import json
import multiprocessing
import os
import signal
from functools import partial

import pytest

from tests.fakes import CONF, QUICK, SEARCH_PATH, fake_config, timeless
from vla.command.errors import InterruptedRunError, RefusedError
from vla.evaluation import evaluate as module
from vla.evaluation.episode import video_stem
from vla.evaluation.evaluate import evaluate, main, repeat_command
from vla.evaluation.journal import Journal, JournalError, read_rows
from vla.evaluation.plan import EpisodeKey, make_plan
from vla.evaluation.run_folder import RunFolder

COMMAND = "python scripts/eval.py"


def run(path, *overrides):
    """Evaluate the fake; returns rows and what was printed."""
    stream = io.StringIO()
    evaluate(fake_config(path, *overrides), COMMAND, stream)
    return read_rows(path / "episodes.jsonl"), stream.getvalue()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Rows of the plan most tests run, from one worker."""
    rows, _ = run(tmp_path_factory.mktemp("reference") / "run", "eval.workers=1", "eval.episodes=2")
    return timeless(rows)


def test_one_run_gives_a_complete_account(tmp_path):
    path = tmp_path / "run"
    rows, text = run(path, "env.preflight={_target_:tests.fakes.fake_preflight}", "eval.videos=all", "env.tasks=[0,3]")
    assert [(row["task_id"], row["outcome"]) for row in rows] == [(0, "SUCCESS"), (3, "FAILURE")]
    assert rows[1]["steps"] == 40
    assert rows[1]["policy_calls"] == 10
    assert all((path / row["video"]).exists() for row in rows)
    fingerprint = json.loads((path / "fingerprint.json").read_text())
    assert fingerprint["preflight"] == "passed"
    assert fingerprint["environment"] == {"renderer": "fake"}
    assert fingerprint["packages"]["numpy"]
    summary = json.loads((path / "summary.json").read_text())
    assert summary["overall"]["rate"] == 0.5
    assert summary["fingerprint"] == fingerprint
    assert (path / "report.html").read_text().count("<video") == 2
    assert {"config.yaml", "plan.json"} <= set(os.listdir(path))
    assert "2/2 episodes" in text
    assert "all tasks" in text


def test_a_video_of_somebodys_folder_of_tasks_is_in_the_run():
    assert video_stem(EpisodeKey("/home/me/my_tasks", 0, 3)) == "my_tasks_task0_trial3"


def test_without_cameras_there_is_no_video_and_no_error(tmp_path):
    rows, _ = run(tmp_path / "run", "env.cameras=[]", "policy=fake_bound", "eval.videos=all", "env.tasks=[0]")
    assert (rows[0]["outcome"], rows[0]["error"], rows[0]["video"]) == ("SUCCESS", None, None)


def test_rows_and_report_have_the_words_of_the_episode(tmp_path):
    path, trouble = tmp_path / "run", "env.trouble={0/1:raise,0/2:no_reset}"
    rows, text = run(path, "env._target_=tests.fakes.TalkativeEnv", "env.tasks=[0]", "eval.episodes=3", trouble)
    planned = make_plan(fake_config(path)).tasks[0].instruction
    assert [row["outcome"] for row in rows] == ["SUCCESS", "ERROR", "ERROR"]
    assert [row["instruction"] for row in rows] == ["push bowl 0", "push bowl 1", planned]
    assert "3 instructions, such as: push bowl 0" in text
    assert "3 instructions, such as: push bowl 0" in (path / "report.html").read_text()


def test_an_environment_is_gone_before_the_next_is_built(tmp_path):
    lonely = ("env._target_=tests.fakes.LonelyEnv", "policy=fake_bound", "eval.workers=1", "eval.episodes=2")
    rows, _ = run(tmp_path / "run", *lonely, "env.tasks=[0,1]", "env.trouble={0/0:raise}")
    assert [row["outcome"] for row in rows] == ["ERROR", "SUCCESS", "SUCCESS", "SUCCESS"]


def test_rows_do_not_depend_on_workers_order_errors_or_deaths(tmp_path, reference):
    trouble = "env.trouble={0/1:raise,1/0:kill_once,2/1:kill}"
    rows, text = run(tmp_path / "run", "eval.episodes=2", trouble, f"env.scratch={tmp_path}")
    failed = {(row["task_id"], row["trial"]): row for row in rows if row["outcome"] == "ERROR"}
    assert sorted(failed) == [(0, 1), (2, 1)]
    assert "ArithmeticError" in failed[0, 1]["error"]
    assert "0x..." in failed[0, 1]["error"]  # no address, which would differ from run to run
    assert failed[0, 1]["steps"] == 2
    assert failed[0, 1]["final_state_sha256"] is None
    assert "died of this episode 2 times, last by SIGKILL" in failed[2, 1]["error"]
    assert text.count("its episode is run again") == 2
    others = [row for row in timeless(rows) if row["outcome"] != "ERROR"]
    assert others == [row for row in reference if (row["task_id"], row["trial"]) not in failed]


def test_a_second_worker_changes_nothing(tmp_path, reference):
    rows, _ = run(tmp_path / "run", "eval.workers=2", "eval.episodes=2")
    assert timeless(rows) == reference


def test_privileged_policy_is_bound_and_bad_actions_are_errors(tmp_path):
    rows, _ = run(tmp_path / "bound", "policy=fake_bound", "eval.workers=1")
    assert [row["outcome"] for row in rows] == ["SUCCESS"] * 3 + ["FAILURE"]
    rows, _ = run(tmp_path / "nan", "policy=fake_nan", "env.tasks=[0]", "eval.workers=1")
    assert "expected finite numbers" in rows[0]["error"]


def test_shared_inference_gives_the_rows_of_inference_in_the_worker(tmp_path):
    shared, _ = run(tmp_path / "shared", "policy=fake_steady", "eval.inference=shared")
    alone, _ = run(tmp_path / "alone", "policy=fake_steady")
    assert timeless(shared) == timeless(alone)
    assert {row["outcome"] for row in shared} == {"SUCCESS", "FAILURE"}


def test_shared_inference_is_refused_for_a_privileged_policy(tmp_path):
    with pytest.raises(RefusedError, match=r"reads the simulator.*eval\.inference=worker"):
        run(tmp_path / "run", "policy=fake_bound", "eval.inference=shared")


def test_a_policy_that_cannot_be_built_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"policy: cannot build tests\.fakes\.PushPolicy: TypeError.*chunks"):
        run(tmp_path / "run", "+policy.chunks=3", "eval.workers=1")
    with pytest.raises(RefusedError, match=r"runtime\.execute: expected at least 1"):
        run(tmp_path / "other", "runtime.execute=0", "eval.workers=1")


@pytest.mark.parametrize("inference", ["worker", "shared"])
def test_a_policy_of_another_robot_is_refused_before_the_first_episode(tmp_path, inference):
    other = ("policy=fake_robot", "policy.cameras=[front,top]", "policy.state=8", "policy.action=7", "policy.hz=25")
    with pytest.raises(RefusedError) as refused:
        run(tmp_path / "run", *other, f"eval.inference={inference}", "eval.videos=all")
    for part in (
        "for the robot 'fake'",
        "['top'] are not among ['front', 'wrist']",
        "expects 8 numbers, the environment gives 3",
        "gives 7 numbers, the environment takes 2",
        "plans 25 actions a second, the environment takes 20",
    ):
        assert part in str(refused.value)
    assert read_rows(tmp_path / "run" / "episodes.jsonl") == []
    assert not list((tmp_path / "run" / "videos").iterdir())


@pytest.mark.parametrize("which", [[], ["policy.state=0"], ["policy.cameras=[top]", "policy.blind=true"]])
def test_a_policy_that_fits_is_run(tmp_path, which):
    rows, _ = run(tmp_path / "run", "policy=fake_robot", *which, "env.tasks=[0]", "eval.workers=1")
    assert [row["outcome"] for row in rows] == ["SUCCESS"]


def test_hold_takes_its_action_from_the_robot(tmp_path):
    rows, _ = run(tmp_path / "run", "policy=hold", "env.tasks=[0]", "eval.workers=1")
    assert [(row["outcome"], row["steps"], row["error"]) for row in rows] == [("FAILURE", 40, None)]
    with pytest.raises(RefusedError, match=r"HoldPolicy must know the robot.*eval\.inference=worker"):
        run(tmp_path / "shared", "policy=hold", "eval.inference=shared")


def test_a_policy_that_cannot_act_on_the_robot_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="policy: expected joint positions, got eef_delta"):
        run(tmp_path / "run", "policy._target_=tests.fakes.JointPolicy", "env.tasks=[0]", "eval.workers=1")


def test_a_run_of_errors_only_does_not_end_well(tmp_path, capsys):
    arguments = [
        SEARCH_PATH,
        *QUICK,
        "policy=fake_nan",
        "env.tasks=[0]",
        "eval.workers=1",
        f"run_dir={tmp_path / 'run'}",
    ]
    assert main(CONF, arguments) == 1
    said = capsys.readouterr()
    assert "Every episode ended in an ERROR" in said.err
    assert "expected finite numbers" in said.err
    assert "Report: " in said.out


DRIFT = "env.preflight={_target_:tests.fakes.fake_preflight,drifts:[floor is dark]}"


def test_drift_stops_before_the_first_episode(tmp_path):
    with pytest.raises(RefusedError, match=r"(?s)no episode was run.*floor is dark.*eval\.allow_drift=true"):
        run(tmp_path / "run", DRIFT)
    assert read_rows(tmp_path / "run" / "episodes.jsonl") == []


def test_allowed_drift_marks_every_output(tmp_path):
    path = tmp_path / "run"
    rows, text = run(path, DRIFT, "eval.allow_drift=true", "env.tasks=[0]")
    assert rows[0]["drifted"] is True
    assert json.loads((path / "summary.json").read_text())["drifted"] is True
    assert json.loads((path / "fingerprint.json").read_text())["preflight"] == "drifted"
    assert "floor is dark" in (path / "report.html").read_text()
    assert "DRIFTED: floor is dark" in text


def test_a_folder_of_another_plan_or_of_none_is_refused(tmp_path):
    path = tmp_path / "run"
    two = ("env.tasks=[0]", "eval.episodes=2")
    run(path, *two, "eval.workers=1")
    before = (path / "episodes.jsonl").read_bytes()
    with pytest.raises(RefusedError, match=r"already holds a run of this plan.*eval\.resume=true"):
        run(path, *two)
    with pytest.raises(RefusedError, match=r"(?s)another plan.*env\.size: there 32, now 64"):
        run(path, *two, "env.size=64", "eval.resume=true")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(RefusedError, match="not empty and not a run folder"):
        run(tmp_path / "photos", "eval.resume=true")
    fingerprint = json.loads((path / "fingerprint.json").read_text())
    (path / "fingerprint.json").write_text(json.dumps({**fingerprint, "python": "2.7"}))
    (path / "episodes.jsonl").write_bytes(before[: before.index(b"\n") + 1])
    with pytest.raises(RefusedError, match=r"(?s)other conditions.*python: then '2\.7', now '3"):
        run(path, *two, "eval.resume=true")
    (path / "episodes.jsonl").write_bytes(before)
    rows, _ = run(path, *two, "eval.resume=true")  # nothing left to do
    assert len(rows) == 2
    assert (path / "episodes.jsonl").read_bytes() == before


def test_a_command_with_a_mistake_does_not_occupy_its_folder(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(RefusedError, match=r"policy: cannot build .* No such file"):
        run(path, "policy=fake_file", "policy.checkpoint=typo", "env.tasks=[0]")
    (tmp_path / "strength.txt").write_text("0.5")
    rows, _ = run(path, "policy=fake_file", f"policy.checkpoint={tmp_path}", "env.tasks=[0]", "eval.workers=1")
    assert [row["outcome"] for row in rows] == ["SUCCESS"]
    assert json.loads((path / "plan.json").read_text())["identity"]["policy"]["checkpoint"] == str(tmp_path)
    assert str(tmp_path) in (path / "config.yaml").read_text()
    assert list(json.loads((path / "fingerprint.json").read_text())["policy_files"]) == ["checkpoint"]


@pytest.mark.parametrize("writer", ["write_json", "write_atomic"])
def test_a_disk_that_is_full_at_the_start_leaves_a_folder_that_can_be_used(tmp_path, monkeypatch, writer):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(f"vla.evaluation.run_folder.{writer}", full)
        with pytest.raises(OSError, match="No space left"):
            run(path, "env.tasks=[0]")
    rows, _ = run(path, "env.tasks=[0]", "eval.resume=true", "eval.workers=1")
    assert [row["outcome"] for row in rows] == ["SUCCESS"]
    assert {"config.yaml", "plan.json"} <= set(os.listdir(path))


def test_a_folder_that_is_being_run_is_not_taken_over(tmp_path):
    path = tmp_path / "run"
    folder = RunFolder(path)
    folder.prepare()
    with Journal(folder.journal), pytest.raises(RefusedError, match="another process is running in this folder"):
        run(path)
    assert not folder.plan.exists()


def test_another_checkpoint_under_the_same_name_is_refused_or_marked(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    file, path = tmp_path / "checkpoint" / "strength.txt", tmp_path / "run"
    file.write_text("0.5")
    plan = (
        "policy=fake_file",
        f"policy.checkpoint={file.parent}",
        "env.tasks=[0]",
        "eval.episodes=2",
        "eval.workers=1",
    )
    run(path, *plan)
    first = (path / "episodes.jsonl").read_bytes()
    (path / "episodes.jsonl").write_bytes(first[: first.index(b"\n") + 1])
    file.write_text("0.6")
    with pytest.raises(RefusedError, match=r"(?s)other conditions.*policy_files\.checkpoint\.strength\.txt: then"):
        run(path, *plan, "eval.resume=true")
    rows, text = run(path, *plan, "eval.resume=true", "eval.allow_drift=true")
    assert [row.get("drifted", False) for row in rows] == [False, True]
    assert "DRIFTED: policy_files.checkpoint.strength.txt: then" in text
    assert "DRIFTED: this machine does not conform, or what is run has changed" in text
    summary = json.loads((path / "summary.json").read_text())
    assert summary["drifted"] is True
    files = [part["policy_files"] for part in (summary["fingerprint"], *summary["fingerprint"]["continued"])]
    assert len(files) == 2
    assert files[0] != files[1]
    assert "policy_files.checkpoint.strength.txt: at first" in (path / "report.html").read_text()


@pytest.mark.parametrize("inference", ["worker", "shared"])
def test_a_checkpoint_that_changes_under_a_run_ends_it(tmp_path, inference):
    (tmp_path / "strength.txt").write_text("0.5")
    plan = ("policy=fake_file", f"policy.checkpoint={tmp_path}", "policy.save='0.6'", f"eval.inference={inference}")
    with pytest.raises(RefusedError, match=r"(?s)its files changed while the run was going.*strength\.txt.*0 episodes"):
        run(tmp_path / "run", *plan, "eval.workers=1")


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, monkeypatch, reference):
    room = 3

    def write(descriptor, data):
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data)

    monkeypatch.setattr(module, "Journal", partial(Journal, write=write))
    with pytest.raises(JournalError, match=r"the disk is full. The 3 episodes"):
        run(tmp_path / "run", "eval.episodes=2")
    monkeypatch.setattr(module, "Journal", Journal)
    assert len(read_rows(tmp_path / "run" / "episodes.jsonl")) == 3
    rows, _ = run(tmp_path / "run", "eval.episodes=2", "eval.resume=true")
    assert timeless(rows) == reference


def test_a_signal_stops_cleanly_and_says_how_to_go_on(tmp_path):
    class Impatient(Journal):
        def append(self, row):
            super().append(row)
            os.kill(os.getpid(), signal.SIGTERM)

    path = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Journal", Impatient)
        with pytest.raises(
            InterruptedRunError, match=r"(?s)SIGTERM. 1 of 4 episodes .*run_dir=.* eval\.resume=true"
        ) as e:
            run(path, "eval.workers=1")
    assert e.value.exit_code != 0
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert multiprocessing.active_children() == []
    assert len(read_rows(path / "episodes.jsonl")) == 1


def test_main_prints_one_message_and_returns_the_exit_code(tmp_path, capsys):
    arguments = [SEARCH_PATH, *QUICK, "env.tasks=[0]", "eval.workers=1"]
    assert main(CONF, ["--help"]) == 0
    assert "policy=aloha_expert | expert | " in capsys.readouterr().out
    assert main(CONF, [*arguments, "eval.epsiodes=2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "file").touch()
    assert main(CONF, [*arguments, f"run_dir={tmp_path / 'file' / 'run'}"]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert main(CONF, [*arguments, f"run_dir={tmp_path / 'run'}"]) == 0
    assert f"Report: {tmp_path}/run/report.html" in capsys.readouterr().out


def test_the_command_repeats_into_a_new_folder():
    command = repeat_command(["env.tasks=[0,1]", "run_dir=x", "eval.resume=true", "policy=hold"])
    assert command == "python scripts/eval.py 'env.tasks=[0,1]' policy=hold"
