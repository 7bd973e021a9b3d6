"""The benchmark's watchers: did the machine itself stand still?"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from robot_drivers.aloha import standstill
from robot_drivers.aloha.standstill import NOTED, overlapping, standstills
from robot_drivers.aloha.ticks import TickCounts


def test_a_late_tick_is_told_apart_by_what_happened_meanwhile():
    counts = TickCounts(0.02)
    for deadline, begun, ended in ((1.0, 1.0, 1.005), (1.02, 1.02, 1.045), (1.06, 1.06, 1.09)):
        counts.count(deadline, begun, ended)
    assert list(counts.overruns) == [(1.02, 1.045), (1.06, 1.09)]
    assert overlapping(counts.overruns, [(0.9, 1.01), (1.03, 1.04), (1.041, 1.044)]) == 1
    assert overlapping(counts.overruns, [(1.04, 1.07)]) == 2
    assert overlapping(counts.overruns, [(1.045, 1.06)]) == 0


def test_a_watcher_that_was_kept_away_says_when(monkeypatch, capsys):
    """Played by a clock: two naps as they should be, one of 30 ms, then the end."""
    moments = iter([5.0, 5.001, 5.002, 5.032, 5.033])
    monkeypatch.setattr(standstill.os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(standstill.os, "sched_setscheduler", lambda *_: None)
    monkeypatch.setattr(standstill.signal, "signal", lambda *_: None)
    monkeypatch.setattr(standstill.time, "sleep", lambda _: None)
    monkeypatch.setattr(standstill.time, "monotonic", lambda: next(moments))
    with pytest.raises(StopIteration):
        standstill.watch(0)
    assert capsys.readouterr().out == "watching\n5.002 5.032\n"


def test_without_the_right_nothing_is_claimed(monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(standstill.os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(standstill.os, "sched_setscheduler", refuse)
    monkeypatch.setattr(standstill.signal, "signal", lambda *_: None)
    standstill.watch(0)
    assert capsys.readouterr().out == "refused\n"


def test_watchers_run_end_and_report_on_one_clock():
    began = time.monotonic()
    with standstills(os.sched_getaffinity(0)) as found:
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    # None without the right to real-time priority
    assert found is None or all(began < begin < end - NOTED < time.monotonic() for begin, end in found)
