"""Policy and environment are brought together, if they belong together: that is found out before any action.

An evaluation compares at its first observation, a session before a robot is connected.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import gymnasium

from vla.command.errors import RefusedError
from vla.embodiment import Embodiment
from vla.protocols import Policy, PrivilegedPolicy, SpecPolicy
from vla.types import ActionSpec, Episode, Observation, Step


class MisfitError(RefusedError):
    """No episode of this policy in this environment can mean anything."""


@dataclass(frozen=True)
class Needs:
    """What a policy must see and what it answers, as its embodiment says.

    Attributes:
        robot: name of the embodiment.
        cameras: those it looks at.
        state: S, 0 if it gets no state.
        action: A.
        hz: [1/s] rate of the actions in its chunks.
    """

    robot: str
    cameras: tuple[str, ...]
    state: int
    action: int
    hz: float


def needs_of(policy: object) -> Needs | None:
    """None for a policy without an embodiment, such as an expert."""
    embodiment = getattr(policy, "embodiment", None)
    if not isinstance(embodiment, Embodiment):
        return None
    cameras = () if getattr(policy, "blind", False) else embodiment.cameras
    return Needs(embodiment.name, cameras, len(embodiment.state), len(embodiment.action), embodiment.hz)


def check_fit(needs: Needs | None, spec: ActionSpec, cameras: Collection[str] | None, state: int | None) -> None:
    """Compare what a policy needs with what there is.

    Args:
        needs: of the policy; None: nothing is known, so anything goes.
        spec: of the environment.
        cameras: those that there are; None if that is not known yet.
        state: S of the environment; None if that is not known yet.

    Raises:
        MisfitError: a camera is missing, or state, action or control rate are others; names all differences.
    """
    if needs is None:
        return
    wrong = []
    missing = [camera for camera in needs.cameras if cameras is not None and camera not in cameras]
    if missing:
        wrong.append(
            f"cameras: the policy looks at {list(needs.cameras)}, {missing} are not among {list(cameras or ())}"
        )
    if state is not None and needs.state not in (0, state):
        wrong.append(f"state: the policy expects {needs.state} numbers, the environment gives {state}")
    if needs.action != len(spec.names):
        wrong.append(f"action: the policy gives {needs.action} numbers, the environment takes {len(spec.names)}")
    if needs.hz != spec.hz:
        wrong.append(f"rate: the policy plans {needs.hz:g} actions a second, the environment takes {spec.hz:g}")
    if wrong:
        differences = "\n".join(f"  - {text}" for text in wrong)
        raise MisfitError(
            f"policy: one for the robot {needs.robot!r} does not fit this environment:\n{differences}\n"
            "Choose a policy or policy.checkpoint of this robot, another env or robot, or other cameras or rate of it."
        )


def attach(policy: Policy, env: gymnasium.Env[Any, Any]) -> None:
    """Tell a policy what it must know of the environment in which its next episodes are.

    Raises:
        MisfitError: it cannot act on such a robot.
    """
    unwrapped: Any = env.unwrapped
    if isinstance(policy, SpecPolicy):
        try:
            policy.prepare(unwrapped.action_spec)
        except ValueError as error:
            raise MisfitError(str(error)) from error
    if isinstance(policy, PrivilegedPolicy):
        policy.bind(unwrapped)


class FitCheck:
    """A subscriber that ends the run at the start of the first episode if they do not fit.

    Args:
        needs: of the policy.
        spec: of the environment.
    """

    def __init__(self, needs: Needs | None, spec: ActionSpec) -> None:
        self._needs = needs
        self._spec = spec

    def on_episode_start(self, observation: Observation) -> None:
        """Compare; no image is drawn.

        Raises:
            MisfitError: see `check_fit`.
        """
        check_fit(self._needs, self._spec, tuple(observation.images), len(observation.state))

    def on_step(self, step: Step) -> None:
        """Nothing to check."""

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Nothing to check."""
