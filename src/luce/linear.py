"""SoftmaxRegression: multinomial logistic regression fitted to a proven distance from its optimum."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce import _core
from luce.arrays import array_of
from luce.errors import InputError, warn
from luce.estimator import Estimator
from luce.features import Features
from luce.functional import available_threads, sigmoid, softmax
from luce.inference import Inference, infer
from luce.inputs import LARGEST, classes_of, codes_among, features_of, names_of, row_weights
from luce.path import ABSENT, RULES, Path, Problem, steepness, with_absent
from luce.solver import Certificate, Progress, minimise
from luce.steps import Start
from luce.strength import choose_l2

NATIVE = (np.dtype(np.float64), np.dtype(np.float32))
FEW_ROWS = 64  # so many are answered at once, in some microseconds
SMALLEST_L2 = 1e-9  # stands in for l2=0: without any penalty the optimum may lie at infinity
LEAST_SPREAD = 2.0**-7  # of a column whose weights SMALLEST_L2 draws towards 0 by no more than some 1e-4 of themselves
MOST_DOUBLINGS = 100  # of a column: what float32 has room for
INFERRED = 1e-4  # nats in all that a fit may leave whose errors are asked for: a hundredth of a standard error


class SoftmaxRegression(Estimator):
    """A linear softmax classifier: logits z = X W' + b, probabilities softmax(z); two classes are the sigmoid.

    Minimises  mean_i s_i cross-entropy(y_i, z_i) + l2/2 |W|^2 + l1 |W|_1  (weights s_i scaled to mean 1); the
    intercepts b are not penalised. scikit-learn's C is 1/(n l2).

    l2: strength of the penalty. "auto" chooses it by cross-validated log loss (`path_`), "one-standard-error" takes the
    strongest within one standard error of that; None means 1/n, n the rows of weight above 0 (scikit-learn's C=1, if
    the weights have the mean 1; else its C is 1 over l2 times their sum);
    0 a penalty too small to matter that still has an optimum (1e-9, with columns of a spread below 1/128 in units of
    their spread), or, with l1 above 0, none.
    l1: strength of the penalty that makes weights exactly 0.
    class_weight: None, "balanced", or a mapping from labels to weights; multiplies the weights of the rows, as in
    scikit-learn, so that probabilities are those of a population with the classes in these proportions.
    fit_intercept: False fixes b at 0.
    threads: None means all processors. The fitted numbers are the same for every number of threads.
    seed: which rows make up the folds of the cross-validation.
    tol: the fit stops when its proven relative distance from the best objective is at most this.
    time_limit: seconds after which the choice of l2 ends with the strengths tried, and the fit at the best point so
    far, marked in its certificate; Ctrl-C ends the fit in the same way.
    warm_start: a fit begins at the weights of the one before, where classes and columns are the same.
    inference: fit also gives standard errors and p-values (`inference_`).

    After fit: coef_ (K, d), or (1, d) for two classes, intercept_ (K,) or (1,), classes_, n_features_in_,
    feature_names_in_ (of a data frame), n_iter_ (reads of the data), l2_, certificate_, path_ (where l2 was chosen).
    """

    FITTED = "coef_"

    def __init__(
        self,
        l2: float | str | None = "auto",
        l1: float = 0.0,
        class_weight: Mapping[Any, float] | str | None = None,
        fit_intercept: bool = True,
        threads: int | None = None,
        seed: int = 0,
        *,
        tol: float = 1e-6,
        time_limit: float | None = None,
        warm_start: bool = False,
        inference: bool = False,
    ) -> None:
        self.l2 = l2
        self.l1 = l1
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.threads = threads
        self.seed = seed
        self.tol = tol
        self.time_limit = time_limit
        self.warm_start = warm_start
        self.inference = inference

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fits to numbers X (n, d) and labels y (n,) of ints, bools or strings.

        X: float32, float64 or uint8 array, data frame, or sparse matrix (CSR as it is, others turned to it).
        sample_weight: (n,) numbers >= 0, not all 0; a weight of 2 is the same as the row given twice.
        Raises InputError for missing or infinite numbers, shapes that differ, or fewer than two classes; a failed
        fit leaves an earlier one as it was. Warns with the proven distance if the optimum was not reached.
        """
        names = names_of(X)
        features = features_of(X, threads=self.threads)
        classes, codes = classes_of(y, features.rows)
        weights = row_weights(sample_weight, self.class_weight, classes, codes)
        if weights is not None and len(np.unique(codes[weights > 0])) < 2:
            raise InputError("fewer than two classes have rows of weight above zero: nothing is left to tell apart")
        fit = fit_linear(
            features,
            codes,
            len(classes),
            self.l2,
            l1=self.l1,
            intercept=bool(self.fit_intercept),
            tol=self.tol,
            weights=weights,
            threads=available_threads(self.threads),
            seed=self.seed,
            start=self._start(classes, features.columns),
            time_limit=self.time_limit,
            inference=self.inference,
        )
        warn_of(fit, self.l2, classes.tolist(), names)
        self._keep(fit, classes, names)
        self.__dict__.pop("_online", None)
        return self

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learns from one more batch, the batches before standing in as a quadratic: online Laplace approximation.

        Minimises  sum over the batch of s_i cross-entropy + m l2/2 |W|^2 + sum_j (r_j + n l2)/2 (w_j - w'_j)^2  to its
        proven optimum: m the batch's rows, n those before, w' the weights so far, r the curvature of the loss along
        each, summed over the batches before (the diagonal of the Hessian). The first call starts anew and chooses l2 if
        it is to be chosen; it names `classes` if the batch lacks some. The certificate is that of the newest batch's
        problem. fit forgets all batches.
        Source: Opper, A Bayesian approach to on-line learning, 1998; Ritter et al., NeurIPS 2018, section 2.
        """
        if self.l1:
            raise InputError("partial_fit works without l1: set l1=0, or give all rows to fit")
        known: Online | None = getattr(self, "_online", None)
        names = names_of(X)
        features = features_of(X, None if known is None else self.n_features_in_, threads=self.threads)
        tol, time_limit = _settings(self.tol, self.time_limit)
        if known is not None:
            self._check_names(names)
        all_classes = self.classes_ if known is not None else None
        if classes is not None:
            given = np.unique(array_of(classes, "classes"))
            if all_classes is not None and not np.array_equal(given, all_classes):
                raise InputError(f"classes are {given.tolist()!r}, but the first batch had {all_classes.tolist()!r}")
            all_classes = given
        if all_classes is None:
            all_classes, codes = classes_of(y, features.rows)
        else:
            codes = codes_among(y, all_classes, features.rows, "name all classes at the first call of partial_fit")
        weights = row_weights(sample_weight, self.class_weight, all_classes, codes)
        threads = available_threads(self.threads)
        problem = Problem(features, codes, len(all_classes), weights, 0.0, bool(self.fit_intercept), threads)
        if known is None:
            known = Online.empty(problem, chosen_l2(problem, self.l2, self.l1, self.seed, time_limit)[0])
            self.__dict__.pop("feature_names_in_", None)
        fit, self._online = known.learn(problem, tol, time_limit)
        warn_of(fit, fit.l2, all_classes.tolist(), names)
        self._keep(fit, all_classes, names if names is not None else getattr(self, "feature_names_in_", None))
        return self

    def _start(self, classes: NDArray[Any], columns: int) -> NDArray[np.float64] | None:
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        if not np.array_equal(self.classes_, classes) or self.n_features_in_ != columns:
            return None
        return np.ascontiguousarray(np.vstack([self.coef_.T, self.intercept_]))

    def _keep(self, fit: LinearFit, classes: NDArray[Any], names: NDArray[np.object_] | None) -> None:
        self.coef_ = fit.point[:-1].T  # feature-major in memory, as the passes read it
        self.intercept_ = fit.point[-1].copy()
        self.classes_ = classes
        self.n_features_in_ = self.coef_.shape[1]
        self.certificate_ = fit.certificate
        self.l2_ = fit.l2
        self.n_iter_ = fit.certificate.passes
        for name, value in (("path_", fit.path), ("inference_", fit.inference), ("feature_names_in_", names)):
            if value is not None:
                setattr(self, name, value)
            elif hasattr(self, name):
                delattr(self, name)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits: (n, K), or for two classes (n,), the logit of classes_[1] over classes_[0]."""
        logits = linear_logits(self._features(X), self.coef_, self.intercept_, available_threads(self.threads))
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities, (n, K) float64; columns in the order of classes_, each row sums to 1."""
        if type(X) is np.ndarray and X.ndim == 2 and len(X) <= FEW_ROWS and X.dtype in NATIVE:
            coef = getattr(self, "coef_", None)
            if coef is not None and not hasattr(self, "feature_names_in_"):
                out = np.empty((len(X), max(len(coef), 2)))
                if _core.predict(X, coef, self.intercept_, LARGEST, out):
                    return out
        return super().predict_proba(X)


@dataclass(frozen=True)
class LinearFit:
    """point: (columns + 1, outputs), the last row the intercepts; l2: the strength used; path: how it was chosen;
    inference: standard errors, if they were asked for."""

    point: NDArray[np.float64]
    certificate: Certificate
    l2: float
    path: Path | None = None
    inference: Inference | None = None


def fit_linear(
    features: Features,
    codes: NDArray[np.int32],
    classes: int,
    l2: float | str | None,
    *,
    l1: float = 0.0,
    intercept: bool = True,
    tol: float = 1e-6,
    weights: NDArray[np.float64] | None = None,
    threads: int = 1,
    seed: int = 0,
    start: Start | None = None,
    time_limit: float | None = None,
    inference: bool = False,
    progress: Progress | None = None,
    share: float = 0.0,
) -> LinearFit:
    """The weights that minimise the penalised mean cross-entropy; for the models of this house. tol, share: see
    `minimise`."""
    l1 = _number("l1", l1, 0.0)
    tol, time_limit = _settings(tol, time_limit)
    began, weight, unit = time.monotonic(), 1.0, None
    if l2 == 0 and not l1 and features.at_hand:
        features, unit = in_own_units(features, threads)
        if unit is not None and isinstance(start, np.ndarray):
            start = np.vstack([start[:-1] / unit[:, np.newaxis], start[-1:]])
    if inference:
        tol = min(tol, max(INFERRED / features.rows, 1e-11))
    if weights is not None:  # to mean 1, so that only their ratios matter
        weight = float(weights.mean())
        weights = weights / weights.max()
        weights /= weights.mean()
    problem, left = Problem(features, codes, classes, weights, l1, intercept, threads).present()
    strength, path, found = chosen_l2(problem, l2, l1, seed, time_limit)
    whole = len(left) == classes
    start = start if start is not None and whole else found
    if time_limit is not None:
        time_limit = max(time_limit - (time.monotonic() - began), 1e-9)
    solution = problem.solve(strength, tol, start=start, progress=progress, time_limit=time_limit, share=share)
    point, certificate = solution.point, solution.certificate
    if l2 == 0 and not l1 and not certificate.stopped:
        certificate = replace(certificate, separable=_separates(problem, 10 * strength, tol, point))
    inferred = None
    if inference:
        if not whole or certificate.separable:
            what = "classes that are separable" if whole else "a class without rows of weight"
            raise InputError(f"inference knows no error of {what}: set l2 above 0, or leave such classes out")
        inferred = infer(problem.objective(strength), point, solution.logits, weight)
        inferred = inferred if unit is None else inferred.in_units(unit)
    if unit is not None:
        point[:-1] *= unit[:, np.newaxis]
        certificate = replace(certificate, distance=certificate.distance * float(unit.max()))
    if intercept and point.shape[1] > 1:
        point[-1] -= point[-1].mean()  # a constant over all classes changes no probability
    if not whole:
        point = with_absent(point, classes, left, np.append(np.zeros(len(point) - 1), ABSENT)[:, np.newaxis])
    return LinearFit(point, certificate, strength, path, inferred)


def _settings(tol: float, time_limit: float | None) -> tuple[float, float | None]:
    limit = None if time_limit is None else _number("time_limit", time_limit, 0.0, above=True)
    return _number("tol", tol, 0.0, above=True), limit


def in_own_units(features: Features, threads: int) -> tuple[Features, NDArray[np.float64] | None]:
    """The features with each column of a tiny spread multiplied by the power of two that brings it near 1, and these
    factors, (columns,), None where nothing is to be done: so that SMALLEST_L2 does not weigh on any column's weights.

    The spread of a sparse column is that of the entries it stores, about 0.
    """
    spread = features.energy(threads)[1].copy()
    if features.sparse_columns:
        entries = np.maximum(features.entries(), 1)
        spread[features.dense_columns :] = np.sqrt(features.squares(None) / entries)
    tiny = (spread > 0) & (spread < LEAST_SPREAD)
    if not tiny.any():
        return features, None
    factors = np.exp2(np.minimum(-np.round(np.log2(np.where(tiny, spread, 1.0))), MOST_DOUBLINGS))
    return features.times(factors), factors


def chosen_l2(
    problem: Problem, l2: float | str | None, l1: float, seed: int, time_limit: float | None = None
) -> tuple[float, Path | None, Start | None]:
    """The strength that l2 stands for; if it was chosen, also its path and where the final fit may start."""
    counted = problem.features.rows if problem.weights is None else int(np.count_nonzero(problem.weights))
    if isinstance(l2, str):
        if l2 not in RULES:
            raise InputError(f"l2 is {l2!r}: give a number from 0 on, None for 1/n, or one of {', '.join(RULES)}")
        found = choose_l2(problem, l2, seed, time_limit)
        if found is not None:
            return found[0].l2, *found
    return _strength(problem, None if isinstance(l2, str) else l2, counted), None, None


@dataclass(frozen=True)
class Online:
    """What the batches so far have taught: the point, how firmly it is held (curvature), for how many rows, at l2."""

    point: NDArray[np.float64] | None
    firmness: NDArray[np.float64]
    rows: float
    l2: float

    LEAST = 1e-3  # of a row: how firmly a weight is held that no batch has told about

    @classmethod
    def empty(cls, problem: Problem, l2: float) -> Online:
        return cls(None, np.zeros((problem.features.columns + 1, problem.outputs)), 0.0, l2)

    def learn(self, problem: Problem, tol: float, time_limit: float | None) -> tuple[LinearFit, Online]:
        """The fit to one more batch, and what is known after it."""
        prior, start = None, None
        if self.point is not None:
            firm = np.maximum(self.firmness, self.LEAST)
            firm[:-1] += self.rows * self.l2
            prior, start = (self.point, firm), self.point
        elif len(problem.present()[1]) < problem.classes:  # an intercept that no row of the batch holds
            start = problem.objective(self.l2).start()
            start[-1] = 0.0
            prior = start, np.full_like(start, self.LEAST)
        objective = problem.objective(self.l2, prior)
        solution = minimise(objective, tol, start=start, time_limit=time_limit)
        firmness = self.firmness + _curvature(problem, solution.logits)
        rows = self.rows + float(problem.features.rows if problem.weights is None else problem.weights.sum())
        return LinearFit(solution.point, solution.certificate, self.l2), Online(solution.point, firmness, rows, self.l2)


def _curvature(problem: Problem, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The diagonal of the Hessian of the loss, (columns + 1, outputs)."""
    p = sigmoid(logits) if len(logits) == 1 else softmax(logits, axis=0)
    weights = p * (1.0 - p)
    if problem.weights is not None:
        weights *= problem.weights
    squares = problem.features.weighted_squares(np.arange(problem.features.rows), weights, problem.threads)
    return np.vstack([squares.T, weights.sum(axis=1)])


def _separates(problem: Problem, l2: float, tol: float, point: NDArray[np.float64]) -> bool:
    """Whether moving along some direction, for ever, lowers no row's margin and raises some: no best weights exist.

    (Albert and Anderson, Biometrika 71, 1984: complete and quasi-complete separation.) The direction is where the fit
    goes as the penalty falls from l2 to that of the point; margins within 1e-3 of the largest count as not lowered.
    """
    try:
        nearer = problem.solve(l2, tol, start=point)
    except KeyboardInterrupt:
        return False
    if nearer.certificate.stopped == "interrupted":
        return False
    direction = point - nearer.point
    weights, bias = np.ascontiguousarray(direction[:-1]), np.ascontiguousarray(direction[-1])
    logits, codes = problem.features.logits(weights, bias, problem.threads), problem.codes
    if len(logits) == 1:
        logits = np.concatenate([np.zeros_like(logits), logits])
    rows = np.arange(logits.shape[1])
    own = logits[codes, rows].copy()
    logits[codes, rows] = -np.inf
    margins = own - logits.max(axis=0)
    return bool(margins.max() > 0.1 and margins.min() >= -1e-3 * margins.max())


def linear_logits(
    features: Features, coef: NDArray[np.float64], bias: NDArray[np.float64], threads: int
) -> NDArray[np.float64]:
    """X W' + b as (n, outputs)."""
    return np.ascontiguousarray(features.logits(np.ascontiguousarray(coef.T), bias, threads).T)


def warn_of(
    fit: LinearFit, l2: float | str | None, labels: list[Any], names: NDArray[np.object_] | None = None
) -> None:
    """Says what the user should know of a fit: that it ended early, or that the classes are separable."""
    if fit.certificate.separable:
        size = np.abs(fit.point[:-1])
        column, output = np.unravel_index(int(size.argmax()), size.shape)
        which = repr(str(names[column])) if names is not None else f"number {column}"
        label = labels[1] if len(labels) == 2 else labels[output]
        warn(
            f"the classes are separable (class {label!r} above all by column {which}): without a penalty the weights "
            f"grow without end; this is the fit with the smallest penalty ({SMALLEST_L2:g}); give l2 above 0 for "
            "probabilities that mean something"
        )
    elif not fit.certificate.converged:
        warn("the fit " + fit.certificate.sentence())


def _strength(problem: Problem, l2: float | None, rows: int) -> float:
    if l2 is None:
        return 1.0 / rows
    given = _number("l2", l2, 0.0, more=", None for 1/n, or 'auto'")
    if problem.l1 or given >= SMALLEST_L2:
        return given
    if given == 0:
        return SMALLEST_L2
    return max(given, SMALLEST_L2 * min(1.0, steepness(problem)))  # of small numbers a small penalty is as strong


def _number(name: str, value: Any, least: float, *, above: bool = False, more: str = "") -> float:
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value < least or (above and value == least):
        wanted = f"a number above {least:g}" if above else f"a number from {least:g} on"
        raise InputError(f"{name} is {value!r}: give {wanted}{more}")
    return float(value)
