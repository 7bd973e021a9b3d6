"""Cameras of a robot: opened with it, closed with it, and no motion without them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from devices import FakeDevice, picture

sys.path.append(str(Path(__file__).parents[1] / "aloha"))
from bench import HOME, Bench, running

from robot_drivers.aloha.robot import SIDES
from robot_drivers.cameras.errors import CameraMissing, FrameFrozen, FrameStale
from robot_drivers.cameras.live import LiveCamera
from robot_drivers.dynamixel.errors import BusError
from robot_drivers.emulator.faults import FaultKind
from vla.runtime.inbox import Inbox
from vla.runtime.loop import run_episode
from vla.runtime.robot_env import RobotEnv
from vla.runtime.safety import LimitFilter
from vla.types import Outcome


class Steady:
    """Always the same action; an `Inference`."""

    commander, policy_calls, policy_s = "policy", 0, 0.0

    def __init__(self, device, fault) -> None:
        self.device, self.fault, self.ticks = device, fault, 0

    def reset(self, spec, last=None) -> None:
        self.spec = spec

    def was_sent(self, action) -> None: ...

    def next_action(self, observation):
        self.ticks += 1
        if self.ticks == 20:
            self.device.fault = self.fault
        return HOME


def test_a_reading_has_images_with_their_times():
    device = FakeDevice()
    with running(gravity=False, cameras={"top": LiveCamera(device)}) as bench:
        bench.wait(0.5)
        reading = bench.robot.get_reading()
        np.testing.assert_array_equal(reading.images["top"], picture(device.number))
        assert 0 <= bench.clock.now() - reading.image_times["top"] <= 0.05
        assert bench.robot.cameras == ("top",)
    assert device.closed == 1


@pytest.mark.parametrize(("fault", "kind"), [("unplugged", FrameStale), ("frozen", FrameFrozen)])
def test_a_blind_robot_holds_and_keeps_its_torque(fault, kind):
    device = FakeDevice()
    with running(gravity=False, cameras={"top": LiveCamera(device)}) as bench:
        bench.robot.send_action(HOME)
        device.fault = fault
        bench.wait(0.3)
        with pytest.raises(kind):
            bench.robot.get_reading()
        assert all(worker.mode == "hold" for worker in bench.robot.workers)
        assert all(bench.read(id, "torque_enable") == 1 for id in (1, 2, 4, 6, 7, 8))
        device.fault = ""
        bench.wait(1.0)
        bench.robot.get_reading()  # it sees again


@pytest.mark.parametrize("fault", ["unplugged", "black"])
def test_a_fault_in_an_episode_stops_it_and_the_next_one_runs(fault):
    device = FakeDevice()
    bench = Bench(gravity=False, cameras={"top": LiveCamera(device)})
    bench.put_at_home()
    env = RobotEnv(bench.robot, Inbox("wave"), clock=bench.clock)
    with bench.clock.attending():
        env.connect()
        spec = bench.robot.action_spec
        episode = run_episode(env, Steady(device, fault), LimitFilter(spec), trial=0, max_steps=100)
        assert episode.outcome == Outcome.STOPPED
        assert "camera top: expected" in episode.info["detail"]
        assert 20 <= episode.steps <= 32  # 0.2 s after the fault
        assert all(worker.mode == "hold" for worker in bench.robot.workers)
        env.hold()
        device.fault = ""
        bench.wait(1.0)
        episode = run_episode(env, Steady(device, ""), LimitFilter(spec), trial=1, max_steps=10)
        assert (episode.outcome, episode.steps) == (Outcome.FAILURE, 10)
        env.close()


def test_without_a_camera_the_arms_are_not_touched():
    device = FakeDevice()
    device.fault = "unplugged"
    bench = Bench(cameras={"top": LiveCamera(device)})
    with bench.clock.attending(), pytest.raises(CameraMissing):
        bench.robot.connect()
    assert not any(bench.emulation.writes(f"follower_{side}", 1) for side in SIDES)


def test_without_arms_the_cameras_are_closed_again():
    device = FakeDevice()
    bench = Bench(cameras={"top": LiveCamera(device)})
    bench.fault(FaultKind.DROP_REPLY)
    with bench.clock.attending(), pytest.raises((BusError, RuntimeError)):
        bench.robot.connect()
    assert (device.opened, device.closed) == (1, 1)
