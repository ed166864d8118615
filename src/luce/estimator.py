"""What the estimators share: scikit-learn's protocol, columns that are checked, and answers from logits."""

from __future__ import annotations

import inspect
import sys
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce.arrays import array_of
from luce.errors import InputError, NotFittedError, warn
from luce.features import Features
from luce.functional import log_sigmoid, log_softmax, sigmoid, softmax
from luce.inputs import features_of, names_of, weights_of


class Estimator:
    """A classifier of rows of numbers; what it learnt is there once its attribute FITTED is."""

    FITTED: ClassVar[str]
    classes_: NDArray[Any]
    n_features_in_: int
    threads: int | None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor by name (scikit-learn's protocol)."""
        return {name: getattr(self, name) for name in _arguments(type(self))}

    def set_params(self, **params: Any) -> Self:
        """Sets arguments of the constructor by name; raises InputError for a name that is none."""
        known = _arguments(type(self))
        for name, value in params.items():
            if name not in known:
                raise InputError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = _arguments(type(self))
        changed = [f"{k}={v!r}" for k, v in self.get_params().items() if v is not defaults[k] and v != defaults[k]]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(sparse=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, self.FITTED)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits: (n, K), or for two classes (n,), the logit of classes_[1] over classes_[0]."""
        raise NotImplementedError

    def _features(self, X: Any) -> Features:
        if not hasattr(self, self.FITTED):
            raise not_fitted(type(self).__name__)
        self._check_names(names_of(X))
        return features_of(X, self.n_features_in_, type(self).__name__, self.threads)

    def _check_names(self, names: NDArray[np.object_] | None) -> None:
        known = getattr(self, "feature_names_in_", None)
        if names is None and known is None:
            return
        if names is None or known is None:
            has, had = ("does not have valid", "with") if names is None else ("has", "without")
            fitted = f"{type(self).__name__} was fitted {had} feature names"
            warn(f"X {has} feature names, but {fitted}: columns are matched by their place")
            return
        if list(names) != list(known):
            raise InputError(_names_differ(list(names), list(known)))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities, (n, K) float64; columns in the order of classes_, each row sums to 1."""
        return probabilities_of(self.decision_function(X))

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Logarithms of the probabilities, (n, K) float64, exact also where a probability is near 0 or 1."""
        logits = self.decision_function(X)
        if logits.ndim == 2:
            return np.asarray(log_softmax(logits))
        return np.stack([log_sigmoid(-logits), log_sigmoid(logits)], axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The share of rows whose predicted class is y, each row counted by its weight."""
        predicted, truth = self.predict(X), array_of(y, "y")
        if truth.shape != predicted.shape:
            raise InputError(f"y has shape {truth.shape}: give one label for each of the {len(predicted)} rows of X")
        return float(np.average(predicted == truth, weights=weights_of(sample_weight, len(predicted))))


def _arguments(cls: type) -> dict[str, Any]:
    """The constructor's arguments and their defaults."""
    return {name: p.default for name, p in inspect.signature(cls).parameters.items()}


def not_fitted(name: str) -> Exception:
    """The error of a model asked before its fit, one of scikit-learn's too where that is loaded."""
    kind: type[Exception] = NotFittedError
    theirs = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", None)
    if theirs is not None:
        kind = type("NotFittedError", (NotFittedError, theirs), {})
    return kind(f"this {name} is not fitted: call fit(X, y) first")


def _names_differ(names: list[str], known: list[str]) -> str:
    unseen, missing = [n for n in names if n not in known], [n for n in known if n not in names]
    said = "The feature names should match those that were passed during fit."
    if unseen:
        said += " Feature names unseen at fit time: " + ", ".join(unseen[:5]) + ("..." if len(unseen) > 5 else "") + "."
    if missing:
        said += " Feature names seen at fit time, yet now missing: " + ", ".join(missing[:5])
        said += ("..." if len(missing) > 5 else "") + "."
    if not unseen and not missing:
        said += " Feature names must be in the same order as they were in fit."
    return said


def probabilities_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """softmax of (n, K) logits; (n,) logits of two classes give (n, 2) by the sigmoid of either sign."""
    if logits.ndim == 2:
        return np.asarray(softmax(logits))
    return np.stack([sigmoid(-logits), sigmoid(logits)], axis=1)
