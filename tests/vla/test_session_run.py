"""scripts/rollout.py: one loop for simulation and robots, people in it, what is left on disk."""

from __future__ import annotations

import gc
import io
import json
import os
import signal

import av
import numpy as np
import pytest

from tests.fakes import CONF, ROBOT_SPEC, SEARCH_PATH, FakeRobot
from tests.session_runs import MOTION, ROBOT, SIMULATION, Clock, commanders, config_of, run
from vla.command.errors import CommandError, InterruptedRunError, RefusedError
from vla.data.lerobot.reader import read_dataset
from vla.data.session_recorder import SessionRecorder
from vla.protocols import SafetyStop, SpecTeleoperator, Teleoperator
from vla.runtime.inbox import Inbox
from vla.session.replay import replay
from vla.session.session import main
from vla.session.words import WordsReader
from vla.teleop.absent import Absent
from vla.teleop.scripted import Scripted


def test_a_policy_in_simulation_leaves_rows_a_recording_and_videos(tmp_path):
    rows, printed, dataset = run(tmp_path, *SIMULATION, "task=1", "episodes=2", "first_trial=2")
    assert [(row["trial"], row["outcome"], row["recording"]) for row in rows] == [(2, "SUCCESS", 0), (3, "SUCCESS", 1)]
    assert [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()] == rows
    assert "take-overs" in printed
    assert f"recording: {tmp_path / 'recording'} (episodes 0, 1)" in printed
    for number, row in enumerate(rows):
        episode = dataset[number]
        assert episode.length == row["steps"]
        assert set(commanders(episode)) == {"policy"}
        assert {key: episode.metadata[key] for key in ("suite", "task_id", "trial", "policy", "success")} == {
            "suite": "fake_suite", "task_id": 1, "trial": 2 + number, "policy": "tests.fakes.PushPolicy",
            "success": True,
        }  # fmt: skip
        with av.open(row["video"]) as video:
            assert video.streams.video[0].codec_context.name == "h264"
    assert (tmp_path / "config.yaml").exists()
    assert not list((tmp_path / "videos").glob(".*"))


def test_simulation_in_real_time_meets_its_deadlines(tmp_path):
    clock = Clock()
    (row,), _, _ = run(tmp_path, *SIMULATION, "runtime.pace=realtime", "task=3", "max_s=1", clock=clock)
    assert (row["steps"], row["rate"], row["late"], clock.ticks) == (20, 20.0, 0, 20)


def test_a_simulation_goes_on_for_as_long_as_asked(tmp_path):
    (short,), _, _ = run(tmp_path / "a", *SIMULATION, "task=3")
    (long,), _, _ = run(tmp_path / "b", *SIMULATION, "task=3", "max_s=3")
    assert (short["steps"], long["steps"]) == (40, 60)  # the task's limit is 40


def test_a_robot_begins_at_home_holds_in_the_end_and_is_let_go(tmp_path, robots):
    (row,), _, dataset = run(tmp_path, *ROBOT, "home=[0.1,0,0.5]", "max_s=0.2")
    (robot,) = robots
    assert robot.log == ["connect", "go_to [0.1, 0.0, 0.5]", "stop", "disconnect"]
    assert (row["steps"], row["rate"], row["late"]) == (10, 50.0, 0)
    columns = dataset[0].columns
    np.testing.assert_array_equal(columns["action"], np.array(robot.sent, dtype=np.float32))
    np.testing.assert_allclose(columns["observation.effort"], 2 * columns["observation.state"], atol=1e-6)
    np.testing.assert_allclose(columns["observation.image_age.front"], 0.005, atol=1e-6)
    assert dataset.info["robot_type"] == "fake"
    assert tuple(dataset.features["action"]["names"]) == ROBOT_SPEC.names
    assert dataset[0].metadata["robot"] == "tests.fakes.FakeRobot"


@pytest.mark.parametrize("command", ["rollout", "replay"])
def test_the_garbage_collector_does_not_keep_a_robot_waiting(command, tmp_path, robots, monkeypatch):
    """What was there before the robot moves is not gone through again, and becomes garbage again afterwards."""
    frozen, send = [], FakeRobot.send_action
    monkeypatch.setattr(FakeRobot, "send_action", lambda *a: frozen.append(gc.get_freeze_count()) or send(*a))
    run(tmp_path, *ROBOT, "home=[0.1,0,0.5]", "max_s=0.1")
    if command == "replay":
        frozen.clear()
        replay(config_of("replay", "robot=fake", f"recording={tmp_path / 'recording'}"), io.StringIO(), Clock())
    assert frozen
    assert min(frozen) > 10_000
    assert gc.get_freeze_count() == 0


def test_a_second_episode_without_home_lifts_the_stop_where_the_robot_stands(tmp_path, robots):
    rows, _, _ = run(tmp_path, *ROBOT, "episodes=2", "max_s=0.1")
    assert [row["outcome"] for row in rows] == ["FAILURE", "FAILURE"]
    assert robots[0].log == ["connect", "stop", "go_to [0.25, 0.0, 0.0]", "stop", "disconnect"]


def test_teleoperation_alone_holds_until_the_person_takes_over_and_after(tmp_path, robots):
    (row,), _, dataset = run(
        tmp_path,
        "robot=fake",
        "policy=hold",
        "instruction=wave",
        "teleop=scripted",
        MOTION,
        "teleop.start=2",
        "max_s=0.2",
    )
    assert commanders(dataset[0]) == ["nobody"] * 2 + ["person"] * 3 + ["nobody"] * 5
    assert row["share"] == {"policy": 0.0, "nobody": 0.7, "person": 0.3}
    np.testing.assert_allclose(np.array(robots[0].sent)[:, 1], [0, 0, 0.02, 0.04, 0.06, *[0.06] * 5])
    np.testing.assert_allclose(np.array(robots[0].sent)[-1], [0, 0.06, 1])  # the grip is kept
    assert [event for event in dataset[0].columns["events"] if event] == ["take-over", "hand-back"]


def test_a_person_takes_over_from_a_policy_and_hands_back_without_a_jump(tmp_path, robots):
    (row,), printed, dataset = run(
        tmp_path, *ROBOT, "teleop=scripted", MOTION, "teleop.start=3", "teleop.repeat=4", "max_s=0.4"
    )
    assert commanders(dataset[0])[:7] == ["policy"] * 3 + ["person"] * 3 + ["policy"]
    assert row["take_overs"] == 3
    assert row["share"]["person"] == pytest.approx(0.45)
    moves = np.diff(np.array(robots[0].sent)[:, :2], axis=0)
    assert np.abs(moves).max() <= 0.0605
    assert "45%" in printed


def test_deltas_are_commanded_as_they_are(tmp_path):
    (row,), _, dataset = run(
        tmp_path, "env=fake", "policy=hold", "runtime.pace=free", "task=3", "teleop=scripted", "teleop.start=1",
        "teleop.motion=[[0.5,-1],[0.25,1]]", "max_s=0.3",
    )  # fmt: skip
    sent = dataset[0].columns["action"]
    np.testing.assert_allclose(sent, [[0, 0], [0.5, -1], [0.25, 1], *[[0, 1]] * 3])
    assert row["policy_calls"] == 0


def test_ctrl_c_ends_the_episode_politely(tmp_path, robots):
    clock = Clock({5: lambda: os.kill(os.getpid(), signal.SIGINT)})
    with pytest.raises(InterruptedRunError, match="Ctrl-C"):
        run(tmp_path, *ROBOT, "episodes=3", clock=clock)
    assert robots[0].log == ["connect", "stop", "stop", "stop", "disconnect"]  # at once, in the loop, in the end
    episode = read_dataset(tmp_path / "recording")[0]
    assert episode.length == 5
    assert episode.columns["events"][-1] == "stop: Ctrl-C"
    assert (episode.metadata["outcome"], episode.metadata["detail"]) == ("STOPPED", "Ctrl-C")
    (row,) = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert (row["outcome"], row["steps"]) == ("STOPPED", 5)


def test_ctrl_c_on_the_way_home_stops_there(tmp_path, robots):
    with pytest.raises(InterruptedRunError, match="Ctrl-C"):
        run(tmp_path, *ROBOT, "robot.trouble=interrupted", "home=[0.1,0,0.5]")
    assert robots[0].log == ["connect", "stop", "stop", "disconnect"]
    (row,) = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert (row["outcome"], row["steps"], row["recording"]) == ("STOPPED", 0, None)


def test_a_robot_that_stopped_by_itself_begins_no_other_episode(tmp_path, robots):
    with pytest.raises(CommandError, match=r"(?s)episode 0 stopped: waist: too fast.*Look at the robot"):
        run(tmp_path, *ROBOT, "robot.refuse_at=6", "episodes=3", "max_s=1")
    assert robots[0].log == ["connect", "stop", "disconnect"]
    (row,) = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert (row["outcome"], row["steps"]) == ("STOPPED", 6)
    assert read_dataset(tmp_path / "recording")[0].length == 6


def test_a_stop_said_while_the_episode_is_written_does_not_let_the_robot_go_on(tmp_path, robots, monkeypatch):
    inboxes, write = [], SessionRecorder.on_episode_end

    class Told(Inbox):
        def __init__(self, *words):
            super().__init__(*words)
            inboxes.append(self)

    def written(self, episode, observation):
        write(self, episode, observation)
        inboxes[-1].stop("/stop was typed")

    monkeypatch.setattr("vla.session.stage.Inbox", Told)
    monkeypatch.setattr(SessionRecorder, "on_episode_end", written)
    with pytest.raises(CommandError, match=r"(?s)episode 0 stopped: waist: too fast.*Look at the robot"):
        run(tmp_path, *ROBOT, "robot.refuse_at=6", "episodes=3", "max_s=1")
    rows, _, _ = run(tmp_path / "other", *ROBOT, "episodes=2", "max_s=0.2")
    assert [(row["outcome"], row["steps"]) for row in rows] == [("FAILURE", 10), ("STOPPED", 0)]


def test_after_a_stop_that_a_person_said_the_next_episode_begins(tmp_path, robots, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("/stop\n"))
    started = []
    monkeypatch.setattr(WordsReader, "start", lambda self: started.append(self))
    say = lambda: started[0]._listen()  # noqa: E731
    rows, _, _ = run(tmp_path, *ROBOT, "episodes=2", "max_s=0.2", "words=stdin", clock=Clock({4: say}))
    assert [(row["outcome"], row["steps"]) for row in rows] == [("STOPPED", 4), ("FAILURE", 10)]


def test_a_robot_that_cannot_be_connected_is_said_and_leaves_nothing(tmp_path, robots):
    message = "^robot: cannot be connected: RuntimeError: follower_left: no such port$"
    with pytest.raises(CommandError, match=message):
        run(tmp_path, *ROBOT, "robot.trouble=unplugged")
    assert robots[0].log == ["connect"]
    assert not (tmp_path / "episodes.jsonl").exists()
    assert not (tmp_path / "traceback.txt").exists()
    run(tmp_path, *ROBOT, "max_s=0.1")  # the folder is free
    with pytest.raises(CommandError, match=message):
        replay(
            config_of("replay", "robot=fake", "robot.trouble=unplugged", f"recording={tmp_path / 'recording'}"), None
        )
    assert robots[-1].log == ["connect"]


def test_ctrl_c_while_the_robot_is_connected_begins_no_episode(tmp_path, robots):
    with pytest.raises(InterruptedRunError, match="Ctrl-C: the session ended before its first episode"):
        run(tmp_path, *ROBOT, "robot.trouble='interrupted early'", "home=[0.1,0,0.5]")
    assert robots[0].log == ["connect", "disconnect"]
    assert not (tmp_path / "episodes.jsonl").exists()


def test_a_run_of_refusals_only_is_no_success(tmp_path, monkeypatch):
    refused = [*ROBOT, SEARCH_PATH, "words=none", "film=false", "robot.refuse_at=2", "max_s=1"]
    assert main(CONF, [*refused, f"run_dir={tmp_path / 'a'}"]) == 1
    monkeypatch.setattr("vla.session.session.SystemClock", Clock)
    assert main(CONF, [*refused, f"run_dir={tmp_path / 'b'}", "robot.refuse_at=4", "max_s=0.06", "episodes=2"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("/stop\n"))
    assert main(CONF, [*refused, f"run_dir={tmp_path / 'c'}", "robot.refuse_at=null", "words=stdin", "max_s=null"]) == 0


def test_a_failed_reset_has_no_lateness_of_its_own(tmp_path, monkeypatch):
    go_to = FakeRobot.go_to

    def blocked(self, state):
        go_to(self, state)
        if self.sent:
            raise SafetyStop("go_to: blocked")

    monkeypatch.setattr(FakeRobot, "go_to", blocked)
    rows, _, _ = run(tmp_path, *ROBOT, "home=[0.1,0,0.5]", "episodes=2", "max_s=0.1")
    assert [(row["outcome"], row["late"], row["worst_ms"]) for row in rows] == [
        ("FAILURE", 0, 0.0),
        ("STOPPED", None, None),
    ]


@pytest.mark.parametrize(
    ("override", "outcome", "steps"), [("robot.refuse_at=6", "STOPPED", 6), ("policy.fail_at=3", "ERROR", 8)]
)
def test_what_fails_ends_with_a_robot_that_holds_and_a_recording(tmp_path, robots, override, outcome, steps):
    if outcome == "ERROR":
        with pytest.raises(CommandError, match=r"broke off: ArithmeticError: the network is on fire"):
            run(tmp_path, *ROBOT, override, "max_s=1")
        assert "infer" in (tmp_path / "traceback.txt").read_text()
    else:
        run(tmp_path, *ROBOT, override, "max_s=1")
    assert robots[0].log == ["connect", "stop", "disconnect"]
    episode = read_dataset(tmp_path / "recording")[0]
    assert (episode.length, episode.metadata["outcome"]) == (steps, outcome)


def test_a_film_that_cannot_be_written_takes_no_recording_with_it(tmp_path):
    (tmp_path / "videos").write_text("a file where its folder should be")
    (row,), _, dataset = run(tmp_path, *SIMULATION)
    assert row["outcome"] == "SUCCESS"
    assert row["video"] is None
    assert dataset[0].length == row["steps"]


@pytest.mark.parametrize(("seconds", "steps"), [(0.1, 5), (1.1, 55), (2.2, 110)])
def test_seconds_are_whole_ticks(tmp_path, robots, seconds, steps):
    (row,), _, _ = run(tmp_path, *ROBOT, f"max_s={seconds}", "film=false")
    assert row["steps"] == steps


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["env=fake", "policy=fake_push", "task=9"], "has the tasks 0 to 3, got 9"),
        (
            [*SIMULATION, "env.tasks=[3]"],
            "env.tasks: is the evaluator's, got [3]; one session has one task, say task=3",
        ),
        ([*SIMULATION, "home=[0.1]"], "home: expected null, for a simulation begins where its trial says, got [0.1]"),
        (["env=fake", "policy=fake_push", "runtime.pace=fast"], "expected realtime or free, got 'fast'"),
        ([*SIMULATION, "runtime.latency_s=background"], "background needs runtime.pace=realtime, got free"),
        (["env=fake", "policy=fake_bound", "runtime.latency_s=background"], "reads the simulator, which moves on"),
        (["robot=fake", "policy=fake_wave"], "a robot knows no task"),
        ([*ROBOT, "home=[1,2]"], "home: expected 3 numbers"),
        (["robot=fake", "policy=fake_bound", "instruction=wave"], "reads a simulator; a robot has none"),
        ([*ROBOT, "teleop=scripted", "teleop.motion=[[1,2]]"], "teleop.motion: expected 3 numbers a tick"),
        ([*ROBOT, "episodes=0"], "episodes: expected a number of at least 1"),
        ([*ROBOT, "max_s=-1"], "max_s: expected seconds above 0"),
        ([*ROBOT, "max_s=abc"], "max_s: expected seconds above 0, or null, got 'abc'"),
        ([*ROBOT, "max_s=inf"], "max_s: expected seconds above 0"),
        ([*ROBOT, "words=loud"], "expected auto, stdin or none"),
        ([*ROBOT, "words=stdin", "teleop=keyboard"], "words: expected auto or none with teleop=keyboard"),
        ([*ROBOT, "home=0.5"], "home: expected a list of finite numbers, or null, got 0.5"),
        ([*ROBOT, "home=[a,b,c]"], "home: expected a list of finite numbers"),
        ([*ROBOT, "home=[9,0,0]"], "home: waist [rad]: expected -1.0000 to 1.0000, got 9."),
        ([*ROBOT, "cameras=[frnt]"], "cameras: there is none named 'frnt'. Did you mean 'front'?"),
        ([*ROBOT, "cameras=front"], "cameras: expected a list of names, or null, got 'front'"),
        ([*ROBOT, "film=maybe"], "film: expected true or false, got 'maybe'"),
        ([*ROBOT, "seed=x"], "seed: expected a whole number of at least 0"),
        ([*ROBOT, "run_dir=5"], "run_dir: expected text, or null, got 5"),
        ([*ROBOT, "runtime.execute=0"], "runtime.execute: expected at least 1 action a chunk, got 0"),
        ([*ROBOT, "runtime.latency_s=-1"], "runtime.latency_s: expected seconds, 0 or more, got -1"),
        ([*ROBOT, "runtime=real_time_chunking"], "runtime: real-time chunking needs a policy that can continue"),
        ([*SIMULATION, "cameras=[top]"], "cameras: there is none named 'top'. Valid: front, wrist."),
        ([*SIMULATION, "first_trial=3", "episodes=3"], "this task has the trials 0 to 4, got 3 to 5"),
    ],
)
def test_bad_input_is_refused_before_anything_moves(tmp_path, robots, overrides, message):
    with pytest.raises(RefusedError, match=r".") as caught:
        run(tmp_path / "run", "max_s=0.2", *overrides)  # an end, if it is not refused
    assert message in str(caught.value)
    assert all(robot.log == [] for robot in robots)
    assert not (tmp_path / "run" / "recording").exists()


def test_a_folder_is_used_once_and_a_misspelt_key_is_named(tmp_path, capsys):
    run(tmp_path, *SIMULATION, "max_s=0.1")
    with pytest.raises(RefusedError, match="holds a session already"):
        run(tmp_path, *SIMULATION)
    assert main(CONF, ["episods=2"]) == 2
    assert "Did you mean 'episodes'" in capsys.readouterr().err


def test_teleoperators_keep_their_promises():
    assert isinstance(Scripted([[0.0]]), SpecTeleoperator)
    nobody: Teleoperator = Absent()
    nobody.connect()
    assert not nobody.wants_control()
    assert not nobody.align(np.zeros(3))
    with pytest.raises(RuntimeError, match="nobody is there"):
        nobody.get_action()
    nobody.disconnect()
    for motion, start in (([[np.nan]], 0), ([], 0), ([[1.0]], -1)):
        with pytest.raises(ValueError, match=r"teleop\."):
            Scripted(motion, start)
