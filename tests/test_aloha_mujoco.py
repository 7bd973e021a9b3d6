"""robot=aloha_mujoco and teleop=leaders_emulated as configured: bus, physics and cameras on one virtual clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robot_drivers.aloha.emulated import aloha_emulated
from robot_drivers.emulator.clock import VirtualClock
from vla.command.config import build, compose_config, to_dict
from vla.runtime.shared_control import SharedControl
from vla.types import Commander, Observation

CONF = Path(__file__).parents[1] / "conf"
HOME = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.5] * 2)
TICK = 0.02


def composed(*overrides: str) -> dict:
    return to_dict(compose_config(CONF, "rollout", overrides))


@pytest.fixture(scope="module")
def bench():
    config = composed("robot=aloha_mujoco", "robot.scene.image_size=[24,32]", "robot.cameras=[top,angle]")
    clock = VirtualClock()
    robot = build(config["robot"], "robot", clock=clock)
    with clock.attending():
        robot.connect()
        yield robot, clock
        robot.disconnect()


def test_servos_move_the_scene_and_cameras_see_it(bench):
    robot, clock = bench
    before = robot.get_reading()
    assert before.images["top"].shape == (24, 32, 3)
    robot.go_to(HOME)
    clock.sleep_until(clock.now() + 0.3)
    after = robot.get_reading()
    joints = np.delete(np.arange(14), (6, 13))
    np.testing.assert_allclose(after.state[joints], HOME[joints], atol=0.02)
    assert all((before.images[name] != after.images[name]).any() for name in ("top", "angle"))
    assert all(0 <= clock.now() - taken <= 0.11 for taken in after.image_times.values())
    assert np.abs(after.channels["effort"]).max() < 2.0  # [A]
    assert after.events == ()


def test_grippers_open_and_close_without_a_fault(bench):
    robot, clock = bench
    robot.go_to(HOME)
    action = HOME.copy()
    for opening, reached in ((1.0, 0.975), (0.0, 0.1)):  # as far as gym-aloha's fingers go
        action[[6, 13]] = opening
        for _ in range(60):
            robot.send_action(action)
            clock.sleep_until(clock.now() + TICK)
        reading = robot.get_reading()
        np.testing.assert_allclose(reading.state[[6, 13]], reached, atol=0.03)
        assert reading.events == ()


def test_leaders_are_carried_by_scripted_hands():
    clock = VirtualClock()
    leaders = build(composed("teleop=leaders_emulated", "env=aloha_transfer_cube")["teleop"], "teleop", clock=clock)
    asked, waist, commands = [], 0.0, False
    with clock.attending():
        leaders.connect()
        leaders.reset()
        for _ in range(500):
            asked.append(leaders.wants_control())
            commands = asked[-1] and (commands or leaders.align(HOME))
            if commands:
                waist = max(waist, leaders.get_action()[0])
            clock.sleep_until(clock.now() + TICK)
        leaders.disconnect()
    assert asked.index(True) in range(30, 60)  # squeezed
    assert not any(asked[455:])  # handed back
    assert waist == pytest.approx(0.4, abs=0.05)


class Still:
    policy_calls, policy_s = 0, 0.0

    def reset(self, spec, last=None) -> None: ...

    def was_sent(self, action) -> None: ...

    def next_action(self, observation):
        return HOME


def test_a_script_that_is_handed_back_is_taken_up_again_in_the_next_episode():
    clock = VirtualClock()
    leaders = build(composed("teleop=leaders_emulated", "env=aloha_transfer_cube")["teleop"], "teleop", clock=clock)
    control, spec = SharedControl(Still(), leaders), aloha_emulated().action_spec

    def episode(ticks: int, release_at: int | None = None) -> list[Commander]:
        control.reset(spec)
        seen = []
        for tick in range(ticks):
            if tick == release_at:
                control.release()
            control.next_action(Observation({}, HOME, "", clock.now()))
            seen.append(control.commander)
            clock.sleep_until(clock.now() + TICK)
        return seen

    with clock.attending():
        leaders.connect()
        first = episode(300, release_at=180)
        assert first[179] == Commander.PERSON
        assert set(first[180:]) == {Commander.POLICY}
        assert episode(180)[-1] == Commander.PERSON  # its gripper is still closed when the next one begins
        assert episode(180)[-1] == Commander.PERSON
        leaders.disconnect()


@pytest.mark.parametrize("name", ["aloha_usb", "aloha_realsense"])
def test_real_cameras_are_configured_by_name_and_not_touched_when_built(name):
    serials = [f"robot.cameras.{camera}.device.serial=1" for camera in ("top", "low", "left_wrist", "right_wrist")]
    config = composed(f"robot={name}", *(serials if name == "aloha_realsense" else []))
    robot = build(config["robot"], "robot")
    assert robot.cameras == ("top", "low", "left_wrist", "right_wrist")
    with pytest.raises(RuntimeError, match="expected armed=true"):
        robot.connect()


def test_hands_on_unknown_joints_are_refused():
    from robot_drivers.aloha.guided import GuidedLeaders

    with pytest.raises(ValueError, match="expected joints such as leader_left/waist, got leader_left/knee"):
        GuidedLeaders([(0.0, {"leader_left/knee": 0.0})])
