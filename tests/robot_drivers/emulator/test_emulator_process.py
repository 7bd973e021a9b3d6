"""The emulator as a process of its own: servos outlive their host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robot_drivers.emulator.control import ControlClient

HOST = """
import sys, time
from dynamixel_sdk import PacketHandler, PortHandler
port, sdk = PortHandler(sys.argv[1]), PacketHandler(2.0)
assert port.openPort()
for address, value in ((98, 10), (64, 1)):
    assert sdk.write1ByteTxRx(port, 1, address, value) == (0, 0)
print("armed", flush=True)
while True:
    sdk.read4ByteTxRx(port, 1, 132)
    time.sleep(0.01)
"""


@pytest.fixture
def emulator(tmp_path: Path):
    """(links by bus, path of the control socket), of a running process."""
    control = tmp_path / "control"
    plan = tmp_path / "faults.json"
    plan.write_text(json.dumps({"leader_left": [{"kind": "drop_reply", "probability": 0.5}]}))
    command = [sys.executable, "-m", "robot_drivers.emulator", "--ports", str(tmp_path / "dev")]
    command += ["--control", str(control), "--faults", str(plan)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        links = {bus: Path(link) for bus, link in json.loads(process.stdout.readline()).items()}
        try:
            yield links, control
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(5.0) == 0


def test_the_watchdog_trips_when_the_host_is_killed(emulator):
    links, control = emulator
    assert sorted(links) == ["follower_left", "follower_right", "leader_left", "leader_right"]
    command = [sys.executable, "-c", HOST, str(links["follower_left"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host, ControlClient(control) as steer:
        assert host.stdout is not None
        assert host.stdout.readline() == "armed\n"
        os.kill(host.pid, signal.SIGKILL)
        host.wait()
        deadline = time.monotonic() + 5.0
        while not (tripped := steer("log", kind="watchdog")) and time.monotonic() < deadline:
            time.sleep(0.02)
        last = steer("log", kind="request", bus="follower_left", last=1)[0]["time"]
        assert tripped[0]["id"] == 1
        assert tripped[0]["time"] - last == pytest.approx(0.2, abs=0.02)
        assert steer("read", bus="follower_left", id=1, register="bus_watchdog") == -1
        assert steer("read", bus="follower_left", id=1, register="torque_enable") == 1

        assert steer("writes", bus="follower_left", id=1) == {"bus_watchdog": 1, "torque_enable": 1}
        assert steer("counts")["follower_left/1/torque"] == 1
        steer("fault", bus="follower_left", fault={"kind": "encoder_jump", "ids": [1]})
        steer("obstruct", joint="follower_left/waist", high=0.1)
        steer("guide", frames=[[0.0, {"leader_left/waist": 0.3}]])
        steer("clear_faults")
        steer("plug", bus="leader_right", plugged=False)
        state = steer("state")
        assert state["buses"]["leader_right"]["plugged"] is False
        assert state["buses"]["leader_left"]["servos"]["9"] == "XC430-W150"

        for arguments, message in (
            ({"do": "explode"}, "unknown command 'explode'; known are state"),
            ({"do": "advance", "seconds": 1}, "virtual clock"),
            ({"do": "read", "bus": "follower_left", "id": 40, "register": "led"}, "one servo with ID 40"),
            ({"do": "fault", "bus": "follower_left", "fault": {"kind": "x"}}, "unknown kind"),
        ):
            with pytest.raises(RuntimeError, match=message):
                steer(**arguments)
