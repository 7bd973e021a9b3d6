"""What a recording of any session or rollout teaches: which of its frames, and the actions that followed each.

Demonstrations say both themselves (see `vla.data.demonstration`). Keyframes are not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla.data.demonstration import FAR, KEYFRAMES, ahead
from vla.data.episode import ACTION, Column, EpisodeData
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.layout import read_info
from vla.data.lerobot.reader import Dataset, read_metadata
from vla.types import Commander, Outcome

COMMANDER, WORDS = "commander", "instruction"  # columns of a session: who decided in each tick, and what was wanted


@dataclass(frozen=True)
class Selection:
    """What of recordings is learned.

    Attributes:
        outcomes: of the episodes; None: any. An episode that names no outcome is taken in any case.
        commanders: whose actions; without the column they are all taken.

    Raises:
        ValueError: no such outcome or commander, or none at all.
    """

    outcomes: tuple[str, ...] | None = None
    commanders: tuple[str, ...] = (Commander.POLICY, Commander.PERSON)

    def __post_init__(self) -> None:
        for name, given, known in (
            ("outcomes", self.outcomes, [str(each) for each in Outcome]),
            ("commanders", self.commanders, [str(each) for each in Commander]),
        ):
            if given is not None and (not given or not set(given) <= set(known)):
                raise ValueError(f"recordings.{name}: expected some of {known}, got {list(given)}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Selection:
        """Of `outcomes` (`all` or a list) and `commanders` (a list)."""
        outcomes = config["outcomes"]
        return cls(None if outcomes == "all" else tuple(outcomes), tuple(config["commanders"]))


def is_demonstration(features: Mapping[str, Any]) -> bool:
    """Whether a dataset with these features says what is learned at each of its frames."""
    return "action_chunk" in features


def control_rate(roots: Sequence[Path], usual: float) -> float:
    """[1/s] of datasets: recordings hold every control step, demonstrations say at which rate they acted.

    Args:
        roots: of the datasets.
        usual: of demonstrations that do not say it.

    Raises:
        DatasetError: they have several.
    """
    rates = {rate for root in roots for rate in _control_rates(root, usual)}
    if len(rates) != 1:
        raise DatasetError(f"datasets: expected one control rate, got {sorted(rates)} Hz")
    return rates.pop()


def _control_rates(root: Path, usual: float) -> set[float]:
    info = read_info(root)
    if not is_demonstration(info["features"]):
        return {float(info["fps"])}
    return {each.get("hz", usual) for each in read_metadata(root)}


def lessons(dataset: Dataset, selection: Selection) -> dict[int, np.ndarray]:
    """The frames of a recording that are learned: episode -> their indices, in order.

    Raises:
        DatasetError: frames were left out when it was recorded, so the actions between them are not known; or nothing
            is left.
    """
    chosen = {}
    for row in dataset.episodes:
        if (steps := row.metadata.get("steps", row.length)) != row.length:
            raise DatasetError(
                f"{dataset.root}: episode {row.index} holds {row.length} frames of {steps} control steps; the actions "
                "in between are not known. Only recordings of every step can be learned: record with stride=1."
            )
        outcome = row.metadata.get("outcome")
        if selection.outcomes is not None and outcome is not None and outcome not in selection.outcomes:
            continue
        labels = {COMMANDER: dataset.features.get(COMMANDER, {}).get("labels", ())}
        frames = np.flatnonzero(~_foreign(dataset.columns(row.index), labels, selection))
        if len(frames):
            chosen[row.index] = frames
    if not chosen:
        outcomes = "any" if selection.outcomes is None else ", ".join(selection.outcomes)
        raise DatasetError(
            f"{dataset.root}: none of its {len(dataset)} episodes has a frame to learn: expected outcome {outcomes}, "
            f"actions of {', '.join(selection.commanders)}. Widen recordings.outcomes or recordings.commanders."
        )
    return chosen


def as_demonstration(
    episode: EpisodeData, frames: np.ndarray, selection: Selection, cameras: Sequence[str], count: int
) -> dict[str, Column]:
    """The columns of a demonstration, for F frames of a recorded episode: what was sent, and no keyframe.

    An action that answers other words than those of its frame is not learned from it.

    Args:
        episode: recorded at every control step.
        frames: F indices.
        selection: whose actions are learned.
        cameras: N.
        count: L, actions that are taken from each frame.
    """
    foreign = _foreign(episode.columns, episode.names, selection)  # (T,)
    broken = foreign.copy()
    broken[:-1] |= foreign[1:]  # and what somebody else did is not learned itself
    if WORDS in episode.columns:
        words = episode.columns[WORDS]
        broken[:-1] |= words[1:] != words[:-1]
    actions, valid = ahead(episode.columns[ACTION], broken, frames.tolist(), count)
    columns = {name: column[frames] for name, column in episode.columns.items()}
    unknown = np.zeros((len(frames), KEYFRAMES, 3), np.float32)
    return {
        **columns,
        "action_chunk": actions.astype(np.float32),
        "action_chunk_valid": valid,
        "keyframes": unknown,
        "keyframe_offsets": unknown,
        "keyframe_known": np.zeros((len(frames), KEYFRAMES), bool),
        **{f"keyframe_pixels.{camera}": np.full((len(frames), KEYFRAMES, 2), FAR, np.float32) for camera in cameras},
    }


def _foreign(columns: Mapping[str, Column], names: Mapping[str, Sequence[str]], selection: Selection) -> np.ndarray:
    """(T,) whether somebody else commanded."""
    if COMMANDER not in columns:
        return np.zeros(len(columns[ACTION]), dtype=bool)
    labels = list(names[COMMANDER])
    return ~np.isin(columns[COMMANDER], [labels.index(each) for each in selection.commanders if each in labels])
