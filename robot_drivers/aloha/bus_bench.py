"""Four arms at 50 Hz against the emulator in a process of its own: our driver, and the plain SDK in the same run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import ALOHA_WX250S, VX300S
from robot_drivers.aloha.processors import LATENCY, awake, on
from robot_drivers.aloha.standstill import Interval, overlapping, standstills
from robot_drivers.aloha.state import ADDRESS, LENGTH
from robot_drivers.aloha.ticks import TickCounts
from robot_drivers.aloha.worker import ArmWorker
from robot_drivers.clock import SystemClock
from robot_drivers.dynamixel.bus import Bus
from robot_drivers.dynamixel.errors import BusError
from robot_drivers.dynamixel.port import SerialPort
from robot_drivers.dynamixel.transaction import Patience
from robot_drivers.emulator.control import ControlClient
from vla.protocols import SafetyStop

REPLY_DELAY = 0.0006  # [s] before the first byte; with its bytes on the line and the adapter a reply takes about 3.5 ms
DROPS = 0.05
WARM_UP = 0.5  # [s] not counted: the other arms were being armed
PATIENCE = Patience(calm=2.0)  # while arming the emulator may have to wait for a processor; ticks hurry as always
SCHEMES = {
    "fast": "driver, fast sync read",
    "sync": "driver, sync read",
    "sdk": "plain SDK, arms in sequence",
    "lossy": f"driver, fast sync read, {100 * DROPS:.0f} % of replies dropped",
}
GOAL, PRIMARIES = (116, 4), (1, 2, 4, 6, 7, 8, 9)


@dataclass(frozen=True)
class Result:
    """What one scheme did.

    Attributes:
        name: of the scheme.
        ticks: of all buses together.
        late: ticks that were not over when the next one was due.
        bad: readings of servos that were asked for and did not come; of the SDK, reads that failed.
        stops: how often an arm held because of a fault, such as a servos' watchdog that fired.
        cycle_ms: 50th, 95th and 99th percentile of a tick's duration.
        cpu: share of one core, of the host's process.
        rate: [1/s] ticks of the slowest bus.
        overruns: [s] (begin, end) of late ticks.
        stalled: in how many of these the machine itself stood still; None if that is not known.
    """

    name: str
    ticks: int
    late: int
    bad: int
    stops: int
    cycle_ms: tuple[float, float, float]
    cpu: float
    rate: float
    overruns: tuple[Interval, ...]
    stalled: int | None = None


def run(seconds: float, say: Callable[[str], None], schemes: Collection[str] = tuple(SCHEMES)) -> list[Result]:
    """Measure some of `SCHEMES`, one after the other, `seconds` each.

    Raises:
        ValueError: there is no such scheme.
    """
    if unknown := set(schemes) - set(SCHEMES):
        raise ValueError(f"scheme: expected some of {', '.join(SCHEMES)}, got {min(unknown)!r}")
    cpus = sorted(os.sched_getaffinity(0))
    # The emulator, which stands for servos, gets processors of its own. The host gets one: threads of one interpreter
    # run one at a time anyhow, and where they run in turns the caches know them. That saves a third of the time.
    with awake() as wakeful, on(cpus[:-1] or cpus), emulator() as (links, steer), on(cpus[-1:]):
        if not wakeful:
            say(f"{LATENCY} may not be written: processors may sleep, and wake up late")

        def everywhere(fault: dict[str, Any]) -> None:
            for bus in links:
                steer("fault", bus=bus, fault=fault)

        def drop() -> None:
            everywhere({"kind": "drop_reply", "probability": DROPS})

        everywhere({"kind": "slow_bus", "ids": [1, 254], "value": REPLY_DELAY})
        measure: dict[str, Callable[[str, Mapping[str, str], float], Result]] = {
            "fast": partial(_driver, say=say, fast=True),
            "sync": partial(_driver, say=say, fast=False),
            "sdk": _sdk,
            "lossy": partial(_driver, say=say, fast=True, then=drop),  # the last one: replies stay lossy
        }
        results = []
        for scheme, name in SCHEMES.items():
            if scheme in schemes:
                say(f"{name}: {seconds:.0f} s")
                with standstills(cpus) as stalls:
                    result = measure[scheme](name, links, seconds)
                stalled = None if stalls is None else overlapping(result.overruns, stalls)
                results.append(replace(result, stalled=stalled))
                say(_row(results[-1]))
    return results


def table(results: list[Result]) -> str:
    """Markdown."""
    measures = ("scheme", "cycle p50 / p95 / p99 [ms]", "late", "machine stalled", "of ticks", "lost readings", "stops")
    heads = (*measures, "slowest bus [1/s]", "CPU")
    return "\n".join([_line(heads), _line(("---",) * len(heads)), *map(_row, results)])


def _row(r: Result) -> str:
    cycles = " / ".join(f"{cycle:.1f}" for cycle in r.cycle_ms)
    counts = (r.late, "?" if r.stalled is None else r.stalled, r.ticks, r.bad, r.stops)
    return _line((r.name, cycles, *map(str, counts), f"{r.rate:.2f}", f"{r.cpu:.2f}"))


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


@contextmanager
def emulator(*options: str) -> Iterator[tuple[Mapping[str, str], Callable[..., Any]]]:
    """A process with an emulated robot: its ports by bus, and a function that sends it commands.

    Args:
        options: of the command line, see docs/emulator.md.
    """
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder) / "control"
        command = [sys.executable, "-m", "robot_drivers.emulator", "--ports", folder, "--control", str(control)]
        with subprocess.Popen([*command, "--no-gravity", *options], stdout=subprocess.PIPE, text=True) as process:
            if process.stdout is None:
                raise RuntimeError("emulator: expected its output, got none")
            links = json.loads(process.stdout.readline())
            try:
                with ControlClient(control) as steer:
                    yield links, steer
            finally:
                process.terminate()


def _driver(
    name: str,
    links: Mapping[str, str],
    seconds: float,
    *,
    say: Callable[[str], None],
    fast: bool,
    then: Callable[[], None] = lambda: None,
) -> Result:
    clock, config = SystemClock(), ArmConfig()
    workers = []
    for bus, link in links.items():
        follower = bus.startswith("follower")
        layout = VX300S if follower else ALOHA_WX250S
        arm = Arm(Bus(bus, partial(SerialPort, link), clock, PATIENCE), layout, config, clock)
        arm.connect(torque=follower)
        arm.fast, arm.bus.patience = fast, Patience()
        workers.append(ArmWorker(arm, clock))
        workers[-1].start()  # at once: an armed arm that hears nothing for 0.2 s stops by itself
    then()
    time.sleep(WARM_UP)
    for worker in workers:
        worker.ticks = TickCounts(config.period)
    stops, before = 0, [sum(w.arm.bus.lost.values()) for w in workers]
    began, used = time.monotonic(), time.process_time()
    while (elapsed := time.monotonic() - began) < seconds:
        for worker in workers:
            if trouble := worker.trouble:
                stops += 1
                say(f"stopped after {elapsed:.1f} s: {trouble}")
                worker.clear_fault()
            elif worker.arm.torque[1]:  # a follower: a slow wave, so that goals change
                with suppress(SafetyStop):  # counted the next time
                    worker.command(worker.goal + np.append(0.002 * np.sin(elapsed) * np.ones(6), 0.0))
        time.sleep(config.period)
    cpu = (time.process_time() - used) / elapsed
    counts, rate = [worker.ticks for worker in workers], min(w.ticks.total for w in workers) / elapsed
    lost = sum(sum(w.arm.bus.lost.values()) for w in workers) - sum(before)
    for worker in workers:
        worker.end()
        with suppress(BusError):
            worker.arm.release_watchdogs()
        worker.arm.bus.close()
    return _result(name, counts, lost, stops, cpu, rate)


def _sdk(name: str, links: Mapping[str, str], seconds: float) -> Result:
    """The vendor's SDK as its examples use it: the four arms one after the other in one loop."""
    from dynamixel_sdk import COMM_SUCCESS, GroupSyncRead, GroupSyncWrite, PacketHandler, PortHandler

    sdk, arms = PacketHandler(2.0), []
    for link in links.values():
        port = PortHandler(link)
        if not port.openPort():
            raise RuntimeError(f"{link}: expected the SDK to open it, got a refusal; is another program on it?")
        reader, writer = GroupSyncRead(port, sdk, ADDRESS, LENGTH), GroupSyncWrite(port, sdk, *GOAL)
        for id in range(1, 10):
            reader.addParam(id)
        arms.append((port, reader, writer))
    counts, bad = TickCounts(0.02), 0
    began, used = time.monotonic(), time.process_time()
    deadline = began
    while (elapsed := time.monotonic() - began) < seconds:
        SystemClock().sleep_until(deadline)
        begun = time.monotonic()
        for _, reader, writer in arms:
            if reader.txRxPacket() != COMM_SUCCESS:
                bad += 1
                continue
            for id in PRIMARIES:
                position = reader.getData(id, 132, 4)
                writer.addParam(id, list(int(position).to_bytes(4, "little")))
            writer.txPacket()
            writer.clearParam()
        deadline = counts.count(deadline, begun, time.monotonic())
    cpu = (time.process_time() - used) / elapsed
    for port, _, _ in arms:
        port.closePort()
    return _result(name, [counts], bad, 0, cpu, counts.total / elapsed)


def _result(name: str, counts: list[TickCounts], bad: int, stops: int, cpu: float, rate: float) -> Result:
    cycles = 1000 * np.concatenate([np.array(count.cycles) for count in counts])
    p50, p95, p99 = (float(value) for value in np.percentile(cycles, (50, 95, 99)))
    total, late = sum(count.total for count in counts), sum(count.late for count in counts)
    overruns = tuple(overrun for count in counts for overrun in count.overruns)
    return Result(name, total, late, bad, stops, (p50, p95, p99), cpu, rate, overruns)
