"""Compare ways of decoding on a reduced network, or on a checkpoint's: `python scripts/bench_policy.py [FOLDER]`."""

import argparse
import sys

import torch

from vla.models.openvla_oft.locate import read_checkpoint
from vla.models.openvla_oft.model import OpenVLAOFT
from vla.models.openvla_oft.speed import REDUCED, compare, table


def main() -> int:
    """Parse, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", help="folder or hub name; default: a reduced network, random weights")
    parser.add_argument("--only", nargs="+", default=[], help="ways of decoding whose name contains one of these words")
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.checkpoint is None:
        torch.manual_seed(0)
        network = OpenVLAOFT(REDUCED).eval()
    else:
        network = read_checkpoint(arguments.checkpoint).load()
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{count / 1e6:.0f} million numbers, {torch.get_num_threads()} threads\n")
    print(table(compare(network, arguments.chunk, arguments.repeats, arguments.only)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
