"""scikit-learn's contract: its own checks of an estimator, every one of them, and its tools around one of luce's."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from luce.errors import InputError, LuceWarning
from luce.linear import SoftmaxRegression
from luce.network import NetworkClassifier

# The checks of weights against repeated rows compare to 1e-7, and weights lie within sqrt(2 gap / l2) of the optimum:
# with tol = 1e-18, an objective below 1 and l2 = 0.01 that is 1.4e-8.
ESTIMATORS = [SoftmaxRegression(tol=1e-18), SoftmaxRegression(l2=0.01, tol=1e-18), NetworkClassifier((32,), epochs=60)]

Check = Callable[[Any], None]


@contextmanager
def unadvised() -> Iterator[None]:
    """The generator of checks advises to inherit from BaseEstimator, which would make luce import scikit-learn."""
    with warnings.catch_warnings():
        said = r"Estimator (SoftmaxRegression|NetworkClassifier) does not inherit from `sklearn.base.BaseEstimator`"
        warnings.filterwarnings("ignore", said, UserWarning)
        yield


def with_every_check() -> pytest.MarkDecorator:
    with unadvised():
        return parametrize_with_checks(ESTIMATORS)


def checks_of(estimator: Any) -> dict[str, Check]:
    """The checks that scikit-learn has for an estimator, by name (and arguments, where it has one with several)."""
    with unadvised():
        pairs = list(estimator_checks_generator(estimator))
    found = {}
    for _, check in pairs:
        arguments = {name: value for name, value in check.keywords.items() if name != "name"}
        found[check.func.__name__ + (repr(arguments) if arguments else "")] = check
    assert len(found) == len(pairs)
    return found


def passes(check: Check, estimator: Any) -> None:
    """A check that skips itself has said nothing: here that is a failure."""
    try:
        check(estimator)
    except SkipTest as skipped:
        raise AssertionError(f"the check was skipped: {skipped}") from skipped


@with_every_check()
def test_every_check_of_scikit_learn_passes(estimator: Any, check: Check) -> None:
    passes(check, estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_no_check_has_vanished(estimator: Any) -> None:
    """Checks depend on the tags and methods of an estimator: one that lost its `predict_proba` would be checked less.
    scikit-learn 1.6 to 1.8 have 63 for luce's, 1.9 has 64."""
    names = checks_of(estimator)
    print(f"{len(names)} checks of scikit-learn {sklearn.__version__}")
    assert len(names) >= 63
    if sklearn.__version__.startswith("1.9."):
        assert len(names) == 64
    for asked in (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
        "check_class_weight_classifiers",
        "check_decision_proba_consistency",
        "check_estimator_sparse_matrix",
        "check_estimators_partial_fit_n_features",
        "check_readonly_memmap_input",
    ):
        assert asked in names
    if sklearn.__version__.startswith("1.9."):
        assert any(name.startswith("check_array_api_input") for name in names)


class Meddling(SoftmaxRegression):
    """An estimator with one fault. Its name is luce's, which messages are checked for."""

    def __init_subclass__(cls) -> None:
        cls.__name__ = "SoftmaxRegression"


class ReturnsNothing(Meddling):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        super().fit(X, y, sample_weight)


class IgnoresWeights(Meddling):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        return super().fit(X, y)


class ChangesRows(Meddling):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        if isinstance(X, np.ndarray):
            X *= 2
        return super().fit(X, y, sample_weight)


class LearnsInPrediction(Meddling):
    def predict(self, X: Any) -> Any:
        self.seen_ = len(X)
        return super().predict(X)


class DependsOnTheBatch(Meddling):
    def decision_function(self, X: Any) -> Any:
        z = super().decision_function(X)
        return z - z.mean(axis=0)


class SkipsItself(Meddling):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        raise SkipTest("not today")


FAULTS = [
    (ReturnsNothing, "check_estimators_fit_returns_self"),
    (IgnoresWeights, "check_sample_weight_equivalence_on_dense_data"),
    (IgnoresWeights, "check_sample_weight_equivalence_on_sparse_data"),
    (ChangesRows, "check_readonly_memmap_input"),
    (LearnsInPrediction, "check_dict_unchanged"),
    (DependsOnTheBatch, "check_methods_subset_invariance"),
    (SkipsItself, "check_fit_score_takes_y"),
]


@pytest.mark.parametrize(("faulty", "check"), FAULTS, ids=lambda v: v if isinstance(v, str) else v.__qualname__)
def test_an_estimator_with_a_fault_fails_its_check(faulty: type[SoftmaxRegression], check: str) -> None:
    """And luce's passes the very same one, so that it is the fault that fails."""
    passes(checks_of(ESTIMATORS[1])[check], ESTIMATORS[1])
    estimator = faulty(l2=0.01, tol=1e-18)
    with pytest.raises((AssertionError, ValueError)):
        passes(checks_of(estimator)[check], estimator)


# --- scikit-learn's tools ------------------------------------------------------------------------------------------


def drawn(classes: int = 3, rows: int = 150, columns: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose class depends on the first column, with so much noise that no plane parts the classes."""
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(rows, columns)) * [1, 3, 0.5, 10]
    place = np.argsort(np.argsort(x[:, 0] + rng.normal(size=rows))) * classes // rows
    return x, np.array(["a", "b", "c", "d"])[place]


def test_it_is_a_classifier() -> None:
    assert is_classifier(SoftmaxRegression())
    assert not is_regressor(SoftmaxRegression())
    assert is_classifier(make_pipeline(StandardScaler(), SoftmaxRegression()))


def test_clone_copies_every_argument_and_no_fit() -> None:
    arguments: dict[str, Any] = {
        "l2": 0.5, "l1": 0.25, "class_weight": {"a": 2.0}, "fit_intercept": False, "threads": 2, "seed": 7, "tol": 1e-4,
        "time_limit": 60.0, "warm_start": True, "inference": False,
    }  # fmt: skip
    model = SoftmaxRegression(**arguments)
    assert model.get_params() == arguments
    copy = clone(model.fit(*drawn()))
    assert copy.get_params() == arguments
    assert not [name for name in vars(copy) if name.endswith("_")]


def test_check_is_fitted_and_its_error() -> None:
    model = SoftmaxRegression(l2=0.01)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    with pytest.raises(NotFittedError, match="call fit"):
        model.predict([[0.0]])
    check_is_fitted(model.fit(*drawn()))


def test_a_pipeline_is_its_steps() -> None:
    x, y = drawn()
    whole = make_pipeline(StandardScaler(), SoftmaxRegression(l2=0.01)).fit(x, y)
    scaled = StandardScaler().fit_transform(x)
    alone = SoftmaxRegression(l2=0.01).fit(scaled, y)
    assert whole.predict_proba(x).tobytes() == alone.predict_proba(scaled).tobytes()
    assert whole.score(x, y) == alone.score(scaled, y)
    assert whole.n_features_in_ == 4
    assert whole.classes_.tolist() == ["a", "b", "c"]


def test_a_pipeline_of_tables_with_text() -> None:
    """Sparse columns from the encoder beside scaled ones; the oracle is the matrix written out by hand."""
    x, y = drawn()
    town = np.array(["Oslo", "Lima", "Rome"])[np.arange(len(x)) * 7 % 3]
    frame = pd.DataFrame({"size": x[:, 1], "town": town})
    columns = make_column_transformer((StandardScaler(), ["size"]), (OneHotEncoder(), ["town"]), sparse_threshold=1.0)
    found = make_pipeline(columns, SoftmaxRegression(l2=0.01, tol=1e-14)).fit(frame, y).predict_proba(frame)
    size = (x[:, 1] - x[:, 1].mean()) / x[:, 1].std()
    by_hand = np.column_stack([size, *(town == name for name in sorted(set(town.tolist())))])
    wanted = SoftmaxRegression(l2=0.01, tol=1e-14).fit(by_hand, y).predict_proba(by_hand)
    assert np.abs(found - wanted).max() <= 1e-6  # either within sqrt(2 gap / l2) = 1.4e-6 at most, 1e-8 as a rule


def test_a_pipeline_that_hands_on_data_frames() -> None:
    """The same bits as for the numbers that the scaler hands on; it may round a frame otherwise than an array."""
    x, y = drawn()
    frame = pd.DataFrame(x, columns=["p", "q", "r", "s"])
    pipeline = make_pipeline(StandardScaler(), SoftmaxRegression(l2=0.01)).set_output(transform="pandas")
    pipeline.fit(frame, y)
    assert pipeline[-1].feature_names_in_.tolist() == ["p", "q", "r", "s"]
    scaled = pipeline[0].transform(frame).to_numpy()
    plain = SoftmaxRegression(l2=0.01).fit(scaled, y)
    assert pipeline.predict_proba(frame).tobytes() == plain.predict_proba(scaled).tobytes()


FOLDS = StratifiedKFold(3)


def by_hand(l2: float, x: np.ndarray, y: np.ndarray) -> list[float]:
    scores = []
    for rest, held in FOLDS.split(x, y):
        model = SoftmaxRegression(l2=l2).fit(x[rest], y[rest])
        place = np.searchsorted(model.classes_, y[held])
        scores.append(float(np.log(model.predict_proba(x[held])[np.arange(len(held)), place]).mean()))
    return scores


def test_cross_val_score_is_the_mean_over_the_folds() -> None:
    """1e-12: a mean of 50 logarithms in another order."""
    x, y = drawn()
    found = cross_val_score(SoftmaxRegression(l2=0.01), x, y, cv=FOLDS, scoring="neg_log_loss")
    assert found == pytest.approx(by_hand(0.01, x, y), rel=1e-12)
    hits = cross_val_score(SoftmaxRegression(l2=0.01), x, y, cv=FOLDS)
    guessed = cross_val_predict(SoftmaxRegression(l2=0.01), x, y, cv=FOLDS)
    assert hits == pytest.approx([np.mean((guessed == y)[held]) for _, held in FOLDS.split(x, y)])


def test_a_grid_search_finds_the_strength_with_the_least_loss() -> None:
    x, y = drawn()
    strengths = [1e-4, 1e-2, 1.0, 100.0]
    means = [np.mean(by_hand(l2, x, y)) for l2 in strengths]
    search = GridSearchCV(SoftmaxRegression(), {"l2": strengths}, cv=FOLDS, scoring="neg_log_loss").fit(x, y)
    assert search.cv_results_["mean_test_score"] == pytest.approx(means, rel=1e-12)
    assert search.best_params_ == {"l2": strengths[int(np.argmax(means))]}
    assert search.best_estimator_.l2_ == search.best_params_["l2"]


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("classes", [2, 3])
def test_calibration_is_that_of_scikit_learns_own_model(classes: int, method: str) -> None:
    """1e-4: the two models' decisions agree to 1e-5 (scikit-learn's stops at a gradient of 1e-10); what calibration
    makes of them moves no more than in proportion."""
    x, y = drawn(classes)
    ours = CalibratedClassifierCV(SoftmaxRegression(l2=None, tol=1e-14), method=method, cv=FOLDS).fit(x, y)
    theirs = CalibratedClassifierCV(
        LogisticRegression(solver="newton-cholesky", tol=1e-10), method=method, cv=FOLDS
    ).fit(x, y)
    p, q = ours.predict_proba(x), theirs.predict_proba(x)
    assert p.shape == (150, classes)
    assert np.abs(p - q).max() <= 1e-4


@pytest.mark.parametrize("class_weight", [None, "balanced", {"a": 3.0}], ids=repr)
def test_class_weights_and_weights_of_rows_are_those_of_scikit_learn(class_weight: Any) -> None:
    """And a weight of k is the row k times: "balanced" counts rows by their weight. 1e-5: weights lie within
    sqrt(2 gap / l2) = 1.4e-6 of the optimum, and scikit-learn's stop at a gradient of 1e-10."""
    x, y = drawn()
    k = np.random.default_rng(0).integers(1, 4, len(x)) * np.where(y == "b", 3, 1)
    ours = SoftmaxRegression(l2=0.01, class_weight=class_weight, tol=1e-14)
    one = clone(ours).fit(x, y, sample_weight=k).coef_
    assert np.abs(one - clone(ours).fit(np.repeat(x, k, axis=0), np.repeat(y, k)).coef_).max() <= 1e-5
    each = {None: {}, "balanced": {c: k.sum() / (3 * k[y == c].sum()) for c in "abc"}}
    s = k * np.array([(class_weight if isinstance(class_weight, dict) else each[class_weight]).get(c, 1.0) for c in y])
    theirs = LogisticRegression(
        C=1 / (0.01 * s.sum()), class_weight=class_weight, solver="newton-cholesky", tol=1e-10
    ).fit(x, y, sample_weight=k)
    assert np.abs(one - theirs.coef_).max() <= 1e-5


# --- names of columns ----------------------------------------------------------------------------------------------


def named(names: list[str], kind: Callable[[dict[str, Any]], Any] = pd.DataFrame) -> Any:
    x, _ = drawn()
    return kind({name: x[:, i % 4] for i, name in enumerate(names)})


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_names_are_kept_where_they_are_text(kind: Callable[..., Any]) -> None:
    _, y = drawn()
    model = SoftmaxRegression(l2=0.01).fit(named(["크기", "q", "r", "s"], kind), y)
    assert model.feature_names_in_.tolist() == ["크기", "q", "r", "s"]
    assert model.feature_names_in_.dtype == object
    assert model.predict(named(["크기", "q", "r", "s"], kind)).shape == (150,)
    model.fit(drawn()[0], y)
    assert not hasattr(model, "feature_names_in_")
    assert not hasattr(SoftmaxRegression(l2=0.01).fit(pd.DataFrame(drawn()[0]), y), "feature_names_in_")


@pytest.mark.parametrize(
    "names", [["p", "q", "r", "x"], ["p", "q", "r"], ["p", "q", "r", "s", "t"], ["s", "r", "q", "p"], list("tuvwxyz")]
)
@pytest.mark.parametrize("ask", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_other_names_are_refused_in_scikit_learns_words(names: list[str], ask: str) -> None:
    """On one line: every line and every name of its message."""
    _, y = drawn()
    ours, theirs = SoftmaxRegression(l2=0.01), LogisticRegression(max_iter=1000)
    for model in (ours, theirs):
        model.fit(named(["p", "q", "r", "s"]), y)
    with pytest.raises(ValueError, match="feature names should match") as wanted:
        getattr(theirs, ask)(named(names))
    with pytest.raises(InputError) as found:
        getattr(ours, ask)(named(names))
    assert "\n" not in str(found.value)
    for line in str(wanted.value).split("\n"):
        assert line.removeprefix("- ") in str(found.value)


def one_sided(fitted_with_names: bool) -> tuple[Any, Any, np.ndarray]:
    """Rows to fit and to ask, with names on one side only, and labels."""
    x, y = drawn()
    return (named(list("pqrs")), x, y) if fitted_with_names else (x, named(list("pqrs")), y)


@pytest.mark.parametrize("fitted_with_names", [True, False])
def test_names_on_one_side_only_warn_in_scikit_learns_words(fitted_with_names: bool) -> None:
    fitted, asked, y = one_sided(fitted_with_names)
    with pytest.warns(UserWarning, match="feature names") as wanted:
        LogisticRegression(max_iter=1000).fit(fitted, y).predict(asked)
    with pytest.warns(LuceWarning) as found:
        answer = SoftmaxRegression(l2=0.01).fit(fitted, y).predict(asked)
    assert len(found) == 1
    plain = SoftmaxRegression(l2=0.01).fit(np.asarray(fitted), y)
    assert np.array_equal(answer, plain.predict(np.asarray(asked)))
    said = str(wanted[0].message).replace("LogisticRegression", "SoftmaxRegression")
    assert str(found[0].message).startswith(said)


@pytest.mark.parametrize("ask", ["predict", "predict_proba", "predict_log_proba", "decision_function", "score"])
@pytest.mark.parametrize("fitted_with_names", [True, False])
def test_a_warning_of_names_points_at_the_line_that_asked(fitted_with_names: bool, ask: str) -> None:
    """Python shows that line, and shows a warning once for each."""
    fitted, asked, y = one_sided(fitted_with_names)
    model = SoftmaxRegression(l2=0.01).fit(fitted, y)
    with pytest.warns(LuceWarning, match="names") as found:
        getattr(model, ask)(*([asked, y] if ask == "score" else [asked]))
    assert [warning.filename for warning in found] == [__file__]


def test_a_mixture_of_names_is_refused_as_scikit_learn_does() -> None:
    frame = pd.DataFrame(drawn()[0], columns=["p", "q", 2, 3])
    for model in (SoftmaxRegression(), LogisticRegression()):
        with pytest.raises(TypeError if model.__module__.startswith("sklearn") else InputError) as caught:
            model.fit(frame, drawn()[1])
        assert "Feature names are only supported if all input features have string names" in str(caught.value)


def test_scikit_learns_own_exception_and_tags_do_not_make_luce_load_it() -> None:
    """A fit, a prediction, a refusal and a missing fit, none of which may import scikit-learn, SciPy or pandas."""
    code = """
import json, sys, numpy as np, luce
x = np.random.default_rng(0).normal(size=(60, 3)); y = x[:, 0] + 0.3 * x[:, 1] ** 2 > 0.2
model = luce.SoftmaxRegression()
try: model.predict(x)
except luce.NotFittedError: pass
model.fit(x, y, sample_weight=np.ones(60)); model.predict_proba(x); model.score(x, y); repr(model)
luce.SoftmaxRegression(inference=True, l2=0.1).fit(x, y)
luce.SoftmaxRegression().partial_fit(x, y)
luce.audit(model, x, y)
try: model.fit(x[:, :2] * np.nan, y)
except luce.InputError: pass
print(json.dumps(sorted(m for m in sys.modules if m in ("sklearn", "scipy", "pandas", "polars"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
