"""What moves the joints: a small protocol, so that any physics can stand behind the servos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vla.types import FloatArray


@dataclass(frozen=True, eq=False)
class Drive:
    """What the motors of each joint do together; all (J,).

    A joint's motors exert clip(stiffness * (target - position), -limit, limit) + feed - damping * velocity.

    Attributes:
        target: [rad]
        stiffness: [Nm/rad] 0 when torque is off.
        damping: [Nm s/rad] from the motors' back-EMF.
        limit: [Nm] of the position controller.
        feed: [Nm] commanded directly (current and PWM modes).
    """

    target: FloatArray  # (J,)
    stiffness: FloatArray  # (J,)
    damping: FloatArray  # (J,)
    limit: FloatArray  # (J,)
    feed: FloatArray  # (J,)

    def part(self, joints: slice) -> Drive:
        """For some of the joints."""
        return Drive(
            self.target[joints], self.stiffness[joints], self.damping[joints], self.limit[joints], self.feed[joints]
        )


@dataclass(frozen=True, eq=False)
class Motion:
    """What came of it; all (J,).

    Attributes:
        position: [rad]
        velocity: [rad/s]
        torque: [Nm] exerted by the motors.
    """

    position: FloatArray  # (J,)
    velocity: FloatArray  # (J,)
    torque: FloatArray  # (J,)


class Backend(Protocol):
    """Physics of some joints, such as a simulator or `JointBackend`.

    Attributes:
        joints: their names, `bus/joint`, in the order of all arrays.
    """

    joints: tuple[str, ...]

    def motion(self) -> Motion:
        """How the joints are now, before the first step."""

    def step(self, dt: float, drive: Drive) -> Motion:
        """Move on by `dt` [s]."""
