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
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.objective import Array, Gap, Objective

MEMORY = 12  # pairs of steps and gradient changes that are remembered
MOST_ITERATIONS = 3000
BLOCK_COLUMNS = 512  # columns with exact curvature when there are too many for all
ALL_COLUMNS = 1200  # up to so many, all columns have exact curvature

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
    """An approximate inverse Hessian: exact blocks over the chosen columns, the diagonal for the others."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        total = objective.features.columns
        exact = objective.features.frequent_columns(ALL_COLUMNS if total <= ALL_COLUMNS else BLOCK_COLUMNS)
        self.columns = np.append(exact, total)  # the last one is the intercept
        self.rest = np.setdiff1d(np.arange(total), exact)
        self.basis = np.empty((0, 0))
        self.factors = np.empty((0, 0, 0))
        self.diagonal = np.empty((0, 0))

    def refresh(self, logits: Array) -> None:
        """Takes the curvature at the point that has these logits."""
        o, size = self.objective, len(self.columns)
        rows, scale = self._sample(logits)
        p = _probabilities(logits[:, rows])
        self.basis = _class_basis(p, scale)
        weights = _curvature_along(self.basis, p) * scale
        x = o.features.submatrix(rows, self.columns[:-1], (size + 7) // 8 * 8)
        first = len(self.factors) == 0
        blocks = weights if not first and self._affordable(len(rows)) else weights.max(axis=0, keepdims=True)
        ridge = np.full(size, o.penalty)
        ridge[-1] = 1e-8 * o.total
        self.factors = np.empty((len(blocks), size, size))
        _core.curvature_factors(x, size, np.ascontiguousarray(blocks), ridge, self.factors, o.threads)
        if len(self.rest):
            self.diagonal = o.features.weighted_squares(rows, weights)[:, self.rest] + o.penalty

    def _affordable(self, rows: int) -> bool:
        """A block for each direction, if that costs at most some 25 passes over the data and half a GiB."""
        o, size = self.objective, len(self.columns)
        a_pass = 4.0 * o.features.stored * o.outputs + 2e7
        return o.outputs * (rows * size**2 + size**3 / 3) <= 25 * a_pass and o.outputs * size**2 <= 1 << 26

    def _sample(self, logits: Array) -> tuple[NDArray[np.int64], Array]:
        """Rows and their scales: all, or a systematic sample with chances in proportion to their curvature."""
        n, weight = logits.shape[1], self.objective.weights
        every = np.ones(n) if weight is None else weight
        wanted = max(SAMPLE_ROWS, 16 * len(self.columns))
        if n <= 2 * wanted:
            return np.arange(n), every
        p = _probabilities(logits)
        curvature = every * (p * (1 - p)).sum(axis=0)
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

    def solve(self, gradient: Array) -> Array:
        """The inverse of the metric times a gradient."""
        turned = np.einsum("jk,km->mj", gradient, self.basis)
        right = np.ascontiguousarray(turned[:, self.columns])
        _core.solve_factors(self.factors, right, self.objective.threads)
        turned[:, self.columns] = right
        if len(self.rest):
            turned[:, self.rest] /= self.diagonal
        return np.asarray(np.einsum("mj,km->jk", turned, self.basis))


def _class_basis(p: Array, scale: Array) -> Array:
    """Orthonormal directions in the space of classes (columns) that the mean curvature sum_i s_i (diag p - p p') leaves
    uncoupled. Along them a block for each direction tells most of the Hessian; two classes have one direction."""
    if len(p) == 1:
        return np.ones((1, 1))
    weighted = p * scale
    mean = np.diag(weighted.sum(axis=1)) - np.einsum("ki,li->kl", weighted, p)
    return np.ascontiguousarray(np.linalg.eigh(mean)[1])


def _curvature_along(basis: Array, p: Array) -> Array:
    """u' (diag p - p p') u for each column u of the basis and each row: (outputs, rows)."""
    if len(p) == 1:
        return np.asarray(p * (1 - p))
    first = np.einsum("km,ki->mi", basis, p)
    return np.asarray(np.maximum(np.einsum("km,ki->mi", basis**2, p) - first**2, 0.0))


def _probabilities(logits: Array) -> Array:
    """(outputs, rows) softmax; rough is enough here: it only shapes the metric."""
    if len(logits) == 1:
        return 1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500)))
    e = np.exp(logits - logits.max(axis=0))
    return np.asarray(e / e.sum(axis=0))


def _dot(a: Array, b: Array) -> float:
    return float(np.einsum("ij,ij->", a, b))  # one thread, one order; BLAS would choose its own


@dataclass
class _History:
    steps: list[Array] = field(default_factory=list)
    changes: list[Array] = field(default_factory=list)

    def remember(self, step: Array, change: Array) -> None:
        if _dot(step, change) <= 1e-14 * _dot(change, change):
            return
        self.steps.append(step)
        self.changes.append(change)
        if len(self.steps) > MEMORY:
            del self.steps[0], self.changes[0]

    def direction(self, gradient: Array, metric: Metric) -> Array:
        """Minus the inverse Hessian estimate times the gradient: the two-loop recursion."""
        q = gradient.copy()
        shares = []
        for s, y in zip(reversed(self.steps), reversed(self.changes), strict=True):
            a = _dot(s, q) / _dot(s, y)
            q -= a * y
            shares.append(a)
        d = metric.solve(q)
        for s, y, a in zip(self.steps, self.changes, reversed(shares), strict=True):
            d += (a - _dot(y, d) / _dot(s, y)) * s
        return -d


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


def minimise(
    objective: Objective, tolerance: float = 1e-6, start: Array | None = None, progress: Progress | None = None
) -> Solution:
    """Minimises the objective until its proven relative gap is at most `tolerance`, and reports the gap either way."""
    o, began = objective, time.monotonic()
    point = o.start() if start is None else start.copy()
    logits = o.logits(point)
    value, gradient = o.gradient_at(point, logits)
    metric, history = Metric(o), _History()
    passes, refresh_at = 2, 0
    for iteration in range(MOST_ITERATIONS):
        rough = _dot(gradient[:-1], gradient[:-1]) / (2 * o.penalty)
        if progress is not None:
            progress(passes, rough / max(value, 1e-300))
        if rough <= tolerance * value:
            proven = o.certify(point, logits)
            passes += 2
            if proven.gap <= tolerance * proven.value:
                break
        if iteration >= refresh_at:
            metric.refresh(logits)
            history = (
                _History()
            )  # its pairs were measured in the old metric; keeping them costs more passes than it saves
            refresh_at = max(6, 3 * iteration)
        direction = history.direction(gradient, metric)
        slope = _dot(gradient, direction)
        if not slope < 0:
            history, refresh_at = _History(), iteration
            direction = -metric.solve(gradient)
            slope = _dot(gradient, direction)
        along = o.logits(direction)
        step = _line_search(o, point, logits, direction, along, value, slope)
        moved = point + step * direction
        if np.array_equal(moved, point):
            break
        value, fresh = o.gradient_at(moved, logits, (along, step))
        passes += 2
        history.remember(moved - point, fresh - gradient)
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
