"""Episodes of the loop on the emulated robot: how they begin, what they may do, how one follows another."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from tests.robot_drivers.aloha.bench import HOME, Bench
from vla.runtime.inbox import Inbox
from vla.runtime.loop import run_episode
from vla.runtime.robot_env import RobotEnv
from vla.runtime.safety import LimitFilter
from vla.runtime.shared_control import SharedControl
from vla.session.ending import Ending
from vla.teleop.absent import Absent
from vla.types import Outcome

WAIST = 0


@pytest.fixture
def bench(request):
    """At home, but not connected; with gravity if the test asks for it."""
    bench = Bench(gravity=getattr(request, "param", False))
    bench.put_at_home()
    with bench.clock.attending():
        yield bench
        if bench.robot.workers:
            bench.robot.disconnect()


def play(bench, env, inference, *subscribers, ticks):
    return run_episode(
        env, inference, LimitFilter(bench.robot.action_spec), list(subscribers), trial=0, max_steps=ticks
    )


def moved(amount, *joints):
    action = HOME.copy()
    action[list(joints)] += amount
    return action


def test_ctrl_c_while_the_arms_are_armed_moves_nothing(bench, monkeypatch):
    connect, begin = bench.robot.connect, bench.backend.motion().position.copy()

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        connect()

    monkeypatch.setattr(bench.robot, "connect", interrupted)
    inbox = Inbox("wave")
    env = RobotEnv(bench.robot, inbox, moved(0.5, WAIST), clock=bench.clock)
    with Ending(inbox, env.hold):
        episode = play(bench, env, SharedControl(None, Absent()), ticks=5)
        assert (episode.outcome, episode.steps, episode.info["detail"]) == (Outcome.STOPPED, 0, "Ctrl-C")
        assert play(bench, env, SharedControl(None, Absent()), ticks=5).outcome == Outcome.STOPPED  # no other begins
    np.testing.assert_allclose(bench.backend.motion().position, begin, atol=0.01)
