"""The solver: quasi-Newton steps in a curvature metric, exact steps along each direction, stopped by a proof.

Each iteration reads X twice: once for the logits of the direction, once for the gradient. The step length is found
on the logits alone. The metric is the block-diagonal part of the Hessian, one block for each direction in the space of
classes that the mean curvature leaves uncoupled, over the columns that matter most, refreshed now and then;
limited-memory BFGS adds the rest. (Nocedal and Wright, Numerical Optimization, 2nd ed., section 7.2; for the proof see
Objective.certify.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array
from luce.objective import Gap, Objective

MEMORY = 12  # pairs of steps and gradient changes that are remembered
MOST_ITERATIONS = 3000
BLOCK_COLUMNS = 512  # columns with exact curvature when there are too many for all
ALL_COLUMNS = 1200  # up to so many, all columns have exact curvature

SINGLE_GAP = 1e-8  # rough relative gap down to which passes may calculate in float32
SINGLE_NOISE = 100.0  # and how many times the gap that float32 rounding alone would show

LINE_SLOPE = 0.3  # how exact the step along a direction is
SAMPLE_ROWS = 8_192  # rows that the metric is made from, or 16 a column; of more than twice that, a sample

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Certificate:
    """How far a fit is from the best possible one.

    objective: mean cross-entropy plus penalty, in nats; gap: a proven bound on objective - minimum, same unit;
    relative_gap = gap / objective; passes: reads of the data; seconds; converged: gap reached the tolerance.
    """

    objective: float
    gap: float
    relative_gap: float
    passes: int
    seconds: float
    converged: bool

    def sentence(self) -> str:
        if not np.isfinite(self.gap):
            return "no bound on the distance to the best possible fit was proven"
        early = "" if self.converged else "stopped early, but "
        return (
            f"{early}proven to lie within {self.relative_gap:.1g} of the best possible fit "
            f"(at most {self.gap:.2g} of {self.objective:.6g} nats left; {self.passes} passes)"
        )


@dataclass(frozen=True)
class Solution:
    point: Array
    certificate: Certificate


class Metric:
    """An approximate inverse Hessian, exact blocks over the chosen columns and the diagonal for the others; with the
    pairs of steps and gradient changes since it was taken, it gives directions."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        total = objective.features.columns
        exact = objective.features.frequent_columns(ALL_COLUMNS if total <= ALL_COLUMNS else BLOCK_COLUMNS)
        self.columns = np.append(exact, total)  # the last one is the intercept
        self.rest = np.setdiff1d(np.arange(total), exact)
        self.pairs = _core.QuasiNewton(self.columns, self.rest, objective.outputs, MEMORY)
        self.taken = False

    def refresh(self, logits: Array) -> None:
        """Takes the curvature at the point that has these logits. The pairs, measured in the old metric, are forgotten:
        keeping them costs more passes than it saves."""
        o, size = self.objective, len(self.columns)
        rows, scale = self._sample(logits)
        z = logits if len(rows) == logits.shape[1] else np.ascontiguousarray(logits[:, rows])
        basis, weights = _class_directions(z, scale, o.classes, o.threads)
        x = o.features.submatrix(rows, self.columns[:-1], (size + 7) // 8 * 8, o.threads)
        blocks = weights if self.taken and self._affordable(len(rows)) else weights.max(axis=0, keepdims=True)
        ridge = np.full(size, o.penalty)
        ridge[-1] = 1e-8 * o.total
        factors = np.empty((len(blocks), size, size))
        _core.curvature_factors(x, size, blocks, ridge, factors, o.threads)
        diagonal = np.empty((o.outputs, 0))
        if len(self.rest):
            squares = o.features.weighted_squares(rows, weights, o.threads)
            diagonal = np.ascontiguousarray(squares[:, self.rest]) + o.penalty
        self.pairs.take_metric(basis, factors, diagonal)
        self.taken = True

    def _affordable(self, rows: int) -> bool:
        """A block for each direction, if that costs at most some 25 passes over the data and half a GiB."""
        o, size = self.objective, len(self.columns)
        a_pass = 4.0 * o.features.stored * o.outputs + 2e7
        return o.outputs * (rows * size**2 + size**3 / 3) <= 25 * a_pass and o.outputs * size**2 <= 1 << 26

    def _sample(self, logits: Array) -> tuple[NDArray[np.int64], Array]:
        """Rows and their scales: all, or a systematic sample with chances in proportion to their curvature."""
        o, n = self.objective, logits.shape[1]
        wanted = max(SAMPLE_ROWS, 16 * len(self.columns))
        every = np.ones(n) if o.weights is None else o.weights
        if n <= 2 * wanted:
            return np.arange(n), every
        curvature = np.empty(n)
        _core.row_curvature(logits, o.labels, curvature, o.threads)
        chance = curvature * (wanted / max(curvature.sum(), 1e-300))
        for _ in range(5):  # rows with chance above 1 are taken for sure; the others share what is left
            chance = np.minimum(chance, 1.0)
            sure = chance >= 1.0
            left = chance[~sure].sum()
            if left <= 0:
                break
            chance[~sure] *= max(wanted - int(sure.sum()), 1) / left
        chance = np.clip(chance, 1e-12, 1.0)
        upto = np.cumsum(chance)
        rows = np.flatnonzero(np.floor(upto + 0.5) > np.floor(np.concatenate([[0.0], upto[:-1]]) + 0.5))
        return rows, every[rows] / chance[rows]

    def direction(self, gradient: Array) -> tuple[Array, float]:
        """Minus the inverse Hessian estimate times the gradient, and its product with the gradient."""
        out = np.empty_like(gradient)
        slope = self.pairs.direction(gradient, out, self.objective.threads)
        return out, slope


def _class_directions(logits: Array, scale: Array, classes: int, threads: int) -> tuple[Array, Array]:
    """Orthonormal directions in the space of classes (columns) that the mean curvature sum_i s_i (diag p - p p') leaves
    uncoupled, and the curvature of each row along each of them, (outputs, rows). Along such directions a block for each
    tells most of the Hessian; two classes have one direction."""
    labels = _core.Labels(np.zeros(logits.shape[1], dtype=np.int32), scale, classes)
    basis = np.ones((1, 1))
    if len(logits) > 1:
        basis = np.empty((len(logits), len(logits)))
        _core.intercept_curvature(logits, labels, basis, threads)
        if not _core.symmetric_eigen(basis, np.empty(len(logits))):
            basis = np.eye(len(logits))
        basis = np.ascontiguousarray(basis.T)
    curvature = np.empty(logits.shape)
    _core.curvature_along(logits, labels, basis, curvature, threads)
    return basis, curvature


def _dot(a: Array, b: Array) -> float:
    return float(np.einsum("ij,ij->", a, b))  # one thread, one order; BLAS would choose its own


def _line_search(
    o: Objective, point: Array, logits: Array, direction: Array, along: Array, value: float, slope: float
) -> float:
    """A step that lowers the objective and at which its slope has fallen to LINE_SLOPE of the first.

    Works on the logits alone: safeguarded Newton, with the secant where Newton leaves the bracket.
    """
    linear = o.penalty * _dot(point[:-1], direction[:-1])
    square = o.penalty * _dot(direction[:-1], direction[:-1])
    penalty = o.penalty_of(point)
    low, high, step = 0.0, np.inf, 1.0
    slope_low, slope_high = slope, np.inf
    for _ in range(40):
        loss, first, second = o.along(logits, along, step)
        lower = loss + penalty + step * (linear + 0.5 * step * square) <= value * (1 + 1e-12)  # up to rounding
        first += linear + step * square
        second += square
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


def _rough_gap(o: Objective, gradient: Array) -> float:
    """What the gap would be if the intercepts were at their best."""
    return _dot(gradient[:-1], gradient[:-1]) / (2 * o.penalty)


def _afresh(o: Objective, point: Array) -> tuple[Array, float, Array]:
    """Logits, value and gradient of a point in double: without what rounding has left in logits moved step by step."""
    logits = o.logits(point)
    return logits, *o.gradient_at(point, logits)


def minimise(
    objective: Objective, tolerance: float = 1e-6, start: Array | None = None, progress: Progress | None = None
) -> Solution:
    """Minimises the objective until its proven relative gap is at most `tolerance`, and reports the gap either way.

    Where X is no more exact than float32, so are the first passes: until the gap is small, or near what rounding alone
    would show, which each refresh of the metric measures. Then, and for every proof, all is calculated in double.
    """
    o, began = objective, time.monotonic()
    single, noise = o.features.can_be_single, 0.0
    point = o.start() if start is None else start.copy()
    logits = o.logits(point, single)
    value, gradient = o.gradient_at(point, logits, single=single)
    metric = Metric(o)
    passes, refresh_at = 2, 0
    for iteration in range(MOST_ITERATIONS):
        rough = _rough_gap(o, gradient)
        if progress is not None:
            progress(passes, rough / max(value, 1e-300))
        if rough <= tolerance * value:
            logits = o.logits(point)  # afresh: moving them step by step has left its rounding
            proven = o.certify(point, logits)
            passes += 3
            if proven.gap <= tolerance * proven.value:
                return Solution(point, _certificate(o, proven, passes, time.monotonic() - began, tolerance))
        if single and not rough > max(max(tolerance, SINGLE_GAP) * value, SINGLE_NOISE * noise):  # also if it is NaN
            single, passes = False, passes + 2
            logits, value, gradient = _afresh(o, point)
        if iteration >= refresh_at:
            if single:
                rounded, passes = gradient, passes + 2
                logits, value, gradient = _afresh(o, point)
                noise = _rough_gap(o, rounded - gradient)
            metric.refresh(logits)
            refresh_at = max(6, 3 * iteration)
        direction, slope = metric.direction(gradient)
        if not slope < 0:
            metric.pairs.forget()
            refresh_at = iteration
            direction, slope = metric.direction(gradient)
        along = o.logits(direction, single)
        step = _line_search(o, point, logits, direction, along, value, slope)
        moved = point + step * direction
        if np.array_equal(moved, point) or not np.isfinite(step):
            if not single:
                break
            noise = np.inf  # too much for float32
            continue
        value, fresh = o.gradient_at(moved, logits, (along, step), single=single)
        passes += 2
        metric.pairs.remember(moved - point, fresh - gradient, o.threads)
        point, gradient = moved, fresh
    final = o.certify(point, o.logits(point))
    return Solution(point, _certificate(o, final, passes + 3, time.monotonic() - began, tolerance))


def _certificate(o: Objective, final: Gap, passes: int, seconds: float, tolerance: float) -> Certificate:
    relative = final.gap / final.value if final.value > 0 else float("inf")
    return Certificate(
        objective=final.value / o.total,
        gap=final.gap / o.total,
        relative_gap=relative,
        passes=passes,
        seconds=seconds,
        converged=bool(relative <= tolerance),
    )
