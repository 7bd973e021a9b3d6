"""The small VLA: shapes, heads, keypoints, blindness, checkpoints, and training that can be killed."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
import torch

from vla.command.errors import RefusedError
from vla.data.frames import Frames
from vla.data.paraphrase import paraphrases
from vla.embodiment import LIBERO, Gripper, ImageGeometry
from vla.models.mini.checkpoint import MiniCheckpoint, read_checkpoint, write_checkpoint
from vla.models.mini.config import MiniConfig
from vla.models.mini.loss import LossWeights, Targets, heat_loss, losses
from vla.models.mini.model import MiniInputs, MiniVLA, rotation_columns
from vla.models.openvla_oft.weights import CheckpointError
from vla.normalize import Normalization
from vla.policies.mini import MiniPolicy, choose_precision
from vla.policies.words import SentenceEncoder
from vla.training.imitation import Imitation, ImitationSettings
from vla.training.run_folder import load_state, save_state
from vla.training.samples import Augmentation, Samples, make_statistics
from vla.types import Observation

TINY = MiniConfig(image_size=32, channels=(4, 4, 8, 8), width=16, layers=1, heads=2, head_width=8)

EMBODIMENT = dataclasses.replace(
    LIBERO,
    normalization=Normalization.BOUNDS,
    gripper=Gripper.SAME,
    images=ImageGeometry(size=32, jpeg=False, crop_area=1.0),
)


def inputs(batch=2, config=TINY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = config.image_size
    return MiniInputs(
        torch.randint(0, 256, (batch, config.cameras, 3, size, size), dtype=torch.uint8, generator=generator),
        torch.randn(batch, config.words_dim, generator=generator),
        torch.randn(batch, config.state_dim, generator=generator),
    )


def targets(batch=2, config=TINY):
    return Targets(
        torch.rand(batch, config.chunk, 7) * 2 - 1,
        torch.ones(batch, config.chunk, dtype=torch.bool),
        torch.rand(batch, config.cameras, config.keyframes, 2) * 2 - 1,
        torch.randn(batch, config.keyframes, 3),
        torch.ones(batch, config.keyframes, dtype=torch.bool),
    )


def make_frames(count=40):
    generator = np.random.default_rng(0)
    return Frames(
        images=generator.integers(0, 256, (count, 2, 3, 32, 32), np.uint8),
        state=generator.normal(size=(count, 8)).astype(np.float32),
        actions=generator.uniform(-1, 1, (count, 16, 7)).astype(np.float32),
        valid=np.ones((count, 16), bool),
        offsets=generator.normal(size=(count, 2, 3)).astype(np.float32),
        known=np.ones((count, 2), bool),
        points=generator.uniform(-1, 1, (count, 2, 2, 2)).astype(np.float32),
        episode=np.repeat(np.arange(4), count // 4),
        task=np.zeros(count, np.int64),
        suite=np.zeros(count, np.int64),
        instructions=("pick up the milk and place it in the basket",),
        suites=("libero_object",),
    )


def make_samples(seed=0, augmentation=None):
    frames = [make_frames()]
    statistics = make_statistics(frames, 3)
    return Samples(
        frames, statistics, Normalization.BOUNDS, TINY.chunk, augmentation or Augmentation(), seed
    ), statistics


@pytest.mark.parametrize("head", ["l1", "flow"])
def test_every_head_answers_a_chunk_and_learns(head):
    torch.manual_seed(0)
    model = MiniVLA(dataclasses.replace(TINY, head=head))
    assert model(inputs()).shape == (2, 8, 7)
    fixed = inputs(), targets()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    seen = []
    for _ in range(40):
        torch.manual_seed(1)  # the same noise each time
        total = losses(model, *fixed, LossWeights())["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        seen.append(total.item())
    assert seen[-1] < 0.75 * seen[0]


def test_answers_in_a_batch_are_those_of_single_queries():
    model = MiniVLA(TINY).eval()
    both = inputs(3)
    with torch.no_grad():
        together = model(both)
        alone = torch.cat(
            [model(MiniInputs(both.pixels[i : i + 1], both.words[i : i + 1], both.state[i : i + 1])) for i in range(3)]
        )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_every_input_matters_and_a_blind_model_does_not_see():
    torch.manual_seed(0)
    for blind in (False, True):
        model = MiniVLA(dataclasses.replace(TINY, blind=blind)).eval()
        first, other = inputs(1), inputs(1, seed=1)
        with torch.no_grad():
            base = model(first)
            by_image = model(MiniInputs(other.pixels, first.words, first.state))
            by_words = model(MiniInputs(first.pixels, other.words, first.state))
            by_state = model(MiniInputs(first.pixels, first.words, other.state))
        assert torch.equal(base, by_image) is blind
        assert not torch.allclose(base, by_words)
        assert not torch.allclose(base, by_state)


def test_heat_loss_is_least_at_the_point_itself():
    heat = torch.zeros(1, 1, 8, 8, requires_grad=True)
    points = torch.tensor([[[0.3, -0.55]]])
    optimizer = torch.optim.Adam([heat], 0.3)
    for _ in range(300):
        optimizer.zero_grad()
        heat_loss(heat, points).backward()
        optimizer.step()
    share = heat.detach().flatten(2).softmax(2).reshape(8, 8)
    centers = (torch.arange(8) + 0.5) / 4 - 1
    found = torch.stack([(share.sum(0) * centers).sum(), (share.sum(1) * centers).sum()])
    torch.testing.assert_close(found, points[0, 0], atol=0.02, rtol=0)


def test_points_outside_the_image_count_nothing():
    heat = torch.randn(1, 2, 8, 8)
    inside, outside = torch.tensor([[[0.0, 0.0], [0.2, 0.2]]]), torch.tensor([[[0.0, 0.0], [4.0, 4.0]]])
    assert not torch.isclose(heat_loss(heat, inside), heat_loss(heat, outside))
    torch.testing.assert_close(heat_loss(heat, outside), heat_loss(heat[:, :1], outside[:, :1]))


def test_masked_actions_do_not_reach_the_loss():
    model, given, wanted = MiniVLA(TINY).eval(), inputs(), targets()
    half = dataclasses.replace(wanted, valid=torch.arange(8).expand(2, 8) < 4)
    changed = dataclasses.replace(half, actions=torch.where(half.valid[..., None], half.actions, 9.0))
    with torch.no_grad():
        first = losses(model, given, half, LossWeights())["action"]
        second = losses(model, given, changed, LossWeights())["action"]
    torch.testing.assert_close(first, second)


def test_the_squared_error_of_the_learned_actions_joins_the_loss_where_it_is_asked_for():
    model, given, wanted = MiniVLA(TINY).eval(), inputs(), targets()
    half = dataclasses.replace(wanted, valid=torch.arange(8).expand(2, 8) < 4)
    with torch.no_grad():
        error = (model(given) - half.actions)[:, :4]
        without, with_it = (losses(model, given, half, LossWeights(square=w)) for w in (0.0, 2.0))
    assert "square" not in without
    torch.testing.assert_close(with_it["square"], error.square().mean())
    torch.testing.assert_close(with_it["total"], without["total"] + 2 * error.square().mean())


def test_an_axis_angle_and_its_twin_are_one_rotation():
    vector = torch.tensor([[3.0, 0.4, -0.2]])
    angle = vector.norm()
    twin = vector * (1 - 2 * torch.pi / angle)
    torch.testing.assert_close(rotation_columns(vector), rotation_columns(twin), atol=1e-5, rtol=0)
    columns = rotation_columns(vector).reshape(2, 3)
    torch.testing.assert_close(columns @ columns.T, torch.eye(2), atol=1e-5, rtol=0)


def test_wrong_shapes_are_named():
    model, given = MiniVLA(TINY), inputs()
    with pytest.raises(ValueError, match="words: expected shape"):
        model(dataclasses.replace(given, words=given.words[:, :5]))


def checkpoint(model=None):
    torch.manual_seed(0)
    model = model or MiniVLA(TINY)
    _, statistics = make_samples()
    return MiniCheckpoint(TINY, EMBODIMENT, statistics, model.state_dict(), {"note": "test"})


def observation(seed=0, instruction="pick up the milk and place it in the basket"):
    generator = np.random.default_rng(seed)
    images = {name: generator.integers(0, 256, (64, 64, 3), np.uint8) for name in ("agentview", "wrist")}
    return Observation(images, generator.normal(size=8), instruction, 0.0)


def test_a_checkpoint_comes_back_and_acts(tmp_path):
    write_checkpoint(tmp_path, checkpoint())
    again = read_checkpoint(tmp_path)
    assert again.embodiment == EMBODIMENT
    policy = MiniPolicy(str(tmp_path), precision="float32")
    chunk = policy.infer(observation())
    assert chunk.actions.shape == (8, 7)
    np.testing.assert_array_equal(chunk.actions, policy.infer(observation()).actions)
    batch = policy.infer_batch([observation(1, "open the drawer"), observation()])
    np.testing.assert_allclose(batch[1].actions, chunk.actions, atol=1e-5)


@pytest.mark.parametrize("kind", ["flow", "diffusion"])
def test_noise_does_not_depend_on_the_place_in_the_batch(tmp_path, kind):
    torch.manual_seed(0)
    config = dataclasses.replace(TINY, head=kind)
    written = dataclasses.replace(checkpoint(MiniVLA(config)), config=config)
    write_checkpoint(tmp_path, written)
    policy = MiniPolicy(str(tmp_path))
    alone = policy.infer(observation()).actions
    batch = policy.infer_batch([observation(1, "open the drawer"), observation(), observation(2)])
    np.testing.assert_allclose(batch[1].actions, alone, atol=1e-3)  # rounding adds up
    assert np.abs(batch[0].actions - alone).max() > 1e-2


def test_bfloat16_says_the_same_to_its_own_rounding(tmp_path):
    torch.manual_seed(0)
    write_checkpoint(tmp_path, checkpoint())
    exact, rounded = (MiniPolicy(str(tmp_path), precision=name) for name in ("float32", "bfloat16"))
    difference = exact.infer(observation()).actions - rounded.infer(observation()).actions
    assert 0 < np.abs(difference).max() < 0.05
    with pytest.raises(ValueError, match=r"policy\.precision: expected auto, float32 or bfloat16, got 'half'"):
        MiniPolicy(str(tmp_path), precision="half")
    assert choose_precision("auto", torch.device("cpu"), denoises=True) == torch.float32


def test_in_bfloat16_angles_are_rounded_after_their_sines(tmp_path):
    write_checkpoint(tmp_path, checkpoint())
    policy, seen = MiniPolicy(str(tmp_path), precision="bfloat16"), []
    policy._model.state.register_forward_pre_hook(lambda module, given: seen.append(given[0].float()))
    start = policy._model.config.rotation
    for angle in np.linspace(3.0, 3.14, 15):
        down = observation()
        down.state[start : start + 3] = [angle, 0.1, -0.1]
        policy.infer(down)
        exact = rotation_columns(torch.tensor([[angle, 0.1, -0.1]]))
        assert float((seen[-1][:, start : start + 6] - exact).abs().max()) < 0.0021  # half a step of bfloat16 below 1


def test_folding_norms_changes_nothing():
    torch.manual_seed(0)
    model = MiniVLA(TINY)
    model.train()
    for seed in range(3):
        model(inputs(8, seed=seed))  # running statistics away from their start
    for tower in model.towers:
        for block in (tower.first, tower.second, tower.third, tower.merged):
            torch.nn.init.uniform_(block.norm2.weight, 0.5, 1.5)
    given = inputs()
    with torch.no_grad():
        before = model.eval()(given)
        after = model.for_inference()(given)
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


def test_foreign_checkpoints_are_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match="expected a folder"):
        read_checkpoint(tmp_path)
    whole = checkpoint()
    with pytest.raises(CheckpointError, match=r"norm\.bias.*got none"):
        dataclasses.replace(whole, weights={k: v for k, v in whole.weights.items() if k != "norm.bias"}).build()


def test_a_missing_camera_is_named(tmp_path):
    write_checkpoint(tmp_path, checkpoint())
    blind_eye = observation()
    with pytest.raises(ValueError, match="no camera 'wrist'"):
        MiniPolicy(str(tmp_path)).infer(
            dataclasses.replace(blind_eye, images={"agentview": blind_eye.images["agentview"]})
        )


def test_other_words_change_the_answer(tmp_path):
    write_checkpoint(tmp_path, checkpoint())
    told = MiniPolicy(str(tmp_path)).infer(observation()).actions
    ablated = MiniPolicy(str(tmp_path), instruction="open the drawer").infer(observation()).actions
    assert not np.allclose(told, ablated)


def run(folder, steps, batch=4):
    torch.manual_seed(0)
    samples, _ = make_samples()
    imitation = Imitation(MiniVLA(TINY), samples, ImitationSettings(steps=8, batch=batch, save_every=2), folder)
    imitation.resume()

    def stop(step, parts):
        if step == steps:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        imitation.run(stop)
    return imitation


def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = run(tmp_path / "a", steps=None)
    run(tmp_path / "b", steps=5)  # the state of step 4 is on disk, step 5 is in the log
    again = run(tmp_path / "b", steps=None)
    assert again.step == whole.step == 8

    def curve(name):
        return [line.split(', "s"')[0] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]

    assert curve("a") == curve("b")
    for name, tensor in whole.average.state_dict().items():
        assert torch.equal(tensor, again.average.state_dict()[name])


def test_paraphrases_keep_the_names_and_begin_with_the_instruction():
    said = paraphrases("pick up the alphabet soup and place it in the basket")
    assert said[0] == "pick up the alphabet soup and place it in the basket"
    assert len(said) > 3
    assert all("alphabet soup" in text and "basket" in text for text in said)
    assert paraphrases("sing") == ("sing",)


def test_sentences_of_one_meaning_are_closer_than_those_of_two():
    milk, same, soup = SentenceEncoder()(
        ["pick up the milk and place it in the basket", "put the milk into the basket", "turn on the stove"]
    )
    assert milk.shape == (384,)
    assert milk @ same > 0.8 > milk @ soup


def test_a_blind_policy_does_not_ask_for_images(tmp_path):
    torch.manual_seed(0)
    config = dataclasses.replace(TINY, blind=True)
    write_checkpoint(tmp_path, dataclasses.replace(checkpoint(MiniVLA(config)), config=config))
    seen = observation()
    policy = MiniPolicy(str(tmp_path))
    unseen = policy.infer(dataclasses.replace(seen, images={})).actions
    np.testing.assert_array_equal(unseen, policy.infer(seen).actions)


def test_a_training_goes_on_with_as_many_processes_as_it_was_begun_with(tmp_path, monkeypatch):
    run(tmp_path, steps=3)
    with monkeypatch.context() as patched:
        patched.setenv("WORLD_SIZE", "2")
        patched.setattr("vla.training.imitation.distributed.is_initialized", lambda: True)
        with pytest.raises(RefusedError, match=r"state\.pt: .*begun with, 1, got 2.*--nproc_per_node=1; init="):
            run(tmp_path, steps=None)
    state = load_state(tmp_path / "state.pt")
    del state["processes"]
    save_state(tmp_path / "state.pt", state)  # as older ones are
    assert run(tmp_path, steps=None).step == 8
