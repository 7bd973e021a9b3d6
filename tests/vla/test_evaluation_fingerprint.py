import json
import sys

import pytest

from tests.fakes import fake_config
from vla.evaluation.errors import RefusedError
from vla.evaluation.fingerprint import code_hashes
from vla.evaluation.plan import make_plan
from vla.evaluation.run_folder import RunFolder


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


def test_a_run_is_not_continued_with_edited_code(tmp_path):
    plan = make_plan(fake_config(tmp_path / "run"))
    folder = RunFolder(tmp_path / "run")
    folder.claim(plan, "command")
    fingerprint = {"environment": {}, "drifts": [], "packages": {}, "python": "3.11", "code": {"envs": "one"}}
    folder.claim_fingerprint(fingerprint, allow_drift=False)
    with pytest.raises(RefusedError, match=r"code\.envs: then 'one', now 'two'"):
        folder.claim_fingerprint({**fingerprint, "code": {"envs": "two"}}, allow_drift=False)
    assert json.loads(folder.fingerprint.read_text())["code"] == {"envs": "one"}
