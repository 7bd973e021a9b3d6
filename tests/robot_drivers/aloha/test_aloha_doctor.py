"""Real arms only when said so; the doctor finds what is wrong and touches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from robot_drivers.aloha import doctor, hardware
from robot_drivers.aloha.config import ArmConfig, Warmth
from robot_drivers.aloha.emulated import emulated_bus
from robot_drivers.aloha.layout import VX300S
from robot_drivers.dynamixel.errors import PortMissing
from robot_drivers.emulator.aloha import emulated_aloha
from robot_drivers.emulator.clock import VirtualClock

CONF = Path(__file__).parents[3] / "conf"


def group(name: str) -> dict:
    with initialize_config_dir(str(CONF), version_base=None):
        return OmegaConf.to_container(compose("doctor", [f"robot={name}"])["robot"])


def arguments(name: str) -> dict:
    found = group(name)
    del found["_target_"], found["config"]
    return found


@pytest.mark.parametrize("armed", [False, None, "yes", 1])
def test_real_arms_are_not_touched_unless_armed_is_true(armed):
    robot = hardware.aloha(**{**arguments("aloha"), "armed": armed})
    with pytest.raises(RuntimeError, match=r"expected armed=true, got false; nothing was opened.*robot=aloha_emulated"):
        robot.connect()


def test_real_arms_that_are_not_there_are_an_error_and_no_emulation():
    robot = hardware.aloha(**{**arguments("aloha"), "armed": True})
    with pytest.raises(PortMissing, match="/dev/ttyDXL_follower_left"):
        robot.connect()
    with pytest.raises(PortMissing, match="/dev/ttyDXL_leader_left"):
        hardware.leaders().connect()


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="expected one for follower_left"):
        hardware.aloha(ports={})
    with pytest.raises(ValueError, match="leader model 'wx' is unknown; known are aloha_wx250s, wx250s"):
        hardware.leaders(model="wx")
    with pytest.raises(ValueError, match="'theirs' is unknown"):
        hardware.aloha(gripper="theirs")


def test_the_doctor_finds_nothing_on_a_robot_that_is_well():
    lines: list[str] = []
    assert doctor.check(group("aloha_emulated"), ArmConfig(), "aloha_wx250s", lines.append) == 0
    assert "follower_left: 9 servos of a vx300s, as they should be" in lines
    assert "leader_right: 9 servos of a aloha_wx250s, as they should be" in lines


def test_the_doctor_uses_the_thresholds_of_the_robot():
    lines: list[str] = []
    config = ArmConfig(warmth=Warmth(warn=20.0, slow=20.0, stop=20.0))
    assert doctor.check(group("aloha_emulated"), config, "aloha_wx250s", lines.append) > 0
    assert "expected less than 20 degC, got" in "\n".join(lines)


def test_the_doctor_says_what_to_mend_and_writes_nothing():
    emulation = emulated_aloha(clock=VirtualClock())
    emulation.buses["follower_left"].servo(9).table.set("current_limit", 300)
    emulation.buses["follower_right"].plug(False)
    names = ("follower_left", "follower_right", "leader_left")
    buses = {name: (emulated_bus(emulation, name, emulation.clock), VX300S) for name in names}
    lines: list[str] = []
    assert doctor.examine(buses, ArmConfig(), lines.append, {}) == 10
    text = "\n".join(lines)
    assert "follower_left: 1 to mend\n  ID 9: gripper: expected current_limit 200, got 300. Arm once with" in text
    assert "follower_right: 1 to mend\n  follower_right: expected a serial port that can be opened" in text
    assert "Are the ports of leader and follower swapped?" in text
    assert not any(emulation.writes(bus, id) for bus in names for id in range(1, 10))


def test_the_doctor_looks_for_ports_and_latency(monkeypatch, tmp_path):
    lines: list[str] = []
    assert doctor.check(group("aloha"), ArmConfig(), "wx250s", lines.append) == 4
    assert "adapter" in lines[-1]
    port = tmp_path / "ttyUSB0"
    port.touch()
    monkeypatch.setattr(doctor, "latency_timer", lambda _: 0.016)
    assert "expected a latency timer of 1 ms, got 16 ms" in doctor._port(str(port))[0]
    monkeypatch.setattr(doctor, "latency_timer", lambda _: 0.001)
    assert doctor._port(str(port)) == []


@pytest.mark.parametrize(
    ("settings", "leader", "message"),
    [({"_target_": "so100"}, "wx250s", "expected aloha or aloha_emulated"), (group("aloha"), "wx", "leader: expected")],
)
def test_the_doctor_refuses_what_it_does_not_know(settings, leader, message):
    with pytest.raises(ValueError, match=message):
        doctor.check(settings, ArmConfig(), leader, print)
