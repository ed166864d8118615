"""Plain oracles: the formulas of the library written once more, slowly, so that they can be read and believed.

The softmax family and the exact objective work with 50 decimal digits (mpmath), the rest with NumPy in float64.
Points are (columns + 1, outputs), the last row is the intercept; two classes have one output, the logit of the second.
"""

from __future__ import annotations

from collections.abc import Sequence

import mpmath
import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce.features import Features

Array = NDArray[np.float64]
Exact = mpmath.mpf

mpmath.mp.dps = 50


# --- the softmax family, one row -----------------------------------------------------------------------------------


def exact(row: ArrayLike) -> list[Exact]:
    return [mpmath.mpf(float(value)) for value in np.asarray(row)]


def _shifted(row: ArrayLike) -> tuple[list[Exact], Exact, Exact]:
    """z - max z, max z, and the sum of exp(z - max z) without the largest: no digit is lost where p is near 1."""
    z = exact(row)
    top = max(z)
    place = z.index(top)
    rest = mpmath.fsum(mpmath.exp(v - top) for i, v in enumerate(z) if i != place)
    return [v - top for v in z], top, rest


def softmax(row: ArrayLike) -> list[Exact]:
    shifted, _, rest = _shifted(row)
    return [mpmath.exp(d) / (1 + rest) for d in shifted]


def log_softmax(row: ArrayLike) -> list[Exact]:
    shifted, _, rest = _shifted(row)
    return [d - mpmath.log1p(rest) for d in shifted]


def logsumexp(row: ArrayLike) -> Exact:
    _, top, rest = _shifted(row)
    return top + mpmath.log1p(rest)


def sigmoid(z: float) -> Exact:
    return 1 / (1 + mpmath.exp(-mpmath.mpf(float(z))))


def distances(got: ArrayLike, wanted: Sequence[Exact]) -> Array:
    """got - wanted, exactly subtracted."""
    return np.array([float(g - w) for g, w in zip(np.asarray(got, dtype=np.float64).tolist(), wanted, strict=True)])


def roundings(got: ArrayLike, wanted: Sequence[Exact]) -> Array:
    """Relative errors in units of 2^-53, half the distance of two doubles at 1."""
    pairs = zip(np.asarray(got, dtype=np.float64).tolist(), wanted, strict=True)
    return np.array([float(abs(g - w) / abs(w)) * 2.0**53 if w else abs(g) * np.inf for g, w in pairs])


def ulps(got: NDArray[np.floating], wanted: Sequence[Exact]) -> Array:
    """Errors in units of the last place, of the dtype of `got`, of the exact results (also for subnormal ones)."""
    info = np.finfo(got.dtype)
    out = []
    for g, w in zip(got.tolist(), wanted, strict=True):
        exponent = mpmath.frexp(w)[1] - 1 if w else info.minexp
        out.append(float(mpmath.ldexp(abs(g - w), info.nmant - max(exponent, info.minexp))))
    return np.array(out)


# --- the objective -------------------------------------------------------------------------------------------------


def dense(features: Features) -> Array:
    """The design matrix as one array, the sparse part filled in entry by entry."""
    wide = np.zeros((features.rows, features.sparse_columns))
    if features.starts is not None and features.indices is not None:
        values = np.ones(len(features.indices)) if features.values is None else features.values.astype(np.float64)
        np.add.at(wide, (np.repeat(np.arange(features.rows), np.diff(features.starts)), features.indices), values)
    return wide if features.dense is None else np.column_stack([features.dense.astype(np.float64), wide])


def logits(x: Array, point: Array) -> Array:
    """(rows, classes): two classes have the logits 0 and x w + b."""
    z = x @ point[:-1] + point[-1]
    return np.column_stack([np.zeros(len(z)), z]) if z.shape[1] == 1 else z


def probabilities(x: Array, point: Array) -> Array:
    z = logits(x, point)
    return np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))


def objective(x: Array, codes: NDArray[np.int32], penalty: float, weights: Array, point: Array) -> float:
    z = logits(x, point)
    losses = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), codes]
    return float(weights @ losses + penalty / 2 * np.sum(point[:-1] ** 2))


def residual(x: Array, codes: NDArray[np.int32], weights: Array, point: Array) -> Array:
    """weights (p - onehot), (rows, outputs)."""
    p = probabilities(x, point)
    p[np.arange(len(p)), codes] -= 1
    return (weights[:, None] * p)[:, -point.shape[1] :]


def gradient(x: Array, codes: NDArray[np.int32], penalty: float, weights: Array, point: Array) -> Array:
    r = residual(x, codes, weights, point)
    return np.vstack([x.T @ r + penalty * point[:-1], r.sum(axis=0)])


def hessian(x: Array, penalty: float, weights: Array, point: Array) -> Array:
    """The full matrix; its rows and columns run over points row by row."""
    p = probabilities(x, point)[:, -point.shape[1] :]
    inner = np.einsum("ik,kl->ikl", p, np.eye(p.shape[1])) - np.einsum("ik,il->ikl", p, p)
    ones = np.column_stack([x, np.ones(len(x))])
    whole = np.einsum("i,ij,ikl,im->jkml", weights, ones, inner, ones, optimize=True).reshape(point.size, point.size)
    return whole + np.diag(np.append(np.full(point.size - p.shape[1], penalty), np.zeros(p.shape[1])))


def optimum(x: Array, codes: NDArray[np.int32], classes: int, penalty: float, weights: Array) -> Array:
    """Newton's method with halved steps; least squares, since a constant on all intercepts changes nothing."""
    point = np.zeros((x.shape[1] + 1, 1 if classes == 2 else classes))
    for _ in range(100):
        slope = gradient(x, codes, penalty, weights, point)
        step = np.linalg.lstsq(hessian(x, penalty, weights, point), slope.ravel(), rcond=1e-14)[0].reshape(point.shape)
        now, size = objective(x, codes, penalty, weights, point), 1.0
        while size > 1e-3 and objective(x, codes, penalty, weights, point - size * step) > now:
            size /= 2
        point = point - size * step
        if np.abs(step).max() <= 1e-14 * (1 + np.abs(point).max()):
            break
    return point


def exact_objective(x: Array, codes: NDArray[np.int32], penalty: float, weights: Array, point: Array) -> Exact:
    """The objective at this very point with 50 digits."""
    w = [exact(column) for column in point.T]
    total = mpmath.mpf(penalty) / 2 * mpmath.fsum(v * v for column in w for v in column[:-1])
    for row, code, weight in zip(x, codes, weights, strict=True):
        z = [mpmath.fdot([*exact(row), mpmath.mpf(1)], column) for column in w]
        z = [mpmath.mpf(0), *z] if len(z) == 1 else z
        top = max(z)
        total += mpmath.mpf(weight) * (top + mpmath.log(mpmath.fsum(mpmath.exp(v - top) for v in z)) - z[int(code)])
    return total
