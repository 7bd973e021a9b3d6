"""The benchmark's processors: kept awake for as long as it lasts, and shared out."""

from __future__ import annotations

import os
import subprocess
import sys

from robot_drivers.aloha import processors
from robot_drivers.aloha.processors import awake, on


def test_the_request_to_stay_awake_lasts_as_long_as_its_file_is_open(monkeypatch, tmp_path):
    monkeypatch.setattr(processors, "LATENCY", tmp_path / "cpu_dma_latency")
    (tmp_path / "cpu_dma_latency").touch()
    with awake() as wakeful:
        assert wakeful
        assert (tmp_path / "cpu_dma_latency").read_bytes() == bytes(4)
        held = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        assert str(tmp_path / "cpu_dma_latency") in held
    held = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert str(tmp_path / "cpu_dma_latency") not in held


def test_who_may_not_ask_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setattr(processors, "LATENCY", tmp_path / "no such place" / "cpu_dma_latency")
    with awake() as wakeful:
        assert not wakeful


def test_processes_begun_meanwhile_share_the_processors_and_later_ones_do_not():
    say = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]
    before = sorted(os.sched_getaffinity(0))
    with on(before[:1]), on(before[-1:]):
        inside = subprocess.run(say, check=True, capture_output=True, text=True).stdout
    assert inside.strip() == str(before[-1:])
    assert sorted(os.sched_getaffinity(0)) == before
