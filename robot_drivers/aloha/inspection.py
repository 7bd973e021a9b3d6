"""What is on a bus, compared with what should be: reads only, never writes."""

from __future__ import annotations

from dataclasses import dataclass

from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import MODEL_NAMES, ArmLayout, ServoLayout
from robot_drivers.dynamixel.bus import Bus
from robot_drivers.dynamixel.errors import BusError, CorruptReply, NoReply, hardware_errors

TRIES = 3


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Attributes:
        id: of the servo.
        text: what, expected, got.
        remedy: what to do.
        register: of EEPROM that differs; empty for anything else.
    """

    id: int
    text: str
    remedy: str
    register: str = ""

    def __str__(self) -> str:
        return f"ID {self.id}: {self.text}. {self.remedy}"


def inspect(bus: Bus, layout: ArmLayout, config: ArmConfig) -> list[Problem]:
    """All problems of an arm, worst first: identity, errors, supply, EEPROM, shadows.

    Raises:
        Unplugged: the port is gone.
    """
    problems: list[Problem] = []
    for servo in layout.servos:
        problem = _identity(bus, servo)
        if problem is not None:
            problems.append(problem)
            continue
        try:
            problems += [*_condition(bus, servo, config), *_eeprom(bus, servo)]
        except (NoReply, CorruptReply) as error:
            problems.append(Problem(servo.id, str(error).rstrip("."), "It answered before: look for a loose cable."))
    return problems if problems else shadow_gaps(bus, layout, config)


def shadow_gaps(bus: Bus, layout: ArmLayout, config: ArmConfig) -> list[Problem]:
    """Joints whose two servos do not agree where they are.

    Raises:
        BusError: see `errors`.
    """
    problems = []
    for first, second in layout.shadows:
        servo = layout.servo(second)
        at = [bus.read(id, servo.model["present_position"]) for id in (first, second)]
        if abs(at[0] - at[1]) > config.shadow_gap:
            problems.append(
                Problem(
                    second,
                    f"{servo.joint}: expected its two servos within {config.shadow_gap} ticks, got {at[0]} "
                    f"(ID {first}) and {at[1]} (ID {second})",
                    "They would fight. With torque off, correct homing_offset of the shadow and look again: "
                    "the sign differs between firmwares.",
                )
            )
    return problems


def _identity(bus: Bus, servo: ServoLayout) -> Problem | None:
    corrupt = 0
    for _ in range(TRIES):
        try:
            model = bus.ping(servo.id).model
        except CorruptReply:
            corrupt += 1
        except BusError as error:
            if not isinstance(error, NoReply):
                raise
        else:
            if model == servo.model.number:
                return None
            got = MODEL_NAMES.get(model, "unknown")
            return Problem(
                servo.id,
                f"{servo.joint}: expected {servo.model.name} ({servo.model.number}), got {got} ({model})",
                "Are the ports of leader and follower swapped? Otherwise correct the layout.",
            )
    if corrupt == TRIES:
        return Problem(
            servo.id,
            f"{servo.joint}: expected one servo with this ID, got replies that overlap",
            "Two servos with one ID look like this: connect them one at a time and give each its own.",
        )
    return Problem(
        servo.id,
        f"{servo.joint}: expected {servo.model.name}, got no answer",
        "Check 12 V, the 3-pin cables from this joint on, and that the baud rate is 1 Mbps (factory: 57600).",
    )


def _condition(bus: Bus, servo: ServoLayout, config: ArmConfig) -> list[Problem]:
    table = servo.model.registers
    problems = []
    if error := bus.read(servo.id, table["hardware_error_status"]):
        problems.append(
            Problem(
                servo.id,
                f"{servo.joint}: expected no hardware error, got {', '.join(hardware_errors(error))}",
                "Remove the cause, let it cool; with somebody supporting the arm, bring it back by scripts/revive.py.",
            )
        )
    volts = float(table["present_input_voltage"].scale.decode(bus.read(servo.id, table["present_input_voltage"])))
    if volts < config.warmth.low_voltage:
        text = f"{servo.joint}: expected at least {config.warmth.low_voltage} V, got {volts:.1f} V"
        problems.append(Problem(servo.id, text, "Check the 12 V supply and its plug."))
    degrees = bus.read(servo.id, table["present_temperature"])
    if degrees >= config.warmth.stop:
        text = f"{servo.joint}: expected less than {config.warmth.stop:.0f} degC, got {degrees} degC"
        problems.append(Problem(servo.id, text, "Let it cool for 20 minutes."))
    return problems


def _eeprom(bus: Bus, servo: ServoLayout) -> list[Problem]:
    problems = []
    for name, expected in servo.eeprom.items():
        got = bus.read(servo.id, servo.model[name])
        if got != expected:
            text = f"{servo.joint}: expected {name} {expected}, got {got}"
            remedy = "Arm once with write_eeprom=True, the arm lying at rest."
            problems.append(Problem(servo.id, text, remedy, register=name))
    return problems
