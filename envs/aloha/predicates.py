"""What touches what, and when a task is solved: gym-aloha's highest reward, in words.

Source: gym-aloha 0.1.5, gym_aloha/tasks/sim.py, where success is a reward of 4.
"""

from __future__ import annotations

from typing import Any

LEFT_FINGER = "vx300s_left/10_left_gripper_finger"


class Contacts:
    """The geoms that touch each other at one moment.

    Args:
        model, data: MuJoCo's, with contacts up to date; they are read once.
    """

    def __init__(self, model: Any, data: Any) -> None:
        self._pairs = {
            frozenset((model.geom(int(first)).name, model.geom(int(second)).name))
            for first, second in data.contact.geom
        }

    def touch(self, first: str, second: str) -> bool:
        """Whether two geoms touch."""
        return frozenset((first, second)) in self._pairs


def cube_in_left_gripper(contacts: Contacts) -> bool:
    """The left finger of the left arm touches the cube; upstream does not ask for the other finger."""
    return contacts.touch("red_box", LEFT_FINGER)


def cube_on_table(contacts: Contacts) -> bool:
    """The cube touches the table."""
    return contacts.touch("red_box", "table")


def cube_transferred(contacts: Contacts) -> bool:
    """The left arm has the cube, in the air."""
    return cube_in_left_gripper(contacts) and not cube_on_table(contacts)


def peg_inserted(contacts: Contacts) -> bool:
    """The peg touches the pin, which begins 2 cm inside the socket.

    Upstream's last stage asks no more. That both are lifted is asked by the stages before, and follows as a rule: the
    socket's bottom is 4 mm high, so no peg slides in over the table.
    """
    return contacts.touch("red_peg", "pin")


SUCCESS = {"transfer_cube": cube_transferred, "insertion": peg_inserted}
