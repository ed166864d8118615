"""SoftmaxRegression: multinomial logistic regression fitted to a proven distance from its optimum."""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce.arrays import array_of
from luce.errors import InputError, LuceWarning, NotFittedError
from luce.features import Features
from luce.functional import available_threads, sigmoid, softmax
from luce.objective import Objective
from luce.solver import Certificate, Progress, minimise

LARGEST = 1e100  # numbers farther out would overflow when squared and summed
SMALLEST_L2 = 1e-9  # stands in for l2=0: without any penalty the optimum may lie at infinity


class SoftmaxRegression:
    """A linear softmax classifier: logits z = X W' + b, probabilities softmax(z); two classes are the sigmoid.

    Minimises  mean_i s_i cross-entropy(y_i, z_i) + l2/2 |W|^2  (weights s_i scaled to mean 1); b is not penalised.

    l2: strength of the penalty; None means 1/n, n the rows of weight above 0 (scikit-learn's C is 1/(n l2), so this
    is its C=1). 0 means the smallest penalty that still has an optimum (1e-9).
    tol: the fit stops when its proven relative distance from the best objective is at most this.
    threads: None means all processors. The fitted numbers are the same for every number of threads.

    After fit: coef_ (K, d), or (1, d) for two classes, intercept_ (K,) or (1,), classes_, n_features_in_, certificate_.
    """

    def __init__(self, l2: float | None = None, tol: float = 1e-6, threads: int | None = None) -> None:
        self.l2 = l2
        self.tol = tol
        self.threads = threads

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor by name (scikit-learn's protocol)."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Sets arguments of the constructor by name; raises InputError for a name that is none."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise InputError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [
            f"{k}={v!r}"
            for k, v in self.get_params().items()
            if v != inspect.signature(type(self)).parameters[k].default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fits to numbers X (n, d), float32 or float64, and labels y (n,) of ints, bools or strings.

        sample_weight: (n,) numbers >= 0, not all 0; a weight of 2 is the same as the row given twice.
        Raises InputError for missing or infinite numbers, shapes that differ, or fewer than two classes; a failed
        fit leaves an earlier one as it was. Warns with the proven distance if the optimum was not reached.
        """
        x = _matrix(X)
        classes, codes = _classes(y, len(x))
        weights = _weights(sample_weight, len(x))
        features = Features(len(x), dense=x)
        point, certificate, l2 = fit_linear(
            features,
            codes,
            len(classes),
            self.l2,
            tol=self.tol,
            weights=weights,
            threads=available_threads(self.threads),
        )
        self._keep(point, classes, certificate, l2)
        return self

    def _keep(self, point: NDArray[np.float64], classes: NDArray[Any], certificate: Certificate, l2: float) -> None:
        self.coef_ = np.ascontiguousarray(point[:-1].T)
        self.intercept_ = point[-1].copy()
        self.classes_ = classes
        self.n_features_in_ = self.coef_.shape[1]
        self.certificate_ = certificate
        self.l2_ = l2

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Logits: (n, K), or for two classes (n,), the logit of classes_[1] over classes_[0]."""
        if not hasattr(self, "coef_"):
            raise NotFittedError("this SoftmaxRegression is not fitted: call fit(X, y) first")
        x = _matrix(X)
        if x.shape[1] != self.n_features_in_:
            raise InputError(f"X has {x.shape[1]} columns, but the model was fitted on {self.n_features_in_}")
        logits = linear_logits(Features(len(x), dense=x), self.coef_, self.intercept_, available_threads(self.threads))
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities, (n, K) float64; columns in the order of classes_, each row sums to 1."""
        return probabilities_of(self.decision_function(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """The share of rows whose predicted class is y."""
        predicted, truth = self.predict(X), array_of(y, "y")
        if truth.shape != predicted.shape:
            raise InputError(f"y has shape {truth.shape}: give one label for each of the {len(predicted)} rows of X")
        return float(np.mean(predicted == truth))


def fit_linear(
    features: Features,
    codes: NDArray[np.int32],
    classes: int,
    l2: float | None,
    *,
    tol: float = 1e-6,
    weights: NDArray[np.float64] | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float64], Certificate, float]:
    """The fitted point (columns + 1, outputs), its certificate and the strength used; for the models of this house."""
    strength = _strength(l2, features.rows if weights is None else int(np.count_nonzero(weights)))
    if weights is not None:  # to mean 1, so that only their ratios matter
        weights = weights / weights.max()
        weights /= weights.mean()
    objective = Objective(features, codes, classes, strength * features.rows, weights, threads)
    solution = minimise(objective, _tolerance(tol), progress=progress)
    point = solution.point
    if objective.outputs > 1:
        point[-1] -= point[-1].mean()  # a constant over all classes changes no probability
    _warn(solution.certificate, l2)
    return point, solution.certificate, strength


def linear_logits(
    features: Features, coef: NDArray[np.float64], bias: NDArray[np.float64], threads: int
) -> NDArray[np.float64]:
    """X W' + b as (n, outputs)."""
    return np.ascontiguousarray(features.logits(np.ascontiguousarray(coef.T), bias, threads).T)


def probabilities_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """softmax of (n, K) logits; (n,) logits of two classes give (n, 2) by the sigmoid of either sign."""
    if logits.ndim == 2:
        return np.asarray(softmax(logits))
    return np.stack([sigmoid(-logits), sigmoid(logits)], axis=1)


def _warn(certificate: Certificate, l2: float | None) -> None:
    if l2 == 0 and certificate.objective < 1e-4:
        warnings.warn(
            LuceWarning(
                "the classes are separable: without a penalty the weights grow without end; this is the fit with the "
                f"smallest penalty ({SMALLEST_L2:g}); give l2 above 0 for probabilities that mean something"
            ),
            stacklevel=4,
        )
    elif not certificate.converged:
        warnings.warn(LuceWarning("the fit " + certificate.sentence()), stacklevel=4)


def _strength(l2: float | None, rows: int) -> float:
    if l2 is None:
        return 1.0 / rows
    if not _is_real(l2) or not math.isfinite(l2) or l2 < 0:
        raise InputError(f"l2 is {l2!r}: give a number from 0 on, or None for 1/n")
    return max(float(l2), SMALLEST_L2)


def _tolerance(tol: float) -> float:
    if not _is_real(tol) or not (math.isfinite(tol) and tol > 0):
        raise InputError(f"tol is {tol!r}: give a number above 0, such as 1e-6")
    return float(tol)


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _matrix(X: ArrayLike) -> NDArray[np.floating]:
    x = array_of(X, "X")
    if x.dtype.kind not in "biuf":
        raise InputError(f"X holds {x.dtype}, not numbers: use luce.Classifier for tables with text or categories")
    if x.ndim != 2:
        raise InputError(f"X has {x.ndim} dimensions: give rows x columns (reshape(-1, 1) for a single column)")
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise InputError(f"X has {x.shape[0]} rows and {x.shape[1]} columns: at least one of each is needed")
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float64)
    if x.strides[0] % x.itemsize or x.strides[1] % x.itemsize:
        x = x.copy()
    largest = max(float(x.max()), -float(x.min()))  # NaN if any number is
    if not largest <= LARGEST:
        row, column = np.argwhere(~(np.abs(x) <= LARGEST))[0]
        remedy = "fill or drop it, or use Classifier" if not np.isfinite(x[row, column]) else "rescale the column"
        raise InputError(f"X has {x[row, column]} in row {row}, column {column}: {remedy}")
    return x


def _classes(y: ArrayLike, rows: int) -> tuple[NDArray[Any], NDArray[np.int32]]:
    labels = array_of(np.array(y, dtype=object) if isinstance(y, (list, tuple)) else y, "y")
    if labels.ndim != 1 or len(labels) != rows:
        raise InputError(f"y has shape {labels.shape}: give one label for each of the {rows} rows of X")
    if labels.dtype.kind == "O":
        labels = _of_one_kind(labels)
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels) & (labels == np.floor(labels))
        if not whole.all():
            row = int(np.flatnonzero(~whole)[0])
            raise InputError(f"y has {labels[row]} in row {row}: labels must be classes, whole numbers or strings")
    elif labels.dtype.kind not in "biuU":
        raise InputError(f"y holds {labels.dtype}: labels must be whole numbers, bools or strings")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"y has one class only ({classes[0]!r}): at least two are needed to tell apart")
    return classes, codes.astype(np.int32)


def _of_one_kind(labels: NDArray[Any]) -> NDArray[Any]:
    """Python objects as an array of strings, ints, bools or floats; a mixture, or anything else, raises InputError."""
    values = labels.tolist()
    kinds = {str: "text", bool: "bool", int: "number", float: "number"}
    first = kinds.get(type(values[0]))
    if first is None:
        raise InputError(f"y has {values[0]!r} in row 0: labels must be whole numbers, bools or strings")
    odd = next((i for i, v in enumerate(values) if kinds.get(type(v)) != first), None)
    if odd is not None:
        raise InputError(f"y mixes kinds of labels: row {odd} is {values[odd]!r}, row 0 is {values[0]!r}")
    return np.array(values)


def _weights(sample_weight: ArrayLike | None, rows: int) -> NDArray[np.float64] | None:
    if sample_weight is None:
        return None
    given = array_of(sample_weight, "sample_weight")
    if given.dtype.kind not in "biuf":
        raise InputError(f"sample_weight holds {given.dtype}: give numbers of at least 0")
    weights = given.astype(np.float64)
    if weights.shape != (rows,):
        raise InputError(f"sample_weight has shape {weights.shape}: give one number for each of the {rows} rows of X")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise InputError(f"sample_weight is {weights[bad[0]]} in row {bad[0]}: weights must be finite and at least 0")
    if not weights.any():
        raise InputError("sample_weight is 0 in every row: at least one row must count")
    return weights
