import json
import os

# Before torch is imported: with tiny networks, threads that wait for each other cost a hundred times the work,
# and more when another process runs.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.golden import DATA


@pytest.fixture(scope="session")
def golden_misc() -> dict:
    """Numbers of the official data path: statistics, normalisation, chunking, gripper, action words."""
    return json.loads((DATA / "misc.json").read_text())
