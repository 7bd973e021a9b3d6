"""The stock sequential protocol, run with upstream's own code: what ours must equal bit for bit.

Run as a program (`python tests/envs/stock.py SUITE TASK TRIALS STEPS IMAGES OUT.npz`) so that upstream's OpenGL
contexts never meet ours in one process.
"""

from __future__ import annotations

import sys

import numpy as np

SETTLE = np.array([0, 0, 0, 0, 0, 0, -1], dtype=np.float64)


def random_actions(steps: int) -> np.ndarray:
    """(steps, 7) the actions that both sides execute; some rotations are exactly zero, grippers switch."""
    generator = np.random.default_rng(7)
    actions = generator.uniform(-1, 1, (steps, 7))
    actions[steps // 3 : steps // 2, 3:6] = 0.0
    actions[:, 6] = np.sign(actions[:, 6])
    return actions


def run(suite: str, task_id: int, trials: int, steps: int, images: bool) -> dict[str, np.ndarray]:
    """Trials 0, 1, ... in order: states (trials, steps + 1, 1 + nq + nv), fixtures, proprioception, images."""
    from libero.libero.envs import OffScreenRenderEnv

    from envs.libero.suites import load_suite

    task = load_suite(suite).tasks[task_id]
    env = OffScreenRenderEnv(
        bddl_file_name=str(task.bddl_file), camera_heights=256, camera_widths=256, use_camera_obs=images
    )
    env.seed(0)
    rows: dict[str, list[list[np.ndarray]]] = {"state": [], "fixtures": [], "proprio": [], "agentview": [], "wrist": []}
    for trial in range(trials):
        env.reset()
        env.set_init_state(task.init_states()[trial])
        for values in rows.values():
            values.append([])
        for index, action in enumerate([SETTLE] * 10 + list(random_actions(steps))):
            observation = env.step(action)[0]
            if index >= 9:
                model = env.sim.model._model
                rows["state"][-1].append(env.get_sim_state())
                rows["fixtures"][-1].append(np.concatenate([model.body_pos.ravel(), model.body_quat.ravel()]))
                names = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
                rows["proprio"][-1].append(np.concatenate([observation[name] for name in names]))
                if images:
                    rows["agentview"][-1].append(observation["agentview_image"][::-1])
                    rows["wrist"][-1].append(observation["robot0_eye_in_hand_image"][::-1])
    return {name: np.array(values) for name, values in rows.items()}


if __name__ == "__main__":
    suite, task_id, trials, steps, images, out = sys.argv[1:]
    np.savez(out, **run(suite, int(task_id), int(trials), int(steps), images == "images"))
