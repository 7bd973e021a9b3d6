"""A subscriber that records a session tick by tick, on disk at once: who commanded, what was felt, what was said.

`vla.data.recorder.Recorder` holds an episode in memory and decides at its end whether it is wanted: right for
collecting many short ones. A session with a robot may be long, cannot be repeated, and may be killed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla.data.episode import ACTION, STATE, EpisodeData
from vla.data.lerobot.journal import Journal, to_column
from vla.data.lerobot.recovery import finish_journals
from vla.data.lerobot.writer import DatasetWriter
from vla.files import Write
from vla.types import Commander, Episode, FloatArray, Observation, Outcome, Step

COMMANDERS = tuple(str(commander) for commander in Commander)
CHANNEL = "observation."  # prefix of a reading's channel
# Kept beside in float64: what was sent, seen before and seen after. A replay from these repeats a simulation exactly.
SENT, BEFORE, AFTER = "replay.action", "replay.before", "replay.after"


class SessionRecorder:
    """Frame t is what was seen before action t, that action, and what happened in between.

    Besides `observation.state` (T, S), `action` (T, A) and the cameras, an episode has `commander` (T,) (policy,
    nobody, person), `instruction` (T,) text, `events` (T,) text (several are divided by a semicolon), `clipped` (T,),
    `observation.time` (T,) [s] since the first reading, and a column for each channel of the readings, such as
    `observation.effort` [A] and `observation.image_age.<camera>` [s].

    When `on_step` returns, the frame is safe from a kill. Episodes of any outcome are kept.

    Args:
        root: folder of a dataset of such episodes.
        hz: [1/s] control rate; whole.
        robot_type: as the dataset names the robot.
        action_names: one name an entry of an action.
        state_names: one name an entry of a state; empty if unknown.
        cameras: which to record; None: all.
        metadata: JSON values for every episode, from its first frame on.
        write: how bytes get to a file descriptor; tests inject a disk that fills up.

    Attributes:
        recorded: indices of this session's episodes in the dataset.
        mended: indices of episodes of an earlier session that was killed.
        metadata: of the coming episodes; may be changed between two.

    Raises:
        ValueError: a rate that is not whole.
        vla.data.lerobot.errors.DatasetError: `root` is not a dataset, or a recording that was cut off is damaged.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        hz: float,
        robot_type: str,
        action_names: Sequence[str],
        state_names: Sequence[str] = (),
        cameras: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        write: Write = os.write,
    ) -> None:
        if int(hz) != hz or hz < 1:
            raise ValueError(f"recording: expected a whole control rate [1/s], got {hz:g}")
        self.root, self.recorded = Path(root), list[int]()
        self._fps, self._cameras, self.metadata = int(hz), cameras, dict(metadata or {})
        self._robot_type = robot_type
        self._names = {STATE: tuple(state_names), ACTION: tuple(action_names)}
        self._write, self._width = write, len(action_names)
        self._writer = DatasetWriter(self.root, robot_type=robot_type, write=write)
        self.mended = finish_journals(self._writer)
        self._journal: Journal | None = None

    def on_episode_start(self, observation: Observation) -> None:
        """Begin a journal.

        Raises:
            ValueError: an unknown camera, or a picture with odd sides.
            vla.data.lerobot.errors.DatasetError: the dataset has other episodes: other cameras, names or rate.
        """
        self._instruction, self._commander = observation.instruction, Commander.POLICY
        self._began, self._channels = observation.time, dict(observation.channels)
        wanted = tuple(observation.images) if self._cameras is None else self._cameras
        if unknown := [camera for camera in wanted if camera not in observation.images]:
            raise ValueError(f"cameras: there are {list(observation.images)}, got {unknown}")
        images = {camera: np.array(observation.images[camera]) for camera in wanted}
        names = {"commander": COMMANDERS, **{name: names for name, names in self._names.items() if names}}
        still = Step(0, observation, np.zeros(self._width), np.zeros(self._width), False, False, observation)
        columns = {name: to_column([value]) for name, value in self._columns(still, []).items()}
        frames = {camera: image[None] for camera, image in images.items()}
        self._writer.check(EpisodeData(observation.instruction, self._fps, frames, columns, names))
        self._journal = Journal(
            self.root,
            instruction=observation.instruction,
            fps=self._fps,
            robot_type=self._robot_type,
            images=images,
            names=names,
            metadata=self.metadata,
            write=self._write,
        )

    def on_step(self, step: Step) -> None:
        """Write the frame; take the pictures of the next one.

        Raises:
            ValueError: NaN or infinity in what was measured.
            OSError: of the disk.
        """
        if self._journal is None:
            raise RuntimeError("SessionRecorder.on_step: expected on_episode_start before")
        columns = self._columns(step, self._events(step))
        beside = {SENT: step.sent, BEFORE: step.observation.state, AFTER: step.after.state}
        self._journal.append(columns, beside)
        self._journal.show(step.after.images)

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Make the journal an episode of the dataset. If that fails, the journal stays, to be tried again."""
        journal, self._journal = self._journal, None
        if journal is None:
            return
        try:
            detail = str(episode.info.get("detail", ""))
            events = list(observation.events) if observation else []  # of the last reading, which has no row of its own
            events += [f"stop: {detail}"] if episode.outcome == Outcome.STOPPED else []
            journal.end(
                {
                    "task": episode.task,
                    "trial": episode.trial,
                    "outcome": str(episode.outcome),
                    "success": episode.outcome == Outcome.SUCCESS,
                    "detail": detail,
                },
                "; ".join(events),
            )
        finally:
            journal.close()
        self.recorded += finish_journals(self._writer)  # removes it if it has no frame

    def close(self) -> None:
        """Bring the dataset's statistics up to date."""
        self._writer.close()

    def _columns(self, step: Step, events: Sequence[str]) -> dict[str, Any]:
        """The numbers and texts of a frame."""
        seen = step.observation
        columns: dict[str, Any] = {
            STATE: seen.state,
            ACTION: step.sent,
            "commander": COMMANDERS.index(step.commander),
            "instruction": seen.instruction,
            "events": "; ".join(events),
            "clipped": bool(step.clipped),
            CHANNEL + "time": float(seen.time - self._began),
        }
        for name, value in self._channels.items():
            flat = np.asarray(value, dtype=np.float64).reshape(-1)
            columns[CHANNEL + name] = float(flat[0]) if flat.size == 1 else flat
        return columns

    def _events(self, step: Step) -> list[str]:
        """What happened since the last frame; remembers what is needed to tell next time."""
        seen, events = step.observation, list(step.observation.events)
        if seen.instruction != self._instruction:
            events.append(f"words: {seen.instruction}")
            self._instruction = seen.instruction
        before, self._commander = self._commander, step.commander
        if before != step.commander:
            if step.commander == Commander.PERSON:
                events.append("take-over")
            elif before == Commander.PERSON:
                events.append("hand-back")
            elif step.commander == Commander.NOBODY and step.index:
                events.append("the person asks for control")
        for name in self._channels:
            if name in seen.channels:
                self._channels[name] = seen.channels[name]
            else:
                events.append(f"no {name}, the last one is repeated")
        return events


def recorded_actions(extras: Mapping[str, Any], columns: Mapping[str, Any]) -> FloatArray:
    """(T, A) what was sent, as exactly as the recording has it."""
    return np.asarray(extras.get(SENT, columns[ACTION]), dtype=np.float64)
