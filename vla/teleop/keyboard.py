"""A terminal's keys, for when there are no leader arms. A terminal tells of presses only, never of releases."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from vla.types import ActionSpec, FloatArray

MOTION_KEYS = ("ws", "ad", "rf", "uo", "ik", "jl")  # more and less of each entry of a delta that is no gripper
LISTEN_S = 0.05  # [s] in which the listener looks whether it is to end
WITHOUT_LIMIT = 0.01  # of an entry's range: the largest step where the robot names none
DELTA_HELP = (
    "space: take over, hand back.  w s, a d, r f: forward, left, up and back.  u o, i k, j l: turn.  g: gripper.  "
    ": words, then Enter"
)
POSITION_HELP = (
    "space: take over, hand back.  n p: next, previous joint.  k j: more, less.  g: gripper of that arm.  "
    ": words, then Enter"
)


class Keyboard:
    """Commands deltas or joint positions with single keys. Implements `vla.protocols.SpecTeleoperator`.

    A press moves for `press_s`; holding a key repeats it, so the motion goes on. While a person does not command, keys
    do nothing but take over. Nothing has to be aligned: commands begin where the robot was last told to be. Words are
    heard at once, by a thread that listens to the terminal: nobody asks for keys while a robot goes home.

    Args:
        speed: 0 to 1, of the largest step (positions) or of the largest delta.
        press_s: [s] longer than the terminal's key repeat, or motion stutters.
        read: the characters pressed since the last call; None: those of the terminal.

    Attributes:
        say: is told what a person should know.
        on_line: takes a line of words, returns what to say.

    Raises:
        ValueError: a speed or duration that is not possible.
    """

    def __init__(self, speed: float = 0.3, press_s: float = 0.15, read: Callable[[], str] | None = None) -> None:
        if not 0 < speed <= 1 or not press_s > 0:
            raise ValueError(f"teleop.speed, teleop.press_s: expected 0 to 1 and above 0 s, got {speed} and {press_s}")
        self._speed, self._press_s = speed, press_s
        self._read = read
        self._keys: deque[str] = deque()  # not asked for yet
        self._ended = threading.Event()
        self._listener: threading.Thread | None = None
        self._before: list[Any] | None = None  # the terminal's settings
        self._commands, self._typing, self._line = False, False, ""
        self._left, self._selected = 0, 0  # ticks of the present press; which of the entries that are no grippers
        self.say: Callable[[str], object] = lambda text: None
        self.on_line: Callable[[str], str] = lambda line: ""

    def prepare(self, spec: ActionSpec) -> None:
        """Learn the entries of an action.

        Raises:
            ValueError: more deltas than keys.
        """
        self._spec, self._gripper, self._deltas = spec, spec.gripper, spec.kind == "eef_delta"
        self._moved = np.flatnonzero(~spec.gripper)
        if self._deltas and len(self._moved) > len(MOTION_KEYS):
            raise ValueError(f"teleop: the keyboard has keys for {len(MOTION_KEYS)} deltas, got {spec.names}")
        largest = np.where(np.isfinite(spec.max_step), spec.max_step, WITHOUT_LIMIT * (spec.high - spec.low))
        self._step = self._speed * (spec.high if self._deltas else largest)
        self._press = max(1, round(self._press_s * spec.hz))
        self._direction = np.zeros(len(spec.names))
        self._action = np.zeros(len(spec.names))

    def connect(self) -> None:
        """Take single keys from the terminal, without Enter. Ctrl-C still interrupts.

        Raises:
            RuntimeError: standard input is no terminal.
        """
        if self._read is None:
            if not sys.stdin.isatty():
                raise RuntimeError("keyboard: expected a terminal, standard input is none; start it from a shell")
            self._before = termios.tcgetattr(sys.stdin.fileno())
            tty.setcbreak(sys.stdin.fileno())
            self._ended.clear()
            self._listener = threading.Thread(target=self._listen, name="keyboard", daemon=True)
            self._listener.start()
        self.say(DELTA_HELP if self._deltas else POSITION_HELP)

    def wants_control(self) -> bool:
        """Read the keys of this tick; asked once a tick."""
        if self._read is not None:
            self._sort(self._read())
        while self._keys:
            self._take(self._keys.popleft())
        return self._commands

    def align(self, action: FloatArray) -> bool:
        """Commands begin at (A,)."""
        self._action, self._left = action.copy(), 0
        self.say("you command" if self._deltas else f"you command {self._spec.names[self._moved[self._selected]]}")
        return True

    def get_action(self) -> FloatArray:
        """(A,) of this tick."""
        motion = self._step * self._direction if self._left > 0 else np.zeros_like(self._direction)
        self._left -= 1
        if self._deltas:
            self._action = np.where(self._gripper, self._action, motion)
        else:
            self._action = np.clip(self._action + motion, self._spec.low, self._spec.high)
        return self._action.copy()

    def hand_back(self) -> None:
        """As if space had been pressed while the person commands."""
        if self._commands:
            self._commands = False
            self.say("handed back")

    def disconnect(self) -> None:
        """Give the terminal back as it was. Any number of times."""
        if self._before is not None and self._listener is not None:
            self._ended.set()
            self._listener.join()
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)
            self._before = None

    def _listen(self) -> None:
        """Body of the thread."""
        while not self._ended.is_set():
            if (typed := _read_terminal(LISTEN_S)) is None:
                return
            self._sort(typed)

    def _sort(self, typed: str) -> None:
        """Words to whom they concern; keys to the next tick."""
        for key in typed:
            if self._typing:
                self._type(key)
            elif key == ":":
                self._typing, self._line = True, ""
                self.say("words:")
            else:
                self._keys.append(key)

    def _take(self, key: str) -> None:
        if key == " ":
            if self._commands:
                self.hand_back()
            else:
                self._commands = True
        elif self._commands:
            self._command(key)

    def _type(self, key: str) -> None:
        if key in "\r\n":
            self._typing = False
            self.say(self.on_line(self._line))
        elif key in "\b\x7f":
            self._line = self._line[:-1]
        else:
            self._line += key

    def _command(self, key: str) -> None:
        if key == "g":
            self._turn_gripper()
        elif self._deltas:
            for entry, keys in zip(self._moved, MOTION_KEYS, strict=False):
                if key in keys:
                    self._move(int(entry), 1.0 if key == keys[0] else -1.0)
        elif key in "np":
            self._selected = (self._selected + (1 if key == "n" else -1)) % len(self._moved)
            self._left = 0
            self.say(self._spec.names[self._moved[self._selected]])
        elif key in "kj":
            self._move(int(self._moved[self._selected]), 1.0 if key == "k" else -1.0)

    def _move(self, entry: int, sign: float) -> None:
        self._direction = np.zeros_like(self._direction)
        self._direction[entry] = sign
        self._left = self._press

    def _turn_gripper(self) -> None:
        """Open a closed gripper, close an open one: all of a delta's, or the first from the selected joint on."""
        grippers = np.flatnonzero(self._gripper)
        if not self._deltas:
            grippers = grippers[grippers >= self._moved[self._selected]][:1]
        for entry in grippers:
            low, high = self._spec.low[entry], self._spec.high[entry]
            self._action[entry] = low if self._action[entry] > (low + high) / 2 else high


def _read_terminal(patience: float) -> str | None:
    """What is typed within `patience` [s]; comes back with the first of it. None: the terminal is gone."""
    descriptor = sys.stdin.fileno()
    if not select.select([descriptor], [], [], patience)[0]:
        return ""
    try:
        typed = os.read(descriptor, 1024)
    except OSError:
        return None
    return typed.decode(errors="ignore") if typed else None
