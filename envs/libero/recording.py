"""What a recording keeps of the simulator, so that it can be exported in LIBERO's own layout and replayed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from envs.libero.env import LiberoEnv
from envs.libero.suites import quiet_imports
from vla.types import FloatArray


class LiberoProbe:
    """Reads a `LiberoEnv`; implements `vla.data.recorder.SimulatorProbe`.

    Args:
        env: the unwrapped environment that is about to be run.
    """

    def __init__(self, env: LiberoEnv) -> None:
        self._env = env

    def scene(self) -> dict[str, str]:
        """The model as this episode has it, and how robosuite and robomimic build the task."""
        with quiet_imports():
            import robosuite
            from libero.libero.envs import bddl_utils

        task, upstream = self._env.task, self._env.scene.upstream
        problem: dict[str, Any] = bddl_utils.get_problem_info(str(task.bddl_file))
        bddl_file = f"bddl_files/{task.bddl_file.parent.name}/{task.bddl_file.name}"  # as in LIBERO's own files
        spaces: Any = self._env.observation_space
        size = spaces["images"][self._env.cameras[0]].shape[0]
        env_kwargs = {
            "robots": ["Panda"],
            "controller_configs": robosuite.load_controller_config(default_controller="OSC_POSE"),
            "bddl_file_name": bddl_file,
            "has_renderer": False,
            "has_offscreen_renderer": True,
            "ignore_done": True,
            "use_camera_obs": True,
            "camera_depths": False,
            "camera_names": ["robot0_eye_in_hand", "agentview"],
            "reward_shaping": True,
            "control_freq": 20,
            "camera_heights": size,
            "camera_widths": size,
            "camera_segmentations": None,
        }
        name = type(upstream).__name__
        env_args = {"type": 1, "env_name": name, "problem_name": problem["problem_name"], "bddl_file": bddl_file,
                    "env_kwargs": env_kwargs}  # fmt: skip
        return {
            "sim.model_file": self._model_file(),
            "sim.bddl": task.bddl_file.read_text(),
            "sim.env_args": json.dumps(env_args),
            "sim.problem_info": json.dumps({**problem, "language_instruction": task.instruction}),
        }

    def _model_file(self) -> str:
        """The compiled model as MJCF, with the places where this episode's fixtures stand.

        MuJoCo writes the XML that was compiled last, with the values of the given model; it refuses if the two differ
        in size. robosuite's own `get_xml` does the same, and leaks a file.
        """
        import mujoco

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.xml"
            mujoco.mj_saveLastXML(str(path), self._env.scene.model)
            return path.read_text()

    def moment(self) -> dict[str, FloatArray]:
        """(1 + nq + nv,) simulator state and (7,) joint positions [rad]."""
        robot = self._env.scene.upstream.robots[0]
        joints = self._env.scene.data.qpos[robot._ref_joint_pos_indexes]
        return {"sim.state": self._env.flat_state(), "sim.joint_position": np.array(joints, dtype=np.float64)}
