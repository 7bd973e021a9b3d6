"""The capture thread: the newest frame, or an error that says why there is none; never an old picture."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from devices import SIZE, FakeDevice, picture

from robot_drivers.cameras.doctor import examine_cameras
from robot_drivers.cameras.errors import (
    CameraError,
    CameraMissing,
    FrameBlack,
    FrameError,
    FrameFrozen,
    FrameMisshapen,
    FrameStale,
)
from robot_drivers.cameras.frames import FrameLimits, NewestFrame
from robot_drivers.cameras.live import LiveCamera, open_all
from robot_drivers.emulator.clock import VirtualClock
from vla.protocols import SafetyStop

FAULTS = [
    ("unplugged", FrameStale, r"camera top: expected frames, one at most 0.20 s old, got .*(unplugged|device file)"),
    ("silent", FrameStale, r"camera top: expected one at most 0.20 s old, got a good frame 0.\d\d s ago was the last"),
    ("frozen", FrameFrozen, r"expected frames that differ.*same frame again and again.*/dev/fake"),
    ("black", FrameBlack, r"expected values above 12.*got black frames.*cap"),
    ("wrong size", FrameMisshapen, r"expected \(12, 16, 3\) uint8.*got \(6, 8, 3\) uint8.*size"),
    ("bug", FrameStale, "ZeroDivisionError: a driver's own trouble"),
]


class Bench:
    def __init__(self, **options) -> None:
        self.clock, self.device = VirtualClock(), FakeDevice()
        self.camera = LiveCamera(self.device, **options)

    def wait(self, seconds: float) -> None:
        self.clock.sleep_until(self.clock.now() + seconds)


@contextmanager
def running(**options):
    bench = Bench(**options)
    with bench.clock.attending():
        bench.camera.open("top", bench.clock)
        try:
            yield bench
        finally:
            bench.camera.close()


def test_the_newest_frame_and_when_it_was_taken():
    with running() as bench:
        bench.wait(1.0)
        image, time = bench.camera.latest()
        np.testing.assert_array_equal(image, picture(bench.device.number))
        assert bench.clock.now() - 1 / 30 - 1e-9 <= time <= bench.clock.now()
        bench.wait(0.1)
        assert bench.camera.latest()[1] > time


def test_while_a_driver_hangs_in_the_last_read_the_device_is_not_opened_for_another_thread():
    bench = Bench()
    with bench.clock.attending():
        bench.camera.open("top", bench.clock)
        bench.device.fault = "silent"  # for 3 s
        bench.wait(0.1)
        bench.camera.close()  # gives up after 2 s
        bench.device.fault = ""
        with pytest.raises(CameraMissing, match="driver hangs in its last read"):
            bench.camera.open("top", bench.clock)
        bench.wait(1.0)
        bench.camera.open("top", bench.clock)
        bench.wait(2.0)
        assert (bench.device.opened, bench.device.closed) == (2, 1)
        assert bench.camera.latest()[1] > bench.clock.now() - 0.1
        bench.camera.close()


@pytest.mark.parametrize(("fault", "kind", "message"), FAULTS)
def test_a_fault_is_an_error_within_the_age_limit_and_over_when_it_ends(fault, kind, message):
    with running() as bench:
        bench.device.fault = fault
        bench.wait(0.15)
        bench.camera.latest()  # the last good frame may still be acted on
        bench.wait(0.15)
        with pytest.raises(kind, match=message) as caught:
            bench.camera.latest()
        assert isinstance(caught.value, SafetyStop)
        assert caught.value.camera == "top"
        bench.device.fault = ""
        bench.wait(3.0)
        _, time = bench.camera.latest()
        assert bench.clock.now() - time <= 0.2


def test_a_single_bad_frame_is_left_out():
    newest = NewestFrame("top", "/dev/fake", SIZE, FrameLimits())
    newest.put(picture(1), 1.0)
    newest.put(picture(2) // 20, 1.033)
    newest.put(picture(2) // 20, 1.066)
    assert newest.latest(1.07)[1] == 1.0
    newest.put(picture(3), 1.1)
    assert newest.latest(1.1)[1] == 1.1


def test_the_age_limit_is_exact():
    newest = NewestFrame("top", "/dev/fake", SIZE, FrameLimits(max_age=0.25))
    newest.put(picture(1), 1.0)
    assert newest.latest(1.25)[1] == 1.0
    with pytest.raises(FrameStale, match=r"at most 0.25 s old, got a good frame 0.26 s ago"):
        newest.latest(1.26)


def test_before_the_first_frame_there_is_none():
    with pytest.raises(FrameStale, match="no good frame yet"):
        NewestFrame("top", "/dev/fake", SIZE, FrameLimits()).latest(0.0)


def test_rendered_pictures_may_repeat():
    newest = NewestFrame("top", "a scene", SIZE, FrameLimits(refuse_repeats=False))
    for time in (1.0, 2.0):
        newest.put(picture(1), time)
    assert newest.latest(2.0)[1] == 2.0


def test_a_black_level_is_compared_with_the_brightest_value():
    newest = NewestFrame("top", "/dev/fake", SIZE, FrameLimits(black=12))
    image = np.full((*SIZE, 3), 12, dtype=np.uint8)
    newest.put(image, 1.0)
    assert not newest.exists
    image = image.copy()
    image[0, 0, 0] = 13
    newest.put(image, 1.0)
    assert newest.exists


def test_float_frames_are_refused():
    newest = NewestFrame("top", "/dev/fake", SIZE, FrameLimits())
    newest.put(picture(1).astype(np.float32), 1.0)
    with pytest.raises(FrameMisshapen, match="float32"):
        newest.latest(1.0)


@pytest.mark.parametrize("options", [{"max_age": 0.0}, {"max_age": float("nan")}, {"black": 256}, {"black": -1}])
def test_impossible_limits_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FrameLimits(**options)


def test_an_unplugged_camera_is_opened_again():
    with running(retry_after=0.5) as bench:
        bench.device.fault = "unplugged"
        bench.wait(5.0)
        assert (bench.device.opened, bench.device.closed) == (1, 1)
        bench.device.fault = ""
        bench.wait(1.0)
        bench.camera.latest()
        assert (bench.device.opened, bench.device.closed) == (2, 1)
    assert bench.device.closed == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("unplugged", CameraMissing), ("bug", FrameStale), ("black", FrameBlack), ("wrong size", FrameMisshapen)],
)
def test_a_camera_that_does_not_work_is_refused_when_it_is_opened(fault, kind):
    bench = Bench()
    bench.device.fault = fault
    with bench.clock.attending(), pytest.raises(kind):
        bench.camera.open("top", bench.clock)
    with pytest.raises(RuntimeError, match="call open"):
        bench.camera.latest()


def test_a_camera_of_which_only_one_frame_came_is_not_frozen_yet_but_soon():
    bench = Bench()
    bench.device.fault = "frozen"
    with bench.clock.attending():
        bench.camera.open("top", bench.clock)
        bench.wait(0.3)
        with pytest.raises(FrameFrozen):
            bench.camera.latest()
        bench.camera.close()


def test_closing_ends_the_thread_and_the_device_and_may_be_repeated():
    before = threading.active_count()
    with running() as bench:
        assert threading.active_count() == before + 1
        with pytest.raises(RuntimeError, match="call close"):
            bench.camera.open("top", bench.clock)
    bench.camera.close()
    assert threading.active_count() == before
    assert bench.device.closed == 1
    with bench.clock.attending():
        bench.camera.open("top", bench.clock)  # and again
        bench.camera.latest()
        bench.camera.close()
    assert bench.device.closed == 2


def test_a_camera_without_a_first_frame_is_refused():
    bench = Bench(first_within=1.0)
    bench.device.fault = "silent"
    with bench.clock.attending(), pytest.raises(FrameStale, match="no good frame yet"):
        bench.camera.open("top", bench.clock)
    assert bench.clock.now() >= 1.0


def test_cameras_are_opened_all_or_none():
    clock, good, bad = VirtualClock(), FakeDevice(), FakeDevice()
    bad.fault = "unplugged"
    with clock.attending(), pytest.raises(CameraMissing):
        open_all({"top": LiveCamera(good), "left_wrist": LiveCamera(bad)}, clock)
    assert (good.opened, good.closed) == (1, 1)


def test_the_doctor_looks_through_every_camera():
    clock, good, bad, black = VirtualClock(), FakeDevice(), FakeDevice(), FakeDevice()
    bad.fault, black.fault = "unplugged", "black"
    lines: list[str] = []
    cameras = {"top": LiveCamera(good), "low": LiveCamera(bad), "left_wrist": LiveCamera(black)}
    with clock.attending():
        assert examine_cameras(cameras, clock, lines.append) == 2
    assert [line.split(",")[0] for line in lines if "mend" not in line] == ["camera top: 12 x 16"]
    assert any(line.startswith("camera low: 1 to mend\n  camera /dev/fake") for line in lines)
    assert any("got black frames" in line for line in lines)
    assert good.closed == good.opened == 1


def test_which_errors_stop_a_motion():
    assert issubclass(FrameError, SafetyStop)
    assert issubclass(FrameError, CameraError)
    assert not issubclass(CameraMissing, SafetyStop)
