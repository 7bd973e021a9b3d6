"""Shuffled scenes: the official initial state with movable objects in each other's places.

The official scenes of a task hardly vary, so a policy that remembers positions scores well without seeing.
Here objects that stand on the table or floor trade places and are jittered. What the instruction says of the
scene stays true:

- objects that a relation in the words refers to ("the bowl between the plate and the ramekin", "the left plate")
  move together, as one rigid group, by one small shift; where the goal is a spot on the table they stay;
- objects on or in another object or a fixture keep their place on it, and travel with an object below them;
- large containers do not trade places, they are only jittered.

A shuffle is a pure function of (suite, task, trial). Candidates that touch something, or that do not stand
still when the scene settles, are drawn again.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.libero.suites import LiberoTask
from vla.protocols import SceneRefused
from vla.types import FloatArray

LARGE_HALF_WIDTH_M = 0.075  # [m] from which an object only gets jitter: the basket, not the plate
SETTLED_DRIFT_M = 0.03  # [m] an object that moves farther while settling was placed badly
SETTLED_TILT = 0.98  # cosine between an object's axis before and after settling
MAX_CANDIDATES = 400
_RELATION = re.compile(r"\b(between|next to|from|left|right|front|back|center)\b")
_CLAUSE = re.compile(r"\band (?=put|place|close|push)")


@dataclass(frozen=True)
class Spread:
    """How far a shuffle moves things, [m] each way.

    Attributes:
        trade_m: around the place an object was given.
        group_m: for related objects and large containers.
        salt: distinguishes draws for one use from those for another; evaluation has none.
    """

    trade_m: float = 0.03
    group_m: float = 0.02
    salt: tuple[int, ...] = ()


class ShuffleFailed(SceneRefused):
    """No free arrangement was found for a trial; the message names it."""


@dataclass(frozen=True)
class _Movable:
    """A free object that stands on the table or floor, and what it carries."""

    name: str
    addresses: tuple[int, ...]  # where the qpos of the object and of what it carries begin
    bodies: tuple[int, ...]
    half_width_m: float  # [m] along the wider of the world's x and y


class Shuffler:
    """Draws arrangements for the scenes of one task.

    Args:
        upstream: LIBERO's environment, just reset to any official trial.
        task: whose words must stay true.
        spread: how far things move.
    """

    def __init__(self, upstream: Any, task: LiberoTask, spread: Spread | None = None) -> None:
        self._upstream, self._task, self._spread = upstream, task, spread or Spread()
        self._model, self._data = upstream.sim.model._model, upstream.sim.data._data
        initial = [tuple(fact) for fact in upstream.parsed_problem["initial_state"]]
        regions = upstream.parsed_problem["regions"]
        workspace = {name for name, region in regions.items() if region["target"] == upstream.workspace_name}
        standing = [fact[1] for fact in initial if fact[0] == "on" and fact[2] in workspace]
        carried = {fact[2]: fact[1] for fact in initial if fact[0] == "on" and fact[2] in upstream.objects_dict}
        self._movables = [self._movable(name, carried.get(name)) for name in standing if name in upstream.objects_dict]
        self._related = related_objects(task.instruction, [movable.name for movable in self._movables])
        goals = upstream.parsed_problem["goal_state"]
        self._group_may_move = not any(fact[-1] in workspace for fact in goals)

    def candidates(self, trial: int, state: FloatArray) -> Iterator[FloatArray]:
        """Arrangements of trial `trial` in which nothing touches that did not touch before.

        Args:
            trial: seeds the draws, together with the task's name and the spread's salt.
            state: (1 + nq + nv,) its settled state, which the simulation currently has.

        Raises:
            ShuffleFailed: after `MAX_CANDIDATES` draws.
        """
        name = zlib.crc32(f"{self._task.suite}/{self._task.name}".encode())
        generator = np.random.default_rng([name, *self._spread.salt, trial])
        allowed = self._touching()
        for _ in range(MAX_CANDIDATES):
            candidate = self._draw(generator, state)
            self._upstream.sim.set_state_from_flattened(candidate)
            self._upstream.sim.forward()
            if self._touching() <= allowed and not self._upstream._check_success():
                yield candidate
        raise ShuffleFailed(
            f"{self._task.suite} task {self._task.id} trial {trial}: none of {MAX_CANDIDATES} arrangements is free of "
            "collisions; leave this trial out or use env.scene=official"
        )

    def is_settled(self, placed: FloatArray) -> bool:
        """Whether every moved object still stands where `placed` (1 + nq + nv,) put it."""
        for movable in self._movables:
            address = movable.addresses[0]
            now, then = self._data.qpos[address : address + 7], placed[1 + address : 8 + address]
            drift = float(np.linalg.norm(now[:2] - then[:2]))
            if drift > SETTLED_DRIFT_M or _up(now[3:]) @ _up(then[3:]) < SETTLED_TILT:
                return False
        return True

    def _draw(self, generator: np.random.Generator, state: FloatArray) -> FloatArray:
        """One arrangement, not yet checked: (1 + nq + nv,)."""
        shuffled = state.copy()
        trade_m, group_m = self._spread.trade_m, self._spread.group_m
        traders = [
            movable
            for movable in self._movables
            if movable.name not in self._related and movable.half_width_m < LARGE_HALF_WIDTH_M
        ]
        order = generator.permutation(len(traders))
        group_shift = generator.uniform(-group_m, group_m, 2) * self._group_may_move
        for movable in self._movables:
            if movable in traders:
                slot = traders[order[traders.index(movable)]]
                jitter = generator.uniform(-trade_m, trade_m, 2)
                shift = self._xy(state, slot) - self._xy(state, movable) + jitter
            elif movable.name in self._related:
                shift = group_shift
            else:
                shift = generator.uniform(-group_m, group_m, 2)
            for address in movable.addresses:
                shuffled[1 + address : 3 + address] += shift
        return shuffled

    def _movable(self, name: str, carried: str | None) -> _Movable:
        upstream = self._upstream
        names = [name] if carried is None else [name, carried]
        objects = [upstream.objects_dict[each] for each in names]
        return _Movable(
            name=name,
            addresses=tuple(int(upstream.sim.model.get_joint_qpos_addr(each.joints[-1])[0]) for each in objects),
            bodies=tuple(int(upstream.obj_body_id[each]) for each in names),
            half_width_m=self._half_width(int(upstream.obj_body_id[name])),
        )

    def _half_width(self, body: int) -> float:
        """[m] Half extent of a body's colliding geoms around its origin, horizontally."""
        model, data = self._model, self._data
        geoms = np.flatnonzero((model.body_rootid[model.geom_bodyid] == body) & (model.geom_contype > 0))
        widest = 0.0
        for geom in geoms:
            rotation = data.geom_xmat[geom].reshape(3, 3)
            centre = data.geom_xpos[geom] + rotation @ model.geom_aabb[geom, :3] - data.xpos[body]
            reach = np.abs(centre) + np.abs(rotation) @ model.geom_aabb[geom, 3:]
            widest = max(widest, float(reach[:2].max()))
        return widest

    def _xy(self, state: FloatArray, movable: _Movable) -> FloatArray:
        address = 1 + movable.addresses[0]
        return state[address : address + 2]

    def _touching(self) -> set[tuple[int, int]]:
        """Pairs (movable's index, root body of what it touches) that overlap now."""
        owner = {body: index for index, movable in enumerate(self._movables) for body in movable.bodies}
        pairs = set()
        for contact in self._data.contact[: self._data.ncon]:
            roots = [int(self._model.body_rootid[self._model.geom_bodyid[geom]]) for geom in contact.geom]
            indices = [owner.get(root) for root in roots]
            for mine, other_root, other in ((indices[0], roots[1], indices[1]), (indices[1], roots[0], indices[0])):
                if mine is not None and mine != other:
                    pairs.add((mine, other_root))
        return pairs


def related_objects(instruction: str, names: Sequence[str]) -> set[str]:
    """The objects that a spatial relation in the words refers to.

    Example: "pick up the black bowl next to the plate and place it on the plate" relates bowls and plates.
    """
    words: set[str] = set()
    for clause in _CLAUSE.split(instruction):
        found = _RELATION.search(clause)
        if found:
            described = clause if clause.startswith("pick") else clause[found.start() :]
            words |= set(described.split())
    return {name for name in names if _noun(name) in words}


def _noun(name: str) -> str:
    """`akita_black_bowl_2` -> `bowl`, `cookies_1` -> `cookie`: the word an instruction uses for an object."""
    return name.rpartition("_")[0].rpartition("_")[2].removesuffix("s")


def _up(quaternion: FloatArray) -> FloatArray:
    """(4,) wxyz -> (3,): the world's vertical in the object's frame."""
    w, x, y, z = quaternion
    return np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
