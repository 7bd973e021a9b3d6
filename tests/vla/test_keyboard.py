"""Keys become actions: deltas, joints, grippers, words; a real pseudo-terminal gives keys without Enter."""

from __future__ import annotations

import io
import os
import pty
import sys
import termios
import threading

import numpy as np
import pytest

from tests.fakes import ROBOT_SPEC
from vla.protocols import ReleasableTeleoperator, SpecTeleoperator
from vla.runtime.shared_control import SharedControl
from vla.teleop.keyboard import MOTION_KEYS, Keyboard
from vla.types import ActionSpec, Commander, Observation

DELTAS = ActionSpec("eef_delta", (*"xyzabc", "gripper"), -np.ones(7), np.ones(7), np.full(7, np.inf), 20.0)


class Keys:
    """Each call gives the keys of the next tick."""

    def __init__(self, *ticks):
        self.ticks = list(ticks)

    def __call__(self):
        return self.ticks.pop(0) if self.ticks else ""


def play(spec, *ticks, count=None, **options):
    """Actions (T, A) and commanders of a session with nobody but the keyboard."""
    keyboard = Keyboard(read=Keys(*ticks), **options)
    assert isinstance(keyboard, SpecTeleoperator)
    keyboard.prepare(spec)
    keyboard.connect()
    control = SharedControl(None, keyboard)
    control.reset(spec)
    seen = Observation({}, np.array([0.5, 0.0, 0.2]) if spec is ROBOT_SPEC else np.zeros(8), "go", 0.0)
    actions, commanders = [], []
    for _ in range(count or len(ticks)):
        actions.append(control.next_action(seen))
        commanders.append(control.commander)
    keyboard.disconnect()
    return np.array(actions), commanders


def test_every_delta_has_two_keys_and_a_press_lasts_a_while():
    for entry, keys in enumerate(MOTION_KEYS):
        for key, sign in zip(keys, (1, -1), strict=True):
            actions, commanders = play(DELTAS, " ", key, count=7, speed=0.5, press_s=0.15)
            assert commanders == [Commander.PERSON] * 7
            np.testing.assert_allclose(actions[:, entry], [0, *[0.5 * sign] * 3, 0, 0, 0])
            assert np.abs(np.delete(actions, entry, axis=1)).max() == 0


def test_the_gripper_turns_round_and_keeps_its_command_when_handed_back():
    actions, commanders = play(DELTAS, " ", "g", "w", "g", " ", "")
    np.testing.assert_allclose(actions[:, 6], [0, 1, 1, -1, -1, -1])
    assert commanders[-2:] == [Commander.NOBODY] * 2
    np.testing.assert_allclose(actions[-2:, :6], 0)


def test_joints_are_selected_and_moved_from_where_the_robot_was_told_to_be():
    actions, _ = play(ROBOT_SPEC, "", " ", "k", "", "nj", "g", "pk", count=8, speed=0.5, press_s=0.04)
    np.testing.assert_allclose(actions[:, 0], [0.5, 0.5, 0.53, 0.56, 0.56, 0.56, 0.59, 0.62], atol=1e-9)
    np.testing.assert_allclose(actions[:, 1], [0, 0, 0, 0, -0.03, -0.06, -0.06, -0.06], atol=1e-9)
    np.testing.assert_allclose(actions[:, 2], [0.2] * 5 + [1.0] * 3)
    limited, _ = play(ROBOT_SPEC, " ", *["k"] * 30, speed=1.0)
    assert limited[-1, 0] == 1.0


def test_keys_of_somebody_who_does_not_command_do_nothing():
    actions, commanders = play(ROBOT_SPEC, "kgn", "w", "")
    assert commanders == [Commander.NOBODY] * 3
    np.testing.assert_allclose(actions, [[0.5, 0.0, 0.2]] * 3)


def test_it_can_be_released_like_leader_arms():
    keyboard, said = Keyboard(read=Keys(" ", "", "")), []
    keyboard.prepare(ROBOT_SPEC)
    keyboard.say = said.append
    assert isinstance(keyboard, ReleasableTeleoperator)
    assert keyboard.wants_control()
    keyboard.hand_back()
    keyboard.hand_back()
    assert not keyboard.wants_control()
    assert said == ["handed back"]


def test_words_are_typed_after_a_colon():
    lines, said = [], []
    keyboard = Keyboard(read=Keys(":go lef", "", "fx\x7f\x7ft\n", " "))
    keyboard.prepare(ROBOT_SPEC)
    keyboard.say, keyboard.on_line = said.append, lambda line: lines.append(line) or "heard"
    assert [keyboard.wants_control() for _ in range(4)] == [False, False, False, True]
    assert lines == ["go left"]
    assert said == ["words:", "heard"]


def test_a_real_terminal_gives_single_keys_and_is_given_back(monkeypatch):
    master, slave = pty.openpty()
    terminal = os.fdopen(slave, "r")
    monkeypatch.setattr(sys, "stdin", terminal)
    before = termios.tcgetattr(slave)
    keyboard = Keyboard()
    keyboard.prepare(DELTAS)
    keyboard.connect()
    assert not termios.tcgetattr(slave)[3] & termios.ICANON
    heard, lines = threading.Event(), []
    keyboard.on_line = lambda line: lines.append(line) or heard.set() or ""
    os.write(master, b" :/stop\n")
    assert heard.wait(10)  # though nobody has asked for keys
    assert lines == ["/stop"]
    assert keyboard.wants_control()
    assert keyboard.wants_control()  # nothing typed: does not wait
    keyboard.disconnect()
    keyboard.disconnect()
    assert termios.tcgetattr(slave)[3] == before[3]
    terminal.close()
    os.close(master)


def test_what_cannot_be_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    keyboard = Keyboard()
    keyboard.prepare(ROBOT_SPEC)
    with pytest.raises(RuntimeError, match="expected a terminal"):
        keyboard.connect()
    many = ActionSpec("eef_delta", tuple("abcdefgh"), -np.ones(8), np.ones(8), np.ones(8), 20.0)
    with pytest.raises(ValueError, match="keys for 6 deltas"):
        keyboard.prepare(many)
    for options in ({"speed": 0}, {"speed": 2}, {"press_s": 0}):
        with pytest.raises(ValueError, match=r"teleop\.speed"):
            Keyboard(**options)
