"""The arms are laid down and go limp there; whatever comes in between, they hold."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from robot_drivers.aloha.lower import lower
from tests.robot_drivers.aloha.bench import HOME, LEFT, RIGHT, Bench
from vla.protocols import SafetyStop


@pytest.fixture
def raised():
    """Arms that hold at home since a session ended, and what was said."""
    bench = Bench(gravity=False)
    bench.put_at_home()
    with bench.clock.attending():
        bench.robot.connect()
        bench.robot.disconnect()
        yield bench, []


def torque(bench: Bench) -> set[int]:
    return {bench.read(id, "torque_enable", bus) for bus in (LEFT, RIGHT) for id in range(1, 10)}


def joints(bench: Bench) -> np.ndarray:
    """(12,) [rad] as the servos report them."""
    ids = (1, 2, 4, 6, 7, 8)
    return np.array([(bench.read(i, "present_position", b) - 2048) * np.pi / 2048 for b in (LEFT, RIGHT) for i in ids])


def test_arms_are_laid_down_and_go_limp(raised):
    bench, said = raised
    assert torque(bench) == {1}
    lower(bench.robot, said.append)
    rest = np.tile(bench.robot._arms[0].layout.rest, 2)
    np.testing.assert_allclose(joints(bench), rest, atol=0.05)
    assert torque(bench) == {0}
    assert not bench.robot.workers
    assert said[-1] == "the arms are at rest, torque is off"


def test_torque_stays_on_if_asked(raised):
    bench, said = raised
    lower(bench.robot, said.append, torque_off=False)
    assert torque(bench) == {1}
    assert said[-1] == "the arms are at rest, torque is on"


def test_an_obstacle_or_ctrl_c_leaves_arms_that_hold(raised, monkeypatch):
    bench, said = raised
    bench.backend.obstruct(f"{LEFT}/shoulder", low=-1.1)
    with pytest.raises(SafetyStop, match="slow move"):
        lower(bench.robot, said.append)
    assert torque(bench) == {1}
    bench.backend.obstruct(f"{LEFT}/shoulder")
    sleep, ticks = bench.clock.sleep_until, []

    def interrupted(moment):
        if bench.robot.workers and threading.current_thread() is threading.main_thread():
            ticks.append(moment)
            if len(ticks) == 20:
                raise KeyboardInterrupt
        sleep(moment)

    monkeypatch.setattr(bench.clock, "sleep_until", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lower(bench.robot, said.append)
    assert torque(bench) == {1}
    bench.wait(0.2)
    stopped = joints(bench)
    assert np.abs(stopped - np.delete(HOME, (6, 13))).max() > 0.01  # it was on its way
    bench.wait(1.0)
    np.testing.assert_array_equal(joints(bench), stopped)
