"""What runs in a collecting worker: visits a task, runs its scenes, writes the episodes that are wanted."""

from __future__ import annotations

import gc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium

from vla.command.config import build
from vla.data.attempts import Attempt, Key, Visit
from vla.data.demonstration import DemonstrationRecorder
from vla.data.episode import EpisodeData
from vla.data.lerobot.layout import UNKNOWN
from vla.data.lerobot.writer import DatasetWriter
from vla.data.recorder import Recorder, frame_rate
from vla.evaluation.plan import env_settings
from vla.protocols import Inference, SceneRefused, Subscriber
from vla.runtime.fit import attach
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.runtime.seeds import seed_generators
from vla.types import Episode, Outcome

SAME_SCENE_M = 1e-3  # [m] a scene with every object this close to an evaluation scene is not learned from


class Collector:
    """Builds the policy once and one environment at a time; a subclass says what to do with a scene.

    Attributes:
        config: of the command.
        policy: that acts.
        writer: of the visit; a new dataset is one of the environment's robot, a begun one stays what it is.
    """

    writer: DatasetWriter

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.policy = build(config["policy"], "policy")

    def run(self, visit: Visit) -> Iterator[Attempt]:
        """Attempt each scene of a visit."""
        nodes = env_settings(self.config["env"])
        if "suite" in nodes:
            nodes["suite"] = visit.suite
        env = build(nodes, "env", task_id=visit.task_id)
        try:
            robot_type = getattr(env.unwrapped, "robot_type", UNKNOWN)
            self.writer = DatasetWriter(Path(self.config["root"]), robot_type=robot_type)
            attach(self.policy, env)
            yield from self.attempts(env, visit)
        except SceneRefused as error:  # of the task, before its first scene
            for seed in visit.seeds:
                yield refused((visit.suite, visit.task_id, seed), error)
        finally:
            env.close()
            if hasattr(self.policy, "unbind"):
                self.policy.unbind()
            del env
            gc.collect()  # a simulation is a web of cycles and takes a gigabyte; the next one must not come on top

    def attempts(self, env: Any, visit: Visit) -> Iterator[Attempt]:
        """One scene after the other."""
        for seed in visit.seeds:
            key = (visit.suite, visit.task_id, seed)
            try:
                attempt = self.attempt(env, key)
            except SceneRefused as error:
                attempt = refused(key, error)
            yield attempt

    def attempt(self, env: Any, key: Key) -> Attempt:
        """Run one scene and write what is wanted of it.

        Raises:
            SceneRefused: there is no such scene, or no way in it.
        """
        raise NotImplementedError

    def play(self, env: Any, inference: Inference, recorder: Subscriber, key: Key) -> Episode:
        """One episode; random generators start from the scene's own seed."""
        seed_generators(scene_seed(key))
        limits = LimitFilter(env.unwrapped.action_spec)
        return run_episode(env, inference, limits, [recorder], trial=key[2], max_steps=None)

    def metadata(self, env: Any, key: Key) -> dict[str, Any]:
        """What every episode says of its origin."""
        return {
            "suite": key[0],
            "task_id": key[1],
            "task": env.unwrapped.task.name,
            "seed": key[2],
            "hz": env.unwrapped.action_spec.hz,
            "policy": self.config["policy"]["_target_"],
        }


class ToLearnFrom(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose scenes may be learned from: a reset to one of the evaluation's is refused."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a scene.

        Raises:
            SceneRefused: it equals an evaluation scene.
        """
        begun = self.env.reset(seed=seed, options=options)
        nearest: float = self.unwrapped.nearest_official_m  # type: ignore[attr-defined]
        if nearest < SAME_SCENE_M:
            raise SceneRefused(
                f"equals an evaluation scene: every object is within {1000 * nearest:.2g} mm of its place there, "
                f"expected one at least {1000 * SAME_SCENE_M:g} mm away"
            )
        return begun


class DemonstrationCollector(Collector):
    """Labels of an expert, in training scenes that no evaluation uses; only successes are kept."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._demonstrator = build(config["demonstrator"], "demonstrator")

    def attempt(self, env: Any, key: Key) -> Attempt:
        """Demonstrate one scene."""
        number, unwrapped, stride = scene_seed(key), env.unwrapped, self.config["stride"]
        fps = frame_rate(unwrapped.action_spec.hz, stride)
        demonstrator = self._demonstrator(build(self.config["runtime"], "runtime")(self.policy), seed=number)
        recorder = DemonstrationRecorder(unwrapped, demonstrator, stride, number % stride, self.config["lookahead"])
        episode = self.play(ToLearnFrom(env), demonstrator, recorder, key)
        nearest = unwrapped.nearest_official_m
        if episode.outcome != Outcome.SUCCESS:
            return Attempt(key, str(episode.outcome), 0, episode.steps, nearest)
        if recorder.frames == 0:
            return Attempt(key, str(Outcome.ERROR), 0, episode.steps, nearest, "no undisturbed frame")
        metadata = {
            **self.metadata(env, key),
            "success": True,
            "demonstrator": self.config["demonstrator"]["_target_"],
            "nearest_evaluation_scene_m": nearest,
        }
        self.writer.add(recorder.episode(unwrapped.task.instruction, fps, metadata))
        return Attempt(key, str(episode.outcome), recorder.frames, episode.steps, nearest)


class RolloutCollector(Collector):
    """Rollouts of any policy, as they went: what was seen and what was sent, in any scene, with any outcome.

    `keep` lists the outcomes that are written. With `stride=1` and a `probe` the simulator's states are kept beside,
    so that `scripts/export.py` can write LIBERO's own layout.
    """

    def attempt(self, env: Any, key: Key) -> Attempt:
        """Roll one scene out."""
        written: list[EpisodeData] = []
        probe: Callable[[Any], Any] | None = build(self.config["probe"], "probe") if self.config["probe"] else None
        recorder = Recorder(
            written.append,
            hz=env.unwrapped.action_spec.hz,
            stride=self.config["stride"],
            keep=[Outcome(name) for name in self.config["keep"]],
            metadata=self.metadata(env, key),
            probe=probe(env.unwrapped) if probe else None,
        )
        episode = self.play(env, build(self.config["runtime"], "runtime")(self.policy), recorder, key)
        for data in written:
            self.writer.add(data)
        frames = sum(len(data) for data in written)
        return Attempt(key, str(episode.outcome), frames, episode.steps)


def refused(key: Key, error: SceneRefused) -> Attempt:
    """A scene that cannot be, or that the expert cannot do; it is not tried again."""
    return Attempt(key, str(Outcome.ERROR), 0, 0, error=str(error))


def scene_seed(key: Key) -> int:
    """One number for a scene, the same on every machine."""
    return zlib.crc32(repr(key).encode())
