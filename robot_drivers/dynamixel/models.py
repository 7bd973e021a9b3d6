"""The servos an ALOHA robot is built from, as data.

Addresses, factory values, ranges, torques and speeds: ROBOTIS' manuals of the models
(emanual.robotis.com/docs/en/dxl/x/), firmware of 2020 and later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from robot_drivers.dynamixel import units
from robot_drivers.dynamixel.registers import EEPROM_END, Register, ServoModel
from robot_drivers.dynamixel.units import RPM

TABLE_END = 662  # first address after the second block of indirect data
INDIRECT_BLOCKS = ((1, 168, 224), (29, 578, 634))  # number of the first, address of addresses, address of data

# The table of the XM430-W350; the other models are written as what differs from it.
_COMMON = (
    Register("model_number", 0, 2, writable=False),
    Register("model_information", 2, 4, writable=False),
    Register("firmware_version", 6, 1, writable=False, default=45),
    Register("id", 7, 1, default=1, high=252),
    Register("baud_rate", 8, 1, default=1, high=7),
    Register("return_delay_time", 9, 1, default=250, high=254, scale=units.RETURN_DELAY),
    Register("drive_mode", 10, 1, high=13),
    Register("operating_mode", 11, 1, default=3, high=16),
    Register("secondary_id", 12, 1, default=255, high=255),
    Register("protocol_type", 13, 1, default=2, low=1, high=2),
    Register("homing_offset", 20, 4, signed=True, low=-1_044_479, high=1_044_479, scale=units.ANGLE),
    Register("moving_threshold", 24, 4, default=10, high=1023, scale=units.VELOCITY),
    Register("temperature_limit", 31, 1, default=80, high=100, scale=units.TEMPERATURE),
    Register("max_voltage_limit", 32, 2, default=160, low=95, high=160, scale=units.VOLTAGE),
    Register("min_voltage_limit", 34, 2, default=95, low=95, high=160, scale=units.VOLTAGE),
    Register("pwm_limit", 36, 2, default=885, high=885, scale=units.PWM),
    Register("velocity_limit", 44, 4, default=200, high=1023, scale=units.VELOCITY),
    Register("max_position_limit", 48, 4, default=4095, high=4095, scale=units.POSITION),
    Register("min_position_limit", 52, 4, high=4095, scale=units.POSITION),
    Register("shutdown", 63, 1, default=0x34, high=0x3D),
    Register("torque_enable", 64, 1, high=1),
    Register("led", 65, 1, high=1),
    Register("status_return_level", 68, 1, default=2, high=2),
    Register("registered_instruction", 69, 1, writable=False),
    Register("hardware_error_status", 70, 1, writable=False),
    Register("velocity_i_gain", 76, 2, default=1920, high=16_383),
    Register("velocity_p_gain", 78, 2, default=100, high=16_383),
    Register("position_d_gain", 80, 2, high=16_383),
    Register("position_i_gain", 82, 2, high=16_383),
    Register("position_p_gain", 84, 2, default=800, high=16_383),
    Register("feedforward_2nd_gain", 88, 2, high=16_383),
    Register("feedforward_1st_gain", 90, 2, high=16_383),
    Register("bus_watchdog", 98, 1, signed=True, high=127, scale=units.WATCHDOG),
    Register("goal_pwm", 100, 2, signed=True, low=-885, high=885, scale=units.PWM),
    Register("goal_velocity", 104, 4, signed=True, low=-1023, high=1023, scale=units.VELOCITY),
    Register("profile_acceleration", 108, 4, high=32_767, scale=units.ACCELERATION),
    Register("profile_velocity", 112, 4, high=32_767, scale=units.VELOCITY),
    Register("goal_position", 116, 4, signed=True, low=-1_048_575, high=1_048_575, scale=units.POSITION),
    Register("realtime_tick", 120, 2, writable=False, scale=units.TICK),
    Register("moving", 122, 1, writable=False),
    Register("moving_status", 123, 1, writable=False),
    Register("present_pwm", 124, 2, signed=True, writable=False, scale=units.PWM),
    Register("present_velocity", 128, 4, signed=True, writable=False, scale=units.VELOCITY),
    Register("present_position", 132, 4, signed=True, writable=False, scale=units.POSITION),
    Register("velocity_trajectory", 136, 4, signed=True, writable=False, scale=units.VELOCITY),
    Register("position_trajectory", 140, 4, signed=True, writable=False, scale=units.POSITION),
    Register("present_input_voltage", 144, 2, writable=False, scale=units.VOLTAGE),
    Register("present_temperature", 146, 1, writable=False, scale=units.TEMPERATURE),
)


def _indirect() -> Iterable[Register]:
    for first, addresses, data in INDIRECT_BLOCKS:
        for k in range(28):
            yield Register(
                f"indirect_address_{first + k}",
                addresses + 2 * k,
                2,
                default=data + k,
                low=EEPROM_END,
                high=TABLE_END - 1,
            )
            yield Register(f"indirect_data_{first + k}", data + k, 1, high=255)


def _current(limit: int) -> Iterable[Register]:
    yield Register("current_limit", 38, 2, default=limit, high=limit, scale=units.CURRENT)
    yield Register("goal_current", 102, 2, signed=True, low=-limit, high=limit, scale=units.CURRENT)
    yield Register("present_current", 126, 2, signed=True, writable=False, scale=units.CURRENT)


def _load() -> Iterable[Register]:
    yield Register("present_load", 126, 2, signed=True, writable=False, scale=units.LOAD)


def _table(force: Iterable[Register], **differing: Mapping[str, Any]) -> Mapping[str, Register]:
    """The common table with `force` registers added and the fields of some registers replaced."""
    table = {register.name: register for register in (*_COMMON, *force, *_indirect())}
    for name, fields in differing.items():
        table[name] = replace(table[name], **fields)
    return MappingProxyType(dict(sorted(table.items(), key=lambda item: item[1].address)))


XM430_W350 = ServoModel(
    number=1020,
    name="XM430-W350",
    registers=_table(_current(1193), model_number={"default": 1020}),
    operating_modes=frozenset({0, 1, 3, 4, 5, 16}),
    stall_torque=4.1,
    stall_current=2.3,
    no_load_speed=46 * RPM,
)
XM540_W270 = ServoModel(
    number=1120,
    name="XM540-W270",
    registers=_table(_current(2047), model_number={"default": 1120}, velocity_limit={"default": 128}),
    operating_modes=frozenset({0, 1, 3, 4, 5, 16}),
    stall_torque=10.6,
    stall_current=4.4,
    no_load_speed=30 * RPM,
)
XL430_W250 = ServoModel(
    number=1060,
    name="XL430-W250",
    registers=_table(
        _load(),
        model_number={"default": 1060},
        temperature_limit={"default": 72},
        max_voltage_limit={"default": 140, "low": 60, "high": 140},
        min_voltage_limit={"default": 60, "low": 60, "high": 140},
        velocity_limit={"default": 265},
        velocity_i_gain={"default": 1000},
        position_d_gain={"default": 4000},
        position_p_gain={"default": 640},
    ),
    operating_modes=frozenset({1, 3, 4, 16}),
    stall_torque=1.5,
    stall_current=1.4,
    no_load_speed=61 * RPM,
)
XC430_W150 = ServoModel(
    number=1070,
    name="XC430-W150",
    registers=_table(
        _load(),
        model_number={"default": 1070},
        moving_threshold={"default": 20},
        max_voltage_limit={"low": 60},
        min_voltage_limit={"default": 60, "low": 60},
        velocity_limit={"default": 460},
        position_p_gain={"default": 460},
    ),
    operating_modes=frozenset({1, 3, 4, 16}),
    stall_torque=1.6,
    stall_current=1.4,
    no_load_speed=106 * RPM,
)

MODELS: Mapping[int, ServoModel] = MappingProxyType(
    {model.number: model for model in (XM430_W350, XM540_W270, XL430_W250, XC430_W150)}
)
