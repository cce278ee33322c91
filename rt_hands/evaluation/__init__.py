"""Accuracy against known truth: one module per thing that is measured."""
