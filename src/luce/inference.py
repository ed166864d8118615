"""Standard errors and p-values of a fit, from its observed information."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.errors import InputError
from luce.features import Array
from luce.objective import Objective

NOTHING = (
    "the information of some weights is zero (columns that repeat each other, or classes that are separable): "
    "drop such columns, or set l2 above 0"
)
UNPENALISED = 1e-8  # a strength up to which the penalty only stands in for none
MOST_NUMBERS = 4000  # weights and intercepts of one fit: their covariance is a square of that side


@dataclass(frozen=True)
class Inference:
    """How sure each weight is, against the first class: rows are the other classes, columns the features, then b.

    estimates: w_k - w_0 and b_k - b_0, (K - 1, d + 1); two classes have one row, the weights themselves. errors: their
    standard errors; z = estimates / errors; p_values: two-sided, of the normal distribution; covariance: of the
    estimates, row by row, ((K - 1)(d + 1)) square. note says what these numbers do not.
    """

    estimates: Array
    errors: Array
    z: Array
    p_values: Array
    covariance: Array
    note: str

    def in_units(self, factors: Array) -> Inference:
        """The same for columns that were multiplied by these factors, (d,), before the fit."""
        times = np.append(factors, np.ones(self.estimates.shape[1] - len(factors)))
        each = np.tile(times, len(self.estimates))
        covariance = self.covariance * each * each[:, np.newaxis]
        return replace(self, estimates=self.estimates * times, errors=self.errors * times, covariance=covariance)

    def intervals(self, level: float = 0.95) -> tuple[Array, Array]:
        """Lower and upper ends of the intervals that hold each weight with this probability, by the normal law."""
        from statistics import NormalDist

        if not 0 < level < 1:
            raise InputError(f"level is {level!r}: give a number between 0 and 1, such as 0.95")
        width = NormalDist().inv_cdf(0.5 + level / 2) * self.errors
        return self.estimates - width, self.estimates + width


def infer(objective: Objective, point: Array, logits: Array, weight: float = 1.0) -> Inference:
    """Standard errors at the optimum: covariance = A^-1 B A^-1, B the Hessian of the loss, A that of the objective.

    weight: the mean weight of a row before the weights were scaled to mean 1; a weight of 2 tells as much as two rows.

    Both in the weights against the first class. Without a penalty that is B^-1, the inverse observed information; with
    one the weights are drawn towards 0, and the errors are those of the estimates about their own mean.
    Source: Agresti, Categorical Data Analysis, 3rd ed., 8.1.5; Gray, JASA 87, 1992, for the penalised form.
    Raises InputError for an L1 penalty and for more than 4,000 numbers.
    """
    o = objective
    if o.l1:
        raise InputError("inference works without l1: weights at exactly 0 have no standard error; set l1=0")
    rows = o.features.columns + (1 if o.intercept else 0)
    others = max(o.outputs - 1, 1)
    size = others * rows
    if size > MOST_NUMBERS:
        raise InputError(f"inference on {size} weights: at most {MOST_NUMBERS} can be done; drop columns or classes")
    whole, loss = np.empty((size, size)), np.empty((size, size))
    for at in range(size):
        direction = np.zeros_like(point)
        direction[at % rows, -1 if o.outputs == 1 else at // rows + 1] = 1.0
        product = o.hessian_product(logits, direction)
        kept = product[:rows] if o.outputs == 1 else product[:rows, 1:]
        pulled = (o.stiffness() * direction)[:rows]
        pulled = pulled if o.outputs == 1 else pulled[:, 1:]
        whole[at] = kept.T.ravel()
        loss[at] = (kept - pulled).T.ravel()
    if o.outputs > 1 and o.penalty > 0:  # |W|^2 in the weights against the first class, the others' mean taken out
        free = np.eye(others) - 1.0 / o.outputs
        ridge = np.zeros(rows)
        ridge[: o.features.columns] = o.penalty
        whole = loss + np.kron(free, np.diag(ridge))
    if o.penalty <= UNPENALISED * o.total:
        _check(loss)
    inverse = _inverse(whole)
    covariance = (inverse @ loss @ inverse if o.penalty > 0 else inverse) / weight
    estimates = (point[:rows] if o.outputs == 1 else point[:rows, 1:] - point[:rows, :1]).T
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0)).reshape(estimates.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = estimates / errors
    p_values = np.array([math.erfc(abs(v) / math.sqrt(2)) if math.isfinite(v) else math.nan for v in z.ravel()])
    return Inference(estimates, errors, z, p_values.reshape(z.shape), covariance, _note(o))


def _check(loss: Array) -> None:
    """Raises InputError if the loss says nothing of some direction, scale aside."""
    size = np.sqrt(np.diag(loss))
    if size.min() > 0 and np.linalg.eigvalsh(loss / size / size[:, np.newaxis]).min() > 1e-10:
        return
    raise InputError(NOTHING)


def _inverse(matrix: Array) -> NDArray[Any]:
    try:
        factor = np.linalg.cholesky((matrix + matrix.T) / 2)
    except np.linalg.LinAlgError:
        raise InputError(NOTHING) from None
    half = np.linalg.solve(factor, np.eye(len(matrix)))
    return np.asarray(half.T @ half)


def _note(o: Objective) -> str:
    if o.penalty <= UNPENALISED * o.total:
        return "from the observed information at the maximum of the likelihood; exact as the rows grow in number"
    return (
        f"penalised (l2 {o.penalty / o.total:.3g}): weights are drawn towards 0, so errors tell the spread of these "
        "weights about their own mean, not about the weights of the population; for the usual tests fit with l2=0"
    )
