"""luce.audit and its command: what is left to the best weights, for fits of scikit-learn, of luce and of anyone.

The oracle of every objective is `value`, five lines of NumPy. The gap is proven at the given weights, so what is left
lies between it and 0; the best is a fit proven to 1e-9.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse
from commands import Run, good, luce, refused  # noqa: F401  # luce is the fixture that runs a command
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

from luce.audit import Audit, audit
from luce.errors import InputError
from luce.linear import SMALLEST_L2, SoftmaxRegression

Array = np.ndarray
NAMES = np.array(["a", "b", "c", "d"])


def drawn(classes: int = 3, rows: int = 120, columns: int = 4) -> tuple[Array, Array]:
    """Rows whose class depends on the first column, with so much noise that no plane parts the classes."""
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(rows, columns)) * [1, 2, 0.5, 1][:columns]
    place = np.argsort(np.argsort(x[:, 0] + rng.normal(size=rows))) * classes // rows
    return x, NAMES[np.where(np.arange(rows) % 5, place, 0)]  # classes of different sizes


def value(
    x: Array, y: Array, coef: Array, intercept: Array, l2: float, l1: float = 0.0, weights: Array | None = None
) -> float:
    """The mean cross-entropy plus penalties, for classes in the order of their names."""
    z = x @ coef.T + intercept
    z = np.column_stack([np.zeros(len(z)), z]) if z.shape[1] == 1 else z
    loss = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), np.searchsorted(np.unique(y), y)]
    return float(np.average(loss, weights=weights) + l2 / 2 * np.sum(coef**2) + l1 * np.sum(np.abs(coef)))


def decisions(x: Array, coef: Array, intercept: Array) -> Array:
    z = x @ coef.T + intercept
    return z.argmax(axis=1) if z.shape[1] > 1 else (z[:, 0] > 0).astype(int)


def holds(
    found: Audit, x: Array, y: Array, coef: Array, intercept: Array, l2: float, l1: float = 0.0, weights: Any = None
) -> None:
    """What every audit says of weights with these penalties. 1e-13: rounding in means of some hundred losses."""
    intercept = np.zeros(len(coef)) if intercept is None else intercept
    best, bias = found.point[:-1].T, found.point[-1]
    assert found.l2 == pytest.approx(l2, rel=1e-13, abs=0)
    assert found.l1 == pytest.approx(l1, rel=1e-13, abs=0)
    assert found.objective == pytest.approx(value(x, y, coef, intercept, l2, l1, weights), rel=1e-13, abs=0)
    assert found.best == pytest.approx(value(x, y, best, bias, l2, l1, weights), rel=1e-13, abs=0)
    assert found.log_loss == pytest.approx(value(x, y, coef, intercept, 0.0, 0.0, weights), rel=1e-13, abs=0)
    assert found.best_log_loss == pytest.approx(value(x, y, best, bias, 0.0, 0.0, weights), rel=1e-13, abs=0)
    assert -1e-13 <= found.objective - found.best <= found.gap * (1 + 1e-9) + 1e-13
    assert found.left == max(found.objective - found.best, 0.0)
    assert found.relative_gap == found.gap / found.objective
    assert found.certificate.converged and found.certificate.relative_gap <= 1e-9
    assert found.rows == len(x)
    assert found.changed == np.sum(decisions(x, coef, intercept) != decisions(x, best, bias))


def quiet(model: Any, x: Array, y: Array, **how: Any) -> Any:
    """Fitted without a word on its convergence: what that is worth is what the audit is for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y, **how)


# --- scikit-learn's LogisticRegression -----------------------------------------------------------------------------


@pytest.mark.parametrize("max_iter", [2, 5, 100])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_a_loose_fit_is_within_its_gap_of_the_best(classes: int, max_iter: int) -> None:
    x, y = drawn(classes)
    model = quiet(LogisticRegression(max_iter=max_iter), x, y)
    found = audit(model, x, y)
    holds(found, x, y, model.coef_, model.intercept_, 1 / len(x))
    assert max_iter > 5 or found.left > 1e-4  # two or five steps leave something that shows


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_a_tight_fit_is_hardly_above_the_best(classes: int) -> None:
    """1e-9, the tolerance of the fit that it is compared with."""
    x, y = drawn(classes)
    model = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(x, y)
    found = audit(model, x, y)
    holds(found, x, y, model.coef_, model.intercept_, 1 / len(x))
    assert found.left <= 1e-9 * found.best
    assert found.relative_gap <= 1e-9
    assert found.changed == 0


SETTINGS: dict[str, dict[str, Any]] = {
    "C of 0.01": {"C": 0.01},
    "C of 100": {"C": 100.0},
    "no intercept": {"fit_intercept": False},
    "balanced classes": {"class_weight": "balanced"},
    "weights for two classes": {"class_weight": {"a": 3.0, "b": 0.5}},
    "weights, C of 10, no intercept": {"class_weight": {"a": 3.0}, "C": 10.0, "fit_intercept": False},
    "no penalty": {"C": np.inf},
}


def penalties_of(model: Any, y: Array, sample_weight: Array | None = None) -> tuple[float, Array]:
    """What LogisticRegression minimises, C sum_i s_i loss_i + |w|^2 / 2, over C sum_i s_i: 1 / (C sum s), and s."""
    s = np.ones(len(y)) if sample_weight is None else sample_weight.astype(float)
    names = np.unique(y)
    if model.class_weight == "balanced":
        each = {name: s.sum() / (len(names) * s[y == name].sum()) for name in names}
    else:
        each = model.class_weight or {}
    s = s * np.array([each.get(name, 1.0) for name in y])
    return max(1 / (model.C * s.sum()), SMALLEST_L2), s


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_settings_of_the_model_are_those_of_the_audit(classes: int, settings: str) -> None:
    x, y = drawn(classes)
    model = quiet(LogisticRegression(**SETTINGS[settings], tol=1e-3, max_iter=20), x, y)
    l2, s = penalties_of(model, y)
    found = audit(model, x, y)
    holds(found, x, y, model.coef_, model.intercept_, l2, weights=s)
    tight = LogisticRegression(**SETTINGS[settings], solver="newton-cholesky", tol=1e-12).fit(x, y)
    assert audit(tight, x, y).left <= 1e-8  # its own best: so the two minimise one thing
    if settings == "no intercept":
        assert not found.point[-1].any()


@pytest.mark.parametrize("class_weight", [None, "balanced", {"a": 3.0}])
def test_weights_of_rows_count_as_in_the_fit(class_weight: Any) -> None:
    x, y = drawn(3)
    w = np.random.default_rng(0).uniform(0.2, 3, len(x))
    model = LogisticRegression(class_weight=class_weight, solver="newton-cholesky", tol=1e-12)
    model.fit(x, y, sample_weight=w)
    l2, s = penalties_of(model, y, w)
    found = audit(model, x, y, sample_weight=w)
    holds(found, x, y, model.coef_, model.intercept_, l2, weights=s)
    assert found.left <= 1e-9


@pytest.mark.parametrize("ratio", [0.5, 1.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_lasso_and_elastic_net(classes: int, ratio: float) -> None:
    x, y = drawn(classes)
    model = quiet(LogisticRegression(C=0.1, l1_ratio=ratio, solver="saga", max_iter=30, random_state=0), x, y)
    strength = 1 / (0.1 * len(x))
    found = audit(model, x, y)
    l2 = (1 - ratio) * strength
    holds(found, x, y, model.coef_, model.intercept_, l2, ratio * strength)
    tight = LogisticRegression(C=0.1, l1_ratio=ratio, solver="saga", tol=1e-9, max_iter=10_000, random_state=0)
    assert audit(tight.fit(x, y), x, y).left <= 1e-8


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_the_strengths_that_cross_validation_chose(ratio: float) -> None:
    x, y = drawn(2)
    model = LogisticRegressionCV(
        Cs=[0.02, 0.1], solver="saga", l1_ratios=(ratio,), scoring="neg_log_loss", use_legacy_attributes=False,
        tol=1e-9, max_iter=10_000, random_state=0,
    ).fit(x, y)  # fmt: skip
    found = audit(model, x, y)
    strength = 1 / (float(np.ravel(model.C_)[0]) * len(x))
    holds(found, x, y, model.coef_, model.intercept_, (1 - ratio) * strength, ratio * strength)
    assert found.left <= 1e-8


def test_a_penalty_on_the_intercept_is_another_objective() -> None:
    """liblinear has one, so its fit is best for no objective of luce's; without an intercept it is."""
    x, y = drawn(2)
    x = x + 3
    with pytest.raises(InputError, match="liblinear"):
        audit(LogisticRegression(solver="liblinear").fit(x, y), x, y)
    bare = LogisticRegression(solver="liblinear", fit_intercept=False, tol=1e-10).fit(x, y)
    found = audit(bare, x, y)
    holds(found, x, y, bare.coef_, np.zeros(1), 1 / len(x))
    assert found.left <= 1e-8


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csr_matrix, np.float32, pl.DataFrame])
def test_rows_of_any_kind(kind: Callable[[Any], Any]) -> None:
    x, y = drawn(3)
    x = x.astype(np.float32).astype(np.float64)
    model = quiet(LogisticRegression(max_iter=5), x, y)
    found = audit(model, x.astype(np.float32) if kind is np.float32 else kind(x), y)
    holds(found, x, y, model.coef_, model.intercept_, 1 / len(x))


# --- SGDClassifier -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("penalty", "shares"), [("l2", (1, 0)), ("l1", (0, 1)), ("elasticnet", (0.75, 0.25)), (None, (0, 0))], ids=repr
)
def test_stochastic_gradient_descent(penalty: str | None, shares: tuple[float, float]) -> None:
    """It minimises the mean loss plus alpha times the penalty."""
    x, y = drawn(2)
    model = SGDClassifier(
        loss="log_loss", alpha=0.01, penalty=penalty, l1_ratio=0.25, max_iter=20, tol=None, random_state=0
    ).fit(x, y)
    found = audit(model, x, y)
    l2, l1 = (0.01 * share for share in shares)
    holds(found, x, y, model.coef_, model.intercept_, l2 if l1 else max(l2, SMALLEST_L2), l1)
    assert 0 < found.left < 0.1


def test_its_class_weights_and_weights_of_rows() -> None:
    """They scale the loss of each row, and the mean is over the number of rows: mean_i s_i loss_i + alpha |w|^2 / 2,
    which over mean s is what is audited."""
    x, y = drawn(2)
    w = np.random.default_rng(0).uniform(1, 3, len(x))
    each = {"a": 2.0, "b": 1.0}
    model = SGDClassifier(loss="log_loss", alpha=0.01, class_weight=each, max_iter=20, tol=None, random_state=0)
    model.fit(x, y, sample_weight=w)
    s = w * np.array([each[name] for name in y])
    found = audit(model, x, y, sample_weight=w)
    holds(found, x, y, model.coef_, model.intercept_, 0.01 / s.mean(), weights=s)


@pytest.mark.parametrize("loss", ["hinge", "modified_huber", "perceptron", "squared_hinge"])
def test_another_loss_is_refused(loss: str) -> None:
    x, y = drawn(2)
    model = SGDClassifier(loss=loss, max_iter=20, tol=None).fit(x, y)
    with pytest.raises(InputError, match=rf"loss='{loss}': only log_loss"):
        audit(model, x, y)


def test_a_machine_of_support_vectors_is_refused() -> None:
    x, y = drawn(2)
    with pytest.raises(InputError, match="loss"):
        audit(LinearSVC().fit(x, y), x, y)


def test_one_against_the_rest_is_no_softmax() -> None:
    """Three classes of SGDClassifier are three fits of their own: no softmax was minimised."""
    x, y = drawn(3)
    model = SGDClassifier(loss="log_loss", alpha=0.01, max_iter=20, tol=None).fit(x, y)
    with pytest.raises(InputError):
        audit(model, x, y)


# --- luce's own ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-12])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_certificate_of_luce_is_confirmed(classes: int, tol: float) -> None:
    x, y = drawn(classes)
    model = SoftmaxRegression(l2=0.01, tol=tol).fit(x, y)
    found = audit(model, x, y)
    holds(found, x, y, model.coef_, model.intercept_, 0.01)
    assert found.objective == pytest.approx(model.certificate_.objective, rel=1e-13, abs=0)
    assert found.left <= model.certificate_.gap + 1e-13
    assert found.gap == pytest.approx(model.certificate_.gap, rel=1e-3, abs=1e-18)  # logits afresh, and b of mean 0


@pytest.mark.parametrize(
    "settings",
    [
        {"l2": "auto"},
        {"l2": None},
        {"l2": 0.1, "l1": 0.02},
        {"l2": 0.0, "l1": 0.02},
        {"l2": 0.01, "fit_intercept": False},
        {"l2": 0.01, "class_weight": "balanced"},
        {"l2": 0.01, "class_weight": {"a": 3.0, "b": 0.5}},
    ],
    ids=repr,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_its_settings_are_those_of_the_audit(settings: dict[str, Any], weighted: bool) -> None:
    """luce scales weights to mean 1, so l2 is that of the mean loss whatever they are."""
    x, y = drawn(3)
    w = np.random.default_rng(0).uniform(0.2, 3, len(x)) if weighted else None
    model = SoftmaxRegression(**settings, tol=1e-10).fit(x, y, sample_weight=w)
    found = audit(model, x, y, sample_weight=w)
    assert found.objective == pytest.approx(model.certificate_.objective, rel=1e-12, abs=0)
    assert found.left <= 1e-10
    assert (found.l2, found.l1) == (pytest.approx(model.l2_), pytest.approx(settings.get("l1", 0.0)))


# --- weights of anyone ---------------------------------------------------------------------------------------------


def weights_of(classes: int, rough: int = 5) -> tuple[Array, Array, dict[str, Any]]:
    x, y = drawn(classes)
    model = quiet(LogisticRegression(max_iter=rough), x, y)
    return x, y, {"coef": model.coef_, "intercept": model.intercept_, "classes": model.classes_}


@pytest.mark.parametrize("strength", [{"C": 1.0}, {"l2": 1 / 120}], ids=repr)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_mapping_with_its_strength(classes: int, strength: dict[str, float]) -> None:
    x, y, given = weights_of(classes)
    holds(audit(given, x, y, **strength), x, y, given["coef"], given["intercept"], 1 / 120)
    with_underscores = {name + "_": values for name, values in given.items()}
    assert audit(with_underscores, x, y, **strength).objective == audit(given, x, y, **strength).objective
    as_lists = {name: values.tolist() for name, values in given.items()}
    assert audit(as_lists, x, y, **strength).objective == audit(given, x, y, **strength).objective


def test_a_given_strength_goes_before_that_of_the_model() -> None:
    x, y = drawn(3)
    model = quiet(LogisticRegression(C=5.0, max_iter=5), x, y)
    holds(audit(model, x, y, l2=0.25), x, y, model.coef_, model.intercept_, 0.25)
    holds(audit(model, x, y, C=0.5), x, y, model.coef_, model.intercept_, 2 / 120)


def same(one: Audit, other: Audit) -> None:
    """1e-12: the same sums with classes in another order; what is best is known to 1e-9 only."""
    for name in ("objective", "log_loss", "gap"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-12, abs=0)
    assert one.best == pytest.approx(other.best, rel=2e-9, abs=0)
    assert one.changed == other.changed


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0], [2, 1, 0]])
def test_classes_in_another_order(order: list[int]) -> None:
    x, y, given = weights_of(3)
    other = {name: values[order] for name, values in given.items()}
    same(audit(given, x, y, C=1), audit(other, x, y, C=1))


def test_two_classes_the_other_way_round() -> None:
    x, y, given = weights_of(2)
    other = {"coef": -given["coef"], "intercept": -given["intercept"], "classes": given["classes"][::-1]}
    same(audit(given, x, y, C=1), audit(other, x, y, C=1))


def test_two_classes_with_a_column_each() -> None:
    """The logit is their difference."""
    x, y, given = weights_of(2)
    shift, bias = np.arange(4.0), 3.0
    coef = np.stack([shift, shift + given["coef"][0]])
    intercept = np.array([bias, bias + given["intercept"][0]])
    found = audit({"coef": coef, "intercept": intercept, "classes": given["classes"]}, x, y, C=1)
    same(audit(given, x, y, C=1), found)
    backwards = {"coef": coef[::-1], "intercept": intercept[::-1], "classes": given["classes"][::-1]}
    same(audit(given, x, y, C=1), audit(backwards, x, y, C=1))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_missing_intercept_is_0(classes: int) -> None:
    x, y, given = weights_of(classes)
    bare = {name: given[name] for name in ("coef", "classes")}
    found = audit(bare, x, y, C=1)
    holds(found, x, y, given["coef"], np.zeros(len(given["coef"])), 1 / 120)
    assert np.abs(found.point[-1]).max() > 1e-3  # the best weights may have one: nothing says that this fit had none


def test_weights_in_single_precision() -> None:
    x, y, given = weights_of(3)
    coef = given["coef"].astype(np.float32)
    found = audit({**given, "coef": coef}, x, y, C=1)
    holds(found, x, y, coef.astype(np.float64), given["intercept"], 1 / 120)


@pytest.mark.parametrize("part", [1e-3, 1.0, 100.0])
def test_weights_with_a_part_that_all_classes_share(part: float) -> None:
    """It changes no probability, but the penalty counts it, so the best weights have none."""
    x, y, given = weights_of(3)
    coef = given["coef"] + part * np.arange(1, 5)
    found = audit({**given, "coef": coef}, x, y, C=1)
    holds(found, x, y, coef, given["intercept"], 1 / 120)
    assert found.best == pytest.approx(audit(given, x, y, C=1).best, rel=2e-9, abs=0)


def test_weights_of_whole_numbers() -> None:
    x, y, given = weights_of(3)
    whole = np.array([[-10, 2, 0, 1], [3, -3, 0, 0], [9, 1, 1, -2]])
    holds(audit({**given, "coef": whole}, x, y, C=1), x, y, whole, given["intercept"], 1 / 120)


def test_labels_of_any_kind() -> None:
    x, y, given = weights_of(3)
    place = np.searchsorted(given["classes"], y)
    for names in ([0, 1, 2], [-5, 7, 9], [0.0, 1.0, 2.0]):
        other = {**given, "classes": np.array(names)}
        same(audit(given, x, y, C=1), audit(other, x, np.array(names)[place], C=1))


def test_far_off_weights_have_an_honest_gap() -> None:
    """Where intercepts are far from their best nothing is proven; the gap then is infinite, and so it says."""
    x, y, given = weights_of(3)
    found = audit({**given, "intercept": np.array([50.0, 0.0, -50.0])}, x, y, C=1)
    assert found.gap == np.inf
    assert found.left > 1
    assert "no bound there" in found.sentence()


def test_the_sentence_holds_the_numbers() -> None:
    x, y, given = weights_of(3, rough=2)
    found = audit(given, x, y, C=1)
    assert found.sentence() == (
        f"the objective is {found.objective:.6g} nats a row, {found.left:.2g} ({found.left / found.best:.1g} of it) "
        f"above the best (proven at the weights themselves: at most {found.gap:.2g}); at the best, the log loss is "
        f"{found.log_loss - found.best_log_loss:.2g} lower ({found.best_log_loss:.6g}), and {found.changed} of 120 "
        "rows get another class"
    )
    assert found.changed > 0
    worse = replace(found, log_loss=found.best_log_loss - 0.25)
    assert "0.25 higher" in worse.sentence()


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"coef": None}, "lack coef"),
        ({"classes": None}, "lack classes"),
        ({"coef": None, "classes": None}, "lack coef and classes"),
        ({"coef": np.ones((2, 4))}, "2 rows and intercept 3 numbers for 3 classes: give 3"),
        ({"intercept": np.ones(2)}, "3 rows and intercept 2 numbers"),
        ({"coef": np.ones((3, 5))}, "X has 4 columns, but the weights have 5"),
        ({"coef": np.array([["x"] * 4] * 3)}, "give numbers"),
        ({"coef": np.full((3, 4), np.nan)}, "not finite"),
        ({"intercept": np.array([0, np.inf, 0])}, "not finite"),
        ({"classes": np.array(["a", "b", "x"])}, "'c' in row"),
        ({"classes": np.array([0, 1, 2])}, "the classes are"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_weights_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    x, y, given = weights_of(3)
    with pytest.raises(InputError, match=said) as caught:
        audit({**given, **change}, x, y, C=1)
    assert "\n" not in str(caught.value)


def test_classes_that_are_named_twice_are_refused() -> None:
    x, y, given = weights_of(3)
    with pytest.raises(InputError, match="classes"):
        audit({**given, "classes": np.array(["a", "b", "b"])}, x, np.where(y == "c", "b", y), C=1)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, "give C .* or l2"),
        ({"C": 1.0, "l2": 0.1}, "give one"),
        ({"C": 0.0}, "C is 0.0"),
        ({"C": -1.0}, "C is -1.0"),
        ({"C": np.nan}, "C is nan"),
        ({"l2": -1.0}, "l2 is -1.0"),
        ({"l2": np.inf}, "l2 is inf"),
        ({"C": 1.0, "sample_weight": [1.0]}, "each of the 120 rows"),
    ],
    ids=repr,
)
def test_strengths_that_are_none_are_refused(how: dict[str, Any], said: str) -> None:
    x, y, given = weights_of(3)
    with pytest.raises(InputError, match=said):
        audit(given, x, y, **how)


def test_models_without_linear_weights_are_refused() -> None:
    x, y = drawn(3)
    for model in (GaussianNB().fit(x, y), SoftmaxRegression(), LogisticRegression(), object(), "text", None):
        with pytest.raises(InputError, match="has no coef_"):
            audit(model, x, y)


def test_linear_models_that_do_not_say_their_strength_need_one() -> None:
    x, y = drawn(3)
    model = LinearDiscriminantAnalysis().fit(x, y)
    with pytest.raises(InputError, match="do not say how strong their penalty was"):
        audit(model, x, y)
    holds(audit(model, x, y, l2=0.01), x, y, model.coef_, model.intercept_, 0.01)


def test_rows_that_are_none_are_refused() -> None:
    x, y, given = weights_of(3)
    with pytest.raises(InputError, match="nan in row 3, column 2"):
        audit(given, np.where(np.arange(480).reshape(120, 4) == 14, np.nan, x), y, C=1)
    with pytest.raises(InputError, match="each of the 120 rows"):
        audit(given, x, y[:-1], C=1)


# --- a hand-made fault for each claim ------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[Audit], Audit]] = {
    "a tenth of the gap": lambda a: replace(a, gap=min(a.gap / 10, 0.9 * a.left)),
    "an objective 1e-12 too small": lambda a: replace(a, objective=a.objective * (1 - 1e-12)),
    "a best 1e-12 too small": lambda a: replace(a, best=a.best * (1 - 1e-12)),
    "a log loss with the penalty": lambda a: replace(a, log_loss=a.objective),
    "one row too many": lambda a: replace(a, changed=a.changed + 1),
    "another strength": lambda a: replace(a, l2=a.l2 * (1 + 1e-9)),
    "the given weights for the best": lambda a: replace(a, point=a.point * 1.001),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_audit_that_says_something_else_is_found_out(fault: str) -> None:
    x, y, given = weights_of(3)
    found = audit(given, x, y, C=1)
    facts = (x, y, given["coef"], given["intercept"], 1 / 120)
    holds(found, *facts)
    with pytest.raises(AssertionError):
        holds(FAULTS[fault](found), *facts)


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(luce: Run, tmp_path: Path) -> tuple[Array, Array, dict[str, Any]]:  # noqa: F811
    """data.csv and w.npz in the working folder, and what they hold."""
    x, y, given = weights_of(3)
    pl.DataFrame({f"x{i}": x[:, i] for i in range(4)} | {"kind": y.tolist()}).write_csv(tmp_path / "data.csv")
    np.savez(tmp_path / "w.npz", **given)
    return x, y, given


Files = tuple[Array, Array, dict[str, Any]]


def test_the_command_says_the_sentence(luce: Run, files: Files) -> None:  # noqa: F811
    x, y, given = files
    ran = good(luce("audit", "w.npz", "data.csv", "--label", "kind", "--C", 1))
    assert ran.out == audit(given, x, y, C=1).sentence() + "\n"
    assert ran.err == ""
    assert good(luce("audit", "w.npz", "data.csv", "--label", "kind", "--l2", 1 / 120, "--threads", 2)).out == ran.out


def test_the_command_in_json(luce: Run, files: Files) -> None:  # noqa: F811
    x, y, given = files
    told = json.loads(good(luce("audit", "w.npz", "data.csv", "--label", "kind", "--C", 1, "--json")).out)
    found = audit(given, x, y, C=1)
    names = ["objective", "gap", "best", "left", "log_loss", "best_log_loss", "rows", "changed", "l2"]
    assert told == {name: getattr(found, name) for name in names}


def test_a_gap_that_is_not_proven_is_null_in_json(luce: Run, files: Files) -> None:  # noqa: F811
    np.savez("far.npz", **{**files[2], "intercept": np.array([50.0, 0.0, -50.0])})
    told = json.loads(good(luce("audit", "far.npz", "data.csv", "--label", "kind", "--C", 1, "--json")).out)
    assert told["gap"] is None
    assert told["left"] > 1


def test_columns_are_matched_by_name_where_the_weights_name_them(luce: Run, files: Files) -> None:  # noqa: F811
    """In any order of the file, with more columns beside, of text too."""
    x, y, given = files
    np.savez("named.npz", **given, columns=np.array(["x0", "x1", "x2", "x3"]))
    pl.read_csv("data.csv").with_columns(town=pl.lit("Oslo")).select("x3", "town", "kind", "x1", "x0", "x2").write_csv(
        "mixed.csv"
    )
    ran = good(luce("audit", "named.npz", "mixed.csv", "--label", "kind", "--C", 1))
    assert ran.out == audit(given, x, y, C=1).sentence() + "\n"
    refused(luce("audit", "w.npz", "mixed.csv", "--label", "kind", "--C", 1))
    np.savez("unknown.npz", **given, columns=np.array(["x0", "x1", "x2", "size"]))
    refused(luce("audit", "unknown.npz", "mixed.csv", "--label", "kind", "--C", 1), "size")


@pytest.mark.parametrize("names", [[0, 1, 2], [0.0, 1.0, 2.0], ["0", "1", "2"]])
def test_labels_of_numbers_match_by_what_they_say(luce: Run, files: Files, names: list[Any]) -> None:  # noqa: F811
    x, y, given = files
    place = np.searchsorted(given["classes"], y)
    pl.read_csv("data.csv").with_columns(kind=pl.Series(place)).write_csv("numbers.csv")
    np.savez("numbers.npz", **{**given, "classes": np.array(names)})
    ran = good(luce("audit", "numbers.npz", "numbers.csv", "--label", "kind", "--C", 1))
    assert ran.out == audit(given, x, y, C=1).sentence() + "\n"


def test_names_with_underscores_are_those_of_scikit_learn(luce: Run, files: Files) -> None:  # noqa: F811
    np.savez("sk.npz", **{name + "_": values for name, values in files[2].items()})
    one, other = (good(luce("audit", f, "data.csv", "--label", "kind", "--C", 1)).out for f in ("w.npz", "sk.npz"))
    assert one == other


class Trap:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("sprung").absolute(),)


def test_pickled_objects_are_refused_and_not_run(luce: Run, files: Files) -> None:  # noqa: F811
    given = files[2]
    np.savez("objects.npz", **{**given, "classes": np.array(["a", "b", Trap()], dtype=object)})
    refused(luce("audit", "objects.npz", "data.csv", "--label", "kind", "--C", 1), "objects.npz", "plain arrays")
    Path("trap.npz").write_bytes(pickle.dumps(Trap()))
    refused(luce("audit", "trap.npz", "data.csv", "--label", "kind", "--C", 1), "trap.npz")
    assert not Path("sprung").exists()
    pickle.loads(pickle.dumps(Trap()))
    assert Path("sprung").exists()  # the trap works where it is run


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken", b"\x93NUMPY\x01\x00 broken", b"\x00" * 100])
def test_files_that_are_no_weights_are_refused(luce: Run, files: Files, content: bytes) -> None:  # noqa: F811
    Path("bad.npz").write_bytes(content)
    refused(luce("audit", "bad.npz", "data.csv", "--label", "kind", "--C", 1), "bad.npz")


@pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "compressed"])
def whole(request: pytest.FixtureRequest, files: Files) -> bytes:
    request.param("whole.npz", **files[2])
    return Path("whole.npz").read_bytes()


def test_a_file_cut_short_is_refused_at_any_length(luce: Run, whole: bytes) -> None:  # noqa: F811
    for length in range(0, len(whole), 37):
        Path("short.npz").write_bytes(whole[:length])
        refused(luce("audit", "short.npz", "data.csv", "--label", "kind", "--C", 1), "short.npz")


@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_a_file_with_a_flipped_byte_is_refused_or_read(luce: Run, whole: bytes, mask: int) -> None:  # noqa: F811
    """What the checksums of a zip file leave out holds no weights. No error escapes: if the weights are read, then the
    data are missing."""
    for at in range(0, len(whole), 2):
        Path("bent.npz").write_bytes(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :])
        refused(luce("audit", "bent.npz", "none.csv", "--label", "kind", "--C", 1))


def test_a_file_that_lacks_weights_is_refused(luce: Run, files: Files) -> None:  # noqa: F811
    given = files[2]
    np.savez("bare.npz", intercept=given["intercept"])
    refused(
        luce("audit", "bare.npz", "data.csv", "--label", "kind", "--C", 1), "bare.npz holds intercept", "needs coef"
    )
    np.savez("empty.npz")
    refused(luce("audit", "empty.npz", "data.csv", "--label", "kind", "--C", 1), "empty.npz holds nothing")
    np.save("one.npy", given["coef"])
    refused(luce("audit", "one.npy", "data.csv", "--label", "kind", "--C", 1), "one.npy holds one array", "numpy.savez")


def test_files_that_are_not_there_are_named(luce: Run, files: Files) -> None:  # noqa: F811
    refused(luce("audit", "none.npz", "data.csv", "--label", "kind", "--C", 1), "none.npz: there is no such file")
    refused(luce("audit", "w.npz", "none.csv", "--label", "kind", "--C", 1), "none.csv")
    refused(luce("audit", ".", "data.csv", "--label", "kind", "--C", 1))


@pytest.mark.parametrize("cell", ["", "NA", "many"])
def test_a_missing_cell_is_named_with_its_row(luce: Run, files: Files, cell: str) -> None:  # noqa: F811
    """Rows of a file count from 1, as they do in every message on a file."""
    lines = Path("data.csv").read_text().splitlines()
    cells = lines[8].split(",")
    lines[8] = ",".join([*cells[:2], cell, *cells[3:]])
    Path("holes.csv").write_text("\n".join(lines) + "\n")
    refused(luce("audit", "w.npz", "holes.csv", "--label", "kind", "--C", 1), "holes.csv", "row 8", "x2")


def test_labels_that_are_none_are_named_with_their_row(luce: Run, files: Files) -> None:  # noqa: F811
    table = pl.read_csv("data.csv")
    for label, said in (("other", "none of the classes"), ("", "row 6")):
        cells = table["kind"].to_list()
        cells[5] = label
        table.with_columns(kind=pl.Series(cells)).write_csv("labels.csv")
        refused(luce("audit", "w.npz", "labels.csv", "--label", "kind", "--C", 1), "labels.csv", "6", said)


def test_a_strength_is_needed_and_one_only(luce: Run, files: Files) -> None:  # noqa: F811
    refused(luce("audit", "w.npz", "data.csv", "--label", "kind"), "give C")
    refused(luce("audit", "w.npz", "data.csv", "--label", "kind", "--C", 1, "--l2", 0.1), "give one")
    refused(luce("audit", "w.npz", "data.csv", "--label", "kind", "--C", -1), "C is -1")
    refused(luce("audit", "w.npz", "data.csv", "--label", "sort", "--C", 1), "sort")


def test_other_columns_than_the_weights_have_are_refused(luce: Run, files: Files) -> None:  # noqa: F811
    pl.read_csv("data.csv").drop("x1").write_csv("fewer.csv")
    refused(luce("audit", "w.npz", "fewer.csv", "--label", "kind", "--C", 1), "3 columns", "4")
