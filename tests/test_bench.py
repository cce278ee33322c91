"""The benchmarks' own logic: hands counted, turns taken, frames accounted for, the report made of whatever is there."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from rt_hands import bench
from rt_hands.benchmarks import every, hands, plots, report
from rt_hands.benchmarks.clips import Clip, Count, clips
from rt_hands.benchmarks.timing import interleave, write_json
from rt_hands.errors import InvalidInput, MissingPart, SourceError

PICTURE = np.zeros((8, 8, 3), np.uint8)
OPEN = np.stack([np.arange(21.0), np.arange(21.0) % 5 * 4], 1) * 4  # joints of a hand of 80 px


def reported(side, joints):
    return {"side": side, "joints": joints.tolist()}


def test_hands_are_counted_against_the_truth():
    clip = Clip("two", [PICTURE], 2, truth_px=np.stack([OPEN, OPEN + 300])[None])
    count = Count()
    # The first lies right, the second has the wrong side, the third lies nowhere, the fourth is the first again.
    count.add(
        clip, 0, [reported(0, OPEN + 5), reported(0, OPEN + 300), reported(1, OPEN + 900), reported(0, OPEN)]
    )
    assert (count.there, count.found, count.right_side, count.invented) == (2, 2, 1, 2)


def test_without_truth_the_same_hand_twice_is_one():
    count = Count()
    count.add(Clip("real", [PICTURE], 2), 0, [reported(0, OPEN), reported(1, OPEN + 3)])
    assert (count.there, count.found, count.invented) == (2, 1, 1)


def test_the_sample_has_two_hands_apart_and_meeting():
    apart, meeting, _ = (clip for clip in clips(8) if "rendered" in clip.name)
    assert len(apart.images) == len(meeting.images) == 8
    gaps = [
        np.linalg.norm(c.truth_px[:, 0, 9] - c.truth_px[:, 1, 9], axis=1).mean() for c in (apart, meeting)
    ]
    # Measured over these 8 pictures: 207 px and 141 px between the middle knuckles.
    assert gaps[0] > 1.3 * gaps[1]


def test_interlocked_hands_have_their_truth_in_every_picture():
    (clip,) = (clip for clip in clips(12) if "interlocked" in clip.name)
    assert len(clip.images) == len(clip.truth_px) == 12 and clip.hands == 2
    assert clip.images[0].shape == (480, 640, 3)
    inside = (clip.truth_px >= 0) & (clip.truth_px < (640, 480))
    assert inside.all()
    right, left = clip.truth_px[:, 0], clip.truth_px[:, 1]
    nearest = np.linalg.norm(right[:, :, None] - left[:, None], axis=-1).min(2)
    sizes = np.ptp(right, axis=1).max(-1)
    # Fingers between fingers: most joints of one hand lie by one of the other's.
    assert (np.median(nearest, axis=1) < 0.35 * sizes).all()


FAKE = """
import sys
from rt_hands.benchmarks.mediapipe_worker import serve
serve(lambda request: lambda image: [{"side": 0, "joints": [[0.0, 0.0]] * 20 + [[9.0, 9.0]]}], "fake")
"""


def test_finders_take_turns_as_processes(monkeypatch):
    monkeypatch.setattr(hands, "DROP", 0)
    from rich.progress import Progress

    clip = Clip("still", [PICTURE] * 3, 1, still=True)
    with hands.Finder([sys.executable, "-c", FAKE]) as finder, Progress(disable=True) as progress:
        (row,) = hands.compare(clip, [finder], progress)
    assert (row.finder, row.n, row.hands, row.found_percent) == ("fake", 3, 3, 100)
    assert row.fps > 0 and row.rss_mb >= 0


FORGETFUL = """
import sys
from rt_hands.benchmarks.mediapipe_worker import serve
def open_finder(request):
    seen = []
    return lambda image: seen.append(1) or [{"side": 0, "joints": [[0.0, 0.0]] * 20 + [[9.0 * len(seen), 9.0]]}]
serve(open_finder, "forgetful")
"""


def test_finders_start_anew_at_cuts_and_no_turn_crosses_one(monkeypatch):
    monkeypatch.setattr(hands, "DROP", 0)
    from rich.progress import Progress

    clip = Clip("two videos", [PICTURE] * 7, 1, truth_px=np.zeros((7, 2, 21, 2)), cuts=(3,))
    assert list(clip.turns(2)) == [(0, 2), (2, 3), (3, 5), (5, 7)]
    widths: list[float] = []
    monkeypatch.setattr(
        hands.Count, "add", lambda self, clip, i, found: widths.append(found[0]["joints"][20][0] / 9)
    )
    with hands.Finder([sys.executable, "-c", FORGETFUL]) as finder, Progress(disable=True) as progress:
        (row,) = hands.compare(clip, [finder], progress)
    assert widths == [1, 2, 3, 1, 2, 3, 4] and row.n == 6


def test_a_finder_that_dies_or_is_not_there_is_told_by_name():
    with pytest.raises(SourceError, match="ended by itself.*-c pass"):
        hands.Finder([sys.executable, "-c", "pass"])
    with pytest.raises(InvalidInput, match="/nowhere/python can't be run"):
        hands.Finder(["/nowhere/python"])


def test_recording_accounts_for_every_frame(tmp_path):
    out = tmp_path / "capture.json"
    arguments = ["--cameras", "2", "--size-px", "64", "48", "--seconds", "0.5", "--json", str(out)]
    assert bench.main(["capture", *arguments]) == 0
    for row in json.loads(out.read_text())["cameras"]:
        assert row["lost"] == 0 and row["written"] == row["in_file"] and row["off_us"] <= 1.0
        assert row["periods"] == row["missed"] + row["written"] + row["dropped"]


def some_parts():
    timing = {"name": "ours", "p50_us": 2.0, "p95_us": 3.0}
    slow = {"name": "torch", "p50_us": 8.0, "p95_us": 9.0}
    run = {"source": "sample", "name": "onnxruntime float32", "hands": 2.0, "frame_ms": [1.0, 2.0, 3.0]}
    return {
        "core": {
            "machine": {"processor": "made up", "load_1min": None},
            "project": {"views_1": {"ours, float32": timing, "torch": slow}, "views_8": {"torch": slow}},
        },
        "live": {
            "machine": {"load_1min": 3.2, "openvino": "1.2"},
            "runs": [{**run, "stages_ms": {"infer": [1.0, 2.0, 3.0]}}],
        },
    }


def test_report_of_some_parts(tmp_path):
    pytest.importorskip("matplotlib", reason="The report's plots need matplotlib (pip install matplotlib).")
    for part, value in some_parts().items():
        (tmp_path / f"{part}.json").write_text(json.dumps(value))
    page = tmp_path / "docs" / "REPORT.md"
    assert bench.main(["report", "--from-folder", str(tmp_path), "--out", str(page)]) == 0
    text = page.read_text()
    assert "made up" in text and "**project, views 1**" in text
    # The page names every version that a part measured with, and how busy the machine was when it began.
    assert "| openvino | 1.2 |" in text and "| load when a part began | live 3.2 |" in text
    # The peer's median is four times ours.
    assert "| torch | 8 | 9 | 4 |" in text
    assert text.count("Not measured in this run.") == len(report.TITLES) - 2
    images = sorted(path.stem for path in (page.parent / "images").glob("*.png"))
    assert images == ["core_by_views", "live_latency", "live_stages"]
    assert all(f"images/{name}.png" in text for name in images)


def test_readme_takes_its_table_from_the_report():
    row = {"clip": "one", "finder": "ours", "fps": 30.0, "p50_ms": 33.0, "p95_ms": 40.0, "cpu_s": 0.05}
    machine = {"processor": "made up", "cores": 2}
    parts = {"hands": {"machine": machine, "clips": [{**row, "found_percent": 98.6}]}}
    page = f"a\n{report.BEGIN}\nold\n{report.END}\nb\n"
    text = report.with_summary(page, parts)
    assert "| one | ours | 30 | 33 | 40 | 0.05 | 99 % |" in text and "old" not in text
    assert text.startswith("a\n") and text.endswith(f"{report.END}\nb\n")
    assert report.with_summary(text, parts) == text
    with pytest.raises(InvalidInput, match="report: begin"):
        report.with_summary("no marks", parts)


def test_report_of_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(InvalidInput, match="bench all --out"):
        report.read_parts(tmp_path)


def test_without_matplotlib_the_report_stops_before_it_measures(monkeypatch):
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPart, match=r"rt_hands\[report\]"):
        report.main(["--from-folder", "nowhere"])


def test_all_goes_on_after_a_part_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(every, "ARGUMENTS", {"nonsense": ([], []), "core": (["--help"], ["--help"])})
    assert bench.main(["all", "--out", str(tmp_path)]) == 1
    runs = json.loads((tmp_path / "runs.json").read_text())["parts"]
    assert [(run["part"], run["code"]) for run in runs] == [("nonsense", 2), ("core", 0)]


def test_a_part_without_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(every, "ARGUMENTS", {"live": ([], [])})
    (run,) = every.run_all(every.Options(tmp_path, part_minutes=0.001))
    assert run.code == -1 and run.wall_s < 10


def test_unknown_part_of_all():
    with pytest.raises(InvalidInput, match="no part 'nonsense'"):
        every.run_all(every.Options(part=("nonsense",)))


def test_calls_take_turns_and_become_json(tmp_path):
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    timings = interleave(calls, 0.01, most_runs=10)
    assert all({*order[i:][:2]} == {"a", "b"} for i in (-6, -4, -2)) and timings["a"].runs == 9
    write_json(tmp_path / "t.json", {"machine": 1}, {"part": timings, "rows": [{"x": 1, "y": float("nan")}]})
    kept = json.loads((tmp_path / "t.json").read_text())
    assert kept["part"]["a"]["runs"] == 9 and kept["rows"] == [{"x": 1, "y": None}]
    assert timings["b"].min_us <= timings["b"].p50_us <= timings["b"].max_us
