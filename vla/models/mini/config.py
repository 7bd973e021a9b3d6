"""Sizes of the small model: data, saved with every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class MiniConfig:
    """Sizes.

    Attributes:
        cameras: N, images of an observation.
        image_size: [px] edge of an image; a multiple of 32.
        state_dim: S.
        rotation: first index of an axis-angle in the state, or None.
        action_dim: A.
        chunk: K.
        words_dim: E, width of the sentence encoder's answer.
        channels: of the vision tower's stages, at 1/2, 1/4, 1/8 and 1/16 of the image's resolution.
        width: D of the trunk.
        layers, heads: of the trunk.
        head_width: width of the action head.
        keyframes: J, points of an image that the model is asked to find; as many as the data hold with each frame.
        head: name of the action head, see `vla.models.heads`.
        head_options: of the head.
        blind: images are replaced by their mean: the control that shows what a policy does without seeing.
    """

    cameras: int = 2
    image_size: int = 128
    state_dim: int = 8
    rotation: int | None = 3
    action_dim: int = 7
    chunk: int = 8
    words_dim: int = 384
    channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    width: int = 256
    layers: int = 4
    heads: int = 4
    head_width: int = 128
    keyframes: int = 2
    head: str = "l1"
    head_options: Mapping[str, Any] = field(default_factory=dict)
    blind: bool = False

    def __post_init__(self) -> None:
        if self.image_size < 32 or self.image_size % 32:
            raise ValueError(f"model.image_size: expected a multiple of 32 px, got {self.image_size}")
        if self.width % self.heads:
            raise ValueError(f"model.width: expected a multiple of the {self.heads} heads, got {self.width}")
        if self.keyframes < 1:
            raise ValueError(f"model.keyframes: expected at least 1, got {self.keyframes}")

    def to_dict(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MiniConfig:
        """Inverse of `to_dict`; unknown names are refused by the constructor."""
        return cls(**{**values, "channels": tuple(values["channels"])})
