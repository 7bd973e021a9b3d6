"""Sizes of the model. They come from here and from nowhere else; no module guesses by robot name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class MaskMode(StrEnum):
    """Which positions a position may look at. A checkpoint works only with the mode it was trained with."""

    BIDIRECTIONAL = "bidirectional"  # OpenVLA-OFT: every real token sees every real token
    CAUSAL = "causal"  # the original OpenVLA: one action token after the other


@dataclass(frozen=True)
class TowerConfig:
    """One vision transformer.

    Attributes:
        registers: number of register tokens; with them goes a class token, which `registers=None` leaves out.
        layer_scale: whether each residual branch has a learned scale per channel.
        attention_pool: whether the (unused) pooling head has parameters.
    """

    width: int
    depth: int
    heads: int
    mlp_width: int
    registers: int | None = None
    layer_scale: bool = False
    attention_pool: bool = False
    image_size: int = 224  # [px]
    patch_size: int = 14  # [px]
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"TowerConfig: expected width divisible by heads, got {self.width} and {self.heads}")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"TowerConfig: expected image_size divisible by patch_size, got {self.image_size} and {self.patch_size}"
            )
        if self.depth < 2:
            raise ValueError(f"TowerConfig.depth: expected at least 2 (the last is not run), got {self.depth}")

    @property
    def patches(self) -> int:
        """P: patches of one image."""
        return (self.image_size // self.patch_size) ** 2


DINOV2_LARGE = TowerConfig(width=1024, depth=24, heads=16, mlp_width=4096, registers=4, layer_scale=True)
SIGLIP_SO400M = TowerConfig(width=1152, depth=27, heads=16, mlp_width=4304, attention_pool=True)


@dataclass(frozen=True)
class TrunkConfig:
    """The Llama trunk. The defaults are Llama-2 7B as OpenVLA runs it.

    `norm_eps` is 1e-6 and not Llama-2's 1e-5: the published config names no value, so the library's default ruled.
    """

    width: int = 4096
    depth: int = 32
    heads: int = 32
    key_value_heads: int = 32
    mlp_width: int = 11008
    vocabulary: int = 32064
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads


@dataclass(frozen=True)
class HeadConfig:
    """Which action head, by the name of its file in `vla.models.heads`, and its options."""

    kind: str = "l1"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelConfig:
    """The whole model.

    Attributes:
        images: N, number of images in an observation.
        chunk: K, actions planned at once.
        action_dim: A.
        state_dim: S; 0: the model gets no proprioception.
        film: whether the instruction modulates the vision towers (OFT+).
    """

    images: int = 2
    chunk: int = 8
    action_dim: int = 7
    state_dim: int = 8
    film: bool = False
    mask: MaskMode = MaskMode.BIDIRECTIONAL
    head: HeadConfig = field(default_factory=HeadConfig)
    dino: TowerConfig = DINOV2_LARGE
    siglip: TowerConfig = SIGLIP_SO400M
    trunk: TrunkConfig = field(default_factory=TrunkConfig)

    def __post_init__(self) -> None:
        for name in ("images", "chunk", "action_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"ModelConfig.{name}: expected at least 1, got {getattr(self, name)}")
        if self.dino.patches != self.siglip.patches:
            raise ValueError(
                "ModelConfig: the towers' patches are joined one by one, so both need the same number; "
                f"got {self.dino.patches} (dino) and {self.siglip.patches} (siglip)"
            )

    @property
    def vision_width(self) -> int:
        """Channels of a patch after both towers are joined."""
        return self.dino.width + self.siglip.width

    @property
    def action_slots(self) -> int:
        """K * A: one slot for each number of the chunk."""
        return self.chunk * self.action_dim

    def to_dict(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`."""
        nested = {
            "mask": MaskMode(values["mask"]),
            "head": HeadConfig(**values["head"]),
            "dino": TowerConfig(**values["dino"]),
            "siglip": TowerConfig(**values["siglip"]),
            "trunk": TrunkConfig(**values["trunk"]),
        }
        return cls(**{**values, **nested})
