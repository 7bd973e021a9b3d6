"""Fewer triangles for one mesh, with its shading and texture carried over. Arrays in, arrays out; no simulator."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIZE = 10.0  # edge of the box a mesh is scaled to: the library's error thresholds are absolute lengths
_WELD = 3e-3 * _SIZE  # vertices nearer than this are one
_TEXTURE_WELD = 1e-4  # texture positions nearer than this are one; the whole texture is 1
_SEAMS = 0.7  # texture seams stay edges up to this number of edges for every face that is to remain
_AGGRESSIVENESS = 5.0  # of the library, 0 to 10; lower keeps the shape better and takes longer
_NORMAL_WEIGHT = 0.1 * _SIZE  # the distance that counts as much as 1 rad between normals
_TEXTURE_WEIGHT = 0.1  # tells the two sides of a seam apart, and hardly moves the nearest point elsewhere
_NEIGHBOURS = 16  # points of the old surface looked at for every new corner
_SAMPLES = 50_000  # points spread over the old surface, besides its corners


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Triangles with attributes per corner.

    Attributes:
        vertices: (V, 3) float32 [m].
        faces: (F, 3) int32, indices of vertices.
        normals: (F, 3, 3) float32, one unit vector a corner.
        texcoords: (F, 3, 2) float32, one texture position a corner; (F, 3, 0) for a mesh without.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    texcoords: NDArray[np.float32]


def decimate(mesh: Mesh, target: int) -> Mesh:
    """Simplify to about `target` faces by quadric edge collapses.

    Normals and texture positions of a new corner come from the closest point of the old surface that lies in the
    same texture chart and faces the same way as the new face, so creases and texture seams stay where they were.

    Returns:
        The simplified mesh; with more faces than `target` where the shape allows no further collapse.
    """
    import fast_simplification

    low = mesh.vertices.min(axis=0).astype(np.float64)
    scale = _SIZE / max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-12)
    points = (mesh.vertices - low) * scale
    welded_points, welded = _weld(points, mesh, target)
    if len(welded) <= target:
        return mesh
    new_points, new_faces = fast_simplification.simplify(
        welded_points, welded, target_count=target, agg=_AGGRESSIVENESS, preserve_border=True
    )
    new_points, new_faces = np.asarray(new_points, np.float64), _drop_degenerate(np.asarray(new_faces, np.int32))
    normals, texcoords = _transfer(mesh, points[mesh.faces], new_points[new_faces])
    return Mesh((new_points / scale + low).astype(np.float32), new_faces, normals, texcoords)


def _weld(points: NDArray[np.float64], mesh: Mesh, target: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Join coincident vertices; without this every triangle of a textured mesh is an island of its own.

    Texture seams stay open edges, which the simplification keeps, where they are few for `target` faces.

    Returns:
        (V', 3) points and (F', 3) faces.
    """
    _, first, joined = np.unique(
        np.round(points / _WELD).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    places, faces = points[first], joined.reshape(-1)[mesh.faces]
    if mesh.texcoords.size:
        keys = np.concatenate([faces[..., None], np.round(mesh.texcoords / _TEXTURE_WELD)], axis=2).reshape(-1, 3)
        split, inverse = np.unique(keys.astype(np.int64), axis=0, return_inverse=True)
        seamed = _drop_degenerate(inverse.reshape(-1, 3).astype(np.int32))
        if _open_edges(seamed) <= _SEAMS * target:
            return np.ascontiguousarray(places[split[:, 0]]), seamed
    return np.ascontiguousarray(places), _drop_degenerate(faces.astype(np.int32))


def _open_edges(faces: NDArray[np.int32]) -> int:
    """How many edges belong to one face only."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    return int((np.unique(edges, axis=0, return_counts=True)[1] == 1).sum())


def _drop_degenerate(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    a, b, c = faces.T
    return np.ascontiguousarray(faces[(a != b) & (b != c) & (c != a)])


def _transfer(
    mesh: Mesh, old: NDArray[np.float64], new: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Attributes for new corners: normals (F', 3, 3) and texcoords (F', 3, 0 or 2).

    Args:
        mesh: the source of the attributes.
        old: (F, 3, 3) its triangles, scaled.
        new: (F', 3, 3) the new triangles, in the same scale.
    """
    from scipy.spatial import cKDTree

    owner, barycentric = _samples(old)
    spots = np.column_stack([_mix(barycentric, old[owner]), _unit_normals(old)[owner] * _NORMAL_WEIGHT])
    middle, direction = new.mean(axis=1), _unit_normals(new) * _NORMAL_WEIGHT
    _, source = cKDTree(spots).query(np.column_stack([middle, direction]))  # which old face a new face shows

    # One tree for all charts: charts lie so far apart along a further axis that no neighbour is in another one.
    chart = _charts(mesh.texcoords) * (100.0 * _SIZE)
    texture = mesh.texcoords * _texture_scale(mesh.texcoords, old)
    spot_texture, new_texture = _mix(barycentric, texture[owner]), _mix(barycentric[source], texture[owner[source]])
    tree = cKDTree(np.column_stack([spots, chart[owner], spot_texture * _TEXTURE_WEIGHT]))
    corner = np.column_stack([direction, chart[owner[source]], new_texture * _TEXTURE_WEIGHT])
    queries = np.column_stack([new.reshape(-1, 3), np.repeat(corner, 3, axis=0)])
    _, neighbours = tree.query(queries, k=min(_NEIGHBOURS, len(spots)))
    face, weights = _closest(old, owner[neighbours], new.reshape(-1, 3))
    normals = _mix(weights, mesh.normals[face])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    texcoords = _mix(weights, mesh.texcoords[face])
    return normals.reshape(-1, 3, 3).astype(np.float32), texcoords.reshape(len(new), 3, -1).astype(np.float32)


def _samples(triangles: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Points that cover a surface (F, 3, 3): its corners, and more where triangles are large.

    Returns:
        (n,) the triangle and (n, 3) barycentric weights of each point; always the same for the same input.
    """
    generator = np.random.default_rng(0)
    share = _areas(triangles) / max(float(_areas(triangles).sum()), 1e-12)
    inner = np.repeat(np.arange(len(triangles)), np.floor(share * _SAMPLES).astype(np.intp))
    weights = np.concatenate([np.tile(np.eye(3), (len(triangles), 1)), generator.dirichlet((1, 1, 1), len(inner))])
    return np.concatenate([np.repeat(np.arange(len(triangles)), 3), inner]), weights


def _closest(
    triangles: NDArray[np.float64], candidates: NDArray[np.intp], points: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The nearest of each point's candidate triangles.

    Args:
        triangles: (F, 3, 3).
        candidates: (n, k) indices of triangles.
        points: (n, 3).

    Returns:
        (n,) the triangle, and (n, 3) barycentric weights of the point on it, clipped to the triangle.
    """
    a, b, c = np.moveaxis(triangles[candidates], 2, 0)  # (n, k, 3) each
    u, v, w = b - a, c - a, points[:, None] - a
    uu, uv, vv = _dot(u, u), _dot(u, v), _dot(v, v)
    uw, vw = _dot(u, w), _dot(v, w)
    area = np.maximum(uu * vv - uv * uv, 1e-18)
    second, third = (vv * uw - uv * vw) / area, (uu * vw - uv * uw) / area
    weights = np.clip(np.stack([1 - second - third, second, third], axis=-1), 0.0, None)
    weights /= weights.sum(axis=-1, keepdims=True)
    distance = np.linalg.norm(np.einsum("nkc,nkcd->nkd", weights, triangles[candidates]) - points[:, None], axis=-1)
    rows, best = np.arange(len(points)), np.argmin(distance, axis=1)
    return candidates[rows, best], weights[rows, best]


def _charts(texcoords: NDArray[np.float32]) -> NDArray[np.int32]:
    """(F,) which connected piece of the texture map each face (F, 3, 2) lies in; zeros without texture."""
    if not texcoords.size:
        return np.zeros(len(texcoords), dtype=np.int32)
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    _, place = np.unique(
        np.round(texcoords.reshape(-1, 2) / _TEXTURE_WELD).astype(np.int64), axis=0, return_inverse=True
    )
    a, b, c = place.reshape(-1, 3).T
    edges = (np.concatenate([a, b]), np.concatenate([b, c]))
    size = int(place.max()) + 1
    _, piece = connected_components(coo_matrix((np.ones(len(edges[0])), edges), shape=(size, size)), directed=False)
    return np.asarray(piece[a], dtype=np.int32)


def _texture_scale(texcoords: NDArray[np.float32], triangles: NDArray[np.float64]) -> float:
    """Lengths on the surface per length on the texture map; 1 without texture."""
    if not texcoords.size:
        return 1.0
    flat = np.concatenate([texcoords, np.zeros((len(texcoords), 3, 1))], axis=2)
    return float(np.sqrt(_areas(triangles).sum() / max(float(_areas(flat).sum()), 1e-12)))


def _cross(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]))


def _areas(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(_cross(triangles), axis=1) / 2)


def _unit_normals(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(_cross(triangles) / np.maximum(2 * _areas(triangles), 1e-12)[:, None])


def _mix(weights: NDArray[Any], corners: NDArray[Any]) -> NDArray[np.float64]:
    """(n, d) from barycentric weights (n, 3) and values at the corners (n, 3, d)."""
    return np.asarray(np.einsum("nc,ncd->nd", weights, corners))


def _dot(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.einsum("nkd,nkd->nk", a, b))
