"""Compare two runs on the trials they share: `python scripts/compare.py A B [--out DIR] [--anyway]`."""

import argparse
import sys
from pathlib import Path

from vla.command.errors import CommandError
from vla.evaluation.compare import compare_folders, describe, write_comparison
from vla.evaluation.run_folder import RunFolder


def main() -> int:
    """Parse, compare, print, write compare.json and compare.html."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("a", type=Path, help="run folder of A")
    parser.add_argument("b", type=Path, help="run folder of B")
    parser.add_argument("--out", type=Path, help="where to write; default: folder of A")
    parser.add_argument("--anyway", action="store_true", help="compare although the environments differ")
    arguments = parser.parse_args()
    try:
        comparison = compare_folders(RunFolder(arguments.a), RunFolder(arguments.b), anyway=arguments.anyway)
        path = write_comparison(comparison, arguments.out or arguments.a)
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(describe(comparison))
    print(f"\nComparison: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
