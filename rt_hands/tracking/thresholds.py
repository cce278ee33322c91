"""Every threshold of finding and following hands, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as a hand. `presence` is the network's presence head, `peak` the median peak of a hand's maps."""

    presence_found: float = 0.5
    """To call a hand found: the head is trained with cross entropy, so one half is where it is as often right."""
    presence_kept: float = 0.25
    """To keep a hand that was there in the last frame: half of the above, or it flickers at the threshold."""
    presence_hinted: float = 0.2
    """In a pass over the whole picture, to look closer: hands are small there and a second look costs one crop."""
    peak_found: float = 0.12
    """Belief maps of undecided networks are low and broad; a real hand's median peak lies well above."""
    peak_kept: float = 0.06
    peak_hinted: float = 0.05
    point_in_box: float = 0.05
    """Points with lower peaks do not stretch the box of a hand: they are guesses."""
    side_ratio: float = 0.2
    """A hand may be given its less likely side only where that side has this share of the likelier one's evidence."""
    same_hand: float = 0.3
    """Two readings are one hand where their joints lie this close on average, in hand sizes: left and right readings
    of one hand lie near 0.1, two hands laid on each other above 0.4."""
    smallest_in_crop: float = 0.12
    """In a crop made for it a hand spans about 0.7 of the side; one that spans this little is a smudge."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things last, in ms, so that cameras of 15 and 120 fps behave alike."""

    hold_ms: float = 200.0
    """A hand not confirmed for this long is lost: a blink, a blurred wave; longer looks like a ghost."""
    search_every_ms: float = 170.0
    """While one hand is followed and the other missing, one more crop this often: 1 frame in 5 at 30 fps."""
    longest_step_ms: float = 500.0
    """After a longer gap between frames the motion says nothing any more: start again."""


__all__ = ["Thresholds", "Timing"]
