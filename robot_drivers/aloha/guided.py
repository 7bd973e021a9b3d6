"""Emulated leaders in scripted hands: teleoperation without arms and without a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robot_drivers.aloha.config import ArmConfig
from robot_drivers.aloha.emulated import leaders_emulated
from robot_drivers.clock import Clock
from robot_drivers.emulator.aloha import aloha_buses, aloha_joints, emulated_aloha
from robot_drivers.emulator.hands import Keyframes
from robot_drivers.emulator.joints import JointBackend
from vla.types import ActionSpec, FloatArray


class GuidedLeaders:
    """Implements `vla.protocols.SpecTeleoperator`: leaders on an emulated bus of their own, and hands that carry them.

    Args:
        hands: (time [s], {`leader_left/waist`: position [rad]}), see `emulator.hands.Keyframes`. Time begins with the
            first tick of an episode.
        hand_back_after: [s] when the person hands back; None: never.
        gripper, config: see `emulated.aloha_emulated`.
        clock: real time if None.

    Raises:
        ValueError: times that do not grow, or an unknown joint.
    """

    def __init__(
        self,
        hands: Sequence[tuple[float, Mapping[str, float]]],
        hand_back_after: float | None = None,
        gripper: str = "aloha",
        config: ArmConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._backend = JointBackend(
            [joint for bus in aloha_buses() for joint in aloha_joints(bus.name)], gravity=False
        )
        unknown = {name for _, pose in hands for name in pose} - set(self._backend.joints)
        if unknown:
            raise ValueError(f"hands: expected joints such as leader_left/waist, got {', '.join(sorted(unknown))}")
        Keyframes(hands)  # refuses what it cannot follow before anything is connected
        self._hands, self._hand_back_after = hands, hand_back_after
        self._emulation = emulated_aloha(backends=[self._backend], clock=clock)
        self._leaders = leaders_emulated(self._emulation, gripper=gripper, config=config)
        self._began: float | None = None
        self._over = False

    def prepare(self, spec: ActionSpec) -> None:
        """See `LeaderArms.prepare`."""
        self._leaders.prepare(spec)

    def connect(self) -> None:
        """See `LeaderArms.connect`."""
        self._leaders.connect()

    def wants_control(self) -> bool:
        """See `LeaderArms.wants_control`; the first call of an episode begins the script."""
        now = self._emulation.now()
        if self._began is None:
            self._began = now
            self._guide([(now + time, pose) for time, pose in self._hands])
        due = self._hand_back_after is not None and now - self._began >= self._hand_back_after
        if due and not self._over:
            self.hand_back()
        return self._leaders.wants_control()

    def align(self, action: FloatArray) -> bool:
        """See `LeaderArms.align`."""
        return self._leaders.align(action)

    def get_action(self) -> FloatArray:
        """See `LeaderArms.get_action`."""
        return self._leaders.get_action()

    def hand_back(self) -> None:
        """The person lets go of the arms; the script is over until the next episode."""
        self._guide([])
        self._leaders.hand_back()
        self._over = True

    def reset(self) -> None:
        """A new episode: the script begins again."""
        self._began, self._over = None, False

    def disconnect(self) -> None:
        """See `LeaderArms.disconnect`."""
        self._leaders.disconnect()
        self._emulation.close()

    def _guide(self, frames: Sequence[tuple[float, Mapping[str, float]]]) -> None:
        with self._emulation.world.lock:
            self._backend.guide(Keyframes(frames) if frames else None)
