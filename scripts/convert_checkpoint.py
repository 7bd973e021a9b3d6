"""Convert a checkpoint of openvla-oft to our folder, or back: `python scripts/convert_checkpoint.py FROM TO`."""

import argparse
import sys
from pathlib import Path

from vla.models.openvla_oft.folder import write_folder
from vla.models.openvla_oft.locate import read_checkpoint
from vla.models.openvla_oft.weights import CheckpointError
from vla.models.openvla_oft.write_official import write_official


def main() -> int:
    """Parse, check, convert."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="folder of either kind, or owner/name on the hub")
    parser.add_argument("target", type=Path, help="folder to write; must not exist")
    parser.add_argument("--official", action="store_true", help="write openvla-oft's layout instead of ours")
    for name in ("embodiment", "mask", "base"):
        parser.add_argument(f"--{name}", help="what openvla-oft's folder does not say (see docs/openvla_oft.md)")
    parser.add_argument("--cameras", nargs="+")
    arguments = parser.parse_args()
    says = {name: getattr(arguments, name) for name in ("embodiment", "cameras", "mask", "base")}
    try:
        checkpoint = read_checkpoint(arguments.source, **says)
        checkpoint.merged_table()  # names every tensor that does not fit, before anything is written
        (write_official if arguments.official else write_folder)(checkpoint, arguments.target)
    except (CheckpointError, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
