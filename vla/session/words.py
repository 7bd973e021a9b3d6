"""Typed lines become other words, or end the episode."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from vla.runtime.inbox import Inbox

HELP = (
    "Type other words for the robot, /done when the task is done, /stop to end the episode; Enter alone (a foot pedal "
    "can type it) hands control back."
)


def hear(line: str, inbox: Inbox, release: Callable[[], object]) -> str:
    """Take one line: words, `/done`, `/stop`, or an empty line.

    Args:
        line: as typed.
        inbox: is told.
        release: is called for an empty line: the person hands back.

    Returns:
        What to answer; empty if nothing need be said.
    """
    text = line.strip()
    if text == "/done":
        inbox.succeed()
        return "done"
    if text == "/stop":
        inbox.stop("/stop was typed")
        return "stopping"
    if text.startswith("/"):
        return f"{text}: no such command. {HELP}"
    if text:
        inbox.say(text)
        return f"words: {text}"
    release()
    return ""


class WordsReader:
    """Listens to lines in a thread of its own, until they end.

    `start` it when the first episode begins: that forgets what was said before.

    Args:
        lines: an open text file such as standard input, or any iterable.
        inbox: is told.
        release: is called when the person hands back.
        answer: is called with what to say back.
    """

    def __init__(
        self, lines: Iterable[str], inbox: Inbox, release: Callable[[], object], answer: Callable[[str], object]
    ) -> None:
        self._lines, self._inbox, self._release, self._answer = lines, inbox, release, answer
        self.thread = threading.Thread(target=self._listen, name="words", daemon=True)  # may wait for a line for ever

    def start(self) -> None:
        """Begin to listen; again: nothing."""
        if self.thread.ident is None:
            self.thread.start()

    def _listen(self) -> None:
        try:
            for line in self._lines:
                if answer := hear(line, self._inbox, self._release):
                    self._answer(answer)
        except Exception as error:  # in a thread of its own nobody would see it, and /stop would not be heard any more
            reason = f"nobody listens to words any more: {type(error).__name__}: {error}"
            self._inbox.stop(reason, for_good=True)
            self._answer(reason)
