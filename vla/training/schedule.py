"""The learning rate over the steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A linear warm-up from a tenth, then constant, then a tenth from `decay_at` on.

    The two are factors of each other. Upstream sets the rate anew at each step once there is a warm-up, and so loses
    its decay.
    """

    peak: float = 5e-4
    warmup: int = 0  # steps
    decay_at: int = 100_000  # step

    def __call__(self, step: int) -> float:
        """The rate of step 0, 1, ..."""
        warm = min(1.0, 0.1 + 0.9 * step / self.warmup) if self.warmup else 1.0
        return self.peak * warm * (0.1 if step >= self.decay_at else 1.0)
