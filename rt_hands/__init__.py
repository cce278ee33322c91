"""Real-time dense hand keypoints: 170 points for two hands, from one camera or a calibrated rig."""

from rt_hands.camera import Camera, Rig
from rt_hands.detector import Detector
from rt_hands.errors import InvalidInput, MissingPart, RtHandsError, SourceError
from rt_hands.lifting.lift import lift
from rt_hands.paths import data_dir
from rt_hands.session import Session
from rt_hands.types import Frame, FrameSet, Hands2D, Hands3D

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
    "Rig",
    "RtHandsError",
    "Session",
    "SourceError",
    "data_dir",
    "lift",
]
