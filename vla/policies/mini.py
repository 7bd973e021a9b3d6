"""The small VLA as a policy: images, state and words in, a chunk of robot actions out."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from vla.data.frames import cut, shrink
from vla.models.mini.checkpoint import read_checkpoint
from vla.models.mini.model import MiniInputs
from vla.normalize import Normalizer
from vla.policies.gripper import to_robot
from vla.policies.words import SentenceEncoder
from vla.types import ActionChunk, Image, Observation


class MiniPolicy:
    """Answers one observation or a batch of them.

    Args:
        checkpoint: folder that `scripts/train.py` wrote.
        instruction: words to use instead of the observation's, for ablations: text, or None.
        device: torch device; None: a GPU if there is one.
        seed: of the noise of denoising heads, which is the same for every observation.
        precision: `float32`, `bfloat16` (in which it was trained), or `auto`: bfloat16 where the processor computes it.

    Raises:
        CheckpointError: the checkpoint is not found or contradictory.
        ValueError: no such precision.
    """

    def __init__(
        self,
        checkpoint: str,
        instruction: str | None = None,
        device: str | None = None,
        seed: int = 0,
        precision: str = "auto",
    ) -> None:
        found = read_checkpoint(checkpoint)
        self.embodiment = found.embodiment
        kind = found.embodiment.normalization
        self._action_scale = Normalizer.from_statistics(found.statistics["action"], kind)
        self._state_scale = Normalizer.from_statistics(found.statistics["proprio"], kind)
        self._instruction, self._seed = instruction, seed
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model = found.build().for_inference()
        self._dtype = choose_precision(precision, self._device, model.action_head.denoises)
        self._model = model.to(self._device, self._dtype)
        self._words = SentenceEncoder()

    @property
    def blind(self) -> bool:
        """Whether it was trained without images and asks for none."""
        return self._model.config.blind

    def reset(self) -> None:
        """Nothing to forget: the answer depends on the observation alone."""

    def infer(self, observation: Observation) -> ActionChunk:
        """Plan the next actions."""
        return self.infer_batch([observation])[0]

    @torch.no_grad()
    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Plan for each observation; instructions may differ.

        Raises:
            ValueError: an observation lacks a camera, or its state is not as the embodiment says.
        """
        if not observations:
            return []
        pixels = np.stack([self._pixels(observation) for observation in observations])  # (B, N, 3, H, W)
        started = time.perf_counter()
        states = np.stack([self._state_scale.normalize(observation.state) for observation in observations])
        words = self._words([self._words_of(observation) for observation in observations])  # (B, E)
        inputs = MiniInputs(
            torch.as_tensor(pixels, device=self._device),
            torch.as_tensor(words, dtype=self._dtype, device=self._device),
            torch.as_tensor(states, dtype=torch.float32, device=self._device),  # angles, rounded after their sines
        )
        noise = None
        if self._model.action_head.denoises:
            shape = (self.embodiment.chunk, len(self.embodiment.action))
            drawn = np.random.default_rng(self._seed).standard_normal(shape)  # (K, A), wherever in the batch
            noise = torch.as_tensor(drawn, dtype=torch.float32).repeat(len(observations), 1, 1)  # (B, K, A)
        normalised = self._model(inputs, noise).double().cpu().numpy()  # (B, K, A)
        learned = self._action_scale.unnormalize(np.clip(normalised, -1.0, 1.0))  # (B, K, A)
        reference = self.embodiment.reference(np.stack([observation.state for observation in observations]))  # (B, A)
        actions = to_robot(learned + reference[:, None], self.embodiment.gripper)
        seconds = (time.perf_counter() - started) / len(observations)
        return [
            ActionChunk(chunk, observation.instruction, observation.time, seconds)
            for chunk, observation in zip(actions, observations, strict=True)
        ]

    def _words_of(self, observation: Observation) -> str:
        return observation.instruction if self._instruction is None else self._instruction

    def _pixels(self, observation: Observation) -> Image:
        """(N, 3, H, W), cameras in the embodiment's order. A blind policy does not even ask for them."""
        size, boxes = self.embodiment.images.size, self.embodiment.images.boxes
        if self._model.config.blind:
            return np.zeros((len(self.embodiment.cameras), 3, size, size), np.uint8)
        images = []
        for camera in self.embodiment.cameras:
            if camera not in observation.images:
                raise ValueError(
                    f"observation: no camera {camera!r}, got {sorted(observation.images)}; "
                    f"the checkpoint needs {list(self.embodiment.cameras)}"
                )
            images.append(shrink(cut(np.asarray(observation.images[camera]), boxes.get(camera)), size))
        return np.stack(images).transpose(0, 3, 1, 2)


def choose_precision(name: str, device: torch.device, denoises: bool = False) -> torch.dtype:
    """`auto`, `float32` or `bfloat16` -> what to compute in. Denoising adds rounding up: there `auto` stays exact.

    Raises:
        ValueError: another name.
    """
    if name not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"policy.precision: expected auto, float32 or bfloat16, got {name!r}")
    if name == "auto":
        computed = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        name = "bfloat16" if computed and not denoises else "float32"
    return torch.float32 if name == "float32" else torch.bfloat16
