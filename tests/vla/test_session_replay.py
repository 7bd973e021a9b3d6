"""scripts/replay.py: exact in simulation, slow to the start on a robot, refused where it does not fit."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tests.fakes import FakeEnv, FakeRobot, SteadyPolicy
from tests.session_runs import ROBOT, SAME, SIMULATION, Clock, broken_clock, config_of, run
from vla.command.errors import CommandError, RefusedError
from vla.data.lerobot.writer import DatasetWriter
from vla.data.recorder import Recorder
from vla.runtime.inference import OpenLoop
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.session.replay import replay
from vla.types import TaskSpec


def test_a_replay_of_a_simulation_is_exact(tmp_path):
    run(tmp_path, *SIMULATION, "task=1", "first_trial=2")
    stream = io.StringIO()
    config = config_of("replay", "env=fake", f"recording={tmp_path / 'recording'}")
    assert replay(config, stream) == 0.0
    assert "largest difference in the state reached: 0\n" in stream.getvalue()
    assert replay({**config, "trial": 3}, stream) > 0


def test_a_replay_on_a_robot_goes_slowly_to_the_start_first(tmp_path, robots, monkeypatch):
    run(tmp_path, *ROBOT, "home=[0.1,0.2,0.5]", "max_s=0.2")
    stream = io.StringIO()
    config = config_of("replay", "robot=fake", f"recording={tmp_path / 'recording'}")
    assert replay(config, stream, Clock()) == 0.0
    recorded, replayed = robots
    assert replayed.log == ["connect", "go_to [0.1, 0.2, 0.5]", "stop", "disconnect"]
    np.testing.assert_array_equal(replayed.sent, recorded.sent)
    config["robot"]["sag"] = 0.01
    assert replay(config, stream, Clock()) == pytest.approx(0.01)
    assert "0.01 (elbow [rad], step 0)" in stream.getvalue()
    config["robot"] |= {"refuse_at": 4}
    with pytest.raises(CommandError, match="stopped after 4 of 10 steps: waist: too fast"):
        replay(config, stream, Clock())
    assert robots[-1].log[-2:] == ["stop", "disconnect"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["env=fake", "episode=4"], "has the episodes 0 to 0, got 4"),
        (["robot=fake"], "its actions have 2 numbers, expected 3"),
        (["env=aloha_insertion"], "recorded in 'fake_suite', got 'aloha_insertion'"),
        (
            ["env=fake"],
            "got size=32, scratch=null. Add env.size=48 env.scratch=here",
        ),
        (
            ["env=fake_demonstrations"],
            "env: recorded in tests.fakes.FakeEnv, got tests.fakes.FakeDemonstrations. Choose the option of conf/env",
        ),
        ([*SAME, "trial=5"], "trial: expected 0 to 4, got 5"),
        ([*SAME, "trial=x"], "trial: expected a whole number of at least 0, or null, got 'x'"),
        ([*SAME, "episode=x"], "episode: expected a whole number of at least 0, got 'x'"),
        ([*SAME, "tolerance=x"], "tolerance: expected a number of at least 0, or null"),
    ],
)
def test_a_replay_that_does_not_fit_is_refused(tmp_path, overrides, message):
    run(tmp_path, *SIMULATION, *SAME[1:], "max_s=0.2")
    with pytest.raises(RefusedError) as caught:
        replay(config_of("replay", f"recording={tmp_path / 'recording'}", *overrides), io.StringIO())
    assert message in str(caught.value)


def test_a_replay_needs_no_pictures_and_says_what_broke_it_off(tmp_path, robots):
    run(tmp_path / "a", *SIMULATION, "max_s=0.2")
    config = config_of("replay", "env=fake", "env.cameras=[]", f"recording={tmp_path / 'a' / 'recording'}")
    assert replay(config, io.StringIO()) == 0.0
    config["env"]["trouble"] = {"0/0": "raise"}
    with pytest.raises(RefusedError, match=r"got trouble=nothing. Add env.trouble=null"):
        replay(config, io.StringIO())
    run(tmp_path / "b", *ROBOT, "max_s=0.2")
    config = config_of("replay", "robot=fake", f"recording={tmp_path / 'b' / 'recording'}")
    with pytest.raises(CommandError, match=r"broke off after 3 of 10 steps: OSError: the clock is on fire"):
        replay(config, io.StringIO(), Clock({4: broken_clock}))
    assert robots[-1].log[-2:] == ["stop", "disconnect"]


def test_a_replay_begins_within_the_limits_although_a_folded_arm_lies_a_hair_outside(tmp_path, robots, monkeypatch):
    begin = FakeRobot.__init__

    def folded(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.state = np.array([0.0, 1.002, 0.0])

    monkeypatch.setattr(FakeRobot, "__init__", folded)
    run(tmp_path, "robot=fake", "policy=hold", "instruction=wave", "max_s=0.2")
    replay(config_of("replay", "robot=fake", f"recording={tmp_path / 'recording'}"), io.StringIO(), Clock())
    assert robots[-1].log[1] == "go_to [0.0, 1.0, 0.0]"


def test_a_replay_of_a_dataset_that_somebody_collected(tmp_path):
    def collect(root, stride):
        env = FakeEnv("fake_suite", 1)
        metadata = {"suite": "fake_suite", "task_id": 1}
        recorder = Recorder(DatasetWriter(root).add, hz=20.0, stride=stride, metadata=metadata)
        run_episode(env, OpenLoop(SteadyPolicy()), LimitFilter(env.action_spec), [recorder], trial=2, max_steps=40)

    stream = io.StringIO()
    collect(tmp_path / "every", 1)
    assert replay(config_of("replay", "env=fake", f"recording={tmp_path / 'every'}"), stream) < 1e-6  # of float32
    collect(tmp_path / "second", 2)
    with pytest.raises(RefusedError, match=r"expected every control step \(20 a second\), got 10"):
        replay(config_of("replay", "env=fake", f"recording={tmp_path / 'second'}"), stream)


def test_a_folder_of_tasks_may_be_spelled_in_several_ways(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fakes.FakeBenchmark.__post_init__", _any_suite)
    run(tmp_path, *SIMULATION, "max_s=0.2", "env.suite=./my_tasks")
    for suite in ("my_tasks", "my_tasks/"):
        config = config_of("replay", "env=fake", f"env.suite={suite}", f"recording={tmp_path / 'recording'}")
        assert replay(config, io.StringIO()) == 0.0


def _any_suite(benchmark):
    benchmark.tasks = [TaskSpec(0, "push_0", "push", 40, benchmark.trials)]
