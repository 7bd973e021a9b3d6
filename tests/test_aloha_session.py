"""Sessions of the emulated robot, driver and bus included, on a virtual clock."""

from __future__ import annotations

import io

import pytest

from robot_drivers.emulator.aloha import emulated_aloha
from robot_drivers.emulator.clock import VirtualClock
from tests.fakes import CONF
from vla.command.config import compose_config, to_dict
from vla.session.replay import replay
from vla.session.session import run_session


@pytest.fixture
def emulations(monkeypatch):
    """A function that gives the clock of the robot that is built next; its arms have sunk onto their rests."""

    def next_clock():
        clock = VirtualClock()

        def settled(**options):
            emulation = emulated_aloha(**{**options, "clock": clock})
            clock.sleep_until(clock.now() + 1.0)
            return emulation

        monkeypatch.setattr("robot_drivers.aloha.emulated.emulated_aloha", settled)
        return clock

    return next_clock


def config_of(name, *overrides):
    return to_dict(compose_config(CONF, name, ["robot=aloha_emulated", *overrides]))


def test_a_recording_that_begins_in_the_rest_pose_can_be_replayed(tmp_path, emulations):
    config = config_of("rollout", "policy=hold", "instruction=x", "max_s=0.2", "words=none", f"run_dir={tmp_path}")
    clock = emulations()
    with clock.attending():
        (row,) = run_session(config, io.StringIO(), clock)
    assert (row["outcome"], row["steps"]) == ("FAILURE", 10)
    clock = emulations()
    with clock.attending():
        assert replay(config_of("replay", f"recording={tmp_path / 'recording'}"), io.StringIO(), clock) < 0.05
