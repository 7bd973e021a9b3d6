"""An emulated ALOHA robot as a process of its own: `python -m robot_drivers.emulator --ports DIR --control SOCKET`.

When it is ready it writes one line of JSON to its standard output: the serial ports by bus.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from robot_drivers.emulator.aloha import emulated_aloha
from robot_drivers.emulator.clock import VirtualClock
from robot_drivers.emulator.control import serve
from robot_drivers.emulator.faults import Fault
from robot_drivers.emulator.uart import Timing


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until `quit` comes over the socket, or until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m robot_drivers.emulator", description="An emulated ALOHA robot.")
    parser.add_argument("--ports", type=Path, required=True, help="folder for links ttyDXL_<bus> to the serial ports")
    parser.add_argument("--control", type=Path, required=True, help="Unix socket that takes commands")
    parser.add_argument("--faults", type=Path, help="JSON file: {bus: [fault, ...]}, see docs/emulator.md")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--usb-latency-ms", type=float, default=1.0, help="latency timer of the adapters")
    parser.add_argument("--virtual", action="store_true", help="a clock that only packets and commands move")
    parser.add_argument("--no-gravity", action="store_true", help="arms stay where they are without torque")
    options = parser.parse_args(arguments)
    robot = emulated_aloha(
        gravity=not options.no_gravity,
        clock=VirtualClock() if options.virtual else None,
        timing=Timing(usb_latency=options.usb_latency_ms / 1000),
        seed=options.seed,
    )
    if options.faults:
        for bus, faults in json.loads(options.faults.read_text()).items():
            for fault in faults:
                robot.buses[bus].plan.add(Fault.from_json(fault))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with robot:
        links = robot.serve(options.ports)
        gc.freeze()  # while it went through all of this again, no servo would answer

        def ready() -> None:
            sys.stdout.write(json.dumps({name: str(link) for name, link in links.items()}) + "\n")
            sys.stdout.flush()

        serve(robot, options.control, ready)


if __name__ == "__main__":
    main()
