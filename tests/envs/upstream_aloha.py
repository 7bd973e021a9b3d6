"""Records gym-aloha's own environment: what ours must equal bit for bit.

Run as a program (`python tests/envs/upstream_aloha.py TASK SEED ACTIONS.npy OUT.npz`), so that dm_control never meets
our OpenGL context; nothing is rendered.
"""

from __future__ import annotations

import os
import sys

os.environ["MUJOCO_GL"] = "disabled"

import numpy as np


def main(task: str, seed: int, actions: str, out: str) -> None:
    """Store states (n + 1, 1 + nq + nv), positions (n + 1, 14) and rewards (n,) of `actions` (n, 14)."""
    from dm_control import mujoco
    from gym_aloha.env import AlohaEnv

    mujoco.Physics.render = lambda *_, height, width, **__: np.zeros((height, width, 3), np.uint8)
    env = AlohaEnv(task)
    env.reset(seed=seed)
    states, positions, rewards = [flat_state(env)], [agent_positions(env)], []
    for action in np.load(actions):
        _, reward, *_ = env.step(action)
        rewards.append(reward)
        states.append(flat_state(env))
        positions.append(agent_positions(env))
    np.savez(out, states=states, positions=positions, rewards=rewards)


def flat_state(env) -> np.ndarray:
    data = env._env.physics.data
    return np.concatenate([[data.time], data.qpos, data.qvel])


def agent_positions(env) -> np.ndarray:
    return env._env.task.get_qpos(env._env.physics)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
