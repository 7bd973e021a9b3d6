"""Export a recorded dataset to LIBERO's own HDF5 layout: `python scripts/export.py DATASET FOLDER`."""

import argparse
import sys
from pathlib import Path

from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import read_dataset
from vla.data.libero_hdf5 import export_libero_hdf5


def main() -> int:
    """Parse, export, say where the files are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="recorded at every control step, with simulator states")
    parser.add_argument("folder", type=Path, help="where <suite>/<task>_demo.hdf5 are written")
    arguments = parser.parse_args()
    try:
        for path in export_libero_hdf5(read_dataset(arguments.dataset), arguments.folder):
            print(path)
    except (DatasetError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
