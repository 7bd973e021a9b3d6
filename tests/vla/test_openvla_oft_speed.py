import dataclasses

import pytest

from tests.tiny_oft import TINY
from vla.models.openvla_oft.model import OpenVLAOFT
from vla.models.openvla_oft.speed import REDUCED, compare, decodings, table


def test_every_decoding_is_timed():
    network = OpenVLAOFT(dataclasses.replace(TINY, action_dim=3)).eval()
    costs = compare(network, chunk=4, repeats=1)
    assert [cost.passes for cost in costs.values()] == [3, 1, 1, 1, 50, 5, 5]
    assert [cost.actions for cost in costs.values()] == [1, 1, 4, 4, 4, 4, 4]
    for cost in costs.values():
        assert 0 < sum(cost.parts.values()) <= cost.seconds
        assert cost.peak_bytes is None or cost.peak_bytes > 1e6
    assert len(table(costs).splitlines()) == 2 + len(decodings(4))


def test_some_ways_only():
    network = OpenVLAOFT(TINY).bfloat16().eval()
    assert list(compare(network, repeats=1, only=["L1"])) == ["L1, 8 actions"]
    with pytest.raises(ValueError, match="none contains"):
        compare(network, repeats=1, only=["l7"])


def test_the_networks_are_the_same_but_for_the_decoding():
    for decoding in decodings(8):
        config = decoding.of(REDUCED)
        assert (config.dino, config.siglip, config.trunk) == (REDUCED.dino, REDUCED.siglip, REDUCED.trunk)
