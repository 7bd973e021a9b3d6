"""Four emulated arms at 50 Hz, our driver beside the plain SDK: `python scripts/bench_bus.py [seconds] [scheme ...]`.

Each scheme has that many seconds; they are fast, sync, sdk and lossy, by default all.
"""

import gc
import sys

from robot_drivers.aloha.bus_bench import SCHEMES, run, table


def main(seconds: str = "60", *schemes: str) -> None:
    """Print what is measured as it goes, then the table."""
    gc.freeze()  # as a session does: going through all of this again would take a tick
    results = run(float(seconds), lambda line: print(line, flush=True), schemes or tuple(SCHEMES))
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
