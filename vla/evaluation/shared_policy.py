"""One policy for all workers (`eval.inference=shared`): a process that answers what is waiting, in batches.

Only for policies whose answer depends on the observation alone: `reset` is not passed on, for the episodes of
several workers are interleaved. Queries travel worker -> parent -> here, so that a worker that dies in the
middle of a query harms nobody else. What waits together is answered together, so with several workers the size of a
batch is a matter of timing, and answers repeat up to rounding.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from vla.command.config import build
from vla.command.errors import RefusedError
from vla.command.processes import Failed
from vla.evaluation.plan import Plan
from vla.evaluation.policy_files import Files, policy_files
from vla.protocols import BatchedPolicy, Policy, PrivilegedPolicy, SpecPolicy
from vla.runtime.fit import Needs, needs_of
from vla.types import ActionChunk, Observation


@dataclass(frozen=True)
class Ready:
    """A child has built what it needs.

    Attributes:
        files: those of the policy, after it was built from them (see `policy_files`); None if it has no policy.
        needs: of the policy.
    """

    files: Files | None = None
    needs: Needs | None = None


@dataclass(frozen=True)
class Query:
    """A worker asks. The parent fills in the number, which no other query of the run has."""

    observation: Observation
    serial: int = -1


@dataclass(frozen=True)
class Answer:
    """The chunk, or the traceback of the policy; `serial` says which query it answers."""

    serial: int
    chunk: ActionChunk | None
    error: str | None = None


class SharedPolicy:
    """The worker's side: a Policy that asks through the pipe to the parent."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection

    def reset(self) -> None:
        """Nothing: the shared policy remembers no episode."""

    def infer(self, observation: Observation) -> ActionChunk:
        """Send the observation with its images rendered, wait for the chunk.

        Raises:
            RuntimeError: the policy raised; the message holds its traceback.
        """
        concrete = dataclasses.replace(observation, images=dict(observation.images))
        self._connection.send(Query(concrete))
        answer: Answer = self._connection.recv()
        if answer.chunk is None:
            raise RuntimeError(f"the shared policy raised:\n{answer.error}")
        return answer.chunk


def policy_main(connection: Connection[Any, Any], plan: Plan) -> None:
    """Body of the policy process. Receives `Query` or None, sends `Ready`, `Failed` and `Answer`."""
    try:
        policy = build(plan.config["policy"], "policy")
        if isinstance(policy, PrivilegedPolicy):
            raise RefusedError(
                f"eval.inference=shared: {plan.config['policy']['_target_']} reads the simulator, "
                "which lives in the workers. Use eval.inference=worker."
            )
        if isinstance(policy, SpecPolicy):
            raise RefusedError(
                f"eval.inference=shared: {plan.config['policy']['_target_']} must know the robot, "
                "which is in the workers. Use eval.inference=worker."
            )
        policy.reset()
        files = policy_files(plan.config["policy"])
    except RefusedError as error:
        connection.send(Failed(str(error)))
        return
    connection.send(Ready(files, needs_of(policy)))
    while True:
        message = connection.recv()
        waiting: list[Query] = []
        while message is not None:
            waiting.append(message)
            if not connection.poll():
                break
            message = connection.recv()
        for answer in answer_all(policy, waiting):
            connection.send(answer)
        if message is None:
            return


def answer_all(policy: Policy, queries: Sequence[Query]) -> list[Answer]:
    """Answer in one batch if the policy can. A query that fails does not fail those that waited with it."""
    if isinstance(policy, BatchedPolicy) and len(queries) > 1:
        try:
            chunks = policy.infer_batch([query.observation for query in queries])
            return [Answer(query.serial, chunk) for query, chunk in zip(queries, chunks, strict=True)]
        except Exception:
            traceback.print_exc()  # to the log; now one by one, to find out whose fault it was
    return [_answer(policy, query) for query in queries]


def _answer(policy: Policy, query: Query) -> Answer:
    try:
        return Answer(query.serial, policy.infer(query.observation))
    except Exception:
        return Answer(query.serial, None, traceback.format_exc())
