"""Export a recorded dataset to HDF5: `python scripts/export.py DATASET FOLDER --format aloha_hdf5 --compress`."""

import argparse
import sys
from pathlib import Path

from vla.data.aloha_hdf5 import export_aloha_hdf5
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import read_dataset
from vla.data.libero_hdf5 import export_libero_hdf5


def main() -> int:
    """Parse, export, say where the files are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="recorded at every control step; for LIBERO with simulator states")
    parser.add_argument("folder", type=Path, help="where <suite>/<task>_demo.hdf5 or episode_<i>.hdf5 are written")
    parser.add_argument("--format", choices=("libero_hdf5", "aloha_hdf5"), default="libero_hdf5")
    parser.add_argument("--compress", action="store_true", help="aloha_hdf5: images as JPEG")
    arguments = parser.parse_args()
    if arguments.compress and arguments.format != "aloha_hdf5":
        parser.error("--compress: only for --format aloha_hdf5")
    try:
        dataset = read_dataset(arguments.dataset)
        if arguments.format == "aloha_hdf5":
            paths = export_aloha_hdf5(dataset, arguments.folder, compress=arguments.compress)
        else:
            paths = export_libero_hdf5(dataset, arguments.folder)
    except (DatasetError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
