"""Bring back a joint that switched itself off: `revive.py robot=aloha robot.armed=true arm=left joint=elbow`."""

import sys
from pathlib import Path

from vla.command.config import build, compose_config, to_dict, usage
from vla.command.errors import RefusedError

CONF = Path(__file__).resolve().parents[1] / "conf"


def main(arguments: list[str]) -> int:
    """0: it holds; 1: it does not, or nothing was opened; 2: bad input; 130: Ctrl-C."""
    if {"-h", "--help"} & set(arguments):
        print(usage(CONF, "revive", "python scripts/revive.py"))
        return 0
    try:
        config = to_dict(compose_config(CONF, "revive", arguments))
        if missing := [name for name in ("robot", "arm", "joint") if not config[name]]:
            raise RefusedError(f"{missing[0]}: expected one, got none; for example arm=left joint=shoulder.")
        robot = build(config["robot"], "robot")
        robot.revive(config["arm"], config["joint"], print, _wait_for_hands)
    except KeyboardInterrupt:
        print("Interrupted: servos that were not switched on yet have no torque.", file=sys.stderr)
        return 130
    except (RuntimeError, OSError, ValueError) as error:  # says what was expected and what to do
        print(f"revive: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2 if isinstance(error, ValueError) else 1)
    return 0


def _wait_for_hands() -> None:
    print("Nothing will hold it for a second: support the arm, then press Enter.", flush=True)
    if not sys.stdin.readline():
        raise RefusedError("expected somebody at the keyboard who supports the arm; nothing was rebooted.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
