"""What can this machine do, and does it conform? `python scripts/doctor.py [suite ...]`; exit code 1 on drift.

`python scripts/doctor.py robot=aloha` examines arms instead: ports, servos, settings, and says what to mend.
"""

import sys
from pathlib import Path

CONF = Path(__file__).resolve().parents[1] / "conf"


def main(arguments: list[str]) -> int:
    """`--gl` only looks for a renderer; suite names say whose references to compare with; `robot=...` is for arms."""
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}`leader=wx250s`: which leaders it has.  `--gl`: only look for a renderer.")
        return 0
    try:
        if any("=" in argument for argument in arguments):
            return _examine_robot(arguments)
        from envs.libero import doctor  # needs a simulator, which arms do not

        if arguments == ["--gl"]:
            return doctor.check_gl()
        return doctor.check_machine(arguments or ["libero_object"])
    except (RuntimeError, ValueError) as error:
        print(f"doctor: {error}", file=sys.stderr)
        return 2


def _examine_robot(arguments: list[str]) -> int:
    from robot_drivers.aloha.doctor import check
    from robot_drivers.cameras.doctor import examine_cameras
    from robot_drivers.clock import SystemClock
    from vla.command.config import build, compose_config, to_dict

    config = to_dict(compose_config(CONF, "doctor", arguments))
    if not any(argument.startswith("robot=") for argument in arguments):
        raise ValueError(f"{arguments[0]}: expected robot=... beside it, for example robot=aloha")
    arm = build(config["robot"]["config"], "robot.config")
    count = check(config["robot"], arm, config["leader"], print)
    nodes = config["robot"].get("cameras") or {}
    if isinstance(nodes, dict):  # a simulated scene has names only
        cameras = {name: build(node, f"robot.cameras.{name}") for name, node in nodes.items()}
        count += examine_cameras(cameras, SystemClock(), print)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
