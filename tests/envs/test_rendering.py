"""Images on demand: whoever copies them gets pictures. What draws them is tested with the environments."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

from envs.rendering import ImagesOnDemand
from tests.vla.test_executors import POSITIONS
from vla.evaluation.shared_policy import Answer, SharedPolicy
from vla.runtime.inference import OpenLoop
from vla.types import ActionChunk, Observation

CAMERAS = {"top": 3, "wrist": 5}  # camera -> shade of its picture


def undrawn():
    return ImagesOnDemand(CAMERAS, lambda camera: np.full((2, 2, 3), CAMERAS[camera], np.uint8))


def shades(images):
    return {camera: int(image.max()) for camera, image in images.items()}


def pickled(images):
    return pickle.loads(pickle.dumps(images))  # noqa: S301  (our own bytes)


@pytest.mark.parametrize(
    "copied",
    [
        dict,
        lambda images: {**images},
        lambda images: images | {},
        ImagesOnDemand.copy,
        copy.copy,
        copy.deepcopy,
        pickled,
    ],
)
def test_a_copy_holds_a_picture_of_every_camera(copied):
    assert shades(copied(undrawn())) == CAMERAS
    half = undrawn()
    drawn = half["wrist"]
    assert shades(copied(half)) == CAMERAS
    assert half["wrist"] is drawn


def test_a_shared_policy_gets_a_picture_of_every_camera():
    ours, theirs = multiprocessing.Pipe()
    theirs.send(Answer(0, ActionChunk(np.ones((1, 7)), "go", 0.0)))
    SharedPolicy(ours).infer(Observation(undrawn(), np.zeros(8), "go", 0.0))
    assert shades(theirs.recv().observation.images) == CAMERAS


def test_a_policy_in_the_background_gets_a_picture_of_every_camera():
    class Looking:
        def reset(self):
            pass

        def infer(self, observation):
            self.seen = shades(observation.images)
            return ActionChunk(np.zeros((1, 3)), observation.instruction, observation.time)

    policy = Looking()
    inference = OpenLoop(policy, latency_s="background")
    inference.reset(POSITIONS)  # whose first plan is waited for
    inference.next_action(Observation(undrawn(), np.zeros(8), "go", 0.0))
    assert policy.seen == CAMERAS
