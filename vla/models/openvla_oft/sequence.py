"""The layout of the multimodal sequence: who stands where. Every index is computed here, once, and checked.

    BOS | patches of N images | proprio? | timestep? | prompt | K*A action slots | stop | padding

The prompt ends with the empty token; BOS is not counted in it. A slot is answered by the state ONE POSITION BEFORE
it (as in next-token prediction): the empty token answers the first slot, and the last slot answers the stop token.
Source: openvla-oft 213c5ff, modeling_prismatic.py `_prepare_input_for_action_prediction` and
`_regression_or_discrete_prediction`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

BOS_ID = 1
STOP_ID = 2
EMPTY_ID = 29871  # "▁", the last token of every prompt
PAD_ID = 32000


def pad_prompts(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Prompts of different lengths as one tensor: ids (B, T), padded on the right, and their lengths (B,)."""
    longest = max(map(len, prompts))
    ids = [[*prompt, *[PAD_ID] * (longest - len(prompt))] for prompt in prompts]
    return torch.tensor(ids), torch.tensor([len(prompt) for prompt in prompts])


@dataclass(frozen=True)
class SequenceLayout:
    """Indices into sequences of one batch, which may hold prompts of different lengths (padded on the right).

    Attributes:
        patches: patches of all images.
        state: whether there is a proprio token.
        timestep: whether there is a timestep token (diffusion and flow heads).
        prompt_lengths: (B,) prompt tokens without BOS.
        slots: K * A.
    """

    patches: int
    state: bool
    timestep: bool
    prompt_lengths: Tensor  # (B,)
    slots: int

    def __post_init__(self) -> None:
        if self.prompt_lengths.ndim != 1 or self.prompt_lengths.numel() == 0:
            raise ValueError(f"prompt_lengths: expected shape (B,), got {tuple(self.prompt_lengths.shape)}")
        if int(self.prompt_lengths.min()) < 1:
            raise ValueError("prompt_lengths: expected at least the empty token after BOS, got a prompt of length 0")
        if int(self.slots_at.max()) + 1 != int(self.stop_at.max()) or int(self.stop_at.max()) + 1 != self.length:
            raise ValueError(
                f"sequence layout does not add up: slots end at {int(self.slots_at.max())}, L {self.length}"
            )

    @cached_property
    def prefix(self) -> int:
        """Positions before the first prompt token: BOS, patches, proprio, timestep."""
        return 1 + self.patches + int(self.state) + int(self.timestep)

    @cached_property
    def tail(self) -> int:
        """Positions after the prefix: the longest prompt, the slots, the stop token."""
        return int(self.prompt_lengths.max()) + self.slots + 1

    @cached_property
    def length(self) -> int:
        """L."""
        return self.prefix + self.tail

    @cached_property
    def slots_at(self) -> Tensor:
        """(B, K*A) where the action slots stand."""
        first = self.prefix + self.prompt_lengths[:, None]  # (B, 1)
        return first + torch.arange(self.slots, device=self.prompt_lengths.device)  # (B, K*A)

    @cached_property
    def answers_at(self) -> Tensor:
        """(B, K*A) whose states answer the slots: one position before each."""
        return self.slots_at - 1

    @cached_property
    def stop_at(self) -> Tensor:
        """(B,) where the stop token stands; the state before it answers it."""
        return self.prefix + self.prompt_lengths + self.slots

    @cached_property
    def padded(self) -> bool:
        """Whether some sequence is shorter than L."""
        return bool((self.prompt_lengths != self.prompt_lengths.max()).any())

    @cached_property
    def real(self) -> Tensor:
        """(B, L) bool: False where there is padding."""
        return torch.arange(self.length, device=self.prompt_lengths.device) <= self.stop_at[:, None]

    def tail_ids(self, prompts: Tensor) -> Tensor:
        """Token ids after the prefix.

        Args:
            prompts: (B, T) ids with BOS, padded on the right with anything, T > longest prompt.

        Returns:
            (B, tail): prompt, stop ids in the slots' and the stop's place, then padding.
        """
        longest = int(self.prompt_lengths.max())
        if prompts.shape[0] != len(self.prompt_lengths) or prompts.shape[1] < longest + 1:
            raise ValueError(
                f"prompts: expected ({len(self.prompt_lengths)}, at least {longest + 1}), got {tuple(prompts.shape)}"
            )
        place = torch.arange(self.tail, device=prompts.device)[None]  # (1, tail)
        ids = torch.nn.functional.pad(prompts[:, 1 : longest + 1], (0, self.slots + 1))  # (B, tail)
        ids = ids.masked_fill(place >= self.prompt_lengths[:, None], STOP_ID)
        return ids.masked_fill(place > (self.prompt_lengths + self.slots)[:, None], PAD_ID)  # (B, tail)

    def gather(self, states: Tensor, positions: Tensor) -> Tensor:
        """Pick positions of each sequence: (B, L, D), (B, M) -> (B, M, D)."""
        return states.gather(1, positions[..., None].expand(-1, -1, states.shape[-1]))
