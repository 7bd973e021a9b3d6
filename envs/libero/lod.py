"""Level of detail: a copy of a compiled model whose visual meshes have far fewer faces, to draw from.

The time of an image is bound by vertices: LIBERO's scenes have 240,000 to 400,000 faces. Only what is drawn
changes: the simulation keeps the original model, and shapes that collide are not touched.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import io
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.libero import decimation
from envs.libero.decimation import Mesh, decimate

DETAIL = 10.0  # a mesh of n faces keeps DETAIL * sqrt(n): the finer it is, the larger the share that goes
UNTOUCHED = 800  # meshes below this many faces stay as they are
VISUAL_GROUP = 1  # robosuite's geom group of what is drawn
_DIGEST_SIZE = 20  # bytes

_log = logging.getLogger(__name__)


def simplified_copy(model: Any) -> Any:
    """A copy of `model` to build an `MjrContext` from; ids are those of the original.

    Only meshes, never poses or physics, differ. The first use of a mesh takes up to a second, later ones read
    it from the cache (see `cache_folder`).

    Args:
        model: compiled MuJoCo model; never changed.

    Returns:
        Another `mujoco.MjModel`. Do not simulate or cast rays with it: its bounding volumes are the original's.
    """
    drawn = copy.copy(model)
    for mesh_id in visual_meshes(model):
        mesh = read_mesh(model, mesh_id)
        simplified = _cached(mesh, round(DETAIL * len(mesh.faces) ** 0.5))
        _write_mesh(drawn, mesh_id, simplified)
    return drawn


def visual_meshes(model: Any) -> list[int]:
    """Ids of the meshes that may be simplified: drawn, never colliding, and large enough to matter."""
    import mujoco

    shape = np.isin(model.geom_type, (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_SDF))
    collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    drawn = set(model.geom_dataid[shape & (model.geom_group == VISUAL_GROUP)].tolist())
    colliding = set(model.geom_dataid[shape & collides].tolist())
    return [i for i in sorted(drawn - colliding) if model.mesh_facenum[i] >= UNTOUCHED]


def drawn_faces(model: Any) -> int:
    """Triangles of all meshes in the visual group, as often as they are drawn."""
    import mujoco

    shown = (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & (model.geom_group == VISUAL_GROUP)
    return int(model.mesh_facenum[model.geom_dataid[shown]].sum())


def cache_folder() -> Path:
    """Where simplified meshes are kept between runs; may be deleted at any time."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "vla-control" / "lod"


def read_mesh(model: Any, mesh_id: int) -> Mesh:
    """Copy one mesh out of a compiled model."""
    rows = _rows(model, "face", mesh_id)
    normals = model.mesh_normal[_rows(model, "normal", mesh_id)][model.mesh_facenormal[rows]]
    if model.mesh_texcoordadr[mesh_id] >= 0:
        texcoords = model.mesh_texcoord[_rows(model, "texcoord", mesh_id)][model.mesh_facetexcoord[rows]]
    else:
        texcoords = np.zeros((*normals.shape[:2], 0), dtype=np.float32)
    return Mesh(model.mesh_vert[_rows(model, "vert", mesh_id)].copy(), model.mesh_face[rows].copy(), normals, texcoords)


def _rows(model: Any, array: str, mesh_id: int) -> slice:
    """Where the mesh lies in the arrays `mesh_<array>`."""
    start = int(getattr(model, f"mesh_{array}adr")[mesh_id])
    return slice(start, start + int(getattr(model, f"mesh_{array}num")[mesh_id]))


def _write_mesh(model: Any, mesh_id: int, mesh: Mesh) -> None:
    """Put `mesh` in the place of a larger one; left as it was when there is not enough room."""
    parts = {"vert": mesh.vertices, "face": mesh.faces}
    normals, facenormal = _indexed(mesh.normals)
    parts["normal"] = normals
    if mesh.texcoords.size:
        parts["texcoord"], facetexcoord = _indexed(mesh.texcoords)
    if any(len(rows) > getattr(model, f"mesh_{name}num")[mesh_id] for name, rows in parts.items()):
        return
    for name, rows in parts.items():
        getattr(model, f"mesh_{name}num")[mesh_id] = len(rows)
        getattr(model, f"mesh_{name}")[_rows(model, name, mesh_id)] = rows
    model.mesh_facenormal[_rows(model, "face", mesh_id)] = facenormal
    if mesh.texcoords.size:
        model.mesh_facetexcoord[_rows(model, "face", mesh_id)] = facetexcoord
    model.mesh_graphadr[mesh_id] = -1  # its convex hull refers to the old vertices


def _indexed(corners: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """(F, 3, d) values per corner as distinct rows (n, d) and indices (F, 3)."""
    rows, inverse = np.unique(corners.reshape(-1, corners.shape[-1]), axis=0, return_inverse=True)
    return rows, inverse.reshape(-1, 3).astype(np.int32)


def _cached(mesh: Mesh, target: int) -> Mesh:
    """`decimate(mesh, target)`, from the cache when it is there."""
    path = cache_folder() / f"{_key(mesh, target)}.mesh"
    kept = _load(path)
    if kept is None:
        kept = decimate(mesh, target)
        _save(path, kept)
    return kept


def _key(mesh: Mesh, target: int) -> str:
    """Hash of everything the simplified mesh depends on."""
    library = importlib.metadata.version("fast_simplification")
    digest = hashlib.blake2b(f"{library} {target}".encode(), digest_size=_DIGEST_SIZE)
    digest.update(Path(decimation.__file__).read_bytes())  # its parameters, and the code itself
    for values in (mesh.vertices, mesh.faces, mesh.normals, mesh.texcoords):
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _load(path: Path) -> Mesh | None:
    """The mesh in a cache file; None when there is none or any byte of it is damaged (C trusts its indices)."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s: not readable, computed anew (%s)", path, error)
        return None
    digest, arrays = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    if _digest(arrays) != digest:
        _log.warning("%s: damaged, computed anew", path)
        return None
    with np.load(io.BytesIO(arrays), allow_pickle=False) as file:
        return Mesh(file["vertices"], file["faces"], file["normals"], file["texcoords"])


def _save(path: Path, mesh: Mesh) -> None:
    """Write a cache file in one piece, whoever else is writing it; without a place to write, go on without."""
    arrays = io.BytesIO()
    np.savez(arrays, vertices=mesh.vertices, faces=mesh.faces, normals=mesh.normals, texcoords=mesh.texcoords)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            try:
                file.write(_digest(arrays.getvalue()) + arrays.getvalue())
                file.flush()
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        _log.warning("%s: not kept for the next run (%s)", path, error)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()
