from __future__ import annotations

import pytest

from robot_drivers.dynamixel.models import MODELS, XL430_W250, XM430_W350
from robot_drivers.emulator.memory import ACCESS, LENGTH, LIMIT, RANGE, RESULT, TRIPPED, ControlTable, Refused


def table(model=XM430_W350, **eeprom) -> ControlTable:
    return ControlTable(model, eeprom)


def put(memory: ControlTable, name: str, value: int, **options) -> list[str]:
    register = memory.model[name]
    return memory.write(register.address, register.encode(value), **options)


def refusal(memory: ControlTable, name: str, value: int) -> int:
    before = memory[name]
    with pytest.raises(Refused) as caught:
        put(memory, name, value)
    assert memory[name] == before
    return caught.value.code


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_factory_values(model):
    memory = table(model)
    assert memory["model_number"] == model.number
    assert memory["torque_enable"] == 0
    assert memory["position_p_gain"] == model["position_p_gain"].default
    assert memory.read(0, 2) == model.number.to_bytes(2, "little")


def test_a_reboot_forgets_ram_and_keeps_eeprom():
    memory = table()
    put(memory, "current_limit", 200)
    put(memory, "position_p_gain", 100)
    put(memory, "bus_watchdog", 10)
    memory.forget()
    assert memory["current_limit"] == 200
    assert memory["position_p_gain"] == 800
    assert memory["bus_watchdog"] == 0
    assert memory["goal_current"] == 200


def test_eeprom_is_locked_while_torque_is_on():
    memory = table()
    put(memory, "torque_enable", 1)
    assert refusal(memory, "operating_mode", 5) == ACCESS
    assert put(memory, "led", 1) == ["led"]
    put(memory, "torque_enable", 0)
    assert put(memory, "operating_mode", 5) == ["operating_mode"]


def test_read_only_registers_stay():
    assert refusal(table(), "present_position", 5) == ACCESS
    assert refusal(table(), "model_number", 1) == ACCESS


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("torque_enable", 2, RANGE),
        ("baud_rate", 9, RANGE),
        ("bus_watchdog", -1, RANGE),
        ("operating_mode", 2, RANGE),
        ("goal_velocity", 201, LIMIT),
        ("goal_pwm", -801, LIMIT),
        ("goal_current", 301, LIMIT),
        ("goal_position", 999, LIMIT),
        ("goal_position", 3001, LIMIT),
    ],
)
def test_values_outside_ranges_and_limits_are_refused(name, value, code):
    memory = table(min_position_limit=1000, max_position_limit=3000, current_limit=300, pwm_limit=800)
    assert refusal(memory, name, value) == code


def test_position_limits_hold_in_position_mode_only():
    memory = table(min_position_limit=1000, max_position_limit=3000)
    for mode in (4, 5):
        put(memory, "operating_mode", mode)
        assert put(memory, "goal_position", 5000) == ["goal_position"]


def test_models_without_current_control_refuse_its_modes():
    assert refusal(table(XL430_W250), "operating_mode", 5) == RANGE


def test_writes_need_whole_registers():
    memory = table()
    with pytest.raises(Refused) as caught:
        memory.write(116, bytes(2))
    assert caught.value.code == LENGTH
    with pytest.raises(Refused) as caught:
        memory.write(66, bytes(1))
    assert caught.value.code == RANGE
    with pytest.raises(Refused) as caught:
        memory.write(660, bytes(4))
    assert caught.value.code == RANGE


def test_a_block_is_written_whole_or_not_at_all():
    memory = table()
    block = (50).to_bytes(4, "little") + (100).to_bytes(4, "little") + (2000).to_bytes(4, "little")
    assert memory.write(108, block) == ["profile_acceleration", "profile_velocity", "goal_position"]
    with pytest.raises(Refused):
        memory.write(108, block[:4] + (200).to_bytes(4, "little") + (5000).to_bytes(4, "little"))
    assert memory["profile_velocity"] == 100


def test_reads_end_with_the_table():
    memory = table()
    assert memory.read(0, 662)[66:68] == b"\0\0"
    for address, length in ((660, 3), (5000, 1), (0, 0)):
        with pytest.raises(Refused) as caught:
            memory.read(address, length)
        assert caught.value.code == RANGE


def test_goals_are_locked_after_the_watchdog_tripped_until_it_is_cleared():
    memory = table()
    memory.set("bus_watchdog", TRIPPED)
    assert refusal(memory, "goal_position", 2000) == RANGE
    assert refusal(memory, "bus_watchdog", 10) == RANGE
    assert put(memory, "led", 1) == ["led"]
    put(memory, "bus_watchdog", 0)
    assert put(memory, "goal_position", 2000) == ["goal_position"]


def test_torque_stays_off_after_a_shutdown():
    memory = table()
    memory.set("hardware_error_status", 0x20)
    assert refusal(memory, "torque_enable", 1) == RESULT


def test_indirect_data_show_what_their_addresses_point_at():
    memory = table()
    for k, target in enumerate((132, 133, 134, 135, 146)):
        put(memory, f"indirect_address_{k + 1}", target)
    memory.set("present_position", 0x01020304)
    memory.set("present_temperature", 42)
    assert memory.read(224, 5) == bytes((4, 3, 2, 1, 42))


def test_indirect_data_write_through_with_all_rules():
    memory = table(max_position_limit=3000)
    for k in range(4):
        put(memory, f"indirect_address_{29 + k}", 116 + k)
    memory.write(634, (2500).to_bytes(4, "little"))
    assert memory["goal_position"] == 2500
    with pytest.raises(Refused) as caught:
        memory.write(634, (3500).to_bytes(4, "little"))
    assert caught.value.code == LIMIT


def test_a_write_to_a_secondary_id_leaves_eeprom_alone():
    memory = table()
    assert put(memory, "homing_offset", 5, ram_only=True) == []
    assert memory["homing_offset"] == 0
    assert put(memory, "led", 1, ram_only=True) == ["led"]


def test_writes_are_counted_also_when_nothing_changes():
    memory = table()
    for _ in range(3):
        put(memory, "return_delay_time", 250)
    assert memory.writes["return_delay_time"] == 3
