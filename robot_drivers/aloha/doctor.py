"""Looks at ports and servos and says what to mend. It reads only: nothing moves, nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.emulated import emulated_bus
from robot_drivers.aloha.inspection import inspect
from robot_drivers.aloha.layout import ALOHA_WX250S, LEADER_LAYOUTS, VX300S, ArmLayout
from robot_drivers.clock import SystemClock
from robot_drivers.dynamixel.bus import Bus
from robot_drivers.dynamixel.errors import BusError
from robot_drivers.dynamixel.port import SerialPort, latency_timer
from robot_drivers.emulator.aloha import emulated_aloha
from robot_drivers.emulator.clock import VirtualClock

GOOD_LATENCY = 0.001  # [s]


def examine(
    buses: Mapping[str, tuple[Bus, ArmLayout]], config: ArmConfig, say: Callable[[str], None], ports: Mapping[str, str]
) -> int:
    """Examine every bus.

    Args:
        buses: name -> bus, closed, and what should be on it.
        config: thresholds.
        say: takes lines for people.
        ports: name -> path, of those that have one.

    Returns:
        The number of problems.
    """
    count = 0
    for name, (bus, layout) in buses.items():
        problems = [*_port(ports[name])] if name in ports else []
        try:
            bus.open()
            problems += [str(problem) for problem in inspect(bus, layout, config)]
        except BusError as error:
            problems.append(str(error))
        finally:
            bus.close()
        summary = f"{len(layout.ids)} servos of a {layout.name}, as they should be"
        say(f"{name}: " + (summary if not problems else f"{len(problems)} to mend"))
        for problem in problems:
            say(f"  {problem}")
        count += len(problems)
    if count and ports:
        for line in adapters():
            say(line)
    return count


def adapters() -> list[str]:
    """The serial adapters of this computer, one line each, with what a udev rule needs."""
    found = sorted(Path("/dev/serial/by-id").glob("*"))
    return [f"adapter {link.resolve()}: {link.name}" for link in found] or [
        "no serial adapter is plugged in (/dev/serial/by-id is empty)"
    ]


def _port(path: str) -> list[str]:
    if not Path(path).exists():
        return []  # opening it says more
    seconds = latency_timer(path)
    if math.isnan(seconds) or seconds <= GOOD_LATENCY:
        return []
    return [
        f"{path}: expected a latency timer of {1000 * GOOD_LATENCY:.0f} ms, got {1000 * seconds:.0f} ms, too slow for "
        "50 Hz. Install robot_drivers/aloha/99-aloha.rules and plug the adapter in again."
    ]


def check(settings: Mapping[str, Any], config: ArmConfig, leader: str, say: Callable[[str], None]) -> int:
    """Examine the robot of a config group `robot`.

    Args:
        settings: the group, resolved.
        config: that of the group, built: its thresholds.
        leader: which leaders it has, see `layout.LEADER_LAYOUTS`.
        say: takes lines for people.

    Returns:
        The number of problems.

    Raises:
        ValueError: it describes no ALOHA robot.
    """
    target = str(settings.get("_target_"))
    if target.endswith(("aloha_emulated", "aloha_in_scene")):
        emulation = emulated_aloha(clock=VirtualClock())
        buses = {
            name: (emulated_bus(emulation, name, emulation.clock), _layout(name, ALOHA_WX250S))
            for name in emulation.buses
        }
        say("An emulated robot; of a real one: python scripts/doctor.py robot=aloha")
        return examine(buses, config, say, {})
    if not target.endswith("hardware.aloha"):
        raise ValueError(f"robot: expected aloha or aloha_emulated, got {target}")
    ports, clock = dict(settings["ports"]), SystemClock()
    if leader not in LEADER_LAYOUTS:
        raise ValueError(f"leader: expected one of {', '.join(LEADER_LAYOUTS)}, got {leader!r}")
    buses = {
        name: (Bus(name, partial(SerialPort, path), clock), _layout(name, LEADER_LAYOUTS[leader]))
        for name, path in ports.items()
    }
    return examine(buses, config, say, ports)


def _layout(name: str, leader: ArmLayout) -> ArmLayout:
    return VX300S if name.startswith("follower") else leader
