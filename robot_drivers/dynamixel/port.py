"""The serial port of one bus: reads that sleep until bytes come, one owner, typed errors."""

from __future__ import annotations

import errno
import math
import os
import select
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import serial

from robot_drivers.dynamixel.errors import PortBusy, PortMissing, Unplugged

BAUD_RATE = 1_000_000  # [bit/s]
_USB_SERIAL = Path("/sys/bus/usb-serial/devices")
_BUSY = frozenset({errno.EBUSY, errno.EWOULDBLOCK, errno.EAGAIN})


class Port(Protocol):
    """What a bus needs of a port.

    Attributes:
        name: for messages.
    """

    name: str

    def write(self, data: bytes) -> None:
        """Send.

        Raises:
            Unplugged: the port is gone.
        """

    def read(self, size: int, timeout: float) -> bytes:
        """Up to `size` bytes, after waiting at most `timeout` [s] for all of them.

        Raises:
            Unplugged: the port is gone.
        """

    def flush_input(self) -> None:
        """Forget what has arrived.

        Raises:
            Unplugged: the port is gone.
        """

    def close(self) -> None:
        """Give the port back; also after it was unplugged."""


class SerialPort:
    """A port of this computer, opened for this process only.

    pyserial opens it; reading is our own `select`, because the reply of a bus is late by milliseconds: longer than a
    busy loop should spin, and shorter than the period of a poll.

    Args:
        path: such as /dev/ttyDXL_follower_left.
        baud_rate: [bit/s]

    Attributes:
        name: the path.

    Raises:
        PortMissing: there is no such port, or no right to open it.
        PortBusy: another program has it.
    """

    def __init__(self, path: str | Path, baud_rate: int = BAUD_RATE) -> None:
        self.name = str(path)
        try:
            self._serial = serial.Serial(self.name, baud_rate, timeout=0, exclusive=True)
        except (serial.SerialException, OSError, termios.error) as error:
            if getattr(error, "errno", None) in _BUSY:
                raise PortBusy(self.name, str(error)) from error
            raise PortMissing(self.name, str(error)) from error
        # A pseudo-terminal, or a driver that has only the latency timer, knows no such mode.
        with suppress(ValueError, NotImplementedError, OSError):
            self._serial.set_low_latency_mode(True)

    def write(self, data: bytes) -> None:
        """See `Port`."""
        try:
            self._serial.write(data)
        except (serial.SerialException, OSError, termios.error) as error:
            raise Unplugged(self.name, str(error)) from error

    def read(self, size: int, timeout: float) -> bytes:
        """See `Port`."""
        deadline = time.monotonic() + timeout
        data = b""
        try:
            while len(data) < size:
                remaining = max(0.0, deadline - time.monotonic())
                ready, _, _ = select.select([self._serial.fileno()], [], [], remaining)
                if not ready:
                    break
                piece = os.read(self._serial.fileno(), size - len(data))
                if not piece:  # readable, and nothing to read: the other end is gone
                    raise Unplugged(self.name, "end of file")
                data += piece
        except (serial.SerialException, OSError, termios.error, ValueError) as error:
            raise Unplugged(self.name, str(error)) from error
        return data

    def flush_input(self) -> None:
        """See `Port`."""
        try:
            self._serial.reset_input_buffer()
        except (serial.SerialException, OSError, termios.error) as error:
            raise Unplugged(self.name, str(error)) from error

    def close(self) -> None:
        """See `Port`."""
        try:
            self._serial.close()
        except (OSError, termios.error):
            return  # it is unplugged; nothing is left to give back


class StreamPort:
    """Any object with the face of `serial.Serial`, such as the emulator's in-process port.

    Args:
        stream: open; `timeout` may be set before each read.
    """

    def __init__(self, stream: serial.Serial) -> None:
        self.name = str(stream.name)
        self._stream = stream

    def write(self, data: bytes) -> None:
        """See `Port`."""
        try:
            self._stream.write(data)
        except serial.SerialException as error:
            raise Unplugged(self.name, str(error)) from error

    def read(self, size: int, timeout: float) -> bytes:
        """See `Port`."""
        try:
            self._stream.timeout = timeout
            return bytes(self._stream.read(size))
        except serial.SerialException as error:
            raise Unplugged(self.name, str(error)) from error

    def flush_input(self) -> None:
        """See `Port`."""
        try:
            self._stream.reset_input_buffer()
        except serial.SerialException as error:
            raise Unplugged(self.name, str(error)) from error

    def close(self) -> None:
        """See `Port`."""
        self._stream.close()


def latency_timer(path: str | Path) -> float:
    """[s] that an FTDI adapter may keep bytes back; NaN where there is no such timer (a pseudo-terminal)."""
    file = _USB_SERIAL / Path(path).resolve().name / "latency_timer"
    try:
        return int(file.read_text()) / 1000
    except (OSError, ValueError):
        return math.nan
