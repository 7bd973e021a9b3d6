"""A joint that switched itself off comes back on purpose only, where it stands, and the others never let go."""

from __future__ import annotations

import numpy as np
import pytest

from robot_drivers.emulator.faults import FaultKind
from robot_drivers.emulator.log import Kind
from tests.robot_drivers.aloha.bench import HOME, LEFT, Bench

SHOULDER = (2, 3)


@pytest.fixture
def broken():
    """Arms that hold at home, the left shoulder without torque after an overload; and what was said."""
    bench = Bench(gravity=False)
    bench.put_at_home()
    with bench.clock.attending():
        bench.robot.connect()
        bench.robot.disconnect()
        for id in SHOULDER:
            bench.emulation.buses[LEFT].servo(id).shut_down(0x20)
        yield bench, []


def revive(bench, said, joint="shoulder", ready=lambda: None):
    bench.robot.revive("left", joint, said.append, ready)


def test_it_holds_again_where_hands_hold_it_and_the_arms_can_be_connected(broken):
    bench, said = broken
    with pytest.raises(RuntimeError, match=r"got overload.*scripts/revive\.py"):
        bench.robot.connect()

    def hands():
        said.append("hands")
        bench.backend.place({f"{LEFT}/shoulder": float(HOME[1]) - 0.2})

    revive(bench, said, ready=hands)
    overloads = [f"{LEFT} shoulder (ID {id}): overload" for id in SHOULDER]
    assert said == [*overloads, "hands", f"{LEFT} shoulder: holds where it stands"]
    assert [event.id for event in bench.emulation.log.events(Kind.REBOOT)] == list(SHOULDER)
    bench.wait(1.0)  # longer than any watchdog
    assert all(bench.read(id, "torque_enable") == 1 for id in range(1, 10))
    assert all(bench.read(id, "bus_watchdog") == 0 for id in SHOULDER)
    assert all(bench.read(id, "position_p_gain") == 800 for id in SHOULDER)
    assert bench.backend.motion().position[1] == pytest.approx(HOME[1] - 0.2, abs=0.01)
    off = [event.id for event in bench.emulation.log.events(Kind.TORQUE) if event.detail == "off"]
    assert set(off) <= set(SHOULDER)
    bench.robot.connect()
    bench.robot.go_to(HOME)
    np.testing.assert_allclose(bench.robot.get_reading().state[:6], HOME[:6], atol=0.02)
    bench.robot.disconnect()


def test_what_broke_off_after_the_reboot_is_gone_on_with(broken, monkeypatch):
    bench, said = broken
    bench.fault(FaultKind.DROP_REPLY, ids=SHOULDER, instructions=(8,))  # a reboot without an answer
    bench.fault(FaultKind.CORRUPT, ids=SHOULDER, instructions=(1,), times=1)
    with monkeypatch.context() as patched:
        patched.setattr("robot_drivers.aloha.arm.Arm.recover", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            revive(bench, said)
    assert bench.read(2, "torque_enable") == 0
    revive(bench, said)
    assert all(bench.read(id, "torque_enable") == 1 for id in SHOULDER)


def test_nobody_who_supports_it_and_nothing_is_rebooted(broken):
    bench, said = broken

    def gone():
        raise RuntimeError("nobody is there")

    with pytest.raises(RuntimeError, match="nobody is there"):
        revive(bench, said, ready=gone)
    assert not bench.emulation.log.events(Kind.REBOOT)
    revive(bench, said)  # the port is free again


def test_what_is_well_unknown_too_hot_or_silent_is_said(broken):
    bench, said = broken
    with pytest.raises(RuntimeError, match="elbow: expected a hardware error, got none; nothing was rebooted"):
        revive(bench, said, "elbow")
    with pytest.raises(ValueError, match=r"joint: expected one of waist, shoulder, .* got 'hip'"):
        revive(bench, said, "hip")
    with pytest.raises(ValueError, match="arm: expected one of left, right, got 'middle'"):
        bench.robot.revive("middle", "elbow", said.append, lambda: None)
    bench.emulation.world.motors.temperature[:] = 95.0
    with pytest.raises(RuntimeError, match=r"shoulder \(ID 2\): still overheating; let it cool"):
        revive(bench, said)
    bench.emulation.world.motors.temperature[:] = 30.0
    bench.fault(FaultKind.DROP_REPLY, ids=SHOULDER)
    with pytest.raises(RuntimeError, match="ID 2"):
        revive(bench, said)


def test_a_connected_robot_and_one_that_is_not_armed_are_refused(broken):
    bench, said = broken
    revive(bench, said)
    bench.robot.connect()
    with pytest.raises(RuntimeError, match="not connected"):
        revive(bench, said)
    bench.robot.disconnect()
    bench.robot._refusal = "real arms: expected armed=true"
    with pytest.raises(RuntimeError, match="armed=true"):
        revive(bench, said)
