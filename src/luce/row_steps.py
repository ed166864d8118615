"""Solvers for matrices of many columns, on weights that are told by a number a row and class: W = X'A.

DualSteps: coordinate ascent on the dual, row by row (core/dual_ascent.h). Where that is slow (next to no penalty)
another method goes on: for sparse ones RowSteps, limited-memory BFGS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from luce import _core
from luce.features import Array
from luce.metric import MEMORY
from luce.objective import Gap, Objective, dot, logits_of_rows
from luce.steps import Method, Quadratic, RowPoint, Start, line_search

MOST_BIAS_STEPS = 6
BIAS_GAIN = 1e-14  # the share of the loss that a step of the bias must gain
NEAREST = 0.98  # how much of a row's probability may go to classes that it is not of, where a start is scaled


class RowSteps:
    """Steps of limited-memory BFGS for a wide sparse matrix, on weights W = X'A: a number for each row and class.

    The best weights are of this form (a zero gradient says l2 W = -X'R), and so are all gradients and steps. A vector
    X'a is held as a and z = X X'a, so that inner products are those of rows, and a step reads X once
    (core/row_space.h).
    """

    def __init__(self, objective: Objective, start: Start | None) -> None:
        self.objective = o = objective
        self.space = o.features.row_space
        shape = (o.outputs, o.features.rows)
        self.size = shape[0] * shape[1]
        self.passes = 0
        self.pairs = _core.PairedHistory(2 * self.size + o.outputs, self.size, MEMORY)
        self.at = self._vector()
        a, z, b = self._parts(self.at)
        b[:] = o.start()[-1]
        if isinstance(start, RowPoint):
            a[:], b[:] = start.a, start.b
            self._product(a, z)
        elif isinstance(start, np.ndarray):
            self._adopt(start)
        self._settle()

    def _adopt(self, start: Array) -> None:
        """Weights of any form: A is what they would have at the optimum, -R / l2, if that is no worse than W = 0."""
        o, kept = self.objective, self.at
        residual = np.empty((o.outputs, o.features.rows))
        cold = self._value_at(kept)
        _core.residuals(o.logits(start), o.labels, None, residual, o.threads)
        self.at = self._vector()
        a, z, b = self._parts(self.at)
        a[:], b[:] = residual / -o.penalty, start[-1]
        self._product(a, z)
        self.passes += 2
        if not self._value_at(self.at) < cold:
            self.at = kept

    def _vector(self) -> Array:
        return np.zeros(2 * self.size + self.objective.outputs)

    def _parts(self, vector: Array) -> tuple[Array, Array, Array]:
        """a and X X'a, (outputs, rows), and b, (outputs,): views of a vector."""
        shape = (self.objective.outputs, self.objective.features.rows)
        ends = self.size, 2 * self.size
        return vector[: ends[0]].reshape(shape), vector[ends[0] : ends[1]].reshape(shape), vector[ends[1] :]

    def _product(self, a: Array, out: Array) -> None:
        self.space.product(a, out, self.objective.threads)
        self.passes += 1

    def _square(self, u: Array, v: Array) -> float:
        """The inner product of the weights of two vectors."""
        return dot(self._parts(u)[0], self._parts(v)[1])

    def _logits_of(self, vector: Array) -> Array:
        _, z, b = self._parts(vector)
        return z + b[:, np.newaxis]

    def _value_at(self, vector: Array) -> float:
        o = self.objective
        loss, _, _ = o.along(self._logits_of(vector), np.zeros((o.outputs, o.features.rows)), 0.0)
        return loss + 0.5 * o.penalty * self._square(vector, vector)

    def _gradient(self, correction: Array | None = None) -> tuple[float, Array]:
        """P and its gradient where the solver is."""
        o = self.objective
        a, z, _ = self._parts(self.at)
        out = self._vector()
        ga, gz, gb = self._parts(out)
        loss = _core.residuals(self.logits, o.labels, correction, ga, o.threads)
        if o.intercept:
            gb[:] = ga.sum(axis=1)
        self._product(ga, gz)
        ga += o.penalty * a
        gz += o.penalty * z
        return loss + 0.5 * o.penalty * self._square(self.at, self.at), out

    def _settle(self) -> None:
        self.logits = self._logits_of(self.at)
        self.value, self.gradient = self._gradient()

    def intercept_slope(self) -> Array:
        return np.array(self._parts(self.gradient)[2])

    def rough_gap(self) -> float:
        return max(self._square(self.gradient, self.gradient), 0.0) / (2 * self.objective.penalty)

    def advance(self) -> bool:
        o = self.objective
        direction = self._vector()
        first = 1.0 / (o.penalty + 0.25)
        slope = self.pairs.direction(self.gradient, first, direction, o.threads)
        if not slope < 0:
            self.pairs.forget()
            slope = self.pairs.direction(self.gradient, first, direction, o.threads)
        along = self._logits_of(direction)
        penalty = o.penalty
        quadratic = Quadratic(
            0.5 * penalty * self._square(self.at, self.at),
            penalty * self._square(self.at, direction),
            penalty * self._square(direction, direction),
        )
        step = line_search(o, self.logits, along, self.value, slope, quadratic)
        direction *= step
        before, gradient = self.at, self.gradient
        moved = before + direction
        if np.array_equal(moved, before):
            return False
        self.at = moved
        self._settle()
        self.pairs.remember(direction, self.gradient - gradient, o.threads)
        return True

    def prove(self) -> Gap:
        """As Objective.certify, on the rows."""
        o = self.objective
        a, z, _ = self._parts(self.at)
        self._product(a, z)
        self._settle()
        if not o.intercept:
            return Gap(self.value, self.rough_gap())
        slope = self.intercept_slope()
        correction = o.intercept_correction(self.logits, slope)
        if correction is None:
            return Gap(self.value, float("inf"))
        _, moved = self._gradient(correction)
        left = max(self._square(moved, moved), 0.0) / (2 * o.penalty)
        return Gap(self.value, left + max(float((correction * slope).sum()), 0.0))

    def point(self) -> Array:
        o = self.objective
        a, _, b = self._parts(self.at)
        return np.vstack([o.features.transposed_product(a, o.threads), b])

    def resume(self) -> Start:
        a, _, b = self._parts(self.at)
        return RowPoint(a.copy(), b.copy(), self.objective.penalty)


@dataclass(frozen=True)
class Proven:
    """What a proof of DualSteps is about: s (a - y), (outputs, rows), the bias, and the weights of the columns that
    rows share, (columns, outputs)."""

    residual: Array
    bias: Array
    weights: Array


class DualSteps:
    """Runs of coordinate ascent on the dual: for each row the best distribution over the classes, all others held.

    The distributions prove how far the weights that follow from them are from the best ones: the duality gap is
    sum_i s_i KL(a_i || p_i), once the intercepts' demand sum_i s_i (a_i - y_i) = 0 is met (see `prove`).
    """

    PATIENCE = 6  # runs in which the gap must fall to SLOW of what it was
    SLOW = 0.85

    def __init__(
        self, objective: Objective, start: Start | None, after: Callable[[Objective, Start | None], Method]
    ) -> None:
        """after: the method that goes on where the ascent is slow."""
        self.objective, self.after = objective, after
        o = objective
        self.parted = o.features.shared(o.threads)  # None where rows share nearly all columns
        self.shared = o.features if self.parted is None else self.parted.features
        alone = None if self.parted is None else self.parted.alone
        self.ascent = _core.DualAscent(self.shared.design, o.labels, o.penalty, alone)
        self.bias = np.ascontiguousarray(o.start()[-1])
        self.runs = 0  # reads of X, but for those of `rest`
        self.rough, self.value = [o.known_loss], o.known_loss
        self.every = np.arange(o.features.rows)
        self.rest: Method | None = None
        self.exact: Array | None = None  # the logits, if they have been worked out since the last run
        self.proven: Proven | None = None  # of the last proof, if no run followed
        if isinstance(start, RowPoint):
            self.ascent.take(self._scaled(start))
            self.bias = start.b.copy()
            self.runs += 1

    def _scaled(self, start: RowPoint) -> Array:
        """s (a - y) of an earlier fit; one at another strength has been the farther from y the stronger its penalty,
        by about the root of it."""
        o = self.objective
        by = (o.penalty / start.penalty) ** 0.5
        residual = (-start.penalty * by) * start.a
        if by > 1.0:
            most = residual.max(axis=0) if o.outputs > 1 else np.abs(residual[0])
            most = np.maximum(most, -residual[o.codes, np.arange(len(most))]) if o.outputs > 1 else most
            weight = 1.0 if o.weights is None else o.weights
            residual *= np.minimum(1.0, NEAREST * weight / np.maximum(most, 1e-300))
        return np.asarray(residual)

    @property
    def passes(self) -> int:
        return self.runs + (0 if self.rest is None else self.rest.passes)

    def advance(self) -> bool:
        if self.rest is not None:
            return self._advance_rest()
        o = self.objective
        loss, divergence = self.ascent.epoch(self.bias, o.intercept)
        self.exact = self.proven = None
        self.runs += 1
        self.value = loss + 0.5 * o.penalty * self.ascent.square()
        self.rough.append(divergence)
        slow = len(self.rough) > self.PATIENCE + 1 and divergence > self.SLOW * self.rough[-1 - self.PATIENCE]
        if slow or not np.isfinite(self.value):
            known = np.isfinite(self.value)
            start = self.resume() if o.features.dense is None else self.point()
            self.rest = self.after(o, start if known else None)
        return True

    def _advance_rest(self) -> bool:
        assert self.rest is not None
        moved = self.rest.advance()
        self.value, self.exact = self.rest.value, logits_of_rows(self.rest.logits, self.every)
        return moved

    def rough_gap(self) -> float:
        return self.rough[-1] if self.rest is None else self.rest.rough_gap()

    @property
    def logits(self) -> Array:
        if self.exact is None:
            self.exact = np.empty((self.objective.outputs, self.objective.features.rows))
            self.ascent.logits(self.bias, self.exact, self.objective.threads)
        return self.exact

    def _weights_of(self, residual: Array) -> Array:
        """X'R / -l2 of the columns that rows share, (columns, outputs)."""
        weights = self.shared.transposed_product(residual, self.objective.threads)
        weights /= -self.objective.penalty
        return weights

    def _alone(self, residual: Array) -> Array | float:
        """What the other columns add to the logits, (outputs, rows)."""
        return 0.0 if self.parted is None else residual * (self.parted.alone / -self.objective.penalty)

    def _residual(self) -> Array:
        """s (a - y), (outputs, rows)."""
        out = np.empty((self.objective.outputs, self.objective.features.rows))
        self.ascent.residual(out)
        return out

    def intercept_slope(self) -> Array:
        return np.asarray(self._residual().sum(axis=1)) if self.rest is None else self.rest.intercept_slope()

    def prove(self) -> Gap:
        """The gap of distributions that meet the intercepts' demand, and of the weights that follow from them.

        a becomes a - (diag a - a a') c, as in Objective.certify; what the weights are is then worked out afresh. The
        runs go on from where they were: what meets the demand is the farther from its best the weaker the penalty.
        """
        o = self.objective
        if self.rest is not None:
            found = self.rest.prove()
            self.value, self.exact = self.rest.value, logits_of_rows(self.rest.logits, self.every)
            return found
        residual = self._residual()
        logits = self._logits_of_rows(residual)
        correction = o.intercept_correction(logits, residual.sum(axis=1)) if o.intercept else np.zeros(o.outputs)
        if correction is not None:
            _core.residuals(logits, o.labels, correction, residual, o.threads)
        alone = self._alone(residual)
        weights = self._weights_of(residual)
        bias = self.bias.copy()
        self.exact = self.shared.logits(weights, bias, o.threads)
        self.exact += alone
        square = float(np.sum(weights**2)) - float(np.sum(residual * alone)) / o.penalty
        loss = self._settle(bias, self.exact)
        self.value = loss + 0.5 * o.penalty * square
        self.proven = Proven(residual, bias, weights)
        self.runs += 2
        if correction is None:
            return Gap(self.value, float("inf"))
        gap = loss - float(np.sum(residual * self.exact)) - self._entropy(residual)
        return Gap(self.value, max(gap, 0.0))

    def _settle(self, bias: Array, logits: Array) -> float:
        """Moves the bias by steps of Newton's, as long as they lower the loss, which is returned; logits move along."""
        o = self.objective
        loss, _, _ = o.along(logits, np.zeros_like(logits), 0.0)
        for _ in range(MOST_BIAS_STEPS if o.intercept else 0):
            _core.residuals(logits, o.labels, None, away := np.empty_like(logits), o.threads)
            slope = away.sum(axis=1)
            step = o.intercept_correction(logits, slope)
            if step is None or float(step @ slope) <= BIAS_GAIN * loss:
                break
            lower, _, _ = o.along(logits, np.broadcast_to(step[:, np.newaxis], logits.shape).copy(), -1.0)
            if not lower < loss:
                break
            loss = lower
            logits -= step[:, np.newaxis]
            bias -= step
        return float(loss)

    def _distributions(self, residual: Array) -> Array:
        """a of the rows with weight, (outputs, rows)."""
        o = self.objective
        a = residual if o.weights is None else residual / np.where(o.weights > 0, o.weights, 1.0)
        if o.outputs == 1:
            return np.asarray(a + (o.codes == 1))
        a = a.copy()
        a[o.codes, np.arange(len(o.codes))] += 1.0
        return np.asarray(a)

    def _logits_of_rows(self, residual: Array) -> Array:
        """Logits whose probabilities are the distributions."""
        a = np.maximum(self._distributions(residual), 1e-300)
        return np.asarray(np.log(a) if len(a) > 1 else np.log(a) - np.log(np.maximum(1.0 - a, 1e-300)))

    def _entropy(self, residual: Array) -> float:
        """sum_i s_i H(a_i)"""
        o = self.objective
        if o.outputs == 1:  # by the probability of the other class, which may be tiny
            other = np.abs(residual[0] if o.weights is None else residual[0] / np.where(o.weights > 0, o.weights, 1.0))
            some, most = np.where(other > 0, other, 1.0), np.minimum(other, 1.0 - 2.0**-53)
            each = -other * np.log(some) - (1.0 - other) * np.log1p(-most)
        else:
            a = self._distributions(residual)
            each = -np.einsum("ki,ki->i", np.maximum(a, 0.0), np.log(np.where(a > 0, a, 1.0)))
        return float(np.sum(each if o.weights is None else each * o.weights))

    def point(self) -> Array:
        if self.rest is not None:
            return self.rest.point()
        o = self.objective
        at = self.proven
        if at is None:
            residual = self._residual()
            at = Proven(residual, self.bias, self._weights_of(residual))
        if self.parted is None:
            return np.vstack([at.weights, at.bias])
        out = np.empty((o.features.columns + 1, o.outputs))
        self.parted.spread(o.features, at.weights, at.residual / -o.penalty, out[:-1], o.threads)
        out[-1] = at.bias
        return out

    def resume(self) -> Start:
        if self.rest is not None:
            return self.rest.resume()
        at = self.proven
        residual, bias = (self._residual(), self.bias) if at is None else (at.residual, at.bias)
        return RowPoint(residual / -self.objective.penalty, bias.copy(), self.objective.penalty)
