"""A session brings policy and robot together before anything moves, or refuses."""

from __future__ import annotations

import pytest

from tests.session_runs import run
from vla.command.errors import RefusedError

OF_THE_ROBOT = ("policy=fake_robot", "policy.cameras=[front]", "policy.state=3", "policy.action=3", "policy.hz=50")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("policy.cameras=[front,top]", "['top'] are not among ['front']"),
        ("policy.state=8", "expects 8 numbers, the environment gives 3"),
        ("policy.action=7", "gives 7 numbers, the environment takes 3"),
        ("policy.hz=25", "plans 25 actions a second, the environment takes 50"),
    ],
)
def test_a_policy_of_another_robot_is_refused_before_the_robot_is_connected(tmp_path, robots, other, message):
    with pytest.raises(RefusedError) as refused:
        run(tmp_path / "run", "robot=fake", *OF_THE_ROBOT, other, "instruction=wave", "max_s=0.1")
    assert message in str(refused.value)
    assert robots[0].log == []
    assert not (tmp_path / "run").exists()


def test_a_policy_of_another_robot_is_refused_in_a_simulation_and_one_that_fits_is_run(tmp_path):
    simulation = ("env=fake", "runtime.pace=free", "policy=fake_robot", "max_s=0.1")
    with pytest.raises(
        RefusedError, match=r"(?s)'top'.* are not among .*25 actions a second, the environment takes 20"
    ):
        run(tmp_path / "a", *simulation, "policy.cameras=[top]", "policy.hz=25")
    (row,), _, _ = run(tmp_path / "b", *simulation)
    assert row["steps"] == 2


def test_a_policy_that_must_know_the_robot_is_told_before_the_first_episode(tmp_path, robots):
    (row,), _, _ = run(tmp_path / "a", "env=fake", "policy=fake_told", "runtime.pace=free")
    assert row["outcome"] == "SUCCESS"
    with pytest.raises(RefusedError, match="expected a robot that takes deltas, got joint_position"):
        run(tmp_path / "b", "robot=fake", "policy=fake_told", "instruction=wave", "max_s=0.1")
    assert robots[0].log == []


def test_a_policy_that_fits_the_robot_is_run(tmp_path, robots):
    (row,), _, _ = run(tmp_path, "robot=fake", *OF_THE_ROBOT, "instruction=wave", "max_s=0.1")
    assert row["steps"] == 5
