"""Curves of growth: the line through them, their exponent, and where they bend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nlbus._typing import Array

STRAIGHT = 0.15  # a line that misses no point by more than this share is one


@dataclass(frozen=True)
class Line:
    """y = base + slope * x; `off`: by what share it misses the worst point."""

    base: float
    slope: float
    off: float


@dataclass(frozen=True)
class Fit:
    """What a curve looks like.

    line: through all points. exponent: of a power law through all but the smallest, where the base tells
    least. bend: the last x before the slope changes, with the lines before and after it; None where one line
    does.
    """

    line: Line
    exponent: float
    bend: float | None = None
    before: Line | None = None
    after: Line | None = None


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """The least squares of the relative error: the points lie decades apart."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    if len(xs) == 1:
        return Line(float(ys[0]), 0.0, 0.0)
    weighted = np.stack([np.ones_like(xs), xs], axis=1) / ys[:, None]
    (base, slope), *_ = np.linalg.lstsq(weighted, np.ones_like(ys), rcond=None)
    off: Array = np.abs((base + slope * xs) / ys - 1)
    return Line(float(base), float(slope), float(off.max()))


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Of at least two points, by growing x, all above 0."""
    whole = line(x, y)
    logs = np.log(np.maximum(np.asarray(x, float), 1e-9)), np.log(np.asarray(y, float))
    last = slice(len(x) // 2, None) if len(x) > 3 else slice(None)
    exponent = float(np.polyfit(logs[0][last], logs[1][last], 1)[0])
    if whole.off <= STRAIGHT or len(x) < 5:
        return Fit(whole, exponent)
    halves = [(line(x[:i], y[:i]), line(x[i:], y[i:])) for i in range(2, len(x) - 1)]
    i, (before, after) = min(enumerate(halves), key=lambda pair: max(half.off for half in pair[1]))
    return Fit(whole, exponent, float(x[i + 1]), before, after)
