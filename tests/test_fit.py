"""What is shipped fits together: policies that say which robot they are for, and the environments of that robot."""

from __future__ import annotations

import dataclasses

import pytest

from envs.experts.aloha.policy import AlohaExpert
from envs.experts.lookahead import LookaheadExpert
from envs.experts.policy import LiberoExpert
from envs.libero.env import ACTION_SPEC
from tests.fakes import CONF
from vla.command.config import compose_config, to_dict
from vla.embodiment import ALOHA, ALOHA_SIM, LIBERO, Embodiment
from vla.policies.hold import HoldPolicy
from vla.policies.mini import MiniPolicy
from vla.runtime.clock import SystemClock
from vla.runtime.fit import MisfitError, check_fit, needs_of
from vla.session.stage import simulation_stage


class Declaring:
    """A policy, as far as the check looks at it."""

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment


def env_of(name):
    return to_dict(compose_config(CONF, "eval", [f"env={name}", "policy=hold"]))["env"]


@pytest.mark.parametrize("name", ["aloha_transfer_cube", "aloha_insertion"])
def test_policies_of_aloha_fit_its_simulations(name):
    stage = simulation_stage(env_of(name), 0, None, "free", SystemClock())
    there = (stage.spec, stage.cameras, stage.state_size)
    check_fit(needs_of(Declaring(ALOHA_SIM)), *there)
    with pytest.raises(
        MisfitError, match=r"(?s)'high'.* are not among .*25 actions a second, the environment takes 50"
    ):
        check_fit(needs_of(Declaring(ALOHA)), *there)
    with pytest.raises(MisfitError, match=r"(?s)'agentview'.*expects 8 numbers, .* gives 14.*gives 7 numbers"):
        check_fit(needs_of(Declaring(LIBERO)), *there)
    stage.env.close()


def test_the_shipped_policy_fits_libero():
    cameras = env_of("libero")["cameras"]
    check_fit(needs_of(MiniPolicy(str(CONF.parent / "checkpoints" / "mini"))), ACTION_SPEC, cameras, len(LIBERO.state))
    check_fit(needs_of(Declaring(LIBERO)), ACTION_SPEC, cameras, len(LIBERO.state))


def test_what_is_not_known_yet_is_not_refused():
    needs = needs_of(Declaring(LIBERO))
    check_fit(needs, ACTION_SPEC, None, None)
    with pytest.raises(MisfitError, match="20 actions a second, the environment takes 25"):
        check_fit(needs, dataclasses.replace(ACTION_SPEC, hz=25.0), None, None)


@pytest.mark.parametrize("policy", [HoldPolicy, AlohaExpert, LiberoExpert, LookaheadExpert])
def test_a_policy_that_declares_nothing_goes_anywhere(policy):
    assert needs_of(policy()) is None
    check_fit(None, ACTION_SPEC, (), 3)
