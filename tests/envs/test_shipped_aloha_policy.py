"""The shipped ALOHA policies, run as their cards say, on a few evaluation trials."""

import pytest

from envs.aloha.env import AlohaEnv
from vla.policies.mini import MiniPolicy
from vla.runtime.inference import OpenLoop
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import Outcome


# Of 50 trials they solve 48 and 34, these among them; pixels differ a little between processors.
@pytest.mark.parametrize(
    ("suite", "checkpoint", "trials"),
    [
        ("aloha_transfer_cube", "checkpoints/mini_aloha", (4, 5, 6)),
        ("aloha_insertion", "checkpoints/mini_aloha_insertion", (0, 1, 5, 6)),
    ],
)
def test_it_solves_its_task(suite, checkpoint, trials):
    env = AlohaEnv(suite, image_size=(240, 320), render="lod")
    policy = OpenLoop(MiniPolicy(checkpoint), execute=10)
    limits = LimitFilter(env.action_spec)
    outcomes = [run_episode(env, policy, limits, trial=trial, max_steps=None).outcome for trial in trials]
    env.close()
    assert outcomes.count(Outcome.SUCCESS) >= 2, outcomes
