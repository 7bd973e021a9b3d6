"""The stock loop of the published evaluations, by upstream's own code: the yardstick for exactness and speed.

One environment a task, seeded with 0 once; each trial is a hard reset, the saved initial state and 10 settle
steps; every step renders both cameras. Trials depend on the resets before them, so they must run in order.

Source: openvla-oft e4287e9, experiments/robot/libero/run_libero_eval.py and libero_utils.py.
"""

from __future__ import annotations

from typing import Any

from envs.libero.suites import LiberoTask, quiet_imports
from envs.rendering import configure_gl
from vla.types import FloatArray

SETTLE = [0, 0, 0, 0, 0, 0, -1]


class StockLoop:
    """Runs trials 0, 1, 2, ... of a task. Use one in a process of its own: it owns OpenGL contexts.

    Args:
        task: which task.
        images: render both cameras at every step, as the published loop does.
    """

    def __init__(self, task: LiberoTask, images: bool = True) -> None:
        configure_gl()
        with quiet_imports():
            from libero.libero.envs import OffScreenRenderEnv

        self._states = task.init_states()
        self.env: Any = OffScreenRenderEnv(
            bddl_file_name=str(task.bddl_file), camera_heights=256, camera_widths=256, use_camera_obs=images
        )
        self.env.seed(0)
        self._next_trial = 0

    def reset(self) -> None:
        """Start the next trial, not yet settled; without initial states it is as the samplers drew it."""
        self.env.reset()
        if self._states is not None:
            self.env.set_init_state(self._states[self._next_trial])
        self._next_trial += 1

    def settle(self) -> dict[str, Any]:
        """Run the 10 settle steps; returns the last observation."""
        for _ in range(10):
            observation = self.step(SETTLE)
        return observation

    def step(self, action: FloatArray | list[int]) -> dict[str, Any]:
        """Run one control step; returns robosuite's observation."""
        observation: dict[str, Any] = self.env.step(action)[0]
        return observation
