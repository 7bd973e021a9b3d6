"""Every device against one contract, on stand-ins for OpenCV and pyrealsense2."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import ClassVar

import cv2
import numpy as np
import pytest
from devices import SIZE, FakeDevice, picture

from robot_drivers.cameras.errors import CameraLost, CameraMissing
from robot_drivers.cameras.opencv import V4l2Device
from robot_drivers.cameras.realsense import RealSenseDevice
from robot_drivers.emulator.clock import VirtualClock


class FakeCapture:
    """Stands in for `cv2.VideoCapture`; frames are BGR."""

    plugged, size = True, SIZE
    made: ClassVar[list[FakeCapture]] = []

    def __init__(self, index, api) -> None:
        self.index, self.api, self.set_to, self.released = index, api, {}, False
        self.made.append(self)

    def isOpened(self):
        return self.plugged

    def set(self, what, value):
        self.set_to[what] = value

    def get(self, what):
        return float(self.size[0] if what == cv2.CAP_PROP_FRAME_HEIGHT else self.size[1])

    def grab(self):
        return self.plugged

    def retrieve(self):
        return True, picture(1)[:, :, ::-1]

    def release(self):
        self.released = True


class FakeSense:
    """Stands in for the module pyrealsense2."""

    stream, format = SimpleNamespace(color="color"), SimpleNamespace(rgb8="rgb8")
    plugged = True

    def __init__(self) -> None:
        self.streams: list[tuple] = []
        self.serials: list[str] = []
        self.stopped = 0

    def config(self):
        return SimpleNamespace(
            enable_device=self.serials.append, enable_stream=lambda *stream: self.streams.append(stream)
        )

    def pipeline(self):
        return SimpleNamespace(start=self._check, wait_for_frames=self._wait, stop=self._stop)

    def _check(self, *_):
        if not self.plugged:
            raise RuntimeError("No device connected")

    def _wait(self, timeout):
        self._check()
        return SimpleNamespace(get_color_frame=lambda: SimpleNamespace(get_data=lambda: picture(1)))

    def _stop(self):
        self.stopped += 1
        self._check()


@pytest.fixture
def capture(monkeypatch, tmp_path):
    class Capture(FakeCapture):
        made: ClassVar[list[FakeCapture]] = []

    (tmp_path / "video7").touch()
    (tmp_path / "cam_top").symlink_to(tmp_path / "video7")
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    return Capture


@pytest.fixture
def sense(monkeypatch):
    module = FakeSense()
    monkeypatch.setitem(importlib.sys.modules, "pyrealsense2", module)
    return module


@pytest.fixture(params=["fake", "v4l2", "realsense"])
def bench(request, capture, sense, tmp_path):
    """A device, and what unplugs its hardware."""
    device = {
        "fake": FakeDevice,
        "v4l2": lambda: V4l2Device(str(tmp_path / "cam_top"), SIZE),
        "realsense": lambda: RealSenseDevice(123, SIZE),
    }[request.param]()

    def plug(plugged: bool) -> None:
        capture.plugged = sense.plugged = plugged
        if request.param == "fake":
            device.fault = "" if plugged else "unplugged"

    return SimpleNamespace(device=device, plug=plug, clock=VirtualClock())


def test_contract_a_frame_is_rgb_of_the_size_and_stamped_by_the_robots_clock(bench):
    bench.clock.advance_to(5.0)
    bench.device.open(bench.clock)
    image, time = bench.device.read()
    np.testing.assert_array_equal(image, picture(1))
    assert image.shape == (*bench.device.size, 3)
    assert image.dtype == np.uint8
    assert 5.0 <= time <= bench.clock.now()
    bench.device.close()


def test_contract_what_is_not_there_is_missing_and_what_goes_is_lost(bench):
    bench.plug(False)
    with pytest.raises(CameraMissing, match=bench.device.where):
        bench.device.open(bench.clock)
    bench.plug(True)
    bench.device.open(bench.clock)
    bench.device.read()
    bench.plug(False)
    with pytest.raises(CameraLost, match=bench.device.where):
        bench.device.read()
    bench.device.close()
    bench.plug(True)
    bench.device.open(bench.clock)
    bench.device.read()
    bench.device.close()


def test_contract_closing_may_be_repeated(bench):
    bench.device.close()
    bench.device.open(bench.clock)
    bench.device.close()
    bench.device.close()


def test_v4l2_sets_what_was_asked_for_and_lets_go(capture, tmp_path):
    device = V4l2Device(str(tmp_path / "cam_top"), SIZE, fps=60, focus=35, exposure=120)
    device.open(VirtualClock())
    (made,) = capture.made
    assert (made.index, made.api) == (7, cv2.CAP_V4L2)
    assert next(iter(made.set_to)) == cv2.CAP_PROP_FOURCC
    wanted = {
        cv2.CAP_PROP_FRAME_HEIGHT: 12,
        cv2.CAP_PROP_FRAME_WIDTH: 16,
        cv2.CAP_PROP_FPS: 60,
        cv2.CAP_PROP_BUFFERSIZE: 1,
        cv2.CAP_PROP_AUTOFOCUS: 0,
        cv2.CAP_PROP_FOCUS: 35,
        cv2.CAP_PROP_EXPOSURE: 120,
    }
    assert wanted.items() <= made.set_to.items()
    device.close()
    assert made.released
    with pytest.raises(CameraLost):
        device.read()


def test_v4l2_leaves_focus_and_exposure_alone_unless_told(capture, tmp_path):
    V4l2Device(str(tmp_path / "cam_top"), SIZE).open(VirtualClock())
    assert not {cv2.CAP_PROP_AUTOFOCUS, cv2.CAP_PROP_AUTO_EXPOSURE} & capture.made[0].set_to.keys()


def test_v4l2_of_another_size_is_refused(capture, tmp_path):
    capture.size = (24, 32)
    with pytest.raises(CameraMissing, match=r"height and width \(12, 16\), got \(24, 32\).*v4l2-ctl"):
        V4l2Device(str(tmp_path / "cam_top"), SIZE).open(VirtualClock())
    assert capture.made[0].released


def test_v4l2_a_damaged_frame_harms_nobody_and_several_in_a_row_are_a_loss(capture, tmp_path, monkeypatch):
    device = V4l2Device(str(tmp_path / "cam_top"), SIZE)
    device.open(VirtualClock())
    answers = [(False, None), (False, None), (True, picture(1)[:, :, ::-1])]
    with monkeypatch.context() as patched:
        patched.setattr(capture, "retrieve", lambda self: answers.pop(0))
        np.testing.assert_array_equal(device.read()[0], picture(1))
    monkeypatch.setattr(capture, "retrieve", lambda self: (False, None))
    with pytest.raises(CameraLost, match="3 damaged ones in a row"):
        device.read()


def test_v4l2_names_what_it_cannot_be(tmp_path):
    assert V4l2Device(3).where == "/dev/video3"
    with pytest.raises(ValueError, match="expected 4 letters such as MJPG, got 'MJPEG'"):
        V4l2Device(0, fourcc="MJPEG")
    (tmp_path / "notes").touch()
    with pytest.raises(CameraMissing, match="expected a name of /dev/video"):
        V4l2Device(str(tmp_path / "notes")).open(VirtualClock())
    with pytest.raises(CameraMissing, match="expected a device file, got none"):
        V4l2Device(str(tmp_path / "nothing")).open(VirtualClock())


def test_realsense_asks_for_one_camera_and_its_colour(sense):
    device = RealSenseDevice(123, (480, 640), fps=60)
    device.open(VirtualClock())
    assert sense.serials == ["123"]
    assert sense.streams == [("color", 640, 480, "rgb8", 60)]
    device.close()
    assert sense.stopped == 1
    with pytest.raises(CameraLost):
        device.read()


def test_realsense_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(importlib.sys.modules, "pyrealsense2", None)
    with pytest.raises(CameraMissing, match=r"expected the package pyrealsense2.*pip install -e '\.\[realsense\]'"):
        RealSenseDevice(123).open(VirtualClock())
