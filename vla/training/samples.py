"""Batches for the small model: frames drawn at random, augmented, normalised."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vla.data.frames import Frames
from vla.data.paraphrase import paraphrases
from vla.embodiment import Embodiment
from vla.models.mini.loss import Targets
from vla.models.mini.model import MiniInputs
from vla.normalize import Normalization, Normalizer
from vla.policies.words import SentenceEncoder
from vla.types import Image

FOCUS_RANGE = (0.5, 8.0)  # of an error to the mean one: a wrong label must not be all that is drawn
DISPLACEMENT_M = 0.1  # [m] unit of the keyframe displacement


@dataclass(frozen=True)
class Augmentation:
    """How much a sample varies.

    Attributes:
        shift: [px] largest shift of an image.
        brightness: largest change, as part of the range.
        contrast, gain: largest change of contrast, and of each colour alone, as a factor.
        other_words: part of the samples that are told in other words.
    """

    shift: int = 3
    brightness: float = 0.1
    contrast: float = 0.2
    gain: float = 0.08
    other_words: float = 0.5


class Samples:
    """Draws batches from several sets of frames. A batch depends on the seed and its number only.

    Args:
        frames: the sets.
        statistics: see `make_statistics`.
        chunk: K, actions of a sample.
        augmentation: how much samples vary.
        seed: of all draws.
        balance: 0 draws every frame equally often, 1 every instruction of every suite; between, each of them by
            (its frames) ** (1 - balance).
    """

    def __init__(
        self,
        frames: Sequence[Frames],
        statistics: Mapping[str, Any],
        kind: Normalization,
        chunk: int,
        augmentation: Augmentation,
        seed: int,
        balance: float = 0.0,
    ) -> None:
        if short := [each.actions.shape[1] for each in frames if each.actions.shape[1] < chunk]:
            raise ValueError(
                f"model.chunk: expected at most {min(short)}, the actions that the data hold ahead of a frame, got "
                f"{chunk}; collect with lookahead={chunk}"
            )
        self._frames, self._chunk, self._augmentation, self._seed = frames, chunk, augmentation, seed
        self._ends = np.cumsum([len(each) for each in frames])
        self._told, self._balance = np.unique(_told(frames), return_inverse=True)[1], balance  # (F,) which words
        self._draw_from(np.ones(len(self), dtype=bool))
        self._actions = Normalizer.from_statistics(statistics["action"], kind)
        self._states = Normalizer.from_statistics(statistics["proprio"], kind)
        encoder = SentenceEncoder()
        self._words = [[encoder(paraphrases(text)) for text in each.instructions] for each in frames]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def leave_out(self, told: Mapping[str, Collection[int]]) -> None:
        """Never draw what was told in some words in some of the sets.

        Args:
            told: the numbers of the sets, for each instruction.

        Raises:
            ValueError: a set has no such instruction, or nothing would be left.
        """
        out = np.zeros(len(self), dtype=bool)
        for words, sets in told.items():
            for which in sets:
                frames = self._frames[which]
                if words not in frames.instructions:
                    raise ValueError(f"expected one of its instructions, {sorted(frames.instructions)}, got {words!r}")
                end = int(self._ends[which])
                out[end - len(frames) : end] |= frames.task == frames.instructions.index(words)
        if out.all():
            raise ValueError("nothing is left to learn from")
        self._draw_from(~out)

    def _draw_from(self, kept: np.ndarray) -> None:
        """Draw among these frames, (F,) bool, as the balance says."""
        counts = np.maximum(np.bincount(self._told, kept), 1.0)
        self._weights = kept * counts[self._told] ** -self._balance  # (F,)
        self._chances = _rising(self._weights)

    def focus(self, errors: np.ndarray, power: float) -> None:
        """Draw a frame more often the worse it is known, by (its error / the mean one) ** power.

        The mean is that of the frames that can be drawn. A frame without an action to learn has no error, and counts as
        a mean one.

        Args:
            errors: (F,) of each frame.
            power: 0 changes nothing.
        """
        learned = np.concatenate([each.valid[:, : self._chunk].any(axis=1) for each in self._frames])  # (F,)
        drawn = learned & (self._weights > 0)
        if drawn.any():
            relative = np.where(learned, np.clip(errors / errors[drawn].mean(), *FOCUS_RANGE), 1.0)
            self._chances = _rising(self._weights * relative**power)

    def plain(self, rows: Sequence[int]) -> tuple[MiniInputs, Targets]:
        """Frames as they were recorded, told in the task's own words."""
        return self._batch([self._sample(row, None) for row in rows])

    def batch(self, number: int, size: int) -> tuple[MiniInputs, Targets]:
        """Batch `number` of `size` samples."""
        generator = np.random.default_rng([self._seed, number])
        drawn = np.searchsorted(
            self._chances, np.sort(generator.random(size)), side="right"
        )  # in the order of the file
        return self._batch([self._sample(int(index), generator) for index in drawn])

    def _batch(self, drawn: Sequence[tuple[np.ndarray, ...]]) -> tuple[MiniInputs, Targets]:
        images, words, states, actions, valid, points, displacement, known = zip(*drawn, strict=True)
        inputs = MiniInputs(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(words)),
            torch.from_numpy(self._states.normalize(np.stack(states)).astype(np.float32)),
        )
        targets = Targets(
            torch.from_numpy(self._actions.normalize(np.stack(actions)).astype(np.float32)),
            torch.from_numpy(np.stack(valid)),
            torch.from_numpy(np.stack(points).astype(np.float32)),
            torch.from_numpy(np.stack(displacement).astype(np.float32)),
            torch.from_numpy(np.stack(known)),
        )
        return inputs, targets

    def noise_seed(self, number: int) -> int:
        """What a denoising head's noise for batch `number` starts from."""
        return int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])

    def _sample(self, index: int, generator: np.random.Generator | None) -> tuple[np.ndarray, ...]:
        """Without a generator nothing varies."""
        which = int(np.searchsorted(self._ends, index, side="right"))
        frames, row = self._frames[which], index - (int(self._ends[which - 1]) if which else 0)
        forms = self._words[which][frames.task[row]]  # (forms, E)
        images, words = frames.images[row], forms[0]
        moved = np.zeros((len(images), 1, 2))  # [image coordinates] of each camera
        if generator is not None:
            if generator.random() < self._augmentation.other_words:
                words = forms[generator.integers(len(forms))]
            shifts = generator.integers(
                -self._augmentation.shift, self._augmentation.shift + 1, (frames.images.shape[1], 2)
            )
            images = np.stack(
                [self._vary(image, shift, generator) for image, shift in zip(images, shifts, strict=True)]
            )  # (N, 3, H, W)
            moved = shifts[:, None] * (2 / images.shape[-1])  # (N, 1, 2)
        chunk = self._chunk
        return (
            images,
            words,
            frames.state[row],
            frames.actions[row, :chunk],
            frames.valid[row, :chunk],
            frames.points[row] + moved,
            frames.offsets[row] / DISPLACEMENT_M,
            frames.known[row],
        )

    def _vary(self, image: Image, shift: np.ndarray, generator: np.random.Generator) -> Image:
        """(3, H, W) -> (3, H, W): shifted right and down by `shift`, with other light."""
        size, border = image.shape[1], self._augmentation.shift
        augmentation = self._augmentation
        contrast = 1 + generator.uniform(-1, 1) * augmentation.contrast
        gains = contrast * (1 + generator.uniform(-1, 1, 3) * augmentation.gain)
        offset = 128 * (1 - contrast) + 255 * augmentation.brightness * generator.uniform(-1, 1)
        table = np.clip(np.arange(256)[None] * gains[:, None] + offset, 0, 255).astype(np.uint8)  # (3, 256)
        lit = np.stack([table[channel][image[channel]] for channel in range(3)])
        if border == 0:
            return lit
        padded = np.pad(lit, ((0, 0), (border, border), (border, border)), mode="edge")
        left, top = border - int(shift[0]), border - int(shift[1])
        return padded[:, top : top + size, left : left + size]


def _rising(weights: np.ndarray) -> np.ndarray:
    """(F,) weights -> (F,) chances that rise to 1."""
    sums = np.cumsum(weights)
    return np.asarray(sums / sums[-1])


def _told(sets: Sequence[Frames]) -> np.ndarray:
    """(F,) one number for each suite and instruction."""
    numbers: dict[tuple[str, str], int] = {}
    parts = []
    for frames in sets:
        pairs = frames.suite * len(frames.instructions) + frames.task  # (F,) within this set
        known, where = np.unique(pairs, return_inverse=True)
        named = [
            (frames.suites[i], frames.instructions[j]) for i, j in (divmod(p, len(frames.instructions)) for p in known)
        ]
        parts.append(np.array([numbers.setdefault(name, len(numbers)) for name in named])[where])
    return np.concatenate(parts)


def as_learned(frames: Frames, embodiment: Embodiment) -> Frames:
    """The same frames, with relative actions as the way from where the robot is (see `Embodiment.relative`)."""
    return replace(frames, actions=frames.actions - embodiment.reference(frames.state)[:, None])  # (F, L, A)


def make_statistics(frames: Sequence[Frames], rotation: int | None) -> dict[str, Any]:
    """Bounds of actions and states.

    Args:
        frames: the sets.
        rotation: first of the three entries of the state that are an axis-angle, or None. They pass unchanged: the
            network turns them into a matrix.

    Raises:
        ValueError: no frame has an action.
    """
    actions = np.concatenate([each.actions[each.valid] for each in frames])  # glances have none
    if not len(actions):
        raise ValueError(
            f"datasets: expected frames with an action to learn, got none in {sum(map(len, frames))} (glances have "
            "none); add demonstrations"
        )
    states = np.concatenate([each.state for each in frames])
    mask = np.ones(states.shape[1], dtype=bool)
    if rotation is not None:
        mask[rotation : rotation + 3] = False
    return {
        "action": {"min": actions.min(0).tolist(), "max": actions.max(0).tolist()},
        "proprio": {"min": states.min(0).tolist(), "max": states.max(0).tolist(), "mask": mask.tolist()},
    }
