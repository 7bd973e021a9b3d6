"""Moments in which the machine itself stood still, such as a virtual one whose processor was given to another.

No program can be on time then, and a benchmark that does not know of them blames itself. Each processor has a watcher:
a process of the highest priority that sleeps for a millisecond again and again, and notes when it woke up late.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

SLEEP = 0.001  # [s]
NOTED = 0.005  # [s] that a watcher must have been away
PRIORITY = 90  # above whatever is measured
WATCHING, REFUSED = "watching", "refused"

Interval = tuple[float, float]  # [s] begin and end on the monotonic clock


@contextmanager
def standstills(cpus: Collection[int]) -> Iterator[list[Interval] | None]:
    """Watch these processors while inside; the list is filled at the end.

    None if this user may not have real-time priority.
    """
    watchers = [
        subprocess.Popen([sys.executable, "-m", __name__, str(cpu)], stdout=subprocess.PIPE, text=True)
        for cpu in sorted(cpus)
    ]
    begun = [watcher.stdout.readline().strip() for watcher in watchers if watcher.stdout]
    found: list[Interval] | None = [] if begun == [WATCHING] * len(watchers) else None
    try:
        yield found
    finally:
        for watcher in watchers:
            watcher.terminate()
        for watcher in watchers:
            for line in watcher.communicate()[0].splitlines():
                begin, end = map(float, line.split())
                if found is not None:
                    found.append((begin, end))


def overlapping(moments: Sequence[Interval], others: Sequence[Interval]) -> int:
    """How many of `moments` have time in common with some of `others`."""
    return sum(any(begin < end_2 and begin_2 < end for begin_2, end_2 in others) for begin, end in moments)


def watch(cpu: int) -> None:
    """Print the standstills of one processor until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.sched_setaffinity(0, {cpu})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except PermissionError:
        _say(REFUSED)
        return
    _say(WATCHING)
    before = time.monotonic()
    while True:
        time.sleep(SLEEP)
        now = time.monotonic()
        if now - before > NOTED:
            _say(f"{before} {now}")
        before = now


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    watch(int(sys.argv[1]))
