"""Float networks to 8 bits: `quantise` of an ONNX file, for CPUs and GPUs, by arithmetic alone (no training)."""

from rt_hands.inference.quantise.network import FIRST_LAYERS, quantise

__all__ = ["FIRST_LAYERS", "quantise"]
