"""The whole of `scripts/eval.py`: plan -> machine check -> workers -> journal -> summary -> report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from vla.command.config import compose_config, to_dict, usage
from vla.command.errors import CommandError, InterruptedRunError
from vla.command.processes import StopRequest
from vla.evaluation.fingerprint import check_machine, make_fingerprint
from vla.evaluation.journal import Journal, JournalError, read_rows
from vla.evaluation.plan import Plan, make_plan
from vla.evaluation.progress import Progress
from vla.evaluation.report import write_report
from vla.evaluation.run_folder import RunFolder
from vla.evaluation.runner import Runner
from vla.evaluation.summary import summarise, table
from vla.files import read_json, write_json
from vla.types import Outcome

NOT_REPEATED = ("run_dir=", "eval.resume=")  # a repetition goes to a folder of its own


def main(conf: Path, overrides: Sequence[str]) -> int:
    """Compose, evaluate, print the table. Returns the exit code: 0 when it ran to completion and not all was an ERROR.

    Args:
        conf: the `conf` folder.
        overrides: Hydra overrides as typed.
    """
    if {"-h", "--help"} & set(overrides):
        sys.stdout.write(usage(conf, "eval", "python scripts/eval.py"))
        return 0
    try:
        config = to_dict(compose_config(conf, "eval", overrides))
        folder = evaluate(config, repeat_command(overrides), sys.stdout)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"The run folder cannot be written: {error}. Rows already in its journal are safe.\n")
        return 1
    sys.stdout.write(f"\nReport: {folder.report}\n")
    rows = read_rows(folder.journal)
    if all(row["outcome"] == Outcome.ERROR for row in rows):
        why = str(rows[0]["error"]).strip().splitlines()[-1]
        sys.stderr.write(f"Every episode ended in an ERROR, so nothing was measured. The first: {why}\n")
        return CommandError.exit_code
    return 0


def evaluate(config: dict[str, Any], command: str, stream: TextIO) -> RunFolder:
    """Run all episodes of a plan that the run folder does not have yet, then sum up.

    Args:
        config: resolved config as plain dicts.
        command: what repeats this run; kept in the run folder.
        stream: for progress and the table.

    Raises:
        RefusedError: bad input, or a machine that does not conform; nothing was run.
        InterruptedRunError: Ctrl-C or SIGTERM; the message says how to continue.
        CommandError: the run cannot go on; what was measured is in the journal.
    """
    plan = make_plan(config)
    folder = RunFolder(Path(config["run_dir"] or f"runs/eval/{datetime.now():%Y-%m-%d_%H-%M-%S}"))
    folder.prepare()
    with Journal(folder.journal) as journal, StopRequest() as stop:
        folder.claim(plan, command, fresh=not journal.rows)  # under the lock: two commands may want one folder
        try:
            if len(journal.rows) < len(plan.keys):
                _run(plan, folder, journal, stop, stream)
            journal.finish(plan.keys)
        except InterruptedRunError as error:
            raise InterruptedRunError(
                f"{error} {len(journal.rows)} of {len(plan.keys)} episodes are in {folder.path}. "
                f"Continue with:\n  {command} run_dir={shlex.quote(str(folder.path))} eval.resume=true"
            ) from error
        try:
            write_json(folder.summary, summarise(journal.rows, read_json(folder.fingerprint)))
            write_report(folder)
        except OSError as error:
            raise JournalError(
                f"{folder.path}: all episodes are in the journal, but the summary could not be written "
                f"({error}). Make room, then repeat the command with eval.resume=true."
            ) from error
        stream.write("\n" + table(journal.rows) + "\n")
    return folder


def repeat_command(overrides: Sequence[str]) -> str:
    """The shell command that repeats a run into a new folder."""
    kept = [text for text in overrides if not text.startswith(NOT_REPEATED)]
    return shlex.join(["python", "scripts/eval.py", *kept])


def _run(plan: Plan, folder: RunFolder, journal: Journal, stop: StopRequest, stream: TextIO) -> None:
    policy = plan.config["policy"].get("_target_", "")
    stream.write(f"{policy} on {plan.suite}: {len(plan.keys)} episodes -> {folder.path}\n")
    stream.flush()
    conformance = check_machine(plan, folder.path, stop)
    fingerprint = make_fingerprint(plan, conformance)
    drifts = list(conformance.drifts) if conformance else []
    drifts += folder.claim_fingerprint(fingerprint, plan.settings.allow_drift)
    progress = Progress(len(plan.keys), journal.rows, stream)
    for drift in drifts:
        progress.note(f"DRIFTED: {drift.removeprefix('  - ')}")
    files = fingerprint["policy_files"]
    try:
        Runner(plan, folder.path, journal, progress, stop, files=files, drifted=bool(drifts)).run()
    finally:
        progress.close()
