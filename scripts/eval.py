"""Evaluate a policy on a benchmark: `python scripts/eval.py policy=expert env.tasks=[0,3]`."""

import sys
from pathlib import Path

from vla.evaluation.evaluate import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1] / "conf", sys.argv[1:]))
