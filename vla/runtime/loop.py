"""The control loop: the only place where observe, decide, guard, act and record happen."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import gymnasium

from vla.protocols import Inference, SafetyFilter, SafetyStop, Subscriber
from vla.types import Episode, Observation, Outcome, Step


def run_episode(
    env: gymnasium.Env[Any, Any],
    inference: Inference,
    safety: SafetyFilter,
    subscribers: Sequence[Subscriber] = (),
    *,
    trial: int,
    max_steps: int | None,
) -> Episode:
    """Run one attempt, from reset to success, to the step limit, or to a safety stop.

    Args:
        env: see `vla.protocols` for what is read besides the gymnasium API.
        inference: one action a tick.
        safety: the polite layer of limits.
        subscribers: watchers; they must not block.
        trial: which initial state.
        max_steps: step limit; reaching it is a FAILURE. None: that of the task in this scene, which a reset may change.

    Returns:
        The episode: SUCCESS, FAILURE or STOPPED. An exception from env or policy passes through, after
        the subscribers were told that the episode ended as an ERROR.
    """
    started = time.perf_counter()
    unwrapped: Any = env.unwrapped
    outcome, detail, steps, begun = Outcome.ERROR, "", 0, False
    observation: Observation | None = None
    try:
        raw, info = env.reset(options={"trial": trial})
        limit = unwrapped.task.max_steps if max_steps is None else max_steps
        last = info.get("sent")
        inference.reset(unwrapped.action_spec, last)
        begun = True  # before that its counters are those of the episode before
        observation = _observe(raw, info)
        safety.reset(last)
        for subscriber in subscribers:
            subscriber.on_episode_start(observation)
        outcome = Outcome.FAILURE
        while steps < limit:
            requested = inference.next_action(observation)
            sent, clipped = safety(requested, observation)
            raw, _, terminated, truncated, info = env.step(sent)
            success = bool(info["is_success"])
            after = _observe(raw, info)
            sent = info.get("sent", sent)  # a robot's gate has the last word
            safety.was_sent(sent)
            inference.was_sent(sent)
            step = Step(steps, observation, requested, sent, clipped, success, after, inference.commander)
            steps += 1
            observation = after
            for subscriber in subscribers:
                subscriber.on_step(step)
            if success:
                outcome = Outcome.SUCCESS
            if terminated or truncated:
                break
    except SafetyStop as stop:
        outcome, detail = Outcome.STOPPED, str(stop)
    except BaseException:
        outcome = Outcome.ERROR
        raise
    finally:
        episode = Episode(
            task=unwrapped.task.name,
            instruction=unwrapped.task.instruction,
            trial=trial,
            outcome=outcome,
            steps=steps,
            policy_calls=inference.policy_calls if begun else 0,
            timing={
                **unwrapped.timing,
                "policy": inference.policy_s if begun else 0.0,
                "wall": time.perf_counter() - started,
            },
            info={"detail": detail} if detail else {},
        )
        with ExitStack() as stack:  # each is told, whatever another one raises
            for subscriber in reversed(subscribers):
                stack.callback(subscriber.on_episode_end, episode, observation)
    return episode


def _observe(raw: Mapping[str, Any], info: Mapping[str, Any]) -> Observation:
    return Observation(
        raw["images"],
        raw["state"],
        info["instruction"],
        info["time"],
        info.get("channels", {}),
        info.get("events", ()),
    )
