"""From image points to 3D: triangulation, the dense surface by RTC, and back into the views."""
