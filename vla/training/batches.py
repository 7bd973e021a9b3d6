"""From recorded moments to training batches of OpenVLA-OFT.

The official order: squeeze to the network's square, augment each image by its own draw, normalise; actions and state
by the dataset's statistics, numbers that never change to 0.
Source: openvla-oft 213c5ff, prismatic/vla/datasets/datasets.py `RLDSBatchTransform`, rlds/dataset.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vla.data.augmentation import Augmentation
from vla.data.pixels import Pixels, PixelScale, square
from vla.embodiment import Embodiment
from vla.models.openvla_oft.model import Inputs
from vla.models.openvla_oft.sequence import pad_prompts
from vla.normalize import Normalizer
from vla.training.finetune import Batch
from vla.types import FloatArray, Image


@dataclass(frozen=True, eq=False)
class Moment:
    """What was seen, and what was done then.

    Attributes:
        images: camera -> (H, W, 3) uint8 RGB, upright.
        state: (S,) in the embodiment's units.
        instruction: in words.
        actions: (K, A) this action and the next ones, in the data's units (LIBERO's gripper: 0 close, 1 open).
    """

    images: Mapping[str, Image]
    state: FloatArray  # (S,)
    instruction: str
    actions: FloatArray  # (K, A)


class Batcher:
    """Makes batches.

    Args:
        embodiment: cameras, chunk, image geometry.
        statistics: one dataset's `action` and `proprio` columns.
        prompt: instruction -> ids, BOS first, empty token last.
        pixels: normalisation of the images.
        use_state: whether the network takes the state.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        statistics: Mapping[str, Any],
        prompt: Callable[[str], list[int]],
        pixels: PixelScale,
        use_state: bool = True,
    ) -> None:
        self._embodiment, self._prompt, self._pixels = embodiment, prompt, pixels
        self._actions = Normalizer.from_statistics(statistics["action"], embodiment.normalization)
        self._state = Normalizer.from_statistics(statistics["proprio"], embodiment.normalization) if use_state else None

    def __call__(self, moments: Sequence[Moment], random: np.random.Generator | None = None) -> Batch:
        """(Inputs, normalised actions (B, K, A)).

        Args:
            moments: one a row.
            random: draws the augmentations; None: no augmentation, as for validation.

        Raises:
            ValueError: a chunk has not K rows.
        """
        chunk = self._embodiment.chunk
        if wrong := [len(moment.actions) for moment in moments if len(moment.actions) != chunk]:
            raise ValueError(f"training batch: expected {chunk} actions a moment, got {wrong[0]}")
        ids, lengths = pad_prompts([self._prompt(moment.instruction) for moment in moments])
        actions = np.stack([self._actions.normalize(moment.actions, zero_constant=True) for moment in moments])
        state = None
        if self._state is not None:
            rows = [self._state.normalize(moment.state, zero_constant=True) for moment in moments]
            state = torch.as_tensor(np.stack(rows), dtype=torch.float32)  # (B, S)
        inputs = Inputs(
            torch.as_tensor(np.stack([self._images(moment, random) for moment in moments])),  # (B, N, 6, H, W)
            ids,
            lengths,
            state,
        )
        return inputs, torch.as_tensor(actions, dtype=torch.float32)

    def _images(self, moment: Moment, random: np.random.Generator | None) -> Pixels:
        """(N, 6, H, W)."""
        geometry = self._embodiment.images
        squares = [square(np.asarray(moment.images[camera]), geometry) for camera in self._embodiment.cameras]
        if random is not None:
            squares = [Augmentation.draw(random, geometry.crop_area)(image) for image in squares]
        return np.stack([self._pixels(image) for image in squares])
