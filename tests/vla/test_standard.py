"""The official numbers: LIBERO's gripper, statistics."""

from __future__ import annotations

import numpy as np

from vla.data.standard import column_statistics, standard_gripper


def test_libero_actions_and_statistics_are_the_official_ones(golden_misc):
    data = golden_misc["libero_dataset"]
    actions = standard_gripper(np.array(data["raw_action"]))
    np.testing.assert_allclose(actions, data["standardised_action"], atol=1e-6)
    for name, values in (("action", actions), ("proprio", np.array(data["proprio"]))):
        found = column_statistics(values)
        assert found.keys() == data["stats"][name].keys()
        for key, expected in data["stats"][name].items():
            np.testing.assert_allclose(found[key], expected, atol=1e-6, err_msg=f"{name} {key}")
