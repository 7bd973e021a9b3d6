"""Steering a running emulation from another process: one JSON object a line over a Unix socket, one line back.

{"do": "fault", "bus": "follower_left", "fault": {"kind": "drop_reply", "probability": 0.05}}
{"ok": true, "result": null}
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from robot_drivers.emulator.faults import Fault
from robot_drivers.emulator.hands import Keyframes
from robot_drivers.emulator.joints import JointBackend
from robot_drivers.emulator.log import Kind
from robot_drivers.emulator.robot import EmulatedRobot


class Controller:
    """The commands. Each public method is one; its arguments are the fields of the object.

    Args:
        robot: what is steered.
    """

    def __init__(self, robot: EmulatedRobot) -> None:
        self._robot = robot
        self.ended = threading.Event()

    def state(self) -> dict[str, Any]:
        """Time, and what is on each bus."""
        time = self._robot.now()
        buses = {
            name: {"plugged": bus.plugged, "servos": {str(servo.id): servo.spec.model.name for servo in bus.servos}}
            for name, bus in self._robot.buses.items()
        }
        return {"time": time, "buses": buses}

    def read(self, bus: str, id: int, register: str) -> int:
        """The raw value of a register."""
        return self._robot.read(bus, id, register)

    def writes(self, bus: str, id: int) -> dict[str, int]:
        """How often the host wrote each register."""
        return self._robot.writes(bus, id)

    def fault(self, bus: str, fault: Mapping[str, Any]) -> None:
        """Add a fault to the plan of a bus."""
        self._robot.buses[bus].plan.add(Fault.from_json(fault))

    def clear_faults(self) -> None:
        """No faults from now on."""
        for bus in self._robot.buses.values():
            bus.plan.clear()

    def plug(self, bus: str, plugged: bool) -> None:
        """Pull a USB cable, or put it back."""
        self._robot.buses[bus].plug(plugged)

    def log(self, kind: str | None = None, bus: str | None = None, last: int | None = None) -> list[dict[str, Any]]:
        """The events, or the last ones of them."""
        self._robot.now()
        events = self._robot.log.events(Kind(kind) if kind else None, bus)
        return [event.json() for event in events[-last if last else 0 :]]

    def counts(self) -> dict[str, int]:
        """How often what happened."""
        return dict(self._robot.log.counts())

    def advance(self, seconds: float) -> float:
        """Let time pass on a virtual clock; the time then."""
        self._robot.advance(seconds)
        return self._robot.now()

    def obstruct(self, joint: str, low: float = float("-inf"), high: float = float("inf")) -> None:
        """Keep a joint within low..high [rad]."""
        with self._robot.world.lock:
            self._built_in().obstruct(joint, low, high)

    def guide(self, frames: list[tuple[float, Mapping[str, float]]]) -> None:
        """Move joints without torque by hand, see `Keyframes`; times [s] count from the start of the emulation."""
        with self._robot.world.lock:
            self._built_in().guide(Keyframes(frames))

    def quit(self) -> None:
        """End the emulation."""
        self.ended.set()

    def _built_in(self) -> JointBackend:
        for backend in self._robot.world.backends:
            if isinstance(backend, JointBackend):
                return backend
        raise ValueError("this needs the built-in back end; ask the simulator that stands behind the servos")


def serve(robot: EmulatedRobot, path: Path, ready: Callable[[], None] = lambda: None) -> None:
    """Take commands on a Unix socket until `quit`.

    Args:
        robot: what is steered.
        path: of the socket; it is made, and removed at the end.
        ready: called when commands are taken.
    """
    controller = Controller(robot)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(json.dumps(_answer(controller, line)).encode() + b"\n")

    path.unlink(missing_ok=True)
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            ready()
            controller.ended.wait()
        finally:
            server.shutdown()
            path.unlink(missing_ok=True)


class ControlClient:
    """The other end of `serve`.

    Args:
        path: of the socket.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rwb")

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Carry out a command of `Controller`.

        Raises:
            RuntimeError: what the emulator says against it.
        """
        self._lines.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self._lines.flush()
        answer = json.loads(self._lines.readline())
        if not answer["ok"]:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """Hang up; the emulation goes on."""
        self._lines.close()
        self._socket.close()


def _answer(controller: Controller, line: bytes) -> dict[str, Any]:
    try:
        command = json.loads(line)
        name = command.pop("do", "")
        if name not in _COMMANDS:
            raise ValueError(f"unknown command {name!r}; known are {', '.join(_COMMANDS)}")
        return {"ok": True, "result": getattr(controller, name)(**command)}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


_COMMANDS = tuple(name for name in vars(Controller) if not name.startswith("_"))
