"""The embodiment: what a robot is, as data. It is saved inside every checkpoint; no module guesses sizes by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.normalize import Normalization

Box = tuple[float, ...]  # left, top, right, bottom, as parts of an image


class Gripper(StrEnum):
    """How the last number of an action means open and close, for the data and for the robot."""

    SAME = "same"  # the robot takes what the data holds
    LIBERO = "libero"  # data: 0 close, 1 open; robot: +1 close, -1 open


@dataclass(frozen=True)
class ImageGeometry:
    """How a camera image becomes the network's square.

    Attributes:
        size: [px] edge of the network's image.
        jpeg: whether a JPEG round trip comes first, as in the training data.
        first_size: [px] edge to which the image is squeezed before that (ALOHA), or None.
        crop_area: part of the area that the centre crop keeps; 1: no crop.
        boxes: camera -> the part of its image that the network sees (left, top, right, bottom; 0 to 1). A camera that
            is not named is seen whole. Of the small VLA only.

    Raises:
        ValueError: a box without an area, or beyond the image.
    """

    size: int = 224
    jpeg: bool = True
    first_size: int | None = None
    crop_area: float = 0.9
    boxes: Mapping[str, Box] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for camera, box in self.boxes.items():
            if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                raise ValueError(
                    f"boxes.{camera}: expected left < right and top < bottom, four parts of the image in 0 to 1, got "
                    f"{list(box)}"
                )


@dataclass(frozen=True)
class Embodiment:
    """Cameras, state, action, rate, and how they are normalised.

    Attributes:
        cameras: names in the order in which the network sees them.
        state: one name an entry, unit in brackets; empty if the policy gets no state.
        action: one name an entry, unit in brackets.
        chunk: K, actions planned at once.
        hz: [1/s] control rate.
        relative: entries of the action that are learned as the way from the state's entry of the same name.

    Raises:
        ValueError: sizes make no sense, or a relative entry is not both in the action and in the state.
    """

    name: str
    cameras: tuple[str, ...]
    state: tuple[str, ...]
    action: tuple[str, ...]
    chunk: int
    hz: float
    normalization: Normalization = Normalization.BOUNDS_Q99
    gripper: Gripper = Gripper.SAME
    images: ImageGeometry = field(default_factory=ImageGeometry)
    relative: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if strange := [name for name in self.relative if name not in self.action or name not in self.state]:
            raise ValueError(
                f"embodiment {self.name!r}: relative: expected entries of action and state, got {strange[0]!r}; both "
                f"have {self.joints}"
            )
        if not self.cameras or not self.action or self.chunk < 1 or self.hz <= 0:
            raise ValueError(
                f"embodiment {self.name!r}: expected at least one camera and action, chunk >= 1 and hz > 0, "
                f"got {self.cameras}, {len(self.action)} actions, chunk {self.chunk}, hz {self.hz}"
            )

    @property
    def joints(self) -> tuple[str, ...]:
        """Entries of the action whose present position is in the state, without grippers: these have other scales."""
        return tuple(name for name in self.action if name in self.state and "gripper" not in name)

    def reference(self, state: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(..., S) state -> (..., A): what learned actions are added to. 0 where they are learned as they are."""
        reference = np.zeros((*state.shape[:-1], len(self.action)), state.dtype)
        for name in self.relative:
            reference[..., self.action.index(name)] = state[..., self.state.index(name)]
        return reference

    def to_dict(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Embodiment:
        """Inverse of `to_dict`; lists become tuples."""
        converted = {
            "cameras": tuple(values["cameras"]),
            "state": tuple(values["state"]),
            "action": tuple(values["action"]),
            "relative": tuple(values.get("relative", ())),
            "normalization": Normalization(values["normalization"]),
            "gripper": Gripper(values["gripper"]),
            "images": ImageGeometry(**{**values["images"], "boxes": read_boxes(values["images"].get("boxes"))}),
        }
        return cls(**{**values, **converted})


def read_boxes(boxes: Mapping[str, Sequence[float]] | None) -> dict[str, Box]:
    """`ImageGeometry.boxes` from JSON or a config."""
    return {camera: tuple(map(float, box)) for camera, box in (boxes or {}).items()}


_AXES = ("x", "y", "z")
_ARMS = ("left", "right")
_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
_ALOHA_JOINTS = tuple(
    name for arm in _ARMS for name in (*(f"{arm}_{joint} [rad]" for joint in _JOINTS), f"{arm}_gripper [open]")
)

LIBERO = Embodiment(
    name="libero",
    cameras=("agentview", "wrist"),
    state=(*(f"eef_{a} [m]" for a in _AXES), *(f"eef_rot_{a} [rad]" for a in _AXES), "finger_0 [m]", "finger_1 [m]"),
    action=(*(f"{a} [0.05 m]" for a in _AXES), *(f"rot_{a} [0.5 rad]" for a in _AXES), "gripper"),
    chunk=8,
    hz=20.0,
    gripper=Gripper.LIBERO,
)
ALOHA = Embodiment(
    name="aloha",
    cameras=("high", "left_wrist", "right_wrist"),
    state=_ALOHA_JOINTS,
    action=_ALOHA_JOINTS,
    chunk=25,
    hz=25.0,
    normalization=Normalization.BOUNDS,
    images=ImageGeometry(first_size=256),
)
ALOHA_SIM = replace(ALOHA, name="aloha_sim", cameras=("top", "left_wrist", "right_wrist"), hz=50.0)  # gym-aloha's names
BRIDGE = Embodiment(
    name="bridge",
    cameras=("primary",),
    state=(*(f"eef_{a} [m]" for a in _AXES), *(f"eef_rot_{a} [rad]" for a in _AXES), "gripper [open]"),
    action=(*(f"{a} [m]" for a in _AXES), *(f"rot_{a} [rad]" for a in _AXES), "gripper [open]"),
    chunk=5,
    hz=5.0,
)
EMBODIMENTS = {embodiment.name: embodiment for embodiment in (LIBERO, ALOHA, ALOHA_SIM, BRIDGE)}
