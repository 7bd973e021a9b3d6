"""A recorded, exported demonstration of the expert replays in the simulator, from its file alone."""

import h5py
import numpy as np
import pytest

from envs.experts.policy import LiberoExpert
from envs.libero.env import LiberoEnv
from envs.libero.recording import LiberoProbe
from vla.data.lerobot.reader import read_dataset
from vla.data.lerobot.writer import DatasetWriter
from vla.data.libero_hdf5 import export_libero_hdf5
from vla.data.recorder import Recorder
from vla.runtime.inference import OpenLoop
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import Outcome

TASK, TRIAL = 7, 2  # libero_goal: the stove, which is soon turned on


@pytest.fixture(scope="module")
def env():
    made = LiberoEnv("libero_goal", TASK, image_size=64, render="lod")
    yield made
    made.close()


def test_an_exported_demonstration_replays_to_success(env, tmp_path):
    with DatasetWriter(tmp_path / "set") as writer:
        recorder = Recorder(writer.add, hz=20.0, metadata={"suite": "libero_goal"}, probe=LiberoProbe(env))
        expert = LiberoExpert()
        expert.bind(env)
        safety = LimitFilter(env.action_spec)
        episode = run_episode(env, OpenLoop(expert), safety, [recorder], trial=TRIAL, max_steps=300)
        after = env.flat_state()
    assert episode.outcome == Outcome.SUCCESS
    (path,) = export_libero_hdf5(read_dataset(tmp_path / "set"), tmp_path / "out")
    with h5py.File(path) as file:
        demo = file["data/demo_0"]
        assert (demo["obs/joint_states"][0] != demo["obs/joint_states"][-1]).any()
        import mujoco  # after the environment has chosen how it draws

        model = mujoco.MjModel.from_xml_string(demo.attrs["model_file"])
        assert demo["states"].shape[1] == 1 + model.nq + model.nv
        np.testing.assert_allclose(model.body_pos, env.scene.model.body_pos, atol=1e-5)
        assert "(:goal" in file["data"].attrs["bddl_file_content"]
        states, actions = demo["states"][:], demo["actions"][:]

    # From the file's first state, as robomimic replays: the controller starts anew, so the last bits may differ.
    env.reset(options={"trial": TRIAL})
    env.scene.set_state(states[0])
    success = False
    for action in actions:
        _, _, success, _, _ = env.step(action)
    assert success
    assert np.abs(env.flat_state() - after).max() < 1e-3

    # With the benchmark's own reset the replay is exact at every step.
    env.reset(options={"trial": TRIAL})
    for state, action in zip(states, actions, strict=True):
        np.testing.assert_array_equal(env.flat_state(), state)
        _, _, success, _, _ = env.step(action)
    assert success
