"""Each way in which a dataset can be bad: one message that says what, where, expected, got and what to do."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.episodes import make_episode
from vla.data.episode import ACTION, STATE
from vla.data.lerobot import video
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import read_dataset
from vla.data.lerobot.writer import DatasetWriter

DATA = "data/chunk-000/file-001.parquet"
VIDEO = "videos/observation.images.wrist/chunk-000/file-001.mp4"
ROW = "meta/episodes/chunk-000/file-001.parquet"
EXTRAS = "extras/chunk-000/file-001.npz"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    root = tmp_path_factory.mktemp("good") / "set"
    with DatasetWriter(root) as writer:
        for number in range(3):
            writer.add(make_episode(number, 5, extras={"sim.state": np.zeros(3)}))
    return root


@pytest.fixture
def root(good, tmp_path):
    return shutil.copytree(good, tmp_path / "set")


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_table(path, **columns):
    table = pq.read_table(path)
    for name, change in columns.items():
        values = change(np.array(table[name].to_pylist()))
        table = table.set_column(table.column_names.index(name), name, pa.array(values.tolist(), table[name].type))
    pq.write_table(table, path)


def edit_stats(root, name, **changes):
    path = root / "meta/stats.json"
    content = json.loads(path.read_text())
    content[name] |= changes
    path.write_text(json.dumps(content))


def set_to(index, value):
    def change(values):
        values[index] = value
        return values

    return change


def drop_frame(root):
    table = pq.read_table(root / DATA)
    pq.write_table(pa.concat_tables([table[:2], table[3:]]), root / DATA)


def repeat_frame(root):
    table = pq.read_table(root / DATA)
    pq.write_table(pa.concat_tables([table[:2], table[1:2], table[3:]]), root / DATA)


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def shorter_video(root):
    (root / VIDEO).write_bytes(video.encode(make_episode(1, 4).images["wrist"], 10))


def other_rate_video(root):
    (root / VIDEO).write_bytes(video.encode(make_episode(1, 5).images["wrist"], 20))


def other_size_video(root):
    frames = make_episode(1, 5).images["wrist"][:, :16]
    (root / VIDEO).write_bytes(video.encode(frames, 10))


def drop_column(root):
    pq.write_table(pq.read_table(root / DATA).drop_columns([ACTION]), root / DATA)


def other_type(root):
    table = pq.read_table(root / DATA)
    wide = table[ACTION].cast(pa.list_(pa.float64(), 7))
    pq.write_table(table.set_column(table.column_names.index(ACTION), ACTION, wide), root / DATA)


def empty_cell(root):
    table = pq.read_table(root / DATA)
    holes = pa.array([None, 0, 0, 0, 0], pa.int64())
    pq.write_table(table.set_column(table.column_names.index("phase"), "phase", holes), root / DATA)


def foreign_statistics(root):
    other = root.parent / "other"
    with DatasetWriter(other) as writer:
        for number in range(3, 6):
            writer.add(make_episode(number))
    shutil.copy(other / "meta/stats.json", root / "meta/stats.json")


OPENING = {  # what damages it, what the message says
    "not a dataset": (lambda root: shutil.rmtree(root / "meta"), r"info.json: missing.*check the path"),
    "not JSON": (lambda root: cut(root / "meta/info.json"), "info.json: not JSON"),
    "old version": (lambda root: edit_json(root / "meta/info.json", codebase_version="v2.1"),
                    "info.json: expected codebase_version 'v3.0', got 'v2.1'. Convert"),
    "incomplete info": (lambda root: (root / "meta/info.json").write_text('{"codebase_version": "v3.0"}'),
                        r"info.json: missing \['chunks_size'"),
    "gap": (lambda root: (root / ROW).unlink(), "expected episode 1 with first frame 5, got episode 2 with first"),
    "last row gone": (lambda root: (root / ROW.replace("001", "002")).unlink(), "expected 3 episodes as in meta/info"),
    "torn row": (lambda root: cut(root / ROW), "file-001.parquet: cannot be read"),
    "missing table": (lambda root: (root / DATA).unlink(), "data/chunk-000/file-001.parquet: missing; episode 1"),
    "missing video": (lambda root: (root / VIDEO).unlink(), "wrist/chunk-000/file-001.mp4: missing; episode 1"),
    "missing extras": (lambda root: (root / EXTRAS).unlink(), "file-001.npz: missing; episode 1"),
    "no tasks": (lambda root: (root / "meta/tasks.parquet").unlink(), "tasks.parquet: missing"),
    "foreign statistics": (foreign_statistics,
                           r"stats.json: 'observation.state': expected min .*statistics of other data"),
    "statistics of more": (lambda root: edit_stats(root, ACTION, count=[99]), "is about 99 frames, the dataset has 15"),
    "statistics of another robot": (lambda root: edit_stats(root, STATE, mean=[0.0] * 14),
                                    r"expected 'observation.state' of shape \(8,\), got \(14,\)"),
    "statistics without a feature": (lambda root: edit_json(root / "meta/stats.json", phase=None), "not statistics"),
}  # fmt: skip
READING = {
    "missing frame": (drop_frame, "file-001.parquet: episode 1: expected 5 frames as in meta/episodes, got 4"),
    "frame twice": (repeat_frame, "expected frame_index 2 in row 2, got 1: frames are missing or not in order"),
    "frames of another": (lambda root: shutil.copy(root / DATA.replace("001", "000"), root / DATA),
                          "expected 5 frames of episode 1, got none"),
    "torn table": (lambda root: cut(root / DATA), "file-001.parquet: cannot be read"),
    "wrong fps": (lambda root: edit_json(root / "meta/info.json", fps=20),
                  r"expected timestamp 0.2000 s in row 4 \(20 frames a second.*got 0.4000 s"),
    "NaN": (lambda root: edit_table(root / DATA, action=set_to((3, 2), np.nan)),
            r"episode 1: expected finite numbers in 'action', got nan at frame 3, entry \[2\]"),
    "lost column": (drop_column, r"lacks the columns \['action'\]"),
    "another type": (other_type, r"column 'action': expected float32 of shape \(7,\).*got float64"),
    "empty cell": (empty_cell, "column 'phase': 1 empty cells"),
    "another task": (lambda root: edit_table(root / DATA, task_index=set_to(slice(None), 0)),
                     r"its task_index leads to \['push bowl 0'\].*expected \['push bowl 1'\]"),
    "video too short": (shorter_video, "file-001.mp4: expected 5 frames as in the tables, got 4"),
    "video of another rate": (other_rate_video, "file-001.mp4: expected 10 frames a second.*got 20"),
    "torn video": (lambda root: cut(root / VIDEO), "file-001.mp4: not a video"),
}  # fmt: skip


def test_the_undamaged_dataset_is_read(root):
    assert read_dataset(root, cameras=["front"]).verify() == 15


@pytest.mark.parametrize("name", OPENING)
def test_opening_refuses(root, name):
    damage, message = OPENING[name]
    damage(root)
    with pytest.raises(DatasetError, match=message):
        read_dataset(root)


@pytest.mark.parametrize("name", READING)
def test_reading_and_verifying_refuse_and_the_other_episodes_are_read(root, name):
    damage, message = READING[name]
    damage(root)
    if name != "wrong fps":
        assert len(read_dataset(root)[0]) == 5
    for read in (lambda: read_dataset(root)[1], lambda: read_dataset(root).verify()):
        with pytest.raises(DatasetError, match=message) as caught:
            read()
        assert len(str(caught.value)) > len(message) / 2
        assert str(root) in str(caught.value)


def test_frames_of_another_size_are_refused(root):
    other_size_video(root)
    with pytest.raises(DatasetError, match=r"file-001.mp4: expected frames of \(32, 32, 3\).*got \(16, 32, 3\)"):
        read_dataset(root).images(1, "wrist")


def test_a_broken_extras_file_is_refused(root):
    cut(root / EXTRAS)
    with pytest.raises(DatasetError, match=r"file-001.npz: cannot be read"):
        read_dataset(root)[1]


def test_what_the_caller_needs_is_compared(root):
    with pytest.raises(
        DatasetError, match=r"expected the cameras \['agentview'\], the dataset has \['front', 'wrist'\]"
    ):
        read_dataset(root, cameras=["agentview", "wrist"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 20}, "expected 10 frames a second, as in its other episodes, got 20"),
        ({"images": {"front": np.zeros((5, 32, 32, 3), np.uint8)}}, "feature 'observation.images.wrist' differs"),
        ({"columns": {STATE: np.zeros((5, 14)), ACTION: np.zeros((5, 7))}, "names": {}}, "feature 'action' differs"),
        ({"names": {"phase": ("reach", "grasp", "lift")}}, "feature 'phase' differs"),
    ],
)
def test_an_episode_unlike_the_others_is_not_written(root, changes, message):
    with pytest.raises(DatasetError, match=message):
        DatasetWriter(root).add(make_episode(3, 5, **changes))
    assert len(DatasetWriter(root)) == 3


def test_the_writer_refuses_gaps_and_other_folders(root, tmp_path):
    (root / ROW).unlink()
    with pytest.raises(DatasetError, match=r"file-001.parquet: missing; meta/info.json counts 3 episodes, 2 are there"):
        DatasetWriter(root)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter.txt").write_text("dear")
    with pytest.raises(DatasetError, match=r"home: not a dataset, it holds letter.txt. Choose another folder"):
        DatasetWriter(tmp_path / "home")
