"""Audit: how far the weights of any softmax fit are from the best ones, and what that means for its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce.arrays import array_of
from luce.errors import InputError
from luce.features import Array
from luce.functional import available_threads
from luce.inputs import codes_among, features_of, row_weights
from luce.linear import SMALLEST_L2, in_own_units
from luce.path import Problem, row_losses
from luce.solver import Certificate

TOLERANCE = 1e-9  # of the fit that the given weights are compared with


@dataclass(frozen=True)
class Audit:
    """What was found; objectives and losses are means over the rows, in nats.

    objective: of the given weights; gap: the proven bound on its distance from the least, at these very weights;
    best: the objective of the finished fit (proven to 1e-9); left = objective - best; log_loss and best_log_loss:
    the cross-entropy without the penalty; rows; changed: rows whose predicted class differs between the given weights
    and the best; l2, l1: the penalties; point: the best weights, (columns + 1, outputs); certificate: of that fit.
    """

    objective: float
    gap: float
    best: float
    log_loss: float
    best_log_loss: float
    rows: int
    changed: int
    l2: float
    l1: float
    point: Array
    certificate: Certificate

    @property
    def relative_gap(self) -> float:
        return self.gap / self.objective if self.objective > 0 else float("inf")

    @property
    def left(self) -> float:
        return max(self.objective - self.best, 0.0)

    def sentence(self) -> str:
        share = self.left / self.best if self.best > 0 else float("inf")
        proven = (
            f"proven at the weights themselves: at most {self.gap:.2g}" if np.isfinite(self.gap) else "no bound there"
        )
        direction = "lower" if self.log_loss > self.best_log_loss else "higher"
        return (
            f"the objective is {self.objective:.6g} nats a row, {self.left:.2g} ({share:.1g} of it) above the best "
            f"({proven}); at the best, the log loss is {abs(self.log_loss - self.best_log_loss):.2g} {direction} "
            f"({self.best_log_loss:.6g}), and {self.changed:,} of {self.rows:,} rows get another class"
        )


@dataclass(frozen=True)
class Penalty:
    """Strengths of the penalties, and what of: the loss as a sum, its mean over the rows, or over their weights."""

    l2: float
    l1: float
    of: Literal["sum", "row", "weight"]


@dataclass(frozen=True)
class Weights:
    """Weights of a linear softmax classifier and what they were fitted to minimise."""

    coef: Array  # (outputs, columns)
    intercept: Array  # (outputs,)
    classes: NDArray[Any]
    penalty: Penalty
    fit_intercept: bool = True
    class_weight: Mapping[Any, float] | str | None = None

    @classmethod
    def of(cls, model: Any, C: float | None, l2: float | None) -> Weights:
        """Of a fitted estimator of scikit-learn or luce, or a mapping with coef, intercept and classes."""
        if isinstance(model, Mapping):
            return cls(*_arrays(model), _penalty(C, l2, None))
        if not hasattr(model, "coef_"):
            raise InputError(f"{type(model).__name__} has no coef_: give a fitted linear classifier, or its weights")
        arrays = _arrays({name: getattr(model, name + "_", None) for name in ("coef", "intercept", "classes")})
        params = model.get_params() if hasattr(model, "get_params") else {}
        if params.get("loss", "log_loss") != "log_loss":
            raise InputError(f"the model was fitted with loss={params['loss']!r}: only log_loss has a softmax to audit")
        if "loss" in params and len(arrays[2]) > 2:
            raise InputError(
                f"{type(model).__name__} fits each of {len(arrays[2])} classes against the rest, no softmax: give its "
                "weights as a mapping (coef, intercept, classes) to compare them with one"
            )
        return cls(
            *arrays,
            _penalty(C, l2, _own_penalty(model, params)),
            bool(params.get("fit_intercept", True)),
            params.get("class_weight"),
        )


def _arrays(given: Mapping[str, Any]) -> tuple[Array, Array, NDArray[Any]]:
    def named(name: str) -> Any:
        return given.get(name, given.get(name + "_"))

    missing = [name for name in ("coef", "classes") if named(name) is None]
    if missing:
        raise InputError(f"the weights lack {' and '.join(missing)}: give coef (classes x columns), intercept, classes")
    coef, classes = array_of(named("coef"), "coef"), array_of(named("classes"), "classes")
    if len(np.unique(classes)) < len(classes):
        raise InputError(f"classes name some class twice: {classes.tolist()[:10]!r}; give each once")
    if coef.dtype.kind not in "fiu":
        raise InputError(f"coef holds {coef.dtype}: give numbers, classes x columns")
    coef = np.atleast_2d(coef.astype(np.float64))
    intercept = named("intercept")
    bias = np.zeros(len(coef)) if intercept is None else np.atleast_1d(array_of(intercept, "intercept")).astype(float)
    if len(bias) == 1 and len(coef) > 1:
        bias = np.full(len(coef), float(bias[0]))
    outputs = 1 if len(classes) == 2 else len(classes)
    if outputs == 1 and len(coef) == 2:  # a column for each of two classes: the logit is their difference
        coef, bias = coef[1:] - coef[:1], bias[1:] - bias[:1]
    if len(coef) != outputs or len(bias) != outputs:
        raise InputError(
            f"coef has {len(coef)} rows and intercept {len(bias)} numbers for {len(classes)} classes: give {outputs}"
        )
    if not (np.isfinite(coef).all() and np.isfinite(bias).all()):
        raise InputError("the weights hold numbers that are not finite: nothing can be said of such a fit")
    order = np.argsort(classes)
    if not np.array_equal(order, np.arange(len(classes))):
        if outputs == 1:
            coef, bias = -coef, -bias
        else:
            coef, bias = coef[order], bias[order]
        classes = classes[order]
    return coef, bias, classes


def _own_penalty(model: Any, params: Mapping[str, Any]) -> Penalty | None:
    """The penalty that an estimator was fitted with; None if it does not say."""
    if hasattr(model, "l2_") and "l2" in params:  # luce's own
        l1 = float(params.get("l1", 0.0))
        return Penalty(0.0 if params["l2"] == 0 and not l1 else float(model.l2_), l1, "weight")
    ratio = params.get("l1_ratio") or 0.0
    penalty = params.get("penalty", "deprecated")
    if "alpha" in params and "loss" in params:  # SGDClassifier
        alpha = 0.0 if penalty is None else float(params["alpha"])
        ratio = {"l1": 1.0, "l2": 0.0}.get(str(penalty), ratio)
        return Penalty(alpha * (1 - ratio), alpha * ratio, "row")
    if params.get("solver") == "liblinear" and params.get("fit_intercept"):
        raise InputError(
            "liblinear penalises the intercept too, which is another objective: fit with another solver, or give the "
            "weights as a mapping (coef, intercept, classes) to compare them with a free intercept"
        )
    if hasattr(model, "l1_ratio_"):
        chosen = np.ravel(model.l1_ratio_)
        ratio = float(chosen[0]) if len(chosen) and chosen[0] is not None else 0.0
    if hasattr(model, "C_") or "C" in params:
        C = float(np.ravel(model.C_)[0]) if hasattr(model, "C_") else float(params["C"])
        ratio = {"l1": 1.0, "l2": 0.0}.get(str(penalty), ratio)
        strength = 0.0 if penalty is None or not np.isfinite(C) else 1.0 / C
        return Penalty(strength * (1 - ratio), strength * ratio, "sum")
    return None


def _penalty(C: float | None, l2: float | None, own: Penalty | None) -> Penalty:
    if C is not None and l2 is not None:
        raise InputError("C and l2 say the same thing (l2 = 1/(n C)): give one")
    if C is not None:
        if not C > 0:
            raise InputError(f"C is {C!r}: give a number above 0")
        own = Penalty(1.0 / C, 0.0, "sum")
    if l2 is not None:
        if not (np.isfinite(l2) and l2 >= 0):
            raise InputError(f"l2 is {l2!r}: give a number from 0 on")
        own = Penalty(float(l2), 0.0, "weight")
    if own is None:
        raise InputError("the weights do not say how strong their penalty was: give C (as scikit-learn) or l2")
    return own


def audit(
    model: Any,
    X: Any,
    y: ArrayLike,
    *,
    C: float | None = None,
    l2: float | None = None,
    sample_weight: ArrayLike | None = None,
    threads: int | None = None,
) -> Audit:
    """How far a fitted linear softmax classifier is from the best weights for what it minimises, on the rows it saw.

    model: a fitted LogisticRegression or SGDClassifier(loss="log_loss") of scikit-learn, a SoftmaxRegression, or a
    mapping with coef (classes x columns, or 1 x columns for two classes), intercept and classes. X, y, sample_weight:
    what it was fitted on. C or l2 = 1/(n C): the strength of its penalty, where the model does not say.
    Raises InputError for a model without linear weights, other columns or labels that are none of its classes.
    """
    features = features_of(X)
    given = Weights.of(model, C, l2)
    if given.coef.shape[1] != features.columns:
        raise InputError(f"X has {features.columns} columns, but the weights have {given.coef.shape[1]}")
    codes = codes_among(y, given.classes, features.rows)
    weights = row_weights(sample_weight, given.class_weight, given.classes, codes)
    total = float(features.rows if weights is None else weights.sum())
    times = {"sum": 1.0 / total, "row": features.rows / total, "weight": 1.0}[given.penalty.of]
    l1_mean = given.penalty.l1 * times
    l2_mean, unit, threads = given.penalty.l2 * times, None, available_threads(threads)
    if not l1_mean and l2_mean < SMALLEST_L2:
        l2_mean = SMALLEST_L2
        features, unit = in_own_units(features, threads)
    point = np.vstack([given.coef.T, given.intercept])
    unit = np.ones((features.columns, 1)) if unit is None else unit[:, np.newaxis]
    point[:-1] /= unit
    problem = Problem(features, codes, len(given.classes), weights, l1_mean, given.fit_intercept, threads)
    found = _audited(problem, l2_mean, np.ascontiguousarray(point))
    found.point[:-1] *= unit
    return replace(
        found,
        certificate=replace(found.certificate, distance=found.certificate.distance * float(unit.max())),
    )


def _audited(problem: Problem, l2: float, point: Array) -> Audit:
    o = problem.objective(l2)
    logits = o.logits(point)
    given = o.certify(point, logits)
    finished = problem.solve(l2, TOLERANCE, start=point)
    best = finished.certificate
    weights = np.ones(problem.features.rows) if problem.weights is None else problem.weights

    def mean_loss(z: Array) -> float:
        return float(np.average(row_losses(np.ascontiguousarray(z.T), problem.codes), weights=weights))

    changed = int(np.sum(_decisions(logits) != _decisions(finished.logits)))
    return Audit(
        objective=given.value / o.total,
        gap=given.gap / o.total,
        best=best.objective,
        log_loss=mean_loss(logits),
        best_log_loss=mean_loss(finished.logits),
        rows=problem.features.rows,
        changed=changed,
        l2=l2,
        l1=problem.l1,
        point=finished.point,
        certificate=best,
    )


def _decisions(logits: Array) -> NDArray[np.int64]:
    return np.asarray(logits.argmax(axis=0) if len(logits) > 1 else logits[0] > 0)
