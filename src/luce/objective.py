"""The objective: cross-entropy of X W + b plus an L2 penalty; value, gradient, Hessian product, certificate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array, Features


@dataclass(frozen=True)
class Gap:
    """A lower bound on the best value there is: value - gap <= min P. In units of P (sums, not means)."""

    value: float
    gap: float


class Objective:
    """P(W, b) = sum_i s_i [logsumexp(z_i) - z_i[y_i]] + penalty/2 |W|^2 with z = X W + b.

    Two classes have one column, the logit of the second class over the first (the sigmoid); K > 2 classes have K.
    The intercepts b are not penalised. Points are (columns + 1, outputs) float64, the last row is b;
    logits are (outputs, rows). With `single`, the products with X may be rounded to float32, if X itself is no more
    exact than that; losses and softmax stay double.
    """

    def __init__(
        self,
        features: Features,
        codes: NDArray[np.int32],
        classes: int,
        penalty: float,
        weights: Array | None = None,
        threads: int = 1,
    ) -> None:
        self.features = features
        self.classes = classes
        self.outputs = 1 if classes == 2 else classes
        self.penalty = float(penalty)
        self.threads = threads
        self.weights = weights
        self.total = float(features.rows if weights is None else weights.sum())
        self.labels = _core.Labels(codes, weights, classes)
        self._shares = np.bincount(codes, weights=weights, minlength=classes) / self.total

    def start(self) -> Array:
        """W = 0 and the intercepts that fit the class shares (a class without weight gets a share of 1e-9)."""
        point = np.zeros((self.features.columns + 1, self.outputs))
        log_shares = np.log(np.maximum(self._shares, 1e-9))
        point[-1] = log_shares[1] - log_shares[0] if self.outputs == 1 else log_shares - log_shares.mean()
        return point

    def logits(self, point: Array, single: bool = False) -> Array:
        weights, bias = np.ascontiguousarray(point[:-1]), np.ascontiguousarray(point[-1])
        return self.features.logits(weights, bias, self.threads, single)

    def penalty_of(self, point: Array) -> float:
        return 0.5 * self.penalty * float(np.sum(point[:-1] ** 2))

    def value_and_gradient(self, point: Array, single: bool = False) -> tuple[float, Array]:
        """P and its gradient in one read of X."""
        gradient = np.empty_like(point)
        loss = _core.cross_entropy(
            self.features.design, np.ascontiguousarray(point[:-1]), np.ascontiguousarray(point[-1]), self.labels,
            gradient, self.threads, single,
        )  # fmt: skip
        gradient[:-1] += self.penalty * point[:-1]
        return loss + self.penalty_of(point), gradient

    def hessian_product(self, logits: Array, direction: Array, single: bool = False) -> Array:
        """The Hessian of P at the point that has these logits, times a direction."""
        product = np.empty_like(direction)
        _core.hessian_product(
            self.features.design, logits, self.labels, np.ascontiguousarray(direction[:-1]),
            np.ascontiguousarray(direction[-1]), product, self.threads, single,
        )  # fmt: skip
        product[:-1] += self.penalty * direction[:-1]
        return product

    def along(self, logits: Array, direction: Array, step: float) -> tuple[float, float, float]:
        """Loss at logits + step * direction, with its first two derivatives in step."""
        loss, slope, curve = _core.along(logits, direction, step, self.labels, self.threads)
        return loss, slope, curve

    def gradient_at(
        self,
        point: Array,
        logits: Array,
        move: tuple[Array, float] | None = None,
        correction: Array | None = None,
        single: bool = False,
    ) -> tuple[float, Array]:
        """P and its gradient at `point` from its logits, in one read of X.

        move: (direction, step), added to the logits in place first. correction: moves every p_i by
        -(diag p_i - p_i p_i') correction in the gradient.
        """
        gradient = np.empty_like(point)
        direction, step = move if move is not None else (None, 0.0)
        loss = _core.gradient_at(
            self.features.design, logits, direction, step, self.labels, correction, gradient, self.threads, single
        )
        gradient[:-1] += self.penalty * point[:-1]
        return loss + self.penalty_of(point), gradient

    def certify(self, point: Array, logits: Array) -> Gap:
        """A duality gap at this point, by two reads of X.

        For any alpha_i in the simplex with sum_i s_i (alpha_i - y_i) = 0 (which the free intercepts demand),
        P(W) - D(alpha) = sum_i s_i KL(alpha_i || p_i) + |penalty W + X'S(alpha - Y)|^2 / (2 penalty).
        We take alpha = p - (diag p - p p') c with c = H_b^+ g_b, H_b and g_b the curvature and gradient of the
        intercepts: it meets the demand exactly, is in the simplex while |c| <= 1/2, and its KL term is at most
        the chi-square distance c' g_b. If |c| is larger, or no c
        solves H_b c = g_b up to rounding, the gap is infinite (nothing proven yet).
        """
        value, gradient = self.gradient_at(point, logits)
        slope = gradient[-1]
        hessian = np.empty((self.outputs, self.outputs))
        _core.intercept_curvature(logits, self.labels, hessian, self.threads)
        correction = np.empty(self.outputs)
        solved = _core.solve_symmetric(hessian.copy(), slope, 1e-13, correction)
        solved &= bool(np.abs((hessian * correction).sum(axis=1) - slope).max() <= 1e-12 * self.total)
        if not (solved and np.abs(correction).max() <= 0.5 and self.penalty > 0):
            return Gap(value, float("inf"))
        _, moved = self.gradient_at(point, logits, correction=correction)
        left = float(np.sum(moved[:-1] ** 2)) / (2 * self.penalty)
        return Gap(value, left + max(float((correction * slope).sum()), 0.0))
