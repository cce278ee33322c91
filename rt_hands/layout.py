"""The 170 points: order, names, bones, colours, mirror, and conversions to other orders.

index = hand * 85 + point; hand 0 = right, 1 = left. Points 0..20 are the joints (MediaPipe / OpenPose order),
21..84 lie on the skin. "Dorsal, radial, palmar, ulnar" are anatomical, so a mirror image swaps hands and
nothing else. Shape letters: H = 2 hands, J = 21, S = 64, P = 85 per hand, K = 170.
"""

from __future__ import annotations

from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput

HANDS: Final = ("right", "left")
FINGERS: Final = ("thumb", "index", "middle", "ring", "pinky")
SIDES_OF_FINGER: Final = ("dorsal", "radial", "palmar", "ulnar")
N_HANDS: Final = 2
N_JOINTS: Final = 21
N_SURFACE: Final = 64
N_HAND: Final = N_JOINTS + N_SURFACE
N_POINTS: Final = N_HANDS * N_HAND
TIP_JOINTS: Final = np.array([4, 8, 12, 16, 20])
NOT_GIVEN: Final = -9.0
"""For a joint that a network could be told of, in shares of its picture, where nothing is known."""

GRID_ROWS: Final = 4  # row 0 next to the wrist, row 3 next to the knuckles
GRID_COLUMNS: Final = 3  # column 0 on the radial (thumb) side, column 2 on the ulnar side


def _rings(finger: str) -> tuple[str, str]:
    """The two inner phalanges that carry a ring of four surface points."""
    return ("proximal", "distal") if finger == "thumb" else ("proximal", "middle")


def _joint_names() -> tuple[str, ...]:
    thumb = tuple(f"thumb_{j}" for j in ("cmc", "mcp", "ip", "tip"))
    others = tuple(f"{f}_{j}" for f in FINGERS[1:] for j in ("mcp", "pip", "dip", "tip"))
    return ("wrist", *thumb, *others)


def _surface_names() -> tuple[str, ...]:
    rings = tuple(f"{f}_{ring}_{s}" for f in FINGERS for ring in _rings(f) for s in SIDES_OF_FINGER)
    grids = tuple(
        f"{side}_r{r}_c{c}"
        for side in ("back", "palm")
        for r in range(GRID_ROWS)
        for c in range(GRID_COLUMNS)
    )
    return rings + grids


JOINT_NAMES: Final = _joint_names()
SURFACE_NAMES: Final = _surface_names()
HAND_POINT_NAMES: Final = JOINT_NAMES + SURFACE_NAMES
POINT_NAMES: Final = tuple(f"{hand}_{point}" for hand in HANDS for point in HAND_POINT_NAMES)
_INDEX: Final = {name: i for i, name in enumerate(POINT_NAMES)}
_HAND_INDEX: Final = {name: i for i, name in enumerate(HAND_POINT_NAMES)}


def index_of(name: str) -> int:
    """Index of a point by name: 0..169 for `right_wrist`, 0..84 for `wrist` (the place within one hand)."""
    found = _INDEX.get(name, _HAND_INDEX.get(name))
    if found is None:
        raise InvalidInput(f"No point is called '{name}'. Names look like 'left_index_tip' or 'palm_r0_c2'.")
    return found


def hand_slice(hand: int) -> slice:
    """The 85 points of hand 0 (right) or 1 (left) within the 170."""
    if hand not in (0, 1):
        raise InvalidInput(f"Hand {hand} does not exist: 0 is right, 1 is left.")
    return slice(hand * N_HAND, (hand + 1) * N_HAND)


# --- what belongs together -------------------------------------------------------------------------------

JOINT_BONES: Final[tuple[tuple[int, int], ...]] = tuple(
    (0 if j == 0 else 1 + 4 * f + j - 1, 1 + 4 * f + j) for f in range(5) for j in range(4)
)
"""20 pairs (parent, child) of joints, wrist outwards."""


def _cage() -> tuple[tuple[int, int], ...]:
    edges = []
    for f in range(5):
        lower, upper = N_JOINTS + 8 * f, N_JOINTS + 8 * f + 4
        edges += [(ring + s, ring + (s + 1) % 4) for ring in (lower, upper) for s in range(4)]
        edges += [(lower + s, upper + s) for s in range(4)]
    for grid in (N_JOINTS + 40, N_JOINTS + 52):
        at = np.arange(grid, grid + 12).reshape(GRID_ROWS, GRID_COLUMNS)
        edges += list(zip(at[:, :-1].ravel().tolist(), at[:, 1:].ravel().tolist(), strict=True))
        edges += list(zip(at[:-1].ravel().tolist(), at[1:].ravel().tolist(), strict=True))
    return tuple(edges)


SURFACE_BONES: Final = _cage()
"""94 pairs of surface points: rings round the phalanges, links along them, the two grids."""


def _part_of_point() -> NDArray[np.int64]:
    part = np.zeros(N_HAND, np.int64)
    for f, finger in enumerate(FINGERS, start=1):
        part[[name.startswith(finger) for name in HAND_POINT_NAMES]] = f
    return part


PART_OF_POINT: Final = _part_of_point()
"""(85,) int: 0 = palm and wrist, 1..5 = thumb..pinky."""

PART_COLOURS_RGB: Final = np.array(
    [[208, 208, 216], [255, 92, 88], [255, 184, 56], [92, 214, 112], [64, 176, 255], [190, 124, 255]],
    np.uint8,
)
"""(6, 3) uint8: palm, thumb .. pinky; told apart on skin and by colour-blind eyes (lightness differs too)."""


def point_colours_bgr() -> NDArray[np.uint8]:
    """Colour of each of the 170 points for OpenCV drawing: (170, 3) uint8, BGR."""
    return np.tile(PART_COLOURS_RGB[PART_OF_POINT][:, ::-1], (N_HANDS, 1))


# --- mirror ----------------------------------------------------------------------------------------------

MIRROR: Final = (np.arange(N_POINTS) + N_HAND) % N_POINTS
"""(170,) permutation: `points[..., MIRROR, :]` swaps right and left, as a horizontal flip of the picture does."""


# --- other people's orders of 2 x 21 joints --------------------------------------------------------------

Order = Literal["mediapipe", "openpose", "interhand", "coco_wholebody"]
_FROM_INTERHAND = [20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16]


def _joint_orders() -> dict[str, NDArray[np.int64]]:
    """For each order, `order[i]` = index among the 170 of its joint i (42 joints)."""
    right, left = np.arange(N_JOINTS), N_HAND + np.arange(N_JOINTS)
    # InterHand2.6M lists each finger tip to base and the wrist last; right hand first.
    tip_to_base = np.argsort(_FROM_INTERHAND)
    return {
        "mediapipe": np.concatenate([right, left]),
        # OpenPose and COCO-WholeBody keep the MediaPipe order inside a hand, the left hand first.
        "openpose": np.concatenate([left, right]),
        "coco_wholebody": np.concatenate([left, right]),
        "interhand": np.concatenate([right[tip_to_base], left[tip_to_base]]),
    }


JOINT_ORDERS: Final = _joint_orders()
T = TypeVar("T", bound=np.generic)


def _order(order: str) -> NDArray[np.int64]:
    if order not in JOINT_ORDERS:
        raise InvalidInput(f"Unknown joint order '{order}'. Known: {', '.join(JOINT_ORDERS)}.")
    return JOINT_ORDERS[order]


def to_order(points: NDArray[T], order: Order) -> NDArray[T]:
    """The 42 joints in another order: (..., 170, D) -> (..., 42, D). Surface points are left out."""
    if points.ndim < 2 or points.shape[-2] != N_POINTS:
        raise InvalidInput(f"Points have shape {points.shape}; wanted (..., {N_POINTS}, D).")
    return points[..., _order(order), :]


def from_order(joints: NDArray[np.floating], order: Order) -> NDArray[np.floating]:
    """The 170 points from 42 joints in another order: (..., 42, D) -> (..., 170, D), surface points NaN."""
    if joints.ndim < 2 or joints.shape[-2] != 2 * N_JOINTS:
        raise InvalidInput(f"Joints have shape {joints.shape}; wanted (..., {2 * N_JOINTS}, D).")
    points = np.full((*joints.shape[:-2], N_POINTS, joints.shape[-1]), np.nan, joints.dtype)
    points[..., _order(order), :] = joints
    return points


def joint_names(order: Order) -> tuple[str, ...]:
    """Names of an order's 42 joints, as in `POINT_NAMES`."""
    return tuple(POINT_NAMES[i] for i in _order(order))
