"""Real-time dense hand keypoints: 170 points for two hands, from one camera or a calibrated rig."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rt_hands.camera import Camera, Rig
from rt_hands.detector import Detector
from rt_hands.errors import InvalidInput, MissingPart, RtHandsError, SourceError
from rt_hands.lifting.lift import lift
from rt_hands.paths import data_dir
from rt_hands.session import Session
from rt_hands.types import Frame, FrameSet, Hands2D, Hands3D

if TYPE_CHECKING:
    from rt_hands.formats import load_hands, load_rig
    from rt_hands.pipeline import Pipeline
    from rt_hands.rig_detector import RigDetector
else:
    _LATER = {
        "Pipeline": "rt_hands.pipeline",
        "RigDetector": "rt_hands.rig_detector",
        "load_hands": "rt_hands.formats",
        "load_rig": "rt_hands.formats",
    }

    def __getattr__(name):
        """Names whose modules are loaded when they are first asked for: `import rt_hands` is no slower for them."""
        if name not in _LATER:
            raise AttributeError(f"module 'rt_hands' has no attribute '{name}'")
        globals()[name] = getattr(import_module(_LATER[name]), name)
        return globals()[name]


__version__ = "0.1.0"
__all__ = [
    "Camera",
    "Detector",
    "Frame",
    "FrameSet",
    "Hands2D",
    "Hands3D",
    "InvalidInput",
    "MissingPart",
    "Pipeline",
    "Rig",
    "RigDetector",
    "RtHandsError",
    "Session",
    "SourceError",
    "data_dir",
    "lift",
    "load_hands",
    "load_rig",
]
