"""From an open port to an arm that holds, in an order in which nothing moves; or a refusal that lists every reason."""

from __future__ import annotations

from collections.abc import Sequence

from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.inspection import Problem, inspect, shadow_gaps
from robot_drivers.aloha.layout import ArmLayout
from robot_drivers.aloha.ram import differences, read_ram, restore, wanted
from robot_drivers.dynamixel.bus import Bus


class ArmingRefused(RuntimeError):
    """The arm is not as it should be; nothing was switched on.

    Attributes:
        problems: each with what to do.
    """

    def __init__(self, bus: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{bus}: not armed.\n" + "\n".join(f"  {problem}" for problem in problems))


def arm(bus: Bus, layout: ArmLayout, config: ArmConfig, *, torque: bool = True, write_eeprom: bool = False) -> None:
    """Check everything, set RAM, let each servo's goal be where it stands, switch torque on, and read back.

    An arm that holds already, as after its host was killed, keeps holding: torque never goes off here.

    Args:
        bus: open.
        layout: what must be there.
        config: what RAM must hold.
        torque: False leaves the motors as they are, for leaders.
        write_eeprom: set EEPROM values that differ. Without it they are a reason to refuse.

    Raises:
        ArmingRefused: with every problem found.
        BusError: see `errors`.
    """
    problems = inspect(bus, layout, config)
    if write_eeprom and problems and all(problem.register for problem in problems):
        _write_eeprom(bus, layout, problems)
        problems = inspect(bus, layout, config)
    if problems:
        raise ArmingRefused(bus.name, problems)
    # Shadows copy what is written to their primaries, so primaries come first and shadows end with their own values.
    for servo in sorted(layout.servos, key=lambda servo: servo.shadows is not None):
        restore(bus, servo, config, torque=torque)
    _verify(bus, layout, config, torque=torque)


def _write_eeprom(bus: Bus, layout: ArmLayout, problems: Sequence[Problem]) -> None:
    """Only what differs: EEPROM wears out."""
    holding = [servo.id for servo in layout.servos if bus.read(servo.id, servo.model["torque_enable"])]
    if holding:
        texts = "EEPROM can only be written with torque off, and this servo's is on"
        remedy = "Support the arm, or move it to rest; switch torque off; then arm again."
        raise ArmingRefused(bus.name, [Problem(id, texts, remedy) for id in holding])
    for problem in problems:
        servo = layout.servo(problem.id)
        bus.write(servo.id, servo.model[problem.register], servo.eeprom[problem.register])


def _verify(bus: Bus, layout: ArmLayout, config: ArmConfig, *, torque: bool) -> None:
    problems = []
    for servo in layout.servos:
        found, expected = read_ram(bus, servo), wanted(servo, config, torque=torque)
        for name in differences(found, expected):
            if torque or name != "torque_enable":
                text = f"{servo.joint}: expected {name} {expected[name]} after it was written, got {found[name]}"
                problems.append(Problem(servo.id, text, "Reboot the servo, and look for a second program on the port."))
    if problems := problems or shadow_gaps(bus, layout, config):
        raise ArmingRefused(bus.name, problems)
