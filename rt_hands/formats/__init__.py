"""Other people's files: read and write rigs, recognised by content, and export hands.

rig = load_rig("calibration.toml")                 # whatever wrote it
save_rig("camchain.yaml", rig, "kalibr")
export_hands("hands.parquet", samples)             # also .csv, .jsonl, .json (COCO), .c3d
"""

from rt_hands.formats.hands import HandsSample, export_hands, load_hands
from rt_hands.formats.rigs import FORMATS, RigFormat, load_rig, recognise, save_rig

__all__ = [
    "FORMATS",
    "HandsSample",
    "RigFormat",
    "export_hands",
    "load_hands",
    "load_rig",
    "recognise",
    "save_rig",
]
