"""The official numbers: LIBERO's gripper, statistics, chunks."""

from __future__ import annotations

import numpy as np
import pytest

from vla.data.standard import binary_gripper, chunks, column_statistics, standard_gripper


def test_libero_actions_and_statistics_are_the_official_ones(golden_misc):
    data = golden_misc["libero_dataset"]
    actions = standard_gripper(np.array(data["raw_action"]))
    np.testing.assert_allclose(actions, data["standardised_action"], atol=1e-6)
    for name, values in (("action", actions), ("proprio", np.array(data["proprio"]))):
        found = column_statistics(values)
        assert found.keys() == data["stats"][name].keys()
        for key, expected in data["stats"][name].items():
            np.testing.assert_allclose(found[key], expected, atol=1e-6, err_msg=f"{name} {key}")


def test_chunks_are_the_official_ones(golden_misc):
    data = golden_misc["libero_dataset"]
    found = chunks(np.array(data["standardised_action"]), data["chunk_action_shape"][1])
    assert list(found.shape) == data["chunk_action_shape"]
    assert len(found) == data["n_chunks"]
    np.testing.assert_allclose(found[0], data["chunk_first"], atol=1e-6)
    np.testing.assert_allclose(found[-1], data["chunk_last"], atol=1e-6)
    with pytest.raises(ValueError, match="episode's length"):
        chunks(np.zeros((3, 7)), 4)


def test_binary_gripper_is_the_official_one(golden_misc):
    table = golden_misc["binarize_gripper"]
    np.testing.assert_allclose(binary_gripper(np.array(table["in"])), table["out"])
