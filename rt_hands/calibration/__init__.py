"""Calibration of rigs with a ChArUco board: detection, lenses, bundle adjustment, verdict, report."""
