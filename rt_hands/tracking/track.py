"""One hand over time: where it is, how it moves, how sure its side is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import hypot, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.layout import N_HAND, N_JOINTS
from rt_hands.tracking.crops import Box, box_of
from rt_hands.tracking.one_euro import OneEuro
from rt_hands.tracking.readings import Sighting, Spot, median_peak

SIDE_STEP: Final = 0.35
"""How much of one frame's log ratio of evidence counts: a side read wrongly needs about six frames to turn a hand."""
SIDE_CAP: Final = 3.0
"""Bound of the summed log ratio, so that a long past can be overruled by half a second of the contrary."""
SIDE_TURN: Final = -1.2
"""Below this the hand changes its side."""
VELOCITY_SHARE: Final = 0.5
"""Weight of the last step in the hand's velocity."""
LEAST_STEP_S: Final = 0.016
"""Streams' pictures are stamped as they arrive, some 1 ms after the last one: no hand moved that fast. Arriving 10 ms
late on average (exponential), a hand at 400 px/s was lost in 15 of 40 pictures, in none since. At 120 fps and more the
velocity is told too low, where a hand hardly moves between two pictures."""


class State(Enum):
    """Of a hand: seen in this frame; held over from earlier ones, for a blink; lost, and so absent."""

    SEEN = "seen"
    HELD = "held"
    LOST = "lost"


@dataclass(slots=True)
class Track:
    """The hand in one of the two places of `Hands2D`."""

    state: State = State.LOST
    points_px: NDArray[np.float32] = field(default_factory=lambda: np.full((N_HAND, 3), np.nan, np.float32))
    presence: float = 0.0
    box: Box | None = None
    velocity_px_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    side_log_ratio: float = 0.0
    seen_ns: int = 0
    confirmed: bool = False
    filter: OneEuro = field(default_factory=OneEuro)

    @property
    def alive(self) -> bool:
        """Seen or held, or new and not yet confirmed."""
        return self.state is not State.LOST

    def as_sighting(self, side: int) -> Sighting | None:
        """The hand as last seen, as a reading of a side; None without a past."""
        if self.box is None:
            return None
        return Sighting(side, self.points_px, self.presence, median_peak(self.points_px), self.box)

    def lose(self) -> None:
        """Forget the hand."""
        self.state = State.LOST
        self.box = None
        self.velocity_px_s = np.zeros(2)
        self.side_log_ratio = 0.0
        self.confirmed = False
        self.filter.reset()

    def predicted(self, t_ns: int) -> NDArray[np.float64]:
        """The points (85, 3) where they should be at a time, moved on at the hand's last speed."""
        moved = self.points_px.astype(np.float64)
        moved[:, :2] += self.velocity_px_s * (t_ns - self.seen_ns) * 1e-9
        return moved

    def motion_px(self, t_ns: int) -> float:
        """How far it goes between the last frame and a time."""
        return hypot(*self.velocity_px_s.tolist()) * max(t_ns - self.seen_ns, 0) * 1e-9

    def start(self, sighting: Sighting, t_ns: int) -> None:
        """A new hand; `follow` in the next frame confirms it."""
        self.lose()
        self._take(sighting, t_ns)

    def hold_at(self, points_px: NDArray[np.float32], t_ns: int, least_score: float) -> None:
        """A hand told of by others, not seen here yet: (85, 3) x, y, score."""
        self.lose()
        self.box = box_of(points_px, least_score)
        if self.box is not None:
            self.state, self.points_px, self.seen_ns = State.HELD, points_px, t_ns
            self.confirmed = True

    def follow(self, sighting: Sighting, t_ns: int) -> None:
        """The same hand in the next frame."""
        dt = (t_ns - self.seen_ns) * 1e-9
        if dt > 0 and self.box is not None:
            x, y, _ = _core.mean_step(self.points_px[:N_JOINTS], sighting.points_px[:N_JOINTS])
            now_px_s = np.array((x, y)) / max(dt, LEAST_STEP_S)
            self.velocity_px_s += VELOCITY_SHARE * (now_px_s - self.velocity_px_s)
        self._take(sighting, t_ns)
        self.confirmed = True

    def weigh_side(self, spot: Spot, side: int) -> None:
        """Add one frame's evidence that this hand is of its side."""
        own, other = spot.evidence(side), spot.evidence(1 - side)
        ratio = min(max(log((own + 0.02) / (other + 0.02)), -2.0), 2.0)
        self.side_log_ratio = min(max(self.side_log_ratio + SIDE_STEP * ratio, -SIDE_CAP), SIDE_CAP)

    def _take(self, sighting: Sighting, t_ns: int) -> None:
        self.state = State.SEEN
        self.points_px = sighting.points_px
        self.presence = sighting.presence
        self.box = sighting.box
        self.seen_ns = t_ns
