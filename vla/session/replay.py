"""The whole of `scripts/replay.py`: a recorded episode once more, through the same limits and the same gate."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from vla.command.config import compose_config, flatten, to_dict, usage
from vla.command.errors import CommandError, InterruptedRunError, RefusedError
from vla.data.episode import STATE
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import read_dataset
from vla.data.session_recorder import AFTER, BEFORE, recorded_actions
from vla.runtime.clock import Clock, SystemClock
from vla.runtime.garbage import short_collections
from vla.runtime.loop import run_episode
from vla.runtime.robot_env import RobotEnv
from vla.runtime.safety import LimitFilter
from vla.session.ending import Ending
from vla.session.settings import (
    DIFFERENCE_OR_NULL,
    INDEX,
    INDEX_OR_NULL,
    TEXT,
    Kind,
    check_settings,
    one_of,
)
from vla.session.stage import Stage, robot_stage, simulation_stage
from vla.types import ActionSpec, Commander, Episode, FloatArray, Observation, Step

SETTINGS: Mapping[str, Kind] = {
    "recording": TEXT,
    "episode": INDEX,
    "task": INDEX_OR_NULL,
    "trial": INDEX_OR_NULL,
    "pace": one_of("realtime", "free"),
    "tolerance": DIFFERENCE_OR_NULL,
}
PICTURES = ("cameras", "image_size", "render")  # settings of an environment that change no motion


class Playback:
    """Gives recorded actions, one a tick. Implements `vla.protocols.Inference`.

    Args:
        actions: (T, A).
    """

    commander = Commander.POLICY
    policy_calls, policy_s = 0, 0.0

    def __init__(self, actions: FloatArray) -> None:
        self._actions, self._tick = actions, 0

    def reset(self, spec: ActionSpec, last: FloatArray | None = None) -> None:
        """From the first one on."""
        self._tick = 0

    def next_action(self, observation: Observation) -> FloatArray:
        """The (A,) one of this tick."""
        self._tick += 1
        action: FloatArray = self._actions[self._tick - 1]
        return action

    def was_sent(self, action: FloatArray) -> None:
        """The recording goes on as it was."""


class Comparison:
    """Compares what happens with what was recorded. A subscriber of the loop.

    Args:
        actions: (T, A) that were sent.
        after: (T, S) states after each of them.

    Attributes:
        state: (T', S) differences of the states reached, of the steps that were played.
        sent: (T', A) differences of what was really sent.
    """

    def __init__(self, actions: FloatArray, after: FloatArray) -> None:
        self._actions, self._after = actions, after
        self.state: list[FloatArray] = []
        self.sent: list[FloatArray] = []

    def on_episode_start(self, observation: Observation) -> None:
        """Nothing to compare yet."""

    def on_step(self, step: Step) -> None:
        """Note the differences."""
        self.sent.append(np.abs(step.sent - self._actions[step.index]))
        if step.index < len(self._after):
            self.state.append(np.abs(step.after.state - self._after[step.index]))

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Nothing more."""


def main(conf: Path, overrides: Sequence[str]) -> int:
    """Compose, play, print the largest difference. Returns the exit code."""
    if {"-h", "--help"} & set(overrides):
        sys.stdout.write(usage(conf, "replay", "python scripts/replay.py"))
        return 0
    try:
        largest = replay(to_dict(config := compose_config(conf, "replay", overrides)), sys.stdout)
    except (CommandError, DatasetError) as error:
        sys.stderr.write(f"{error}\n")
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:  # asked twice: at once
        sys.stderr.write("Interrupted.\n")
        return InterruptedRunError.exit_code
    return int(config["tolerance"] is not None and largest > config["tolerance"])


def replay(config: dict[str, Any], stream: TextIO, clock: Clock | None = None) -> float:
    """Play one episode.

    Args:
        config: `conf/replay.yaml`, resolved.
        stream: where the comparison goes.
        clock: paces the ticks.

    Returns:
        The largest difference between a state reached and the recorded one.

    Raises:
        RefusedError: bad input, no such episode, or it does not fit the environment; nothing moved.
        CommandError: the robot cannot be connected; or its gate, the polite limits or an error stopped the motion,
            then it holds.
        InterruptedRunError: Ctrl-C; it holds.
    """
    check_settings(config, SETTINGS)
    dataset = read_dataset(config["recording"], cameras=[])
    if not 0 <= config["episode"] < len(dataset):
        raise RefusedError(
            f"episode: {dataset.root} has the episodes 0 to {len(dataset) - 1}, got {config['episode']}."
        )
    row = dataset.episodes[config["episode"]]
    columns, extras = dataset.columns(row.index), dataset.extras(row.index)
    actions = recorded_actions(extras, columns)
    before = np.asarray(extras.get(BEFORE, columns[STATE]), dtype=np.float64)
    after = np.asarray(extras.get(AFTER, columns[STATE][1:]), dtype=np.float64)
    stage = _stage(config, row.metadata, row.tasks[0], before[0], actions[0], clock or SystemClock())
    spec = stage.spec
    comparison = Comparison(actions, after)
    trial = row.metadata.get("trial", row.metadata.get("seed", 0)) if config["trial"] is None else config["trial"]
    with ExitStack() as stack:
        stack.callback(stage.env.close)
        _check_fits(stage, actions, dataset.fps, trial)
        stack.callback(stage.env.hold)
        ending = stack.enter_context(Ending(stage.inbox))
        stack.enter_context(short_collections())
        stage.connect()
        if ending.reason:
            raise InterruptedRunError(f"{ending.reason}: stopped before the first step.")
        try:
            episode = run_episode(
                stage.env,
                Playback(actions),
                LimitFilter(spec),
                [comparison],
                trial=trial,
                max_steps=len(actions),
            )
        except Exception as error:
            played = len(comparison.sent)
            raise CommandError(
                f"broke off after {played} of {len(actions)} steps: {type(error).__name__}: {error}"
            ) from error
    if ending.reason:
        raise InterruptedRunError(f"{ending.reason}: stopped after {episode.steps} of {len(actions)} steps.")
    if "detail" in episode.info:
        raise CommandError(f"stopped after {episode.steps} of {len(actions)} steps: {episode.info['detail']}")
    stream.write(f"{dataset.root}, episode {row.index}: played {episode.steps} of {len(actions)} steps\n")
    stream.write(_largest("state reached", comparison.state, stage.state_names) + "\n")
    stream.write(_largest("action sent", comparison.sent, spec.names) + "\n")
    return float(np.max(comparison.state, initial=0.0))


def _stage(
    config: dict[str, Any],
    metadata: Any,
    instruction: str,
    state: FloatArray,
    action: FloatArray,
    clock: Clock,
) -> Stage:
    if config.get("robot"):
        stage = robot_stage(config["robot"], instruction, None, clock)
        # A gripper's state and its action may be on different scales (ALOHA); it is told what it was told.
        start = np.where(stage.spec.gripper, action, state) if state.shape == action.shape else action
        if isinstance(stage.env, RobotEnv) and start.shape == stage.spec.low.shape:
            # A folded arm lies a hair outside its limits. If it is more than that, the first step is refused.
            stage.env.home = np.clip(start, stage.spec.low, stage.spec.high)
        return stage
    suite, wanted = config["env"].get("suite"), metadata.get("suite")
    if wanted is not None and _spelled(suite) != _spelled(wanted):
        raise RefusedError(f"env.suite: recorded in {wanted!r}, got {suite!r}. Choose env as recorded.")
    _check_same(metadata.get("env"), config["env"])
    task = metadata.get("task_id", 0) if config["task"] is None else config["task"]
    return simulation_stage(config["env"], task, instruction, config["pace"], clock)


def _check_same(recorded: Any, given: Mapping[str, Any]) -> None:
    """Refuse an environment in which something else may happen. Other recorders do not say in which one they were."""
    if not isinstance(recorded, Mapping):
        return
    # The suite is compared already, as it may be spelled in several ways.
    before, now = (
        flatten({k: v for k, v in node.items() if k not in (*PICTURES, "suite")}) for node in (recorded, given)
    )
    wanted, got = before.get("_target_"), now["_target_"]
    if wanted not in (None, got):
        raise RefusedError(
            f"env: recorded in {wanted}, got {got}. Choose the option of conf/env whose _target_ is the recorded one."
        )
    differ = {key: value for key, value in before.items() if now.get(key, ...) != value}
    if differ:
        got = ", ".join(f"{key}={_typed(now[key]) if key in now else 'nothing'}" for key in differ)
        add = " ".join(f"env.{key}={_typed(value)}" for key, value in differ.items())
        raise RefusedError(f"env: recorded with other settings, got {got}. Add {add}")


def _spelled(suite: Any) -> Any:
    """A folder of tasks in one spelling: `tasks/` and `./tasks` are `tasks`."""
    return str(Path(suite)) if isinstance(suite, str) else suite


def _typed(value: Any) -> str:
    """A value as it is typed in an override."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _check_fits(stage: Stage, actions: FloatArray, fps: int, trial: int) -> None:
    spec = stage.spec
    if not 0 <= trial < stage.trials:
        raise RefusedError(
            f"trial: expected 0 to {stage.trials - 1}, got {trial}. Choose env as recorded, for demonstrations such as "
            "env.scene=training."
        )
    if spec.low.shape != actions.shape[1:]:
        raise RefusedError(
            f"recording: its actions have {actions.shape[1]} numbers, expected {len(spec.names)}: {spec.names}."
        )
    if fps != spec.hz:
        raise RefusedError(
            f"recording: expected every control step ({spec.hz:g} a second), got {fps} frames a second. The actions "
            "between two frames are not there; record with scripts/rollout.py, or at the robot's present rate."
        )


def _largest(what: str, differences: Sequence[FloatArray], names: Sequence[str]) -> str:
    """One line: the largest difference, and where."""
    table = np.array(differences)
    if not table.size:
        return f"largest difference in the {what}: nothing to compare"
    if not table.any():
        return f"largest difference in the {what}: 0"
    step, entry = divmod(int(table.argmax()), table.shape[1])
    name = names[entry] if entry < len(names) else f"entry {entry}"
    return f"largest difference in the {what}: {table[step, entry]:.6g} ({name}, step {step})"
