"""From an open port to an arm that holds: driver tests 1, 2, 3 and 11."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.arming import ArmingRefused
from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.emulated import emulated_bus
from robot_drivers.aloha.layout import VX300S, WX250S
from robot_drivers.aloha.state import ServoState, StateKeeper
from robot_drivers.aloha.worker import ArmWorker
from robot_drivers.dynamixel.errors import BusError, PortMissing
from robot_drivers.dynamixel.models import XM430_W350
from robot_drivers.dynamixel.packet import Status
from robot_drivers.dynamixel.registers import EEPROM_END
from robot_drivers.emulator.aloha import aloha_buses
from robot_drivers.emulator.faults import Fault, FaultKind
from robot_drivers.emulator.log import Kind
from tests.robot_drivers.aloha.bench import LEFT, Bench, running
from tests.robot_drivers.emulator.host import one_arm


def lone_arm(**options) -> tuple[Arm, object]:
    """One follower that is not connected yet, and its emulation."""
    emulation = one_arm(**options)
    return Arm(emulated_bus(emulation, LEFT, emulation.clock), VX300S, ArmConfig(), emulation.clock), emulation


def respecified(which: int, **fields):
    spec = next(spec for spec in aloha_buses() if spec.name == LEFT)
    return replace(spec, servos=tuple(replace(s, **fields) if s.id == which else s for s in spec.servos))


def refusal(arm: Arm, emulation) -> str:
    with pytest.raises(ArmingRefused) as caught:
        arm.connect(torque=True)
    assert not arm.bus.is_open
    assert not emulation.log.events(Kind.TORQUE)
    return str(caught.value)


def test_01_a_missing_servo_is_refused():
    arm, emulation = lone_arm()
    emulation.buses[LEFT].plan.add(Fault(FaultKind.DROP_REPLY, ids=(7,)))
    text = refusal(arm, emulation)
    assert "ID 7: wrist_angle: expected XM540-W270, got no answer" in text
    assert "3-pin cables" in text


def test_01_a_wrong_model_is_refused():
    arm, emulation = lone_arm(spec=respecified(4, model=XM430_W350))
    assert "ID 4: elbow: expected XM540-W270 (1120), got XM430-W350 (1020)" in refusal(arm, emulation)


def test_01_two_servos_with_one_id_are_refused():
    arm, _ = lone_arm(spec=respecified(8, id=7))
    with pytest.raises(ArmingRefused) as caught:
        arm.connect(torque=True)
    text = str(caught.value)
    assert "ID 7: wrist_angle: expected one servo with this ID, got replies that overlap" in text
    assert "ID 8: wrist_rotate: expected XM430-W350, got no answer" in text


def test_01_a_leader_on_a_followers_port_is_refused():
    bench = Bench()
    arm = Arm(emulated_bus(bench.emulation, "leader_left", bench.clock), VX300S, ArmConfig(), bench.clock)
    with pytest.raises(ArmingRefused, match="leader and follower swapped"):
        arm.connect(torque=True)


def test_01_a_hardware_error_and_a_low_supply_are_refused():
    arm, emulation = lone_arm()
    emulation.buses[LEFT].servo(2).shut_down(0x20)
    assert "ID 2: shoulder: expected no hardware error, got overload" in refusal(arm, emulation)
    arm, emulation = lone_arm()
    emulation.buses[LEFT].plan.add(Fault(FaultKind.VOLTAGE_DIP, value=2.0))
    emulation.advance(0.1)
    assert "expected at least 11.0 V, got 10.0 V" in refusal(arm, emulation)


def test_a_port_that_is_not_there_is_an_error():
    arm, emulation = lone_arm()
    emulation.buses[LEFT].plug(False)
    with pytest.raises(PortMissing):
        arm.connect(torque=True)


def test_02_a_clean_start_writes_no_eeprom():
    with running(home=False) as bench:
        for bus in ("follower_left", "follower_right"):
            for servo in VX300S.servos:
                written = bench.emulation.writes(bus, servo.id)
                assert not [name for name in written if servo.model[name].address < EEPROM_END]


def test_02_eeprom_that_differs_is_refused_and_written_only_when_asked():
    arm, emulation = lone_arm(spec=respecified(9, eeprom={"baud_rate": 3, "return_delay_time": 250}))
    text = refusal(arm, emulation)
    assert "gripper: expected return_delay_time 0, got 250" in text
    assert "gripper: expected current_limit 200, got 1193" in text
    assert not emulation.writes(LEFT, 9)
    arm.connect(torque=True, write_eeprom=True)
    assert emulation.read(LEFT, 9, "current_limit") == 200
    assert emulation.read(LEFT, 9, "operating_mode") == 5
    assert emulation.writes(LEFT, 9)["current_limit"] == 1
    assert emulation.read(LEFT, 9, "goal_current") == 200


def test_02_eeprom_is_not_written_while_the_arm_holds():
    arm, emulation = lone_arm(spec=respecified(9, eeprom={"baud_rate": 3}))
    servo = emulation.buses[LEFT].servo(2)
    servo.write(64, b"\x01")
    with pytest.raises(ArmingRefused, match="torque off, and this servo's is on"):
        arm.connect(torque=True, write_eeprom=True)
    assert emulation.read(LEFT, 2, "torque_enable") == 1


@pytest.mark.parametrize("pose", [{}, {"follower_left/shoulder": -0.5, "follower_left/elbow": 0.3}])
def test_03_nothing_moves_when_torque_comes_on(pose):
    bench = Bench(gravity=False)
    bench.backend.place(pose)
    servo = bench.emulation.buses[LEFT].servo(2)
    servo.table.set("goal_position", 2500)  # stale: without care the arm would jump there
    before = bench.backend.motion().position.copy()
    with bench.clock.attending():
        bench.robot.connect()
        bench.wait(0.5)
        assert np.abs(bench.backend.motion().position - before).max() < 0.01
        assert all(bench.read(id, "torque_enable") == 1 for id in range(1, 10))
        assert all(bench.read(id, "bus_watchdog") == 10 for id in range(1, 10))
        bench.robot.disconnect()


def test_11_a_shadow_that_disagrees_is_refused():
    arm, emulation = lone_arm(spec=respecified(3, mount_error=40))
    text = refusal(arm, emulation)
    assert "ID 3: shoulder: expected its two servos within 15 ticks" in text
    assert "homing_offset" in text
    arm, _ = lone_arm(spec=respecified(3, mount_error=8))
    arm.connect(torque=True)


def test_11_a_shadow_that_slips_later_makes_the_arm_hold():
    with running(gravity=False) as bench:
        bench.fault(FaultKind.ENCODER_JUMP, ids=(5,), value=60.0)
        bench.wait(0.3)
        worker = bench.robot.workers[0]
        assert "elbow: its two servos (IDs 4, 5) differ by" in worker.fault
        assert bench.read(4, "torque_enable") == 1


def test_a_lone_leader_arm_has_smaller_servos():
    assert [servo.model.name for servo in WX250S.servos[-2:]] == ["XL430-W250", "XL430-W250"]


def test_arming_twice_in_a_row_changes_nothing():
    arm, emulation = lone_arm()
    arm.connect(torque=True)
    arm.release_watchdogs()
    arm.bus.close()
    before = {id: emulation.writes(LEFT, id) for id in range(1, 10)}
    arm.connect(torque=True)
    for id in range(1, 10):
        again = emulation.writes(LEFT, id)
        assert {name for name in again if again[name] != before[id].get(name)} == {"bus_watchdog"}
    assert len(emulation.log.events(Kind.TORQUE)) == 9


def test_a_servo_that_forgets_what_it_was_told_is_refused():
    arm, emulation = lone_arm()
    servo = emulation.buses[LEFT].servo(6)
    write = servo.write
    servo.write = lambda address, data, **options: None if address == 98 else write(address, data, **options)
    with pytest.raises(ArmingRefused, match="forearm_roll: expected bus_watchdog 10 after it was written, got 0"):
        arm.connect(torque=True)
    assert not arm.bus.is_open


def test_a_state_needs_all_its_bytes():
    with pytest.raises(ValueError, match="expected 21 bytes, got 20"):
        ServoState.decode(bytes(20), True, 0.0)
    assert StateKeeper(VX300S).update({}, (), 0.0) is None


def test_servos_are_told_in_their_order_whoever_answered_first():
    keeper = StateKeeper(VX300S)
    status = lambda id: Status(id, 0, bytes(20) + bytes([id]))  # noqa: E731 its temperature is its ID
    late = VX300S.ids[2]
    assert keeper.update({id: status(id) for id in VX300S.ids if id != late}, (), 0.0) is None
    state = keeper.update({late: status(late)}, (), 0.02)
    assert [servo.temperature for servo in state.servos.values()] == list(VX300S.ids)


def test_an_arm_that_was_moved_between_two_sessions_is_not_told_to_go_back():
    arm, emulation = lone_arm()
    arm.connect(torque=True)
    before = arm.read()
    arm.bus.close()
    arm.connect(torque=True)
    arm.fast = False
    emulation.buses[LEFT].plan.add(Fault(FaultKind.DROP_REPLY, ids=(1,)))
    assert before is not None
    assert arm.read() is None  # not the position of the session before
    with pytest.raises(BusError, match="expected answers of all servos"):
        ArmWorker(arm, emulation.clock).start()
