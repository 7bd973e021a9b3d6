"""Nobody is there."""

from __future__ import annotations

from vla.types import FloatArray


class Absent:
    """Implements `vla.protocols.Teleoperator`: never wants control."""

    def connect(self) -> None:
        """Nothing to open."""

    def get_action(self) -> FloatArray:
        """There is none.

        Raises:
            RuntimeError: always; nobody who is absent was given control.
        """
        raise RuntimeError("Absent.get_action: nobody is there to command; ask wants_control() first")

    def wants_control(self) -> bool:
        """Never."""
        return False

    def align(self, action: FloatArray) -> bool:
        """There is nothing to bring anywhere."""
        return False

    def disconnect(self) -> None:
        """Nothing to close."""
