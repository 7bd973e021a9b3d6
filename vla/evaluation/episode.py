"""One episode from a plan to a row. Lives in a worker; owns one environment at a time (about 2 GiB each)."""

from __future__ import annotations

import gc
import hashlib
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from vla.command.config import build
from vla.evaluation.journal import Row
from vla.evaluation.plan import EpisodeKey, Plan, env_settings
from vla.evaluation.video import VideoRecorder
from vla.protocols import Policy, PrefixPolicy, Subscriber
from vla.runtime.fit import FitCheck, MisfitError, Needs, attach
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.runtime.seeds import seed_generators
from vla.types import ActionChunk, ActionSpec, Episode, FloatArray, Observation, Outcome, Step

Env = gymnasium.Env[Any, Any]


class EpisodeRunner:
    """Runs episodes of a plan, keeping the environment from one trial of a task to the next.

    Args:
        plan: what is run.
        folder: the run folder, for videos.
        policy: built once; bound to each new environment if it is privileged.
        drifted: whether every row and video is to be marked.
        needs: of the policy; None if nothing is known of it.
    """

    def __init__(self, plan: Plan, folder: Path, policy: Policy, drifted: bool, needs: Needs | None = None) -> None:
        self._plan = plan
        self._folder = folder
        self._policy = policy
        self._drifted = drifted
        self._needs = needs
        self._env: Env | None = None
        self._task_id: int | None = None

    def run(self, key: EpisodeKey) -> Row:
        """Run one episode. An exception becomes an ERROR row, and the environment is built anew after it.

        Raises:
            MisfitError: the policy is not one for this environment; no action was executed.
        """
        last, recorder = _LastEpisode(), None
        try:
            env = self._env_for(key.task_id)
            seed_generators(self._plan.episode_seed(key))
            policy = _RenderingApart(self._policy, env)
            spec: ActionSpec = env.unwrapped.action_spec  # type: ignore[attr-defined]
            subscribers: list[Subscriber] = [last, FitCheck(self._needs, spec)]
            if self._plan.settings.videos == "all":
                recorder = VideoRecorder(
                    self._folder / "videos" / video_stem(key),
                    hz=spec.hz,
                    stride=self._plan.settings.video_stride,
                    drifted=self._drifted,
                )
                subscribers.append(recorder)
            episode = run_episode(
                env,
                build(self._plan.config["runtime"], "runtime")(policy),
                LimitFilter(spec),
                subscribers,
                trial=key.trial,
                max_steps=self._plan.tasks[key.task_id].max_steps,
            )
            row = make_row(self._plan, key, episode, error=episode.info.get("detail"), drifted=self._drifted)
            row["final_state_sha256"] = state_hash(env)
            row["policy_s"] = round(max(0.0, row["policy_s"] - policy.render_s), 4)
        except MisfitError:
            raise
        except Exception:
            row = make_row(self._plan, key, last.episode, error=_stable_traceback(), drifted=self._drifted)
            self.close()
        if last.instruction is not None:
            row["instruction"] = last.instruction  # a training scene has words of its own
        if recorder is not None and recorder.path is not None:
            row["video"] = f"videos/{recorder.path.name}"
        return row

    def close(self) -> None:
        """Drop the environment and give its memory back. One that fails to close must not cost the run its result."""
        if self._env is not None:
            try:
                self._env.close()
            except Exception:
                traceback.print_exc()  # to the worker's log
        self._env = self._task_id = None
        if hasattr(self._policy, "unbind"):
            self._policy.unbind()
        gc.collect()  # a simulation is a web of cycles and takes a gigabyte; the next one must not come on top

    def _env_for(self, task_id: int) -> Env:
        if self._env is None or self._task_id != task_id:
            self.close()  # before building the next: two would not fit in memory; also what an error left behind
            env: Env = build(env_settings(self._plan.config["env"]), "env", task_id=task_id)
            self._env, self._task_id = env, task_id
            attach(self._policy, env)
        return self._env


def make_row(plan: Plan, key: EpisodeKey, episode: Episode | None, *, error: str | None, drifted: bool) -> Row:
    """The row of an episode; without one (it never got to its end), an ERROR row."""
    task = plan.tasks[key.task_id]
    timing = episode.timing if episode else {}
    row: Row = {
        "suite": key.suite,
        "task_id": key.task_id,
        "task": task.name,
        "trial": key.trial,
        "instruction": task.instruction,
        "seed": plan.episode_seed(key),
        "outcome": str(episode.outcome if episode else Outcome.ERROR),
        "steps": episode.steps if episode else 0,
        "policy_calls": episode.policy_calls if episode else 0,
        "final_state_sha256": None,
        **{f"{part}_s": round(timing.get(part, 0.0), 4) for part in ("wall", "sim", "render", "policy")},
        "video": None,
        "error": error,
    }
    return {**row, "drifted": True} if drifted else row


def video_stem(key: EpisodeKey) -> str:
    """File name of an episode's video, without outcome and suffix. A suite may be a folder of somebody's tasks."""
    return f"{Path(key.suite).name}_task{key.task_id}_trial{key.trial}"


def state_hash(env: Env) -> str:
    """SHA-256 of the simulator's flattened state as float64 bytes."""
    state = env.unwrapped.flat_state()  # type: ignore[attr-defined]
    return hashlib.sha256(np.ascontiguousarray(state, dtype=np.float64).tobytes()).hexdigest()


def _stable_traceback() -> str:
    """The traceback without memory addresses, which differ from run to run."""
    return re.sub(r"0x[0-9a-fA-F]+", "0x...", traceback.format_exc())


class _LastEpisode:
    """Keeps what the loop reports, also after an error."""

    episode: Episode | None = None
    instruction: str | None = None  # None: it never began

    def on_episode_start(self, observation: Observation) -> None:
        """Keep the words that were said."""
        self.instruction = observation.instruction

    def on_step(self, step: Step) -> None:
        """Nothing to note."""

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Keep it."""
        self.episode = episode


class _RenderingApart:
    """Times what rendering a policy causes by reading images: it is not the policy's own work."""

    def __init__(self, policy: Policy, env: Env) -> None:
        self._policy = policy
        self._env: Any = env.unwrapped
        self.render_s = 0.0

    def reset(self) -> None:
        self._policy.reset()

    @property
    def accepts_prefix(self) -> bool:
        return isinstance(self._policy, PrefixPolicy) and self._policy.accepts_prefix

    def infer(self, observation: Observation) -> ActionChunk:
        return self._timed(self._policy.infer, observation)

    def infer_after(self, observation: Observation, prefix: FloatArray, frozen: int) -> ActionChunk:
        return self._timed(self._policy.infer_after, observation, prefix, frozen)  # type: ignore[attr-defined]

    def _timed(self, ask: Callable[..., ActionChunk], *arguments: Any) -> ActionChunk:
        before = self._env.timing["render"]
        chunk = ask(*arguments)
        self.render_s += self._env.timing["render"] - before
        return chunk
