"""What tests of whole sessions share: a clock that stands still, configurations, and what a run left."""

from __future__ import annotations

import io

from tests.fakes import CONF, SEARCH_PATH
from vla.command.config import compose_config, to_dict
from vla.data.lerobot.reader import read_dataset
from vla.session.session import run_session

SIMULATION = ("env=fake", "policy=fake_push", "runtime.pace=free")
ROBOT = ("robot=fake", "policy=fake_wave", "instruction=wave")
SAME = ("env=fake", "env.size=48", "env.scratch=here")
MOTION = "teleop.motion=[[0,0.02,0],[0,0.04,0.5],[0,0.06,1]]"


class Clock:
    """Time passes only when somebody waits; may do something at a tick."""

    def __init__(self, at=None):
        self.time, self.ticks, self._at = 7.0, 0, dict(at or {})

    def now(self):
        return self.time

    def sleep_until(self, moment):
        self.time = max(self.time, moment)
        self.ticks += 1
        self._at.get(self.ticks, lambda: None)()


def config_of(name, *overrides):
    return to_dict(compose_config(CONF, name, [SEARCH_PATH, *overrides]))


def run(folder, *overrides, clock=None):
    """Rows, what was printed, and the recorded dataset."""
    stream = io.StringIO()
    config = config_of("rollout", f"run_dir={folder}", "words=none", *overrides)
    rows = run_session(config, stream, clock or Clock())
    return rows, stream.getvalue(), read_dataset(folder / "recording")


def broken_clock():
    raise OSError("the clock is on fire")


def commanders(episode):
    return [episode.names["commander"][index] for index in episode.columns["commander"]]
