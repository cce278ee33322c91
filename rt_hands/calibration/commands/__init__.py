"""The parts of python -m rt_hands.calibrate, one module each."""
