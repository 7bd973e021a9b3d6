"""Child processes that leave no orphans, chatter into a log and compute with one thread."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

# One thread each: sums are then added in one order, and workers do not fight over the cores.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Failed:
    """A child could not start; the message is for the person at the keyboard."""

    message: str


@dataclass(frozen=True)
class Child:
    """A spawned process and the pipe to it. When it dies, `connection.recv` raises EOFError."""

    process: BaseProcess
    connection: Connection[Any, Any]
    log: Path

    def how_it_died(self) -> str:
        """`SIGKILL`, `exit code 3`: waits for the process, which is known to be ending."""
        self.process.join(timeout=10)
        code = self.process.exitcode
        if code is not None and code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}"

    def dismiss(self) -> None:
        """Ask it to end after its current message; does not wait."""
        with contextlib.suppress(OSError):  # it may have died already
            self.connection.send(None)

    def wait_for_end(self, timeout_s: float = 10.0) -> None:
        """Wait until a dismissed process has ended, then insist."""
        self.process.join(timeout_s)
        self.stop()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it now."""
        self.process.terminate()
        self.process.join(timeout_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def start_child(target: Callable[..., None], log: Path, *arguments: Any, single_threaded: bool = True) -> Child:
    """Spawn `target(connection, *arguments)` with its output going to `log`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child_main, args=(target, theirs, log, *arguments), daemon=True)
    with _environment(ONE_THREAD if single_threaded else {}), _deaf_to_ctrl_c():
        process.start()
    theirs.close()  # else its death would not show as the end of the pipe
    return Child(process, ours, log)


def _child_main(target: Callable[..., None], connection: Connection[Any, Any], log: Path, *arguments: Any) -> None:
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(file.fileno(), 1)  # descriptors, not sys.stdout: C libraries chatter too
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    target(connection, *arguments)


def _exit_with_parent() -> None:
    """End this process as soon as the parent is gone, even by kill -9: then its end of a pipe closes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for children started inside; a spawned child copies ours."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Children started inside inherit that SIGINT is ignored: it reaches the whole group, the parent decides."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class StopRequest:
    """While entered, Ctrl-C and SIGTERM set `signal_name` instead of tearing up whatever is being written."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: Any) -> None:
        if self.signal_name is not None:
            raise KeyboardInterrupt  # asked twice: now
        self.signal_name = signal.Signals(number).name
