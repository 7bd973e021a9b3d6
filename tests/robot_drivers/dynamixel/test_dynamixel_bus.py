"""The bus on an emulated arm: what comes back, what is missing, and what must never be believed."""

from __future__ import annotations

import threading

import pytest

from robot_drivers.dynamixel.bus import Bus, Identity
from robot_drivers.dynamixel.errors import CorruptReply, NoReply, ServoError, Unplugged
from robot_drivers.dynamixel.models import XM540_W270
from robot_drivers.dynamixel.port import StreamPort
from robot_drivers.dynamixel.transaction import Patience
from robot_drivers.emulator.faults import Fault, FaultKind
from robot_drivers.emulator.robot import EmulatedRobot
from tests.robot_drivers.emulator.host import ARM, one_arm

TABLE = XM540_W270
IDS = range(1, 10)
HURRIED = Patience(calm=0.008)
STATE = (126, 21)  # present_current to present_temperature


class Line:
    """A bus on one emulated arm."""

    def __init__(self, **options) -> None:
        self.robot: EmulatedRobot = one_arm(**options)
        self.bus = Bus(ARM, lambda: StreamPort(self.robot.port(ARM)), self.robot.clock, HURRIED, tries=1)
        self.bus.open()

    def fault(self, kind: FaultKind, **options) -> None:
        self.robot.buses[ARM].plan.add(Fault(kind, **options))

    def elapsed(self) -> float:
        return self.robot.clock.now()


@pytest.fixture
def line() -> Line:
    return Line()


def test_ping_tells_model_and_firmware(line):
    assert line.bus.ping(1) == Identity(1120, 45)
    with pytest.raises(NoReply, match="follower_left, ID 77, ping: expected a status packet of ID 77"):
        line.bus.ping(77)


def test_write_and_read(line):
    line.bus.write(4, TABLE["position_p_gain"], 640)
    assert line.bus.read(4, TABLE["position_p_gain"]) == 640


def test_a_refusal_names_servo_register_and_reason(line):
    with pytest.raises(ServoError, match=r"write 5000 to max_position_limit: .* error 4") as caught:
        line.bus.write(2, TABLE["max_position_limit"], 5000)
    assert (caught.value.id, caught.value.code, caught.value.alert) == (2, 4, False)


def test_sync_write_reaches_every_servo(line):
    line.bus.sync_write(TABLE["position_p_gain"], {1: 100, 9: 300})
    assert [line.bus.read(id, TABLE["position_p_gain"]) for id in (1, 2, 9)] == [100, 800, 300]


@pytest.mark.parametrize("fast", [False, True])
def test_sync_read_ends_when_all_are_here(line, fast):
    before = line.elapsed()
    replies = line.bus.sync_read(IDS, *STATE, fast=fast)
    assert list(replies.statuses) == list(IDS)
    assert not replies.missing
    assert not replies.damage
    assert line.elapsed() - before < 0.005


@pytest.mark.parametrize("gone", [(1,), (4,), (9,), (1, 2, 3, 4, 5, 6, 7, 8), tuple(IDS)])
def test_a_missing_servo_costs_the_others_nothing(line, gone):
    line.fault(FaultKind.DROP_REPLY, ids=gone)
    replies = line.bus.sync_read(IDS, *STATE)
    assert replies.missing == gone
    assert set(replies.statuses) == set(IDS) - set(gone)
    assert line.bus.lost == dict.fromkeys(gone, 1)


def test_who_is_missing_in_the_middle_costs_no_long_wait(line):
    line.fault(FaultKind.DROP_REPLY, ids=(4,))
    before = line.elapsed()
    line.bus.sync_read(IDS, *STATE)
    assert line.elapsed() - before < 0.012


def test_a_fast_read_cut_short_keeps_what_came(line):
    line.robot.buses[ARM].servo(5).table.set("id", 55)
    replies = line.bus.sync_read(IDS, *STATE, fast=True)
    assert set(replies.statuses) == {1, 2, 3, 4}
    assert replies.missing == (5, 6, 7, 8, 9)


@pytest.mark.parametrize(
    "kind",
    [FaultKind.CORRUPT, FaultKind.TRUNCATE, FaultKind.WRONG_ID, FaultKind.SHORT_PAYLOAD, FaultKind.DUPLICATE_ID],
)
def test_a_damaged_reply_is_an_error_and_never_a_number(line, kind):
    line.fault(kind, ids=(4,))
    with pytest.raises((CorruptReply, NoReply)):
        line.bus.read(4, TABLE["present_position"])
    assert line.bus.sync_read(IDS, *STATE).missing == (4,)


@pytest.mark.parametrize("kind", [FaultKind.NOISE, FaultKind.ECHO, FaultKind.SPLIT, FaultKind.DUPLICATE])
def test_what_is_only_odd_is_read_nevertheless(line, kind):
    line.fault(kind, ids=(4, 254))
    assert line.bus.read(4, TABLE["max_position_limit"]) == 3094
    assert not line.bus.sync_read(IDS, *STATE).missing


@pytest.mark.parametrize("asked_again_at", [0.0, 0.02, 0.045, 0.0485, 0.049, 0.0495, 0.05, 0.051, 0.06])
def test_a_late_reply_never_answers_the_next_question(line, asked_again_at):
    """Fact: the stock SDK gave 1111 here after 2222 had been written."""
    goal = TABLE["profile_velocity"]
    line.bus.write(4, goal, 1111)
    line.fault(FaultKind.LATE, ids=(4,), value=0.05, times=1)
    start = line.elapsed()
    with pytest.raises(NoReply):
        line.bus.read(4, goal)
    line.bus.write(4, goal, 2222)
    line.robot.clock.sleep_until(start + asked_again_at)
    answers = []
    for _ in range(3):
        try:
            answers.append(line.bus.read(4, goal))
        except (NoReply, CorruptReply):
            continue  # the late reply garbled it, or nobody can tell which one is meant
    assert len(answers) >= 2
    assert set(answers) == {2222}


def test_alert_bits_are_kept_by_servo(line):
    line.bus.write(9, TABLE["torque_enable"], 1)
    line.robot.buses[ARM].servo(9).shut_down(0x20)
    replies = line.bus.sync_read(IDS, *STATE)
    assert not replies.missing
    assert line.bus.alerts == {9}
    assert line.bus.read(9, TABLE["hardware_error_status"]) == 0x20
    line.bus.reboot(9)
    assert line.bus.alerts == set()


def test_an_unplugged_bus_says_so_and_opens_again(line):
    line.robot.buses[ARM].plug(False)
    with pytest.raises(Unplugged):
        line.bus.sync_read(IDS, *STATE)
    assert not line.bus.is_open
    with pytest.raises(Unplugged):
        line.bus.ping(1)
    line.robot.buses[ARM].plug(True)
    line.bus.open()
    line.bus.open()
    assert line.bus.ping(1).model == 1120
    line.bus.close()
    line.bus.close()
    with pytest.raises(Unplugged, match="closed"):
        line.bus.sync_write(TABLE["led"], {1: 1})


@pytest.mark.parametrize("fast", [False, True])
def test_a_reply_that_does_not_come_costs_its_patience_and_no_more(line, fast):
    """The line was silent for all that time; it need not be listened to any longer."""
    line.fault(FaultKind.DROP_REPLY)
    began = line.elapsed()
    replies = line.bus.sync_read(IDS, *STATE, fast=fast)
    assert replies.missing == tuple(IDS)
    assert line.elapsed() - began == replies.waited < HURRIED.first + HURRIED.wire(400)
    began = line.elapsed()
    line.bus.sync_read(IDS, *STATE, fast=fast, until=began + 0.001)
    assert line.elapsed() - began == pytest.approx(0.001, abs=1e-4)


def test_a_lost_reply_is_asked_for_again():
    robot = one_arm()
    bus = Bus(ARM, lambda: StreamPort(robot.port(ARM)), robot.clock)
    bus.open()
    robot.buses[ARM].plan.add(Fault(FaultKind.DROP_REPLY, times=2))
    assert bus.ping(1).model == 1120
    assert bus.lost == {1: 2}


def test_the_line_is_kept_for_one_thread_at_a_time(line):
    def late() -> None:
        with line.robot.clock.attending():
            with pytest.raises(TimeoutError, match="another thread keeps it"), line.bus.line(0.002):
                pass
            with line.bus.line():
                entered.append(line.elapsed())

    entered: list[float] = []
    with line.robot.clock.attending():
        with line.bus.line():
            thread = threading.Thread(target=late)
            thread.start()
            line.robot.clock.sleep_until(0.01)
            assert not entered
        line.robot.clock.sleep_until(0.02)
    thread.join()
    assert entered == [pytest.approx(0.01, abs=0.001)]


def test_a_cable_pulled_in_the_middle_of_a_reply(line):
    line.fault(FaultKind.DROP_REPLY)
    line.fault(FaultKind.UNPLUG, start=line.robot.now() + 0.001)
    with pytest.raises(Unplugged):
        line.bus.sync_read(IDS, *STATE)
    assert not line.bus.is_open
