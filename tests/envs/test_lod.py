"""The `lod` render profile: fewer faces, nearly the same image, the same physics."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from envs.libero import lod
from envs.libero.decimation import Mesh, decimate
from envs.libero.env import LiberoEnv
from envs.libero.render_cost import measure, table
from envs.libero.rendering import CAMERAS, LiberoRenderer
from envs.rendering import RenderingUnavailable, configure_gl

try:
    configure_gl()
except RenderingUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)

ACTIONS = np.random.default_rng(0).uniform(-1, 1, (10, 7))


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    cache = pytest.MonkeyPatch()
    cache.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    env = LiberoEnv("libero_object", 0, image_size=128)
    env.reset(options={"trial": 0})
    yield env
    env.close()
    cache.undo()


@pytest.fixture(scope="module")
def profiles(env):
    """Images and trajectory of the same episode: full alone, lod, and full again while a lod renderer exists."""
    renderers = {"full": LiberoRenderer(env.scene.model, 128)}
    episodes = {"full": run(env, renderers["full"])}
    renderers["lod"] = LiberoRenderer(env.scene.model, 128, "lod")
    episodes["lod"] = run(env, renderers["lod"])
    episodes["full again"] = run(env, renderers["full"])
    yield episodes
    for renderer in renderers.values():
        renderer.close()


def run(env, renderer):
    """One episode of ACTIONS drawn by `renderer`: states (n, 1 + nq + nv), images (n, 2, H, W, 3)."""
    env._renderer = renderer
    observation, _ = env.reset(options={"trial": 0})
    states, images = [], []
    for action in ACTIONS:
        images.append([observation["images"][camera] for camera in CAMERAS])
        observation, *_ = env.step(action)
        states.append(env.flat_state())
    env._renderer = None
    return np.array(states), np.array(images)


def mesh_arrays(model):
    return {name: getattr(model, name).tobytes() for name in dir(model) if name.startswith("mesh_")}


def sphere(count: int = 40) -> Mesh:
    """A textured unit sphere with a seam, like the meshes of the benchmark: no vertex shared by two faces."""
    u, v = np.meshgrid(np.linspace(0, 1, 2 * count + 1), np.linspace(0.02, 0.98, count + 1), indexing="ij")
    longitude, latitude = 2 * np.pi * u, np.pi * v
    ring = np.sin(latitude)
    points = np.stack([ring * np.cos(longitude), ring * np.sin(longitude), np.cos(latitude)], axis=-1).reshape(-1, 3)
    corner = np.arange(u.size).reshape(u.shape)
    a, b, c, d = (x.reshape(-1) for x in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]))
    faces = np.concatenate([np.stack([a, d, b], axis=1), np.stack([b, d, c], axis=1)])
    vertices = points[faces].reshape(-1, 3).astype(np.float32)
    texcoords = np.stack([u, v], axis=-1).reshape(-1, 2)[faces].astype(np.float32)
    indices = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    return Mesh(vertices, indices, vertices.reshape(-1, 3, 3), texcoords)


def test_physics_does_not_know_the_profile(profiles):
    np.testing.assert_array_equal(profiles["full"][0], profiles["lod"][0])


def test_full_images_are_unaffected_by_a_lod_renderer(profiles):
    np.testing.assert_array_equal(profiles["full"][1], profiles["full again"][1])


def test_images_differ_a_little(profiles):
    difference = np.abs(profiles["full"][1].astype(int) - profiles["lod"][1]).mean(axis=(0, 2, 3, 4))
    assert (difference > 0).all()
    assert (difference < 6.0).all(), difference


def test_the_live_model_is_untouched_and_far_fewer_faces_are_drawn(env):
    model = env.scene.model
    before = mesh_arrays(model)
    simplified = lod.simplified_copy(model)
    assert mesh_arrays(model) == before
    assert lod.drawn_faces(simplified) < 0.2 * lod.drawn_faces(model)
    assert simplified.nmesh == model.nmesh


def test_only_visual_meshes_change(env):
    model, simplified = env.scene.model, lod.simplified_copy(env.scene.model)
    changed = set(np.flatnonzero(model.mesh_facenum != simplified.mesh_facenum))
    colliding = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    assert changed
    assert changed.isdisjoint(model.geom_dataid[colliding])
    for name in ("geom_pos", "geom_quat", "geom_size", "body_mass", "mesh_vertadr", "mesh_faceadr"):
        np.testing.assert_array_equal(getattr(model, name), getattr(simplified, name))


def test_the_environment_takes_the_profile(env, monkeypatch):
    monkeypatch.setattr(env, "_profile", "lod")
    observation, _ = env.reset(options={"trial": 0})
    image = observation["images"]["agentview"]
    env.close()
    monkeypatch.setattr(env, "_profile", "full")
    observation, _ = env.reset(options={"trial": 0})
    assert 0 < np.abs(observation["images"]["agentview"].astype(int) - image).mean() < 6.0
    env.close()


def test_a_simplified_sphere_keeps_shape_shading_and_texture():
    mesh = sphere()
    simplified = decimate(mesh, 600)
    corners = simplified.vertices[simplified.faces]
    assert len(simplified.faces) <= 600
    np.testing.assert_allclose(np.linalg.norm(corners, axis=-1), 1.0, atol=0.03)
    assert np.einsum("fcd,fcd->fc", corners, simplified.normals).min() > 0.95
    # The texture lies where it lay: longitude and latitude, and no face runs across the seam.
    latitude = np.arccos(np.clip(corners[..., 2] / np.linalg.norm(corners, axis=-1), -1, 1)) / np.pi
    np.testing.assert_allclose(simplified.texcoords[..., 1], latitude, atol=0.03)
    assert np.ptp(simplified.texcoords[..., 0], axis=1).max() < 0.5


def test_decimation_repeats_exactly():
    first, second = decimate(sphere(), 500), decimate(sphere(), 500)
    for name in ("vertices", "faces", "normals", "texcoords"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: b"\0" * len(data),
        lambda data: data[:5000] + b"?" + data[5001:],
    ],
    ids=["empty", "cut", "zeros", "one byte"],
)
def test_a_damaged_cache_file_is_computed_anew(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = lod._cached(sphere(), 500)
    (path,) = lod.cache_folder().iterdir()
    good = path.read_bytes()
    path.write_bytes(damage(good))
    np.testing.assert_array_equal(lod._cached(sphere(), 500).vertices, first.vertices)
    assert path.read_bytes() == good


def test_the_cache_key_follows_content_and_target():
    mesh = sphere(10)
    moved = Mesh(mesh.vertices + np.float32(1e-3), mesh.faces, mesh.normals, mesh.texcoords)
    assert len({lod._key(mesh, 100), lod._key(mesh, 101), lod._key(moved, 100)}) == 3
    assert lod._key(mesh, 100) == lod._key(sphere(10), 100)


def test_an_unwritable_cache_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(lod._cached(sphere(), 500).faces) <= 500


def test_concurrent_writers_leave_a_whole_file(tmp_path):
    mesh, path = sphere(), tmp_path / "one.mesh"
    threads = [threading.Thread(target=lod._save, args=(path, mesh)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.name for file in tmp_path.iterdir()] == ["one.mesh"]
    np.testing.assert_array_equal(lod._load(path).vertices, mesh.vertices)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["libero_object", "libero_spatial", "libero_goal", "libero_10"])
def test_measured_differences_stay_small(suite):
    costs = measure(suite, repeats=1)
    assert all(0 < cost.mean_difference < 7.0 for cost in costs)
    assert suite in table(costs)
