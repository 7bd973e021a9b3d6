"""The hand's rotation as the official evaluation feeds it to policies."""

import numpy as np

from envs.libero.scene import axis_angle


def test_axis_angle_is_the_official_one(golden_misc):
    """Edge cases included."""
    for row in golden_misc["quat2axisangle"]:
        found = axis_angle(np.array(row["quat_xyzw"]))
        assert np.abs(found - np.array(row["axis_angle"])).max() < 1e-12, row
