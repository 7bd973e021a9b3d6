"""What the rooms promise each other.

Simulation is a plain `gymnasium.Env`. What the loop and the evaluator read besides the gymnasium API:

- observation: `{"images": {camera: (H, W, 3) uint8}, "state": (S,) float64}`; images may be rendered when read;
- `reset(options={"trial": k})`; `info["instruction"]`, `info["is_success"]`, `info["time"]` [s];
- `info["sent"]` (A,), if given: what the robot was really told last, also at a reset; the next action goes on from it;
- on `env.unwrapped`: `action_spec: ActionSpec`, `task: TaskSpec`, `flat_state() -> (N,) float64`, and
  `timing: dict[str, float]` with the seconds spent in `sim` and `render` since the last reset;
- on `env.unwrapped`, if given: `robot_type: str`, as a dataset names the robot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from vla.types import ActionChunk, ActionSpec, Commander, Episode, FloatArray, Observation, Reading, Step, TaskSpec


class SafetyStop(RuntimeError):
    """The motion must end now; the message says what was wrong with the action."""


class SceneRefused(RuntimeError):
    """A scene cannot be arranged, or a scripted expert knows no way in it; another scene or task may go well."""


@runtime_checkable
class Policy(Protocol):
    """Answers an observation with a chunk of actions. numpy in, numpy out."""

    def reset(self) -> None:
        """Forget the previous episode."""

    def infer(self, observation: Observation) -> ActionChunk:
        """Plan the next actions."""


@runtime_checkable
class BatchedPolicy(Policy, Protocol):
    """A policy that answers several observations at once."""

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Plan for each observation; the answers equal those of single queries, but for rounding."""


@runtime_checkable
class PrefixPolicy(Policy, Protocol):
    """A policy that can plan on from the chunk that is running, as real-time chunking needs it.

    Attributes:
        accepts_prefix: whether this one can, with the model it holds.
    """

    accepts_prefix: bool

    def infer_after(self, observation: Observation, prefix: FloatArray, frozen: int) -> ActionChunk:
        """Plan the next actions as a continuation.

        Args:
            observation: what is seen now.
            prefix: (P, A) what is left of the running chunk, in env units; its first action belongs to this tick,
                like the first one of the answer.
            frozen: so many of them, 0 to P, are executed before the answer can be used. The answer begins with
                exactly these; the others are wishes.
        """


@runtime_checkable
class PrivilegedPolicy(Policy, Protocol):
    """A policy that reads the simulator's state, such as a scripted expert. It still acts by actions only.

    One that keeps what it was bound to should have `unbind()` as well, which lets go of it: it is called before the
    next environment is built, for two at a time are too large.
    """

    def bind(self, env: Any) -> None:
        """Attach to the unwrapped `gymnasium.Env` that is about to be run."""


@runtime_checkable
class SpecPolicy(Policy, Protocol):
    """A policy that must know the robot: doing nothing means something else to each."""

    def prepare(self, spec: ActionSpec) -> None:
        """Learn what an action means; called before the first episode in an environment.

        Raises:
            ValueError: it cannot act on such a robot.
        """


class Inference(Protocol):
    """Turns chunks into one action a tick."""

    @property
    def commander(self) -> Commander:
        """Who decided in the last tick."""

    @property
    def policy_calls(self) -> int:
        """Queries since the reset."""

    @property
    def policy_s(self) -> float:
        """[s] what they took."""

    def reset(self, spec: ActionSpec, last: FloatArray | None = None) -> None:
        """Start anew on a robot that takes actions by `spec`: empty queue, counters at zero.

        Args:
            spec: what an action means.
            last: (A,) what the robot was told last; None if nobody knows, as at the start of most simulations.
        """

    def next_action(self, observation: Observation) -> FloatArray:
        """The (A,) action for this tick; asks the policy when it must."""

    def was_sent(self, action: FloatArray) -> None:
        """(A,) what was really sent in this tick: limits may have changed it. A hold repeats this."""


class SafetyFilter(Protocol):
    """The polite layer: clips and flags, or raises `SafetyStop`."""

    def reset(self, last: FloatArray | None = None) -> None:
        """Start a new episode at rest.

        Args:
            last: (A,) what the robot was told last; None if nobody knows.
        """

    def was_sent(self, action: FloatArray) -> None:
        """(A,) what was really sent in this tick; the next action is compared with it."""

    def __call__(self, action: FloatArray, observation: Observation) -> tuple[FloatArray, bool]:
        """(A,) requested -> (A,) allowed, and whether it was changed."""


class Robot(Protocol):
    """Hardware, or an emulation of it. Its own gate refuses what the polite layer should have caught.

    Attributes:
        action_spec: what an action means; limits are the robot's hard ones.
        state_names: one name an entry of the state, unit in brackets.
        cameras: names of its cameras.
    """

    action_spec: ActionSpec
    state_names: tuple[str, ...]
    cameras: tuple[str, ...]

    def connect(self) -> None:
        """Open and check everything, and take hold of the robot without moving it."""

    def resume(self) -> None:
        """Lift a stop. Nothing moves before `go_to` or `send_action`."""

    def go_to(self, state: FloatArray) -> None:
        """Move slowly to (A,) and return when there.

        Raises:
            SafetyStop: it cannot, or somebody says stop before or meanwhile; the robot holds.
        """

    def get_reading(self) -> Reading:
        """Ask the sensors now."""

    def get_goal(self) -> FloatArray:
        """(A,) where the robot was last told to be, on the scale of actions. A state is no action: an arm sags, and a
        gripper's state may be on another scale.
        """

    def send_action(self, action: FloatArray) -> FloatArray:
        """Command (A,); returns (A,) what was really sent.

        Raises:
            SafetyStop: the gate refused; nothing was sent and the robot holds.
        """

    def stop(self) -> None:
        """Hold still at once. Callable from any thread, any number of times; torque stays on."""

    def disconnect(self) -> None:
        """Hold, release what is held, close. A raised arm keeps its torque."""


class Teleoperator(Protocol):
    """What a person commands with: leader arms, a keyboard, a gamepad."""

    def connect(self) -> None:
        """Open and check."""

    def get_action(self) -> FloatArray:
        """(A,) what the person asks for now."""

    def wants_control(self) -> bool:
        """Whether the person wants to command now."""

    def align(self, action: FloatArray) -> bool:
        """Come one tick nearer to (A,), so that taking over does not jump; True when there."""

    def disconnect(self) -> None:
        """Let go and close."""


@runtime_checkable
class SpecTeleoperator(Teleoperator, Protocol):
    """A teleoperator that must know the robot: a keyboard has no joints of its own."""

    def prepare(self, spec: ActionSpec) -> None:
        """Learn what an action means; called before `connect`.

        Raises:
            ValueError: it cannot command such a robot.
        """


@runtime_checkable
class ReleasableTeleoperator(Teleoperator, Protocol):
    """A teleoperator that cannot tell by itself when the person has had enough: hands on leader arms press no key."""

    def hand_back(self) -> None:
        """The person lets go; from now on they want no control until they ask again."""


@runtime_checkable
class EpisodicTeleoperator(Teleoperator, Protocol):
    """A teleoperator that does something else at the beginning of an episode: a person who acts by a script."""

    def reset(self) -> None:
        """A new episode begins; comes after `hand_back`."""


class Benchmark(Protocol):
    """The list of tasks of a suite; reading it builds no environment."""

    name: str
    tasks: Sequence[TaskSpec]


class Subscriber(Protocol):
    """Watches the loop. Must not block: enqueue, write elsewhere."""

    def on_episode_start(self, observation: Observation) -> None:
        """Called once, before the first action."""

    def on_step(self, step: Step) -> None:
        """Called after each action."""

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Called once, also after an error (then the last observation may be missing)."""
