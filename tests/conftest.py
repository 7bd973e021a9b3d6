import json
import os

# Before torch is imported: with tiny networks, threads that wait for each other cost a hundred times the work,
# and more when another process runs.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

from tests.golden import FOLDERS

# A busy machine is no failure.
hypothesis.settings.register_profile("vla", deadline=None)
hypothesis.settings.load_profile("vla")

MISC = [path for folder in FOLDERS for path in sorted(folder.rglob("misc.json"))]


@pytest.fixture(scope="session", params=MISC, ids=lambda path: path.parent.name)
def golden_misc(request) -> dict:
    """Numbers of the official data path: statistics, normalisation, chunking, gripper, action words."""
    return json.loads(request.param.read_text())
