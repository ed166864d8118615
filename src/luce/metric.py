"""Curvature: an estimate of the inverse Hessian, taken from some rows now and then; its directions are the steps.

Curvature only shapes the way; value, gradient and certificate always use all rows.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array
from luce.functional import softmax
from luce.objective import Logits, Objective, logits_of_rows

MEMORY = 12  # pairs of steps and gradient changes that are remembered
BLOCK_COLUMNS = 512  # columns with exact curvature when there are too many for all
ALL_COLUMNS = 1200  # up to so many, all columns have exact curvature
WIDE_COLUMNS = 6_000  # and up to so many dense ones that say much the same, as those of images do, where taking it
WIDE_STEPS = 25  # costs at most so many steps, and rows are so many times as many, so that its use costs little beside
WIDE_ROWS = 4  # a pass; then a block for each direction may cost
WIDE_PASSES, WIDE_NUMBERS = 100, 1 << 28  # so many passes, and hold so many numbers
COUPLED_STEPS = 100  # the coupled metric is taken at once where it costs at most so many steps, and later where it is
MOST_COUPLED = 1 << 26  # worth them, if it has at most so many numbers
VERY_MANY = 1 << 20  # rows: of more only each so many-th is looked at
MOST_MORE = 8.0  # times the chance that the other rows would have, where some are taken for sure
MOST_NUMBERS = 1 << 25  # of the rows that curvature is taken from
PARTS = ("basis", "factors", "diagonal")
SPARSE_WORK = 4.0  # multiplications that one with a sparse number, each at a place of its own, takes as long as
NEARLY_ALIKE = 1e-5  # a least pivot below which the next curvature is summed in double, twice the work
SAMPLE_ROWS = 4_096  # rows that the metric in blocks is made from, or 8 a column


def sample(o: Objective, logits: Logits, energy: Array, wanted: int) -> tuple[NDArray[np.int64], Array]:
    """Rows and their scales: all, or about `wanted`, a systematic sample with chances in proportion to curvature and
    energy, so that rows which alone hold a rare level, or lie far out, are in it."""
    n = o.features.rows
    if n <= 1.5 * wanted:
        return np.arange(n), np.ones(n) if o.weights is None else o.weights
    step = max(n // VERY_MANY, 1)
    looked = np.arange(0, n, step)
    every = np.full(len(looked), float(step)) if o.weights is None else step * o.weights[looked]
    chance = o.row_curvature(logits) if step == 1 else o.curvature_of_rows(logits, looked)
    chance *= 1.0 + (energy if step == 1 else energy[looked])
    chance *= wanted / max(chance.sum(), 1e-300)
    high, more = chance[chance >= 1 / MOST_MORE], 1.0
    for _ in range(5):  # rows with chance above 1 are taken for sure; the others share what is left
        sure = high[more * high >= 1.0]
        more = min(max(wanted - len(sure), 1) / max(wanted - sure.sum(), 1e-300), MOST_MORE)
    chance *= more
    np.clip(chance, 1e-12, 1.0, out=chance)
    rows = np.flatnonzero(np.diff(np.floor(np.cumsum(chance) + 0.5), prepend=0.0))
    return looked[rows], every[rows] / chance[rows]


class Frame:
    """Points seen from the centre of the dense columns, where the intercepts are all but uncoupled from the weights."""

    def __init__(self, o: Objective) -> None:
        centre, self.spread, self.energy = o.features.energy(o.threads)
        self.intercept = o.intercept
        self.centre = centre if o.intercept else np.zeros_like(centre)

    def gradient(self, gradient: Array) -> Array:
        """As it is seen there."""
        seen, p = gradient.copy(), len(self.centre)
        seen[:p] -= self.centre[:, np.newaxis] * gradient[-1]
        return seen

    def step(self, step: Array) -> Array:
        """As it is seen there."""
        seen, p = step.copy(), len(self.centre)
        seen[-1] += _rows_times(self.centre, step[:p])
        return seen

    def back(self, seen: Array) -> Array:
        """The step that is seen so; in place."""
        seen[-1] = seen[-1] - _rows_times(self.centre, seen[: len(self.centre)]) if self.intercept else 0.0
        return seen


class Metric:
    """An approximate inverse Hessian; with the pairs of steps and gradient changes since it was taken, it gives
    directions.

    coupled: the whole Hessian over all classes, where that is small. Else exact blocks over the chosen columns, one for
    each direction in the space of classes that the mean curvature leaves uncoupled, and the diagonal for the others.
    Both are seen in a Frame, in units of the columns' spread, in which float32 will do.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = o = objective
        total = o.features.columns
        self.wide = ALL_COLUMNS < total <= WIDE_COLUMNS and o.features.dense_columns == total
        self.wide &= o.features.rows >= WIDE_ROWS * total
        self.wide &= SAMPLE_ROWS * total**2 / 8 + total**3 / 6 <= WIDE_STEPS * self.step_work
        exact = o.features.frequent_columns(total if self.wide or total <= ALL_COLUMNS else BLOCK_COLUMNS)
        self.columns = np.append(exact, total)  # the last one is the intercept
        self.rest = np.setdiff1d(np.arange(total), exact)
        self.pairs = _core.QuasiNewton(self.columns, self.rest, o.outputs, MEMORY)
        self.parts: tuple[Array, Array, Array] | None = None  # basis, factors, diagonal: the curvature, once taken
        self.exact = False  # whether it is summed in double
        self.taken = o.features.rows  # rows that it was taken from, if it was
        self.frame = Frame(o)
        self.units = self.frame.spread[exact][:, np.newaxis]
        m, size = max(o.outputs - 1, 1), len(self.columns)
        self.factoring = 0.5 * (m * size) ** 3 / 3
        self.summing = 0.25 * (m * (m + 1) / 2) * size * (size + 24) / 2  # a row
        affordable = int(0.5 * self.step_work / self.summing)
        self.most = min(4 * o.features.rows, max(1024, 4 * size * m, MOST_NUMBERS // size))
        self.wanted = min(max(1024, 4 * size * m, affordable), self.most)
        free = o.prior is None  # a prior also holds what is the same for all classes, which the coupled metric leaves
        self.coupled = free and not len(self.rest) and self.work <= COUPLED_STEPS * self.step_work
        self.may_couple = free and not len(self.rest) and not self.coupled and (m * size) ** 2 <= MOST_COUPLED
        self.wide &= not self.coupled
        self.coupled_rows, self.coupled_work = self.wanted, self.work
        if not self.coupled:
            self.wanted = max(SAMPLE_ROWS, (2 if self.wide else 8) * len(self.columns))

    def moved_to(self, o: Objective) -> Metric:
        """This curvature, taken over for a near objective: of the same features and classes, maybe of fewer rows."""
        moved = copy.copy(self)
        moved.objective = o
        moved.pairs = _core.QuasiNewton(self.columns, self.rest, o.outputs, MEMORY)
        if self.parts is not None:
            basis, factors, diagonal = self.parts
            more = o.total / self.objective.total
            moved._take(basis, factors * more**0.5 if more != 1.0 else factors, diagonal * more)
        return moved

    def couple(self) -> None:
        """From now on the whole Hessian."""
        self.coupled, self.may_couple, self.wide, self.wanted = True, False, False, self.coupled_rows

    @property
    def step_work(self) -> float:
        """What a pass of the solver costs, in multiplications."""
        f = self.objective.features
        dense = f.rows * f.dense_columns
        multiplied = 2.0 * (dense + SPARSE_WORK * (f.stored - dense))
        return (multiplied + 30.0 * f.rows) * self.objective.outputs + 3e5

    @property
    def work(self) -> float:
        """What it costs to take the coupled metric: sums in float, then the factor in double.

        Fewer rows than are wanted may have curvature.
        """
        return self.summing * min(self.objective.features.rows, self.wanted, 2 * self.taken) + self.factoring

    def refresh(self, logits: Logits) -> None:
        """Takes the curvature at the point that has these logits. The pairs, measured in the old metric, are forgotten:
        keeping them costs more passes than it saves."""
        o, size = self.objective, len(self.columns)
        rows, scale = sample(o, logits, self.frame.energy, self.wanted)
        self.taken = len(rows)
        z = logits_of_rows(logits, rows)
        x = o.features.submatrix(rows, self.columns[:-1], self.frame.centre, self.frame.spread, o.threads)
        stiffness = o.stiffness()
        ridge = stiffness.mean(axis=1)[self.columns]
        ridge[:-1] /= self.units[:, 0] ** 2
        ridge[-1] += 1e-8 * o.total if o.intercept else 1e8 * o.total
        if self.coupled:
            self.wanted = min(2 * self.wanted, self.most)  # the nearer the optimum, the more a good one gains
        if self.coupled and o.outputs > 1:
            self._take_coupled(x, z, scale, ridge)
            return
        if self.wide and self._affordable(4 * size):  # blocks for each direction, of too few rows, make steps too long
            self.wanted = max(SAMPLE_ROWS, 4 * size)
        basis, weights = _class_directions(z, scale, o.classes, o.threads)
        blocks = weights if self.parts and self._affordable(len(rows)) else weights.max(axis=0, keepdims=True)
        factors = np.zeros((len(blocks), size, size))  # lower triangles; the rest is not written
        least = _core.curvature_factors(x, size, blocks, ridge, factors, o.threads, self.exact)
        diagonal = np.empty((o.outputs, 0))
        if len(self.rest):
            squares = o.features.weighted_squares(rows, weights, o.threads)
            diagonal = np.ascontiguousarray(squares[:, self.rest] + stiffness[self.rest].T)
        self._take(basis, factors, diagonal, least)

    def _take_coupled(self, x: NDArray[np.float32], logits: Array, scale: Array, ridge: Array) -> None:
        o, m = self.objective, self.objective.outputs - 1
        factor = np.zeros((m * len(self.columns),) * 2)
        shares = softmax(logits, axis=0)
        least = _core.coupled_factor(x, len(self.columns), shares, scale, ridge, factor, o.threads, self.exact)
        basis = np.eye(o.outputs)
        basis[-1] = -1.0
        basis[-1, -1] = 0.0
        self._take(basis, factor[np.newaxis], np.empty((o.outputs, 0)), least)

    def _take(self, basis: Array, factors: Array, diagonal: Array, least: float = 1.0) -> None:
        self.exact |= least < NEARLY_ALIKE
        self.parts = basis, factors, diagonal
        self.pairs.take_metric(basis, factors, diagonal)

    def arrays(self) -> dict[str, Array]:
        """The curvature, once taken, and the pairs since, (pairs, 2, columns + 1, outputs)."""
        if self.parts is None:
            return {}
        shape = self.objective.features.columns + 1, self.objective.outputs
        pairs = np.empty((len(self.pairs), 2, *shape))
        for i, pair in enumerate(pairs):
            self.pairs.pair(i, *pair)
        return {**dict(zip(PARTS, self.parts, strict=True)), "pairs": pairs}

    def facts(self) -> tuple[int, int, int, int]:
        """How the next curvature will be taken."""
        return self.wanted, int(self.exact), int(self.coupled), self.taken

    def restore(self, arrays: Mapping[str, Array], facts: Sequence[int]) -> None:
        """Becomes that of which these are the arrays and facts, for the same features and classes."""
        if facts[2] and not self.coupled:
            self.couple()
        self.wanted, self.exact, self.taken = facts[0], bool(facts[1]), facts[3]
        if "pairs" not in arrays:
            return
        basis, factors, diagonal = (arrays[name] for name in PARTS)
        self._take(basis, factors, diagonal)
        for step, change in arrays["pairs"]:
            self.pairs.remember(step, change, self.objective.threads)

    def _affordable(self, rows: int) -> bool:
        """A block for each direction, if that costs at most some 25 passes over the data and half a GiB."""
        o, size = self.objective, len(self.columns)
        passes, numbers = (WIDE_PASSES, WIDE_NUMBERS) if self.wide else (25, 1 << 26)
        a_pass = 4.0 * o.features.stored * o.outputs + 2e7
        return o.outputs * (rows * size**2 + size**3 / 3) <= passes * a_pass and o.outputs * size**2 <= numbers

    def direction(self, gradient: Array) -> tuple[Array, float]:
        """Minus the inverse Hessian estimate times the gradient, and its product with the gradient."""
        out = np.empty_like(gradient)
        slope = self.pairs.direction(self._seen(gradient), out, self.objective.threads)
        out[self.columns[:-1]] /= self.units
        return self.frame.back(out), slope

    def remember(self, step: Array, change: Array) -> None:
        """A step and the change of the gradient along it."""
        step = self.frame.step(step)
        step[self.columns[:-1]] *= self.units
        self.pairs.remember(step, self._seen(change), self.objective.threads)

    def _seen(self, gradient: Array) -> Array:
        """A gradient in the frame, in the columns' units."""
        seen = self.frame.gradient(gradient)
        seen[self.columns[:-1]] /= self.units
        return seen


def _rows_times(numbers: Array, rows: Array) -> Array:
    return np.asarray((numbers[:, np.newaxis] * rows).sum(axis=0))  # BLAS would choose its own order


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
