"""What can this machine do, and does it conform? `python scripts/doctor.py [suite ...]`; exit code 1 on drift."""

import sys

from envs.libero import doctor


def main(arguments: list[str]) -> int:
    """`--gl` only looks for a renderer; suite names say whose references to compare with."""
    try:
        if arguments == ["--gl"]:
            return doctor.check_gl()
        return doctor.check_machine(arguments or ["libero_object"])
    except (RuntimeError, ValueError) as error:
        print(f"doctor: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
