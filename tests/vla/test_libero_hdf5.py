"""The export has LIBERO's layout, keeps every number, turns images round, and says what a recording lacks."""

import json

import h5py
import numpy as np
import pytest

from tests.episodes import make_episode, picture
from vla.data.episode import ACTION, STATE
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import read_dataset
from vla.data.lerobot.writer import DatasetWriter
from vla.data.libero_hdf5 import export_libero_hdf5

ENV_ARGS = {
    "type": 1,
    "env_name": "Libero_Tabletop",
    "problem_name": "libero_tabletop",
    "bddl_file": "bddl_files/a.bddl",
    "env_kwargs": {"robots": ["Panda"]},
}
INFO = {"problem_name": "libero_tabletop", "domain_name": "robosuite", "language_instruction": "push bowl 0"}


def recorded(number, task="push", length=6, **changes):
    rng = np.random.default_rng(number)
    actions = rng.uniform(-1, 1, (length, 7))
    extras = {
        "sim.state": rng.normal(size=(length, 20)),
        "sim.joint_position": rng.normal(size=(length, 7)),
        "sim.action": actions,
        "sim.model_file": "<mujoco>" + "x" * 200_000 + "</mujoco>",  # larger than an HDF5 attribute's 64 KiB
        "sim.bddl": "(define (problem a))",
        "sim.env_args": json.dumps(ENV_ARGS),
        "sim.problem_info": json.dumps(INFO),
    }
    parts = {
        "instruction": f"{task} bowl 0",
        "fps": 20,
        "images": {
            camera: np.stack([picture(number + i, t, length) for t in range(length)])
            for i, camera in enumerate(("agentview", "wrist"))
        },
        "columns": {STATE: rng.normal(size=(length, 8)).astype(np.float32), ACTION: actions.astype(np.float32)},
        "names": {},
        "metadata": {"suite": "libero_goal", "task": task, "success": True},
        "extras": extras,
        **changes,
    }
    return make_episode(number, length, **parts)


def dataset_of(root, *episodes):
    with DatasetWriter(root) as writer:
        for episode in episodes:
            writer.add(episode)
    return read_dataset(root)


def test_layout_and_values(tmp_path):
    made = [recorded(0, length=6), recorded(1, "pull"), recorded(2, length=4)]
    dataset = dataset_of(tmp_path / "set", *made)
    paths = export_libero_hdf5(dataset, tmp_path / "out")
    assert paths == [tmp_path / f"out/libero_goal/{task}_demo.hdf5" for task in ("push", "pull")]
    with h5py.File(paths[0]) as file:
        data = file["data"]
        assert sorted(data) == ["demo_0", "demo_1"]
        assert (data.attrs["num_demos"], data.attrs["total"]) == (2, 10)
        assert data.attrs["macros_image_convention"] == "opengl"
        assert (data.attrs["env_name"], data.attrs["bddl_file_name"]) == ("Libero_Tabletop", "bddl_files/a.bddl")
        assert data.attrs["bddl_file_content"] == "(define (problem a))"
        assert json.loads(data.attrs["env_args"]) == ENV_ARGS
        assert json.loads(data.attrs["problem_info"]) == INFO
        for name, index in (("demo_0", 0), ("demo_1", 2)):
            demo, episode = data[name], made[index]
            state = episode.columns[STATE]
            assert demo.attrs["num_samples"] == episode.length
            assert demo.attrs["model_file"] == episode.extras["sim.model_file"]
            np.testing.assert_array_equal(demo.attrs["init_state"], demo["states"][0])
            np.testing.assert_array_equal(demo["states"], episode.extras["sim.state"])
            np.testing.assert_array_equal(demo["actions"], episode.extras["sim.action"])
            np.testing.assert_array_equal(demo["obs/joint_states"], episode.extras["sim.joint_position"])
            np.testing.assert_array_equal(demo["obs/ee_states"], state[:, :6])
            np.testing.assert_array_equal(np.hstack([demo["obs/ee_pos"], demo["obs/ee_ori"]]), state[:, :6])
            np.testing.assert_array_equal(demo["obs/gripper_states"], state[:, 6:])
            np.testing.assert_array_equal(demo["robot_states"][:, :5], np.hstack([state[:, 6:], state[:, :3]]))
            np.testing.assert_allclose(np.linalg.norm(demo["robot_states"][:, 5:], axis=1), 1)
            for flag in ("rewards", "dones"):
                assert demo[flag].dtype == np.uint8
                assert demo[flag][:].tolist() == [0] * (episode.length - 1) + [1]
            for camera, there in (("agentview", "agentview_rgb"), ("wrist", "eye_in_hand_rgb")):
                np.testing.assert_array_equal(demo[f"obs/{there}"][:][:, ::-1], dataset.images(index, camera))
                assert demo[f"obs/{there}"][0][0].mean() > demo[f"obs/{there}"][0][-1].mean()  # brighter below in ours


def test_quaternions_are_those_of_scipy(tmp_path):
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    (path,) = export_libero_hdf5(dataset_of(tmp_path / "set", recorded(0)), tmp_path / "out")
    with h5py.File(path) as file:
        demo = file["data/demo_0"]
        expected = rotation.from_rotvec(demo["obs/ee_ori"][:]).as_matrix()
        np.testing.assert_allclose(rotation.from_quat(demo["robot_states"][:, 5:]).as_matrix(), expected, atol=1e-12)


def test_a_failure_has_no_reward(tmp_path):
    failed = recorded(0, metadata={"suite": "libero_goal", "task": "push", "success": False})
    (path,) = export_libero_hdf5(dataset_of(tmp_path / "set", failed), tmp_path / "out")
    with h5py.File(path) as file:
        assert file["data/demo_0/rewards"][:].sum() == 0
        assert file["data/demo_0/dones"][-1] == 1


def test_tasks_of_somebodys_folder_are_written_into_the_given_one(tmp_path):
    mine, other = ({"suite": f"{tmp_path}/{name}/my_tasks", "task": "push", "success": True} for name in "ab")
    dataset = dataset_of(tmp_path / "set", recorded(0, metadata=mine))
    assert export_libero_hdf5(dataset, tmp_path / "out") == [tmp_path / "out" / "my_tasks" / "push_demo.hdf5"]
    dataset = dataset_of(tmp_path / "two", recorded(0, metadata=mine), recorded(1, metadata=other))
    with pytest.raises(DatasetError, match=r"two folders of the same name, \['.*/a/my_tasks', '.*/b/my_tasks'\]"):
        export_libero_hdf5(dataset, tmp_path / "out2")


def test_a_task_with_several_instructions_is_refused(tmp_path):
    dataset = dataset_of(tmp_path / "set", recorded(0), recorded(1, instruction="push the plate"))
    with pytest.raises(
        DatasetError, match=r"episode 1: its words are 'push the plate', those of episode 0 of the same task"
    ):
        export_libero_hdf5(dataset, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


WITHOUT = {name: value for name, value in recorded(0).extras.items() if name != "sim.state"}
SHORT = {**recorded(0).extras, "sim.state": np.zeros((5, 20))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 5}, r"expected every control step \(20 frames a second\), got 5. Record again with stride 1"),
        ({"extras": WITHOUT}, r"episode 0: lacks \['sim.state'\]. Record it again with stride 1 and a probe"),
        ({"extras": SHORT}, r"expected 'sim.state' of shape \(6, N\), got \(5, 20\)"),
        ({"metadata": {"suite": "x"}}, r"its metadata lacks \['task'\]"),
        ({"images": {"agentview": np.zeros((6, 32, 32, 3), np.uint8)}}, r"\['wrist'\] are missing"),
        ({"columns": {STATE: np.zeros((6, 14)), ACTION: np.zeros((6, 7))}}, "expected a state of 8 numbers.*got 14"),
    ],
)
def test_what_a_recording_lacks_is_said_and_nothing_is_written(tmp_path, changes, message):
    dataset = dataset_of(tmp_path / "set", recorded(0, **changes))
    with pytest.raises(DatasetError, match=message):
        export_libero_hdf5(dataset, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
