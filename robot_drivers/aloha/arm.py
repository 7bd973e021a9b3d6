"""One arm on its bus: states out, goals in."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from robot_drivers.aloha.arming import arm
from robot_drivers.aloha.calibration import to_ticks
from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import ArmLayout, ServoLayout
from robot_drivers.aloha.ram import goal_ticks, restore
from robot_drivers.aloha.state import ADDRESS, LENGTH, ArmState, StateKeeper
from robot_drivers.aloha.torque import switch_off, switch_on
from robot_drivers.clock import Clock
from robot_drivers.dynamixel.bus import Bus
from robot_drivers.dynamixel.packet import OVERHEAD
from vla.types import FloatArray

DELAYS = 0.003  # [s] of an answer, beside its bytes: the servos' return delays and the adapter's latency timer


class Arm:
    """Reads and writes; what to write is the worker's business.

    Args:
        bus: of the arm.
        layout: its servos.
        config: its behaviour.
        clock: for the times of states.

    Attributes:
        bus, layout, config: as given.
        torque: by ID, whether its motor ought to be on.
        fast: whether all servos answer fast reads; found out when connecting.
    """

    def __init__(self, bus: Bus, layout: ArmLayout, config: ArmConfig, clock: Clock) -> None:
        self.bus, self.layout, self.config = bus, layout, config
        self.torque = dict.fromkeys(layout.ids, False)
        self.fast = False
        self._clock = clock
        self._keeper = StateKeeper(layout)  # anew in `connect`: between two sessions somebody may move the arm
        self._goal = layout.servos[0].model["goal_position"]

    def connect(self, *, torque: bool, write_eeprom: bool = False) -> None:
        """Open the port, check the arm and take hold of it without moving it.

        Raises:
            ArmingRefused, BusError: the port is closed again.
        """
        self.bus.open()
        self._keeper = StateKeeper(self.layout)
        try:
            arm(self.bus, self.layout, self.config, torque=torque, write_eeprom=write_eeprom)
            self.fast = not self.bus.sync_read(self.layout.ids, ADDRESS, LENGTH, fast=True).missing
            for servo in self.layout.servos:
                self.torque[servo.id] = bool(self.bus.read(servo.id, servo.model["torque_enable"]))
                if self.torque[servo.id] and not torque:  # a leader whose host died in the middle still holds
                    restore(self.bus, servo, self.config, torque=True)
        except BaseException:
            self.bus.close()
            raise

    def read(self, silent: frozenset[int] = frozenset(), until: float = math.inf) -> ArmState | None:
        """The state of all servos. Who does not answer is asked a second time, if there is time for an answer.

        Args:
            silent: IDs not to ask, because they are rebooting.
            until: [s] when it must be over. A reading that is a tick old is better than a tick that is late.

        Returns:
            None while a servo has never answered.

        Raises:
            Unplugged: the port is gone.
        """
        asked = [id for id in self.layout.ids if id not in silent]
        replies = self.bus.sync_read(asked, ADDRESS, LENGTH, fast=self.fast, until=until)
        statuses = dict(replies.statuses)
        answer = self.bus.patience.wire(len(replies.missing) * (OVERHEAD + 1 + LENGTH)) + DELAYS
        if replies.missing and self._clock.now() + answer < until:
            statuses |= self.bus.sync_read(replies.missing, ADDRESS, LENGTH, until=until).statuses
        return self._keeper.update(statuses, tuple(self.bus.alerts), self._clock.now(), self._driven())

    def write_goals(self, goal: FloatArray, without: Collection[int] = ()) -> None:
        """Send goals, within the limits that the servos have themselves.

        Args:
            goal: [rad] (7,) six joints, then the gripper's servo.
            without: IDs that get none.

        Raises:
            Unplugged: the port is gone.
        """
        servos = [servo for servo in self.layout.primaries if self.torque[servo.id] and servo.id not in without]
        ticks = dict(zip((servo.id for servo in self.layout.primaries), to_ticks(goal), strict=True))
        if servos:
            self.bus.sync_write(self._goal, {servo.id: goal_ticks(servo, ticks[servo.id]) for servo in servos})

    def set_torque(self, servos: Collection[ServoLayout], on: bool) -> None:
        """Switch motors and their shadows on, where they stand, or off. Off lets the joints fall.

        Those that ought to be on already are left alone: that they are is watched.

        Raises:
            BusError: see `errors`; some may have been switched.
        """
        ids = {servo.id for servo in servos}
        members = [servo for servo in self.layout.servos if not ids.isdisjoint((servo.id, servo.shadows))]
        with self.bus.line():
            if on:
                members = [servo for servo in members if not self.torque[servo.id]]
            self.torque |= dict.fromkeys((servo.id for servo in members), on)
            if not on:
                switch_off(self.bus, members)
            elif members:
                switch_on(self.bus, members, self.config)

    def recover(self, servo: ServoLayout) -> tuple[str, ...]:
        """Bring one servo back to what it must be, without motion; the registers that were wrong.

        Raises:
            BusError: see `errors`.
        """
        wrong = restore(self.bus, servo, self.config, torque=self.torque[servo.id])
        self._keeper.forget(servo.id)
        return wrong

    def release_watchdogs(self) -> None:
        """Let the arm hold for ever without a host: the last thing before the port closes.

        Raises:
            BusError: see `errors`.
        """
        for servo in self.layout.servos:
            self.bus.write(servo.id, servo.model["bus_watchdog"], 0)

    def at_rest(self, state: ArmState, tolerance: float = 0.15) -> bool:
        """Whether every joint is within `tolerance` [rad] of where it can lie without torque."""
        return bool(np.all(np.abs(state.position[:6] - self.layout.rest) < tolerance))

    def _driven(self) -> list[int]:
        return [id for id, on in self.torque.items() if on]
