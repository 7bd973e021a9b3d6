"""Run a session: `python scripts/rollout.py env=aloha_transfer_cube policy=aloha_expert`."""

import sys
from pathlib import Path

from vla.session.session import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1] / "conf", sys.argv[1:]))
