"""Where frames come from: one interface to webcams, video files, image folders, URLs, sessions and the sample."""

from rt_hands.capture.choose import open_source
from rt_hands.capture.source import Notice, Source

__all__ = ["Notice", "Source", "open_source"]
