"""Compare ways of decoding on a reduced network, or time a checkpoint: `python scripts/bench_policy.py [FOLDER]`."""

import argparse
import resource
import sys

import torch

from vla.models.openvla_oft.locate import read_checkpoint
from vla.models.openvla_oft.speed import REDUCED, compare, measure, random_inputs, table


def main() -> int:
    """Parse, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.checkpoint is None:
        costs = compare(REDUCED, repeats=arguments.repeats)
    else:
        model = read_checkpoint(arguments.checkpoint).load()
        costs = {arguments.checkpoint: measure(model, random_inputs(model.config), arguments.repeats)}
    print(table(costs))
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
