"""The two leader arms behind `vla.protocols.Teleoperator`: a person squeezes a gripper, and from then on commands."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.calibration import GripperSet
from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.layout import ArmLayout, ServoLayout
from robot_drivers.aloha.setpoint import Mode
from robot_drivers.aloha.startup import start_workers
from robot_drivers.aloha.worker import ArmWorker
from robot_drivers.clock import Clock
from vla.protocols import SafetyStop
from vla.types import ActionSpec, FloatArray

ALIGNED = 0.08  # [rad] from where the followers are, when the person may take over
LEAD = 0.15  # [rad] no farther ahead of a leader is its goal, or it would spring there when a hand lets it go
BLEND = 1.0  # [s] in which what is left of that distance is taken back
CAUGHT, REOPENED = 0.1, 0.3  # so near to a closed gripper, or so far opened again, a leader's takes it over
OPENED = 0.1  # [rad] beyond the squeeze a gripper counts as open again; a trembling hand is no new squeeze


class _Phase(StrEnum):
    FREE = "free"  # without torque, nobody commands
    ALIGNING = "aligning"  # on the way to the followers, with torque
    COMMANDING = "commanding"  # without torque, in the person's hands
    RESTING = "resting"  # on the way to where they can lie, with torque


_LIMP = (_Phase.FREE, _Phase.COMMANDING)


class LeaderArms:
    """Two leaders. Their grippers never have torque, so that they can be squeezed at any time.

    Args:
        arms: left, right; `connect` opens them.
        grippers: constants of the grippers.
        follower: whose limits commands are kept in; a leader reaches further.
        config: behaviour.
        clock: the robot's time.

    Attributes:
        workers: left, right; empty while not connected.
    """

    def __init__(
        self, arms: Sequence[Arm], grippers: GripperSet, follower: ArmLayout, config: ArmConfig, clock: Clock
    ) -> None:
        self._arms, self._grippers, self._config, self._clock = tuple(arms), grippers, config, clock
        margin = config.limits.margin
        self._low = np.tile(np.append(follower.low + margin, 0.0), 2)
        self._high = np.tile(np.append(follower.high - margin, 1.0), 2)
        self.workers: tuple[ArmWorker, ...] = ()
        self._phase, self._opened, self._asked = _Phase.FREE, False, False
        self._offset, self._since = np.zeros(14), 0.0
        self._kept, self._closest = np.zeros(14), np.zeros(14)
        self._keeps = np.zeros(14, dtype=bool)  # grippers that would open if they followed their leaders

    def prepare(self, spec: ActionSpec) -> None:
        """Make sure that the robot is commanded with what leaders say: where 14 joints are.

        Raises:
            ValueError: it is another robot.
        """
        if spec.kind != "joint_position" or not np.array_equal(spec.gripper, self._grippers_of()):
            raise ValueError(
                "teleop: leader arms command a robot that takes 14 joint positions, 6 joints and a gripper of the left "
                f"arm, then of the right; this one takes {len(spec.names)} entries, {spec.kind}: "
                f"{', '.join(spec.names)}. Choose such a robot, or teleop=keyboard."
            )

    def connect(self) -> None:
        """Open and check both leaders; torque stays as it is, which is off at the start.

        Raises:
            ArmingRefused, BusError: nothing is left open.
        """
        self.workers = start_workers(self._arms, self._clock, torque=False)
        self._phase, self._opened, self._asked = _Phase.FREE, False, False

    def wants_control(self) -> bool:
        """Whether a person has squeezed a leader's gripper since both were open after `hand_back`; asked once a tick.

        Leaders that have come to rest go limp.

        Raises:
            BusError: see `errors`.
        """
        if self._phase == _Phase.RESTING and all(_lies(worker) for worker in self.workers):
            self._release(_Phase.FREE)
        angles, squeezed = [worker.state.position[6] for worker in self.workers], self._grippers.squeezed_below
        self._opened = self._opened or all(angle > squeezed + OPENED for angle in angles)
        self._asked = self._asked or (self._opened and any(angle < squeezed for angle in angles))
        return self._asked

    def hand_back(self) -> None:
        """The person lets the policy command again; bind it to a key or pedal.

        Arms that are limp in their hands stay limp. Those on the way to the followers are in nobody's hands: they go to
        rest slowly, and stay where they are stopped; the next call, or squeeze, moves them again.
        """
        self._opened, self._asked = False, False
        if self._phase in _LIMP:
            self._phase = _Phase.FREE
            return
        self._phase = _Phase.RESTING
        for worker in self.workers:
            if _holds(worker) and not worker.clear_fault():
                worker.move(np.append(worker.arm.layout.rest, worker.goal[6]))

    def align(self, action: FloatArray) -> bool:
        """Come one tick nearer to (14,), slowly; True when there, and then the arms are limp in the person's hands.

        Raises:
            SafetyStop: a leader cannot move.
            BusError: see `errors`.
        """
        self._phase = _Phase.ALIGNING
        if limp := [worker for worker in self._ready() if not _holds(worker)]:
            limp[0].arm.set_torque(_joints(limp[0]), True)  # one arm a tick: it takes most of one
            return False
        there = True
        speed = self._config.homing.speed * self._config.period
        for worker, part in zip(self._ready(), np.split(np.asarray(action, dtype=np.float64), 2), strict=True):
            layout, goal, position = worker.arm.layout, worker.goal, worker.state.position[:6]
            wanted = np.clip(part[:6], layout.low, layout.high)
            ahead = np.clip(goal[:6] + np.clip(wanted - goal[:6], -speed, speed), position - LEAD, position + LEAD)
            worker.command(np.append(ahead, goal[6]))
            there &= bool(np.all(np.abs(position - wanted) < ALIGNED))
        if not there:
            return False
        self._release(_Phase.COMMANDING)
        self._since, measured = self._clock.now(), self._measured()
        self._offset = np.where(self._grippers_of(), 0.0, action - measured)
        self._kept, self._closest, self._keeps = action.copy(), measured, self._grippers_of()
        return True

    def get_action(self) -> FloatArray:
        """(14,) where the leaders are, within the followers' limits.

        A follower's gripper stays as closed as it was told until the leader's has come there, or what it holds would
        fall; or until it was opened on purpose, for a trigger may end before it is closed.

        Raises:
            SafetyStop: a leader does not answer any more.
        """
        self._ready()
        left, measured = max(0.0, 1.0 - (self._clock.now() - self._since) / BLEND), self._measured()
        self._closest = np.minimum(self._closest, measured)
        self._keeps &= (measured > self._kept + CAUGHT) & (measured < self._closest + REOPENED)
        action = np.where(self._keeps, self._kept, measured + left * self._offset)
        return np.clip(action, self._low, self._high)

    def disconnect(self) -> None:
        """Let go and close. A leader on its way keeps its torque: it would fall."""
        workers, self.workers = self.workers, ()
        for worker in workers:
            worker.hold()
            worker.end()
            worker.arm.bus.close()

    def _ready(self) -> tuple[ArmWorker, ...]:
        if not self.workers:
            raise RuntimeError("LeaderArms: expected connected leaders; call connect() first")
        for worker in self.workers:
            if worker.fault:
                worker.clear_fault()
            if worker.trouble:  # also when its thread is gone and its last state stands still
                raise SafetyStop(f"leader: {worker.trouble}")
        return self.workers

    def _release(self, phase: _Phase) -> None:
        for worker in self.workers:
            worker.hold()
            worker.arm.set_torque(_joints(worker), False)
        self._phase = phase

    def _measured(self) -> FloatArray:
        """(14,) on the scale of actions."""
        parts = []
        for worker in self.workers:
            position = worker.state.position
            parts.append(np.append(position[:6], self._grippers.leader.from_joint(float(position[6]))))
        return np.concatenate(parts)

    @staticmethod
    def _grippers_of() -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.tile(np.arange(7) == 6, 2)


def _joints(worker: ArmWorker) -> tuple[ServoLayout, ...]:
    return worker.arm.layout.primaries[:6]


def _holds(worker: ArmWorker) -> bool:
    return all(worker.arm.torque[servo.id] for servo in _joints(worker))


def _lies(worker: ArmWorker) -> bool:
    return not _holds(worker) or (worker.mode == Mode.HOLD and worker.arm.at_rest(worker.state))
