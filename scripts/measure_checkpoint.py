"""Load time, peak memory and seconds a chunk of a checkpoint: `python scripts/measure_checkpoint.py FOLDER`."""

import argparse
import resource
import sys
import time

import numpy as np

from vla.policies.openvla_oft import OpenVLAOFTPolicy
from vla.types import Observation


def peak_bytes() -> int:
    """[bytes] the most this process has held so far, pages of mapped files included."""
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes if sys.platform == "darwin" else 1024 * kibibytes


def main() -> int:
    """Parse, load, query, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device")
    parser.add_argument("--queries", type=int, default=1)
    arguments = parser.parse_args()
    empty = peak_bytes()
    started = time.perf_counter()
    policy = OpenVLAOFTPolicy(arguments.checkpoint, dtype=arguments.dtype, device=arguments.device)
    load_s, load_peak, weights = time.perf_counter() - started, peak_bytes(), policy.weight_bytes
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    images = dict.fromkeys(policy.embodiment.cameras, image)
    observation = Observation(images, np.zeros(len(policy.embodiment.state)), "pick up the cup", 0.0)
    seconds = [policy.infer(observation).inference_s for _ in range(arguments.queries)]
    print(f"weights     {weights / 1e9:.2f} GB")
    print(f"before      {empty / 1e9:.2f} GB (Python and its libraries)")
    print(f"loading     {load_s:.1f} s, peak {load_peak / 1e9:.2f} GB = {load_peak / weights:.3f} x the weights")
    print(f"first chunk {seconds[0]:.2f} s ({policy.embodiment.chunk} actions)")
    print(f"best chunk  {min(seconds):.2f} s (of {len(seconds)})")
    print(f"peak        {peak_bytes() / 1e9:.2f} GB = {peak_bytes() / weights:.3f} x the weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
