"""The parent's loop: hands out episodes, writes rows to the journal, replaces workers that die."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from vla.command.config import describe_differences
from vla.command.errors import CommandError, InterruptedRunError, RefusedError
from vla.command.processes import Child, Failed, StopRequest, start_child
from vla.evaluation.dispatch import Dispatcher
from vla.evaluation.episode import make_row
from vla.evaluation.journal import Journal, key_of
from vla.evaluation.plan import EpisodeKey, Plan
from vla.evaluation.policy_files import Files
from vla.evaluation.progress import Progress
from vla.evaluation.shared_policy import Answer, Query, Ready, policy_main
from vla.evaluation.worker import Finished, worker_main
from vla.runtime.fit import Needs

POLL_S = 0.25  # how soon Ctrl-C is noticed
DEATHS_ALLOWED = 1  # of workers while running one episode
STARTS_ALLOWED = 3  # deaths of workers in a row before any episode


@dataclass
class _Worker:
    child: Child
    index: int
    key: EpisodeKey | None = None  # what it is running
    task_id: int | None = None  # whose environment it holds
    query: int | None = None  # what it waits for an answer to


class Runner:
    """Runs what the journal does not have yet.

    Args:
        plan: all episodes.
        folder: the run folder.
        journal: gets the rows.
        progress: is told of each row.
        stop: asked between messages.
        files: the policy's, as the fingerprint has them; a process that was built from others ends the run.
        drifted: whether rows and videos are to be marked.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        journal: Journal,
        progress: Progress,
        stop: StopRequest,
        *,
        files: Files,
        drifted: bool,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._journal = journal
        self._progress = progress
        self._stop = stop
        self._files = files
        self._drifted = drifted
        done = {key_of(row) for row in journal.rows}
        self._todo = Dispatcher(key for key in plan.keys if key not in done)
        self._workers: dict[int, _Worker] = {}
        self._dismissed: list[Child] = []
        self._policy: Child | None = None
        self._needs: Needs | None = None  # of the shared policy
        self._serials = itertools.count()
        self._deaths: Counter[EpisodeKey] = Counter()
        self._failed_starts = 0

    def run(self) -> None:
        """Run to the end.

        Raises:
            RefusedError: the policy cannot be built or cannot be shared.
            InterruptedRunError: Ctrl-C or SIGTERM.
            CommandError: full disk, a policy process that died, workers that die at the start.
        """
        try:
            if self._plan.settings.inference == "shared":
                log = self._folder / "logs" / "policy.log"
                self._policy = start_child(policy_main, log, self._plan, single_threaded=False)
                built: Ready = receive(self._policy, self._stop, "the policy process")
                self._check_files(built)
                self._needs = built.needs
            for index in range(min(self._plan.settings.workers, len(self._todo))):
                self._start(index)
            while self._workers:
                self._listen()
            if self._policy is not None:
                self._policy.dismiss()
                self._dismissed.append(self._policy)
                self._policy = None
            for child in self._dismissed:
                child.wait_for_end()
            self._dismissed.clear()
        finally:
            for child in self._children() + self._dismissed:
                child.stop()

    def _children(self) -> list[Child]:
        return [worker.child for worker in self._workers.values()] + ([self._policy] if self._policy else [])

    def _start(self, index: int) -> None:
        log = self._folder / "logs" / f"worker-{index}.log"
        child = start_child(worker_main, log, self._plan, self._folder, self._drifted, self._needs)
        self._workers[index] = _Worker(child, index)

    def _check_files(self, ready: Ready) -> None:
        """A checkpoint that training goes on writing to must not become two policies in one run."""
        if ready.files is not None and ready.files != self._files:
            changed = describe_differences(self._files, ready.files, "at the start", "now")
            raise RefusedError(
                f"policy: its files changed while the run was going:\n{changed}\n"
                f"The {len(self._journal.rows)} episodes in the journal are of the first ones. Evaluate a copy of the "
                "checkpoint that nothing writes to."
            )

    def _listen(self) -> None:
        sources = {child.connection: child for child in self._children()}
        ready = cast("list[Connection[Any, Any]]", wait(list(sources), POLL_S))
        if self._stop.signal_name is not None:
            raise InterruptedRunError(f"Stopped by {self._stop.signal_name}.")
        by_connection = {worker.child.connection: worker for worker in self._workers.values()}
        for connection in ready:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                message = None
            worker = by_connection.get(connection)
            if worker is not None:
                self._from_worker(worker, message)
            else:
                self._from_policy(message)

    def _from_worker(self, worker: _Worker, message: object) -> None:
        match message:
            case Ready():
                self._check_files(message)
                self._failed_starts = 0
                self._assign(worker)
            case Finished(row):
                self._journal.append(row)
                self._progress.add(row)
                worker.key = None
                self._assign(worker)
            case Query() if self._policy is not None:
                worker.query = next(self._serials)
                self._ask(replace(message, serial=worker.query))
            case Failed(text):
                raise RefusedError(text)
            case _:
                self._bury(worker)

    def _from_policy(self, message: object) -> None:
        if not isinstance(message, Answer):
            how = self._policy.how_it_died() if self._policy else ""
            raise CommandError(f"The policy process died ({how}). Its log: {self._folder}/logs/policy.log.")
        for worker in self._workers.values():
            if worker.query == message.serial:
                worker.query = None
                self._send(worker, message)
        # Else it is for a worker that died. Its successor, on the same place, has queries of its own.

    def _ask(self, query: Query) -> None:
        if self._policy is None:
            return
        try:
            self._policy.connection.send(query)
        except OSError:
            self._from_policy(None)

    def _assign(self, worker: _Worker) -> None:
        worker.key = self._todo.next(worker.task_id)
        if worker.key is not None:
            worker.task_id = worker.key.task_id
            self._send(worker, worker.key)
        else:
            worker.child.dismiss()  # closing its environment takes a while; the others must not wait
            self._dismissed.append(self._workers.pop(worker.index).child)

    def _send(self, worker: _Worker, message: object) -> None:
        try:
            worker.child.connection.send(message)
        except OSError:
            return  # it died: the next `recv` says so and the episode is run again

    def _bury(self, worker: _Worker) -> None:
        """Run the dead worker's episode again, or give it up; start a new worker while there is work."""
        how = worker.child.how_it_died()
        worker.child.stop()
        del self._workers[worker.index]
        log = f"logs/worker-{worker.index}.log"
        if worker.key is None:
            self._failed_starts += 1
            if self._failed_starts > STARTS_ALLOWED:
                raise CommandError(f"Workers die at their start ({how}). The reason is in {self._folder}/{log}.")
        else:
            self._deaths[worker.key] += 1
            if self._deaths[worker.key] <= DEATHS_ALLOWED:
                self._todo.put_back(worker.key)
                self._progress.note(f"worker {worker.index} died ({how}); its episode is run again, see {log}")
            else:
                self._give_up(worker.key, how)
        if len(self._todo):
            self._start(worker.index)

    def _give_up(self, key: EpisodeKey, how: str) -> None:
        error = f"The worker process died of this episode {DEATHS_ALLOWED + 1} times, last by {how}."
        row = make_row(self._plan, key, None, error=error, drifted=self._drifted)
        self._journal.append(row)
        self._progress.add(row)


def receive(child: Child, stop: StopRequest, what: str) -> Any:
    """Wait for one message of a child, minding Ctrl-C.

    Raises:
        RefusedError: the child says that it cannot do its work.
        InterruptedRunError: Ctrl-C or SIGTERM.
        CommandError: it died; the message ends with the last lines of its log.
    """
    while not child.connection.poll(POLL_S):
        if stop.signal_name is not None:
            raise InterruptedRunError(f"Stopped by {stop.signal_name}.")
    try:
        message: Mapping[str, Any] | object = child.connection.recv()
    except (EOFError, OSError) as error:
        tail = "\n".join(child.log.read_text(errors="replace").splitlines()[-5:])
        raise CommandError(f"{what} died ({child.how_it_died()}). Its log {child.log} ends:\n{tail}") from error
    if isinstance(message, Failed):
        raise RefusedError(message.message)
    return message
