"""Write a random checkpoint of the real sizes, 15 GB: `python scripts/random_checkpoint.py FOLDER`."""

import argparse
import sys
from pathlib import Path

from vla.embodiment import EMBODIMENTS
from vla.models.openvla_oft.config import HeadConfig, ModelConfig
from vla.models.openvla_oft.random_checkpoint import write_random


def main() -> int:
    """Parse, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--embodiment", choices=sorted(EMBODIMENTS), default="libero")
    parser.add_argument("--head", choices=("l1", "diffusion"), default="l1")
    arguments = parser.parse_args()
    embodiment = EMBODIMENTS[arguments.embodiment]
    config = ModelConfig(
        images=len(embodiment.cameras),
        chunk=embodiment.chunk,
        action_dim=len(embodiment.action),
        state_dim=len(embodiment.state),
        head=HeadConfig(arguments.head),
    )
    write_random(arguments.folder, config, embodiment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
