from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable

import pytest

from robot_drivers.emulator.clock import Timeline, VirtualClock


def test_sleeping_moves_the_time():
    clock = VirtualClock()
    clock.sleep_until(3.0)
    assert clock.now() == 3.0
    clock.sleep_until(1.0)
    assert clock.now() == 3.0


def test_time_stands_still_while_an_attending_thread_works():
    clock = VirtualClock()
    with clock.attending():
        sleeper = threading.Thread(target=clock.sleep_until, args=(5.0,))
        sleeper.start()
        sleeper.join(0.05)
        assert sleeper.is_alive()
        assert clock.now() == 0.0
    sleeper.join(1.0)
    assert clock.now() == 5.0


def test_time_goes_on_when_a_thread_that_does_not_attend_is_done():
    clock = VirtualClock()
    with clock.attending():
        passing = threading.Thread(target=clock.sleep_until, args=(1.0,))
        passing.start()
        passing.join(0.05)
        clock.sleep_until(2.0)
        assert clock.now() == 2.0
    passing.join()


def side_by_side(clock: VirtualClock, loops: list[Callable[[], None]]) -> None:
    """Run them in threads that attend, in this order."""

    def attend(loop: Callable[[], None], known: threading.Event) -> None:
        with clock.attending(known):
            loop()

    with clock.attending():  # until time may go on, all are there
        threads = []
        for loop in loops:
            known = threading.Event()
            threads.append(threading.Thread(target=attend, args=(loop, known)))
            threads[-1].start()
            known.wait()
    for thread in threads:
        thread.join()


def test_threads_side_by_side_share_the_time_instead_of_adding_it_up():
    clock = VirtualClock()
    seen: dict[int, list[float]] = {number: [] for number in range(4)}

    def loop(number: int) -> None:
        for tick in range(1, 101):
            clock.sleep_until(tick * 0.02 + number * 0.001)
            seen[number].append(clock.now())

    side_by_side(clock, [functools.partial(loop, number) for number in range(4)])
    for number, times in seen.items():
        assert times == [pytest.approx(tick * 0.02 + number * 0.001) for tick in range(1, 101)]
    assert clock.now() == pytest.approx(2.003)


def test_at_one_moment_threads_work_one_at_a_time_in_the_order_in_which_they_came():
    clock, working, seen = VirtualClock(), [], []

    def loop(name: str) -> None:
        for tick in range(1, 201):
            clock.sleep_until(float(tick))
            working.append(name)
            seen.append((tick, name, len(working)))
            hashlib.sha256(bytes(100_000)).digest()  # gives the others every chance to come in between
            working.pop()

    side_by_side(clock, [functools.partial(loop, name) for name in "abc"])
    assert seen == [(tick, name, 1) for tick in range(1, 201) for name in "abc"]


def test_a_sleep_that_is_interrupted_leaves_the_clock_running(monkeypatch):
    clock, broken = VirtualClock(), threading.Condition()

    def interrupt(ready):
        raise KeyboardInterrupt

    with clock.attending(), monkeypatch.context() as patch:
        patch.setattr(broken, "wait_for", interrupt)
        patch.setattr(clock, "_changed", broken)
        with pytest.raises(KeyboardInterrupt):
            clock.sleep_until(1.0)
    side_by_side(clock, [lambda: clock.sleep_until(2.0), lambda: clock.sleep_until(3.0)])
    assert clock.now() == 3.0


def test_a_suspended_host_sees_no_time_pass_but_the_servos_do():
    timeline = Timeline(VirtualClock())
    timeline.sleep_until(1.0)
    timeline.skip(5.0)
    assert timeline.now() == 6.0
    assert timeline.clock.now() == 1.0
    timeline.sleep_until(7.0)
    assert timeline.clock.now() == 2.0
