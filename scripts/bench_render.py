"""Measure the render profiles: `MUJOCO_GL=egl python scripts/bench_render.py [suite ...]`; prints a Markdown table."""

import argparse
import sys

from envs.libero.render_cost import measure, table
from envs.rendering import configure_gl

SUITES = ("libero_object", "libero_spatial", "libero_goal", "libero_10")


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", default=SUITES)
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="[px]")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    backend = configure_gl()
    costs = []
    for suite in arguments.suites:
        costs += measure(suite, arguments.task, arguments.size, arguments.repeats)
    print(f"MUJOCO_GL={backend}, {arguments.size} x {arguments.size}\n\n{table(costs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
