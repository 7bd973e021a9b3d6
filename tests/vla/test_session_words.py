"""Words in a session: those of the task, those that are given, and those that are typed while it runs."""

from __future__ import annotations

import io

from tests.fakes import FakeEnv
from tests.session_runs import ROBOT, SIMULATION, Clock, run
from vla.runtime.inbox import Inbox
from vla.session.words import WordsReader, hear


def test_words_may_change_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("go left\n"))
    started = []
    monkeypatch.setattr(WordsReader, "start", lambda self: started.append(self))
    say = lambda: started[0]._listen()  # noqa: E731
    _, printed, dataset = run(tmp_path, *ROBOT, "max_s=0.2", "words=stdin", clock=Clock({4: say}))
    assert dataset[0].columns["instruction"].tolist() == ["wave"] * 4 + ["go left"] * 6
    assert dataset[0].columns["events"][4] == "words: go left"
    assert "words: go left" in printed


def test_words_of_a_pipe_are_not_lost_in_the_reset(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("go left\n"))
    _, _, dataset = run(tmp_path, *ROBOT, "max_s=5", "words=stdin", "film=false")
    assert dataset[0].columns["instruction"][-1] == "go left"


def test_one_odd_byte_does_not_end_the_listening(tmp_path, monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(b"t\xfcrkis\ngo left\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", pipe)
    _, _, dataset = run(tmp_path, *ROBOT, "max_s=5", "words=stdin", "film=false")
    assert dataset[0].columns["instruction"][-1] == "go left"


def test_a_listener_that_breaks_ends_the_session():
    def broken():
        yield "go left"
        raise OSError("the terminal is gone")

    inbox, said = Inbox("wave"), []
    reader = WordsReader(broken(), inbox, lambda: None, said.append)
    reader.start()
    reader.thread.join(10)
    assert "nobody listens to words any more: OSError: the terminal is gone" in inbox.stop_reason
    inbox.clear()
    assert inbox.stop_reason
    assert said[-1] == inbox.stop_reason


def test_a_scene_with_words_of_its_own_is_told_and_recorded_with_them(tmp_path, monkeypatch):
    original = FakeEnv.reset

    def reset(self, **options):
        raw, info = original(self, **options)
        self.words = f"scene {options['options']['trial']}"
        return raw, {**info, "instruction": self.words}

    monkeypatch.setattr(FakeEnv, "reset", reset)
    rows, _, dataset = run(tmp_path, *SIMULATION, "episodes=2")
    assert [row["instruction"] for row in rows] == ["scene 0", "scene 1"]
    assert [dataset[number].instruction for number in range(2)] == ["scene 0", "scene 1"]
    assert set(dataset[1].columns["instruction"]) == {"scene 1"}


def test_words_that_are_given_count_more_than_the_tasks(tmp_path):
    (row,), _, dataset = run(tmp_path, *SIMULATION, "instruction=grab it")
    assert row["instruction"] == dataset[0].instruction == "grab it"


def test_typed_lines():
    inbox, released = Inbox("wave"), []
    release = lambda: released.append(True)  # noqa: E731
    assert [hear(line, inbox, release) for line in ("\n", "go left \n")] == ["", "words: go left"]
    assert released == [True]
    assert inbox.instruction == "go left"
    assert "no such command" in hear("/dnoe", inbox, release)
    assert not inbox.succeeded
    hear("/done", inbox, release)
    hear("/stop", inbox, release)
    assert inbox.succeeded
    assert inbox.stop_reason == "/stop was typed"
    reader = WordsReader(["turn"], inbox, release, print)
    reader.start()
    reader.thread.join(10)
    assert inbox.instruction == "turn"
