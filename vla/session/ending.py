"""Ctrl-C ends the episode politely: the robot holds, the recording is finished. Twice: at once."""

from __future__ import annotations

from typing import Any

from vla.command.processes import StopRequest
from vla.runtime.inbox import Inbox


class Ending(StopRequest):
    """While entered, Ctrl-C and SIGTERM stop the episode and let no other begin.

    Args:
        inbox: of the session; it makes a robot hold at once, also on its way home.
    """

    def __init__(self, inbox: Inbox) -> None:
        super().__init__()
        self._inbox = inbox

    @property
    def reason(self) -> str:
        """Why it ends; empty while there was no signal."""
        return "Ctrl-C" if self.signal_name == "SIGINT" else self.signal_name or ""

    def _note(self, number: int, frame: Any) -> None:
        super()._note(number, frame)
        self._inbox.stop(self.reason, for_good=True)
