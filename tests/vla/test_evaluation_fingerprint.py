import json
import os
import shutil
import sys

import pytest

from tests.fakes import fake_config
from vla.command.errors import RefusedError
from vla.evaluation import policy_files as module
from vla.evaluation.fingerprint import code_hashes
from vla.evaluation.plan import make_plan
from vla.evaluation.policy_files import policy_files
from vla.evaluation.run_folder import RunFolder, drifts_of


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's own package with one policy."""
    folder = tmp_path / "users_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "policy.py").write_text("GAIN = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    sys.modules.pop("users_package", None)


CONFIG = {"policy": {"_target_": "users_package.policy.Mine", "head": {"_target_": "vla.heads.L1"}}}


def test_an_edit_of_any_source_file_shows(package):
    before = code_hashes(CONFIG)
    assert set(before) == {"users_package", "vla"}
    assert code_hashes(CONFIG) == before
    (package / "policy.py").write_text("GAIN = 2\n")
    after = code_hashes(CONFIG)
    assert after["users_package"] != before["users_package"]
    assert after["vla"] == before["vla"]


def test_an_edit_of_a_policy_in_a_single_file_shows(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"policy": {"_target_": "users_module.Mine"}}
    (tmp_path / "users_module.py").write_text("GAIN = 1\n")
    before = code_hashes(config)
    assert code_hashes(config) == before
    (tmp_path / "users_module.py").write_text("GAIN = 2\n")
    assert code_hashes(config)["users_module"] != before["users_module"]


def test_a_run_is_not_continued_with_edited_code(tmp_path):
    plan = make_plan(fake_config(tmp_path / "run"))
    folder = RunFolder(tmp_path / "run")
    folder.prepare()
    folder.claim(plan, "command", fresh=True)
    fingerprint = {"environment": {}, "drifts": [], "packages": {}, "python": "3.11", "code": {"envs": "one"}}
    folder.claim_fingerprint(fingerprint, allow_drift=False)
    with pytest.raises(RefusedError, match=r"code\.envs: then 'one', now 'two'"):
        folder.claim_fingerprint({**fingerprint, "code": {"envs": "two"}}, allow_drift=False)
    assert json.loads(folder.fingerprint.read_text())["code"] == {"envs": "one"}


def test_conditions_that_changed_are_kept_beside_the_first_ones(tmp_path):
    folder = RunFolder(tmp_path)
    first = {"environment": {}, "drifts": [], "packages": {}, "python": "3.11", "code": {"envs": "one"}}
    edited = {**first, "code": {"envs": "two"}}
    assert folder.claim_fingerprint(first, allow_drift=True) == []
    for _ in range(2):
        assert folder.claim_fingerprint(edited, allow_drift=True) == ["  - code.envs: then 'one', now 'two'"]
    assert folder.claim_fingerprint(first, allow_drift=True) == []
    kept = json.loads(folder.fingerprint.read_text())
    assert kept == {**first, "continued": [edited]}
    assert drifts_of(kept) == ["code.envs: at first 'one', continued with 'two'"]


def test_a_checkpoint_is_known_by_its_files(tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint"
    (checkpoint / "heads").mkdir(parents=True)
    for name, content in {"model": "one", "heads/action": "two", ".model.tmp": "half"}.items():
        (checkpoint / name).write_text(content)
    config = {"_target_": "x.Y", "checkpoint": str(checkpoint), "head": {"base": None}, "words": "w" * 300, "none": ""}
    before = policy_files(config)
    assert {key: sorted(files) for key, files in before.items()} == {"checkpoint": ["heads/action", "model"]}
    shutil.copytree(checkpoint, tmp_path / "copy")
    assert policy_files({"checkpoint": str(tmp_path / "copy")}) == before
    (checkpoint / "model").write_text("owe")  # as large as before
    assert policy_files(config) != before
    assert list(policy_files({"weights": str(checkpoint / "model")})["weights"]) == ["model"]
    monkeypatch.setattr(module, "HASHED_UP_TO", 0)
    large = policy_files(config)
    assert large["checkpoint"]["model"].startswith("3 bytes, changed at ")
    os.utime(checkpoint / "model", ns=(0, 0))
    assert policy_files(config) != large


def test_a_checkpoint_that_is_being_replaced_is_refused(tmp_path, monkeypatch):
    (tmp_path / "model").touch()

    def vanish(file):
        file.unlink()
        return file.stat()

    monkeypatch.setattr(module, "_content", vanish)
    with pytest.raises(RefusedError, match=r"model vanished while it was read.*Copy the checkpoint"):
        policy_files({"checkpoint": str(tmp_path)})
