"""Calibration: a map from logits to logits, fitted on logits of rows that the model never saw; kept only if it helps.

Four maps, each a special case of the next (two classes have one logit, and no matrix):

    none         z
    temperature  t z
    vector       a * z + b, a number for each class
    matrix       A z + b, drawn towards the vector map

Logits of more than two classes are centred first, as a constant added to all of them means nothing. Each fit is convex,
and ends where the mean loss is 1/n: n rows that are all right do not say that the next n will be. For the same reason
a map is kept only if it would help even with one more row that is wrong.
Source: Guo et al., On calibration of modern neural networks, ICML 2017; Kull et al., Beyond temperature scaling,
NeurIPS 2019 (the matrix on logits, held back off its diagonal).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce import _core
from luce.arrays import array_of
from luce.errors import InputError, ModelFileError, warn
from luce.features import Array, Features
from luce.functional import available_threads, sigmoid, softmax
from luce.inputs import classes_of, codes_among, weights_of
from luce.objective import Objective
from luce.path import row_losses
from luce.solver import minimise
from luce.splits import dealt_as_copies, kfold_of_groups

FOLDS = 5
CLEAR = 2.0  # standard errors of the difference by which a map must lower the log loss
RANGE = 2.0**-6, 2.0**6  # of a temperature's inverse: beyond, a factor says no more than that all rows are right
MOST_CLASSES = {"vector": 200, "matrix": 30}  # with more a map has too many numbers for any set of rows
HELD_ROWS = 100.0  # a matrix is held near the vector map as firmly as so many rows would
KINDS = ("none", "temperature", "vector", "matrix")
LEFT = 1e-9  # nats a row: what the fit of a vector may leave
PAIRS = 30  # steps that it remembers
ENOUGH = 1_000_000  # logits of held-out rows, on which it is settled which map is kept; of more, every so many-th row


@dataclass(frozen=True)
class Calibration:
    """A map from logits to logits: z -> matrix z + bias, after centring (see the module).

    kind: "none", "temperature", "vector" or "matrix". matrix: (outputs, outputs), bias: (outputs,), float64; two
    classes have one output. before, after: mean log loss in nats of the logits given, and of the calibrated ones on
    rows that the map was not fitted on; error: the standard error of their difference. rows: how many there were.
    """

    kind: str
    matrix: Array
    bias: Array
    before: float
    after: float
    error: float
    rows: int

    def apply(self, logits: ArrayLike, threads: int | None = None) -> Array:
        """Calibrated logits in the shape of those given: (n, K), or for two classes (n,), (n, 1) or (n, 2). Raises
        InputError for shapes of another number of classes."""
        given = np.asarray(logits, dtype=np.float64)
        z = _columns(given)
        if both := len(self.bias) == 1 and z.shape[1] == 2:
            z = z[:, 1:] - z[:, :1]
        if z.shape[1] != len(self.bias):
            raise InputError(f"logits have {z.shape[1]} columns, but the calibration is for {len(self.bias)}")
        if self.kind != "none":
            z = np.ascontiguousarray(self.on(_centred(z), available_threads(threads) if threads is None else threads).T)
        if both:
            return np.concatenate([-0.5 * z, 0.5 * z], axis=1)
        return z[:, 0] if given.ndim == 1 else z

    def on(self, z: Array, threads: int) -> Array:
        """The map on centred logits, (outputs, n)."""
        if self.kind == "matrix":
            features = Features(z.shape[1], dense=z.T)
            return features.logits(np.ascontiguousarray(self.matrix.T), self.bias, threads)
        return np.asarray(np.diagonal(self.matrix)[:, np.newaxis] * z + self.bias[:, np.newaxis])

    def probabilities(self, logits: ArrayLike, threads: int | None = None) -> Array:
        """Calibrated probabilities, (n, K); each row sums to 1."""
        z = _columns(self.apply(logits, threads))
        if z.shape[1] > 1:
            return np.asarray(softmax(z))
        return np.concatenate([sigmoid(-z), sigmoid(z)], axis=1)

    def shifted(self, by: Array) -> Calibration:
        """The map that adds (outputs,) to what this one gives."""
        kind = self.kind if self.kind in ("vector", "matrix") else "vector"
        return replace(self, kind=kind, bias=self.bias + by)

    def sentence(self) -> str:
        gain = f"log loss {self.before:.4g} -> {self.after:.4g} on {self.rows:,} rows held out"
        if self.kind == "none":
            return f"no map of the logits lowers the log loss of {self.before:.4g} on {self.rows:,} rows held out"
        if not self.matrix.any():
            return f"the logits tell nothing, so each row has the shares of the classes: {gain}"
        how = {"temperature": f"all logits times {self.matrix[0, 0]:.3g}", "vector": "a factor and a shift a class"}
        return f"{self.kind} scaling ({how.get(self.kind, 'each class hears all logits')}): {gain}"


def no_calibration(outputs: int) -> Calibration:
    return Calibration("none", np.eye(outputs), np.zeros(outputs), 0.0, 0.0, 0.0, 0)


def calibrate(
    logits: ArrayLike,
    y: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Calibration:
    """The map that makes logits of any model calibrated, if one lowers their log loss beyond its noise.

    logits: (n, K), columns in the order of `classes` (by default the sorted labels), or for two classes (n,), the logit
    of the second class over the first. They must be of rows that the model was not fitted on. y: labels (n,).
    Maps are compared by the log loss of rows that they were not fitted on, in five folds dealt by `seed`; the one that
    is kept is then fitted to all rows.
    Raises InputError for numbers that are not finite, shapes that differ, labels that are no class, and probabilities
    in place of logits.
    """
    z = _columns(array_of(logits, "logits").astype(np.float64))
    if not np.isfinite(z).all():
        row = int(np.argmin(np.isfinite(z).all(axis=1)))
        raise InputError(f"row {row} of logits (counting from 0) is not finite: leave such rows out")
    if classes is None:
        known, codes = classes_of(y, len(z))
    else:
        known = np.asarray(classes)
        codes = codes_among(y, known, len(z))
    if z.shape[1] not in ((1, 2) if len(known) == 2 else (len(known),)):
        raise InputError(f"logits have {z.shape[1]} columns for {len(known)} classes: give one for each class")
    if z.shape[1] > 1 and _are_probabilities(z):
        raise InputError("these are probabilities, not logits: give their logarithms")
    if z.shape[1] == 1 and len(z) > 1 and z.min() >= 0.0 and z.max() <= 1.0:
        warn("all logits lie between 0 and 1: if they are probabilities of the second class, give log(p / (1 - p))")
    if len(known) == 2 and z.shape[1] == 2:
        z = z[:, 1:] - z[:, :1]
    weights = None if sample_weight is None else weights_of(sample_weight, len(z))
    cores = available_threads(threads)
    rows = Features(len(z), dense=z)
    strata, keys = dealt_as_copies(codes, rows.hashes(seed, cores), rows.different())
    return choose(z, codes, len(known), weights, keys, cores, strata=strata)


def choose(
    logits: Array,
    codes: NDArray[np.int32],
    classes: int,
    weights: Array | None,
    keys: NDArray[np.uint64],
    threads: int,
    kinds: Sequence[str] = KINDS,
    strata: NDArray[np.integer] | None = None,
) -> Calibration:
    """As `calibrate`, for logits (n, outputs), codes, and what rows are dealt to folds by: their keys and strata (by
    default the codes), as `dealt_as_copies` gives them. kinds: the first of KINDS, the only ones that are tried."""
    whole = _Rows(_centred(logits), codes, classes, np.ones(len(codes)) if weights is None else weights, threads)
    outputs = len(whole.z)
    step = -(-len(codes) * outputs // ENOUGH)
    rows = whole.every(step) if step > 1 else whole
    fold = kfold_of_groups((codes if strata is None else strata)[::step], keys[::step], FOLDS)
    kept, losses = no_calibration(outputs), rows.losses(no_calibration(outputs))
    before, error = rows.mean(losses), 0.0
    all_present = len(np.unique(rows.codes[rows.weights > 0])) == classes  # nothing is known of the others' own numbers
    for kind in kinds[1:]:
        if outputs > MOST_CLASSES.get(kind, outputs) or (
            kind == "matrix" and (outputs == 1 or kept.kind != "vector" or not kept.matrix.any())
        ):
            continue
        if kind != "temperature" and not all_present:
            continue
        held_out = np.empty(len(fold))
        for f in range(FOLDS):
            out = fold == f
            if out.any():
                held_out[out] = rows.losses(_FITS[kind](rows.without(out)))[out]
        gain = losses - held_out
        noise = rows.error(gain)
        if rows.mean(gain) <= CLEAR * noise:
            continue
        fit = _FITS[kind](whole)
        if rows.mean(gain) - rows.one_more_wrong(fit, kept) > CLEAR * noise:
            kept, losses, error = fit, held_out, noise
    return Calibration(kept.kind, kept.matrix, kept.bias, before, rows.mean(losses), error, len(codes))


def shrunk(logits: Array, codes: NDArray[np.int32], classes: int, weights: Array | None, threads: int) -> Calibration:
    """The temperature, where it makes logits (n, outputs) smaller, whether its gain is beyond noise or not: of few rows
    a model that may be too sure is better less so."""
    rows = _Rows(_centred(logits), codes, classes, np.ones(len(codes)) if weights is None else weights, threads)
    fit, none = _temperature(rows), no_calibration(len(rows.z))
    before, after = (rows.mean(rows.losses(each)) for each in (none, fit))
    kept, loss = (fit, after) if fit.matrix[0, 0] < 1 else (none, before)
    return replace(kept, before=before, after=loss, error=0.0, rows=len(codes))


@dataclass(frozen=True)
class _Rows:
    """Centred logits (outputs, n), codes, and weights that may be 0."""

    z: Array
    codes: NDArray[np.int32]
    classes: int
    weights: Array
    threads: int

    def without(self, out: NDArray[np.bool_]) -> _Rows:
        return _Rows(self.z, self.codes, self.classes, np.where(out, 0.0, self.weights), self.threads)

    def every(self, step: int) -> _Rows:
        """Every so many-th row."""
        z = np.ascontiguousarray(self.z[:, ::step])
        return _Rows(
            z, np.ascontiguousarray(self.codes[::step]), self.classes, self.weights[::step].copy(), self.threads
        )

    def losses(self, calibration: Calibration) -> Array:
        return row_losses(np.ascontiguousarray(calibration.on(self.z, self.threads).T), self.codes)

    def mean(self, values: Array) -> float:
        return float(np.sum(values * self.weights) / np.sum(self.weights))

    @property
    def least(self) -> float:
        """The sum of losses below which no map goes: 1/n in the mean, as n rows say nothing of less."""
        return float(self.weights.sum() / np.count_nonzero(self.weights))

    def one_more_wrong(self, fit: Calibration, kept: Calibration) -> float:
        """What `fit` would lose more than `kept` in the mean, at least 0, if one of these rows were of the class that
        it is next most likely of; the mean over which row that is."""
        z = self.z if len(self.z) > 1 else np.concatenate([np.zeros_like(self.z), self.z])
        next_class = np.argsort(z, axis=0, kind="stable")[-2].astype(np.int32)
        others = replace(self, codes=next_class)
        more = self.mean(others.losses(fit) - others.losses(kept))
        return max(0.0, more) / np.count_nonzero(self.weights)

    def error(self, values: Array) -> float:
        """The standard error of the weighted mean."""
        off = self.weights * (values - self.mean(values))
        return float(np.sqrt(np.sum(off**2)) / np.sum(self.weights))


def _temperature(rows: _Rows) -> Calibration:
    """Newton's steps on the one factor, between bounds that close in."""
    labels = _core.Labels(rows.codes, rows.weights, rows.classes)
    zero, (low, high), factor = np.zeros_like(rows.z), RANGE, 1.0
    for _ in range(60):
        _, slope, curve = _core.along(zero, rows.z, factor, labels, rows.threads)
        low, high = (low, factor) if slope > 0 else (factor, high)
        step = factor - slope / curve if curve > 0 else high
        step = step if low < step < high else (low * high) ** 0.5
        if abs(step - factor) <= 1e-10 * factor:
            break
        factor = step
    enough = 1.0  # logits that tell all rows are not made larger than it takes to lose 1/n
    while factor > enough and _core.along(zero, rows.z, factor, labels, rows.threads)[0] < rows.least:
        middle = (enough * factor) ** 0.5
        if middle - enough <= 1e-10 * enough:
            factor = enough
        elif _core.along(zero, rows.z, middle, labels, rows.threads)[0] < rows.least:
            factor = middle
        else:
            enough = middle
    outputs = len(rows.z)
    return Calibration("temperature", factor * np.eye(outputs), np.zeros(outputs), 0.0, 0.0, 0.0, 0)


def _vector(rows: _Rows) -> Calibration:
    """L-BFGS in the metric of each class's own curvature, which bounds that of all together."""
    start = _temperature(rows)
    outputs = len(rows.z)
    labels = _core.Labels(rows.codes, rows.weights, rows.classes)
    point = np.stack([np.diagonal(start.matrix), start.bias])
    residual = np.empty_like(rows.z)

    def gradient(at: Array) -> tuple[float, Array]:
        logits = at[0][:, np.newaxis] * rows.z + at[1][:, np.newaxis]
        loss = _core.residuals(logits, labels, None, residual, rows.threads)
        return loss, np.stack([np.einsum("kn,kn->k", residual, rows.z), residual.sum(axis=1)])

    pairs = _core.QuasiNewton(np.arange(2), np.empty(0, dtype=np.int64), outputs, PAIRS)
    pairs.take_metric(np.eye(outputs), _own_curvature(rows, point), np.empty((outputs, 0)))
    loss, slope = gradient(point)
    for _ in range(100):
        step = np.empty_like(point)
        along = pairs.direction(slope, step, rows.threads)
        if not -along > LEFT * rows.weights.sum() or loss <= rows.least:  # about twice what is left
            break
        size = 1.0
        while size > 1e-8:
            moved_loss, moved_slope = gradient(point + size * step)
            if moved_loss <= loss + 1e-4 * size * along:
                break
            size /= 2
        else:
            break
        if moved_loss < rows.least:
            low = 0.0
            for _ in range(50):
                middle = (low + size) / 2
                low, size = (low, middle) if gradient(point + middle * step)[0] < rows.least else (middle, size)
            point = point + size * step
            break
        pairs.remember(size * step, moved_slope - slope, rows.threads)
        point, loss, slope = point + size * step, moved_loss, moved_slope
    return Calibration("vector", np.diag(point[0]), point[1].copy(), 0.0, 0.0, 0.0, 0)


def _own_curvature(rows: _Rows, point: Array) -> Array:
    """Cholesky factors of sum_i s_i p_ik (1 - p_ik) [z_ik, 1]'[z_ik, 1] for each class k, (outputs, 2, 2)."""
    logits = point[0][:, np.newaxis] * rows.z + point[1][:, np.newaxis]
    p = sigmoid(logits) if len(logits) == 1 else softmax(logits, axis=0)
    curve = rows.weights * p * (1.0 - p)
    out = np.zeros((len(logits), 2, 2))
    for at, powers in (((0, 0), rows.z**2), ((1, 0), rows.z), ((1, 1), np.ones_like(rows.z))):
        out[:, at[0], at[1]] = np.einsum("kn,kn->k", curve, powers)
    least = 1e-6 * float(rows.weights.sum())
    first = np.sqrt(out[:, 0, 0] + least)
    out[:, 0, 0], out[:, 1, 0] = first, out[:, 1, 0] / first
    out[:, 1, 1] = np.sqrt(np.maximum(out[:, 1, 1] + least - out[:, 1, 0] ** 2, least))
    return out


def _matrix(rows: _Rows) -> Calibration:
    """The certified softmax regression on the logits, held near the vector map."""
    near = _vector(rows)
    if float(np.sum(rows.losses(near) * rows.weights)) <= rows.least:
        return near
    held = np.vstack([near.matrix.T, near.bias])
    total = float(rows.weights.sum())
    spread = np.append(np.einsum("kn,kn,n->k", rows.z, rows.z, rows.weights) / total, 1.0)
    firmness = np.repeat(HELD_ROWS * np.maximum(spread, 1e-9)[:, np.newaxis], len(rows.z), axis=1)
    objective = Objective(
        Features(rows.z.shape[1], dense=rows.z.T), rows.codes, rows.classes, 0.0, rows.weights, rows.threads,
        prior=(held, firmness),
    )  # fmt: skip
    point = minimise(objective, 1e-12, start=held).point
    return Calibration("matrix", np.ascontiguousarray(point[:-1].T), point[-1].copy(), 0.0, 0.0, 0.0, 0)


def _vector_or_shares(rows: _Rows) -> Calibration:
    """The vector map; where it says that every class is the likelier, the smaller its logit, which few rows may say by
    chance, or logits that are worth nothing, the class shares alone."""
    fit = _vector(rows)
    if np.diagonal(fit.matrix).max() > 0:
        return fit
    zero = replace(rows, z=np.zeros_like(rows.z))
    return replace(fit, matrix=np.zeros_like(fit.matrix), bias=_vector(zero).bias)


_FITS: Mapping[str, Callable[[_Rows], Calibration]] = {
    "temperature": _temperature, "vector": _vector_or_shares, "matrix": _matrix,
}  # fmt: skip


def _columns(logits: Array) -> Array:
    if logits.ndim == 1:
        return logits[:, np.newaxis]
    if logits.ndim != 2 or not logits.size:
        raise InputError(f"logits have the shape {logits.shape}: give (rows, classes), or (rows,) for two classes")
    return logits


def _centred(logits: Array) -> Array:
    """(n, outputs) as (outputs, n), each row of several classes with mean 0."""
    z = np.ascontiguousarray(logits.T)
    return z - z.mean(axis=0) if len(z) > 1 else z


def _are_probabilities(z: Array) -> bool:
    return bool(z.min() >= 0.0 and z.max() <= 1.0 and np.abs(z.sum(axis=1) - 1.0).max() < 1e-4)


def to_json(calibration: Calibration) -> dict[str, Any]:
    """The facts of a calibration beside its arrays."""
    names = ("kind", "before", "after", "error", "rows")
    return {name: getattr(calibration, name) for name in names}


def arrays_of(calibration: Calibration) -> dict[str, Array]:
    """As a model file keeps them: of a map that is no matrix the diagonal."""
    if calibration.kind == "none":
        return {}
    matrix = calibration.matrix if calibration.kind == "matrix" else np.diagonal(calibration.matrix).copy()
    return {"calibration": matrix, "calibration_bias": calibration.bias}


def from_json(facts: Mapping[str, Any], outputs: int, arrays: Mapping[str, Any]) -> Calibration:
    """What `to_json` wrote, with its arrays; raises ModelFileError if a part is wrong."""
    numbers = [facts[name] for name in ("before", "after", "error", "rows")]
    real = (isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v <= sys.float_info.max for v in numbers)
    if facts["kind"] not in KINDS or not all(real) or not isinstance(facts["rows"], int):
        raise ModelFileError("its calibration is broken")
    none = no_calibration(outputs)
    if facts["kind"] == "none":
        return replace(none, **facts)
    matrix, bias = arrays["calibration"], arrays["calibration_bias"]
    if facts["kind"] != "matrix" and matrix.shape == (outputs,):
        matrix = np.diag(matrix)
    if not (
        matrix.dtype == bias.dtype == np.float64 and matrix.shape == (outputs, outputs) and bias.shape == (outputs,)
    ):
        raise ModelFileError("its calibration does not belong to its classes")
    return replace(none, **facts, matrix=matrix, bias=bias)
