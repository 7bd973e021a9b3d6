"""One arm's tick, 50 times a second in a thread of its own: read, judge, decide, write, publish."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress

import numpy as np

from robot_drivers.aloha.arm import Arm
from robot_drivers.aloha.health import Health, Pace, Verdict
from robot_drivers.aloha.layout import ServoLayout
from robot_drivers.aloha.recovery import GripperRecovery
from robot_drivers.aloha.setpoint import Mode, Setpoint
from robot_drivers.aloha.state import ArmState
from robot_drivers.aloha.ticks import TickCounts
from robot_drivers.aloha.watchdog import Loss, RamWatch
from robot_drivers.clock import Clock
from robot_drivers.dynamixel.errors import BusError, PortBusy, PortMissing, Unplugged
from vla.protocols import SafetyStop
from vla.types import FloatArray

REOPEN = 0.1  # [s] between attempts to open a port that was unplugged
FIRST_READS = 5  # until every servo has answered at least once
STALLED = 1.0  # [s] without a tick
LEAST = 0.006  # [s] that a read may take, however late its tick begins: to see nothing is worse than to be late
SPARE = 0.003  # [s] at the end of a tick, for a servo that is asked by itself and for the goals
GOALS = 0.0005  # [s] of that, for the goals
LOOK = 0.008  # [s] that reading back a servo's RAM takes at most
LOCK_PATIENCE = 0.02  # [s] that `hold` waits for the line before it leaves the writing to the next tick


class ArmWorker:
    """Keeps one arm under control. All methods may be called from any thread.

    Args:
        arm: connected.
        clock: its time.

    Attributes:
        arm: as given.
        ticks: how many, how late.
        fault: why the arm holds and takes no commands; empty while it does.
        verdict: of the newest state.
    """

    def __init__(self, arm: Arm, clock: Clock) -> None:
        self.arm, self._clock, config = arm, clock, arm.config
        self.ticks = TickCounts(config.period)
        self.fault = ""
        self.verdict = Verdict(Pace.FULL)
        self._config = config
        self._health = Health(arm.bus.name, arm.layout, config)
        self._setpoint = Setpoint(arm.layout, config)
        self._ram, self._recovery = RamWatch(arm), GripperRecovery(arm)
        self._lock = threading.RLock()  # `hold` may be called by a signal handler of a thread that is inside
        self._events: deque[str] = deque(maxlen=100)
        self._state: ArmState | None = None
        # IDs that were not read since a reboot or `restore` set their goal anew: the one in mind would be a jump.
        self._unseen: frozenset[int] = frozenset()
        self._reopen_at, self._ticked_at = float("-inf"), clock.now()
        self._ended, self._known = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> ArmState:
        """The newest state.

        Raises:
            RuntimeError: there is none before the first tick.
        """
        if self._state is None:
            raise RuntimeError(f"{self.arm.bus.name}: expected a state, but no tick has been completed; start() first")
        return self._state

    @property
    def trouble(self) -> str:
        """Why commands are refused; empty if they are not."""
        silent = self._clock.now() - self._ticked_at
        if not self.fault and silent > STALLED:
            return f"{self.arm.bus.name}: no tick for {silent:.1f} s; its thread has ended or the computer is too busy"
        return self.fault

    @property
    def goal(self) -> FloatArray:
        """[rad] (7,) as last sent."""
        return self._setpoint.goal.copy()

    @property
    def mode(self) -> Mode:
        """Where goals come from."""
        return self._setpoint.mode

    def start(self) -> None:
        """One tick here, then all others in a thread.

        Raises:
            BusError: the first tick failed.
        """
        reads = (self.arm.read() for _ in range(FIRST_READS))
        state = next((state for state in reads if state is not None and not state.stale), None)
        if state is None:
            raise BusError(self.arm.bus.name, "answers of all servos", "none of some", "Check cables and power.")
        self._state, self._setpoint.goal, self._unseen = state, state.position.copy(), frozenset()
        self._ticked_at = self._clock.now()
        self.arm.bus.take_silence()  # before the first tick nobody has to be asked
        self._ended.clear()
        self._known.clear()
        self._thread = threading.Thread(target=self._run, name=self.arm.bus.name, daemon=True)
        self._thread.start()
        self._known.wait()

    def end(self) -> None:
        """End the thread; the arm goes on holding."""
        self._ended.set()
        thread, self._thread = self._thread, None
        while thread is not None and thread.is_alive():
            self._clock.sleep_until(self._clock.now() + self._config.period)
            thread.join(0.001)

    def command(self, target: FloatArray) -> None:
        """Go to [rad] (7,) at once, but no faster than allowed; commands must keep coming.

        Raises:
            SafetyStop: the arm is at fault and takes no commands.
            ValueError: not (7,) finite numbers.
        """
        if target.shape != (7,) or not np.isfinite(target).all():
            raise ValueError(f"{self.arm.bus.name}: expected (7,) finite goals, got {target}")
        with self._lock:
            if self.trouble:
                raise SafetyStop(
                    f"{self.trouble.rstrip('.')}. The robot holds; mend it, then call go_to to begin again"
                )
            self._setpoint.follow(target, self._clock.now())

    def move(self, end: FloatArray, seconds: float = 0.0) -> None:
        """Begin a slow move to [rad] (7,); `mode` becomes HOLD when it is over.

        Args:
            end: where to.
            seconds: how long, if longer than necessary.
        """
        with self._lock:
            self._setpoint.move(end, seconds, self._clock.now())

    def move_time(self, end: FloatArray) -> float:
        """[s] that a slow move to [rad] (7,) takes."""
        return self._setpoint.move_time(end)

    def hold(self, why: str = "") -> None:
        """Stop where the arm is. The gripper keeps its goal, or what it holds would fall.

        The goal is written here if the line is free within LOCK_PATIENCE, else in the next tick, before anything else.

        Args:
            why: becomes the `fault`, which refuses commands until `clear_fault`.
        """
        self.freeze(why)
        self.send_goal()

    def freeze(self, why: str = "") -> None:
        """As `hold`, but leaves the writing to `send_goal` or the next tick, and so never waits."""
        with self._lock:
            self._hold(why)

    def send_goal(self) -> None:
        """Write the goal now, without waiting for the next tick."""
        # If the line is busy for longer, the tick that keeps it writes; if it is gone, the servos' own watchdog holds.
        with suppress(TimeoutError, Unplugged), self.arm.bus.line(LOCK_PATIENCE), self._lock:
            self.arm.write_goals(self._setpoint.goal, self._unseen)

    def clear_fault(self) -> str:
        """Take commands again, if the reason to hold is gone; the reason if it is not."""
        with self._lock:
            if not self.arm.bus.is_open:
                return f"{self.arm.bus.name}: the port is gone; plug the cable in"
            if self.verdict.reason:
                return self.verdict.reason
            if self._unseen:
                return f"{self.arm.bus.name}: servos {sorted(self._unseen)} are being brought back; try again"
            self._recovery.clear()
            self.fault = ""
        return ""

    def take_events(self) -> tuple[str, ...]:
        """What happened since the last call, and what is the case now."""
        with self._lock:
            happened = tuple(self._events)
            self._events.clear()
        return (*happened, *self.verdict.events, *((self.fault,) if self.fault else ()))

    def tick(self, due: float) -> None:
        """Read, judge, decide, write, publish. Never raises for what a bus can do.

        Args:
            due: [s] when the next one is.
        """
        now = self._clock.now()
        paused = self.arm.bus.take_silence() > 0.75 * self._config.watch.servo
        self._ticked_at = now
        try:
            if not self.arm.bus.is_open:
                self._unseen = frozenset(self.arm.layout.ids)  # before it is open: nobody may move it at once
                self._reopen(now)
                return
            if paused:  # the servos' watchdog may have fired meanwhile
                self._fail(f"{self.arm.bus.name}: the host was away for too long", restore=True)
            self._read(now, max(due - SPARE, self._clock.now() + LEAST))
            self._act(now)
        except Unplugged as error:
            self._fail(f"{self.arm.bus.name}: unplugged: {error}")
        except BusError as error:
            self._note(str(error))

    def _read(self, now: float, until: float) -> None:
        silent = self._recovery.silent
        before = self._state
        state = self.arm.read(silent, until)
        if state is None or before is None:
            raise Unplugged(self.arm.bus.name, "a servo that never answered")
        back = [id for id in before.stale if id not in state.stale and before.stale[id] > 1]
        self._ram.suspect(back)  # who comes back may have rebooted
        self.verdict = self._health.judge(state, silent)
        self._state = state
        if seen := self._unseen.difference(state.stale):
            with self._lock:
                self._setpoint.adopt(state, seen)
                self._unseen -= seen
        end = until + SPARE - GOALS
        if event := self._recovery.step(state.alerts.difference(state.stale), now, end):
            self._note(event)
        self._unseen |= self._recovery.silent  # after its reboot the gripper's goal is where it stands
        short = self._clock.now() > until - LOOK
        if loss := self._ram.step(self._recovery.silent | state.alerts, end, short=short):
            self._restore(loss)
        if reason := self._recovery.failed or self.verdict.reason:
            self._fail(reason)

    def _act(self, now: float) -> None:
        with self.arm.bus.line(), self._lock:
            if event := self._setpoint.react(now, may_rest=not self.fault):
                self._note(f"{self.arm.bus.name}: {event}")
            share = self._config.warmth.slow_share if self.verdict.pace == Pace.SLOW else 1.0
            limp = np.array([not self.arm.torque[servo.id] for servo in self.arm.layout.primaries])
            if objection := self._setpoint.advance(self.state, limp, share, now):
                self._hold(f"{self.arm.bus.name}: {objection}")
            self.arm.write_goals(self._setpoint.goal, self._unseen)

    def _hold(self, why: str) -> None:
        if why and not self.fault:
            self.fault = why
        self._setpoint.hold(self._state)

    def _restore(self, loss: Loss) -> None:
        where = f"{self.arm.bus.name} {loss.servo.joint} (ID {loss.servo.id})"
        why = "its bus watchdog fired" if loss.tripped else "it lost its RAM: brown-out?"
        self._note(f"{where}: {why} ({', '.join(loss.registers)})")
        if loss.tripped or loss.torque:
            self._fail(f"{where}: {why}; holding where the arm is", restore=True)
        else:
            self._recover(loss.servo)

    def _recover(self, servo: ServoLayout) -> None:
        try:
            self.arm.recover(servo)
        except Unplugged:
            raise
        except BusError as error:  # the others still need it
            self._note(str(error))
            self._ram.suspect((servo.id,))

    def _fail(self, why: str, *, restore: bool = False) -> None:
        if not self.fault:
            self._note(why)
        with self._lock:
            self._hold(why)
            if restore:
                self._unseen = frozenset(self.arm.layout.ids)
        if restore:
            self._take_hold()

    def _take_hold(self) -> None:
        """Bring all servos back to what they must be, and stay where the arm is by then.

        Raises:
            Unplugged: the port is gone; nothing is written until this has succeeded.
        """
        state = self.arm.read(self._recovery.silent)
        dumb = () if state is None else tuple(state.stale.keys() - state.impossible)
        self._ram.suspect(dumb)  # a servo that is dead for good must not keep the others waiting
        for servo in self.arm.layout.servos:
            if servo.id not in self.arm.bus.alerts.union(self._recovery.silent, dumb):
                self._recover(servo)
        state = self.arm.read(self._recovery.silent)
        with self._lock:
            if state is not None:
                self._state = state
                self._setpoint.stay(state)
                self._unseen = frozenset(state.stale)

    def _reopen(self, now: float) -> None:
        if now < self._reopen_at:
            return
        self._reopen_at = now + REOPEN
        try:
            self.arm.bus.open()
        except (PortMissing, PortBusy, Unplugged):
            return
        self._fail(self.fault or f"{self.arm.bus.name}: opened again", restore=True)
        self._note(f"{self.arm.bus.name}: plugged in again; holding where the arm is")

    def _note(self, event: str) -> None:
        with self._lock:
            self._events.append(event)

    def _run(self) -> None:
        with self._clock.attending(self._known):
            deadline = self._clock.now() + self._config.period
            while not self._ended.is_set():
                self._clock.sleep_until(deadline)
                begun = self._clock.now()
                self.tick(deadline + self._config.period)
                deadline = self.ticks.count(deadline, begun, self._clock.now())
