"""On real pseudo-terminals: a host that is killed (driver test 8), a cable that is pulled, the benchmark's schemes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.bus_bench import emulator, run, table
from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import VX300S
from robot_drivers.clock import SystemClock
from robot_drivers.dynamixel.bus import Bus
from robot_drivers.dynamixel.errors import PortBusy, PortMissing, Unplugged
from robot_drivers.dynamixel.port import SerialPort, latency_timer
from robot_drivers.dynamixel.transaction import Patience

PATIENT = Patience(first=1.0, gap=1.0, calm=1.0)  # the emulator's process may have to wait for a processor
HOST = """
import sys, time
import numpy as np
from tests.robot_drivers.aloha.test_aloha_process import arm
from robot_drivers.aloha.worker import ArmWorker
from robot_drivers.clock import SystemClock
left = arm(sys.argv[1])
left.connect(torque=True)
worker = ArmWorker(left, SystemClock())
worker.start()
end = worker.goal + 0.5 * np.eye(7)[0]
while True:
    if worker.fault:
        worker.clear_fault()
    if worker.mode == "hold":
        worker.move(end)
    if worker.state.position[0] > 0.02:
        print("moving", flush=True)
    time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def emulation():
    with emulator("--virtual") as running:  # time passes by packets and by command
        yield running


def arm(link: str) -> Arm:
    clock = SystemClock()
    return Arm(Bus("follower_left", partial(SerialPort, link), clock, PATIENT), VX300S, ArmConfig(), clock)


def test_08_a_killed_host_stops_within_the_servos_watchdog_and_the_next_start_recovers(emulation):
    links, steer = emulation
    command = [sys.executable, "-c", HOST, links["follower_left"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "moving\n"
        os.kill(host.pid, signal.SIGKILL)
        host.wait()
    last = steer("log", kind="request", bus="follower_left", last=1)[0]["time"]
    steer("advance", seconds=0.5)
    tripped = [event for event in steer("log", kind="watchdog", bus="follower_left") if event["time"] > last]
    assert sorted(event["id"] for event in tripped) == list(range(1, 10))
    assert all(abs(event["time"] - last - 0.2) <= 0.02 for event in tripped)
    before = steer("read", bus="follower_left", id=1, register="present_position")
    assert before > 2048 + 10  # it was on its way, and has stopped there
    torque = steer("log", kind="torque", bus="follower_left")
    again = arm(links["follower_left"])
    again.connect(torque=True)
    state = again.read()
    assert state is not None
    assert abs(state.servos[1].position - before) < 7  # 0.01 rad
    assert steer("read", bus="follower_left", id=1, register="bus_watchdog") == 10
    assert steer("log", kind="torque", bus="follower_left") == torque  # never off in between
    again.release_watchdogs()
    again.bus.close()


def test_07_a_pulled_cable_on_a_real_terminal(emulation):
    links, steer = emulation
    one = arm(links["leader_left"])
    one.bus.open()
    assert one.bus.ping(1).model == 1020
    steer("plug", bus="leader_left", plugged=False)
    deadline = time.monotonic() + 5.0
    while Path(links["leader_left"]).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)  # the link goes first, then the terminal
    with pytest.raises(Unplugged):
        one.bus.sync_read((1, 2), 126, 21)
    assert not one.bus.is_open
    with pytest.raises(PortMissing, match="Check the USB cable"):
        one.bus.open()
    steer("plug", bus="leader_left", plugged=True)
    while not Path(links["leader_left"]).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    one.bus.open()
    assert one.bus.ping(1).model == 1020
    one.bus.close()


def test_a_port_has_one_owner(emulation):
    links, _ = emulation
    first = SerialPort(links["leader_right"])
    with pytest.raises(PortBusy, match="Close Dynamixel Wizard"):
        SerialPort(links["leader_right"])
    assert latency_timer(links["leader_right"]) != latency_timer(links["leader_right"])  # NaN: a terminal has none
    first.close()
    SerialPort(links["leader_right"]).close()
    with pytest.raises(PortMissing):
        SerialPort("/dev/no_such_port")


@pytest.mark.slow
def test_the_benchmark_measures_every_scheme():
    lines: list[str] = []
    results = run(3.0, lines.append)
    assert len(results) == 4
    assert sum(line.startswith("|") for line in lines) == 4  # each as soon as it is there
    assert all(result.ticks > 100 for result in results)
    assert "plain SDK, arms in sequence" in table(results)


def test_the_benchmark_knows_its_schemes():
    with pytest.raises(ValueError, match="expected some of fast, sync, sdk, lossy, got 'quick'"):
        run(3.0, print, ["fast", "quick"])
