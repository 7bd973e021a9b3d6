"""The profile generator of the servos: how the set point moves to the goal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.types import FloatArray

# In place of infinity, which would turn into NaN: so fast that every goal is reached within one step.
ANY_SPEED = 1e9  # [ticks/s]
ANY_ACCELERATION = 1e12  # [ticks/s^2]


@dataclass(eq=False)
class Profile:
    """Trajectories of N servos.

    Attributes:
        position: [ticks] (N,) the set point now.
        velocity: [ticks/s] (N,)
        goal: [ticks] (N,)
        speed: [ticks/s] (N,) the largest; ANY_SPEED makes the set point jump.
        acceleration: [ticks/s^2] (N,) the largest; ANY_ACCELERATION for a rectangular profile.
    """

    position: FloatArray  # (N,)
    velocity: FloatArray  # (N,)
    goal: FloatArray  # (N,)
    speed: FloatArray  # (N,)
    acceleration: FloatArray  # (N,)

    @classmethod
    def at(cls, position: FloatArray) -> Profile:
        """Standing still, without limits."""
        speed, acceleration = np.full_like(position, ANY_SPEED), np.full_like(position, ANY_ACCELERATION)
        return cls(position.copy(), np.zeros_like(position), position.copy(), speed, acceleration)

    @property
    def ongoing(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the set point has not arrived."""
        return np.asarray(self.position != self.goal)

    def halt(self, servo: int, position: float) -> None:
        """Set point and goal of one servo at `position` [ticks], standing."""
        self.position[servo] = self.goal[servo] = position
        self.velocity[servo] = 0.0

    def toward_goal(self, dt: float, chosen: npt.NDArray[np.bool_]) -> None:
        """Move the set points of the `chosen` (N,) servos on by `dt` [s]: accelerate, cruise, brake."""
        remaining = self.goal - self.position
        distance = np.abs(remaining)
        change = self.acceleration * dt
        # The speed from which it can still brake, looked at in steps of dt.
        braking = np.sqrt((change / 2) ** 2 + 2 * self.acceleration * distance) - change / 2
        wanted = np.sign(remaining) * np.minimum(self.speed, braking)
        velocity = np.clip(wanted, self.velocity - change, self.velocity + change)
        arrived = (np.abs(velocity) * dt >= distance) & (np.abs(velocity) <= change)
        self._move(
            chosen, np.where(arrived, self.goal, self.position + velocity * dt), np.where(arrived, 0.0, velocity)
        )

    def at_speed(self, dt: float, chosen: npt.NDArray[np.bool_], wanted: FloatArray) -> None:
        """Let the set points of the `chosen` (N,) servos run at the `wanted` (N,) speed [ticks/s]."""
        change = self.acceleration * dt
        velocity = np.clip(wanted, self.velocity - change, self.velocity + change)
        self._move(chosen, self.position + velocity * dt, velocity)
        self.goal = np.where(chosen, self.position, self.goal)

    def _move(self, chosen: npt.NDArray[np.bool_], position: FloatArray, velocity: FloatArray) -> None:
        self.position = np.where(chosen, position, self.position)
        self.velocity = np.where(chosen, velocity, self.velocity)
