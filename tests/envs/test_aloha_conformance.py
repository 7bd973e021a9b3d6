"""The gate lets this machine pass and stops other versions and changed scenes."""

from __future__ import annotations

import pytest

from envs.aloha import conformance


def test_this_machine_conforms():
    found = conformance.check("aloha_insertion")
    assert found.drifts == ()
    assert found.fingerprint["versions"] == conformance.VERSIONS
    assert found.fingerprint["renderer"]["backend"] in ("osmesa", "egl")


def test_another_mujoco_is_named_with_the_command_that_mends_it(monkeypatch):
    monkeypatch.setattr(conformance, "versions", lambda packages: {"mujoco": "3.3.3", "gym-aloha": "0.1.5"})
    (drift,) = conformance.check("aloha_insertion").drifts
    assert "mujoco: expected version 3.3.2, got 3.3.3" in drift
    assert "pip install mujoco==3.3.2" in drift


def test_changed_scenes_are_named(monkeypatch):
    monkeypatch.setattr(conformance, "hash_tree", lambda root, endings: "0" * 64)
    (drift,) = conformance.check("aloha_transfer_cube").drifts
    assert drift.startswith("scenes: expected files")


def test_an_unknown_suite_is_refused():
    with pytest.raises(ValueError, match="did you mean 'aloha_insertion'"):
        conformance.check("aloha_insert")
