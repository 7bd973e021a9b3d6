from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_drivers.dynamixel import units
from robot_drivers.dynamixel.errors import ServoError, hardware_errors
from robot_drivers.dynamixel.models import MODELS, XC430_W150, XL430_W250, XM430_W350, XM540_W270

ALL = list(MODELS.values())


@pytest.mark.parametrize("servo", ALL, ids=lambda servo: servo.name)
def test_registers_do_not_overlap_and_hold_their_values(servo):
    end = 0
    for name, register in servo.registers.items():
        assert register.name == name
        assert register.address >= end
        end = register.end
        for value in (register.default, register.low, register.high):
            assert register.decode(register.encode(value)) == value
        if register.writable:
            assert register.low <= register.default <= register.high
            assert register.low < register.high


@pytest.mark.parametrize("servo", ALL, ids=lambda servo: servo.name)
def test_what_the_driver_reads_each_tick_is_one_block(servo):
    force = "present_current" if servo.has_current else "present_load"
    assert servo[force].address == 126
    assert [servo[name].end - 126 for name in ("present_position", "present_temperature")] == [10, 21]


def test_models_differ_where_the_hardware_does():
    assert MODELS[1020] is XM430_W350
    assert [servo.has_current for servo in (XM430_W350, XM540_W270, XL430_W250, XC430_W150)] == [
        True,
        True,
        False,
        False,
    ]
    assert 5 in XM540_W270.operating_modes
    assert 5 not in XL430_W250.operating_modes
    assert XM540_W270["current_limit"].high == 2047
    assert XL430_W250["temperature_limit"].default == 72
    for servo, constant in ((XM430_W350, 1.79), (XM540_W270, 2.41)):  # [Nm/A]
        assert servo.stall_torque / servo.stall_current == pytest.approx(constant, abs=0.02)


def test_unknown_names_say_what_is_known():
    with pytest.raises(KeyError, match="XL430-W250 has no register 'goal_current'; it has model_number"):
        XL430_W250["goal_current"]


def test_a_short_reply_is_no_position():
    with pytest.raises(ValueError, match="present_position: expected 4 bytes, got 1"):
        XM430_W350["present_position"].decode(b"\x00")


def test_eeprom_ends_where_ram_begins():
    assert XM430_W350["shutdown"].eeprom
    assert not XM430_W350["torque_enable"].eeprom


def test_positions():
    assert units.POSITION.decode([2048, 3072, 0, -2048]) == pytest.approx([0, math.pi / 2, -math.pi, -2 * math.pi])
    assert units.POSITION.encode([0.0, math.pi / 2]).tolist() == [2048, 3072]
    assert units.POSITION.factor == pytest.approx(0.001533981, abs=1e-9)


def test_other_scales():
    assert units.VELOCITY.decode(131) == pytest.approx(math.pi, abs=2e-3)  # the limit ALOHA's servos are set to
    assert units.CURRENT.decode([200, -1]) == pytest.approx([0.538, -0.00269])  # 200: follower gripper
    assert units.VOLTAGE.decode(118) == pytest.approx(11.8)
    assert units.WATCHDOG.encode(0.2) == 10
    assert units.RAW.decode(7) == 7.0
    assert units.ANGLE.decode(-1024) == pytest.approx(-math.pi / 2)
    assert units.ACCELERATION.decode(100) == pytest.approx(37.4507, abs=1e-3)  # 21,457.7 turns a minute, each minute
    assert units.LOAD.decode(-1000) == pytest.approx(-1.0)
    assert units.PWM.decode(885) == pytest.approx(1.0, abs=1e-3)
    assert units.TEMPERATURE.decode(80) == 80.0
    assert units.RETURN_DELAY.decode(250) == pytest.approx(500e-6)
    assert units.TICK.decode(1000) == pytest.approx(1.0)


@given(st.integers(-(2**31), 2**31 - 1))
def test_positions_survive_the_round_trip(ticks):
    assert units.POSITION.encode(units.POSITION.decode(ticks)) == ticks


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nothing_infinite_becomes_a_command(bad):
    with pytest.raises(ValueError, match="expected finite"):
        units.POSITION.encode(np.array([0.0, bad]))


def test_errors_say_what_happened_and_what_to_do():
    error = ServoError("/dev/ttyDXL_follower_left ID 2 write goal_position", 2, 0x86)
    assert (error.code, error.alert) == (6, True)
    assert "limit" in str(error)
    assert "alert bit" in str(error)
    assert hardware_errors(0x24) == ("overheating", "overload")
    assert hardware_errors(0x40) == ("unknown bits 0x40",)
