"""All arms or none."""

from __future__ import annotations

import pytest

from robot_drivers.aloha.arming import ArmingRefused
from robot_drivers.emulator.faults import FaultKind
from tests.robot_drivers.aloha.bench import LEFT, RIGHT, Bench


def test_when_one_arm_refuses_the_other_holds_and_both_ports_are_free():
    bench = Bench(gravity=False)
    bench.fault(FaultKind.DROP_REPLY, RIGHT, ids=(3,))
    with bench.clock.attending():
        with pytest.raises(ArmingRefused, match="follower_right: not armed"):
            bench.robot.connect()
        assert not bench.robot.workers
        assert not any(arm.bus.is_open for arm in bench.robot._arms)
        assert bench.read(2, "torque_enable", LEFT) == 1
        assert bench.read(2, "torque_enable", RIGHT) == 0
        bench.emulation.buses[RIGHT].plan.clear()
        bench.wait(1.0)
        bench.robot.connect()
        assert bench.read(2, "torque_enable", RIGHT) == 1
        bench.robot.disconnect()
