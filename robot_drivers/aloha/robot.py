"""The robot: two follower arms behind `vla.protocols.Robot`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.calibration import GripperSet
from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.gate import Gate
from robot_drivers.aloha.health import Pace
from robot_drivers.aloha.layout import JOINTS
from robot_drivers.aloha.revive import revive
from robot_drivers.aloha.setpoint import Mode
from robot_drivers.aloha.startup import start_workers
from robot_drivers.aloha.worker import ArmWorker
from robot_drivers.cameras.camera import Camera
from robot_drivers.cameras.live import close_all, open_all
from robot_drivers.clock import Clock
from robot_drivers.dynamixel.errors import BusError
from vla.protocols import SafetyStop
from vla.types import ActionSpec, FloatArray, Reading

SIDES = ("left", "right")
_MOVE_EXTRA = 5.0  # [s] after which a slow move that is not over counts as failed


class AlohaRobot:
    """Two arms, 14 numbers: left joints [rad], left gripper, right joints, right gripper.

    Actions give a gripper as its servo's angle, states as the distance of its fingers, both 0 closed and 1 open: so
    ALOHA's data is written, see `calibration.py`.

    Args:
        arms: left, right; `connect` opens them.
        grippers: constants of the grippers.
        config: behaviour, the same for both arms.
        clock: the robot's time.
        cameras: by name; opened before the arms and closed after them.
        refusal: if not empty, `connect` refuses with it.
        write_eeprom: whether arming may set EEPROM values that differ.
        on_close: called at the end of `disconnect`.

    Attributes:
        action_spec, state_names, cameras: see `Robot`.
        workers: left, right; empty while not connected.
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        grippers: GripperSet,
        config: ArmConfig,
        clock: Clock,
        *,
        cameras: Mapping[str, Camera] | None = None,
        refusal: str = "",
        write_eeprom: bool = False,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        if len(arms) != len(SIDES):
            raise ValueError(f"AlohaRobot: expected {len(SIDES)} arms, got {len(arms)}")
        self._arms, self._gripper, self._config, self._clock = tuple(arms), grippers.follower, config, clock
        self._cameras = dict(cameras or {})
        self._refusal, self._write_eeprom, self._on_close = refusal, write_eeprom, on_close
        margin = config.limits.margin
        low = [np.append(arm.layout.low + margin, 0.0) for arm in arms]
        high = [np.append(arm.layout.high - margin, 1.0) for arm in arms]
        step, change = (
            np.tile(np.append(np.full(6, largest), np.inf), 2)
            for largest in (config.limits.speed / config.hz, config.limits.acceleration / config.hz**2)
        )
        entries = (*(f"{joint} [rad]" for joint in JOINTS), "gripper [0 closed, 1 open]")
        names = tuple(f"{side}_{entry}" for side in SIDES for entry in entries)
        self.action_spec = ActionSpec(
            "joint_position", names, np.concatenate(low), np.concatenate(high), step, config.hz, change
        )
        self.state_names = names
        self.cameras = tuple(self._cameras)
        spec = self.action_spec
        self._gate = Gate(names, spec.low, spec.high, ~spec.gripper, config.limits, config.hz)
        self.workers: tuple[ArmWorker, ...] = ()
        self._last: FloatArray | None = None
        self._stopped = False  # a plain one: a signal handler may set it while this very thread does

    def connect(self) -> None:
        """Open the cameras, open and check both arms, take hold of them without moving them, begin ticking.

        Raises:
            CameraError, ArmingRefused, BusError, RuntimeError: nothing is left open.
        """
        if self._refusal:
            raise RuntimeError(self._refusal)
        if self.workers:
            raise RuntimeError("AlohaRobot.connect: expected a robot that is not connected; call disconnect() first")
        self._stopped = False  # first: a stop that comes meanwhile counts
        open_all(self._cameras, self._clock)
        try:
            workers = start_workers(self._arms, self._clock, torque=True, write_eeprom=self._write_eeprom)
        except BaseException:
            close_all(self._cameras)
            raise
        self._last = None
        self.workers = workers

    def resume(self) -> None:
        """Lift a stop. Nothing moves; `go_to` and `rest` may."""
        self._stopped = False

    def go_to(self, state: FloatArray) -> None:
        """Move slowly to (14,), on the scale of actions, and return when there. Clears faults that are mended.

        Raises:
            SafetyStop: a pose outside the limits, an arm that cannot move, resistance, or a stop; it holds.
        """
        workers, spec = self._connected(), self.action_spec
        target = np.asarray(state, dtype=np.float64)
        self._gate.check_form(target, 0.0)
        outside = (target < spec.low) | (target > spec.high)
        if outside.any():
            entry = int(np.argmax(outside))
            raise SafetyStop(
                f"go_to: {spec.names[entry]}: expected {spec.low[entry]:.4f} to {spec.high[entry]:.4f}, "
                f"got {target[entry]:.4f}; nothing moved"
            )
        self._move(workers, [self._to_joints(part) for part in np.split(target, 2)])

    def rest(self) -> None:
        """Move slowly to where the arms can lie without torque.

        Raises:
            SafetyStop: see `go_to`.
        """
        workers = self._connected()
        self._move(workers, [np.append(worker.arm.layout.rest, worker.goal[6]) for worker in workers])

    def get_reading(self) -> Reading:
        """The newest state of both arms, at most a tick old, and the newest images.

        Channels: `velocity` (14,) [rad/s] and [1/s], `effort` (14,) [A], `gripper_joint` (2,) on the scale of actions,
        `temperature` [degC] and `voltage` [V] (18,) of all servos, left first.

        Raises:
            FrameError: a camera, a `SafetyStop`: nobody can act on what they do not see. The robot holds.
        """
        workers = self._connected()
        try:
            images = {name: camera.latest() for name, camera in self._cameras.items()}
        except SafetyStop:
            self._hold(workers)
            raise
        states = [worker.state for worker in workers]
        events = tuple(event for worker in workers for event in worker.take_events())
        return Reading(
            images={name: image for name, (image, _) in images.items()},
            image_times={name: taken for name, (_, taken) in images.items()},
            state=np.concatenate([self._to_state(state.position) for state in states]),
            time=min(state.time for state in states),
            channels={
                "velocity": np.concatenate([self._to_speed(state.position, state.velocity) for state in states]),
                "effort": np.concatenate([state.effort for state in states]),
                "gripper_joint": np.array([self._gripper.from_joint(float(state.position[6])) for state in states]),
                "temperature": np.array([servo.temperature for state in states for servo in state.servos.values()]),
                "voltage": np.array([servo.voltage for state in states for servo in state.servos.values()]),
            },
            events=events,
        )

    def get_goal(self) -> FloatArray:
        """(14,) the last action; where the arms were told to be when the last motion was not an action."""
        workers = self._connected()
        last = self._following(workers)
        return self._standing(workers) if last is None else last.copy()

    def send_action(self, action: FloatArray, decided_at: float | None = None) -> FloatArray:
        """Command (14,); the arms take it in their next tick.

        Args:
            action: joints [rad], grippers 0 to 1.
            decided_at: [s] on the robot's clock; None: now.

        Returns:
            (14,) what was really taken: slower than asked for when a servo is warm.

        Raises:
            SafetyStop: refused, or the robot is stopped or at fault. Nothing was sent and it holds.
        """
        workers = self._connected()
        now = self._clock.now()
        try:
            self._require_ready(workers)
            action = np.array(action, dtype=np.float64)
            self._gate.check_form(action, 0.0 if decided_at is None else now - decided_at)
            last, present = self._following(workers), self._present(workers)
            if last is None:
                self._gate.reset()
                last = self._standing(workers)
            action = self._slowed(workers, action, last)
            self._gate.check(action, last, present)
            for worker, part in zip(workers, np.split(action, 2), strict=True):
                worker.command(self._to_joints(part))
            self._require_ready(workers)  # a stop that came in between counts
        except SafetyStop:
            self._hold(workers)
            raise
        self._last = action
        return action.copy()

    def stop(self) -> None:
        """Hold still at once; torque stays on. From any thread or signal handler, any number of times.

        Commands are refused until `resume` and `go_to`.
        """
        self._stopped = True
        self._hold(self.workers)

    def torque_off(self, *, even_if_raised: bool = False) -> None:
        """Let both arms go limp. They fall: there are no brakes.

        Args:
            even_if_raised: also when they are not at rest; somebody supports them.

        Raises:
            SafetyStop: an arm is not at rest; nothing was switched off.
        """
        workers = self._connected()
        raised = ", ".join(worker.arm.bus.name for worker in workers if not worker.arm.at_rest(worker.state))
        if raised and not even_if_raised:
            raise SafetyStop(f"torque_off: expected arms at rest, but {raised} would fall; call rest() first")
        self.stop()
        for worker in workers:
            worker.arm.set_torque(worker.arm.layout.primaries, False)

    def revive(self, side: str, joint: str, say: Callable[[str], None], ready: Callable[[], None]) -> None:
        """Reboot servos of a joint that switched themselves off, while somebody supports the arm; see `revive.py`.

        Args:
            side: `left` or `right`.
            joint: name of it.
            say: takes lines for people.
            ready: returns when somebody supports the arm.

        Raises:
            ValueError: there is no such arm or joint.
            BusError, RuntimeError: nothing is left open.
        """
        if side not in SIDES:
            raise ValueError(f"arm: expected one of {', '.join(SIDES)}, got {side!r}")
        if self._refusal:
            raise RuntimeError(self._refusal)
        if self.workers:
            raise RuntimeError("AlohaRobot.revive: expected a robot that is not connected; call disconnect() first")
        revive(self._arms[SIDES.index(side)], joint, self._clock, say, ready)

    def disconnect(self) -> None:
        """Hold, end the ticks, close the ports. Torque stays on: a raised arm stays up."""
        workers, self.workers = self.workers, ()
        self._hold(workers)
        for worker in workers:
            worker.end()
            with suppress(BusError):  # who does not hear it holds by its own watchdog
                worker.arm.release_watchdogs()
            worker.arm.bus.close()
        close_all(self._cameras)
        self._on_close()

    def _connected(self) -> tuple[ArmWorker, ...]:
        if not self.workers:
            raise RuntimeError("AlohaRobot: expected a connected robot; call connect() first")
        return self.workers

    def _require_not_stopped(self) -> None:
        if self._stopped:
            raise SafetyStop("the robot was stopped; call resume, then go_to to begin again")

    def _require_ready(self, workers: Sequence[ArmWorker]) -> None:
        self._require_not_stopped()
        for worker in workers:
            if trouble := worker.trouble:
                raise SafetyStop(f"{trouble.rstrip('.')}. The robot holds; mend it, then call go_to to begin again")

    def _hold(self, workers: Sequence[ArmWorker]) -> None:
        for worker in workers:
            worker.freeze()  # first all: writing may have to wait for a line
        for worker in workers:
            worker.send_goal()
        self._gate.reset()
        self._last = None

    def _move(self, workers: Sequence[ArmWorker], ends: Sequence[FloatArray]) -> None:
        try:
            self._require_not_stopped()
            if reasons := [reason for worker in workers if (reason := worker.clear_fault())]:
                raise SafetyStop("; ".join(reasons))
            self._gate.reset()
            self._last = None
            seconds = max(worker.move_time(end) for worker, end in zip(workers, ends, strict=True))
            for worker, end in zip(workers, ends, strict=True):
                worker.move(end, seconds)
            deadline = self._clock.now() + seconds + _MOVE_EXTRA
            while any(worker.mode == Mode.MOVE for worker in workers):
                self._clock.sleep_until(self._clock.now() + self._config.period)
                self._require_ready(workers)
                if self._clock.now() > deadline:
                    raise SafetyStop("expected to be there by now; the ticks have ended")
            self._require_ready(workers)  # what ends a move before its time leaves it in HOLD, as arriving does
        except BaseException as error:
            self._hold(workers)
            if isinstance(error, SafetyStop):
                raise SafetyStop(f"slow move: {error}") from error
            raise

    def _following(self, workers: Sequence[ArmWorker]) -> FloatArray | None:
        """(14,) the last action; None when the last motion was not an action."""
        last = self._last
        return last if all(worker.mode == Mode.FOLLOW for worker in workers) else None

    def _standing(self, workers: Sequence[ArmWorker]) -> FloatArray:
        """(14,) where the arms were last told to be, by whatever motion."""
        return np.concatenate([self._to_action(worker.goal) for worker in workers])

    def _present(self, workers: Sequence[ArmWorker]) -> FloatArray:
        return np.concatenate([self._to_action(worker.state.position) for worker in workers])

    def _slowed(self, workers: Sequence[ArmWorker], action: FloatArray, last: FloatArray) -> FloatArray:
        if all(worker.verdict.pace != Pace.SLOW for worker in workers):
            return action
        step = self._config.warmth.slow_share * self.action_spec.max_step
        return np.clip(action, last - step, last + step)

    def _to_joints(self, part: FloatArray) -> FloatArray:
        return np.append(part[:6], self._gripper.to_joint(float(part[6])))

    def _to_action(self, joints: FloatArray) -> FloatArray:
        return np.append(joints[:6], self._gripper.from_joint(float(joints[6])))

    def _to_state(self, joints: FloatArray) -> FloatArray:
        return np.append(joints[:6], self._gripper.finger_from_joint(float(joints[6])))

    def _to_speed(self, joints: FloatArray, speed: FloatArray) -> FloatArray:
        angle, short = float(joints[6]), 1e-3  # [rad], [s]
        later = self._gripper.finger_from_joint(angle + short * float(speed[6]))
        return np.append(speed[:6], (later - self._gripper.finger_from_joint(angle)) / short)
