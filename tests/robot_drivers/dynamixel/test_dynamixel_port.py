"""Serial ports on pseudo-terminals, and lines that never fall silent."""

from __future__ import annotations

import os
import pty
import time
import tty

import pytest

from robot_drivers.clock import SystemClock
from robot_drivers.dynamixel.errors import PortMissing, Unplugged
from robot_drivers.dynamixel.port import SerialPort
from robot_drivers.dynamixel.transaction import MOST, QUIET, Patience, collect, quieten
from robot_drivers.emulator.clock import VirtualClock


@pytest.fixture
def terminal():
    """Our end of a terminal, and a port on the other one."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    port = SerialPort(os.ttyname(theirs))
    yield ours, theirs, port
    port.close()
    for end in (ours, theirs):
        if _is_open(end):
            os.close(end)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_bytes_go_both_ways(terminal):
    ours, _, port = terminal
    port.write(b"hello")
    assert os.read(ours, 10) == b"hello"
    os.write(ours, b"world")
    assert port.read(3, 1.0) == b"wor"
    assert port.read(3, 0.01) == b"ld"
    os.write(ours, b"old")
    time.sleep(0.01)
    port.flush_input()
    assert port.read(1, 0.0) == b""


def test_a_terminal_that_is_gone_is_unplugged(terminal):
    ours, theirs, port = terminal
    os.close(ours)
    os.close(theirs)
    with pytest.raises(Unplugged, match="Plug the USB cable back in"):
        port.read(1, 0.1)
    with pytest.raises(Unplugged):
        port.write(b"x")
    with pytest.raises(Unplugged):
        port.flush_input()
    port.close()
    port.close()
    with pytest.raises(Unplugged):
        port.read(1, 0.0)


def test_a_file_is_no_port(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(PortMissing):
        SerialPort(file)


class Babbling:
    """A port that always has more to say."""

    name = "babbling"

    def __init__(self, clock: VirtualClock) -> None:
        self._clock, self.flushed = clock, 0

    def write(self, data: bytes) -> None: ...

    def read(self, size: int, timeout: float) -> bytes:
        self._clock.advance_to(self._clock.now() + 0.0005)
        return b"\xaa" * size

    def flush_input(self) -> None:
        self.flushed += 1

    def close(self) -> None: ...


def test_noise_without_end_ends():
    clock = VirtualClock()
    port = Babbling(clock)
    replies = collect(port, clock, (1,), 4, Patience())
    assert replies.missing == (1,)
    assert sum(len(damage.wire) for damage in replies.damage) >= MOST
    before = clock.now()
    quieten(port, clock)
    assert port.flushed > 5
    assert clock.now() - before == pytest.approx(10 * QUIET, abs=0.002)
    before = clock.now()
    quieten(port, clock, before + 2 * QUIET)  # a tick has no time for more
    assert clock.now() - before == pytest.approx(2 * QUIET, abs=0.001)


def test_the_systems_clock_sleeps():
    clock = SystemClock()
    before = clock.now()
    clock.sleep_until(before + 0.005)
    assert clock.now() - before >= 0.005
    clock.sleep_until(before)
    with clock.attending():
        pass
