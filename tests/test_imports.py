"""Importing a room must not drag in what it has no business with."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "mujoco", "robosuite", "libero", "scipy", "dm_control", "gym_aloha")


@pytest.mark.parametrize(
    "module",
    [
        "vla.runtime.loop",
        "vla.evaluation.evaluate",
        "vla.policies.hold",
        "vla.data.recorder",
        "vla.data.lerobot.reader",
        "vla.data.libero_hdf5",
        "vla.data.aloha_hdf5",
        "vla.session.session",
        "vla.session.replay",
        "vla.teleop.keyboard",
        "envs.libero.env",
        "envs.libero.recording",
        "envs.experts.policy",
        "envs.aloha.env",
        "envs.aloha.followers",
        "envs.experts.aloha.policy",
        "robot_drivers.dynamixel.parser",
        "robot_drivers.emulator.__main__",
    ],
)
def test_import_is_light(module):
    program = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
