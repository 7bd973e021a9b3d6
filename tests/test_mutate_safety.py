"""The script that breaks the safety code; running all of it takes minutes and is done by hand."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts/mutate_safety.py"
_spec = importlib.util.spec_from_file_location("mutate_safety", SCRIPT)
mutate_safety = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mutate_safety)


def changes(source: str) -> set[str]:
    return {mutant.after for mutant in mutate_safety.mutants(source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < 3", {"x = a <= 3", "x = a >= 3", "x = a < 4", "x = a < 2"}),
        ("x = a and (not b)", {"x = a or not b", "x = a", "x = not b", "x = a and b"}),
        ("x = a + 2.0", {"x = a - 2.0", "x = a + 2.2", "x = a + 1.8"}),
        ("x = min(a, True)", {"x = max(a, True)", "x = min(a, False)"}),
        ("if a:\n    f()", {"if False:", "if True:", "pass"}),
        ("while a:\n    break", {"while False:", "continue", "pass"}),
        ("def f(a: int | None = b) -> int | None:\n    'What for.'\n    return a", {"pass"}),
        ("self.a = b", {"pass"}),
        ("a = f'{b:.3f}'", set()),
        ("x = b'ab'", {"x = b'a'"}),
    ],
)
def test_what_is_broken(source, expected):
    assert changes(source) == expected


def test_a_mutant_says_where_it_is_and_leaves_the_rest_alone():
    [mutant] = mutate_safety.mutants(
        "class A:\n    def f(self):\n        return self.g(B)\n\n    def g(self, b):\n        pass\n"
    )
    assert mutant.row("some/where/a.py") == "| a.py | A.f | `return self.g(B)` → `pass` |"
    assert mutant.text == "class A:\n\n    def f(self):\n        pass\n\n    def g(self, b):\n        pass"


def test_every_reason_still_fits_the_code():
    rows = {
        mutant.row(file)
        for file in mutate_safety.TARGETS
        for mutant in mutate_safety.mutants((ROOT / file).read_text())
    }
    explained = [line for line in mutate_safety.REASONS.read_text().splitlines() if "` → `" in line]
    assert explained
    for line in explained:
        [row] = [row for row in rows if line.startswith(row)]
        assert len(line.removeprefix(row).strip(" |")) > 10, line


SMALL = """
def allowed(speed: float) -> bool:
    return speed <= 2.0


def note() -> None:
    print(end="")
"""
SMALL_TEST = """
from small import allowed, note

def test_it():
    note()
    assert [allowed(speed) for speed in (1.0, 2.0, 3.0)] == [True, True, False]
"""
RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
import mutate_safety
mutate_safety.ROOT = Path.cwd()
mutate_safety.REASONS = Path("reasons.md")
mutate_safety.TARGETS = {"small.py": ("test_small.py",)}
sys.exit(mutate_safety.main())
"""


def test_a_run_tells_the_killed_from_the_explained_and_the_rest(tmp_path):
    (tmp_path / "small.py").write_text(SMALL)
    (tmp_path / "test_small.py").write_text(SMALL_TEST)
    (tmp_path / "reasons.md").write_text("| small.py | note | `print(end='')` → `pass` | nothing is shown |\n")
    command = [sys.executable, "-c", RUN, str(SCRIPT.parent)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 1, ran.stderr
    assert lines[2] == "| small.py | 100% | 6 | 4 | 0 | 1 | 1 |"
    assert lines[3:] == ["", "| small.py | allowed | `return speed <= 2.0` → `return speed <= 2.2` |"]


@pytest.mark.parametrize("file", mutate_safety.TARGETS)
def test_the_table_counts_the_mutants_of_the_code_as_it_is(file):
    [row] = [line for line in mutate_safety.REASONS.read_text().splitlines() if line.startswith(f"| `{file}` |")]
    mutants, killed, explained = (int(cell) for cell in row.split("|")[3:6])
    assert mutants == len(list(mutate_safety.mutants((ROOT / file).read_text()))) == killed + explained
