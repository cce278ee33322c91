"""Single moments of a rig, and slow cameras, on painted hands: the rig tells each view where to look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from standin import Listening, PaintedHand, picture, worst_px

from rt_hands import Camera, Hands2D, Rig, rig_detector
from rt_hands.capture.source import Source
from rt_hands.detector import Detector
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import NOT_GIVEN
from rt_hands.lifting.lift import lift
from rt_hands.pipeline import Pipeline
from rt_hands.rig_detector import RigDetector, _exchanged
from rt_hands.tracking.track import State
from rt_hands.types import Frame, FrameSet

SIZE = (640, 480)
FOCAL_PX, FAR_MM = 600.0, 600.0
PLACES_MM = {"a": (-120.0, 0.0), "b": (60.0, 40.0), "c": (90.0, -60.0)}


def rig() -> Rig:
    """Cameras side by side that look the same way: hands flat before them are squares in every picture."""
    k = np.array([[FOCAL_PX, 0, 319.5], [0, FOCAL_PX, 239.5], [0, 0, 1]])
    poses = {c: np.column_stack([np.eye(3), (-x, -y, FAR_MM)]) for c, (x, y) in PLACES_MM.items()}
    return Rig(tuple(Camera(c, SIZE, k, np.zeros(5), pose) for c, pose in poses.items()))


def painted(camera: str) -> tuple[PaintedHand, PaintedHand]:
    x, y = PLACES_MM[camera]
    centres = [(319.5 + at - x, 239.5 - y) for at in (110.0, -110.0)]
    return PaintedHand(0, centres[0], 190), PaintedHand(1, centres[1], 190)


@pytest.fixture
def images() -> dict[str, np.ndarray]:
    return {camera: picture(*painted(camera), size_px=SIZE) for camera in PLACES_MM}


def test_every_view_sees_what_is_there(standin_cpm, images) -> None:
    found = RigDetector(rig(), Detector(cpm=standin_cpm))(images)
    assert found.hands.present.all()
    for camera, view in found.views.items():
        assert worst_px(view, *painted(camera)) < 7  # 4 px seen
    assert np.abs(found.hands.points_world_mm[[0, 85], 2]).max() < 40


@pytest.mark.parametrize("fault", ["missed", "misnamed", "all misnamed", "elsewhere"])
def test_a_view_that_erred_is_put_right(standin_cpm, images, fault: str) -> None:
    detector = RigDetector(rig(), Detector(cpm=standin_cpm))
    seen = {camera: detector.detector(image) for camera, image in images.items()}
    wrong = Hands2D(seen["c"].points_px + np.float32([150, 90, 0]), seen["c"].present, seen["c"].presence)
    faults = {
        "missed": {"c": Hands2D.empty()},
        "misnamed": {"c": _exchanged(seen["c"])},
        "all misnamed": {camera: _exchanged(view) for camera, view in seen.items()},
        "elsewhere": {"c": wrong},
    }
    found = detector.refined(images, seen | faults[fault])
    assert found.hands.present.all()
    for camera, view in found.views.items():
        assert view.present.all() and worst_px(view, *painted(camera)) < 7


def test_the_network_is_told_what_the_other_views_see(standin_cpm, images) -> None:
    engine = Listening(standin_cpm.engine)
    detector = Detector(cpm=Cpm(engine), mirror=False)
    seen = {camera: detector(image) for camera, image in images.items()}
    engine.heard.clear()
    RigDetector(rig(), detector, rounds=3).refined(images, seen)
    first, *others = engine.heard
    assert (first == NOT_GIVEN).all() and len(others) == 2
    for heard in others:  # both hands of three views, somewhere about their crops
        assert heard.shape == (6, 2, 21, 2) and (np.abs(heard - 0.5) < 3).all()


def test_a_view_has_no_say_in_what_it_is_told(standin_cpm, images) -> None:
    detector = RigDetector(rig(), Detector(cpm=standin_cpm))
    seen = {camera: detector.detector(image) for camera, image in images.items()}
    seen["c"] = Hands2D(seen["c"].points_px + np.float32([25, 0, 0]), seen["c"].present, seen["c"].presence)
    told = detector._told(seen, lift(seen, rig()))
    for camera, joints in told.items():
        off = joints - np.stack([hand.points_px()[:21] for hand in painted(camera)])
        assert (np.abs(off).mean() < 5) == (camera == "c")
    pair = rig().subset(["a", "b"])  # of two, one has no depth
    two = {camera: seen[camera] for camera in pair.ids}
    told = RigDetector(pair, detector.detector)._told(two, lift(two, pair))
    assert all(np.isfinite(joints).all() for joints in told.values())


def test_pictures_of_another_size_are_refused(standin_cpm, images) -> None:
    detector = RigDetector(rig(), Detector(cpm=standin_cpm))
    with pytest.raises(InvalidInput, match="'b': the picture is 333x211, the calibration is for 640x480"):
        detector({**images, "b": np.zeros((211, 333, 3), np.uint8)})
    with pytest.raises(InvalidInput, match="The picture is NoneType; wanted uint8"):
        detector({**images, "b": None})
    with pytest.raises(InvalidInput, match="nobody"):
        detector({"nobody": images["a"]})


def test_nothing_to_see_is_nothing(standin_cpm) -> None:
    black = {camera: np.zeros((SIZE[1], SIZE[0], 3), np.uint8) for camera in PLACES_MM}
    found = RigDetector(rig(), Detector(cpm=standin_cpm))(black)
    assert not found.hands.present.any() and not any(view.present.any() for view in found.views.values())


def test_leaving_frees_the_detector_it_made_and_no_other(standin_path, images, monkeypatch) -> None:
    def own(**words) -> Detector:
        return Detector("onnxruntime", str(standin_path), threads=1, **words)

    monkeypatch.setattr(rig_detector, "Detector", own)
    with RigDetector(rig()) as found:
        assert found(images).hands.present.all()
    with pytest.raises(InvalidInput, match="engine was closed"):
        found(images)
    with own() as detector:
        RigDetector(rig(), detector).close()
        assert detector(images["a"]).present.all()


class Moments(Source):
    """The same hands at a number of frames a second, or black pictures."""

    name = "moments"

    def __init__(self, count: int, fps: float, black: bool = False) -> None:
        self.cameras, self.length, self._step_ns, self._black = (
            tuple(PLACES_MM),
            count,
            round(1e9 / fps),
            black,
        )

    def __iter__(self) -> Iterator[FrameSet]:
        for i in range(self.length or 0):
            yield FrameSet(tuple(self._frame(camera, i) for camera in self.cameras), i)

    def _frame(self, camera: str, i: int) -> Frame:
        hands = () if self._black else painted(camera)
        return Frame(picture(*hands, size_px=SIZE), camera, i, i * self._step_ns)


def test_still_pictures_of_a_rig_are_lifted(standin_cpm) -> None:
    source = Moments(2, 30)
    source.still = True
    for result in Pipeline(source, standin_cpm, rig=rig()):
        assert result.rig is not None and result.rig.hands.present.all()
        assert worst_px(result.views[0].measured, *painted("a")) < 7
        # Joints only: the skin is RTC's, and painted hands are flat.
        apart = result.shown(0).points_px[:21, :2] - painted("a")[0].points_px()[:21]
        assert np.linalg.norm(apart, axis=1).max() < 20


@pytest.mark.parametrize("with_rig", [False, True])
def test_slow_cameras_have_their_hands_in_the_second_frame(standin_cpm, with_rig: bool) -> None:
    results = Pipeline(Moments(3, 6), standin_cpm, rig=rig() if with_rig else None)
    seen = [all(v.states == (State.SEEN, State.SEEN) for v in r.views) for r in results]
    # The first frame does not say yet how slow they are.
    assert seen == [False, True, True]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("fps, with_rig", [(1.0, False), (1.0, True), (1.5, False), (2.5, False)])
def test_cameras_too_slow_to_follow_hands_have_them_in_every_frame(
    standin_cpm, fps: float, with_rig: bool, live: bool
) -> None:
    source = Moments(5, fps)
    source.live = live
    results = Pipeline(source, standin_cpm, rig=rig() if with_rig else None)
    seen = [all(v.states == (State.SEEN, State.SEEN) for v in r.views) for r in results]
    assert seen == [False, True, True, True, True]


def test_hands_that_come_after_a_long_wait_stay_in_a_slow_recording(standin_cpm) -> None:
    pipeline = Pipeline(Moments(0, 1.5), standin_cpm)
    empty, full = list(Moments(9, 1.5, black=True)), list(Moments(13, 1.5))[9:]
    results = [pipeline.step(frames) for frames in empty + full]
    assert [r.views[0].hands.present.all() for r in results] == [False] * 9 + [True] * 4


def test_the_gap_that_a_search_leaves_does_not_ask_for_the_next(standin_cpm, monkeypatch) -> None:
    """A second a view, of cameras at 25 fps that stalled once: after it the hands are followed."""

    class Clocked(Moments):
        live, t_ns = True, 0

        def now_ns(self) -> int:
            return self.t_ns

    source, asked = Clocked(0, 25), []
    call = Detector.__call__

    def slow(self, *words):
        asked.append(source.t_ns)
        source.t_ns += 1_000_000_000
        return call(self, *words)

    monkeypatch.setattr(Detector, "__call__", slow)
    pipeline = Pipeline(source, standin_cpm)
    for i in range(12):
        source.t_ns += 600_000_000 if i == 3 else 40_000_000
        images = (source._frame(camera, i) for camera in source.cameras)
        frames = FrameSet(tuple(replace(frame, t_ns=source.t_ns) for frame in images), i)
        result = pipeline.step(frames)
    assert len(asked) == len(PLACES_MM)
    assert result.views[0].states == (State.SEEN, State.SEEN)


def test_the_detector_is_not_asked_again_and_again(standin_cpm, monkeypatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Detector, "__call__", lambda self, *_: asked.append(1) or Hands2D.empty())
    for live, times in ((False, 5 + 1), (True, 3)):
        source = Moments(15, 6, black=True)
        source.live = live
        asked.clear()
        list(Pipeline(source, standin_cpm))
        # Of a recording at every frame until five find nothing, then once a second; of cameras once a second.
        assert len(asked) == times * len(PLACES_MM)


@pytest.mark.parametrize(
    "fps, live, beliefs, times",
    [(6, False, False, 4), (6, True, False, 1), (6, False, True, 1), (30, False, False, 1)],
)
def test_a_slow_recording_is_read_four_times(
    standin_cpm, monkeypatch, fps: int, live: bool, beliefs: bool, times: int
) -> None:
    batches: list[int] = []
    call = type(standin_cpm).__call__
    monkeypatch.setattr(
        type(standin_cpm),
        "__call__",
        lambda self, jobs, *rest, **more: batches.append(len(jobs)) or call(self, jobs, *rest, **more),
    )
    source = Moments(8, fps)
    source.live = live
    results = list(Pipeline(source, standin_cpm, keep_beliefs=beliefs))
    assert all(view.states == (State.SEEN, State.SEEN) for view in results[-1].views)
    assert batches[-1] == 2 * len(PLACES_MM) * times


def test_what_a_rig_detector_can_t_use_is_a_sentence(standin_cpm):
    with pytest.raises(InvalidInput, match=r"The rig is 'rig\.toml'; give a Rig"):
        RigDetector("rig.toml")
    with pytest.raises(InvalidInput, match=r"The detector is 'light'; give a Detector"):
        RigDetector(rig(), "light")
    detector = Detector(cpm=standin_cpm)
    with pytest.raises(InvalidInput, match="rounds is -1; give 0 or more"):
        RigDetector(rig(), detector, rounds=-1)
    for images in ({}, [np.zeros((4, 4, 3), np.uint8)]):
        with pytest.raises(InvalidInput, match=r"The pictures are (none|list); give \{camera: picture\}"):
            RigDetector(rig(), detector)(images)
