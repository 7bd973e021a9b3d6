"""The run folder: who may write into it, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vla.command.config import describe_differences, flatten
from vla.command.errors import RefusedError
from vla.evaluation.plan import Plan
from vla.files import TEMPORARY, read_json, write_atomic, write_json


@dataclass(frozen=True)
class RunFolder:
    """A complete account of a run: whoever has it can repeat it."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def plan(self) -> Path:
        """Plan hash, what it was made from, and the command."""
        return self.path / "plan.json"

    @property
    def fingerprint(self) -> Path:
        """What the results depend on besides the plan."""
        return self.path / "fingerprint.json"

    @property
    def journal(self) -> Path:
        """One row per episode."""
        return self.path / "episodes.jsonl"

    @property
    def summary(self) -> Path:
        """Rates and intervals."""
        return self.path / "summary.json"

    @property
    def report(self) -> Path:
        """What people look at."""
        return self.path / "report.html"

    def prepare(self) -> None:
        """Make the folder, so that its journal can be opened.

        Raises:
            RefusedError: it is a file, or holds something else than a run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RefusedError(f"run_dir: expected a folder, {self.path} is a file.")
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.plan.exists() and any(self._is_foreign(entry) for entry in self.path.iterdir()):
            raise RefusedError(f"run_dir: {self.path} is not empty and not a run folder. Choose another.")

    def _is_foreign(self, entry: Path) -> bool:
        """Whether this was there before us; an empty journal is of a run that was killed before it had a plan."""
        return not entry.name.startswith(".") and not (entry == self.journal and entry.stat().st_size == 0)

    def claim(self, plan: Plan, command: str, *, fresh: bool) -> None:
        """Make the folder that of a plan, or make sure that it may be continued. Call it under the journal's lock.

        Args:
            plan: what is to be run.
            command: the shell command that repeats it.
            fresh: the journal has no row. Then it belongs to nobody: a command with a mistake does not occupy it.

        Raises:
            RefusedError: it has rows of another plan, or of this one and `eval.resume` is false.
        """
        old = {} if fresh else read_json(self.plan)
        if fresh:
            self.fingerprint.unlink(missing_ok=True)
            # The plan first: it makes this a run folder, whatever happens before the config is there too.
            write_json(self.plan, {"hash": plan.hash(), "command": command, "identity": plan.identity()})
            write_atomic(self.config, OmegaConf.to_yaml(OmegaConf.create(dict(plan.config))).encode())
        elif old["hash"] != plan.hash():
            raise RefusedError(
                f"run_dir: {self.path} belongs to another plan. It differs in:\n"
                f"{describe_differences(old['identity'], plan.identity(), 'there', 'now')}\n"
                "Choose another run_dir, or give the same settings to continue it."
            )
        elif not plan.settings.resume:
            raise RefusedError(
                f"run_dir: {self.path} already holds a run of this plan. Continue it with eval.resume=true, "
                "or choose another run_dir."
            )
        for name in ("logs", "videos"):
            (self.path / name).mkdir(exist_ok=True)
        for left_over in (self.path / "videos").glob(f".*{TEMPORARY}"):  # of workers that were killed
            left_over.unlink()

    def claim_fingerprint(self, fingerprint: Mapping[str, Any], allow_drift: bool) -> list[str]:
        """Record what the results depend on, or make sure that it is still the same.

        With `allow_drift` it may differ; then the first fingerprint stays, and this one is kept under `continued`.

        Returns:
            What differs from the first fingerprint, a line each; rows from now on are to be marked if there is any.

        Raises:
            RefusedError: the folder was begun with another checkpoint, other code or packages, or on another machine.
        """
        if not self.fingerprint.exists():
            write_json(self.fingerprint, fingerprint)
            return []
        first = read_json(self.fingerprint)
        before, now = _conditions(first), _conditions(fingerprint)
        if before == now:
            return []
        differences = describe_differences(before, now, "then", "now")
        if not allow_drift:
            raise RefusedError(
                f"run_dir: {self.path} was begun under other conditions:\n{differences}\n"
                "Restore them, choose another run_dir, or mix them with eval.allow_drift=true: what is run from now on "
                "is then marked."
            )
        later = first.get("continued", [])
        if now not in map(_conditions, later):
            write_json(self.fingerprint, {**first, "continued": [*later, fingerprint]})
        return differences.splitlines()


def _conditions(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What must stay the same within a run. Measured numbers may differ within the preflight's tolerance."""
    environment = flatten(fingerprint["environment"])
    return {
        "environment": {name: value for name, value in environment.items() if isinstance(value, str)},
        **{name: fingerprint[name] for name in ("drifts", "packages", "python", "code")},
        "policy_files": fingerprint.get("policy_files", {}),
    }


def drifts_of(fingerprint: Mapping[str, Any]) -> list[str]:
    """Why a run is not to be trusted: how its machine differs, and what changed before it was continued."""
    drifts: list[str] = list(fingerprint["drifts"])
    for later in fingerprint.get("continued", ()):
        changed = describe_differences(_conditions(fingerprint), _conditions(later), "at first", "continued with")
        drifts += [line.removeprefix("  - ") for line in changed.splitlines()]
    return drifts
