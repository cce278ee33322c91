"""Joints that a network is told in training, as the other views of a rig would tell them: near the truth, never on it.

What a rig draws back into a view is off in ways that hang together: the whole hand, a finger that bends more from joint
to joint, a finger taken for its neighbour, or curled where it is straight because most views can't tell. Sometimes
there is no hand at all. A network that learns from such hints follows them as far as its picture agrees: the figures
below give the errors that rigs of four cameras round train people were found to tell.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS, NOT_GIVEN
from rt_hands.training.compose import MIDDLE_MCP
from rt_hands.training.targets import Batch

SHIFT: Final = 0.011
"""Standard deviations, in sizes of the hand (the longer side of its joints' box): of the whole hand, ..."""
SCALE: Final = 0.015
TURN: Final = 0.025
"""... as a share, in radians, ..."""
BENT: Final = 0.08
"""... at the tip of a finger that bends otherwise, ..."""
JOINT: Final = 0.014
"""... and of each joint. All are times a factor of each hand, exp(N(0, SPREAD))."""
SPREAD: Final = 0.5
BENT_SHARE: Final = 0.2
"""Of fingers."""
MISREAD_SHARE: Final = 0.12
"""Of hands in which fingers are wrong as a whole; in those, ..."""
TAKEN_SHARE: Final = 0.15
"""... the share of fingers taken for the next one, ..."""
POSED_SHARE: Final = 0.3
"""... and of those posed as another hand's: a curled finger said to be straight, or the other way about."""
FALSE_SHARE: Final = 0.08
"""Of hands that are not there: they are told the other hand's joints, somewhere about it."""
_ALONG: Final = (0.0, 0.3, 0.6, 1.0)
LARGEST_TURN: Final = 1.5
"""A lent finger is scaled with the palm, seen end-on in one of the hands, no further than this."""


def given_joints(batch: Batch, share: float) -> Tensor:
    """(B, 2, 21, 2) joints in shares of the picture for `share` of the hands, NOT_GIVEN for the others."""
    points = batch.points.view(-1, N_HANDS, N_HAND, 2)[:, :, :N_JOINTS] / batch.image.shape[1]
    known = torch.isfinite(points).all(-1) & (batch.weight.view(-1, N_HANDS, N_HAND)[:, :, :N_JOINTS] > 0)
    known &= batch.present[..., None] > 0.5
    told = known.all(-1) & (torch.rand_like(batch.present) < share)
    near = disturbed(torch.nan_to_num(points))
    false = near.flip(1) + 0.15 * torch.randn_like(near[:, :, :1])
    absent = (batch.present < 0.5) & known.all(-1).flip(1)
    absent &= torch.rand_like(batch.present) < FALSE_SHARE * share
    nothing = torch.full_like(near, NOT_GIVEN)
    return torch.where(told[..., None, None], near, torch.where(absent[..., None, None], false, nothing))


def disturbed(joints: Tensor) -> Tensor:
    """Joints (B, 2, 21, 2) as a rig might have them; hands differ in how much they are off."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=joints.device)

    def chance(share: float) -> Tensor:
        return (torch.rand(hands + (5, 1, 1), device=joints.device) < share).float()

    hands = joints.shape[:2]
    size = (joints.amax(2) - joints.amin(2)).amax(-1)[..., None, None]
    much = torch.exp(SPREAD * normal(*hands, 1, 1))
    centre = joints.mean(2, keepdim=True)
    angle, scale = TURN * much * normal(*hands, 1, 1), 1 + SCALE * much * normal(*hands, 1, 1)
    x, y = (joints - centre).unbind(-1)
    c, s = torch.cos(angle)[..., 0], torch.sin(angle)[..., 0]
    turned = torch.stack([c * x - s * y, s * x + c * y], -1) * scale
    out = centre + turned + size * much * (SHIFT * normal(*hands, 1, 2) + JOINT * normal(*hands, N_JOINTS, 2))
    fingers = out[:, :, 1:].unflatten(2, (5, 4))
    taken = fingers.roll(1, 2) + size[..., None] * JOINT * normal(*hands, 5, 4, 2)
    misread = (torch.rand(hands, device=joints.device) < MISREAD_SHARE).float()[..., None, None, None]
    swap = misread * chance(TAKEN_SHARE)
    fingers = swap * taken + (1 - swap) * fingers
    other = misread * chance(POSED_SHARE)
    fingers = other * posed_otherwise(out) + (1 - other) * fingers
    along = torch.tensor(_ALONG, device=joints.device)[:, None]
    bend = chance(BENT_SHARE) * along * normal(*hands, 5, 1, 2) * BENT * (size * much)[..., None]
    return torch.cat([out[:, :, :1], (fingers + bend).flatten(2, 3)], 2)


def posed_otherwise(joints: Tensor) -> Tensor:
    """Fingers (B, 2, 5, 4, 2) on the knuckles of joints (B, 2, 21, 2), posed as in the batch's next picture.

    A hand that is not in that picture (all joints in one place) lends nothing.
    """
    lender = joints.roll(1, 0)
    own, theirs = (torch.view_as_complex(j.float().contiguous()) for j in (joints, lender))
    palm, lent = own[..., MIDDLE_MCP] - own[..., 0], theirs[..., MIDDLE_MCP] - theirs[..., 0]
    usable = lent.abs() > 0.1 * palm.abs()
    turn = torch.where(
        usable, palm / torch.where(usable, lent, torch.ones_like(lent)), torch.zeros_like(palm)
    )
    mine, other = (z[..., 1:].unflatten(2, (5, 4)) for z in (own, theirs))
    posed = mine[..., :1] + (turn / (turn.abs() / LARGEST_TURN).clamp(min=1))[..., None, None] * (
        other - other[..., :1]
    )
    return torch.view_as_real(torch.where(usable[..., None, None], posed, mine)).to(joints.dtype)
