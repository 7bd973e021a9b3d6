"""Collect demonstrations into a LeRobot dataset: `python scripts/collect.py episodes=40 root=data/demos`."""

import sys
from pathlib import Path

from vla.data.collect import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1] / "conf", sys.argv[1:]))
