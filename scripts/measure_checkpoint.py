"""Load time, peak memory and seconds a chunk of a checkpoint: `python scripts/measure_checkpoint.py FOLDER`."""

import argparse
import resource
import sys
import time

import numpy as np

from vla.policies.openvla_oft import OpenVLAOFTPolicy
from vla.types import Observation


def main() -> int:
    """Parse, load, query, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device")
    parser.add_argument("--queries", type=int, default=1)
    arguments = parser.parse_args()
    started = time.perf_counter()
    policy = OpenVLAOFTPolicy(arguments.checkpoint, dtype=arguments.dtype, device=arguments.device)
    print(f"load_s      {time.perf_counter() - started:.1f}")
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    images = dict.fromkeys(policy.embodiment.cameras, image)
    observation = Observation(images, np.zeros(len(policy.embodiment.state)), "pick up the cup", 0.0)
    seconds = [policy.infer(observation).inference_s for _ in range(arguments.queries)]
    print(f"chunk_s     {min(seconds):.2f} (best of {len(seconds)}; {policy.embodiment.chunk} actions)")
    print(f"peak_bytes  {1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:.3e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
