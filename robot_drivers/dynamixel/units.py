"""Raw register values <-> physical units.

Factors are those of ROBOTIS' control tables (emanual.robotis.com, X series). The servo itself applies the direction
of Drive_Mode bit 0, so the formulas are the same for every joint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.types import FloatArray

IntArray = npt.NDArray[np.int64]

TICKS_PER_TURN = 4096
RPM = 2 * math.pi / 60  # [rad/s] of one turn a minute


@dataclass(frozen=True)
class Scale:
    """value = (raw - zero) * factor.

    Attributes:
        unit: of the value, such as `rad`.
        factor: value of one raw unit.
        zero: the raw value that means 0.
    """

    unit: str
    factor: float
    zero: int = 0

    def decode(self, raw: npt.ArrayLike) -> FloatArray:
        """Raw integers of any shape -> values of the same shape."""
        return np.asarray((np.asarray(raw, dtype=np.float64) - self.zero) * self.factor)

    def encode(self, value: npt.ArrayLike) -> IntArray:
        """Values of any shape -> the nearest raw integers of the same shape.

        Raises:
            ValueError: NaN or infinity, which would become an arbitrary position.
        """
        values = np.asarray(value, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"value [{self.unit}]: expected finite numbers, got {values}; nothing may be written")
        return np.asarray(np.rint(values / self.factor) + self.zero).astype(np.int64)


RAW = Scale("raw", 1.0)
POSITION = Scale("rad", 2 * math.pi / TICKS_PER_TURN, zero=2048)
ANGLE = Scale("rad", 2 * math.pi / TICKS_PER_TURN)  # a difference of positions, such as a homing offset
VELOCITY = Scale("rad/s", 0.229 * RPM)
ACCELERATION = Scale("rad/s^2", 214.577 * RPM / 60)
CURRENT = Scale("A", 2.69e-3)
LOAD = Scale("1", 1e-3)  # share of the largest torque
PWM = Scale("1", 1.13e-3)  # share of the full voltage
VOLTAGE = Scale("V", 0.1)
TEMPERATURE = Scale("degC", 1.0)
WATCHDOG = Scale("s", 0.02)
RETURN_DELAY = Scale("s", 2e-6)
TICK = Scale("s", 1e-3)
