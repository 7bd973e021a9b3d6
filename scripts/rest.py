"""Lay the arms down and switch torque off: `python scripts/rest.py robot=aloha robot.armed=true`."""

import sys
from pathlib import Path

from robot_drivers.aloha.lower import lower
from vla.command.config import build, compose_config, to_dict, usage
from vla.command.errors import RefusedError

CONF = Path(__file__).resolve().parents[1] / "conf"


def main(arguments: list[str]) -> int:
    """0: the arms are at rest; 1: they hold somewhere else, or nothing was opened; 2: bad input; 130: Ctrl-C."""
    if {"-h", "--help"} & set(arguments):
        print(usage(CONF, "rest", "python scripts/rest.py"))
        return 0
    try:
        config = to_dict(compose_config(CONF, "rest", arguments))
        if not config["robot"]:
            raise RefusedError("robot: expected one, for example robot=aloha robot.armed=true, got none.")
        if not isinstance(config["torque_off"], bool):
            raise RefusedError(f"torque_off: expected true or false, got {config['torque_off']!r}.")
        lower(build(config["robot"], "robot"), print, torque_off=config["torque_off"])
    except KeyboardInterrupt:
        print("Interrupted: the arms hold where they are.", file=sys.stderr)
        return 130
    except (RuntimeError, OSError) as error:  # says what was expected and what to do
        print(f"rest: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
