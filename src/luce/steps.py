"""What the solvers share: the points they start from, and the step along a direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from luce.features import Array
from luce.objective import Gap, Logits, Objective

LINE_SLOPE = 0.3  # how exact the step along a direction is


@dataclass(frozen=True)
class RowPoint:
    """Weights X'A and intercepts b, for A (outputs, rows); at the optimum of a problem with this penalty A would be
    the residuals s (y - p) / penalty."""

    a: Array
    b: Array
    penalty: float


@dataclass(frozen=True)
class ColumnPoint:
    """Weights that are 0 but in some ascending columns: (len(columns) + 1, outputs), the last row the intercepts."""

    columns: NDArray[np.int64]
    weights: Array


Start: TypeAlias = Array | RowPoint | ColumnPoint


def dot(a: Array, b: Array) -> float:
    return float(np.einsum("ij,ij->", a, b))  # one thread, one order; BLAS would choose its own


@dataclass(frozen=True)
class Quadratic:
    """The smooth penalties along a direction: value + step linear + step^2 square / 2."""

    value: float
    linear: float
    square: float


def line_search(o: Objective, logits: Array, along: Array, value: float, slope: float, penalty: Quadratic) -> float:
    """A step that lowers the objective and at which its slope has fallen to LINE_SLOPE of the first.

    Works on the logits alone: safeguarded Newton, with the secant where Newton leaves the bracket.
    """
    low, high, step = 0.0, np.inf, 1.0
    slope_low, slope_high = slope, np.inf
    for _ in range(40):
        loss, first, second = o.along(logits, along, step)
        penalised = loss + penalty.value + step * (penalty.linear + 0.5 * step * penalty.square)
        lower = penalised <= value * (1 + 1e-12)  # up to rounding
        first += penalty.linear + step * penalty.square
        second += penalty.square
        if lower and abs(first) <= LINE_SLOPE * abs(slope):
            break
        if first < 0:
            low, slope_low = step, first
        else:
            high, slope_high = step, first
        newton = step - first / second if second > 0 else np.inf
        if low < newton < min(high, 8 * step):
            step = newton
        elif high == np.inf:
            step *= 8
        else:
            secant = low - slope_low * (high - low) / (slope_high - slope_low)
            step = min(max(secant, low + 0.02 * (high - low)), high - 0.02 * (high - low))
    return step


class Method(Protocol):
    """A way to the minimum. value: P where it is; logits there; passes: how often X was read."""

    @property
    def value(self) -> float: ...

    @property
    def logits(self) -> Logits: ...

    @property
    def passes(self) -> int: ...

    def rough_gap(self) -> float:
        """The duality gap but for the intercepts, for free."""

    def intercept_slope(self) -> Array:
        """The gradient of the intercepts, (outputs,)."""

    def prove(self) -> Gap:
        """The duality gap, from logits worked afresh."""

    def advance(self) -> bool:
        """Goes on to a better point; False if rounding leaves none."""

    def point(self) -> Array: ...

    def resume(self) -> Start: ...
