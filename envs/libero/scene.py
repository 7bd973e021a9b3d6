"""Exact scenes: trial k of a task as the stock sequential protocol builds it, in any order, for a soft reset.

The published protocol seeds numpy with 0, then hard-resets before every trial. Fixtures without joints are
placed by the random generator at each reset and are not part of the saved initial states, so a trial's scene
depends on how many resets came before it. Here the generator's state before each reset is found once, by
replaying the draws without recompiling the model, up to the last trial that was asked for; a trial then starts
from its own generator state on a pristine model. The same robosuite code places everything, so the result is
bit-identical.

Three properties of the stock hard reset are reproduced on purpose:
- a task's list of joint samplers (open drawers, lit stoves) grows by one copy with every reset;
- a failed placement is followed by another complete reset;
- the solver's warm start has gone through the forward passes of the reset.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from envs.libero.controller import LeanController
from envs.libero.suites import OWN_TRIALS, LiberoTask, quiet_imports
from vla.protocols import SceneRefused
from vla.types import FloatArray

_log = logging.getLogger(__name__)
MAX_PLACEMENTS = 50  # draws of LIBERO's samplers before a training scene is given up
PROTOCOL_SEED = 0  # env.seed(0): openvla-oft e4287e9, experiments/robot/libero/libero_utils.py


class Scene:
    """A compiled task whose initial scenes are pure functions of the trial number.

    Attributes:
        upstream: the robosuite environment (LIBERO's `ControlEnv.env`), without renderer and observables.
        model, data: MuJoCo's own structures.
        controller: steps the arm.
    """

    def __init__(self, task: LiberoTask) -> None:
        with quiet_imports():
            from robosuite.utils.errors import RandomizationError

        self._randomization_error = RandomizationError
        stored = task.init_states()
        self.upstream = _build_upstream(task)
        self.model: Any = self.upstream.sim.model._model
        self.data: Any = self.upstream.sim.data._data
        if stored is not None and stored.shape[1] != 1 + self.model.nq + self.model.nv:
            raise ValueError(
                f"{task.init_file}: expected states of 1 + nq + nv = {1 + self.model.nq + self.model.nv} numbers, "
                f"got {stored.shape[1]}; the file belongs to another scene"
            )
        self._samplers = list(self.upstream.object_property_initializers)
        self._replay = self._replay_resets()
        self._generators: list[tuple[int, Any]] = []  # of the trials that were replayed so far
        self.init_states = self._drawn() if stored is None else stored  # (trials, 1 + nq + nv)
        self.controller = LeanController(self.upstream)

    def reset(self, trial: int) -> None:
        """Put the simulator in the state that the stock protocol has after `set_init_state` of trial `trial`."""
        if trial < len(self._generators):
            resets, generator = self._generators[trial]
            with _numpy_generator(generator):
                self._reset_scene(resets)
        while trial >= len(self._generators):  # the last one replayed leaves the scene of this trial
            self._generators.append(next(self._replay))
        self._begin(self.init_states[trial])

    def randomize(self, seed: int) -> None:
        """Put the simulator in a scene that LIBERO's own samplers draw, which is no trial of the benchmark.

        Raises:
            SceneRefused: none of 50 draws is free of collisions.
        """
        with _numpy_generator(np.random.RandomState(seed).get_state()):
            for _ in range(MAX_PLACEMENTS):
                with contextlib.suppress(self._randomization_error):
                    self._reset_scene(1)
                    break
            else:
                raise SceneRefused(
                    f"seed {seed}: none of {MAX_PLACEMENTS} placements is free of collisions; take another"
                )
        self.upstream.sim.forward()
        self._begin(self.flat_state())

    def _begin(self, state: FloatArray) -> None:
        """Start an episode from (1 + nq + nv,) in the scene that was just reset."""
        upstream = self.upstream
        upstream.sim.forward()
        upstream.visualize(dict.fromkeys(upstream._visualizations, False))
        self.set_state(state)
        upstream._post_process()
        self.controller.reset(upstream.robots[0].controller)

    def set_state(self, state: FloatArray) -> None:
        """Set (1 + nq + nv,) [time, qpos, qvel] and recompute what follows from it."""
        self.upstream.sim.set_state_from_flattened(state)
        self.upstream.sim.forward()

    def flat_state(self) -> FloatArray:
        """(1 + nq + nv,) float64: [time, qpos, qvel]."""
        return np.concatenate([[self.data.time], self.data.qpos, self.data.qvel])

    def nearest_official_m(self) -> float:
        """[m] distance to the nearest official scene: of the object farthest from its place there, from above."""
        kinds, addresses = self.model.jnt_type, self.model.jnt_qposadr
        free = addresses[kinds == 0]  # mjJNT_FREE: position (3), quaternion (4)
        columns = np.stack([free, free + 1], axis=1)  # (objects, 2)
        gaps = self.init_states[:, 1 + columns] - self.data.qpos[columns]  # (trials, objects, 2)
        return float(np.linalg.norm(gaps, axis=2).max(axis=1).min())

    def is_success(self) -> bool:
        """Whether every goal predicate holds; kinematics are those of the last substep, as in the stock loop."""
        return bool(self.upstream._check_success())

    def proprioception(self) -> FloatArray:
        """(8,) eef position [m], axis-angle of the hand [rad], finger positions [m], as the kinematics stand."""
        robot = self.upstream.robots[0]
        position = self.data.site_xpos[robot.eef_site_id]
        w, x, y, z = self.upstream.sim.data.get_body_xquat(robot.robot_model.eef_name)
        fingers = self.data.qpos[robot._ref_gripper_joint_pos_indexes]
        return np.concatenate([position, axis_angle(np.array([x, y, z, w])), fingers])

    def _reset_scene(self, resets: int) -> None:
        """What the stock hard reset does after compiling, on a model brought back to its compiled values."""
        upstream = self.upstream
        for name, value in upstream.compiled_values.items():
            getattr(self.model, name)[:] = value
        upstream.sim.reset()
        upstream.sim.forward()
        upstream.sim.forward()  # robosuite's render context makes a second one; the solver's warm start shows it
        # One copy of the samplers from the constructor, and one from each hard reset since.
        upstream.object_property_initializers = self._samplers * (1 + resets)
        upstream.robots[0].gripper.current_action = np.zeros(upstream.robots[0].gripper.dof)
        upstream._reset_internal()

    def _replay_resets(self) -> Iterator[tuple[int, Any]]:
        """What the stock protocol's hard resets do, trial by trial: the scene is then that of the trial.

        Yields:
            The number of the reset that succeeds, and the generator's state before it.

        Raises:
            ValueError: the samplers find no place for what the task declares.
        """
        after = np.random.RandomState(PROTOCOL_SEED).get_state()
        for resets in itertools.count(1):
            if resets > MAX_PLACEMENTS and not self._generators:
                raise ValueError(
                    f"none of {MAX_PLACEMENTS} placements is free of collisions; the regions in the task's BDDL "
                    "file are too small for its objects"
                )
            before, placed = after, False
            with _numpy_generator(before):
                with contextlib.suppress(self._randomization_error):
                    self._reset_scene(resets)
                    placed = True
                after = np.random.get_state()
            if placed:
                yield resets, before

    def _drawn(self) -> FloatArray:
        """(trials, 1 + nq + nv) where the resets put everything; for a task without stored states."""
        states: list[FloatArray] = []
        while len(states) < OWN_TRIALS:
            self._generators.append(next(self._replay))
            states.append(self.flat_state())
        return np.stack(states)


def axis_angle(quaternion: FloatArray) -> FloatArray:
    """(4,) xyzw -> (3,) [rad]. The sign is not made canonical, so the angle may exceed pi, as in openvla-oft."""
    w = min(max(quaternion[3], -1.0), 1.0)
    norm = math.sqrt(1.0 - w * w)
    if math.isclose(norm, 0.0):
        return np.zeros(3)
    return np.asarray(quaternion[:3] * 2.0 * math.acos(w) / norm)


def _build_upstream(task: LiberoTask) -> Any:
    """Compile the task with LIBERO's and robosuite's own code, without renderer and camera observables."""
    with quiet_imports():
        import mujoco
        import robosuite
        from libero.libero.envs import TASK_MAPPING, bddl_utils

    # MuJoCo would write MUJOCO_LOG.TXT into the working directory.
    mujoco.set_mju_user_warning(_log.warning)
    problem = TASK_MAPPING[bddl_utils.get_problem_info(str(task.bddl_file))["problem_name"]]

    class Compiled(problem):  # type: ignore[misc, valid-type]
        """The task, remembering the compiled values that placing its fixtures and drawing it overwrite."""

        def _initialize_sim(self, xml_string: str | None = None) -> None:
            super()._initialize_sim(xml_string)
            fields = ("body_pos", "body_quat", "site_rgba")
            self.compiled_values = {name: getattr(self.sim.model._model, name).copy() for name in fields}

    Compiled.__name__ = problem.__name__  # LIBERO compares it with the problem named in the file
    return Compiled(
        str(task.bddl_file),
        robots=["Panda"],
        controller_configs=robosuite.load_controller_config(default_controller="OSC_POSE"),
        gripper_types="default",
        initialization_noise=None,
        use_camera_obs=False,
        has_renderer=False,
        has_offscreen_renderer=False,
        control_freq=20,
        horizon=1000,
    )


@contextlib.contextmanager
def _numpy_generator(state: Any) -> Iterator[None]:
    """Give LIBERO's samplers the numpy generator state they draw from; the caller's is put back."""
    saved = np.random.get_state()
    np.random.set_state(state)
    try:
        yield
    finally:
        np.random.set_state(saved)
