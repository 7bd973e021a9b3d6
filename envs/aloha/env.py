"""ALOHA as a `gymnasium.Env`: gym-aloha's physics to the last bit, with true limits, units and seeds."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.aloha.placements import TRAINING_SEEDS, nearest_official_m, official_poses, training_poses
from envs.aloha.robot import HZ
from envs.aloha.suites import Suite, load_suite
from envs.choices import check_choice
from envs.projection import CameraPose, camera_pose
from envs.rendering import ImagesOnDemand, Renderer, Snapshot, configure_gl
from vla.types import FloatArray, Image

CAMERAS = ("top", "left_wrist", "right_wrist", "angle")
LOD_SHADOWS = 1024  # [px] edge of the shadow map, instead of 4096


class AlohaEnv(gymnasium.Env[dict[str, Any], FloatArray]):
    """One of gym-aloha's tasks.

    - `images`: camera -> (H, W, 3) uint8 RGB, upright, rendered when read;
    - `state`: (14,) left joints [rad] (6), left gripper (0 closed, 1 open), right joints (6), right gripper.

    Action: (14,) in the same order, absolute. On grippers' scales, see `envs.aloha.robot`.

    Args:
        suite: `aloha_transfer_cube` or `aloha_insertion`.
        task_id: index in the suite; each has one task.
        image_size: [px] height and width. The real cameras have 480 x 640.
        cameras: from `top`, `left_wrist`, `right_wrist`, `angle`.
        render: `full`, pixel by pixel what gym-aloha draws, or `lod` with coarser shadows, in about half the time.
        scene: `official`, where trial k has the poses of gym-aloha's seed k, or `training`, where a trial is the seed
            of a scene from a wider range that is never one of the official ones.
        widen: how far training scenes go beyond the official area, 0 not at all, 1 as far as `placements.py` says.

    Raises:
        ValueError: unknown suite, task, camera, profile or scene, or an impossible size.
        FileNotFoundError: the package with the scenes is not installed.
        envs.rendering.RenderingUnavailable: no off-screen OpenGL on this machine.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": HZ}  # noqa: RUF012  (gymnasium's own declaration)
    robot_type = "aloha_sim"  # as a dataset names the robot

    def __init__(
        self,
        suite: str = "aloha_transfer_cube",
        task_id: int = 0,
        image_size: Sequence[int] = (480, 640),
        cameras: Sequence[str] = ("top", "left_wrist", "right_wrist"),
        render: Literal["full", "lod"] = "full",
        scene: Literal["official", "training"] = "official",
        widen: float = 1.0,
        render_mode: str | None = "rgb_array",
    ) -> None:
        tasks = load_benchmark(suite, image_size, cameras, render, scene, widen).tasks
        if not 0 <= task_id < len(tasks):
            raise ValueError(f"env.tasks: {suite} has tasks 0 to {len(tasks) - 1}, got {task_id}")
        self.task = tasks[task_id]
        self.render_mode = render_mode
        self.cameras = tuple(cameras)
        self.timing = {"sim": 0.0, "render": 0.0}  # [s] since the last reset
        self._height, self._width = image_size
        self._draw_poses = official_poses if scene == "official" else functools.partial(training_poses, widen=widen)
        self._renderer: Renderer | None = None
        self._steps = 0
        configure_gl()
        from envs.aloha.scene import AlohaScene

        self.scene = AlohaScene(self.task)
        if render == "lod":
            self.scene.model.vis.quality.shadowsize = LOD_SHADOWS
        self.action_spec = self.scene.action_spec
        self.action_space = spaces.Box(self.action_spec.low, self.action_spec.high, dtype=np.float64)
        image_space = spaces.Box(0, 255, (self._height, self._width, 3), np.uint8)
        self.observation_space = spaces.Dict(
            {
                "images": spaces.Dict(dict.fromkeys(self.cameras, image_space)),
                "state": spaces.Box(-np.inf, np.inf, self.action_spec.low.shape, np.float64),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start trial `options["trial"]`; without it the seed draws a trial.

        Raises:
            ValueError: there is no such trial.
        """
        super().reset(seed=seed)
        trial = (options or {}).get("trial")
        if trial is None:
            trial = int(self.np_random.integers(self.task.trials))
        if not 0 <= trial < self.task.trials:
            raise ValueError(f"trial: {self.task.suite} has trials 0 to {self.task.trials - 1}, got {trial}")
        started = time.perf_counter()
        poses = self._draw_poses(self.task.name, trial)
        self.scene.reset(poses)
        self._nearest_m = nearest_official_m(self.task.name, poses)
        self._steps = 0
        self._seen = Snapshot.take(self.scene.model, self.scene.data)
        self.timing = {"sim": time.perf_counter() - started, "render": 0.0}
        return self._observation(), self._info(self.scene.is_success())

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run one control step of 20 ms.

        Raises:
            ValueError: `action` is not (14,) finite numbers; the simulation is left as it was.
        """
        action = self._checked(action)
        started = time.perf_counter()
        self.scene.advance(action)
        success = self.scene.is_success()
        self._steps += 1
        self._seen = Snapshot.take(self.scene.model, self.scene.data)
        self.timing["sim"] += time.perf_counter() - started
        truncated = self._steps >= self.task.max_steps
        return self._observation(), float(success), success, truncated, self._info(success)

    def flat_state(self) -> FloatArray:
        """(1 + nq + nv,) float64: the simulator's flattened state, [time, qpos, qvel]."""
        return self.scene.flat_state()

    @property
    def nearest_official_m(self) -> float:
        """[m] how far this episode's first scene is from the nearest evaluation trial; 0 for official scenes."""
        return self._nearest_m

    def camera_poses(self) -> dict[str, CameraPose]:
        """Where each camera is now; with it points of the world are found in its image."""
        aspect = self._width / self._height
        return {name: camera_pose(self.scene.model, self.scene.data, name, aspect) for name in self.cameras}

    def hands(self) -> FloatArray:
        """(2, 3) [m] where the left and the right tool are: the points between their finger tips."""
        return self.scene.tools()

    def render(self) -> Image:
        """(H, W, 3) uint8: the first camera at the moment of the last observation."""
        return self._draw(self._seen, self.cameras[0] if self.cameras else CAMERAS[0])

    def close(self) -> None:
        """Free the OpenGL objects."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _checked(self, action: FloatArray) -> FloatArray:
        action, names = np.asarray(action, dtype=np.float64), self.action_spec.names
        if action.shape != self.action_spec.low.shape:
            raise ValueError(f"action: expected shape ({len(names)},) {names}, got {action.shape}")
        if not np.isfinite(action).all():
            entry = int(np.argmin(np.isfinite(action)))
            raise ValueError(f"action: expected finite numbers, got {action[entry]} for {names[entry]}")
        return action

    def _observation(self) -> dict[str, Any]:
        draw = functools.partial(self._draw, self._seen)
        return {"images": ImagesOnDemand(self.cameras, draw), "state": self.scene.state()}

    def _draw(self, snapshot: Snapshot, camera: str) -> Image:
        started = time.perf_counter()
        if self._renderer is None:
            names = dict(zip(CAMERAS, CAMERAS, strict=True))
            self._renderer = Renderer(self.scene.model, names, (self._height, self._width))
        image = self._renderer.render(camera, snapshot)
        self.timing["render"] += time.perf_counter() - started
        return image

    def _info(self, success: bool) -> dict[str, Any]:
        return {
            "is_success": success,
            "instruction": self.task.instruction,
            "time": self._steps / HZ,
            "channels": {"velocity": self.scene.velocity()},
        }


def load_benchmark(
    suite: str, image_size: Sequence[int], cameras: Sequence[str], render: str, scene: str, widen: float = 1.0
) -> Suite:
    """The task of a suite, after checking every setting of its environments; builds none.

    Raises:
        ValueError: an impossible setting; the message names the key and the nearest valid value.
        FileNotFoundError: the package with the scenes is not installed.
    """
    check_choice("env.render", render, ("full", "lod"))
    check_choice("env.scene", scene, ("official", "training"))
    if not 0 <= widen <= 1:
        raise ValueError(f"env.widen: expected 0 to 1, got {widen}")
    for camera in cameras:
        check_choice("env.cameras", camera, CAMERAS)
    if len(image_size) != 2 or not all(type(edge) is int and edge >= 1 for edge in image_size):
        raise ValueError(f"env.image_size: expected [height, width] of at least 1 px, got {image_size}")
    loaded = load_suite(suite)
    if scene == "official":
        return loaded
    return Suite(loaded.name, tuple(dataclasses.replace(task, trials=TRAINING_SEEDS) for task in loaded.tasks))
