"""Named hand shapes as joint angles: everyday gestures and the shapes of the ASL alphabet, written by hand.

A shape is five thumb angles, one letter a finger, and how far the fingers spread; `angles_of` turns it into the 27
angles of `skeleton.DOFS`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import FINGERS
from rt_hands.synth.skeleton import DOF, N_DOFS

FINGER_SHAPES: Final = {
    "S": (4, 4, 3),  # straight
    "B": (-12, 2, 0),  # bent back
    "R": (22, 30, 18),  # relaxed
    "Q": (32, 48, 30),  # round, as round a ball
    "H": (45, 62, 36),  # half closed
    "C": (80, 98, 60),  # closed
    "L": (62, 98, 58),  # closed, with room for a thumb beneath
    "K": (10, 95, 60),  # hook
    "F": (78, 10, 6),  # folded at the knuckle only
    "P": (52, 52, 22),  # reaching for the thumb's tip
    "O": (48, 62, 34),  # reaching for it, rounder
}
"""Degrees at knuckle, middle and last joint."""

THUMBS: Final = {
    "rest": (0, 0, 0, 12, 18),
    "out": (-18, -4, 0, 2, -4),
    "up": (-18, -18, 0, 0, -12),
    "wide": (-14, 14, 0, 4, 0),
    "side": (6, -24, 0, 12, 14),
    "across": (19, 14, 8, 37, 48),
    "over": (13, 8, 8, 30, 48),
    "locked": (16, 18, 8, 37, 48),
    "tucked": (29, 0, 8, 45, 38),
    "under": (14, -3, 8, 22, 20),
    "pinch": (9, 10, 4, 26, 30),
    "round": (4, 16, 4, 18, 22),
    "oppose": (17, 17, 10, 25, 20),
    "flat": (2, -26, 0, 4, 0),
}
"""Degrees: cmc flexion, cmc abduction, cmc rotation, mcp flexion, ip flexion."""

_TABLE: Final = """
open            out     SSSS  1.0
five_wide       wide    BBBB  1.5
flat            flat    SSSS -0.1
relaxed         rest    RRRR  0.4
relaxed_closed  rest    RHHH  0.2
half_open       round   QQQH  0.3
claw            wide    KKKK  1.1
hook            side    KKKK  0.0
fist            over    CCCC  0.0
fist_tucked     locked  LLLL  0.0
thumbs_up       up      CCCC  0.0
thumbs_side     side    CCCC  0.0
point           across  SCCC  0.0
point_loose     side    SHCC  0.1
gun             up      SCCC  0.0
peace           across  SSCC  1.5
scissors        across  SSCC  0.4
three           across  SSSC  0.8
three_thumb     out     SSCC  1.0
four            tucked  SSSS  0.9
rock            across  SCCS  0.5
love            out     SCCS  0.6
shaka           out     CCCS  0.8
pinky           over    CCCS  0.2
middle_point    over    CSCC  0.0
ok              pinch   OSSS  0.8
pinch           pinch   PRHH  0.3
pinch_closed    pinch   PCCC  0.0
pinch_three     pinch   PPHC  0.1
bunch           pinch   OOOO  0.0
grip_ball       round   QQQQ  0.8
grip_cylinder   oppose  QHHH  0.2
grip_tray       wide    BSSS  0.4
folded          flat    FFFF  0.0
folded_thumb    round   FFFF  0.1
salute_three    tucked  SSSC  0.0
wave_back       out     BBBB  0.6
count_six       oppose  SSSO  0.7
count_seven     oppose  SSOS  0.6
count_eight     oppose  SOSS  0.6
gun_two         up      SSCC  0.0
key_grip        side    HCCC  0.0
pen             pinch   PHHC  0.1
spider          out     KSSK  0.6
asl_a           side    CCCC  0.0
asl_b           tucked  SSSS -0.1
asl_c           round   QQQQ  0.0
asl_d           pinch   SOOO  0.0
asl_e           tucked  KKKK  0.0
asl_f           pinch   OSSS  0.9
asl_g           flat    SCCC  0.0
asl_i           over    CCCS  0.2
asl_l           out     SCCC  0.2
asl_m           under   FFFC  0.0
asl_n           under   FFCC  0.0
asl_o           pinch   OOOO  0.0
asl_p           under   SFCC  0.2
asl_r           across  SSCC -0.4
asl_s           locked  LLLL  0.0
asl_t           under   LCCC  0.1
asl_u           across  SSCC -0.1
asl_v           across  SSCC  1.4
asl_w           oppose  SSSO  0.9
asl_x           across  KCCC  0.0
asl_y           out     CCCS  0.9
"""

_SPREAD_DEG: Final = (10.0, 1.0, -7.0, -15.0)  # abduction of index .. pinky at spread 1
_LOOSE_DEG: Final = (1.0, 0.0, 0.0, 1.0)  # at spread 0


def angles_of(thumb: str, fingers: str, spread: float) -> NDArray[np.float32]:
    """The 27 angles (radians) of a thumb's name, four letters of `FINGER_SHAPES`, and a spread."""
    angles = np.zeros(N_DOFS)
    names = ("cmc_flexion", "cmc_abduction", "cmc_rotation", "mcp_flexion", "ip_flexion")
    for name, value in zip(names, THUMBS[thumb], strict=True):
        angles[DOF[f"thumb_{name}"]] = value
    for k, (finger, letter) in enumerate(zip(FINGERS[1:], fingers, strict=True)):
        bends = FINGER_SHAPES[letter]
        for joint, value in zip(("mcp_flexion", "pip_flexion", "dip_flexion"), bends, strict=True):
            angles[DOF[f"{finger}_{joint}"]] = value
        # A bent knuckle holds its finger in line: the ligaments are tight.
        free = max(0.15, np.cos(np.radians(max(bends[0], 0))))
        angles[DOF[f"{finger}_mcp_abduction"]] = _LOOSE_DEG[k] + spread * _SPREAD_DEG[k] * free
    closed = np.mean([c in "CLH" for c in fingers])
    angles[DOF["ring_arch"]], angles[DOF["pinky_arch"]] = 3.0 * closed, 7.0 * closed
    return np.radians(angles).astype(np.float32)


def _parsed() -> tuple[tuple[str, ...], NDArray[np.float32]]:
    rows = [line.split() for line in _TABLE.strip().splitlines()]
    return tuple(r[0] for r in rows), np.stack([angles_of(r[1], r[2], float(r[3])) for r in rows])


GESTURE_NAMES, GESTURES = _parsed()
"""Names (G,) and angles (G, 27) of all hand shapes."""
