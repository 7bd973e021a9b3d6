"""What the expert reads of the simulation: tools, objects, and who holds what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.aloha.robot import ARMS, opening
from envs.experts.aloha.arm import Arm
from envs.experts.aloha.pose import Pose
from vla.types import FloatArray

TOUCHING = 0.0225  # [m] position of a finger whose inner side is on the gripper's middle plane
FINGER_RANGE = (0.021, 0.057)  # [m]
SQUEEZE = 0.003  # [m] the controls of a gripper that holds are this far inside the object
SLACK = 0.003  # [m] between the gap and the object's width


class World:
    """Reads an `AlohaEnv`; nothing in it is written to.

    Args:
        env: the unwrapped environment.

    Attributes:
        arms: by name.
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self._scene = env.scene
        self.arms = {name: Arm(self._scene.model, name) for name in ARMS}

    def look(self) -> None:
        """Read anew what is read once a tick."""
        self._contacts = self._scene.contacts()
        self._state, self._commanded = self._scene.state(), self._scene.commanded()

    def tool(self, arm: Arm) -> Pose:
        """Where the tool is."""
        return arm.tool(self._scene.data)

    def angles(self, arm: Arm) -> FloatArray:
        """(6,) [rad] joint angles."""
        return np.array(self._scene.data.qpos[arm.joints])

    def commanded(self, arm: Arm) -> FloatArray:
        """(7,) the command in force."""
        return np.array(self._commanded[arm.entries])

    def gap(self, arm: Arm) -> float:
        """[m] between the fingers."""
        return 2.0 * (float(self._scene.data.qpos[arm.finger]) - TOUCHING)

    def body(self, name: str) -> Pose:
        """Where an object is."""
        body = self._scene.data.body(name)
        return Pose(np.array(body.xpos), np.array(body.xmat).reshape(3, 3))

    def touches(self, arm: Arm, geoms: Sequence[str]) -> int:
        """How many fingers of an arm touch one of these geoms."""
        fingers = [f"vx300s_{arm.name}/10_{side}_gripper_finger" for side in ARMS]
        return sum(any(self._contacts.touch(geom, finger) for geom in geoms) for finger in fingers)

    def holds(self, arm: Arm, geoms: Sequence[str], width: float) -> bool:
        """Whether the fingers press on one of these geoms, `width` [m] thick.

        A finger may lose touch for a moment when something pushes; then the gap shows that the object is still there.
        """
        data = self._scene.data
        goal = max(float(data.ctrl[arm.finger]), FINGER_RANGE[0])
        presses = goal < float(data.qpos[arm.finger]) - SQUEEZE
        fingers = self.touches(arm, geoms)
        return presses and (fingers == 2 or (fingers == 1 and abs(self.gap(arm) - width) < SLACK))


def opening_for(width: float) -> float:
    """The command that leaves this gap [m] between the fingers, 0 closed to 1 open; as far as they go."""
    return float(opening(np.clip(width / 2 + TOUCHING, *FINGER_RANGE)))
