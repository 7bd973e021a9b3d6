import json

import pytest
from scipy.stats import binomtest

from tests.fakes import fake_row
from vla.command.errors import RefusedError
from vla.evaluation.compare import compare_folders, compare_rows, describe, write_comparison
from vla.evaluation.journal import Journal
from vla.evaluation.run_folder import RunFolder
from vla.evaluation.statistics import PairedCounts
from vla.files import write_json


def rows(outcomes):
    """{task: "SFE..."} -> rows; S success, F failure, E error."""
    names = {"S": "SUCCESS", "F": "FAILURE", "E": "ERROR"}
    return [fake_row(task, k, names[c]) for task, text in outcomes.items() for k, c in enumerate(text)]


def run_folder(path, outcomes, render="full", drifts=(), files=None):
    path.mkdir()
    write_json(path / "plan.json", {"hash": "0", "identity": {"env": {"render": render}}})
    write_json(path / "fingerprint.json", {"environment": {"files": files or {}}, "drifts": list(drifts)})
    with Journal(path / "episodes.jsonl") as journal:
        for row in rows(outcomes):
            journal.append(row)
    return RunFolder(path)


def test_numbers_are_those_of_the_shared_trials():
    comparison = compare_rows("a", "b", rows({0: "SSSS", 1: "SSFE", 2: "S"}), rows({0: "SSSS", 1: "FFS"}))
    assert comparison.pairs == PairedCounts(both=4, only_a=2, only_b=1, neither=0)
    assert (comparison.unmatched_a, comparison.unmatched_b) == (2, 0)
    assert comparison.p_value == binomtest(2, 3).pvalue
    assert [(t.task_id, t.pairs.only_a, t.pairs.only_b) for t in comparison.tasks] == [(1, 2, 1)]
    low, high = comparison.ci95
    assert comparison.pairs.difference == pytest.approx(1 / 7)
    assert low < 1 / 7 < high
    assert "more paired episodes" in comparison.verdict()


def test_verdicts():
    better = compare_rows("a", "b", rows({0: "F" * 12}), rows({0: "S" * 12}))
    assert better.verdict().startswith("B is better")
    assert "no number of episodes" in compare_rows("a", "b", rows({0: "SF"}), rows({0: "FS"})).verdict()
    assert compare_rows("a", "b", rows({0: "SSSSS"}), rows({0: "FFFFF"})).verdict().startswith("Undecided")


def test_outputs_say_what_was_left_out_and_are_escaped(tmp_path):
    a = run_folder(tmp_path / "a", {0: "SSF", 1: "S"})
    b = run_folder(tmp_path / "b", {0: "SFF"})
    comparison = compare_folders(a, b)
    text = describe(comparison)
    assert "1 only in A, 0 only in B" in text
    assert "Tasks where they differ" in text
    path = write_comparison(comparison, tmp_path / "out")
    assert "<b>bowl" not in path.read_text()
    assert "&lt;b&gt;bowl" in path.read_text()
    stored = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert stored["pairs"] == {"both": 1, "only_a": 1, "only_b": 0, "neither": 1}


def test_different_environments_are_refused_unless_insisted(tmp_path):
    a = run_folder(tmp_path / "a", {0: "S"})
    b = run_folder(tmp_path / "b", {0: "F"}, render="lod", drifts=["dark floor"])
    with pytest.raises(RefusedError, match=r"(?s)env\.render: A 'full', B 'lod'.*dark floor.*--anyway"):
        compare_folders(a, b)
    assert "CAVEAT" in describe(compare_folders(a, b, anyway=True))


def test_a_folder_of_tasks_in_which_a_file_was_changed_is_another_benchmark(tmp_path):
    a = run_folder(tmp_path / "a", {0: "S"}, files={"bddl": "aaa"})
    b = run_folder(tmp_path / "b", {0: "F"}, files={"bddl": "bbb"})
    with pytest.raises(RefusedError, match=r"files\.bddl: A 'aaa', B 'bbb'"):
        compare_folders(a, b)


def test_nothing_shared_and_no_run_folder_are_refused(tmp_path):
    with pytest.raises(RefusedError, match="share no trial"):
        compare_rows("a", "b", rows({0: "S"}), rows({1: "S"}))
    with pytest.raises(RefusedError, match="expected a run folder"):
        compare_folders(RunFolder(tmp_path), RunFolder(tmp_path))
