"""OpenVLA-OFT as a policy: images, state and words in, a chunk of robot actions out."""

from __future__ import annotations

import dataclasses
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vla.data.pixels import query_pixels
from vla.embodiment import Embodiment
from vla.models.heads import head_class
from vla.models.heads.inpainting import Prefix
from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import HeadConfig
from vla.models.openvla_oft.locate import read_checkpoint
from vla.models.openvla_oft.model import Inputs
from vla.models.openvla_oft.selftest import check_mask_mode
from vla.models.openvla_oft.sequence import pad_prompts
from vla.models.openvla_oft.weights import CheckpointError
from vla.normalize import Normalizer, choose_statistics
from vla.policies.gripper import from_robot, to_robot
from vla.policies.prompt import Prompt
from vla.types import ActionChunk, FloatArray, Observation

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class OpenVLAOFTPolicy:
    """Answers one observation or a batch of them; both give the same answers, whatever the order.

    Args:
        checkpoint: folder of ours or of openvla-oft, or a name on the hub.
        statistics: which dataset of the checkpoint to normalise with; None if it has only one.
        device: torch device; None: a GPU if there is one.
        dtype: `bfloat16`, as published, or `float32`.
        seed: of the noise where a denoising head starts; the noise depends on it and on the observation only.
        denoising_steps: for diffusion and flow heads; None: as the checkpoint says.
        checkpoint_says: `embodiment`, `cameras`, `mask`, `base`: what a folder of openvla-oft leaves out
            (see `vla.models.openvla_oft.locate.read_checkpoint`).

    Raises:
        CheckpointError: the checkpoint is not found, not complete or contradictory.
        SelfTestError: attention does not look where the checkpoint was trained to look.
    """

    def __init__(
        self,
        checkpoint: str,
        statistics: str | None = None,
        device: str | None = None,
        dtype: str = "bfloat16",
        seed: int = 0,
        denoising_steps: int | None = None,
        **checkpoint_says: Any,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"policy.dtype: expected one of {sorted(DTYPES)}, got {dtype!r}")
        found = _with_steps(read_checkpoint(checkpoint, **checkpoint_says), denoising_steps)
        self.embodiment: Embodiment = found.embodiment
        self._pixel_scale, self._seed = found.pixels, seed
        key = choose_statistics(list(found.statistics), statistics)
        self._action_scale = _scale(found, key, "action", self.embodiment.action)
        self._state_scale = _scale(found, key, "proprio", self.embodiment.state) if self.embodiment.state else None
        self._prompt = Prompt(found.extra("tokenizer.json"))
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model = found.load(DTYPES[dtype]).to(self._device).requires_grad_(False)
        check_mask_mode(self._model)

    @property
    def weight_bytes(self) -> int:
        """[bytes] of the weights in the type they are used in."""
        return sum(parameter.nbytes for parameter in self._model.parameters())

    def reset(self) -> None:
        """Nothing to forget: the answer depends on the observation alone."""

    def infer(self, observation: Observation) -> ActionChunk:
        """Plan the next actions."""
        return self.infer_batch([observation])[0]

    @torch.no_grad()
    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Plan for each observation; instructions may differ.

        Raises:
            ValueError: an observation lacks a camera, or its state or words are not as the embodiment says.
        """
        if not observations:
            return []
        started = time.perf_counter()
        inputs = self._inputs(observations)
        normalised = self._model(inputs, self._noise(inputs))  # (B, K, A)
        actions = self._to_robot(normalised.double().cpu().numpy())  # (B, K, A)
        seconds = (time.perf_counter() - started) / len(observations)
        return [
            ActionChunk(chunk, observation.instruction, observation.time, seconds)
            for chunk, observation in zip(actions, observations, strict=True)
        ]

    @property
    def accepts_prefix(self) -> bool:
        """Whether `infer_after` works: with a head that denoises."""
        return self._model.action_head.denoises

    @torch.no_grad()
    def infer_after(self, observation: Observation, prefix: FloatArray, frozen: int) -> ActionChunk:
        """Plan on from the running chunk (see `vla.protocols.PrefixPolicy`).

        Raises:
            ValueError: the checkpoint's head does not denoise, or there are not `frozen` actions in `prefix`.
        """
        started = time.perf_counter()
        inputs = self._inputs([observation])
        known = self._action_scale.normalize(from_robot(prefix, self.embodiment.gripper))  # (P, A)
        wanted = Prefix(torch.as_tensor(known, device=self._device)[None], frozen)
        normalised = self._model.continue_chunk(inputs, wanted, self._noise(inputs))  # (1, K, A)
        actions = self._to_robot(normalised.double().cpu().numpy())[0]  # (K, A)
        kept = min(frozen, len(actions))
        actions[:kept] = prefix[:kept]  # to the last bit, and also where normalising clipped
        return ActionChunk(actions, observation.instruction, observation.time, time.perf_counter() - started)

    def _inputs(self, observations: Sequence[Observation]) -> Inputs:
        ids, lengths = pad_prompts([self._prompt(observation.instruction) for observation in observations])
        pixels = np.stack([self._pixels(observation) for observation in observations])  # (B, N, 6, H, W)
        state = None
        if self._state_scale is not None:
            normalised = [self._state_scale.normalize(observation.state) for observation in observations]
            state = torch.as_tensor(np.stack(normalised), device=self._device)  # (B, S)
        return Inputs(
            torch.as_tensor(pixels, device=self._device),
            ids.to(self._device),
            lengths.to(self._device),
            state,
        )

    def _pixels(self, observation: Observation) -> np.ndarray:
        """(N, 6, H, W), cameras in the embodiment's order."""
        images = []
        for camera in self.embodiment.cameras:
            if camera not in observation.images:
                raise ValueError(
                    f"observation: no camera {camera!r}, got {sorted(observation.images)}; "
                    f"the checkpoint needs {list(self.embodiment.cameras)}"
                )
            image = np.asarray(observation.images[camera])
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ValueError(f"camera {camera!r}: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
            images.append(image)
        return query_pixels(images, self.embodiment.images, self._pixel_scale)

    def _noise(self, inputs: Inputs) -> Tensor | None:
        """(B, K, A) drawn for each observation from its own pixels and words, so that batches change nothing."""
        if not self._model.action_head.denoises:
            return None
        shape = (self.embodiment.chunk, len(self.embodiment.action))
        draws = []
        for pixels, ids, length in zip(inputs.pixels, inputs.prompts, inputs.prompt_lengths, strict=True):
            digest = zlib.crc32(ids[:length].cpu().numpy().tobytes(), zlib.crc32(pixels.cpu().numpy().tobytes()))
            draws.append(np.random.default_rng([self._seed, digest]).standard_normal(shape))
        return torch.as_tensor(np.stack(draws))

    def _to_robot(self, normalised: FloatArray) -> FloatArray:
        """(B, K, A) -> (B, K, A) in the robot's units."""
        return to_robot(self._action_scale.unnormalize(normalised), self.embodiment.gripper)


def _scale(checkpoint: Checkpoint, key: str, part: str, names: Sequence[str]) -> Normalizer:
    """The normalisation of actions or states, by the statistics of one dataset.

    Raises:
        CheckpointError: there are none, or not for these numbers; nothing is ever passed on as it is instead.
    """
    columns = checkpoint.statistics[key].get(part)
    if columns is None:
        raise CheckpointError(
            f"statistics {key!r}: no entry {part!r}, found {sorted(checkpoint.statistics[key])}; without it "
            f"{len(names)} numbers cannot be normalised. Name another key with policy.statistics."
        )
    scale = Normalizer.from_statistics(columns, checkpoint.embodiment.normalization)
    if scale.first.shape != (len(names),):
        raise CheckpointError(
            f"statistics {key!r}, {part}: expected {len(names)} numbers, as embodiment "
            f"{checkpoint.embodiment.name!r} has, got {len(scale.first)}"
        )
    return scale


def _with_steps(checkpoint: Checkpoint, steps: int | None) -> Checkpoint:
    if steps is None:
        return checkpoint
    head = checkpoint.config.head
    if not head_class(head.kind).denoises:
        raise ValueError(f"policy.denoising_steps: the checkpoint's head {head.kind!r} does not denoise; leave it out")
    config = dataclasses.replace(checkpoint.config, head=HeadConfig(head.kind, {**head.options, "steps": steps}))
    return dataclasses.replace(checkpoint, config=config)
