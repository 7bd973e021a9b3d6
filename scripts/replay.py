"""Play a recorded episode again: `python scripts/replay.py recording=FOLDER env=aloha_transfer_cube`."""

import sys
from pathlib import Path

from vla.session.replay import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1] / "conf", sys.argv[1:]))
