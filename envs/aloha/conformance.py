"""Are the scenes and MuJoCo those that the reported results were measured on?"""

from __future__ import annotations

from envs.aloha.suites import assets, load_suite
from envs.conformance import hash_tree, version_drifts, versions
from envs.rendering import gl_strings
from vla.types import Conformance

VERSIONS = {"mujoco": "3.3.2", "gym-aloha": "0.1.5"}
SCENES_SHA256 = "3422eb9074fe43a7a12dbff373f4858d08f09932922556739a0c99a60df5f45e"  # of gym-aloha's MJCF and meshes


def check(suite: str) -> Conformance:
    """Compare versions and the files of the scenes with those of the reported results.

    Raises:
        ValueError: unknown suite.
        FileNotFoundError: the package with the scenes is not installed.
        envs.rendering.RenderingUnavailable: no off-screen OpenGL on this machine.
    """
    load_suite(suite)
    found, scenes = versions(VERSIONS), hash_tree(assets(), {".xml", ".stl"})
    drifts = version_drifts(VERSIONS, found)
    if scenes != SCENES_SHA256:
        drifts.append(
            f"scenes: expected files with sha256 {SCENES_SHA256[:12]}, got {scenes[:12]}; "
            "reinstall gym-aloha without local changes"
        )
    return Conformance({"versions": found, "renderer": gl_strings(), "files": {"scenes": scenes}}, tuple(drifts))
