"""Time our LIBERO loop against the stock loop, side by side: `python scripts/bench_env.py [suites] [rounds]`."""

import sys

from envs.libero import speed


def main(suites: str = "libero_object,libero_spatial,libero_goal,libero_10", rounds: str = "2") -> None:
    """Print a line a turn, then the table."""
    rows = speed.head()
    for suite in suites.split(","):
        medians = speed.compare(suite, 0, int(rounds), lambda line: print(line, flush=True))
        rows += speed.table(suite, medians)
    print("\n".join(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
