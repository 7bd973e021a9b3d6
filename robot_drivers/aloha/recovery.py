"""A gripper that pressed too long switches itself off; this brings it back, once in a while and without waiting.

Only the gripper: an arm's joint that reboots drops what is above it.
"""

from __future__ import annotations

from contextlib import suppress

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.layout import GRIPPER_ID
from robot_drivers.dynamixel.errors import BusError, CorruptReply, NoReply, Unplugged, hardware_errors

APART = 10.0  # [s] at least, between two reboots
SETTLE, PATIENCE, AGAIN = 0.5, 2.0, 0.1  # [s] after a reboot, until the first ping, until giving up, between pings


class GripperRecovery:
    """Reboots the gripper after an overload, pings it until it is back, restores its RAM.

    Args:
        arm: whose gripper.

    Attributes:
        silent: IDs that do not answer because they are rebooting.
        failed: why the gripper was left alone; empty while it was not.
    """

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._servo = arm.layout.servo(GRIPPER_ID)
        self._last = float("-inf")
        self._ping_at, self._give_up_at = 0.0, 0.0
        self.silent: frozenset[int] = frozenset()
        self.failed = ""

    def clear(self) -> None:
        """An operator has looked at it."""
        self.failed = ""

    def step(self, alerts: frozenset[int], now: float, until: float) -> str:
        """One tick; an event in words, or nothing.

        Args:
            alerts: IDs that report a hardware error.
            now: [s]
            until: [s] when a ping must be over.

        Raises:
            Unplugged: the port is gone.
        """
        try:
            if self.silent:
                return self._wait(now, until)
            if GRIPPER_ID not in alerts or self.failed:
                return ""
            return self._begin(now)
        except Unplugged:
            raise
        except BusError as error:
            return f"{self._where}: {error}"

    @property
    def _where(self) -> str:
        return f"{self._arm.bus.name} gripper (ID {GRIPPER_ID})"

    def _begin(self, now: float) -> str:
        status = self._arm.bus.read(GRIPPER_ID, self._servo.model["hardware_error_status"])
        if not status:
            return ""
        why = ", ".join(hardware_errors(status))
        if now - self._last < APART:
            self.failed = (
                f"{self._where}: {why} again within {APART:.0f} s; it stays off. Look what it holds, then go_to"
            )
            return self.failed
        self._last, self._ping_at, self._give_up_at = now, now + SETTLE, now + PATIENCE
        self.silent = frozenset({GRIPPER_ID})
        with suppress(NoReply, CorruptReply):  # it may be rebooting all the same; the pings will tell
            self._arm.bus.reboot(GRIPPER_ID)
        return f"{self._where}: {why}; rebooting it"

    def _wait(self, now: float, until: float) -> str:
        if now < self._ping_at:
            return ""
        try:
            self._arm.bus.ping(GRIPPER_ID, until=until)
        except Unplugged:
            raise
        except BusError:
            return self._again(now, "no answer", "check its cable")
        try:
            restored = self._arm.recover(self._servo)
        except Unplugged:
            raise
        except BusError as error:  # such as one that is still too hot
            return self._again(now, str(error), "let it cool, look what it holds, then go_to")
        self.silent = frozenset()
        return f"{self._where}: back, restored {', '.join(restored)}"

    def _again(self, now: float, why: str, remedy: str) -> str:
        self._ping_at = now + AGAIN
        if now < self._give_up_at:
            return ""
        self.silent = frozenset()
        self.failed = f"{self._where}: not back {PATIENCE:.0f} s after its reboot: {why}; {remedy}"
        return self.failed
