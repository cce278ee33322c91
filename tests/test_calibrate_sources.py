"""Pictures for calibration: which belong together, and what is said about folders, videos and times that don't fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from board_scene import example_rig
from takes import COUNT

from rt_hands import InvalidInput, Rig
from rt_hands.calibration.board import Board
from rt_hands.calibration.collect import Collector
from rt_hands.calibration.commands.live import collect_live, hints_table
from rt_hands.calibration.observations import Observations
from rt_hands.calibration.print_board import draw_page
from rt_hands.calibration.sources import Recording, read_times_s
from rt_hands.capture.simulated import read_number
from rt_hands.capture.source import Source
from rt_hands.errors import SourceError
from rt_hands.types import Frame, FrameSet, Image


def video(path: Path, n: int, fps: int = 10) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * i, np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def times(path: Path, rows: list[tuple[str, float]], columns: str = "cam_id,frame_time") -> Path:
    path.write_text(columns + "\n" + "".join(f"{c},{t}\n" for c, t in rows))
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    video(tmp_path / "cam_2.mp4", 6)
    video(tmp_path / "cam_10.mp4", 6)
    return tmp_path


def moments(recording: Recording, camera: str) -> list[int]:
    return [p.moment for p in recording.pictures(camera)]


def test_without_times_the_nth_pictures_belong_together(two: Path) -> None:
    recording = Recording(two)
    assert recording.cameras == ("cam_2", "cam_10")
    assert moments(recording, "cam_2") == moments(recording, "cam_10") == list(range(6))
    assert [round(p.t_s, 6) for p in recording.pictures("cam_2")] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert moments(Recording(two, first=2, last=4), "cam_10") == [2, 3]


def test_times_decide_what_belongs_together(two: Path) -> None:
    # cam_10 starts one picture later, and its fourth comes 40 ms late.
    late = [0.1, 0.2, 0.3, 0.44, 0.5, 0.6]
    rows = [("2", 0.1 * i) for i in range(6)] + [("10", t) for t in late]
    times(two / "timestamps.csv", rows)
    recording = Recording(two)
    two_at, ten_at = moments(recording, "cam_2"), moments(recording, "cam_10")
    assert two_at[1:4] == ten_at[:3] and two_at[5] == ten_at[4]
    assert ten_at[3] not in two_at and ten_at[5] not in two_at
    assert [p.t_s for p in recording.pictures("cam_10")] == late
    assert moments(Recording(two, max_spread_ms=45), "cam_10")[3] == two_at[4]
    assert len(moments(Recording(two, first=4, last=5), "cam_10")) == 1  # the late one stays with its set


def test_frames_csv_of_a_session_is_found(two: Path) -> None:
    rows = [(c, 10**8 * i) for c in ("cam_2", "cam_10") for i in range(6)]
    times(two / "frames.csv", rows, "camera,t_ns")
    assert [round(p.t_s, 6) for p in Recording(two).pictures("cam_2")] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]


def cut_off(folder: Path) -> None:
    """As a kill leaves a session: not finished, the last line torn, one camera's last lines not written."""
    info = (folder / "session.json").read_text()
    (folder / "session.json").write_text(info.replace('"finished": true', '"finished": false'))
    lines = (folder / "frames.csv").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("cam_10,")]
    kept += [line for line in lines if line.startswith("cam_10,")][:-4]
    (folder / "frames.csv").write_text("\n".join(kept) + "\ncam_10,36,51")


def test_a_session_that_was_cut_off_is_read(
    copy: tuple[Path, dict[str, np.ndarray]], said: list[str]
) -> None:
    folder, stamps = copy
    cut_off(folder)
    video = (folder / "cam_2.mp4").read_bytes()
    (folder / "cam_2.mp4").write_bytes(video[: len(video) // 2])
    recording = Recording(folder, notice=said.append)
    pictures = {camera: list(recording.pictures(camera)) for camera in recording.cameras}
    assert 5 < len(pictures["cam_2"]) < COUNT and len(pictures["cam_10"]) == COUNT
    for camera, of_camera in pictures.items():
        assert [read_number(p.image) for p in of_camera] == list(range(len(of_camera)))
        assert [p.moment for p in of_camera] == list(range(len(of_camera)))
        seconds = np.array([p.t_s for p in of_camera])
        np.testing.assert_allclose(seconds, 1e-9 * stamps[camera][: len(seconds)], rtol=0, atol=1e-6)
        assert any(f"{camera}.mp4" in sentence for sentence in said)


def test_times_of_a_session_are_its_stamps(copy: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, stamps = copy
    rig = Rig((example_rig(1).cameras[0],))
    Rig(tuple(replace(rig.cameras[0], id=c, clock_offset_ms=9.0) for c in stamps)).save(folder / "rig.toml")
    times_s = [p.t_s for p in Recording(folder, last=3).pictures("cam_2")]
    np.testing.assert_allclose(times_s, 1e-9 * stamps["cam_2"][:3])  # without the offsets of its rig.toml


def test_folders_of_pictures(tmp_path: Path) -> None:
    for camera in ("left", "right"):
        (tmp_path / camera).mkdir()
        for i in (1, 2, 10):
            cv2.imwrite(str(tmp_path / camera / f"{i}.png"), np.full((8, 8), i, np.uint8))
    pictures = list(Recording(tmp_path).pictures("right"))
    assert [int(p.image[0, 0, 0]) for p in pictures] == [1, 2, 10] and np.isnan(pictures[0].t_s)


def test_a_damaged_picture_leaves_the_others_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "cam").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "cam" / f"{i}.png"), np.zeros((8, 8), np.uint8))
    (tmp_path / "cam" / "1.png").write_bytes(b"no picture")
    assert moments(Recording(tmp_path), "cam") == [0, 2]


def test_a_folder_that_can_not_be_used_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="There is no folder"):
        Recording(tmp_path / "none")
    with pytest.raises(SourceError, match=r"holds no video .* and no folder of pictures"):
        Recording(tmp_path)
    video(tmp_path / "a.mp4", 2)
    (tmp_path / "b").mkdir()
    cv2.imwrite(str(tmp_path / "b" / "0.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(InvalidInput, match="both videos and folders"):
        Recording(tmp_path)


def test_truncated_and_empty_videos(two: Path) -> None:
    whole = (two / "cam_2.mp4").read_bytes()
    (two / "cam_2.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"cam_2.mp4 (can't be read as a video|holds no video)"):
        list(Recording(two).pictures("cam_2"))
    (two / "cam_2.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match="is empty"):
        list(Recording(two).pictures("cam_2"))


@pytest.mark.parametrize(("n", "says"), [(5, "has more pictures than times"), (8, "6 pictures but 8 times")])
def test_times_of_another_take(two: Path, n: int, says: str) -> None:
    times(two / "timestamps.csv", [(c, 0.1 * i) for c in ("2", "10") for i in range(n)])
    with pytest.raises(InvalidInput, match=says):
        list(Recording(two).pictures("cam_2"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "has the columns a, b; wanted a camera"),
        ("camera,t_s\nx,1\n", "has no times of camera 'x2'"),
        ("camera,t_s\nx,one\n", "the time 'one' is not a number"),
        ("camera,t_s\nx,\nx2,1\n", "a picture without a time"),
        ("camera;t_s\nx;1\n", "semicolons between its columns; save it separated by commas"),
    ],
)
def test_bad_times(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InvalidInput, match=says):
        read_times_s(tmp_path / "t.csv", ["x", "x2"])
    with pytest.raises(InvalidInput, match="Can't read"):
        read_times_s(tmp_path / "none.csv", ["x"])


def test_times_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("camera,t_s\nx,1\n", encoding="utf-8-sig")
    assert read_times_s(tmp_path / "t.csv", ["x"])["x"].tolist() == [1.0]


class Wave(Source):
    """Two cameras that see a printed page pushed about; endless, as cameras are."""

    cameras = ("0", "1")
    live = True

    def __iter__(self) -> Iterator[FrameSet]:
        page = cv2.resize(draw_page(Board(), 50), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        index = 0
        while True:
            image = np.full((480, 640), 128, np.uint8)
            x, y = (640 - page.shape[1]) * (index % 3) // 2, (480 - page.shape[0]) * (index // 3 % 3) // 2
            image[y : y + page.shape[0], x : x + page.shape[1]] = page
            picture = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
            yield FrameSet(tuple(Frame(picture, c, index, 10**8 * index) for c in self.cameras), index)
            index += 1


def test_live_stops_when_every_camera_has_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))  # a second a set: told every time
    told: list[Observations] = []
    seen = collect_live(Wave(), Board(), views=12, max_minutes=2, tell=told.append)
    assert 12 <= len(seen.of("0")) <= 20 and len(told) == len(seen.moments)
    assert "board to the" in str(hints_table(told[0], 12).columns[2]._cells)
    assert "enough" in str(hints_table(seen, 12).columns[2]._cells)


def test_live_stops_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    seen = collect_live(Wave(), Board(), views=500, max_minutes=0.1, tell=lambda _: None)
    assert len(seen.moments) == 6


def test_live_measures_clocks_by_the_stamps_not_by_a_sessions_own_offsets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Late(Wave):
        clock_offset_ms = {"1": 40.0}  # noqa: RUF012

        def __iter__(self) -> Iterator[FrameSet]:
            for frames in super().__iter__():
                first, second = frames.frames
                yield FrameSet((first, replace(second, t_ns=second.t_ns + 40 * 10**6)), frames.index)

    stamps: dict[str, list[float]] = {"0": [], "1": []}
    add = Collector.add

    def noted(self: Collector, camera: str, moment: int, image: Image, t_s: float) -> None:
        stamps[camera].append(t_s)
        add(self, camera, moment, image, t_s)

    monkeypatch.setattr(Collector, "add", noted)
    ticks = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    collect_live(Late(), Board(), views=500, max_minutes=0.1, tell=lambda _: None)
    assert len(stamps["0"]) == 6
    assert stamps["1"] == pytest.approx(stamps["0"])
