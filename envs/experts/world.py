"""What the expert knows: a read-only view of the simulator's present state.

Nothing here writes to the model or the data. Kinematics are those of the last physics substep.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.experts.arm import ArmModel
from envs.experts.geometry import Boxes, IntArray
from vla.types import FloatArray

REACH_TOLERANCE = 0.015  # [m] a pose missed by more than this cannot be reached
PLANE_HALF = 5.0  # [m] an infinite plane becomes a box of this half size


@dataclass(frozen=True, eq=False)
class Pose:
    """Position (3,) [m] and rotation (3, 3) in the world frame."""

    position: FloatArray
    rotation: FloatArray

    def point(self, local: FloatArray) -> FloatArray:
        """(3,) world position of a (3,) point given in this frame."""
        return np.asarray(self.position + self.rotation @ local)

    def inverse_point(self, world: FloatArray) -> FloatArray:
        """(3,) position in this frame of a (3,) world point."""
        return np.asarray(self.rotation.T @ (world - self.position))


class World:
    """Poses, boxes, contacts and joints of a bound LIBERO scene.

    Args:
        env: the unwrapped `LiberoEnv`; its scene was reset at least once.

    Attributes:
        base: (3,) [m] foot of the arm.
    """

    def __init__(self, env: Any) -> None:
        import mujoco

        self._mj = mujoco
        self.task_name: str = f"{env.task.suite} task {env.task.id} ({env.task.name})"
        self.upstream = env.scene.upstream
        self._scene, self._model = env.scene, env.scene.model
        robot = self.upstream.robots[0]
        self._site: int = robot.eef_site_id
        self._finger_qpos = list(robot._ref_gripper_joint_pos_indexes)
        self._arm_qpos = list(robot._ref_joint_pos_indexes)
        self._arm_model = ArmModel(self._model, self._site, self._arm_qpos, np.array(robot.init_qpos))
        self._index_geoms(robot)
        self.base: FloatArray = self._data.xpos[self._model.body(robot.robot_model.root_body).id].copy()

    @property
    def _data(self) -> Any:
        """MuJoCo's data; while the scene is imagined (`envs.libero.imagination`) those of the copy."""
        return self._scene.data

    def _index_geoms(self, robot: Any) -> None:
        """Sort the collision geometry by owner."""
        model = self._model
        root_of = model.body_rootid[model.geom_bodyid]  # (ngeom,)
        collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
        robot_root = model.body_rootid[model.site_bodyid[self._site]]
        mounts = [i for i in range(model.nbody) if model.body(i).name.startswith(("robot", "gripper", "mount"))]
        of_robot = (root_of == robot_root) | np.isin(model.geom_bodyid, mounts)
        self._solid = np.flatnonzero(collides & ~of_robot)
        self._body = {name: int(body) for name, body in self.upstream.obj_body_id.items()}
        self._geoms = {name: np.flatnonzero(collides & (root_of == body)) for name, body in self._body.items()}
        names = robot.gripper.important_geoms
        self._fingers = [
            np.array([model.geom(geom).id for geom in {*names[f"{side}_finger"], *names[f"{side}_fingerpad"]}])
            for side in ("left", "right")
        ]
        self._robot_geoms = np.flatnonzero(of_robot)
        half, offset = model.geom_aabb[:, 3:].copy(), model.geom_aabb[:, :3].copy()
        plane = model.geom_type == self._mj.mjtGeom.mjGEOM_PLANE
        half[plane] = [PLANE_HALF, PLANE_HALF, PLANE_HALF / 2]
        offset[plane] = [0.0, 0.0, -PLANE_HALF / 2]
        self._half, self._offset = half, offset

    # Hand.

    @property
    def hand(self) -> Pose:
        """Pose of the point between the finger tips; z points out of the hand, x is the closing axis."""
        return Pose(self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy())

    @property
    def hand_velocity(self) -> FloatArray:
        """(6,) of the same point, world axes: [m/s], then [rad/s]."""
        velocity = np.zeros(6)
        kind = self._mj.mjtObj.mjOBJ_SITE
        self._mj.mj_objectVelocity(self._model, self._data, kind, self._site, velocity, 0)
        return np.roll(velocity, 3)

    @property
    def opening(self) -> float:
        """[m] distance between the fingers' inner faces, 0 to 0.08."""
        left, right = self._data.qpos[self._finger_qpos]
        return float(left - right)

    @property
    def arm(self) -> FloatArray:
        """(7,) [rad] joint angles."""
        return np.asarray(self._data.qpos[self._arm_qpos])

    def trouble(self, position: FloatArray, rotation: FloatArray, *allowed: str, body: int | None = None) -> float:
        """How bad a hand pose is for the arm; takes a few milliseconds.

        Args:
            position: (3,) [m] of the hand.
            rotation: (3, 3) of the hand.
            allowed: objects and fixtures that may be touched.
            body: one more body that may be touched.

        Returns:
            0 for a good pose; 1 for each contact of the arm with something else; 10 and more when the joints do
            not allow it.
        """
        error = self._arm_model.error(self._data, position, rotation)
        if error > REACH_TOLERANCE:
            return 10.0 + error
        geoms = [self._geoms[name] for name in allowed]
        if body is not None:
            geoms.append(np.flatnonzero(self._model.geom_bodyid == body))
        touchable = np.concatenate(geoms) if geoms else np.empty(0, dtype=int)
        return float(min(9, self._arm_model.touches(self._robot_geoms, touchable)))

    # Objects and fixtures.

    @property
    def names(self) -> Iterable[str]:
        """Objects and fixtures."""
        return self._geoms.keys()

    @property
    def movable(self) -> Iterable[str]:
        """Objects that can be carried."""
        return [name for name in self.upstream.objects_dict if name in self._geoms]

    @property
    def turnable(self) -> Iterable[str]:
        """Fixtures with a part that turns: a knob, a door."""
        return [name for name in self.upstream.fixtures_dict if any(map(self.is_hinge, self.joints_of(name)))]

    @property
    def regions(self) -> Iterable[str]:
        """Sites that predicates name."""
        return list(self.upstream.object_sites_dict)

    def region_half(self, name: str) -> FloatArray:
        """(3,) [m] half size of a region, as the predicates use it."""
        return np.asarray(self.upstream.object_sites_dict[name].size, dtype=np.float64)

    def owner(self, name: str) -> str | None:
        """The object or fixture a region belongs to; None for a region of the table."""
        if name not in self.upstream.object_sites_dict:
            return name
        parent = self.upstream.object_sites_dict[name].parent_name
        return parent if parent in self._geoms else None

    def joints_of(self, name: str) -> list[str]:
        """Joints of a region's part, or of a fixture."""
        if name in self.upstream.object_sites_dict:
            return list(self.upstream.object_sites_dict[name].joints or [])
        return list(self.upstream.fixtures_dict[name].joints) if name in self.upstream.fixtures_dict else []

    def articulation(self, name: str) -> dict[str, list[float]]:
        """The joint ranges that count as open, closed, on and off."""
        ranges: dict[str, list[float]] = self.upstream.get_object(self.owner(name)).object_properties["articulation"]
        return ranges

    def pose(self, name: str) -> Pose:
        """Pose of an object's or a fixture's body, the one that predicates test."""
        body = self._body[name]
        return Pose(self._data.xpos[body].copy(), self._data.xmat[body].reshape(3, 3).copy())

    def site(self, name: str) -> Pose:
        """Pose of a region."""
        site = self._model.site(name).id
        return Pose(self._data.site_xpos[site].copy(), self._data.site_xmat[site].reshape(3, 3).copy())

    def mass_center(self, name: str) -> FloatArray:
        """(3,) [m]."""
        return np.asarray(self._data.subtree_com[self._body[name]]).copy()

    def speed(self, name: str) -> float:
        """[m/s] how fast an object's body moves."""
        velocity = np.zeros(6)
        kind = self._mj.mjtObj.mjOBJ_BODY
        self._mj.mj_objectVelocity(self._model, self._data, kind, self._body[name], velocity, 0)
        return float(np.linalg.norm(velocity[3:]))

    def boxes(self, name: str) -> Boxes:
        """Collision geometry of one object or fixture."""
        return self._boxes(self._geoms[name])

    def body_boxes(self, body: int) -> Boxes:
        """Collision geometry of one body alone, such as a drawer."""
        return self._boxes(self._solid[self._model.geom_bodyid[self._solid] == body])

    def fixed_boxes(self, name: str) -> Boxes:
        """Collision geometry of a fixture without its moving parts."""
        geoms = self._geoms[name]
        return self._boxes(geoms[self._model.body_dofnum[self._model.geom_bodyid[geoms]] == 0])

    def is_hinge(self, joint: str) -> bool:
        """Whether a joint turns (else it slides)."""
        return bool(self._model.jnt_type[self._model.joint(joint).id] == self._mj.mjtJoint.mjJNT_HINGE)

    def others(self, *excluded: str, body: int | None = None) -> Boxes:
        """Everything solid except the robot, the named objects and one body."""
        geoms = self._solid
        for name in excluded:
            geoms = np.setdiff1d(geoms, self._geoms[name], assume_unique=True)
        if body is not None:
            geoms = geoms[self._model.geom_bodyid[geoms] != body]
        return self._boxes(geoms)

    def _boxes(self, geoms: IntArray) -> Boxes:
        rotation = self._data.geom_xmat[geoms].reshape(-1, 3, 3)
        center = self._data.geom_xpos[geoms] + np.einsum("gij,gj->gi", rotation, self._offset[geoms])
        return Boxes(center, rotation, self._half[geoms])

    # Joints.

    def joint(self, name: str) -> float:
        """[m] or [rad] position of a hinge or slide."""
        return float(self._data.qpos[self._model.joint(name).qposadr[0]])

    def joint_axis(self, name: str) -> tuple[FloatArray, FloatArray, int]:
        """(3,) anchor [m], (3,) direction in the world frame, and the body it moves."""
        joint = self._model.joint(name).id
        return self._data.xanchor[joint].copy(), self._data.xaxis[joint].copy(), int(self._model.jnt_bodyid[joint])

    # Contacts.

    def _touching(self, first: IntArray, second: IntArray) -> bool:
        """Whether a geom of one group touches a geom of the other."""
        pairs = self._data.contact.geom  # (ncon, 2)
        if len(pairs) == 0:
            return False
        forward = np.isin(pairs[:, 0], first) & np.isin(pairs[:, 1], second)
        backward = np.isin(pairs[:, 1], first) & np.isin(pairs[:, 0], second)
        return bool(np.any(forward | backward))

    def finger_contacts(self, name: str) -> tuple[bool, bool]:
        """Whether the left and the right finger touch an object."""
        geoms = self._geoms[name]
        return self._touching(self._fingers[0], geoms), self._touching(self._fingers[1], geoms)

    def gripped(self, body: int) -> bool:
        """Whether both fingers touch one body, such as a drawer."""
        geoms = self._solid[self._model.geom_bodyid[self._solid] == body]
        return all(self._touching(finger, geoms) for finger in self._fingers)

    def held(self, name: str) -> bool:
        """Whether both fingers touch an object."""
        return all(self.finger_contacts(name))

    def touched_by_hand(self, name: str) -> bool:
        """Whether any part of the robot touches an object."""
        return self._touching(self._robot_geoms, self._geoms[name])

    def supported(self, name: str) -> bool:
        """Whether an object touches anything but the robot."""
        geoms = self._geoms[name]
        return self._touching(geoms, np.setdiff1d(self._solid, geoms, assume_unique=True))

    # Travel.

    def top_along(self, start: FloatArray, goal: FloatArray, radius: float, *excluded: str) -> float:
        """[m] height of the highest thing whose bounds come within `radius` of the path from (2,) to (2,)."""
        boxes = self.others(*excluded)
        reach = boxes.reach
        samples = start + np.linspace(0.0, 1.0, 12)[:, None] * (goal - start)  # (12, 2)
        gap = np.abs(samples[:, None] - boxes.center[:, :2]) - reach[:, :2]  # (12, G, 2)
        distance = np.linalg.norm(np.maximum(gap, 0.0), axis=2).min(axis=0)
        tops = (boxes.center + reach)[:, 2][distance <= radius]
        return float(tops.max(initial=0.0))

    def stretch(self, position: FloatArray) -> FloatArray:
        """How far the wrist of a vertical hand is from the shoulder; the elbow is straight at 0.70 m.

        Args:
            position: (..., 3) [m] of the hand.

        Returns:
            (...) [m].
        """
        radius = np.hypot(position[..., 0] - self.base[0], position[..., 1] - self.base[1]) - WRIST_FORWARD
        return np.asarray(np.hypot(radius, position[..., 2] + WRIST_UP - (self.base[2] + SHOULDER_UP)))


WRIST_FORWARD = 0.088  # [m] wrist axis behind the hand's axis (Panda kinematics)
WRIST_UP = 0.204  # [m] wrist axis above the finger tips of a vertical hand
SHOULDER_UP = 0.333  # [m] shoulder axis above the foot
STRETCH_COMFORT = 0.62  # [m] beyond it poses are avoided
STRETCH_LIMIT = 0.665  # [m] beyond it the elbow gets straight and position control does not recover
