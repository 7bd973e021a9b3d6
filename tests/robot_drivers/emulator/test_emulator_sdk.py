"""The unmodified dynamixel-sdk on a real pseudo-terminal."""

from __future__ import annotations

import termios
import time
from pathlib import Path

import pytest
import serial
from dynamixel_sdk import (
    COMM_PORT_BUSY,
    COMM_RX_CORRUPT,
    COMM_RX_TIMEOUT,
    COMM_SUCCESS,
    GroupBulkRead,
    GroupBulkWrite,
    GroupSyncRead,
    GroupSyncWrite,
    PacketHandler,
    PortHandler,
)

from robot_drivers.clock import SystemClock
from robot_drivers.emulator.faults import Fault, FaultKind
from robot_drivers.emulator.robot import EmulatedRobot
from tests.robot_drivers.emulator.host import ARM, one_arm

SDK = PacketHandler(2.0)
OK = COMM_SUCCESS


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """The SDK waits 122 ms instead of 34 for an answer: this computer may be busy."""
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 60)


@pytest.fixture
def robot():
    with one_arm() as made:
        yield made


@pytest.fixture
def link(robot: EmulatedRobot, tmp_path: Path) -> Path:
    return robot.serve(tmp_path)[ARM]


@pytest.fixture
def port(link: Path):
    handler = PortHandler(str(link))
    assert handler.openPort()
    yield handler
    handler.ser.close()


def plan(robot: EmulatedRobot, kind: FaultKind, **options) -> None:
    robot.buses[ARM].plan.add(Fault(kind, **options))


def group_read(port: PortHandler, *ids: int) -> GroupSyncRead:
    group = GroupSyncRead(port, SDK, 126, 21)
    for id in ids or range(1, 10):
        assert group.addParam(id)
    return group


def test_ping(port):
    assert SDK.ping(port, 1) == (1120, OK, 0)
    assert SDK.ping(port, 9) == (1020, OK, 0)
    assert SDK.ping(port, 33)[1] == COMM_RX_TIMEOUT


def test_broadcast_ping(port):
    found, result = SDK.broadcastPing(port)
    assert result == OK
    assert found == {id: [1120 if id < 8 else 1020, 45] for id in range(1, 10)}


@pytest.mark.parametrize("baud", [9600, 57_600, 115_200, 1_000_000, 2_000_000, 3_000_000, 4_000_000])
def test_only_the_servos_own_baud_rate_is_understood(port, baud):
    assert port.setBaudRate(baud)
    assert SDK.ping(port, 1)[1] == (OK if baud == 1_000_000 else COMM_RX_TIMEOUT)


def test_read_and_write_of_1_2_and_4_bytes(port):
    assert SDK.write1ByteTxRx(port, 1, 65, 1) == (OK, 0)
    assert SDK.read1ByteTxRx(port, 1, 65) == (1, OK, 0)
    assert SDK.write2ByteTxRx(port, 1, 84, 300) == (OK, 0)
    assert SDK.read2ByteTxRx(port, 1, 84) == (300, OK, 0)
    assert SDK.write4ByteTxRx(port, 1, 116, 2345) == (OK, 0)
    assert SDK.read4ByteTxRx(port, 1, 116) == (2345, OK, 0)


def test_replies_full_of_headers_are_stuffed(port):
    assert SDK.write4ByteTxRx(port, 1, 20, 0x00_0D_FF_FF) == (OK, 0)  # homing offset: FF FF 0D 00
    for k, byte in enumerate((0xFF, 0xFF, 0xFD, 0x00, 0xFF, 0xFF, 0xFD, 0xFD)):
        assert SDK.write1ByteTxRx(port, 1, 634 + k, byte) == (OK, 0)
    data, result, error = SDK.readTxRx(port, 1, 634, 8)
    assert (bytes(data), result, error) == (b"\xff\xff\xfd\x00\xff\xff\xfd\xfd", OK, 0)


def test_sync_read(port, robot):
    group = group_read(port)
    assert group.txRxPacket() == OK
    assert all(group.isAvailable(id, 126, 21) for id in range(1, 10))
    for id in range(1, 10):
        assert group.getData(id, 132, 4) == robot.read(ARM, id, "present_position")
    assert [group.getData(id, 146, 1) for id in range(1, 10)] == [25] * 9


def test_fast_sync_read_gives_the_same(port):
    group, fast = group_read(port), group_read(port)
    assert (group.txRxPacket(), fast.fastSyncRead()) == (OK, OK)
    for id in range(1, 10):
        assert fast.getData(id, 132, 4) == group.getData(id, 132, 4)


def test_sync_write(port, robot):
    group = GroupSyncWrite(port, SDK, 116, 4)
    for id in (1, 2, 9):
        group.addParam(id, list((2000 + id).to_bytes(4, "little")))
    assert group.txPacket() == OK
    assert SDK.read4ByteTxRx(port, 9, 116) == (2009, OK, 0)
    assert [robot.read(ARM, id, "goal_position") for id in (1, 2, 3)] == [2001, 2002, 2002]


def test_bulk_read_and_write(port):
    write = GroupBulkWrite(port, SDK)
    write.addParam(1, 116, 4, list((2100).to_bytes(4, "little")))
    write.addParam(9, 102, 2, list((60).to_bytes(2, "little")))
    assert write.txPacket() == OK
    read = GroupBulkRead(port, SDK)
    read.addParam(1, 116, 4)
    read.addParam(9, 102, 2)
    for call in (read.txRxPacket, read.fastBulkRead):
        assert call() == OK
        assert (read.getData(1, 116, 4), read.getData(9, 102, 2)) == (2100, 60)


def test_reg_write_and_action(port):
    assert SDK.regWriteTxRx(port, 1, 116, 4, list((2200).to_bytes(4, "little"))) == (OK, 0)
    assert SDK.read4ByteTxRx(port, 1, 116)[0] == 2048
    assert SDK.action(port, 254) == OK
    assert SDK.read4ByteTxRx(port, 1, 116)[0] == 2200


def test_reboot(port, robot):
    assert SDK.write2ByteTxRx(port, 1, 84, 300) == (OK, 0)
    assert SDK.reboot(port, 1) == (OK, 0)
    assert SDK.ping(port, 1)[1] == COMM_RX_TIMEOUT
    robot.advance(0.6)
    assert SDK.read2ByteTxRx(port, 1, 84) == (800, OK, 0)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda port: SDK.factoryReset(port, 1, 2), 2),
        (lambda port: SDK.write1ByteTxRx(port, 1, 64, 5), 4),
        (lambda port: SDK.write2ByteTxRx(port, 1, 116, 5), 5),
        (lambda port: SDK.write4ByteTxRx(port, 2, 116, 5), 6),
        (lambda port: SDK.write4ByteTxRx(port, 1, 132, 5), 7),
    ],
)
def test_error_codes_surface(port, call, error):
    assert call(port) == (OK, error)


def test_eeprom_is_locked_while_torque_is_on(port):
    SDK.write1ByteTxRx(port, 9, 64, 1)
    assert SDK.write1ByteTxRx(port, 9, 11, 3) == (OK, 7)


def test_the_alert_bit_surfaces(port, robot):
    plan(robot, FaultKind.OVERHEAT, ids=(6,), value=100.0, end=1.0)
    robot.advance(1.0)
    assert SDK.ping(port, 6) == (1120, OK, 0x80)
    assert SDK.read1ByteTxRx(port, 6, 70) == (0x04, OK, 0x80)


def test_a_missing_servo_ends_the_sdks_sync_read(port):
    group = group_read(port, 1, 2, 77, 4)
    assert group.txRxPacket() == COMM_RX_TIMEOUT
    assert not any(group.isAvailable(id, 132, 4) for id in (1, 2, 4))


def test_faults_surface_as_the_sdks_codes(port, robot):
    plan(robot, FaultKind.DROP_REPLY, times=1)
    assert SDK.read4ByteTxRx(port, 1, 132)[1] == COMM_RX_TIMEOUT
    plan(robot, FaultKind.CORRUPT, times=1, ids=(4,))
    assert SDK.write1ByteTxRx(port, 4, 65, 1)[0] in (COMM_RX_CORRUPT, COMM_RX_TIMEOUT)
    plan(robot, FaultKind.NOISE, times=1)
    assert SDK.read4ByteTxRx(port, 1, 132) == (2048, OK, 0)


def test_unplugging_raises_and_the_link_leads_to_the_new_terminal(port, link, robot):
    before = link.resolve()
    robot.buses[ARM].plug(False)
    deadline = time.monotonic() + 5.0
    while link.is_symlink() and time.monotonic() < deadline:
        time.sleep(0.005)
    with pytest.raises((serial.SerialException, OSError, termios.error)):
        SDK.ping(port, 1)
    assert SDK.ping(port, 1)[1] == COMM_PORT_BUSY  # the SDK never frees it
    with pytest.raises(serial.SerialException):
        PortHandler(str(link)).openPort()
    robot.buses[ARM].plug(True)
    while not link.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    again = PortHandler(str(link))
    assert again.openPort()
    assert SDK.ping(again, 1)[1] == OK
    again.closePort()
    assert link.resolve().parent == before.parent


def test_the_terminal_can_be_locked(link):
    first = serial.Serial(str(link), 1_000_000, exclusive=True)
    with pytest.raises(serial.SerialException, match="lock"):
        serial.Serial(str(link), 1_000_000, exclusive=True)
    first.close()


def test_a_host_may_close_and_open_again(port, link):
    port.closePort()
    again = PortHandler(str(link))
    assert again.openPort()
    assert SDK.ping(again, 1)[1] == OK
    again.closePort()


def test_in_real_time_bytes_take_their_time(tmp_path, monkeypatch):
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 1000)
    with one_arm(clock=SystemClock()) as robot:
        handler = PortHandler(str(robot.serve(tmp_path)[ARM]))
        assert handler.openPort()
        group = group_read(handler)
        start = time.monotonic()
        for _ in range(10):
            assert group.txRxPacket() == OK
        assert (time.monotonic() - start) / 10 > (23 + 288) * 1e-5
        handler.closePort()
