"""The objective: cross-entropy of X W + b plus L1 and L2 penalties; value, gradient, Hessian product, certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array, Features
from luce.splits import row_keys

LEAST_ROWS = 64  # of a class, in a part of the rows that stands for all
AT_ONCE = 1 << 24  # numbers of rows that are copied to work their logits out
MOST_LOGITS = 1 << 25  # so many numbers are kept; more are worked out each time that they are needed


@dataclass(frozen=True)
class Gap:
    """A lower bound on the best value there is: value - gap <= min P. In units of P (sums, not means)."""

    value: float
    gap: float


@dataclass(frozen=True)
class Others:
    """Weights held at 0: the largest |G| of their gradients, and the sum of max(|G| - l1, 0)^2."""

    peak: float = 0.0
    excess: float = 0.0


NO_OTHERS = Others()


def none_beside(correction: Array | None) -> Others:
    """Where a point has all weights."""
    return NO_OTHERS


def halves(point: Array) -> tuple[Array, Array]:
    """The weights and the intercepts of a point, each side by side in memory."""
    return np.ascontiguousarray(point[:-1]), np.ascontiguousarray(point[-1])


class FarLogits:
    """The logits of a point, which are worked out each time that they are needed."""

    def __init__(self, objective: Objective, point: Array) -> None:
        self.objective, self.point = objective, point

    def of_rows(self, rows: NDArray[np.int64]) -> Array:
        """Those of some rows, (outputs, len(rows))."""
        o, (weights, bias) = self.objective, halves(self.point)
        step = AT_ONCE // max(o.features.columns, o.outputs) + 1
        parts = (o.features.take(rows[i : i + step]) for i in range(0, max(len(rows), 1), step))
        return np.concatenate([part.logits(weights, bias, o.threads) for part in parts], axis=1)


Logits: TypeAlias = Array | FarLogits


def logits_of_rows(logits: Logits, rows: NDArray[np.int64]) -> Array:
    """Those of some ascending rows, (outputs, len(rows)); of all, the same array."""
    if isinstance(logits, FarLogits):
        return logits.of_rows(rows)
    return logits if len(rows) == logits.shape[1] else np.ascontiguousarray(logits[:, rows])


def dot(a: Array, b: Array) -> float:
    return float(np.einsum("ij,ij->", a, b))  # one thread, one order; BLAS would choose its own


class Objective:
    """P(W, b) = sum_i s_i [logsumexp(z_i) - z_i[y_i]] + penalty/2 |W|^2 + l1 |W|_1 with z = X W + b.

    Two classes have one column, the logit of the second class over the first (the sigmoid); K > 2 classes have K.
    The intercepts b are not penalised; with intercept=False they are 0. Points are (columns + 1, outputs) float64, the
    last row is b; logits are (outputs, rows). Gradients are those of the smooth part, without the L1 penalty.
    prior: a point and how firmly it is held, r > 0 for every number of it; adds  sum r/2 (point - held)^2.
    With `single`, the products with X may be rounded to float32, if X itself is no more exact than that; losses and
    softmax stay double.
    """

    def __init__(
        self,
        features: Features,
        codes: NDArray[np.int32],
        classes: int,
        penalty: float,
        weights: Array | None = None,
        threads: int = 1,
        *,
        l1: float = 0.0,
        intercept: bool = True,
        prior: tuple[Array, Array] | None = None,
    ) -> None:
        self.features = features
        self.classes = classes
        self.outputs = 1 if classes == 2 else classes
        self.penalty = float(penalty)
        self.l1 = float(l1)
        self.intercept = intercept
        self.prior = prior
        self.threads = threads
        self.weights = weights
        self.total = float(features.rows if weights is None else weights.sum())
        self.codes = codes
        self.labels = features.labels(codes, weights, classes)
        self._shares = np.bincount(codes, weights=weights, minlength=classes) / self.total

    def of_some_rows(self, wanted: int) -> Objective:
        """About the same objective on about `wanted` rows, which depend on their places alone: of each class a share
        that leaves it at least LEAST_ROWS, each row counted for those that it stands for."""
        counts = np.bincount(self.codes, minlength=self.classes)
        share = np.clip(np.maximum(wanted / len(self.codes), LEAST_ROWS / np.maximum(counts, 1)), 0.0, 1.0)
        keys = row_keys(len(self.codes), 0) >> np.uint64(11)
        rows = np.flatnonzero(keys.astype(np.float64) < share[self.codes] * 2.0**53)
        weights = 1.0 / share[self.codes[rows]]
        if self.weights is not None:
            weights *= self.weights[rows]
        penalty = self.penalty * float(weights.sum()) / self.total
        codes = self.codes[rows]
        return Objective(
            self.features.take(rows), codes, self.classes, penalty, weights, self.threads, intercept=self.intercept
        )

    @property
    def known_loss(self) -> float:
        """The loss when nothing is known but the shares of the classes: their entropy, in the units of P."""
        shares = self._shares[self._shares > 0]
        return -self.total * float(np.sum(shares * np.log(shares)))

    def start(self) -> Array:
        """W = 0 and the intercepts that fit the class shares (a class without weight gets a share of 1e-9)."""
        point = np.zeros((self.features.columns + 1, self.outputs))
        if self.intercept:
            log_shares = np.log(np.maximum(self._shares, 1e-9))
            point[-1] = log_shares[1] - log_shares[0] if self.outputs == 1 else log_shares - log_shares.mean()
        return point

    @property
    def keeps_logits(self) -> bool:
        """Whether the rows are at hand, and there is room for the logits of all, and a few arrays of their size."""
        return self.features.at_hand and self.features.rows * self.outputs <= MOST_LOGITS

    def logits(self, point: Array, single: bool = False) -> Array:
        return self.features.logits(*halves(point), self.threads, single)

    def penalty_of(self, point: Array) -> float:
        weights = point[:-1]
        square = 0.5 * self.penalty * dot(weights, weights)
        if self.prior is not None:
            held, firmness = self.prior
            square += 0.5 * float(np.sum(firmness * (point - held) ** 2))
        return square + self.l1 * float(np.sum(np.abs(weights))) if self.l1 else square

    def value_and_gradient(
        self, point: Array, single: bool = False, correction: Array | None = None
    ) -> tuple[float, Array]:
        """P and its gradient in one read of X, no logits kept; correction: as in `gradient_at`."""
        loss, gradient = self.features.cross_entropy(*halves(point), self.labels, correction, self.threads, single)
        return loss + self.penalty_of(point), self._smooth(gradient, self.pull(point))

    def _smooth(self, gradient: Array, pull: Array) -> Array:
        """The gradient of the loss becomes that of the smooth part of P, in place."""
        gradient += pull
        if not self.intercept:
            gradient[-1] = 0.0
        return gradient

    def pull(self, point: Array) -> Array:
        """The gradient of the smooth penalties at a point."""
        out = self.penalty * point
        out[-1] = 0.0
        if self.prior is not None:
            out += self.prior[1] * (point - self.prior[0])
        return out

    def stiffness(self) -> Array:
        """The second derivatives of the smooth penalties, (columns + 1, outputs) or what broadcasts to it."""
        if self.prior is None:
            return np.append(np.full(self.features.columns, self.penalty), 0.0)[:, np.newaxis]
        out = self.prior[1] + self.penalty
        out[-1] -= self.penalty
        return np.asarray(out)

    def hessian_product(self, logits: Array, direction: Array, single: bool = False) -> Array:
        """The Hessian of P's smooth part at the point that has these logits, times a direction."""
        product = np.empty_like(direction)
        _core.hessian_product(
            self.features.design, logits, self.labels, np.ascontiguousarray(direction[:-1]),
            np.ascontiguousarray(direction[-1]), product, self.threads, single,
        )  # fmt: skip
        return self._smooth(product, self.stiffness() * direction)

    def row_curvature(self, logits: Logits) -> Array:
        """s_i sum_k p_ik (1 - p_ik), (rows,)"""
        if isinstance(logits, FarLogits):
            return self.features.row_curvature(*halves(logits.point), self.labels, self.threads)
        out = np.empty(self.features.rows)
        _core.row_curvature(logits, self.labels, out, self.threads)
        return out

    def curvature_of_rows(self, logits: Logits, rows: NDArray[np.int64]) -> Array:
        """The same of some ascending rows, (len(rows),)."""
        weights, out = None if self.weights is None else self.weights[rows], np.empty(len(rows))
        labels = _core.Labels(self.codes[rows], weights, self.classes)
        _core.row_curvature(logits_of_rows(logits, rows), labels, out, self.threads)
        return out

    def along(self, logits: Array, direction: Array, step: float) -> tuple[float, float, float]:
        """Loss at logits + step * direction, with its first two derivatives in step."""
        loss, slope, curve = _core.along(logits, direction, step, self.labels, self.threads)
        return loss, slope, curve

    def gradient_at(
        self,
        point: Array,
        logits: Logits,
        move: tuple[Array, float] | None = None,
        correction: Array | None = None,
        single: bool = False,
    ) -> tuple[float, Array]:
        """P and its gradient at `point` from its logits, in one read of X.

        move: (direction, step), added to the logits in place first, if these are kept. correction: moves every p_i by
        -(diag p_i - p_i p_i') correction in the gradient.
        """
        if isinstance(logits, FarLogits):
            return self.value_and_gradient(point, single, correction)
        gradient = np.empty_like(point)
        direction, step = move if move is not None else (None, 0.0)
        loss = _core.gradient_at(
            self.features.design, logits, direction, step, self.labels, correction, gradient, self.threads, single
        )
        return loss + self.penalty_of(point), self._smooth(gradient, self.pull(point))

    def whole_step(
        self, moved: Array, logits: Array, direction: Array, along: Array, single: bool = False
    ) -> tuple[float, Array]:
        """P and its gradient at `moved` = the point of these logits + direction, in one read of X; along: gets the
        logits of the direction, (outputs, rows)."""
        gradient = np.empty_like(moved)
        loss = _core.whole_step(
            self.features.design, logits, np.ascontiguousarray(direction[:-1]), np.ascontiguousarray(direction[-1]),
            self.labels, along, gradient, self.threads, single,
        )  # fmt: skip
        return loss + self.penalty_of(moved), self._smooth(gradient, self.pull(moved))

    def of_some_columns(self, columns: NDArray[np.int64]) -> Objective:
        """The same with the weights of the other columns held at 0; for features that are all sparse."""
        return Objective(
            self.features.take_columns(columns), self.codes, self.classes, self.penalty, self.weights, self.threads,
            l1=self.l1, intercept=self.intercept,
        )  # fmt: skip

    def penalty_gap(self, point: Array, gradient: Array, loss: float, others: Others = NO_OTHERS) -> float:
        """The part of the duality gap that the gradient settles, for alpha_i = p_i, G = gradient - penalty W.

        sum over the weights of  f(w) + w G + f*(-G),  f(w) = penalty/2 w^2 + l1 |w|; without L1 that is
        |gradient|^2 / (2 penalty). Where l1 stands alone f* is infinite for |G| > l1: then alpha_i is drawn towards y_i
        by the share 1 - c = 1 - l1 / max |G|, which costs at most (1 - c) loss (KL is convex, and KL(y_i || p_i) is
        the loss). Gap Safe screening uses the same scaling (Ndiaye et al., JMLR 2017, section 3). others: the weights
        that are not in the point, all 0.
        """
        w, g = point[:-1], gradient[:-1]
        if self.prior is not None:
            return float(np.sum(gradient * gradient / (2 * self.stiffness())))
        if not self.l1:
            return dot(g, g) / (2 * self.penalty) if self.penalty > 0 else np.inf
        pull = g - self.penalty * w  # G
        size = np.abs(pull)
        if self.penalty > 0:
            beyond = np.maximum(size - self.l1, 0.0)
            convex = self.l1 * np.abs(w) + w * (0.5 * self.penalty * w + pull) + beyond * beyond / (2 * self.penalty)
            return max(float(np.sum(convex)), 0.0) + others.excess / (2 * self.penalty)
        share = min(1.0, self.l1 / max(float(size.max(initial=others.peak)), 1e-300))
        return max(float(np.sum(self.l1 * np.abs(w) + share * w * pull)), 0.0) + (1.0 - share) * loss

    def certify(self, point: Array, logits: Logits, others: Callable[[Array | None], Others] = none_beside) -> Gap:
        """A duality gap at this point, by two reads of X.

        For any alpha_i in the simplex with sum_i s_i (alpha_i - y_i) = 0 (which the free intercepts demand),
        P(W) - D(alpha) = sum_i s_i KL(alpha_i || p_i) + penalty_gap at G = X'S(alpha - Y).
        We take alpha = p - (diag p - p p') c with c = H_b^+ g_b, H_b and g_b the curvature and gradient of the
        intercepts: it meets the demand exactly, is in the simplex while |c| <= 1/2, and its KL term is at most
        the chi-square distance c' g_b. If |c| is larger, or no c
        solves H_b c = g_b up to rounding, the gap is infinite (nothing proven yet). others tells for a c of the weights
        that are not in the point.
        """
        value, gradient = self.gradient_at(point, logits)
        loss = value - self.penalty_of(point)
        if not self.intercept or self.prior is not None:  # no demand: there is no b, or a prior holds it
            return Gap(value, self.penalty_gap(point, gradient, loss, others(None)))
        return self.certify_by(self.intercept_step(logits, gradient[-1]), point, logits, value, gradient[-1], others)

    def certify_by(
        self, step: Array | None, point: Array, logits: Logits, value: float, slope: Array,
        others: Callable[[Array | None], Others] = none_beside,
    ) -> Gap:  # fmt: skip
        """The gap of `certify` for a c that is known, where P is `value` and the gradient of the intercepts `slope`."""
        if step is None or np.abs(step).max() > 0.5:
            return Gap(value, float("inf"))
        _, moved = self.gradient_at(point, logits, correction=step)
        left = self.penalty_gap(point, moved, value - self.penalty_of(point), others(step))
        return Gap(value, left + max(float((step * slope).sum()), 0.0))

    def intercept_correction(self, logits: Logits, slope: Array) -> Array | None:
        """The c of `certify` for the gradient of the intercepts; None if it proves nothing."""
        step = self.intercept_step(logits, slope)
        return step if step is not None and np.abs(step).max() <= 0.5 else None

    def intercept_step(self, logits: Logits, slope: Array) -> Array | None:
        """H_b^+ g_b: minus the step of Newton's method for the intercepts; None where rounding leaves no solution."""
        if isinstance(logits, FarLogits):
            hessian = self.features.intercept_curvature(*halves(logits.point), self.labels, self.threads)
        else:
            hessian = np.empty((self.outputs, self.outputs))
            _core.intercept_curvature(logits, self.labels, hessian, self.threads)
        correction = np.empty(self.outputs)
        solved = _core.solve_symmetric(hessian.copy(), slope, 1e-13, correction)
        solved &= bool(np.abs((hessian * correction).sum(axis=1) - slope).max() <= 1e-12 * self.total)
        return correction if solved else None
