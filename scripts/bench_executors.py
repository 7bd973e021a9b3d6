"""Compare inference executors under latency.

`python scripts/bench_executors.py [suite:task,...] [first trial] [trials] [executor;...]`
"""

import sys
import time
from pathlib import Path

from envs.libero.env import ACTION_SPEC
from vla.evaluation.executors import EXECUTORS, compare, table

CONF = Path(__file__).resolve().parents[1] / "conf"
TASKS = "libero_object:2,libero_object:6,libero_goal:2,libero_goal:8,libero_spatial:1,libero_spatial:4"


def main(tasks: str = TASKS, first: str = "3", trials: str = "3", executors: str = ";".join(EXECUTORS)) -> None:
    """Print a line a task, then the table."""
    wanted: dict[str, list[int]] = {}
    for name in tasks.split(","):
        suite, task = name.split(":")
        wanted.setdefault(suite, []).append(int(task))
    started = time.perf_counter()
    shown = range(int(first), int(first) + int(trials))
    found = compare(CONF, wanted, shown, executors.split(";"), lambda line: print(line, flush=True))
    print(f"\n{table(CONF, found, ACTION_SPEC)}\n\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
