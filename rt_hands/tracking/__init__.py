"""Hands over time: where to look, which hand is which, presence, smoothing."""
