"""Build the report of a run folder anew: `python scripts/report.py RUN_DIR`."""

import argparse
import sys
from pathlib import Path

from vla.command.errors import CommandError
from vla.evaluation.report import write_report
from vla.evaluation.run_folder import RunFolder


def main() -> int:
    """Parse, build, say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    try:
        path = write_report(RunFolder(parser.parse_args().run_dir))
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
