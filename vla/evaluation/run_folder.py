"""The run folder: who may write into it, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vla.evaluation.config import flatten
from vla.evaluation.errors import RefusedError
from vla.evaluation.files import read_json, write_atomic, write_json
from vla.evaluation.plan import Plan


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

    def claim(self, plan: Plan, command: str) -> None:
        """Make the folder, or make sure that it may be continued.

        Args:
            plan: what is to be run.
            command: the shell command that repeats it.

        Raises:
            RefusedError: it is not empty and `eval.resume` is false, holds something else, or another plan.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RefusedError(f"run_dir: expected a folder, {self.path} is a file.")
        old = read_json(self.plan) if self.plan.exists() else None
        if old is None:
            if self.path.exists() and any(not entry.name.startswith(".") for entry in self.path.iterdir()):
                raise RefusedError(f"run_dir: {self.path} is not empty and not a run folder. Choose another.")
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.plan, {"hash": plan.hash(), "command": command, "identity": plan.identity()})
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
        if not self.config.exists():
            write_atomic(self.config, OmegaConf.to_yaml(OmegaConf.create(dict(plan.config))).encode())
        for name in ("logs", "videos"):
            (self.path / name).mkdir(exist_ok=True)
        for left_over in (self.path / "videos").glob(".*.tmp.*"):  # of workers that were killed
            left_over.unlink()

    def claim_fingerprint(self, fingerprint: Mapping[str, Any], allow_drift: bool) -> None:
        """Record what the results depend on, or make sure that it is still the same.

        Raises:
            RefusedError: the folder was begun with other code or packages, or on another machine.
        """
        if self.fingerprint.exists() and not allow_drift:
            before, now = _conditions(read_json(self.fingerprint)), _conditions(fingerprint)
            if before != now:
                raise RefusedError(
                    f"run_dir: {self.path} was begun under other conditions:\n"
                    f"{describe_differences(before, now, 'then', 'now')}\n"
                    "Restore them, choose another run_dir, or mix them with eval.allow_drift=true."
                )
        write_json(self.fingerprint, fingerprint)


def _conditions(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What must stay the same within a run. Measured numbers may differ within the preflight's tolerance."""
    environment = flatten(fingerprint["environment"])
    return {
        "environment": {name: value for name, value in environment.items() if isinstance(value, str)},
        **{name: fingerprint[name] for name in ("drifts", "packages", "python", "code")},
    }


def describe_differences(old: Mapping[str, Any], new: Mapping[str, Any], there: str, here: str) -> str:
    """One line for each dotted key that differs."""
    before, after = flatten(old), flatten(new)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "\n".join(
        f"  - {name}: {there} {before.get(name, 'absent')!r}, {here} {after.get(name, 'absent')!r}" for name in names
    )
