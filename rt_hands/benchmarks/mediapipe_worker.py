"""MediaPipe Hands as a process of its own, spoken to in JSON lines; runs in an environment without rt_hands.

One request a line on stdin, one answer a line on stdout: {"folder": of numbered JPEGs, "still": are they unrelated?,
"hands": at most} opens a clip; {"first": i, "last": j} reads pictures i .. j - 1 and answers {"frames": [{"ms",
"cpu_ms", "hands": [{"side": 0 right 1 left, "joints": 21 x [x, y] px}]}], "rss_mb"}. The time is from JPEG to joints.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Hands = list[dict[str, Any]]
Finder = Callable[[Any], Hands]


def serve(open_finder: Callable[[dict[str, Any]], Finder], name: str) -> None:
    """Answer requests until stdin ends. open_finder(request) -> a function from a BGR picture to its hands."""
    jpegs: list[bytes] = []
    find: Finder = _unopened
    answer({"name": name})
    for line in sys.stdin:
        request = json.loads(line)
        if "folder" in request:
            jpegs = [path.read_bytes() for path in sorted(Path(request["folder"]).glob("*.jpg"))]
            find = open_finder(request)
            answer({"frames": len(jpegs)})
        else:
            frames = [timed(find, jpeg) for jpeg in jpegs[request["first"] : request["last"]]]
            answer({"frames": frames, "rss_mb": rss_mb()})


def _unopened(image: Any) -> Hands:
    raise RuntimeError("No clip was opened: ask with a folder first.")


def timed(find: Finder, jpeg: bytes) -> dict[str, Any]:
    """One picture: wall and processor time, and its hands."""
    cpu_s, start_s = time.process_time(), time.perf_counter()
    hands = find(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
    ms, cpu_ms = 1e3 * (time.perf_counter() - start_s), 1e3 * (time.process_time() - cpu_s)
    return {"ms": ms, "cpu_ms": cpu_ms, "hands": hands}


def answer(value: dict[str, Any]) -> None:
    """One line on the real stdout; what libraries print goes to stderr, see `main`."""
    OUT.write(json.dumps(value) + "\n")
    OUT.flush()


def rss_mb() -> float:
    """Resident memory now; 0 where the system doesn't say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if statm.is_file() else 0.0


# Libraries that print to stdout must not break the lines of JSON.
OUT = os.fdopen(os.dup(1), "w")


def open_mediapipe(request: dict[str, Any]) -> Finder:
    """MediaPipe's own settings: the full model, following hands through a video unless pictures are unrelated."""
    import mediapipe

    network = mediapipe.solutions.hands.Hands(
        static_image_mode=request["still"], max_num_hands=request["hands"], model_complexity=1
    )

    def find(image: Any) -> Hands:
        found = network.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        height, width = image.shape[:2]
        pairs = zip(found.multi_hand_landmarks or (), found.multi_handedness or (), strict=True)
        # It takes pictures for mirrored ones: its "Left" is a right hand.
        return [
            {
                "side": int(handedness.classification[0].label == "Right"),
                "joints": [[p.x * width - 0.5, p.y * height - 0.5] for p in landmarks.landmark],
            }
            for landmarks, handedness in pairs
        ]

    return find


def main() -> None:
    """Serve MediaPipe."""
    os.dup2(2, 1)
    import mediapipe

    serve(open_mediapipe, f"MediaPipe Hands {mediapipe.__version__}, full")


if __name__ == "__main__":
    main()
