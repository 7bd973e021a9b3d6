"""A benchmark of a second instead of an hour: a point that must be pushed over a line. No simulator."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np

from vla.command.config import compose_config, to_dict
from vla.protocols import SafetyStop, SceneRefused
from vla.types import ActionChunk, ActionSpec, Conformance, FloatArray, Image, Observation, Reading, TaskSpec

MAX_STEPS = 40
INSTRUCTION = "push the <b>bowl</b> & 'plate' over line {}"


@dataclass
class FakeBenchmark:
    """Four tasks; task 3 cannot be solved within its step limit."""

    name: str
    trials: int = 5

    def __post_init__(self) -> None:
        if self.name != "fake_suite":
            raise ValueError(f"unknown suite '{self.name}'. Did you mean 'fake_suite'?")
        self.tasks: Sequence[TaskSpec] = [
            TaskSpec(i, f"push_{i}", INSTRUCTION.format(i), MAX_STEPS, self.trials) for i in range(4)
        ]


def fake_benchmark(suite: str) -> FakeBenchmark:
    return FakeBenchmark(suite)


def fake_preflight(drifts: Sequence[str] = ()) -> Conformance:
    return Conformance({"renderer": "fake"}, tuple(drifts))


class LazyImages(Mapping[str, Image]):
    """Drawn when read; reading after the next step raises, the strictest an environment may be."""

    def __init__(self, env: FakeEnv) -> None:
        self._env, self._tick = env, env.tick

    def __getitem__(self, name: str) -> Image:
        if self._env.tick != self._tick:
            raise RuntimeError("stale images: the environment has moved on")
        if name not in self._env.cameras:
            raise KeyError(name)
        return self._env.draw()

    def __iter__(self) -> Iterator[str]:
        return iter(self._env.cameras)

    def __len__(self) -> int:
        return len(self._env.cameras)


class FakeEnv(gymnasium.Env[Any, Any]):
    """`trouble` maps "task/trial" to what happens at the third step: raise | kill | kill_once | hang_once.

    With "refuse" there is no such scene at all.
    """

    def __init__(
        self,
        suite: str,
        task_id: int,
        cameras: Sequence[str] = ("front", "wrist"),
        size: int = 32,
        trouble: Mapping[str, str] | None = None,
        scratch: str | None = None,
    ) -> None:
        self.task = FakeBenchmark(suite).tasks[task_id]
        self.cameras = tuple(cameras)
        self.action_spec = ActionSpec(
            "eef_delta", ("x", "gripper"), np.full(2, -1.0), np.full(2, 1.0), np.full(2, np.inf), 20.0
        )
        self.observation_space = gymnasium.spaces.Dict()
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
        self.timing = {"sim": 0.0, "render": 0.0}
        self.tick = 0
        self._size = size
        self._trouble = dict(trouble or {})
        self._scratch = scratch
        self._state = np.zeros(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        trial = (options or {})["trial"]
        self._state = np.random.default_rng([self.task.id, trial]).normal(size=3)
        self._goal = 1e9 if self.task.id == 3 else 4.0 + self.task.id
        self._kind = self._trouble.get(f"{self.task.id}/{trial}")
        if self._kind == "refuse":
            raise SceneRefused(f"seed {trial}: nothing is free of collisions")
        self.timing = {"sim": 0.0, "render": 0.0}
        self.tick += 1
        self._steps = 0
        return self._observe(), self._info()

    def step(self, action: FloatArray) -> tuple[Any, float, bool, bool, Any]:
        self._steps += 1
        if self._steps == 3 and self._kind:
            self._misbehave(self._kind)
        self._state[:2] += 0.5 * action
        self._state[2] = np.sin(self._state.sum())
        self.tick += 1
        self.timing["sim"] += 0.001
        info = self._info()
        return self._observe(), 0.0, info["is_success"], self._steps >= self.task.max_steps, info

    def draw(self) -> Image:
        self.timing["render"] += 0.002
        return np.full((self._size, self._size, 3), int(abs(self._state[0]) * 20) % 256, np.uint8)

    def flat_state(self) -> FloatArray:
        return self._state.copy()

    def _observe(self) -> dict[str, Any]:
        return {"images": LazyImages(self), "state": self._state.copy()}

    def _info(self) -> dict[str, Any]:
        solved = bool(self._state[0] > self._goal)
        return {"instruction": self.task.instruction, "is_success": solved, "time": 0.05 * self._steps}

    def _misbehave(self, kind: str) -> None:
        if kind == "raise":
            raise ArithmeticError(f"<script>alert('{self!r}')</script>")
        if kind.endswith("_once"):
            marker = Path(str(self._scratch)) / f"{kind}_{self.task.id}"
            if marker.exists():
                return
            marker.touch()
        if kind == "hang_once":
            signal.pause()
        os.kill(os.getpid(), signal.SIGKILL)


class TalkativeEnv(FakeEnv):
    """Says something else in every trial, as training scenes do."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        trial = (options or {})["trial"]
        if self._trouble.get(f"{self.task.id}/{trial}") == "no_reset":
            raise ArithmeticError("no free place")
        self.task = replace(self.task, instruction=f"push bowl {trial}")
        return super().reset(seed=seed, options=options)


class LonelyEnv(FakeEnv):
    """So large that two do not fit into a process, and, as simulations are, a web of cycles."""

    alive: ClassVar[weakref.WeakSet[FakeEnv]] = weakref.WeakSet()

    def __init__(self, suite: str, task_id: int, **options: Any) -> None:
        super().__init__(suite, task_id, **options)
        if self.alive:
            raise MemoryError("the environment before this one is still there")
        self.alive.add(self)
        self._cycle = self


class FakeDemonstrations(FakeEnv):
    """Scenes to learn from: any seed is a trial, images may be read late, the camera looks straight down.

    From the first reset on they have a longer step limit.
    """

    robot_type = "pusher"
    nearest_official_m = 1.0
    max_steps = MAX_STEPS + 10

    def __init__(self, suite: str, task_id: int, scene: str, render: str, **options: Any) -> None:
        super().__init__(suite, task_id, **options)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        self.task = replace(self.task, max_steps=self.max_steps)
        return super().reset(seed=seed, options=options)

    def camera_poses(self) -> dict[str, Any]:
        return dict.fromkeys(self.cameras, self)

    def hands(self) -> FloatArray:
        return self._state[None].copy()

    def project(self, points: FloatArray) -> FloatArray:
        return points[:, :2] / 10

    def _observe(self) -> dict[str, Any]:
        return {"images": {name: self.draw() for name in self.cameras}, "state": self._state.copy()}


class PushPolicy:
    """Pushes right with random strength, so that results depend on seeding; looks at one camera."""

    def __init__(self, chunk_size: int = 4) -> None:
        self._chunk_size = chunk_size

    def reset(self) -> None:
        pass

    def infer(self, observation: Observation) -> ActionChunk:
        observation.images["front"]
        actions = np.random.uniform(0.2, 1.0, size=(self._chunk_size, 2))
        return ActionChunk(actions, observation.instruction, observation.time)


class SteadyPolicy(PushPolicy):
    """Pushes right with strength by the picture; can answer in batches."""

    def infer(self, observation: Observation) -> ActionChunk:
        strength = 0.3 + observation.images["front"].mean() / 500
        return ActionChunk(np.full((self._chunk_size, 2), strength), observation.instruction, observation.time)

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return [self.infer(observation) for observation in observations]


class FilePolicy(SteadyPolicy):
    """Read from a folder, as a checkpoint is; may save another one while it is built, as a training would."""

    def __init__(self, checkpoint: str, save: str | None = None) -> None:
        super().__init__()
        file = Path(checkpoint) / "strength.txt"
        self._strength = float(file.read_text())
        if save is not None:
            file.write_text(save)


class BoundPolicy(SteadyPolicy):
    """Reads the environment itself. It knows nothing of task `unable`, and does not read its checkpoint."""

    def __init__(self, unable: int | None = None, checkpoint: str | None = None) -> None:
        super().__init__()
        self._env: Any = None
        self._unable = unable

    def bind(self, env: Any) -> None:
        if env.task.id == self._unable:
            raise SceneRefused(f"task {env.task.id}: no skill for it")
        self._env = env

    def unbind(self) -> None:
        self._env = None

    def infer(self, observation: Observation) -> ActionChunk:
        action = np.array([1.0, -np.sign(self._env.flat_state()[1])])
        return ActionChunk(np.tile(action, (2, 1)), observation.instruction, observation.time)


class JointPolicy(PushPolicy):
    """For joint positions only."""

    def prepare(self, spec: ActionSpec) -> None:
        if spec.kind != "joint_position":
            raise ValueError(f"policy: expected joint positions, got {spec.kind}")


class NanPolicy(PushPolicy):
    """Answers with what cannot be a chunk."""

    def infer(self, observation: Observation) -> ActionChunk:
        return ActionChunk(np.full((2, 2), np.nan), observation.instruction, observation.time)


ROBOT_SPEC = ActionSpec(
    "joint_position",
    ("waist [rad]", "elbow [rad]", "gripper [open]"),
    np.array([-1.0, -1.0, 0.0]),
    np.array([1.0, 1.0, 1.0]),
    np.array([0.06, 0.06, np.inf]),
    50.0,
)


class FakeRobot:
    """Is at once, but for a little sag, where it is told to be. Refuses after a stop until it is sent somewhere."""

    action_spec = ROBOT_SPEC
    state_names = ROBOT_SPEC.names
    cameras = ("front",)

    def __init__(self, refuse_at: int | None = None, sag: float = 0.0, trouble: str = "") -> None:
        self._trouble = trouble
        self.state, self.log, self.sent, self.stopped = np.zeros(3), [""] * 0, [np.zeros(3)] * 0, False
        self.goal = self.state
        self._refuse_at, self._sag, self._time = refuse_at, sag, 50.0

    def connect(self) -> None:
        self.log.append("connect")
        if self._trouble == "unplugged":
            raise RuntimeError("follower_left: no such port")
        if self._trouble == "interrupted early":
            os.kill(os.getpid(), signal.SIGINT)

    def resume(self) -> None:
        self.stopped = False

    def go_to(self, state: FloatArray) -> None:
        if self._trouble == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
            raise SafetyStop("go_to: stopped on the way")
        if self.stopped:
            raise SafetyStop("the robot was stopped; call resume, then go_to to begin again")
        self.log.append(f"go_to {np.round(state, 3).tolist()}")
        self.state = np.array(state, dtype=np.float64)
        self.goal = self.state

    def get_goal(self) -> FloatArray:
        return self.goal.copy()

    def get_reading(self) -> Reading:
        self._time += 0.02
        image = np.full((32, 48, 3), int(100 * abs(self.state[0])) % 256, np.uint8)
        return Reading(
            {"front": image}, {"front": self._time - 0.005}, self.state.copy(), self._time,
            {"velocity": np.zeros(3), "effort": self.state * 2},
        )  # fmt: skip

    def send_action(self, action: FloatArray) -> FloatArray:
        if self.stopped:
            raise SafetyStop("the robot was stopped; call resume, then go_to to begin again")
        if len(self.sent) == self._refuse_at:
            raise SafetyStop("waist: too fast")
        self.state = np.round(action, 3) - np.array([0.0, self._sag, 0.0])
        self.sent.append(np.round(action, 3))
        self.goal = self.sent[-1]
        return self.sent[-1].copy()

    def stop(self) -> None:
        self.log.append("stop")
        self.stopped, self.goal = True, self.state

    def disconnect(self) -> None:
        self.log.append("disconnect")


class WavePolicy:
    """Turns the waist 0.05 rad a tick; may fail at a query."""

    def __init__(self, fail_at: int | None = None) -> None:
        self._fail_at, self._queries = fail_at, 0

    def reset(self) -> None:
        pass

    def infer(self, observation: Observation) -> ActionChunk:
        self._queries += 1
        if self._queries == self._fail_at:
            raise ArithmeticError("the network is on fire")
        steps = np.arange(1, 5)[:, None] * np.array([0.05, 0.0, 0.0])
        return ActionChunk(observation.state + steps, observation.instruction, observation.time)


CONF = Path(__file__).resolve().parents[1] / "conf"
SEARCH_PATH = f"hydra.searchpath=[file://{Path(__file__).resolve().parent / 'conf'}]"
QUICK = ("env=fake", "policy=fake_push", "env.preflight=null", "eval.videos=none")


def fake_config(run_dir: Path, *overrides: str) -> dict[str, Any]:
    """A resolved eval config for the fake benchmark, without preflight and videos unless asked for."""
    return to_dict(compose_config(CONF, "eval", [SEARCH_PATH, *QUICK, f"run_dir={run_dir}", *overrides]))


TIME_FIELDS = ("wall_s", "sim_s", "render_s", "policy_s")  # what may differ between two runs of a plan


def timeless(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what the clock says."""
    return [{name: value for name, value in row.items() if name not in TIME_FIELDS} for row in rows]


def fake_row(task_id: int = 0, trial: int = 0, outcome: str = "SUCCESS", **fields: Any) -> dict[str, Any]:
    """A row of the journal."""
    return {
        "suite": "fake_suite",
        "task_id": task_id,
        "task": f"push_{task_id}",
        "trial": trial,
        "instruction": INSTRUCTION.format(task_id),
        "seed": 7,
        "outcome": outcome,
        "steps": 12,
        "policy_calls": 3,
        "final_state_sha256": "ab" * 32,
        "wall_s": 1.0,
        "sim_s": 0.5,
        "render_s": 0.25,
        "policy_s": 0.125,
        "video": None,
        "error": None,
        **fields,
    }
