"""What is written comes back: columns bit by bit, images within the video's tolerance, statistics right."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from tests.episodes import CAMERAS, assert_same, make_episode, picture
from vla.data.episode import ACTION, IMAGES, STATE, EpisodeData, EpisodeError
from vla.data.lerobot import video
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import read_dataset, read_metadata
from vla.data.lerobot.writer import DatasetWriter

DTYPES = ("bool", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def elements(dtype):
    """Every value of the type; floats up to where a variance still has a float64."""
    kind = np.dtype(dtype)
    if kind.kind != "f":
        return stnp.from_dtype(kind)
    limit = 2.0**100
    return st.floats(-limit, limit, width=8 * kind.itemsize)


@st.composite
def episodes(draw):
    """Up to three episodes with the same features, each of its own length."""
    shapes = draw(
        st.lists(
            st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(1, 4), max_size=4).filter(lambda s: s != [1])),
            max_size=4,
        )
    )
    sides = draw(st.lists(st.tuples(*[st.integers(8, 24).map(lambda n: 2 * n)] * 2), max_size=2))
    made = []
    for number in range(draw(st.integers(1, 3))):
        length = draw(st.integers(1, 7))
        columns = {
            f"column.{i}": draw(stnp.arrays(dtype, (length, *shape), elements=elements(dtype)))
            for i, (dtype, shape) in enumerate(shapes)
        }
        word = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
        columns |= {STATE: np.ones((length, 3)), ACTION: np.full((length, 2), number, np.float32)}
        columns["words"] = np.array(draw(st.lists(word, min_size=length, max_size=length)), dtype=np.str_)
        images = {f"camera{i}": np.stack([picture(number, t, length, 48) for t in range(length)])[:, :h, :w]
                  for i, (h, w) in enumerate(sides)}  # fmt: skip
        extras = {"long": np.arange(draw(st.integers(1, 9)), dtype=np.float64), "xml": "<a>ü</a>"} if number else {}
        made.append(EpisodeData(f"do {number}", 20, images, columns, metadata={"n": [number, None]}, extras=extras))
    return made


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(recorded=episodes())
def test_any_episodes_come_back(recorded, tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "set"
    with DatasetWriter(root) as writer:
        assert [writer.add(episode) for episode in recorded] == list(range(len(recorded)))
    dataset = read_dataset(root)
    assert len(dataset) == len(recorded)
    for index, episode in enumerate(recorded):
        assert_same(dataset[index], episode)
        for name, column in episode.columns.items():
            assert dataset.columns(index)[name].dtype.kind == column.dtype.kind
            if column.dtype.kind != "U":
                assert dataset.columns(index)[name].dtype == column.dtype
    assert dataset.verify() == sum(len(episode) for episode in recorded)


def test_an_episode_of_two_hours_is_read(tmp_path):
    length = 2 * 3600 * 50  # its last timestamps are up to 1.2 % of a frame off as float32
    columns = {STATE: np.zeros((length, 2), np.float32), ACTION: np.zeros((length, 2), np.float32)}
    DatasetWriter(tmp_path / "set").add(EpisodeData("wait", 50, {}, columns))
    assert read_dataset(tmp_path / "set").verify() == length


def test_chosen_cameras_come_in_the_asked_order(tmp_path):
    with DatasetWriter(tmp_path / "set") as writer:
        writer.add(make_episode())
    dataset = read_dataset(tmp_path / "set", cameras=CAMERAS[::-1])
    assert tuple(dataset[0].images) == CAMERAS[::-1]
    np.testing.assert_array_equal(
        read_dataset(tmp_path / "set", cameras=[CAMERAS[1]])[0].images[CAMERAS[1]], dataset.images(0, CAMERAS[1])
    )


def test_statistics_are_those_of_all_frames(tmp_path):
    made = [make_episode(number, 20 + number) for number in range(3)]
    with DatasetWriter(tmp_path / "set") as writer:
        for episode in made:
            writer.add(episode)
    statistics = read_dataset(tmp_path / "set").statistics
    actions = np.concatenate([episode.columns[ACTION] for episode in made]).astype(np.float64)
    expected = {
        "min": actions.min(0), "max": actions.max(0), "mean": actions.mean(0), "std": actions.std(0), "count": [63],
        **{f"q{p:02}": np.quantile(actions, p / 100, axis=0) for p in (1, 10, 50, 90, 99)},
    }  # fmt: skip
    assert expected.keys() == statistics[ACTION].keys()
    for name, values in expected.items():
        np.testing.assert_allclose(statistics[ACTION][name], values, err_msg=name)
    frames = np.concatenate([episode.images["front"] for episode in made]) / 255
    image = statistics[IMAGES + "front"]
    assert all(image[name].shape == (3, 1, 1) for name in image if name != "count")
    np.testing.assert_allclose(image["mean"].ravel(), frames.mean((0, 1, 2)), atol=0.01)
    np.testing.assert_allclose(image["std"].ravel(), frames.std((0, 1, 2)), atol=0.01)
    np.testing.assert_allclose(image["q90"].ravel(), np.quantile(frames, 0.9, axis=(0, 1, 2)), atol=0.02)


def test_more_episodes_make_statistics_old_until_a_writer_is_closed(tmp_path):
    root = tmp_path / "set"
    with DatasetWriter(root) as writer:
        writer.add(make_episode(0))
    DatasetWriter(root).add(make_episode(1))
    dataset = read_dataset(root)  # they are true for the first episode, so this is no foreign file
    with pytest.raises(DatasetError, match=r"about 5 of 10 frames.*DatasetWriter\(root\).close\(\)"):
        _ = dataset.statistics
    DatasetWriter(root).close()
    assert read_dataset(root).statistics[ACTION]["count"] == 10


def test_metadata_is_read_without_data_and_of_an_empty_folder(tmp_path):
    writer = DatasetWriter(tmp_path / "set")
    assert read_metadata(tmp_path / "set") == []
    assert len(writer) == 0
    writer.add(make_episode(7))
    assert read_metadata(tmp_path / "set") == [{"number": 7, "success": True}]
    assert len(DatasetWriter(tmp_path / "set")) == 1


def test_info_says_what_lerobot_reads(tmp_path):
    with DatasetWriter(tmp_path / "set", robot_type="libero") as writer:
        for number in range(4):
            writer.add(make_episode(number))
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert {key: info[key] for key in ("codebase_version", "robot_type", "fps", "total_episodes", "total_frames",
                                       "total_tasks", "splits")} == {
        "codebase_version": "v3.0", "robot_type": "libero", "fps": 10, "total_episodes": 4, "total_frames": 20,
        "total_tasks": 3, "splits": {"train": "0:4"},
    }  # fmt: skip
    assert info["features"]["phase"] == {"dtype": "int64", "shape": [1], "names": None, "labels": ["reach", "grasp"]}
    assert info["features"][IMAGES + "wrist"]["dtype"] == "video"


STEADY = {STATE: np.zeros((5, 8)), ACTION: np.zeros((5, 7))}
BAD = {
    "words": ({"instruction": " "}, "instruction: expected words"),
    "fps": ({"fps": 20 / 3}, "fps: expected a whole number"),
    "no action": ({"columns": {STATE: np.zeros((5, 8))}, "names": {}}, r"columns: missing \['action'\]"),
    "NaN": ({"columns": {**STEADY, ACTION: np.full((5, 7), np.nan)}, "names": {}}, "got nan at frame 0, entry"),
    "length": ({"columns": {**STEADY, "x": np.zeros(4)}, "names": {}}, r"expected shape \(5, ...\).*got \(4,\)"),
    "half": ({"columns": {**STEADY, "x": np.zeros(5, np.float16)}, "names": {}}, "got float16"),
    "reserved": ({"columns": {**STEADY, "task_index": np.zeros(5)}, "names": {}}, "'task_index' cannot name"),
    "slash": ({"images": {"a/b": np.zeros((5, 8, 8, 3), np.uint8)}}, "'a/b' cannot name"),
    "odd": ({"images": {"a": np.zeros((5, 7, 8, 3), np.uint8)}}, "expected even height and width, got 7 x 8"),
    "float image": ({"images": {"a": np.zeros((5, 8, 8, 3))}}, "expected a uint8 array, got float64"),
    "too few frames": ({"images": {"a": np.zeros((4, 8, 8, 3), np.uint8)}}, r"expected shape \(5, H, W, 3\)"),
    "label": ({"names": {"phase": ("reach",)}}, "expected values 0 to 0, got 0 to 1"),
    "metadata": ({"metadata": {"x": np.zeros(2)}}, "metadata: expected JSON values"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_an_episode_is_refused(name):
    changes, message = BAD[name]
    with pytest.raises(EpisodeError, match=message):
        make_episode(**changes)


def test_several_episodes_in_a_file_as_lerobot_writes_them(tmp_path):
    made, root = [make_episode(number, 4 + number) for number in range(3)], tmp_path / "set"
    with DatasetWriter(root) as writer:
        for episode in made:
            writer.add(episode)
    for folder in ("data", "meta/episodes"):
        files = sorted((root / folder).glob("*/*.parquet"))
        table = pa.concat_tables([pq.read_table(file) for file in files])
        for camera in CAMERAS if folder != "data" else ():
            starts = np.cumsum([0, *map(len, made)])[:-1] / made[0].fps
            for name, values in (("file_index", [0, 0, 0]), ("from_timestamp", starts.tolist())):
                key = f"videos/{IMAGES}{camera}/{name}"
                table = table.set_column(table.column_names.index(key), key, pa.array(values))
        if folder != "data":
            key = "data/file_index"
            table = table.set_column(table.column_names.index(key), key, pa.array([0, 0, 0]))
        for file in files[1:]:
            file.unlink()
        pq.write_table(table, files[0])
    for camera in CAMERAS:
        first, *others = sorted((root / "videos" / (IMAGES + camera)).glob("*/*.mp4"))
        for file in others:
            file.unlink()
        first.write_bytes(video.encode(np.concatenate([episode.images[camera] for episode in made]), made[0].fps))
    dataset = read_dataset(root)
    assert dataset.verify() == 15
    for index in (2, 0, 1):
        assert_same(dataset[index], made[index])
