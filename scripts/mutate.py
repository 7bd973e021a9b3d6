"""Break one thing at a time in a copy of the policy and show which tests notice: `python scripts/mutate.py`.

The repository itself is not touched. Exit code 1 if a mutation goes unnoticed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SUITES = ("test_openvla_oft_parity.py", "test_openvla_oft_model.py", "test_images.py")


class Mutation(NamedTuple):
    """What to replace where; the text stands there exactly once."""

    what: str
    file: str
    old: str
    new: str


_LANGUAGE, _SEQUENCE, _VISION, _PROJECTORS, _CONFIG = (
    f"vla/models/openvla_oft/{name}.py" for name in ("language", "sequence", "vision", "projectors", "config")
)
_PIXELS, _RESIZE = "vla/data/pixels.py", "vla/data/resize.py"
_TRUNK_SIZES = "vocabulary: int = 32064\n    norm_eps: float = 1e-"
_TOWERS = "[self.featurizer(flat[:, :3], words), self.fused_featurizer(flat[:, 3:], words)]"
_SWAPPED = "[self.featurizer(flat[:, 3:], words), self.fused_featurizer(flat[:, :3], words)]"
_LANCZOS = "np.sinc(distance) * np.sinc(distance / _LOBES)"
_NORM = "self.norm2 = nn.LayerNorm(config.width, eps="
MUTATIONS = [
    Mutation("mask: causal", _LANGUAGE, "if mode is MaskMode.BIDIRECTIONAL:", "if False:"),
    Mutation("mask: padding is seen", _LANGUAGE, "None if real is None else real[:, None, None, :]", "None"),
    Mutation("slot shift: none", _SEQUENCE, "return self.slots_at - 1", "return self.slots_at"),
    Mutation("slot shift: two", _SEQUENCE, "return self.slots_at - 1", "return self.slots_at - 2"),
    Mutation("tap layer: last block", _VISION, "in self.blocks[:-1]:", "in self.blocks:"),
    Mutation("tap layer: one earlier", _VISION, "in self.blocks[:-1]:", "in self.blocks[:-2]:"),
    Mutation("GELU kind: towers", _VISION, "F.gelu(self.fc1(x))", 'F.gelu(self.fc1(x), approximate="tanh")'),
    Mutation("GELU kind: patches", _PROJECTORS, "self.fc1(patches))", 'self.fc1(patches), approximate="tanh")'),
    Mutation("GELU kind: state", _PROJECTORS, "self.fc1(numbers))", 'self.fc1(numbers), approximate="tanh")'),
    Mutation("norm epsilon: trunk", _LANGUAGE, "+ self.eps)", "+ 1e-5)"),
    Mutation("norm epsilon: full size", _CONFIG, f"{_TRUNK_SIZES}6", f"{_TRUNK_SIZES}5"),
    Mutation("norm epsilon: towers", _VISION, f"{_NORM}config.norm_eps)", f"{_NORM}1e-5)"),
    Mutation("channel order: towers", _VISION, _TOWERS, _SWAPPED),
    Mutation("channel order: blue first", _PIXELS, "image.transpose(2, 0, 1)", "image.transpose(2, 0, 1)[::-1]"),
    Mutation("resize filter: two lobes", _RESIZE, "_LOBES = 3.0", "_LOBES = 2.0"),
    Mutation("resize filter: no antialias", _RESIZE, "spread = max(scale, 1.0)", "spread = 1.0"),
    Mutation("resize filter: linear", _RESIZE, _LANCZOS, "1 - distance / _LOBES"),
]


def main() -> int:
    """Parse, break, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="mutations whose name contains one of these words; default: all")
    words = parser.parse_args().only
    chosen = [m for m in MUTATIONS if not words or any(word in m.what for word in words)]
    if failed := failing_tests(None):
        print(f"without any mutation these tests fail already: {failed}; mend them first", file=sys.stderr)
        return 2
    print("| mutation | tests that fail | for one |\n|---|---|---|", flush=True)
    unnoticed = 0
    for mutation in chosen:
        failed = failing_tests(mutation)
        unnoticed += not failed
        first = f"`{failed[0].rpartition('/')[2]}`" if failed else "**unnoticed**"
        print(f"| {mutation.what} | {len(failed)} | {first} |", flush=True)
    return int(unnoticed > 0)


def failing_tests(mutation: Mutation | None) -> list[str]:
    """Names of the tests that fail in a copy with this mutation."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("vla", "tests", "scripts"):
            shutil.copytree(ROOT / part, copy / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(ROOT / "pyproject.toml", copy / "pyproject.toml")
        if mutation is not None:
            apply(mutation, copy)
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "300"}
        command += [f"tests/vla/{suite}" for suite in SUITES]
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=copy, env=environment)
    if run.returncode not in (0, 1):
        raise RuntimeError(f"mutation {mutation}: the tests did not run: {run.stdout[-500:]}{run.stderr[-500:]}")
    return re.findall(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)


def apply(mutation: Mutation, root: Path) -> None:
    """Replace the text.

    Raises:
        ValueError: it does not stand there exactly once, so the mutation has to be brought up to date.
    """
    path = root / mutation.file
    text = path.read_text()
    if (count := text.count(mutation.old)) != 1:
        raise ValueError(f"mutation {mutation.what!r}: expected {mutation.old!r} once in {mutation.file}, got {count}")
    path.write_text(text.replace(mutation.old, mutation.new))


if __name__ == "__main__":
    sys.exit(main())
