"""Success is gym-aloha's highest reward, by name."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from envs.aloha.predicates import Contacts, cube_in_left_gripper, cube_on_table, cube_transferred, peg_inserted

LEFT, RIGHT = "vx300s_left/10_left_gripper_finger", "vx300s_right/10_right_gripper_finger"
OTHER_FINGER = "vx300s_left/10_right_gripper_finger"


def contacts(*pairs: tuple[str, str]) -> Contacts:
    names = sorted({name for pair in pairs for name in pair})
    model = SimpleNamespace(geom=lambda index: SimpleNamespace(name=names[index]))
    geoms = np.array([[names.index(first), names.index(second)] for first, second in pairs]).reshape(-1, 2)
    return Contacts(model, SimpleNamespace(contact=SimpleNamespace(geom=geoms)))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], False),
        ([("red_box", "table")], False),
        ([("red_box", RIGHT)], False),
        ([("red_box", OTHER_FINGER)], False),
        ([("red_box", LEFT), ("red_box", "table")], False),
        ([("red_box", LEFT)], True),
        ([("red_box", LEFT), ("red_box", RIGHT)], True),
        ([(LEFT, "red_box"), ("table", RIGHT)], True),
    ],
)
def test_the_cube_is_transferred_when_the_left_finger_has_it_in_the_air(pairs, expected):
    assert cube_transferred(contacts(*pairs)) is expected


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], False),
        ([("red_peg", "socket-1"), ("red_peg", "socket-4")], False),
        ([("pin", "table")], False),
        ([("red_peg", "pin")], True),
        ([("pin", "red_peg"), ("socket-1", "table")], True),  # upstream's last stage asks for the pin only
    ],
)
def test_the_peg_is_inserted_when_it_touches_the_pin(pairs, expected):
    assert peg_inserted(contacts(*pairs)) is expected


def test_the_parts_of_success_have_names():
    both = contacts(("red_box", LEFT), ("table", "red_box"))
    assert cube_in_left_gripper(both)
    assert cube_on_table(both)
    assert both.touch("table", "red_box")
    assert not both.touch("table", LEFT)
