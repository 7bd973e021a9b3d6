import json

import pytest

from tests.golden import DATA


@pytest.fixture(scope="session")
def golden_misc() -> dict:
    """Numbers of the official data path: statistics, normalisation, chunking, gripper, action words."""
    return json.loads((DATA / "misc.json").read_text())
