"""Hands drawn on pictures, and the window that shows them."""
