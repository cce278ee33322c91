"""How numbers become 8-bit ones: ranges of activations, and weights rounded so that a layer's answers stay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LARGEST = 127
"""Of a weight; -128 is left out, so that the codes are symmetric."""
_DAMPING = 1e-3
_LEAST_SHARE = 1e-4
"""Of the layer's largest weight, for a channel's scale: engines add biases as 32-bit multiples of it, which overflow
where a channel is all but empty."""
_SHARES = np.linspace(0.4, 1.0, 25)
_WEIGHT_SHARES = (1.0, 0.92, 0.84, 0.76)


class Scale(NamedTuple):
    """value = step * (code - zero); codes are 0 .. 255, or -127 .. 127 where signed (zero is 0 then)."""

    step: float
    zero: int
    signed: bool

    def rounded(self, values: Floats) -> Floats:
        """Values as they come out of 8 bits."""
        low, high = (-LARGEST, LARGEST) if self.signed else (0, 255)
        codes = np.clip(np.rint(values / np.float32(self.step)) + self.zero, low, high)
        return np.asarray((codes - self.zero) * np.float32(self.step), np.float32)


def scale_of(low: float, high: float, signed: bool) -> Scale:
    """The scale that reaches from low to high; 0 is always met exactly."""
    if signed:
        return Scale(max(-low, high, 1e-8) / LARGEST, 0, True)
    low, high = min(low, 0.0), max(high, 0.0, min(low, 0.0) + 1e-6)
    step = (high - low) / 255
    return Scale(step, round(-low / step), False)


def best_scale(values: Floats, signed: bool) -> Scale:
    """The scale with the least squared error over values: rare large ones are cut where that serves the others."""
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    tries = [scale_of(low * share, high * share, signed) for share in _SHARES]
    return min(tries, key=lambda scale: float(((scale.rounded(values) - values) ** 2).mean()))


class Weights(NamedTuple):
    """codes: int8, shaped as the weight. steps: (out,) float32, one per output channel."""

    codes: NDArray[np.int8]
    steps: Floats

    def values(self) -> Floats:
        """The weight that the codes stand for."""
        steps = self.steps.reshape(-1, *(1,) * (self.codes.ndim - 1))
        return np.asarray(self.codes * steps, np.float32)


def round_weights(weight: Floats, spread: NDArray[np.float64]) -> Weights:
    """Weights per channel to 8 bits, each rounding made good by the weights not yet rounded.

    weight: (out, ...). spread: covariance of what the layer reads, (n, n) for all channels or (out, n, n) for one
    each, n = inputs of one output. Frantar et al., GPTQ (ICLR 2023), of which this is the plain form. Several
    steps a channel are tried and the one with the least squared error of the answers is kept.
    """
    rows = weight.reshape(len(weight), 1, -1).astype(np.float64)
    spread = spread[None] if spread.ndim == 2 else spread
    n = rows.shape[-1]
    power = np.trace(spread, axis1=-2, axis2=-1)[:, None, None] / n
    damped = spread + np.maximum(_DAMPING * power, 1e-12) * np.eye(n)
    # The most active inputs come first, while many others are left to make good for them.
    order = np.argsort(-np.diagonal(damped.mean(0)))
    turned = damped[:, order][:, :, order]
    factor = np.linalg.cholesky(np.linalg.inv(turned)).swapaxes(-1, -2)
    largest = np.abs(rows).max(-1)
    largest = np.maximum(largest, max(_LEAST_SHARE * float(largest.max()), 1e-6))
    best_error = np.full(len(rows), np.inf)
    best_codes, best_steps = np.zeros(rows.shape), np.ones((len(rows), 1))
    codes = np.empty(rows.shape)
    for share in _WEIGHT_SHARES:
        steps = largest * share / LARGEST
        codes[..., order] = _rounded_in_turn(rows[..., order], steps, factor)
        off = rows - codes * steps[..., None]
        error = (off @ damped * off).sum((-2, -1))
        better = error < best_error
        best_error[better], best_codes[better], best_steps[better] = (
            error[better],
            codes[better],
            steps[better],
        )
    return Weights(best_codes.reshape(weight.shape).astype(np.int8), best_steps[:, 0].astype(np.float32))


def _rounded_in_turn(
    rows: NDArray[np.float64], steps: NDArray[np.float64], factor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Codes of rows (out, 1, n), input by input. factor: upper triangles U with inverse spread = U^T U."""
    left, codes = rows.copy(), np.empty(rows.shape)
    for i in range(rows.shape[-1]):
        codes[..., i] = np.clip(np.rint(left[..., i] / steps), -LARGEST, LARGEST)
        off = (left[..., i] - codes[..., i] * steps) / factor[:, None, i, i]
        left[..., i + 1 :] -= off[..., None] * factor[:, None, i, i + 1 :]
    return codes
