"""Every threshold of finding and following hands, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Bar:
    """What a reading must reach to count as a hand.

    presence: of the network's presence head, a probability. peak: median peak of the hand's 85 belief maps. share: of
    the crop's side that the hand must span; in a crop made for one hand it spans about 0.74, and where the network
    sees none its points often gather in a clump, which shrinks with each crop round it.
    """

    presence: float
    peak: float
    share: float

    @property
    def half(self) -> Bar:
        """Half of it: where a hand could be either, each side's reading has half of the presence and of the peak."""
        return replace(self, presence=self.presence / 2, peak=self.peak / 2)

    def reached(self, presence: float, peak: float) -> bool:
        """Whether a reading reaches it; NaN from a broken network does not."""
        return presence >= self.presence and peak >= self.peak


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as a hand."""

    found: Bar = Bar(0.76, 0.2, 0.35)
    """To call a hand found. Of 985 hands in 900 real train pictures 1.6 % miss it, 1.3 % miss 0.6 and 1.7 % 0.9; wrong
    second hands reach it in 8, 9 and 5 pictures, no one of 89 backgrounds does (0.62; in float32 one, 0.94).
    Median peaks of hands lie above 0.3."""
    kept: Bar = Bar(0.35, 0.1, 0.35)
    """To keep a hand that was there in the last frame: about half of the above, or it flickers at the threshold."""
    hinted: Bar = Bar(0.2, 0.05, 0.1)
    """In a pass over the picture, to look closer: hands are small there and a second look costs one crop."""
    certain: Bar = Bar(0.97, 0.3, 0.35)
    """To call a second hand found that lies upon the first or was looked for beside it, where arms and the first hand
    itself look like hands. Of 317 real and 116 rendered train pictures of one hand 1 and 2 have a second one that
    reaches it, of 53 rendered pairs of which one was found 36 the right one."""
    second: Bar = Bar(0.9, 0.3, 0.35)
    """The same in videos for one that lies beside the first, and in the views of a rig. In train pictures (700 rendered
    and 1,500 real of one hand, 900 rendered pairs of which 302 hands were looked for) 264 of 283 hands reach it, where
    233 reach the bar above; 14 wrong readings of pairs against 11, 8 and 2 of single hands against 2 and 1."""
    second_alone: Bar = Bar(0.75, 0.2, 0.35)
    """The same in a single picture of one camera, where neither the next frame nor another view shows a hand that was
    missed. On train people: of 400 hands in rendered pairs 9 are missed, 15 at the bar above; of 350 real pictures of
    one hand 3 get a second one, 2 at that bar; of 240 hands in real pairs 18 are missed either way. In rigs it finds no
    more hands."""
    upon: float = 0.3
    """Of the smaller hand's box: with more overlap a second hand lies upon the first. Of these wrong readings one did
    not, of the hands a third."""
    point_in_box: float = 0.05
    """Points with lower peaks do not stretch the box of a hand: they are guesses."""
    side_ratio: float = 0.2
    """A hand may be given its less likely side only where that side has this share of the likelier one's evidence."""
    same_hand: float = 0.3
    """Two readings are one hand where their joints lie this close on average, in hand sizes: left and right readings
    of one hand lie near 0.1, two hands laid on each other above 0.4."""
    same_hand_certain: float = 0.15
    """The same where one is a right and the other a left hand and both are all but certain: a hand that could be either
    has no such presence on both sides, and hands laid palm to palm come as near as 0.2."""
    bone: float = 0.7
    """Followed from frame to frame, a reading is no hand where a finger's bone is longer than this, in sizes of the
    hand: it is torn between two hands, and the next crop round it holds both again. Of train hands (450 real, 700
    rendered) 0.2 % of those read well have such a bone, 37 % of those that are no hand or half another one. In single
    pictures, where nothing finds the hand a frame later, half a hand is worth more than none."""
    part_inside: float = 0.75
    part_size: float = 0.55
    """A reading is a part of a hand mistaken for a hand where this share of its box lies in that hand's box and it is
    smaller than this share of it: seen on real pictures with fingers filling a search window."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things last, in ms, so that cameras of 15 and 120 fps behave alike."""

    hold_ms: float = 200.0
    """A hand not confirmed for this long is lost: a blink, a blurred wave; longer looks like a ghost."""
    search_every_ms: float = 170.0
    """While one hand is followed and the other missing, one more crop this often: 1 frame in 5 at 30 fps."""
    search_soon_ms: float = 60.0
    soon_for_ms: float = 1000.0
    """The same for so long after a hand was found or lost: two hands come together, and what was lost is near."""
    longest_step_ms: float = 500.0
    """After a longer gap between frames the motion says nothing any more: start again."""


__all__ = ["Bar", "Thresholds", "Timing"]
