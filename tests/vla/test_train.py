"""`scripts/train.py` from a recorded dataset to a policy that acts, for both learners."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.fakes import CONF
from tests.tiny_oft import CAUSAL, LIBERO_TINY, tiny_checkpoint
from tests.training_runs import LENGTH, MINI, acts, demonstration, losses, train, write_demonstrations
from vla.command.errors import CommandError, RefusedError
from vla.data.episode import EpisodeData
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.writer import DatasetWriter
from vla.embodiment import LIBERO, ImageGeometry
from vla.models.mini.checkpoint import read_checkpoint
from vla.models.openvla_oft.folder import read_folder, write_folder
from vla.models.openvla_oft.model import OpenVLAOFT
from vla.models.openvla_oft.weights import CheckpointError, memory_tensor
from vla.training import train as entry
from vla.training.log import TrainingLog
from vla.training.run_folder import alone, keep, save_state

SMALL = dataclasses.replace(LIBERO, images=ImageGeometry(size=28))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demonstrations(tmp_path_factory.mktemp("data") / "demos")


@pytest.fixture
def tokenizer(tmp_path):
    tokenizer = Tokenizer(WordLevel({"put": 100, "bowl": 101, "[UNK]": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def kill(monkeypatch, loop, after, dataset, folder, *overrides):
    """Begin a training that is stopped after so many steps."""
    with monkeypatch.context() as patched:
        patched.setattr(f"vla.training.{loop}.TrainingLog.add", _Killed(after))
        with pytest.raises(KeyboardInterrupt):
            train(dataset, folder, *overrides)


def test_the_small_model_learns_and_acts(dataset, tmp_path):
    told = train(dataset, tmp_path, *MINI, "train.steps=12", "train.save_every=6")
    assert f"{3 * LENGTH} frames" in told
    found = losses(tmp_path)
    assert len(found) == 12
    assert np.mean(found[-3:]) < np.mean(found[:3])
    assert acts("mini", tmp_path).shape == (8, 7)
    assert (tmp_path / "run" / "loss.png").exists()

    again = train(dataset, tmp_path, *MINI, "train.steps=12", "train.save_every=6")
    assert "step 12 of 12 (continued)" in again
    kept = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(
        RefusedError, match=r"begun with something else.*\n  - train\.steps: then 12, now 13\n.*run_dir"
    ):
        train(dataset, tmp_path, *MINI, "train.steps=13", "train.save_every=6")
    assert (tmp_path / "run" / "config.json").read_bytes() == kept


@pytest.mark.parametrize("head", ["l1", "diffusion", "flow"])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(dataset, tmp_path, monkeypatch, head):
    overrides = (*MINI, f"model.head={head}", "train.steps=6", "train.save_every=2")
    whole = tmp_path / "whole"
    train(dataset, whole, *overrides)
    kill(monkeypatch, "imitation", 3, dataset, tmp_path, *overrides)
    assert "step 2 of 6 (continued)" in train(dataset, tmp_path, *overrides)
    assert losses(tmp_path)[-4:] == losses(whole)[-4:]
    ours, theirs = (read_checkpoint(each / "run" / "checkpoint").weights for each in (tmp_path, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("recipe", ["mini", "openvla_oft"])
def test_a_state_is_not_continued_on_other_data(dataset, tmp_path, oft, recipe):
    data, overrides = tmp_path / "data", (*MINI, "train.steps=2") if recipe == "mini" else (*oft(), "train.steps=2")
    shutil.copytree(dataset, data)
    train(data, tmp_path, *overrides)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with DatasetWriter(data, robot_type="libero") as writer:
        writer.add(demonstration(9))
    with pytest.raises(
        RefusedError, match=r"\.episodes: then 3, now 4\n(.*\n)*.*statistics.*\n(.*\n)*.*init=.*checkpoint"
    ):
        train(data, tmp_path, *overrides)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    shutil.rmtree(data)
    shutil.copytree(dataset, data)
    train(data, tmp_path, *overrides)


@pytest.mark.parametrize("recipe", ["mini", "openvla_oft"])
def test_a_state_is_not_continued_from_another_start(dataset, tmp_path, oft, recipe):
    if recipe == "mini":
        train(dataset, tmp_path / "first", *MINI, "train.steps=1")
        shutil.copytree(tmp_path / "first" / "run" / "checkpoint", tmp_path / "begin")
        overrides = (*MINI, f"init={tmp_path / 'begin'}", "train.steps=1")
    else:
        overrides = (*oft(), "train.steps=1")
    train(dataset, tmp_path, *overrides)
    if recipe == "mini":
        manifest = json.loads((tmp_path / "begin" / "checkpoint.json").read_text())
        manifest["recipe"]["note"] = "trained anew"
        (tmp_path / "begin" / "checkpoint.json").write_text(json.dumps(manifest))
    else:
        begin = read_folder(tmp_path / "begin")
        table = {name: memory_tensor(stored.read() + 0.1, "test") for name, stored in begin.table.items()}
        write_folder(dataclasses.replace(begin, table=table), tmp_path / "moved")
        shutil.rmtree(tmp_path / "begin")
        (tmp_path / "moved").rename(tmp_path / "begin")
    what = r"init.checkpoint\.json" if recipe == "mini" else "frozen_weights"
    with pytest.raises(RefusedError, match=rf"  - {what}: then"):
        train(dataset, tmp_path, *overrides)


def test_a_training_that_was_begun_before_its_start_was_kept_goes_on(dataset, tmp_path):
    train(dataset, tmp_path / "first", *MINI, "train.steps=1")
    overrides = (*MINI, f"init={tmp_path / 'first' / 'run' / 'checkpoint'}", "train.steps=1")
    train(dataset, tmp_path, *overrides)
    path = tmp_path / "run" / "begun.json"
    begun = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in begun.items() if name != "init"}))
    assert "continued" in train(dataset, tmp_path, *overrides)


def test_a_word_where_a_list_belongs_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"datasets: expected a list, such as datasets=\[data/demos\]"):
        train("any", tmp_path, *MINI, "datasets=data/demos")


def test_a_first_command_with_a_mistake_does_not_occupy_the_folder(dataset, tmp_path):
    with pytest.raises(DatasetError, match="nothere"):
        train(tmp_path / "nothere", tmp_path, *MINI, "train.steps=1")
    train(dataset, tmp_path, *MINI, "train.steps=1")


def test_a_second_training_in_one_folder_is_refused_and_the_first_goes_on(dataset, tmp_path, monkeypatch):
    overrides, add, tried = (*MINI, "train.steps=3", "train.save_every=1"), TrainingLog.add, []

    def busy(log, step, parts):
        if step == 2 and not tried:
            tried.append(step)
            with pytest.raises(RefusedError, match=rf"another process is training into {tmp_path}.*another run_dir"):
                train(dataset, tmp_path, *overrides)
        add(log, step, parts)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingLog, "add", busy)
        train(dataset, tmp_path, *overrides)
    assert tried == [2]
    assert len(losses(tmp_path)) == 3
    train(dataset, tmp_path, *overrides)  # free again


def test_processes_that_train_together_share_the_folder(tmp_path, monkeypatch):
    with alone(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with alone(tmp_path):
            pass


def test_only_the_first_process_writes_what_the_folder_was_begun_with(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    keep(tmp_path, "config.json", {"seed": 0})
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("RANK", "0")
    keep(tmp_path, "config.json", {"seed": 0})
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    written = (tmp_path / "config.json").stat().st_ino
    keep(tmp_path, "config.json", {"seed": 0})
    assert (tmp_path / "config.json").stat().st_ino == written


def test_a_torn_configuration_is_named(tmp_path):
    (tmp_path / "config.json").touch()
    with pytest.raises(RefusedError, match=r"config\.json: not JSON.*Delete it"):
        keep(tmp_path, "config.json", {"seed": 0})


def test_a_full_disk_gives_one_message_and_keeps_the_state(tmp_path):
    save_state(tmp_path / "state.pt", {"step": 1})
    (tmp_path / ".state.pt.tmp").symlink_to("/dev/full")  # answers as a disk that fills up
    with pytest.raises(CommandError, match=r"state\.pt: could not be written \([^\n]*repeat the command[^\n]*$"):
        save_state(tmp_path / "state.pt", {"weights": torch.zeros(1000, 1000)})
    assert torch.load(tmp_path / "state.pt") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[: len(content) // 2]])
@pytest.mark.parametrize("recipe", ["mini", "openvla_oft"])
def test_a_torn_state_gives_one_message_and_is_left_as_it_is(dataset, tmp_path, oft, capsys, recipe, damage):
    overrides = (*MINI, "train.steps=1") if recipe == "mini" else (*oft(), "train.steps=1")
    train(dataset, tmp_path, *overrides)
    state, log = (tmp_path / "run" / name for name in ("state.pt", "log.jsonl"))
    state.write_bytes(damage(state.read_bytes()))
    before = (state.read_bytes(), log.read_bytes())
    places = (f"datasets=[{dataset}]", f"cache={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}")
    assert entry.main(CONF, [*places, *overrides]) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert re.match(r".*state\.pt: cannot be read \(\w+: .*\)\. If it is torn, restore it.*init=.*checkpoint in ", told)
    assert (state.read_bytes(), log.read_bytes()) == before


def test_a_log_is_cut_back_at_once_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    whole = "".join(f'{{"step": {step}}}\n' for step in (1, 2, 3)) + '{"st'
    path.write_text(whole)

    def killed(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("vla.files.os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            TrainingLog(path, 2)
    assert path.read_text() == whole
    TrainingLog(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    assert [each.name for each in tmp_path.iterdir()] == ["log.jsonl"]


def test_the_command_tells_errors_of_the_disk_without_a_trace(tmp_path, capsys):
    (tmp_path / "run").touch()
    assert entry.main(CONF, [f"run_dir={tmp_path / 'run'}"]) == 1
    told = capsys.readouterr().err
    assert "File exists" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("balance", ["0", "1"])
def test_balance_may_be_a_whole_number(dataset, tmp_path, balance):
    train(dataset, tmp_path, *MINI, "train.steps=1", f"balance={balance}")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{pick up:[elsewhere]}", r"leave_out: expected some of datasets=\[.*\], got elsewhere"),
        ("{fly away:[DATASET]}", r"leave_out: expected one of its instructions, .*got 'fly away'"),
    ],
)
def test_what_cannot_be_left_out_is_refused(dataset, tmp_path, given, told):
    with pytest.raises(RefusedError, match=told):
        train(dataset, tmp_path, *MINI, "train.steps=1", f"leave_out={given.replace('DATASET', str(dataset))}")


@pytest.mark.parametrize("keyframes", [0, 1, 3])
def test_keyframes_that_the_data_do_not_hold_are_refused(dataset, tmp_path, keyframes):
    with pytest.raises((RefusedError, ValueError), match=rf"model\.keyframes: expected .*got {keyframes}"):
        train(dataset, tmp_path, *MINI, "train.steps=1", f"model.keyframes={keyframes}")


def test_datasets_that_do_not_belong_together_are_refused(dataset, tmp_path):
    other = tmp_path / "other"
    with DatasetWriter(other, robot_type="aloha") as writer:
        writer.add(demonstration(0))
    with pytest.raises(DatasetError, match=r"one robot.*\['aloha', 'libero'\]"):
        train(dataset, tmp_path, *MINI, f"datasets=[{dataset},{other}]")
    with pytest.raises(RefusedError, match=r"model\.cameras=3, model\.state_dim=14, model\.action_dim=14"):
        train(other, tmp_path / "again", *MINI)


def test_a_chunk_longer_than_the_data_look_ahead_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"at most 16.*got 17.*lookahead=17"):
        train(dataset, tmp_path, *MINI, "model.chunk=17")


@pytest.fixture
def oft(tokenizer, tmp_path):
    """Writes a tiny checkpoint to begin with; gives the overrides that fine-tune it."""

    def make(config=LIBERO_TINY, embodiment=SMALL):
        begin = dataclasses.replace(tiny_checkpoint(config, embodiment), extras={"tokenizer.json": tokenizer})
        write_folder(begin, tmp_path / "begin")
        return (
            "recipe=openvla_oft",
            f"init={tmp_path / 'begin'}",
            "lora.rank=4",
            "train.steps=10",
            "train.batch=2",
            "train.save_every=4",
            "train.peak=0.005",
            "dtype=float32",
            "merge_tolerance=0.001",
        )

    return make


@pytest.mark.parametrize("head", ["l1", "diffusion"])
def test_openvla_oft_is_fine_tuned_and_acts(dataset, tmp_path, oft, head):
    train(dataset, tmp_path, *oft(), f"network.head={head}")
    found = losses(tmp_path)
    assert len(found) == 10
    assert np.mean(found[-3:]) < np.mean(found[:3])
    checkpoint = read_folder(tmp_path / "run" / "checkpoint")
    assert list(checkpoint.statistics) == ["demos"]
    assert checkpoint.config.head.kind == head
    actions = acts("openvla_oft", tmp_path)
    assert actions.shape == (8, 7)
    assert set(np.unique(actions[:, -1])) <= {-1.0, 0.0, 1.0}  # LIBERO's gripper, as the robot takes it


def test_the_original_openvla_is_a_start_too(dataset, tmp_path, oft):
    causal = dataclasses.replace(CAUSAL, action_dim=7, state_dim=0, images=1, chunk=1)
    embodiment = dataclasses.replace(SMALL, cameras=SMALL.cameras[:1], chunk=1)
    train(dataset, tmp_path, *oft(causal, embodiment), "network.film=true")
    assert acts("openvla_oft", tmp_path).shape == (8, 7)


def test_fine_tuning_goes_on_with_the_cameras_and_the_chunk_of_the_checkpoint(dataset, tmp_path, oft):
    turned = dataclasses.replace(SMALL, cameras=("wrist", "agentview"), chunk=4)
    train(dataset, tmp_path, *oft(dataclasses.replace(LIBERO_TINY, chunk=4), turned), "train.steps=1")
    written = read_folder(tmp_path / "run" / "checkpoint")
    assert (written.embodiment.cameras, written.embodiment.chunk) == (("wrist", "agentview"), 4)
    assert written.config.chunk == 4


def test_a_checkpoint_without_a_state_gets_one(dataset, tmp_path, oft):
    train(dataset, tmp_path, *oft(dataclasses.replace(LIBERO_TINY, state_dim=0)), "train.steps=1")
    assert read_folder(tmp_path / "run" / "checkpoint").config.state_dim == 8


def test_cameras_may_be_said_of_the_original_openvla(dataset, tmp_path, oft):
    causal = dataclasses.replace(CAUSAL, action_dim=7, state_dim=0, images=1, chunk=1)
    embodiment = dataclasses.replace(SMALL, cameras=("wrist",), chunk=1)
    train(dataset, tmp_path, *oft(causal, embodiment), "init_says.cameras=[wrist]", "train.steps=1")
    written = read_folder(tmp_path / "run" / "checkpoint")
    assert (written.embodiment.cameras, written.config.images, written.embodiment.chunk) == (("wrist",), 1, 8)


def test_a_killed_fine_tuning_goes_on_as_if_nothing_had_happened(dataset, tmp_path, oft, monkeypatch):
    overrides = oft()
    whole = tmp_path / "whole"
    train(dataset, whole, *overrides)
    kill(monkeypatch, "openvla_oft", 6, dataset, tmp_path, *overrides)
    train(dataset, tmp_path, *overrides)
    ours, theirs = (read_folder(each / "run" / "checkpoint").load(None).state_dict() for each in (tmp_path, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


class _Killed:
    """Stands for the log: stops everything after some steps."""

    def __init__(self, after):
        self.after = after

    def __call__(self, step, parts):
        if step > self.after:
            raise KeyboardInterrupt


def test_fine_tuning_takes_the_gpu_if_there_is_one(dataset, tmp_path, oft, monkeypatch):
    overrides = oft()
    moves = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(OpenVLAOFT, "to", lambda model, device: moves.append(device) or model)
    train(dataset, tmp_path, *overrides, "train.steps=1")
    assert moves == [torch.device("cuda:0"), "cpu"]  # merged on the CPU


def test_what_fine_tuning_does_not_know_is_refused(dataset, tmp_path, oft, monkeypatch):
    overrides = oft()
    with pytest.raises(RefusedError, match=r"transfer: only recipe=mini"):
        train(dataset, tmp_path, *overrides, "transfer=checkpoints/mini")
    with pytest.raises(RefusedError, match=r"train: expected batch and save_every of at least 1, got 1 and 0"):
        train(dataset, tmp_path, *overrides, "train.batch=1", "train.save_every=0")
    with pytest.raises(RefusedError, match=r"cameras, boxes, relative: .*init_says\.cameras"):
        train(dataset, tmp_path, *overrides, "cameras=[front,hand]")
    plain = demonstration(7)
    columns = {name: plain.columns[name] for name in ("observation.state", "action")}
    with DatasetWriter(tmp_path / "slow", robot_type="libero") as writer:
        writer.add(EpisodeData("pick it up", 5, plain.images, columns))
    with pytest.raises(RefusedError, match=r"expected 20 control steps a second, as libero has, got 5"):
        train(tmp_path / "slow", tmp_path, *overrides)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RefusedError, match=r"one process.*got 2.*without torchrun"):
        train(dataset, tmp_path, *overrides)


def test_without_a_start_or_with_a_wrong_one_nothing_is_trained(dataset, tmp_path, oft):
    with pytest.raises(RefusedError, match=r"init: expected a checkpoint"):
        train(dataset, tmp_path, "recipe=openvla_oft")
    with pytest.raises(CheckpointError, match="no folder"):
        train(dataset, tmp_path / "other", *oft(), "init=nowhere")
