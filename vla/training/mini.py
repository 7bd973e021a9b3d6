"""Training the small VLA: `scripts/train.py recipe=mini`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from tqdm import tqdm

from vla.command.errors import RefusedError
from vla.data.frames import Frames, load_frames
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.layout import read_info
from vla.data.lessons import Selection, control_rate
from vla.embodiment import EMBODIMENTS, Box, Embodiment, Gripper, ImageGeometry, read_boxes
from vla.models.mini.checkpoint import MiniCheckpoint, digests, read_checkpoint, write_checkpoint
from vla.models.mini.config import MiniConfig
from vla.models.mini.loss import LossWeights
from vla.models.mini.model import MiniVLA
from vla.normalize import Normalization
from vla.training.curve import draw_curve
from vla.training.focus import frame_errors
from vla.training.imitation import Imitation, ImitationSettings
from vla.training.run_folder import keep, learned_from, writing
from vla.training.samples import Augmentation, Samples, as_learned, make_statistics
from vla.training.transfer import transfer, with_chunk


def train_mini(config: Mapping[str, Any], folder: Path, stream: TextIO) -> None:
    """Train into `folder`; one that holds a state is continued.

    Raises:
        RefusedError: `init`, `transfer` or the data have other sizes, or a state was begun with other data.
        DatasetError: a dataset is damaged.
        CommandError: state or checkpoint cannot be written.
    """
    network = MiniConfig(**{**config["model"], "channels": tuple(config["model"]["channels"])})
    selection = Selection.from_config(config["recordings"])
    start = read_checkpoint(config["init"]) if config["init"] else None
    boxes = start.embodiment.images.boxes if start and config["boxes"] is None else read_boxes(config["boxes"])
    cameras = config["cameras"] or (start.embodiment.cameras if start else None)
    relative = bool(start.embodiment.relative) if start and config["relative"] is None else config["relative"]
    embodiment = describe(network, [Path(root) for root in config["datasets"]], cameras, boxes, relative)
    _check_relative(embodiment, start, relative)
    if start and config["transfer"]:
        raise RefusedError("init, transfer: expected one of the two, got both")
    frames = [
        load_frames(
            Path(root), embodiment.cameras, network.image_size, Path(config["cache"]), network.chunk, selection, boxes
        )
        for root in config["datasets"]
    ]
    _check_keyframes(network, config["datasets"], frames)
    _check_head(network, config["datasets"], frames)
    frames = [as_learned(each, embodiment) for each in frames]
    statistics = start.statistics if start else make_statistics(frames, network.rotation)
    begun = learned_from(config["datasets"], frames, statistics)
    begins_with = {"init": digests(Path(config["init"]))} if start else {}
    keep(folder, "begun.json", {**begun, **begins_with}, lately=["init"])
    samples = Samples(
        frames,
        statistics,
        embodiment.normalization,
        network.chunk,
        Augmentation(**config["augment"]),
        config["seed"],
        config["balance"],
    )
    _leave_out(samples, config["leave_out"] or {}, config["datasets"])
    model = _model(network, start)
    if config["transfer"]:
        new = transfer(model, read_checkpoint(config["transfer"]), embodiment.cameras)
        stream.write(f"transfer: begins at random: {', '.join(new)}\n")
    settings = ImitationSettings(**{**config["train"], "weights": LossWeights(**config["train"]["weights"])})
    imitation = Imitation(model, samples, settings, folder)
    if config["focus"]:
        _check_focus(config)
        samples.focus(frame_errors(imitation.model, samples, folder / "focus.npy"), config["focus"])
    resumed = imitation.resume()
    size = sum(p.numel() for p in model.parameters())
    stream.write(
        f"{len(samples)} frames, {size / 1e6:.1f} M parameters, step {imitation.step} of {settings.steps}"
        f"{' (continued)' if resumed else ''} -> {folder}\n"
    )
    recipe = {"config": config, "frames": len(samples), "episodes": [int(each.episode.max()) + 1 for each in frames]}

    def write(step: int) -> None:
        weights = imitation.average.state_dict()
        checkpoint = MiniCheckpoint(network, embodiment, statistics, weights, {**recipe, "steps": step})
        with writing(folder / "checkpoint"):
            write_checkpoint(folder / "checkpoint", checkpoint)
        draw_curve(folder / "log.jsonl", folder / "loss.png")

    with tqdm(total=settings.steps, initial=imitation.step, unit="step", disable=imitation.rank > 0) as bar:

        def on_step(step: int, parts: dict[str, float]) -> None:
            bar.update(1)
            if step % 20 == 0:
                bar.set_postfix({name: f"{value:.3f}" for name, value in parts.items()})
            if imitation.rank == 0 and step % settings.save_every == 0:
                write(step)

        imitation.run(on_step)
    if imitation.rank == 0:
        write(imitation.step)
    stream.write(f"Checkpoint: {folder / 'checkpoint'}\n")


def describe(
    network: MiniConfig,
    datasets: Sequence[Path],
    cameras: Sequence[str] | None = None,
    boxes: Mapping[str, Box] = MappingProxyType({}),
    relative: bool | None = None,
) -> Embodiment:
    """The robot of the datasets as the small model sees it: plain images, and actions as the robot takes them.

    Args:
        network: its sizes are compared.
        datasets: folders.
        cameras: names in the datasets; None: those of the robot.
        boxes: see `ImageGeometry`.
        relative: whether joints are learned as the way from where they are; None: yes, where their positions are told.

    Raises:
        DatasetError: they were recorded on different robots, or on one that is not known.
        RefusedError: the network has other sizes, or a box is of no camera.
    """
    names = {str(read_info(root)["robot_type"]) for root in datasets}
    if len(names) != 1 or not names <= EMBODIMENTS.keys():
        raise DatasetError(
            f"datasets: expected recordings of one robot, of {sorted(EMBODIMENTS)}, got {sorted(names)} "
            "(robot_type in meta/info.json)"
        )
    known = EMBODIMENTS[names.pop()]
    if cameras:
        known = dataclasses.replace(known, cameras=tuple(cameras))
    if unknown := [camera for camera in boxes if camera not in known.cameras]:
        raise RefusedError(f"boxes: the cameras are {list(known.cameras)}, got {unknown[0]}")
    sizes = {"cameras": len(known.cameras), "state_dim": len(known.state), "action_dim": len(known.action)}
    if wrong := [f"model.{key}={size}" for key, size in sizes.items() if getattr(network, key) != size]:
        raise RefusedError(f"model: the data of {known.name} need {', '.join(wrong)}")
    return dataclasses.replace(
        known,
        chunk=network.chunk,
        hz=control_rate(datasets, known.hz),
        normalization=Normalization.BOUNDS,
        gripper=Gripper.SAME,
        images=ImageGeometry(size=network.image_size, jpeg=False, crop_area=1.0, boxes=dict(boxes)),
        relative=() if relative is False else known.joints,
    )


def _leave_out(samples: Samples, told: Mapping[str, Sequence[str]], datasets: Sequence[str]) -> None:
    if unknown := sorted({root for roots in told.values() for root in roots} - set(datasets)):
        raise RefusedError(f"leave_out: expected some of datasets={list(datasets)}, got {unknown[0]}")
    try:
        samples.leave_out({words: [datasets.index(root) for root in roots] for words, roots in told.items()})
    except ValueError as error:
        raise RefusedError(f"leave_out: {error}") from error


def _check_relative(embodiment: Embodiment, start: MiniCheckpoint | None, relative: bool | None) -> None:
    if relative and not embodiment.relative:
        raise RefusedError(
            f"relative: expected a robot that is told where its joints shall be, got {embodiment.name}, whose actions "
            f"{list(embodiment.action)} are none of its state's entries. Leave relative out."
        )
    if start and start.embodiment.relative != embodiment.relative:
        raise RefusedError(
            f"relative: expected {bool(start.embodiment.relative)}, as init was trained, got {relative}: its actions "
            "would mean something else"
        )


def _check_focus(config: Mapping[str, Any]) -> None:
    if not config["init"] or config["model"]["head"] != "l1":
        raise RefusedError(
            "focus: expected init=... and the l1 head: it draws the frames that the network of init knows badly, got "
            f"init={config['init']}, model.head={config['model']['head']}"
        )


def _check_keyframes(network: MiniConfig, roots: Sequence[str], frames: Sequence[Frames]) -> None:
    for root, each in zip(roots, frames, strict=True):
        if each.points.shape[2] != network.keyframes:
            raise RefusedError(
                f"model.keyframes: expected {each.points.shape[2]}, as many as {root} holds with each frame, got "
                f"{network.keyframes}"
            )


def _check_head(network: MiniConfig, roots: Sequence[str], frames: Sequence[Frames]) -> None:
    if network.head == "l1":
        return
    for root, each in zip(roots, frames, strict=True):
        if without := int((~each.valid[:, : network.chunk].any(axis=1)).sum()):
            raise RefusedError(
                f"model.head: expected l1, got {network.head}: {root} holds {without} frames without an action, as "
                "glances are, and only that head leaves them out. Take model.head=l1, or other datasets."
            )


def _model(network: MiniConfig, start: MiniCheckpoint | None) -> MiniVLA:
    if start is None:
        return MiniVLA(network)
    start = with_chunk(start, network.chunk)
    if start.config != network:
        raise RefusedError(
            "init: the checkpoint's network differs from model.* in more than the chunk; give the same sizes"
        )
    return start.build()
