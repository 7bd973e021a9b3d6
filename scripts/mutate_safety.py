"""Break the safety code in every small way, one at a time, and show what no test notices.

    python scripts/mutate_safety.py             all of it
    python scripts/mutate_safety.py gate.py     one file

Each file is judged by its own tests: first their branch coverage, then a mutant at a time in a forked child, which
pays neither for imports nor with the working tree. Exit code 1 if a branch is not covered or a survivor has no reason
in docs/mutations.md. `scripts/mutate.py` is for the policy, whose mutations are chosen by hand.
"""

import argparse
import ast
import importlib.util
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import coverage
import dynamixel_sdk  # noqa: F401  loaded once here, so that no child has to; like hypothesis, numpy, pytest
import hypothesis
import numpy  # noqa: F401
import pytest
import serial  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
REASONS = ROOT / "docs/mutations.md"
_ALOHA, _DYNAMIXEL = "tests/robot_drivers/aloha/test_aloha_", "tests/robot_drivers/dynamixel/test_dynamixel_"
TARGETS = {
    "robot_drivers/aloha/gate.py": (f"{_ALOHA}gate.py",),
    "robot_drivers/aloha/resistance.py": (f"{_ALOHA}setpoint.py",),
    "robot_drivers/aloha/setpoint.py": (f"{_ALOHA}setpoint.py",),
    "robot_drivers/aloha/torque.py": (f"{_ALOHA}torque.py",),
    "robot_drivers/aloha/watchdog.py": (f"{_ALOHA}watchdog.py",),
    "robot_drivers/dynamixel/packet.py": (f"{_DYNAMIXEL}packet.py",),
    "robot_drivers/dynamixel/parser.py": (f"{_DYNAMIXEL}parser.py",),
    "robot_drivers/dynamixel/units.py": (f"{_DYNAMIXEL}registers.py",),
    "vla/runtime/safety.py": ("tests/vla/test_runtime.py",),
}

OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitAnd,),
}
_PAIRS = (("min", "max"), ("any", "all"), ("argmin", "argmax"), ("add", "subtract"), ("find", "rfind"))
NAMES = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
# Without plugins and conftest.py, which these tests do without, a child needs a quarter of a second instead of two.
PYTEST = ("-x", "--tb=no", "-p", "no:cacheprovider", "--noconftest", "--disable-plugin-autoload")
MEMORY = 4 << 30  # [byte] that a mutant may fill before it is stopped
UNTOUCHED = {"annotation", "returns", "decorator_list", "format_spec"}  # types and texts for people


class Mutant(NamedTuple):
    """A module with one thing wrong: where, its line before and after, and the whole text."""

    where: str
    before: str
    after: str
    text: str

    def row(self, file: str) -> str:
        """How docs/mutations.md begins the row that explains it."""
        change = f"`{self.before}` → `{self.after}`".replace("|", r"\|")
        return f"| {Path(file).name} | {self.where} | {change} |"


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module's text, each once."""
    tree = ast.parse(source)
    plain = ast.unparse(tree)
    seen = {plain}
    for where, node, others, put in _places(tree, ""):
        for other in others:
            put(other)
            text = ast.unparse(tree)
            put(node)
            if text not in seen:
                seen.add(text)
                pairs = zip(plain.splitlines(), text.splitlines(), strict=True)
                before, after = next((one.strip(), two.strip()) for one, two in pairs if one != two)
                yield Mutant(where or "module", before, after, text)


def _places(parent: ast.AST, where: str) -> Iterator[tuple[str, ast.AST, list[ast.AST], Callable[[ast.AST], None]]]:
    """Of all nodes below: the name of what it is in, the node, what to put instead, and how."""
    if isinstance(parent, ast.ClassDef | ast.FunctionDef):
        where = f"{where}.{parent.name}".lstrip(".")
    for field, value in ast.iter_fields(parent):
        if field in UNTOUCHED:
            continue
        puts = [partial(value.__setitem__, k) for k in range(len(value))] if isinstance(value, list) else []
        answers = [ast.Constant(False), ast.Constant(True)] if field in ("test", "ifs") else []
        del answers[1 if isinstance(parent, ast.While) else 2 :]  # `while True` would not end
        for node, put in zip(value, puts, strict=True) if puts else [(value, partial(setattr, parent, field))]:
            if isinstance(node, ast.AST):
                others = [*_alternatives(node), *answers]
                yield where, node, others, put
                yield from _places(node, where)


def _alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand there by mistake."""
    yield from (kind() for kind in OPERATORS.get(type(node), ()))
    match node:
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Constant(float(value)):
            yield from (ast.Constant(value * 1.1 or 1.0), ast.Constant(value * 0.9 or -1.0))
        case ast.Constant(bytes(value)):
            yield ast.Constant(value[:-1] or b"\0")
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.BoolOp(op, values):
            for k in range(len(values)):
                kept = values[:k] + values[k + 1 :]
                yield ast.BoolOp(op, kept) if len(kept) > 1 else kept[0]
        case ast.Name(name) if name in NAMES:
            yield ast.Name(NAMES[name])
        case ast.Attribute(value, name) if name in NAMES:
            yield ast.Attribute(value, NAMES[name])
        case ast.Break():
            yield from (ast.Continue(), ast.Pass())
        case ast.Expr(ast.Constant()):
            pass  # a docstring
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Return() | ast.Continue():
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript() | ast.Tuple(), *_]):
            yield ast.Pass()


class Run(NamedTuple):
    """How the tests ended, and what they cost."""

    passed: bool
    late: bool
    cpu: float  # [s]
    covered: str = ""


def run(file: str, tests: tuple[str, ...], text: str | None, limit: float | None = None) -> Run:
    """Run tests in a forked child.

    Args:
        file, tests: from the repository's root.
        text: what the file shall hold; None for what it does, with its branch coverage.
        limit: [s] of processor time. Ten times as long, and half a minute, may pass: who waits for ever needs none.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit),) * 2)
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                signal.alarm(30 + math.ceil(10 * limit))
            code = _in_child(file, tests, text, writing)
        except BaseException:  # whatever a mutant does when it is loaded, it is noticed
            code = 99
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        covered = pipe.read()
    _, status, used = os.wait4(child, 0)
    return Run(status == 0, os.WIFSIGNALED(status), used.ru_utime + used.ru_stime, covered)


def _in_child(file: str, tests: tuple[str, ...], text: str | None, writing: int) -> int:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    quick = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # a smaller example is of no use here
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=quick)
    hypothesis.settings.load_profile("mutants")
    if text is not None:
        name = file.removesuffix(".py").replace("/", ".")
        module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, ROOT / file))
        sys.modules[name] = module
        exec(compile(text, file, "exec"), module.__dict__)
        return pytest.main([*PYTEST, *tests])
    measured = coverage.Coverage(data_file=None, branch=True, include=[file])
    with measured.collect():
        code = pytest.main([*PYTEST, *tests])
    with os.fdopen(writing, "w") as pipe:
        measured.report(show_missing=True, file=pipe)
    return code


def judge(file: str, tests: tuple[str, ...], reasons: list[str]) -> tuple[str, list[str]]:
    """Cover one file and break it: its row of the table, and what there is to do.

    Args:
        file, tests: from the repository's root.
        reasons: rows that explain survivors.

    Raises:
        RuntimeError: the tests fail already.
    """
    plain = run(file, tests, None)
    if not plain.passed:
        raise RuntimeError(f"{', '.join(tests)}: expected to pass without any mutant; mend them first")
    share = next(line.split()[5] for line in plain.covered.splitlines() if line.startswith(file))
    made, late, survivors = 0, 0, []
    for mutant in mutants((ROOT / file).read_text()):
        broken = run(file, tests, mutant.text, limit=2 + plain.cpu)  # with coverage it took twice as long
        made, late = made + 1, late + broken.late
        survivors += [mutant.row(file)] if broken.passed else []
    lost = [row for row in survivors if not any(reason.startswith(row) for reason in reasons)]
    numbers = (share, made, made - len(survivors), late, len(survivors) - len(lost), len(lost))
    return f"| {file} | {' | '.join(map(str, numbers))} |", [plain.covered] * (share != "100%") + lost


def main() -> int:
    """Print a Markdown table; below it branches that are not covered and survivors without a reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="files whose path contains one of these words; default: all")
    words = parser.parse_args().only
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    reasons = REASONS.read_text().splitlines()
    todo = []
    print("| file | branches covered | mutants | killed | of these by the time limit | explained | not explained |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for file, tests in TARGETS.items():
        if not words or any(word in file for word in words):
            row, complaints = judge(file, tests, reasons)
            todo += complaints
            print(row, flush=True)
    print("", *todo, sep="\n")
    return int(bool(todo))


if __name__ == "__main__":
    sys.exit(main())
