"""What temperature, voltage, silence and disagreement of servos mean for the motion."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import GRIPPER_ID, ArmLayout
from robot_drivers.aloha.state import ArmState

SHADOW_TICKS = 5  # so many ticks in a row must two servos of a joint disagree


class Pace(IntEnum):
    """How the arm may move; torque is never taken away."""

    FULL = 0
    SLOW = 1
    HOLD = 2


@dataclass(frozen=True)
class Verdict:
    """What a state means.

    Attributes:
        pace: how the arm may move.
        events: what an operator should know, in words.
        reason: why the arm must hold; empty if it need not.
    """

    pace: Pace
    events: tuple[str, ...] = ()
    reason: str = ""


class Health:
    """Judges the states of one arm.

    Args:
        name: of the arm, for messages.
        layout: its servos.
        config: thresholds.
    """

    def __init__(self, name: str, layout: ArmLayout, config: ArmConfig) -> None:
        self._name, self._layout, self._config = name, layout, config
        self._who = {servo.id: f"{name} {servo.joint} (ID {servo.id})" for servo in layout.servos}
        self._apart = dict.fromkeys(layout.shadows, 0)

    def judge(self, state: ArmState, excused: frozenset[int] = frozenset()) -> Verdict:
        """How the arm may move.

        Args:
            state: newest.
            excused: IDs that are silent for a known reason.
        """
        events: list[str] = []
        holds: list[str] = []
        slow = False
        for id, servo in state.servos.items():
            if id in excused:
                continue
            who, warmth = self._who[id], self._config.warmth
            if servo.temperature >= warmth.stop:
                holds.append(f"{who}: {servo.temperature:.0f} degC, at most {warmth.stop:.0f}; let it cool for 20 min")
            elif servo.temperature >= warmth.slow:
                slow = True
                events.append(f"{who}: {servo.temperature:.0f} degC, slowed down")
            elif servo.temperature >= warmth.warn:
                events.append(f"{who}: {servo.temperature:.0f} degC")
            if servo.voltage < warmth.low_voltage:
                events.append(f"{who}: {servo.voltage:.1f} V, at least {warmth.low_voltage:.1f}; check the supply")
            silent = state.stale.get(id, 0)
            if silent > self._config.watch.stale_ticks:
                what, remedy = f"no answer for {silent} ticks", "check its cables"
                if id in state.impossible:
                    what = f"says for {silent} ticks that it is where it cannot be"
                    remedy = "look at joint and encoder, then start anew"
                holds.append(f"{who}: {what}; {remedy}")
            if id in state.alerts and id != GRIPPER_ID:
                holds.append(
                    f"{who}: hardware error, its motor is off; support the arm, remove load or heat, then bring it "
                    "back with scripts/revive.py, a leader by switching its power off and on"
                )
        holds += self._disagreements(state)
        pace = Pace.HOLD if holds else Pace.SLOW if slow else Pace.FULL
        return Verdict(pace, (*events, *holds), holds[0] if holds else "")

    def _disagreements(self, state: ArmState) -> list[str]:
        found = []
        for pair in self._apart:
            gap = abs(state.servos[pair[0]].position - state.servos[pair[1]].position)
            self._apart[pair] = self._apart[pair] + 1 if gap >= 2 * self._config.shadow_gap else 0
            if self._apart[pair] > SHADOW_TICKS:
                joint = self._layout.servo(pair[0]).joint
                found.append(
                    f"{self._name} {joint}: its two servos (IDs {pair[0]}, {pair[1]}) differ by {gap} ticks; "
                    "they fight: compare their homing offsets"
                )
        return found
