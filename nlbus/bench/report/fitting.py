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
class Bend:
    """Where the slope changes: behind x, before `beyond`, the next point; the lines up to there, and on."""

    x: float
    beyond: float
    before: Line
    after: Line


@dataclass(frozen=True)
class Fit:
    """What a curve looks like.

    line: through all points. exponent: of a power law through all but the smallest, where the base tells
    least. bend: where one line is not enough, and two are.
    """

    line: Line
    exponent: float
    bend: Bend | None = None


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """The least squares of the relative error: the points lie decades apart."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    if len(xs) == 1:
        return Line(float(ys[0]), 0.0, 0.0)
    weighted = np.stack([np.ones_like(xs), xs], axis=1) / ys[:, None]
    (base, slope), *_ = np.linalg.lstsq(weighted, np.ones_like(ys), rcond=None)
    off: Array = np.abs((base + slope * xs) / ys - 1)
    return Line(float(base), float(slope), float(off.max()))


def fit(x: Sequence[float], y: Sequence[float], visits: Sequence[Sequence[float]] = ()) -> Fit:
    """Of at least two points, by growing x, all above 0.

    visits: the same curve measured several times, each point set up anew. What is no bend in all of them,
    at the same place or the one beside it, is none.
    """
    logs = np.log(np.maximum(np.asarray(x, float), 1e-9)), np.log(np.asarray(y, float))
    last = slice(len(x) // 2, None) if len(x) > 3 else slice(None)
    exponent = float(np.polyfit(logs[0][last], logs[1][last], 1)[0])
    found = bend(x, y)
    if not all(same_place(x, found, bend(x, visit)) for visit in visits):
        found = None
    return Fit(line(x, y), exponent, found)


def bend(x: Sequence[float], y: Sequence[float]) -> Bend | None:
    """Where two lines, of two points or more each, miss no point by more than STRAIGHT; and one line does."""
    if len(x) < 5 or line(x, y).off <= STRAIGHT:
        return None
    halves = [(i, line(x[:i], y[:i]), line(x[i:], y[i:])) for i in range(2, len(x) - 1)]
    i, before, after = min(halves, key=lambda half: max(half[1].off, half[2].off))
    if max(before.off, after.off) > STRAIGHT:
        return None
    return Bend(float(x[i - 1]), float(x[i]), before, after)


def same_place(x: Sequence[float], one: Bend | None, other: Bend | None) -> bool:
    """Whether both bend, at the same point or at neighbours."""
    return one is not None and other is not None and other.x in _near(x, one)


def _near(x: Sequence[float], found: Bend) -> list[float]:
    at = list(x).index(found.x)
    return [float(each) for each in x[max(at - 1, 0) : at + 2]]
