"""A robot that is where it is told to be, for tests of the loop and of sessions; and people who command it."""

from __future__ import annotations

import numpy as np

from vla.protocols import SafetyStop
from vla.runtime.loop import run_episode
from vla.runtime.robot_env import RobotEnv
from vla.runtime.safety import LimitFilter
from vla.types import ActionChunk, ActionSpec, Reading

HZ = 50.0
SPEC = ActionSpec(
    "joint_position",
    ("waist [rad]", "elbow [rad]", "gripper [open]"),
    np.array([-1.0, -1.0, 0.0]),
    np.array([1.0, 1.0, 1.0]),
    np.array([0.06, 0.06, np.inf]),
    HZ,
)


class FakeClock:
    """Time passes only when somebody sleeps or works."""

    def __init__(self):
        self.time = 100.0

    def now(self):
        return self.time

    def sleep_until(self, moment):
        self.time = max(self.time, moment)


class FakeRobot:
    """Is at once where it is told to be; writes down what happened."""

    action_spec = SPEC
    state_names = SPEC.names
    cameras = ()

    def __init__(self, clock, work_s=0.004, refuse_at=None):
        self.clock, self.work_s, self.refuse_at = clock, work_s, refuse_at
        self.state, self.log, self.sent, self.times = np.zeros(3), [], [], []

    def connect(self):
        self.log.append("connect")

    def resume(self):
        pass

    def go_to(self, state):
        self.log.append("go_to")
        self.state = np.array(state)

    def get_goal(self):
        return self.state.copy()

    def get_reading(self):
        return Reading({}, {}, self.state.copy(), self.clock.now(), {"effort": np.zeros(3)})

    def send_action(self, action):
        if len(self.sent) == self.refuse_at:
            raise SafetyStop("waist: too fast")
        self.clock.time += self.work_s
        self.state = np.round(action, 3)
        self.sent.append(self.state.copy())
        self.times.append(self.clock.now())
        return self.state.copy()

    def stop(self):
        self.log.append("stop")

    def disconnect(self):
        self.log.append("disconnect")


class Going:
    """Moves 0.05 rad a tick from where the robot is; remembers the words it was asked with."""

    def __init__(self):
        self.words = []

    def reset(self):
        pass

    def infer(self, observation):
        self.words.append(observation.instruction)
        steps = np.arange(1, 5)[:, None] * np.array([0.05, 0.0, 0.0])
        return ActionChunk(observation.state + steps, observation.instruction, observation.time)


class FakeLeaders:
    """Leader arms that stand elsewhere and come nearer by 0.05 rad a tick."""

    def __init__(self, wants, at=0.3):
        self.wants, self.position, self.tick = wants, np.array([at, 0.2, 0.5]), -1

    def connect(self):
        pass

    def wants_control(self):
        self.tick += 1
        return self.tick in self.wants

    def align(self, action):
        way = action - self.position
        self.position = self.position + np.clip(way, -0.05, 0.05)
        return bool(np.abs(way).max() <= 0.05)

    def get_action(self):
        self.position = self.position + np.array([0.0, 0.03, 0.0])
        return self.position.copy()

    def disconnect(self):
        pass


class Watcher:
    def __init__(self, act=None):
        self.steps, self.act = [], act

    def on_episode_start(self, observation):
        self.first = observation

    def on_step(self, step):
        self.steps.append(step)
        if self.act:
            self.act(step)

    def on_episode_end(self, episode, observation):
        self.episode = episode


def play(inference, robot, inbox, ticks=12, act=None, home=(0.1, 0.0, 0.5)):
    env, watcher = RobotEnv(robot, inbox, home, clock=robot.clock), Watcher(act)
    env.connect()
    episode = run_episode(env, inference, LimitFilter(SPEC), [watcher], trial=0, max_steps=ticks)
    env.close()
    return episode, watcher, env
