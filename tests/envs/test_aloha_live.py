"""A scene that servos move and cameras film; no emulator here, see tests/test_aloha_mujoco.py."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from envs.aloha.env import AlohaEnv
from envs.aloha.gripper import GripperLinkage
from envs.aloha.live import SLEEP, LiveScene

SIZE = (48, 64)
HOME = np.tile([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.5], 2)


class Linear:
    """A gripper whose fingers follow its servo in proportion: 0 rad closed, 1 rad open."""

    @property
    def follower(self):
        return SimpleNamespace(finger_from_joint=lambda angle: angle, from_joint=lambda angle: angle)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep_until(self, moment: float) -> None:
        self.time = max(self.time, moment)


def drive(target, on=True):
    return SimpleNamespace(target=np.array(target, dtype=float), stiffness=np.full(14, 100.0 * on))


@pytest.fixture(scope="module")
def scene():
    return LiveScene(Linear(), image_size=SIZE, fps=20.0, render="lod")


def run(scene, target, seconds, on=True):
    for _ in range(round(seconds / 0.005)):
        motion = scene.step(0.005, drive(target, on))
    return motion


def test_arms_begin_folded_and_without_torque():
    motion = LiveScene(Linear()).motion()
    np.testing.assert_allclose(motion.position[:6], SLEEP[:6])
    np.testing.assert_array_equal(motion.position[:7], motion.position[7:])
    np.testing.assert_array_equal(motion.torque, 0.0)


def test_servos_reach_their_targets_and_carry_the_arm(scene):
    motion = run(scene, HOME, 1.5)
    np.testing.assert_allclose(motion.position, HOME, atol=0.02)
    np.testing.assert_allclose(motion.velocity, 0.0, atol=0.02)
    assert 1.0 < abs(motion.torque[2]) < 6.0  # [N m] the elbow carries the forearm


def test_each_arm_has_its_own_targets(scene):
    target = HOME.copy()
    target[[7, 13]] = 0.3, 0.9
    motion = run(scene, target, 1.0)
    np.testing.assert_allclose(motion.position, target, atol=0.03)
    run(scene, HOME, 1.0)


def test_a_moving_arm_shows_its_load_and_not_the_models_friction(scene):
    run(scene, HOME, 0.5)
    target, peak = HOME.copy(), 0.0
    for k in range(200):
        target[0] = 0.5 * k / 200  # 0.5 rad/s; the model's friction of the waist is 50 N m
        motion = scene.step(0.005, drive(target))
        peak = max(peak, abs(motion.torque[0])) if k > 100 else 0.0
    assert peak < 5.0
    run(scene, HOME, 1.0)


def test_without_torque_nothing_is_exerted(scene):
    assert (run(scene, HOME, 0.1, on=False).torque == 0).all()
    run(scene, HOME, 1.0)


def test_the_cameras_show_what_the_environment_shows():
    env = AlohaEnv(image_size=SIZE, cameras=("top", "left_wrist", "right_wrist", "angle"), render="lod")
    observation, _ = env.reset(options={"trial": 0})
    scene, clock = LiveScene(Linear(), image_size=SIZE, render="lod"), Clock()
    followers = scene._followers
    for first, arm in ((0, "left"), (8, "right")):
        followers.place(arm, env.scene.data.qpos[first : first + 7])
    for name in env.cameras:
        camera = scene.camera(name)
        camera.open(clock)
        image, _ = camera.read()
        camera.close()
        np.testing.assert_array_equal(image, observation["images"][name])
    env.close()


def test_frames_come_at_their_rate_and_what_was_missed_is_missed(scene):
    clock, camera = Clock(), scene.camera("top")
    camera.open(clock)
    times = [camera.read()[1] for _ in range(3)]
    np.testing.assert_allclose(times, [0.0, 0.05, 0.1])
    clock.time = 1.0
    times = [camera.read()[1] for _ in range(3)]
    np.testing.assert_allclose(times, [1.0, 1.05, 1.1])
    camera.close()


def test_a_frame_shows_what_has_moved(scene):
    clock, camera = Clock(), scene.camera("angle")
    camera.open(clock)
    before, _ = camera.read()
    run(scene, HOME + np.eye(14)[0] * 0.5, 1.0)
    after, _ = camera.read()
    assert before.shape == (*SIZE, 3)
    assert (before != after).any()
    run(scene, HOME, 1.0)
    camera.close()
    camera.close()
    with pytest.raises(RuntimeError, match="call open"):
        camera.read()


def test_several_threads_may_film_while_it_moves(scene):
    cameras = [scene.camera(name) for name in ("top", "left_wrist", "angle")]
    frames: dict[int, list] = {}

    def film(number):
        cameras[number].open(Clock())
        frames[number] = [cameras[number].read()[0] for _ in range(5)]
        cameras[number].close()

    threads = [threading.Thread(target=film, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    run(scene, HOME, 0.3)
    for thread in threads:
        thread.join()
    assert all(len(frames[number]) == 5 and frames[number][0].max() > 50 for number in range(3))


def test_the_linkage_goes_both_ways():
    linkage = GripperLinkage(Linear())
    for angle in (0.0, 0.3, 1.0):
        assert linkage.angle(linkage.finger(angle)) == pytest.approx(angle, abs=1e-6)
    assert linkage.finger(0.0) == pytest.approx(0.01844, abs=1e-6)
    assert linkage.finger(1.0) == pytest.approx(0.05800, abs=1e-6)
    assert linkage.slope(0.03) == pytest.approx(0.05800 - 0.01844, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"render": "fast"}, r"robot.scene.render: unknown value 'fast'"),
        ({"fps": 0.0}, r"robot.scene.fps: expected frames a second above 0, got 0.0"),
        ({"suite": "aloha_cube"}, "aloha_cube"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LiveScene(Linear(), **options)


def test_an_unknown_camera_is_refused(scene):
    with pytest.raises(ValueError, match=r"robot.cameras: unknown value 'tip'; did you mean 'top'"):
        scene.camera("tip")
