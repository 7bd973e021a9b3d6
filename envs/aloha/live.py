"""The followers' world while it runs in real time: physics for servos on one side, cameras on the other.

It speaks, without knowing them, the emulator's protocol of back ends and the robot's of camera devices; they meet in
`conf/robot/aloha_mujoco.yaml`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from envs.aloha.env import CAMERAS, LOD_SHADOWS
from envs.aloha.followers import Followers, open_scene
from envs.aloha.gripper import GripperLinkage, Opening
from envs.aloha.robot import ARMS, JOINTS
from envs.choices import check_choice
from envs.rendering import Renderer, Snapshot, share_gl_context
from vla.types import FloatArray, Image

if TYPE_CHECKING:
    from envs.aloha.scene import AlohaScene

SLEEP = np.array([0.0, -1.7, 1.55, 0.12, 0.65, 0.0, 0.03])  # [rad], [m] folded, on the arms' stops, gripper half open


class Drive(Protocol):
    """What the servos of each joint want; all (14,), [rad] and [Nm/rad]."""

    target: FloatArray
    stiffness: FloatArray


@dataclass(frozen=True, eq=False)
class Motion:
    """What came of it; all (14,), left arm first, six joints and the gripper's servo.

    Attributes:
        position: [rad]
        velocity: [rad/s]
        torque: [Nm] at the joint, without the friction by which gym-aloha damps its servos.
    """

    position: FloatArray
    velocity: FloatArray
    torque: FloatArray


class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    def now(self) -> float:
        """[s]."""

    def sleep_until(self, moment: float) -> None:
        """Return when `now()` has reached `moment` [s]."""


class LiveScene:
    """Followers that one thread moves and others look at.

    Servos follow their targets with gym-aloha's gains, so that what was learned in its tasks holds here; the gains and
    torque limits of the emulated servos count only as torque on or off.

    Args:
        grippers: linkage of the grippers, see `gripper.Opening`.
        suite: whose objects lie on the table.
        trial: where they lie.
        image_size: [px] height and width. The real cameras have 480 x 640.
        fps: [1/s] frames of each camera, if the computer can draw so many.
        render: `full`, or `lod` with coarser shadows.
        scene: a simulation that exists already, instead of one with `suite` and `trial`.

    Attributes:
        joints: names `bus/joint`, in the order of all arrays.

    Raises:
        ValueError: unknown suite or profile, or an impossible rate.
    """

    def __init__(
        self,
        grippers: Opening,
        suite: str = "aloha_transfer_cube",
        trial: int = 0,
        image_size: Sequence[int] = (480, 640),
        fps: float = 30.0,
        render: Literal["full", "lod"] = "full",
        scene: AlohaScene | None = None,
    ) -> None:
        check_choice("robot.scene.render", render, ("full", "lod"))
        if not fps > 0:
            raise ValueError(f"robot.scene.fps: expected frames a second above 0, got {fps}")
        self.joints = tuple(f"follower_{arm}/{joint}" for arm in ARMS for joint in (*JOINTS, "gripper"))
        self._followers = Followers(scene or open_scene(suite, trial))
        self._linkage = GripperLinkage(grippers)
        self._lock = threading.Lock()
        share_gl_context()  # each camera draws in its own capture thread
        self._size, self._fps, self._lod = tuple(image_size), fps, render == "lod"
        self.fold()

    def fold(self) -> None:
        """Put both arms at rest on their stops, without torque."""
        with self._lock:
            for arm in ARMS:
                self._followers.place(arm, SLEEP)
                self._followers.command(arm, SLEEP, np.zeros(7, dtype=bool))

    def motion(self) -> Motion:
        """How the joints are now."""
        with self._lock:
            parts = [self._arm_motion(arm) for arm in ARMS]
        return Motion(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def step(self, dt: float, drive: Drive) -> Motion:
        """Move on by `dt` [s]."""
        goals, torque = np.split(drive.target, 2), np.split(drive.stiffness > 0, 2)
        with self._lock:
            for arm, goal, on in zip(ARMS, goals, torque, strict=True):
                self._followers.command(arm, np.append(goal[:6], self._linkage.finger(goal[6])), on)
            self._followers.advance(dt)
        return self.motion()

    def snapshot(self) -> Snapshot:
        """What is to be drawn, as it is now."""
        with self._lock:
            return Snapshot.take(self._followers.scene.model, self._followers.scene.data)

    def lay(self, poses: FloatArray) -> None:
        """Put the objects somewhere, (objects, 7) [m] and quaternion wxyz, as a person does before a trial."""
        with self._lock:
            self._followers.scene.lay(poses)

    def camera(self, name: str) -> SceneCamera:
        """A device that films the scene.

        Raises:
            ValueError: there is no such camera.
        """
        check_choice("robot.cameras", name, CAMERAS)
        height, width = self._size
        return SceneCamera(self, name, (height, width), self._fps)

    def model(self) -> Any:
        """A copy of the compiled scene for drawing; the running one is never written to by another thread."""
        with self._lock:
            model = copy.deepcopy(self._followers.scene.model)
        if self._lod:
            model.vis.quality.shadowsize = LOD_SHADOWS
        return model

    def _arm_motion(self, arm: str) -> tuple[FloatArray, FloatArray, FloatArray]:
        state = self._followers.read(arm)
        finger = float(state.position[6])
        slope = self._linkage.slope(finger)
        torque = np.append(state.load[:6], state.load[6] * slope)
        return (
            np.append(state.position[:6], self._linkage.angle(finger)),
            np.append(state.velocity[:6], state.velocity[6] / slope),
            torque,
        )


class SceneCamera:
    """One camera of a `LiveScene`, as a capture device: it draws when the next frame is due.

    Args:
        scene: what it films.
        name: from `env.CAMERAS`.
        size: [px] height and width.
        fps: [1/s]
    """

    def __init__(self, scene: LiveScene, name: str, size: tuple[int, int], fps: float) -> None:
        self.size, self.where = size, f"{name} of the simulated scene"
        self._scene, self._name, self._period = scene, name, 1.0 / fps
        self._renderer: Renderer | None = None

    def open(self, clock: Clock) -> None:
        """Begin to film.

        Raises:
            envs.rendering.RenderingUnavailable: no off-screen OpenGL on this machine.
        """
        model = self._scene.model()
        self._renderer = Renderer(model, {self._name: self._name}, self.size)
        self._clock, self._due = clock, clock.now()

    def read(self) -> tuple[Image, float]:
        """Wait until the next frame is due: (H, W, 3) uint8 RGB, and when it was taken [s]."""
        if self._renderer is None:
            raise RuntimeError(f"{self.where}: expected an open camera; call open() first")
        self._clock.sleep_until(self._due)
        time, snapshot = self._clock.now(), self._scene.snapshot()
        self._due += self._period
        if self._due <= time:  # what was missed is missed
            self._due = time + self._period
        return self._renderer.render(self._name, snapshot), time

    def close(self) -> None:
        """Stop filming; nothing if it does not."""
        renderer, self._renderer = self._renderer, None
        if renderer is not None:
            renderer.close()
