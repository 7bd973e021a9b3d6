"""Whether policy and environment belong together: found out from the first observation, before any action."""

from __future__ import annotations

from dataclasses import dataclass

from vla.embodiment import Embodiment
from vla.evaluation.errors import RefusedError
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
    """

    robot: str
    cameras: tuple[str, ...]
    state: int
    action: int


def needs_of(policy: object) -> Needs | None:
    """None for a policy without an embodiment, such as an expert."""
    embodiment = getattr(policy, "embodiment", None)
    if not isinstance(embodiment, Embodiment):
        return None
    cameras = () if getattr(policy, "blind", False) else embodiment.cameras
    return Needs(embodiment.name, cameras, len(embodiment.state), len(embodiment.action))


class FitCheck:
    """A subscriber that ends the run at the start of the first episode if they do not fit.

    Args:
        needs: of the policy.
        spec: of the environment.
    """

    def __init__(self, needs: Needs, spec: ActionSpec) -> None:
        self._needs = needs
        self._spec = spec

    def on_episode_start(self, observation: Observation) -> None:
        """Compare; no image is drawn.

        Raises:
            MisfitError: a camera is missing, or state or action have another length.
        """
        needs, there = self._needs, list(observation.images)
        wrong = []
        if missing := [camera for camera in needs.cameras if camera not in there]:
            wrong.append(f"cameras: the policy looks at {list(needs.cameras)}, {missing} are not among {there}")
        if needs.state not in (0, len(observation.state)):
            wrong.append(
                f"state: the policy expects {needs.state} numbers, the environment gives {len(observation.state)}"
            )
        if needs.action != len(self._spec.names):
            wrong.append(
                f"action: the policy gives {needs.action} numbers, the environment takes {len(self._spec.names)}"
            )
        if wrong:
            differences = "\n".join(f"  - {text}" for text in wrong)
            raise MisfitError(
                f"policy: one for the robot {needs.robot!r} does not fit this environment:\n{differences}\n"
                "Choose a policy or policy.checkpoint of this robot, another env, or other env.cameras."
            )

    def on_step(self, step: Step) -> None:
        """Nothing to check."""

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Nothing to check."""
