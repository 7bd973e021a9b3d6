"""The gate lets this machine pass and stops what has cost others 20 points."""

from __future__ import annotations

import json

import numpy as np
import pytest

from envs.libero import conformance
from envs.libero.suites import SUITES


@pytest.fixture(scope="module")
def measured():
    return conformance.measure("libero_object")


def check_with(monkeypatch, found):
    monkeypatch.setattr(conformance, "measure", lambda suite: found)
    return conformance.check("libero_object").drifts


def test_this_machine_conforms(monkeypatch, measured):
    assert check_with(monkeypatch, measured) == ()


def test_every_suite_has_references():
    stored = json.loads(conformance.REFERENCES.read_text())["suites"]
    assert set(stored) == set(SUITES)


def test_another_mujoco_is_named_with_the_command_that_mends_it(monkeypatch, measured):
    found = {**measured, "versions": {**measured["versions"], "mujoco": "3.3.3"}}
    (drift,) = check_with(monkeypatch, found)
    assert "mujoco: expected version 3.3.2, got 3.3.3" in drift
    assert "pip install mujoco==3.3.2" in drift


def test_the_darker_floor_is_stopped(monkeypatch, measured):
    agentview = measured["images"]["agentview"]
    darker = {"mean": agentview["mean"] - 36.0, "blocks": (np.array(agentview["blocks"]) - 36.0).tolist()}
    found = {**measured, "images": {**measured["images"], "agentview": darker}}
    drifts = check_with(monkeypatch, found)
    assert any("mean grey level" in drift for drift in drifts)


def test_a_local_difference_with_the_same_mean_is_stopped(monkeypatch, measured):
    wrist = measured["images"]["wrist"]
    blocks = np.array(wrist["blocks"])
    blocks[3, 4] += 6.0
    found = {**measured, "images": {**measured["images"], "wrist": {"mean": wrist["mean"], "blocks": blocks.tolist()}}}
    (drift,) = check_with(monkeypatch, found)
    assert "block (row 3, column 4)" in drift


def test_a_renderer_within_tolerance_passes(monkeypatch, measured):
    noise = np.random.default_rng(0).uniform(-1, 1, (8, 8))
    images = {
        camera: {"mean": image["mean"] + 0.2, "blocks": (np.array(image["blocks"]) + noise).tolist()}
        for camera, image in measured["images"].items()
    }
    assert check_with(monkeypatch, {**measured, "images": images}) == ()


def test_changed_assets_are_named(monkeypatch, measured):
    found = {**measured, "files": {**measured["files"], "libero_assets": "0" * 64}}
    (drift,) = check_with(monkeypatch, found)
    assert drift.startswith("libero_assets: expected files")
