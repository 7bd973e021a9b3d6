"""The whole of `scripts/rollout.py`: a policy, a person or both command a simulation or a robot; all is recorded."""

from __future__ import annotations

import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from omegaconf import OmegaConf

from vla.command.config import build, compose_config, to_dict, usage
from vla.command.errors import CommandError, InterruptedRunError, RefusedError, nearest
from vla.data.lerobot.errors import DatasetError
from vla.data.session_recorder import SessionRecorder
from vla.policies.hold import HoldPolicy
from vla.protocols import Inference, PrivilegedPolicy, SpecTeleoperator, Subscriber
from vla.runtime.clock import Clock, SystemClock
from vla.runtime.fit import attach, check_fit, needs_of
from vla.runtime.garbage import short_collections
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.runtime.seeds import seed_generators
from vla.runtime.shared_control import SharedControl
from vla.session.ending import Ending
from vla.session.film import Film
from vla.session.settings import (
    COUNT,
    FLAG,
    INDEX,
    NAMES_OR_NULL,
    NUMBERS_OR_NULL,
    SECONDS_OR_NULL,
    TEXT_OR_NULL,
    Kind,
    check_settings,
    one_of,
)
from vla.session.stage import Stage, robot_stage, simulation_stage
from vla.session.tally import Tally, table
from vla.session.words import HELP, WordsReader, hear
from vla.teleop.keyboard import Keyboard
from vla.types import Episode, Observation, Outcome, Step

SETTINGS: Mapping[str, Kind] = {
    "task": INDEX,
    "first_trial": INDEX,
    "episodes": COUNT,
    "max_s": SECONDS_OR_NULL,
    "instruction": TEXT_OR_NULL,
    "home": NUMBERS_OR_NULL,
    "words": one_of("auto", "stdin", "none"),
    "seed": INDEX,
    "run_dir": TEXT_OR_NULL,
    "record": FLAG,
    "recording": TEXT_OR_NULL,
    "cameras": NAMES_OR_NULL,
    "film": FLAG,
}
SESSION_KEYS = ("pace",)  # in the runtime config, but not for the executor's constructor


def main(conf: Path, overrides: Sequence[str]) -> int:
    """Compose, run, print what came of it. Returns the exit code."""
    if {"-h", "--help"} & set(overrides):
        sys.stdout.write(usage(conf, "rollout", "python scripts/rollout.py"))
        return 0
    try:
        rows = run_session(to_dict(compose_config(conf, "rollout", overrides)), sys.stdout)
    except (CommandError, DatasetError) as error:
        sys.stderr.write(f"{error}\n")
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:  # asked twice: at once; the journal is finished when the dataset is opened next
        sys.stderr.write("Interrupted.\n")
        return InterruptedRunError.exit_code
    return int(all(row["refused"] for row in rows))  # the table says why


def run_session(config: dict[str, Any], stream: TextIO, clock: Clock | None = None) -> list[dict[str, Any]]:
    """Run the episodes of a session.

    Args:
        config: `conf/rollout.yaml`, resolved.
        stream: where the summary goes.
        clock: paces the ticks.

    Returns:
        A row of `vla.session.tally.Tally.row` an episode, with the paths of its recording and its video, and whether a
        refusal ended it: STOPPED by the robot, not by a person.

    Raises:
        RefusedError: bad input; nothing moved.
        CommandError: robot or device cannot be connected; or an episode broke off, or a robot stopped by itself with
            episodes still to come, then the robot holds, and what was recorded is kept.
        InterruptedRunError: Ctrl-C; the same.
    """
    clock = clock or SystemClock()
    check_settings(config, SETTINGS)
    folder = Path(config["run_dir"] or f"runs/rollout/{time.strftime('%Y-%m-%d_%H-%M-%S')}")
    if (folder / "episodes.jsonl").exists():
        raise RefusedError(f"run_dir: {folder} holds a session already. Choose another folder.")
    policy = build(config["policy"], "policy")
    stage = _stage(config, clock)
    with ExitStack() as stack:
        stack.callback(stage.env.close)
        _check_stage(config, stage)
        session = _Session(config, stage, policy, folder, stream, clock)
        stack.callback(session.close)
        stack.callback(session.connect())
        ending = stack.enter_context(Ending(stage.inbox))
        stack.enter_context(short_collections())
        stage.connect()
        if ending.reason:
            raise InterruptedRunError(f"{ending.reason}: the session ended before its first episode.")
        try:
            for number in range(config["episodes"]):
                session.run(number)
                if ending.reason:
                    raise InterruptedRunError(f"{ending.reason}: the session ended; what was recorded is kept.")
                if number + 1 < config["episodes"]:
                    session.check_may_go_on()
        finally:
            session.report()
    return session.rows


class _Session:
    """What stays the same from one episode to the next."""

    def __init__(
        self, config: dict[str, Any], stage: Stage, policy: Any, folder: Path, stream: TextIO, clock: Clock
    ) -> None:
        self._config, self._stage, self._folder, self._stream, self._clock = config, stage, folder, stream, clock
        self.rows: list[dict[str, Any]] = []
        self._teleoperator = build(config["teleop"], "teleop")
        if isinstance(self._teleoperator, Keyboard) and config["words"] == "stdin":
            raise RefusedError(
                "words: expected auto or none with teleop=keyboard, which reads the terminal itself (: begins words), "
                "got stdin."
            )
        if isinstance(self._teleoperator, SpecTeleoperator):
            try:
                self._teleoperator.prepare(stage.spec)
            except ValueError as error:
                raise RefusedError(str(error)) from error
        if isinstance(policy, PrivilegedPolicy) and not stage.simulated:
            raise RefusedError(f"policy: {type(policy).__name__} reads a simulator; a robot has none.")
        check_fit(needs_of(policy), stage.spec, stage.cameras, stage.state_size)
        attach(policy, stage.env)
        if config["runtime"].get("latency_s") == "background":
            _check_background(policy, stage, config["runtime"]["pace"])
        # Doing nothing means something else to each robot; an executor of zeros would not know.
        inference = None if isinstance(policy, HoldPolicy) else _executor(config["runtime"], policy)
        self._control = SharedControl(inference, self._teleoperator)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
        self._recorder = self._make_recorder() if config["record"] else None

    def connect(self) -> Callable[[], None]:
        """Connect the person's device and listen to words; returns what lets go of it.

        Raises:
            CommandError: the device cannot be opened.
        """
        words, inbox = self._config["words"], self._stage.inbox
        keyboard = self._teleoperator if isinstance(self._teleoperator, Keyboard) else None
        if keyboard:
            keyboard.say, keyboard.on_line = self._say, lambda line: hear(line, inbox, self._control.release)
        try:
            self._teleoperator.connect()
        except (RuntimeError, OSError) as error:
            raise CommandError(f"teleop: {type(error).__name__}: {error}") from error
        if keyboard is None and (words == "stdin" or (words == "auto" and sys.stdin.isatty())):
            self._say(HELP)
            if hasattr(sys.stdin, "reconfigure"):
                sys.stdin.reconfigure(errors="replace")  # one odd byte must not end the listening
            inbox.on_begin = WordsReader(sys.stdin, inbox, self._control.release, self._say).start
        disconnect: Callable[[], None] = self._teleoperator.disconnect
        return disconnect

    def _say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def run(self, number: int) -> None:
        """One episode, whatever becomes of it."""
        config, stage = self._config, self._stage
        trial = config["first_trial"] + number
        seed_generators(config["seed"] + number)
        tally = Tally(self._clock)
        film = self._make_film(number) if config["film"] else None
        end = _HoldInTheEnd(stage)
        subscribers: list[Subscriber] = [end, tally]
        subscribers += [film] if film else []
        if self._recorder:
            self._recorder.metadata |= {"trial": trial, "seed": config["seed"] + number}
            subscribers.append(self._recorder)
        recorded = len(self._recorder.recorded) if self._recorder else 0
        limit = stage.max_steps if config["max_s"] is None else math.ceil(config["max_s"] * stage.spec.hz - 1e-9)
        try:
            run_episode(stage.env, self._control, LimitFilter(stage.spec), subscribers, trial=trial, max_steps=limit)
        except Exception as error:
            (self._folder / "traceback.txt").write_text(traceback.format_exc())
            raise CommandError(
                f"episode {number} broke off: {type(error).__name__}: {error}\nThe robot holds, and what was recorded "
                f"is kept. More in {self._folder / 'traceback.txt'}."
            ) from error
        finally:
            if tally.episode is not None:
                row = tally.row(number, stage.env.pacer)
                row["video"] = str(film.path) if film and film.path else None
                row["video_dropped"] = film.dropped if film else 0
                fresh = self._recorder.recorded[recorded:] if self._recorder else []
                row["recording"] = fresh[-1] if fresh else None
                row["refused"] = tally.episode.outcome == Outcome.STOPPED and not end.told
                self.rows.append(row)
                self._say(f"episode {number}: {row['outcome']} after {row['steps']} steps")
                with (self._folder / "episodes.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")

    def check_may_go_on(self) -> None:
        """A robot that stopped by itself, blocked for example, moves on only when a person has looked at it.

        Raises:
            CommandError: it did in the last episode.
        """
        row = self.rows[-1]
        if row["refused"] and not self._stage.simulated:
            raise CommandError(
                f"episode {row['episode']} stopped: {row['detail']}\nNo other episode begins by itself, and what was "
                "recorded is kept. Look at the robot, then start a new session; recording=FOLDER adds to a recording."
            )

    def report(self) -> None:
        """Print the table and where things are."""
        if not self.rows:
            return
        self._stream.write(table(self.rows) + "\n")
        if self._recorder and self._recorder.recorded:
            episodes = ", ".join(map(str, self._recorder.recorded))
            self._stream.write(f"recording: {self._recorder.root} (episodes {episodes})\n")
        for row in self.rows:
            if row["video"]:
                dropped = row["video_dropped"]
                lacks = f" ({dropped} frames left out, so that ticks keep time)" if dropped else ""
                self._stream.write(f"video: {row['video']}{lacks}\n")

    def close(self) -> None:
        """Finish the dataset."""
        if self._recorder and self._recorder.recorded:
            self._recorder.close()

    def _make_film(self, number: int) -> Film:
        path = self._folder / "videos" / f"episode_{number:03d}.mp4"
        return Film(path, self._stage.spec.hz, drop=_in_real_time(self._stage, self._config["runtime"]["pace"]))

    def _make_recorder(self) -> SessionRecorder:
        config, stage = self._config, self._stage
        root = Path(config["recording"] or self._folder / "recording")
        try:
            recorder = SessionRecorder(
                root,
                hz=stage.spec.hz,
                robot_type=stage.robot_type,
                state_names=stage.state_names,
                action_names=stage.spec.names,
                cameras=config["cameras"],
                metadata={
                    **stage.metadata,
                    **{part: config[part]["_target_"] for part in ("policy", "runtime", "teleop")},
                    "policy_settings": {key: value for key, value in config["policy"].items() if key != "_target_"},
                },
            )
        except ValueError as error:
            raise RefusedError(f"{error}; record=false records nothing.") from error
        if recorder.mended:
            self._stream.write(f"{root}: episodes {recorder.mended} of a killed session were finished\n")
        return recorder


class _HoldInTheEnd:
    """Comes first: nobody writes files while a robot is still moving.

    Attributes:
        told: whether a person had said stop by then. Whoever says so later has only seen the robot stop by itself.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage, self.told = stage, False

    def on_episode_start(self, observation: Observation) -> None:
        """Nothing to note."""

    def on_step(self, step: Step) -> None:
        """Nothing to note."""

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Hold."""
        self._stage.env.hold()
        self.told = bool(self._stage.inbox.stop_reason)
        self._stage.inbox.end()


def _check_stage(config: dict[str, Any], stage: Stage) -> None:
    last = config["first_trial"] + config["episodes"] - 1
    if last >= stage.trials:
        raise RefusedError(
            f"first_trial, episodes: this task has the trials 0 to {stage.trials - 1}, got {config['first_trial']} "
            f"to {last}."
        )
    unknown = [name for name in config["cameras"] or () if stage.cameras is not None and name not in stage.cameras]
    if unknown and config["record"]:
        raise RefusedError(f"cameras: there is none named {unknown[0]!r}.{nearest(unknown[0], stage.cameras or ())}")


def _executor(settings: Mapping[str, Any], policy: Any) -> Inference:
    """The executor of `conf/runtime` around a policy."""
    node = {key: value for key, value in settings.items() if key not in SESSION_KEYS}
    try:
        executor: Inference = build(node, "runtime")(policy)
    except (ValueError, TypeError) as error:
        text = str(error)
        raise RefusedError(text if text.startswith("runtime") else f"runtime: {text}") from error
    return executor


def _check_background(policy: Any, stage: Stage, pace: str) -> None:
    if isinstance(policy, PrivilegedPolicy):
        raise RefusedError(
            f"runtime.latency_s: {type(policy).__name__} reads the simulator, which moves on while it thinks in the "
            "background; expected seconds, or measured."
        )
    if not _in_real_time(stage, pace):
        raise RefusedError(f"runtime.latency_s: background needs runtime.pace=realtime, got {pace}.")


def _in_real_time(stage: Stage, pace: str) -> bool:
    """Whether each tick has its time, so that nobody may keep the loop waiting."""
    return not stage.simulated or pace == "realtime"


def _stage(config: dict[str, Any], clock: Clock) -> Stage:
    if config.get("robot"):
        return robot_stage(config["robot"], config["instruction"], config["home"], clock)
    if config["home"] is not None:
        raise RefusedError(f"home: expected null, for a simulation begins where its trial says, got {config['home']}.")
    return simulation_stage(config["env"], config["task"], config["instruction"], config["runtime"]["pace"], clock)
