"""Reading back what servos must remember: every branch of the watch, without ticks around it."""

from __future__ import annotations

import pytest

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.config import ArmConfig, Watch
from robot_drivers.aloha.emulated import emulated_bus
from robot_drivers.aloha.layout import VX300S
from robot_drivers.aloha.watchdog import ROUND, HostWatchdog, Loss, RamWatch, Silence
from robot_drivers.dynamixel.errors import Unplugged
from robot_drivers.emulator.faults import Fault, FaultKind
from tests.robot_drivers.emulator.host import ARM, one_arm

LATER = float("inf")
NOBODY: frozenset[int] = frozenset()


@pytest.fixture
def watched():
    """An armed arm whose servos' own watchdogs are off, so that a test may take its time, and its watch."""
    emulation = one_arm()
    config = ArmConfig()
    object.__setattr__(config, "watch", Watch(servo=0.0))  # which a config may not say
    arm = Arm(emulated_bus(emulation, ARM, emulation.clock), VX300S, config, emulation.clock)
    arm.connect(torque=True)
    return emulation, arm, RamWatch(arm)


def steps(watch: RamWatch, ticks: int, silent: frozenset[int] = NOBODY) -> list[Loss]:
    return [loss for _ in range(ticks) if (loss := watch.step(silent, LATER)) is not None]


def test_every_servo_is_read_back_within_two_seconds(watched):
    emulation, arm, watch = watched
    a_round = round(ROUND * arm.config.hz)
    assert ROUND <= 2.0
    assert steps(watch, 200) == []
    for id in arm.layout.ids:
        emulation.buses[ARM].servo(id).table.set("position_d_gain", 77)
    for begun in (watch, RamWatch(arm)):
        assert sorted(loss.servo.id for loss in steps(begun, a_round)) == list(arm.layout.ids)


def test_a_loss_says_what_is_lost(watched):
    emulation, arm, watch = watched
    servo = emulation.buses[ARM].servo(9)
    servo.table.set("goal_current", 3)
    watch.suspect((9,))
    assert watch.step(NOBODY, LATER) == Loss(arm.layout.servo(9), ("goal_current",), tripped=False, torque=False)
    servo.trip()
    servo.table.set("torque_enable", 0)
    watch.suspect((9,))
    loss = watch.step(NOBODY, LATER)
    assert loss is not None
    assert (loss.tripped, loss.torque) == (True, True)
    assert set(loss.registers) == {"goal_current", "bus_watchdog", "torque_enable"}
    arm.torque[9] = False
    watch.suspect((9,))
    loss = watch.step(NOBODY, LATER)
    assert loss is not None
    assert not loss.torque


def test_suspects_come_first_once_and_not_while_they_reboot(watched):
    emulation, _, watch = watched
    emulation.buses[ARM].servo(4).table.set("position_d_gain", 77)
    watch.suspect((4, 4))
    watch.suspect((4,))
    assert [loss.servo.id for loss in steps(watch, 5)] == [4]
    watch.suspect((4,))
    assert steps(watch, 5, silent=frozenset({4})) == []


def test_a_suspect_that_does_not_answer_is_asked_again(watched):
    emulation, _, watch = watched
    emulation.buses[ARM].servo(4).table.set("position_d_gain", 77)
    emulation.buses[ARM].plan.add(Fault(FaultKind.DROP_REPLY, ids=(4,), times=3))
    watch.suspect((4,))
    assert steps(watch, 3) == []
    assert [loss.servo.id for loss in steps(watch, 1)] == [4]


@pytest.mark.parametrize("suspects", [(4, 5), (5, 4)])
def test_one_that_never_answers_does_not_keep_the_watch_from_the_others(watched, suspects):
    emulation, _, watch = watched
    emulation.buses[ARM].servo(5).table.set("position_d_gain", 77)
    emulation.buses[ARM].plan.add(Fault(FaultKind.DROP_REPLY, ids=(4,)))
    watch.suspect(suspects)
    assert [loss.servo.id for loss in steps(watch, 2)] == [5]


def test_a_look_is_put_off_by_one_short_tick_and_no_further(watched):
    emulation, _, watch = watched
    emulation.buses[ARM].servo(4).table.set("position_d_gain", 77)
    for order in ((True, False), (True, True)):
        watch.suspect((4,))
        found = [watch.step(NOBODY, LATER, short=short) for short in order]
        assert [loss is not None for loss in found] == [False, True]
    assert watch.step(NOBODY, LATER, short=True) is None  # nothing was due, so nothing was put off
    watch.suspect((4,))
    assert watch.step(NOBODY, LATER, short=True) is None
    assert watch.step(NOBODY, LATER) is not None


def test_the_round_keeps_its_time_when_every_tick_is_short(watched):
    emulation, arm, watch = watched
    for id in arm.layout.ids:
        emulation.buses[ARM].servo(id).table.set("position_d_gain", 77)
    found = [watch.step(NOBODY, LATER, short=True) for _ in range(round(ROUND * arm.config.hz) + 1)]
    assert [loss.servo.id for loss in found if loss] == list(arm.layout.ids)


def test_a_suspect_does_not_cost_another_servo_its_turn(watched):
    emulation, arm, watch = watched
    first = arm.layout.ids[0]
    emulation.buses[ARM].servo(first).table.set("position_d_gain", 77)
    turn = next(tick for tick in range(1, 100) if watch.step(NOBODY, LATER))  # of the first servo
    emulation.buses[ARM].servo(first).table.set("position_d_gain", 0)
    second = arm.layout.ids[1]
    emulation.buses[ARM].servo(second).table.set("position_d_gain", 77)
    assert steps(watch, turn - 1) == []
    watch.suspect((first,))
    assert steps(watch, 1) == []
    assert [loss.servo.id for loss in steps(watch, 1)] == [second]


def test_a_port_that_is_gone_is_not_a_loss(watched):
    _, arm, watch = watched
    arm.bus.close()
    watch.suspect((1,))
    with pytest.raises(Unplugged):
        watch.step(NOBODY, LATER)


def test_the_hosts_watchdog_counts_from_the_last_command():
    dog = HostWatchdog(Watch(hold_after=0.1, rest_after=1.0))
    assert dog.silence(5.0) == Silence.NONE
    dog.feed(5.0)
    ages = {0.0: Silence.NONE, 0.0999: Silence.NONE, 0.1001: Silence.HOLD, 0.999: Silence.HOLD, 1.001: Silence.REST}
    for age, silence in ages.items():
        assert dog.silence(5.0 + age) == silence
    dog.feed(0.0)
    assert [dog.silence(age) for age in (0.1, 1.0)] == [Silence.NONE, Silence.HOLD]  # not longer than: not yet
    dog.feed(6.0)
    assert dog.silence(6.05) == Silence.NONE
    dog.release()
    assert dog.silence(9.0) == Silence.NONE
