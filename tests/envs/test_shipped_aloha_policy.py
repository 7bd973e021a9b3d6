"""The shipped ALOHA policy, run as its card says, on a few evaluation trials."""

import pytest

from envs.aloha.env import AlohaEnv
from vla.policies.mini import MiniPolicy
from vla.runtime.inference import Asynchronous
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import Outcome


# Of 50 trials each it solves 49 and 47, these among them; pixels differ a little between processors.
@pytest.mark.parametrize(
    ("suite", "trials"),
    [
        ("aloha_transfer_cube", (4, 5, 6)),
        ("aloha_insertion", (0, 1, 2, 9)),
    ],
)
def test_it_solves_both_tasks(suite, trials):
    env = AlohaEnv(suite, image_size=(240, 320), render="lod")
    policy = Asynchronous(MiniPolicy("checkpoints/mini_aloha"), execute=10, latency_s=0.04)
    limits = LimitFilter(env.action_spec)
    outcomes = []
    for trial in trials:
        if outcomes.count(Outcome.SUCCESS) < 2:
            outcomes.append(run_episode(env, policy, limits, trial=trial, max_steps=None).outcome)
    env.close()
    assert outcomes.count(Outcome.SUCCESS) == 2, outcomes
