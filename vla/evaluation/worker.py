"""A worker process: builds the policy once, then runs the episodes it is given until it is told to end."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2

from vla.command.config import build
from vla.command.errors import RefusedError
from vla.command.processes import Failed
from vla.evaluation.episode import EpisodeRunner
from vla.evaluation.journal import Row
from vla.evaluation.plan import Plan
from vla.evaluation.policy_files import policy_files
from vla.evaluation.shared_policy import Ready, SharedPolicy
from vla.protocols import Policy
from vla.runtime.fit import MisfitError, Needs, needs_of


@dataclass(frozen=True)
class Finished:
    """A worker has a row for the journal."""

    row: Row


def worker_main(
    connection: Connection[Any, Any], plan: Plan, folder: Path, drifted: bool, needs: Needs | None = None
) -> None:
    """Body of a worker process. Receives `EpisodeKey` or None, sends `Ready`, `Failed`, `Query` and `Finished`.

    `needs` are those of a shared policy; a worker finds out those of its own.
    """
    cv2.setNumThreads(1)
    try:
        policy: Policy
        files = None
        if plan.settings.inference == "shared":
            policy = SharedPolicy(connection)
        else:
            policy = build(plan.config["policy"], "policy")
            files, needs = policy_files(plan.config["policy"]), needs_of(policy)
        build(plan.config["runtime"], "runtime")(policy)  # bad settings are refused once, not in every episode
    except (RefusedError, TypeError, ValueError) as error:
        connection.send(Failed(str(error)))
        return
    runner = EpisodeRunner(plan, folder, policy, drifted, needs)
    connection.send(Ready(files))
    try:
        while (key := connection.recv()) is not None:
            connection.send(Finished(runner.run(key)))
    except MisfitError as error:
        connection.send(Failed(str(error)))
    runner.close()
