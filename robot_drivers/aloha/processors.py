"""The computer's processors as a benchmark wants them: awake, and shared out."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

LATENCY = Path("/dev/cpu_dma_latency")  # the kernel's "PM quality of service": a 32-bit number of microseconds


@contextmanager
def awake() -> Iterator[bool]:
    """Keep all processors from sleeping while inside, as cyclictest does; False if this user may not.

    One that sleeps is late when it is called, and a virtual machine's is given to others meanwhile.
    """
    try:
        request = LATENCY.open("wb", buffering=0)
    except OSError:
        yield False
        return
    with request:  # the kernel forgets it when the file is closed
        request.write(struct.pack("=i", 0))
        yield True


@contextmanager
def on(cpus: Collection[int]) -> Iterator[None]:
    """Have this thread, and the threads and processes that it starts meanwhile, run on these processors only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
