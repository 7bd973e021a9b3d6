import dataclasses

from tests.tiny_oft import TINY
from vla.models.openvla_oft.speed import REDUCED, compare, decodings, table


def test_every_decoding_is_timed():
    costs = compare(dataclasses.replace(TINY, action_dim=3, state_dim=0), chunk=4, repeats=1)
    assert [cost.passes for cost in costs.values()] == [3, 1, 1, 1, 50, 5, 5]
    assert [cost.actions for cost in costs.values()] == [1, 1, 4, 4, 4, 4, 4]
    for cost in costs.values():
        assert 0 < sum(cost.parts.values()) <= cost.seconds
    assert len(table(costs).splitlines()) == 2 + len(decodings(4))


def test_the_networks_are_the_same_but_for_the_decoding():
    for decoding in decodings(8):
        config = decoding.of(REDUCED)
        assert (config.dino, config.siglip, config.trunk) == (REDUCED.dino, REDUCED.siglip, REDUCED.trunk)
