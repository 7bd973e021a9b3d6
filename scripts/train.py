"""Train the small VLA: `python scripts/train.py datasets=[data/demos] run_dir=runs/train/mini train.steps=20000`.

With `recipe=openvla_oft` it fine-tunes OpenVLA-OFT instead.
"""

import sys
from pathlib import Path

from vla.training.train import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1] / "conf", sys.argv[1:]))
