"""Records the stock sequential protocol: what ours must equal bit for bit.

Run as a program (`python tests/envs/stock.py TRIALS STEPS images|blind OUT SUITE:TASK ...`) so that upstream's
OpenGL contexts never meet ours in one process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envs.libero.stock import StockLoop
from envs.libero.suites import load_suite

ROOT = Path(__file__).parents[2]


def random_actions(steps: int) -> np.ndarray:
    """(steps, 7) the actions that both sides execute; some rotations are exactly zero, grippers switch."""
    generator = np.random.default_rng(7)
    actions = generator.uniform(-1, 1, (steps, 7))
    actions[steps // 3 : steps // 2, 3:6] = 0.0
    actions[:, 6] = np.sign(actions[:, 6])
    return actions


def observe(loop: StockLoop, observation: dict, images: bool) -> dict[str, np.ndarray]:
    model = loop.env.sim.model._model
    names = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
    row = {
        "state": loop.env.get_sim_state(),
        "fixtures": np.concatenate([model.body_pos.ravel(), model.body_quat.ravel()]),
        "proprio": np.concatenate([observation[name] for name in names]),
    }
    if images:
        row["agentview"] = observation["agentview_image"][::-1]
        row["wrist"] = observation["robot0_eye_in_hand_image"][::-1]
    return row


def record(suite: str, task_id: int, trials: int, steps: int, images: bool) -> dict[str, np.ndarray]:
    """Trials 0, 1, ... in order: each entry (trials, steps + 1, ...)."""
    loop = StockLoop(load_suite(suite).tasks[task_id], images)
    trajectories = []
    for _ in range(trials):
        loop.reset()
        rows = [observe(loop, loop.settle(), images)]
        rows += [observe(loop, loop.step(action), images) for action in random_actions(steps)]
        trajectories.append(rows)
    return {name: np.array([[row[name] for row in rows] for rows in trajectories]) for name in rows[0]}


def protocols(
    out: Path, tasks: Sequence[tuple[str, int]], trials: int, steps: int, images: bool
) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """`record` of each (suite, task), all in one process of their own.

    Args:
        out: folder that takes a file of each.
    """
    program = [sys.executable, str(ROOT / "tests/envs/stock.py"), str(trials), str(steps)]
    names = [f"{suite}:{task_id}" for suite, task_id in tasks]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*program, "images" if images else "blind", str(out), *names], check=True, env=environment)
    recorded = {}
    for number, task in enumerate(tasks):
        with np.load(out / f"{number}.npz") as archive:
            recorded[task] = dict(archive)
    return recorded


if __name__ == "__main__":
    trials, steps, images, out, *names = sys.argv[1:]
    for number, name in enumerate(names):
        suite, task_id = name.rsplit(":", 1)
        found = record(suite, int(task_id), int(trials), int(steps), images == "images")
        np.savez(Path(out) / f"{number}.npz", **found)
