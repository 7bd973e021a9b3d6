"""LIBERO as a `gymnasium.Env`: what the published protocol sees, bit for bit, several times faster."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.choices import check_choice
from envs.libero.controller import SENSOR_SUBSTEP, SUBSTEPS
from envs.libero.rendering import CAMERAS, LiberoRenderer
from envs.libero.shuffle import Shuffler
from envs.libero.suites import Suite, cross, load_suite
from envs.libero.training_scenes import TRAINING_SEEDS, TrainingScenes
from envs.projection import CameraPose, camera_pose
from envs.rendering import ImagesOnDemand, Snapshot, configure_gl
from vla.types import ActionSpec, FloatArray, Image

HZ = 20.0  # [1/s] control rate of the benchmark
SETTLE_STEPS = 10  # objects drop onto the table before the policy starts
SETTLE_ACTION = np.array([0, 0, 0, 0, 0, 0, -1], dtype=np.float64)
ACTION_SPEC = ActionSpec(
    kind="eef_delta",
    names=(*(f"{axis} [0.05 m]" for axis in "xyz"), *(f"rot_{axis} [0.5 rad]" for axis in "xyz"), "gripper [close]"),
    low=-np.ones(7),
    high=np.ones(7),
    max_step=np.full(7, np.inf),
    hz=HZ,
)


class LiberoEnv(gymnasium.Env[dict[str, Any], FloatArray]):
    """One task of LIBERO or LIBERO-PRO.

    Observations are those of the stock loop, at the moments it takes them: robosuite samples its sensors in the
    24th of the 25 substeps, with poses from before and finger positions from after that substep.

    - `images`: camera -> (image_size, image_size, 3) uint8 RGB, upright, rendered when read;
    - `state`: (8,) eef position [m] (3), axis-angle of the hand [rad] (3), finger positions [m] (2).

    Action: (7,) in [-1, 1]: eef translation (1 = 5 cm), rotation (1 = 0.5 rad), gripper (-1 open, +1 close).

    Args:
        suite: see `envs.libero.suites.SUITES`.
        task_id: index in the suite.
        image_size: [px].
        cameras: from `agentview`, `wrist`.
        render: `full`, or `lod` for simplified meshes.
        scene: `official` initial states; `shuffled` (see `envs.libero.shuffle`); `crossed`: the official states of the
            suite's next task, which show whether a policy does what it is told or what the scene reminds it of; or
            `training`, where a trial is the seed of a random scene that is never one of the others (see
            `envs.libero.training_scenes`).

    Raises:
        ValueError: unknown suite, task, camera, profile or scene.
        envs.rendering.RenderingUnavailable: when an image is read on a machine without off-screen OpenGL.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": HZ}  # noqa: RUF012  (gymnasium's own declaration)
    robot_type = "libero"  # as a dataset names the robot

    def __init__(
        self,
        suite: str = "libero_object",
        task_id: int = 0,
        image_size: int = 256,
        cameras: Sequence[str] = ("agentview", "wrist"),
        render: Literal["full", "lod"] = "full",
        scene: Literal["official", "shuffled", "crossed", "training"] = "official",
        render_mode: str | None = "rgb_array",
    ) -> None:
        tasks = load_benchmark(suite, image_size, cameras, render, scene).tasks
        if not 0 <= task_id < len(tasks):
            raise ValueError(f"env.tasks: {suite} has tasks 0 to {len(tasks) - 1}, got {task_id}")
        self.task = tasks[task_id]
        self.action_spec = ACTION_SPEC
        self.render_mode = render_mode
        self.cameras = tuple(cameras)
        self.timing = {"sim": 0.0, "render": 0.0}  # [s] since the last reset
        self._image_size, self._profile = image_size, render
        self._renderer: LiberoRenderer | None = None
        self._steps = 0

        image_space = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = spaces.Dict(
            {
                "images": spaces.Dict(dict.fromkeys(self.cameras, image_space)),
                "state": spaces.Box(-np.inf, np.inf, (8,), np.float64),
            }
        )
        self.action_space = spaces.Box(-1.0, 1.0, (7,), np.float64)
        configure_gl()
        from envs.libero.scene import Scene

        self.scene = Scene(self.task)
        self._shuffler: Shuffler | None = None
        if scene == "shuffled":
            self.scene.reset(0)
            self._shuffler = Shuffler(self.scene.upstream, self.task)
        self._training = TrainingScenes(self.scene, self.task) if scene == "training" else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start trial `options["trial"]`, settled for 10 steps; without it the seed draws a trial.

        Raises:
            ValueError: there is no such trial.
        """
        super().reset(seed=seed)
        trial = (options or {}).get("trial")
        if trial is None:
            trial = int(self.np_random.integers(self.task.trials))
        if not 0 <= trial < self.task.trials:
            raise ValueError(
                f"trial: {self.task.suite} task {self.task.id} has trials 0 to {self.task.trials - 1}, got {trial}"
            )
        self.timing = {"sim": 0.0, "render": 0.0}
        started = time.perf_counter()
        self._steps = 0
        if self._training is None:
            self.scene.reset(trial)
            self._arrange(trial, self._shuffler)
        else:
            self.task = self._training.start(trial)
            self._arrange(trial, self._training.shuffler(trial))
        self._nearest_m = self.scene.nearest_official_m()
        success = self.scene.is_success()
        self.timing["sim"] += time.perf_counter() - started
        return self._observation(), self._info(success)

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run one control step of 50 ms.

        Raises:
            ValueError: `action` is not (7,) finite numbers; the simulation is left as it was.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (7,):
            raise ValueError(f"action: expected shape (7,) {ACTION_SPEC.names}, got {action.shape}")
        if not np.isfinite(action).all():
            entry = int(np.argmin(np.isfinite(action)))
            raise ValueError(f"action: expected finite numbers, got {action[entry]} for {ACTION_SPEC.names[entry]}")
        started = time.perf_counter()
        self._advance(action)
        success = self.scene.is_success()
        self._steps += 1
        self.timing["sim"] += time.perf_counter() - started
        truncated = self._steps >= self.task.max_steps
        return self._observation(), float(success), success, truncated, self._info(success)

    def flat_state(self) -> FloatArray:
        """(1 + nq + nv,) float64: the simulator's flattened state, [time, qpos, qvel]."""
        return self.scene.flat_state()

    def alternatives(self) -> list[tuple[str, str]]:
        """Other words that are possible in this scene, and the object each begins with; empty unless `training`."""
        return [] if self._training is None else self._training.alternatives()

    @property
    def nearest_official_m(self) -> float:
        """[m] how far this episode's first scene is from the nearest official one; 0 for official scenes.

        The distance of two scenes is that of the object that lies farthest from its other place, seen from above.
        """
        return self._nearest_m

    def camera_poses(self) -> dict[str, CameraPose]:
        """Where each camera is now; with it points of the world are found in its image."""
        return {name: camera_pose(self.scene.model, self.scene.data, CAMERAS[name]) for name in self.cameras}

    def hands(self) -> FloatArray:
        """(1, 3) [m] where the hand is, as in the last observation."""
        return self._seen_state[None, :3]

    def render(self) -> Image:
        """(H, W, 3) uint8: the first camera at the moment of the last observation."""
        return self._draw(self._seen, self.cameras[0] if self.cameras else "agentview")

    def close(self) -> None:
        """Free the OpenGL objects."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _arrange(self, trial: int, shuffler: Shuffler | None) -> None:
        """Let the scene settle; then, if asked for, shuffle what stands and let that settle."""
        self._settle()
        if shuffler is None:
            return
        for candidate in shuffler.candidates(trial, self.scene.flat_state()):
            self.scene.set_state(candidate)
            self._settle()
            if shuffler.is_settled(candidate):
                return

    def _settle(self) -> None:
        for _ in range(SETTLE_STEPS):
            self._advance(SETTLE_ACTION)

    def _advance(self, action: FloatArray) -> None:
        """One control step; remember what the sensors saw inside it, for state and for images on demand."""
        scene, controller = self.scene, self.scene.controller
        controller.command(action)
        controller.run(SENSOR_SUBSTEP)
        self._seen = Snapshot.take(scene.model, scene.data)
        controller.run(1)
        self._seen_state = scene.proprioception()
        controller.run(SUBSTEPS - SENSOR_SUBSTEP - 1)
        scene.upstream._post_process()

    def _observation(self) -> dict[str, Any]:
        draw = functools.partial(self._draw, self._seen)
        return {"images": ImagesOnDemand(self.cameras, draw), "state": self._seen_state}

    def _draw(self, snapshot: Snapshot, camera: str) -> Image:
        started = time.perf_counter()
        if self._renderer is None:
            self._renderer = LiberoRenderer(self.scene.model, self._image_size, self._profile)
        image = self._renderer.render(camera, snapshot)
        self.timing["render"] += time.perf_counter() - started
        return image

    def _info(self, success: bool) -> dict[str, Any]:
        return {
            "is_success": success,
            "instruction": self.task.instruction,
            "time": (SETTLE_STEPS + self._steps) / HZ,
        }


def load_benchmark(suite: str, image_size: int, cameras: Sequence[str], render: str, scene: str) -> Suite:
    """The tasks of a suite, after checking every setting of its environments; builds none.

    Raises:
        ValueError: an impossible setting; the message names the key and the nearest valid value.
    """
    check_choice("env.render", render, ("full", "lod"))
    check_choice("env.scene", scene, ("official", "shuffled", "crossed", "training"))
    for camera in cameras:
        check_choice("env.cameras", camera, tuple(CAMERAS))
    if image_size < 1:
        raise ValueError(f"env.image_size: expected at least 1 px, got {image_size}")
    loaded = load_suite(suite)
    if scene == "training":
        tasks = tuple(dataclasses.replace(task, trials=TRAINING_SEEDS) for task in loaded.tasks)
    elif scene == "crossed":
        tasks = cross(loaded.tasks)
    else:
        tasks = loaded.tasks
    return dataclasses.replace(loaded, tasks=tasks)
