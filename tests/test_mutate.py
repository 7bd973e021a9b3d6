"""The mutation script itself; running all of it takes minutes and is done by hand."""

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("mutate", ROOT / "scripts/mutate.py")
mutate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mutate)


@pytest.mark.parametrize("mutation", mutate.MUTATIONS, ids=lambda mutation: mutation.what)
def test_every_mutation_still_fits_the_code(mutation, tmp_path):
    target = tmp_path / mutation.file
    target.parent.mkdir(parents=True)
    shutil.copyfile(ROOT / mutation.file, target)
    mutate.apply(mutation, tmp_path)
    changed = target.read_text()
    assert changed != (ROOT / mutation.file).read_text()
    compile(changed, mutation.file, "exec")


def test_the_issues_seven_are_there():
    seven = {"mask", "slot shift", "tap layer", "GELU kind", "norm epsilon", "channel order", "resize filter"}
    assert {mutation.what.partition(":")[0] for mutation in mutate.MUTATIONS} == seven


def test_a_mutation_that_no_longer_fits_is_named(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"expected 'x = 2' once in a\.py, got 0"):
        mutate.apply(mutate.Mutation("mask", "a.py", "x = 2", "x = 3"), tmp_path)
