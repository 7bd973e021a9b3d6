"""A config may tighten what the driver limits, and never widen it; and it is found out before anything is opened."""

from __future__ import annotations

import math

import pytest

from robot_drivers.aloha.config import ArmConfig, Homing, Limits, Warmth, Watch
from robot_drivers.aloha.layout import VX300S
from robot_drivers.aloha.ram import wanted


def test_what_is_tighter_is_taken():
    config = ArmConfig(
        hz=25.0,
        limits=Limits(margin=0.1, speed=1, acceleration=80.0, tracking=0.2, age=0.05),
        homing=Homing(speed=0.2, gripper_speed=1.0, current_share=0.3, patience=0.1, tracking=0.1),
        watch=Watch(hold_after=0.06, rest_after=math.inf, servo=0.04, stale_ticks=0),
        warmth=Warmth(warn=50.0, slow=50.0, stop=60.0, low_voltage=11.5, slow_share=0.1),
        gains={"position_p_gain": 900, "feedforward_1st_gain": 0},
        profile_velocity=131,
        gripper_current=100,
        gripper_speed=3.0,
        shadow_gap=10,
    )
    assert wanted(VX300S.servos[0], config, torque=True)["bus_watchdog"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": Limits(speed=100)}, r"config\.limits\.speed: .* above 0 and at most 2\.51327, .*, got 100"),
        ({"limits": Limits(speed=0.0)}, r"config\.limits\.speed: .* got 0\.0"),
        ({"limits": Limits(speed=math.nan)}, r"config\.limits\.speed: .* got nan"),
        ({"limits": Limits(margin=-1.0)}, r"config\.limits\.margin: .* of at least 0\.02 .* got -1\.0"),
        ({"limits": Limits(tracking=50)}, r"config\.limits\.tracking: .* at most 0\.4"),
        ({"limits": Limits(acceleration=161.0)}, r"config\.limits\.acceleration"),
        ({"limits": Limits(age=1.0)}, r"config\.limits\.age"),
        ({"limits": {"speed": 1.0}}, r"config\.limits: expected Limits, got \{'speed': 1\.0\}"),
        ({"homing": Homing(speed=3.0)}, r"config\.homing\.speed: .* at most 0\.5"),
        ({"homing": Homing(patience=9.0)}, r"config\.homing\.patience"),
        ({"watch": Watch(servo=0.005)}, r"config\.watch\.servo: .* at least 0\.04 and at most 0\.2, .* got 0\.005"),
        ({"watch": Watch(servo=0.0)}, r"config\.watch\.servo"),
        ({"watch": Watch(servo=2.0)}, r"config\.watch\.servo"),
        ({"watch": Watch(hold_after=1.0)}, r"config\.watch\.hold_after: .* at most 0\.1"),
        (
            {"watch": Watch(rest_after=0.05)},
            r"config\.watch\.rest_after: .* at least hold_after = 0\.1 s, got 0\.05",
        ),
        ({"watch": Watch(stale_ticks=2.5)}, r"config\.watch\.stale_ticks: expected a whole number .* got 2\.5"),
        ({"warmth": Warmth(stop=90.0)}, r"config\.warmth\.stop: .* at most 70"),
        (
            {"warmth": Warmth(warn=60.0, slow=55.0)},
            r"config\.warmth: expected warn <= slow <= stop, got 60\.0, 55\.0",
        ),
        ({"warmth": Warmth(low_voltage=5.0)}, r"config\.warmth\.low_voltage"),
        (
            {"gains": {"position_p_gian": 800}},
            r"config\.gains: expected some of .* got 'position_p_gian'",
        ),
        ({"gains": {"position_p_gain": 0}}, r"config\.gains\.position_p_gain: expected a whole number of at least 1"),
        ({"gains": {"position_d_gain": "3"}}, r"config\.gains\.position_d_gain: .* got '3'"),
        ({"gains": 800}, r"config\.gains: expected Mapping, got 800"),
        ({"hz": 0}, r"config\.hz: .* above 0"),
        ({"hz": True}, r"config\.hz: .* got True"),
        ({"gripper_current": 1193}, r"config\.gripper_current: .* at most 200"),
        ({"shadow_gap": 500}, r"config\.shadow_gap: .* at most 15"),
    ],
)
def test_what_is_wider_or_nonsense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ArmConfig(**options)
