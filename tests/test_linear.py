"""SoftmaxRegression: its optimum against 50 digits and scikit-learn, its edge cases, its arguments and refusals."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import reference
from claims import distance
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

import luce
from luce.errors import InputError, LuceWarning, NotFittedError
from luce.linear import SMALLEST_L2, SoftmaxRegression

CLASSES = {2: ["no", "yes"], 3: ["a", "b", "c"], 5: [10, 20, 30, 40, 50]}
every_k = pytest.mark.parametrize("classes", CLASSES)


def drawn(classes: int, rows: int = 120, columns: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose class depends on the first column, with so much noise that no plane parts the classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    place = np.argsort(np.argsort(x[:, 0] + rng.normal(size=rows))) * classes // rows
    return x, np.array(CLASSES[classes])[place]


def point_of(model: SoftmaxRegression) -> np.ndarray:
    return np.vstack([model.coef_.T, model.intercept_])


# --- the optimum ---------------------------------------------------------------------------------------------------


def tiny(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Twelve rows of two to four classes, two columns, by turns well and badly scaled."""
    rng = np.random.default_rng(seed)
    classes = 2 + seed % 3
    x = rng.normal(size=(12, 2)) * [[1, 1], [100, 1], [1, 1e-3]][seed % 3]
    return x, (np.arange(12) % classes).astype(np.int32), classes


@pytest.mark.parametrize("tol", [1e-6, 1e-12, 1e-20])
@pytest.mark.parametrize("seed", range(15))
def test_e13_what_is_left_is_at_most_the_gap(seed: int, tol: float) -> None:
    """Both values with 50 digits. The optimum is Newton's in float64: its own distance is its square, below 1e-24."""
    x, codes, classes = tiny(seed)
    l2 = (1.0, 1e-2, 1e-4)[seed // 5]
    model = SoftmaxRegression(l2=l2, tol=tol).fit(x, codes)
    plain = (x, codes, 12 * l2, np.ones(12))
    best = reference.optimum(x, codes, classes, 12 * l2, np.ones(12))
    left = (reference.exact_objective(*plain, point_of(model)) - reference.exact_objective(*plain, best)) / 12
    certificate = model.certificate_
    assert certificate.converged
    assert certificate.gap <= tol * certificate.objective
    assert -1e-24 <= left <= certificate.gap + 1e-24
    exact = reference.exact_objective(*plain, point_of(model)) / 12
    assert certificate.objective == pytest.approx(float(exact), rel=1e-14)  # a sum of 12 losses


@every_k
@pytest.mark.parametrize("C", [1.0, 0.01, 100.0])
def test_it_agrees_with_scikit_learn(classes: int, C: float) -> None:
    """1e-4: scikit-learn stops on its gradient, here of 1e-10; both then lie far within 1e-4 of the one optimum."""
    x, y = drawn(classes)
    theirs = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(x, y)
    ours = SoftmaxRegression(l2=1 / (C * len(x)), tol=1e-14).fit(x, y)
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert np.abs(ours.coef_ - theirs.coef_).max() <= 1e-4
    assert np.abs(ours.intercept_ - theirs.intercept_).max() <= 1e-4
    assert np.abs(ours.predict_proba(x) - theirs.predict_proba(x)).max() <= 1e-4
    assert ours.score(x, y) == theirs.score(x, y)


def test_no_l2_is_one_over_n_is_c_of_1() -> None:
    x, y = drawn(3)
    a, b = SoftmaxRegression(l2=None).fit(x, y), SoftmaxRegression(l2=1 / len(x)).fit(x, y)
    assert a.coef_.tobytes() == b.coef_.tobytes()
    assert a.l2_ == 1 / 120


def test_e14_a_tolerance_out_of_reach_warns_with_the_gap_and_leaves_a_usable_model() -> None:
    x, y = drawn(3)
    with pytest.warns(LuceWarning, match=r"stopped early \(no further step\), but proven .* nats"):
        model = SoftmaxRegression(l2=1 / 120, tol=1e-60).fit(x, y)
    assert not model.certificate_.converged
    assert model.certificate_.relative_gap < 1e-20
    assert model.predict_proba(x).shape == (120, 3)


@every_k
def test_intercepts_have_mean_0_but_for_two_classes(classes: int) -> None:
    model = SoftmaxRegression().fit(*drawn(classes))
    assert model.intercept_.shape == (1 if classes == 2 else classes,)
    assert classes == 2 or abs(model.intercept_.mean()) <= 1e-15  # five roundings of numbers near 1


# --- weights -------------------------------------------------------------------------------------------------------


@every_k
def test_e06_a_weight_of_k_is_the_row_k_times(classes: int) -> None:
    """1e-9. The weights are within sqrt(2 gap / l2) of the optimum's, since the objective is l2-strongly convex in
    them. With tol = 1e-20, l2 = 0.1 and an objective of at most ln 5 = 1.6 that is 6e-10 for each of the two fits at
    worst, 2e-10 for the objectives here. A looser tol proves less: 1e-6 allows a difference of 1e-3.
    """
    x, y = drawn(classes)
    k = np.random.default_rng(1).integers(0, 4, len(x))
    one = SoftmaxRegression(l2=0.1, tol=1e-20).fit(x, y, sample_weight=k)
    other = SoftmaxRegression(l2=0.1, tol=1e-20).fit(np.repeat(x, k, axis=0), np.repeat(y, k))
    assert np.abs(one.coef_ - other.coef_).max() <= 1e-9
    assert np.abs(one.intercept_ - other.intercept_).max() <= 1e-9
    assert one.certificate_.objective == pytest.approx(other.certificate_.objective, rel=1e-13)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_n19_scaled_weights_change_nothing(scale: float) -> None:
    """With a given l2, as weights are relative to their mean. The tolerance is that of E06."""
    x, y = drawn(3)
    w = np.random.default_rng(1).uniform(0, 2, len(x))
    a = SoftmaxRegression(l2=0.1, tol=1e-20).fit(x, y, sample_weight=w)
    b = SoftmaxRegression(l2=0.1, tol=1e-20).fit(x, y, sample_weight=w * scale)
    assert np.abs(a.coef_ - b.coef_).max() <= 1e-9


def test_weights_of_1_are_no_weights() -> None:
    x, y = drawn(3)
    a, b = SoftmaxRegression().fit(x, y), SoftmaxRegression().fit(x, y, sample_weight=np.ones(len(x)))
    assert a.coef_.tobytes() == b.coef_.tobytes()


def test_a_class_without_weight_becomes_unlikely_and_nothing_breaks() -> None:
    x, y = drawn(3)
    model = SoftmaxRegression().fit(x, y, sample_weight=y != "b")
    assert np.isfinite(model.coef_).all()
    assert model.predict_proba(x)[:, 1].max() < 1e-3


# --- edge cases ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0, "one", True])
def test_e02_one_class_is_refused(label: Any) -> None:
    with pytest.raises(InputError, match="one class only"):
        SoftmaxRegression().fit([[0.0], [1.0]], [label, label])


@pytest.mark.parametrize("shape", [(2, 1), (2, 5), (60, 1), (20, 80)])
@every_k
def test_e03_few_rows_one_column_more_columns_than_rows(shape: tuple[int, int], classes: int) -> None:
    rows, columns = max(shape[0], classes), shape[1]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, columns)), np.arange(rows) % classes
    model = SoftmaxRegression().fit(x, y)
    assert model.coef_.shape == (1 if classes == 2 else classes, columns)
    assert model.n_features_in_ == columns
    assert model.predict_proba(x[:1]).shape == (1, classes)
    assert model.predict(x[:1]).shape == (1,)
    assert model.decision_function(x).shape == ((rows,) if classes == 2 else (rows, classes))
    assert model.certificate_.converged


def test_e03_one_row_has_one_class() -> None:
    with pytest.raises(InputError, match="one class only"):
        SoftmaxRegression().fit([[1.0, 2.0]], [0])


def test_rows_that_say_nothing_give_the_shares_of_the_classes() -> None:
    model = SoftmaxRegression().fit(np.ones((4, 2)), [0, 0, 0, 1])
    assert model.predict_proba([[1.0, 1.0]])[0] == pytest.approx([0.75, 0.25], rel=1e-6)
    assert np.abs(model.coef_).max() <= 1e-6


@every_k
def test_e04_separable_classes_without_penalty_warn_and_stay_finite(classes: int) -> None:
    x = np.arange(20.0)[:, None] + [0.0]
    y = np.arange(20) * classes // 20
    with pytest.warns(LuceWarning, match="separable"):
        model = SoftmaxRegression(l2=0).fit(x, y)
    assert model.l2_ == SMALLEST_L2
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    assert model.score(x, y) == 1.0


def test_no_penalty_on_classes_that_overlap_gives_no_warning() -> None:
    x, y = drawn(3)
    model = SoftmaxRegression(l2=0).fit(x, y)  # a warning is an error here
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x, y)
    assert np.abs(model.predict_proba(x) - theirs.predict_proba(x)).max() <= 1e-2  # sqrt of a gap of 1e-6, and some


@every_k
def test_e05_a_constant_column_changes_no_prediction(classes: int) -> None:
    """The free intercept does its work, so the optimum is the same; the two fits are within their gaps of it."""
    x, y = drawn(classes)
    more = np.column_stack([x, np.full(len(x), 3.0)])
    a, b = (SoftmaxRegression(l2=0.01, tol=1e-12).fit(rows, y) for rows in (x, more))
    gaps = (a.certificate_.gap + b.certificate_.gap) / 2
    assert distance(a.predict_proba(x), b.predict_proba(more)) <= gaps + 1e-14  # rounding of the distance itself
    assert abs(a.certificate_.objective - b.certificate_.objective) <= gaps * 2 + 1e-14


@every_k
def test_e05_twin_columns_have_equal_weights(classes: int) -> None:
    """The optimum shares the weight; either twin is within sqrt(2 gap / l2) of it."""
    x, y = drawn(classes)
    model = SoftmaxRegression(l2=0.01, tol=1e-16).fit(np.column_stack([x, x[:, 0]]), y)
    allowed = 2 * np.sqrt(2 * model.certificate_.gap / 0.01) + 1e-14
    assert allowed < 1e-5
    assert np.abs(model.coef_[:, 0] - model.coef_[:, -1]).max() <= allowed
    assert np.isfinite(model.coef_).all()


@every_k
def test_e05_collinear_columns_converge(classes: int) -> None:
    x, y = drawn(classes)
    model = SoftmaxRegression().fit(np.column_stack([x, x @ np.ones(4), 1e-9 * x[:, 0]]), y)
    assert model.certificate_.converged
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize("mixed", [False, True])
@every_k
def test_e12_any_scale_converges_or_warns_with_the_gap(scale: float, mixed: bool, classes: int) -> None:
    x, y = drawn(classes)
    x = x * ([scale, 1, 1 / scale, 1] if mixed else scale)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = SoftmaxRegression().fit(x, y)
    certificate = model.certificate_
    assert certificate.converged == (not told)
    assert all(issubclass(w.category, LuceWarning) and "nats" in str(w.message) for w in told)
    # the shares of the classes have ln K, and the best is no worse
    assert certificate.objective <= np.log(classes) + certificate.gap + 1e-12
    assert np.isfinite(model.predict_proba(x)).all()


def test_the_container_and_layout_of_the_rows_mean_nothing() -> None:
    import pandas as pd
    import polars as pl

    x, y = drawn(3)
    wanted = SoftmaxRegression().fit(x, y).coef_.tobytes()
    frozen = x.copy()
    frozen.flags.writeable = False
    wide = np.zeros((240, 8))
    wide[::2, ::2] = x
    records = np.zeros(120, dtype=[("name", "S1"), ("x", "f8", (4,))])  # 33 bytes a record, no whole number of doubles
    records["x"] = x
    layouts = (np.asfortranarray(x), frozen, wide[::2, ::2], records["x"], x[::-1, ::-1].copy()[::-1, ::-1])
    for rows in (x.tolist(), pd.DataFrame(x), pl.DataFrame(x), *layouts):
        assert SoftmaxRegression().fit(rows, y).coef_.tobytes() == wanted
    for labels in (y.tolist(), pd.Series(y), pl.Series(y), y.astype(object), pd.Series(y, dtype="category")):
        assert SoftmaxRegression().fit(x, labels).coef_.tobytes() == wanted


def test_integers_and_booleans_are_numbers() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, (50, 3)), np.arange(50) % 2
    wanted = SoftmaxRegression().fit(x.astype(np.float64), y).coef_.tobytes()
    for dtype in (np.int8, np.uint64, np.bool_, np.float16):
        assert SoftmaxRegression().fit(x.astype(dtype), y).coef_.tobytes() == wanted


# --- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [[0, 1], [-5, 7], [False, True], ["a", "b"], ["강아지", "고양이"], [0.0, 1.0], ["", "x"], [2**40, 2**41]]
)
def test_e09_labels_of_any_kind_come_back_as_they_were(names: list[Any]) -> None:
    x, y = drawn(2)
    labels = np.array(names)[(y == "yes").astype(int)]
    model = SoftmaxRegression().fit(x, labels)
    assert model.classes_.tolist() == names
    assert model.predict(x).dtype == labels.dtype
    assert set(model.predict(x).tolist()) == set(names)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array(["a", "b", None], dtype=object), "row 2"),
        (np.array(["a", 1, "b"], dtype=object), "row 1"),
        (np.array([0.0, np.nan, 1.0]), "row 1"),
        (np.array([0.0, 1.0, 1.5]), "row 2"),
        (np.array([0.0, 1.0, np.inf]), "row 2"),
        (np.array(["2024-01-01"] * 3, dtype="datetime64[D]"), "datetime64"),
        (np.array([[0, 0], [1, 1], [0, 0]]), "shape"),
        ([0, 1], "each of the 3 rows"),
        ([], "each of the 3 rows"),
    ],
)
def test_e09_labels_that_are_none(labels: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        SoftmaxRegression().fit(np.eye(3), labels)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([0.0, 1.0, 2.0], "1 dimensions"),
        (np.zeros((3, 2, 2)), "3 dimensions"),
        (np.zeros((0, 2)), "0 rows"),
        (np.zeros((3, 0)), "0 columns"),
        ([["a"], ["b"], ["c"]], "luce.Classifier"),
        ([[None], [1.0], [2.0]], "luce.Classifier"),
        ([[0.0, 1.0], [np.nan, 1.0], [0.0, np.inf]], "nan in row 1, column 0"),
        ([[0.0, 1.0], [0.0, 1.0], [0.0, -np.inf]], "-inf in row 2, column 1"),
        ([[1j], [2j], [3j]], "complex"),
    ],
)
def test_rows_that_are_no_numbers(rows: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        SoftmaxRegression().fit(rows, [0, 1, 0])


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0, -1.0, 1.0], "-1.0 in row 1"),
        ([1.0, 1.0, np.nan], "nan in row 2"),
        ([np.inf, 1.0, 1.0], "inf in row 0"),
        ([0.0, 0.0, 0.0], "zero in every row"),
        ([1.0, 1.0], "each of the 3 rows"),
        ([[1.0], [1.0], [1.0]], "each of the 3 rows"),
    ],
)
def test_n19_weights_that_are_none(weights: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        SoftmaxRegression().fit(np.eye(3), [0, 1, 0], sample_weight=weights)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("l2", [-1, np.nan, np.inf, "1", True]),
        ("tol", [0, -1e-6, np.nan, None]),
        ("threads", [0, -1, 1.5, "all"]),
    ],
)
def test_arguments_that_are_none_are_refused_at_fit(name: str, values: list[Any]) -> None:
    for wrong in values:
        with pytest.raises(InputError, match=name):
            SoftmaxRegression(**{name: wrong}).fit(np.eye(3), [0, 1, 0])


def test_errors_are_one_line() -> None:
    for rows, labels in ((np.full((2, 2), np.nan), [0, 1]), (np.eye(2), [0, 0]), ("text", [0, 1])):
        with pytest.raises(InputError) as caught:
            SoftmaxRegression().fit(rows, labels)
        assert "\n" not in str(caught.value)


def test_predict_refuses_other_columns_and_unusable_numbers() -> None:
    x, y = drawn(3)
    model = SoftmaxRegression().fit(x, y)
    for ask in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(InputError, match="X has 3 features, but SoftmaxRegression is expecting 4"):
            ask(x[:, :3])
        with pytest.raises(InputError, match="nan in row 1, column 2"):
            ask(np.where(np.arange(8).reshape(2, 4) == 6, np.nan, 0.0))


# --- the estimator's manners ---------------------------------------------------------------------------------------


def test_not_fitted() -> None:
    model = SoftmaxRegression()
    for ask in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(NotFittedError, match="fit"):
            ask([[0.0]])
    assert not hasattr(model, "coef_")


def test_e08_a_second_fit_replaces_the_first_and_equals_a_fresh_one() -> None:
    model = SoftmaxRegression()
    model.fit(*drawn(5))
    model.fit(*drawn(3))
    fresh = SoftmaxRegression().fit(*drawn(3))
    assert model.coef_.tobytes() == fresh.coef_.tobytes()
    assert model.intercept_.tobytes() == fresh.intercept_.tobytes()
    assert model.classes_.tolist() == fresh.classes_.tolist()


@pytest.mark.parametrize("fault", ["rows", "labels", "weights", "l2", "tol", "threads"])
def test_e08_a_failed_fit_keeps_the_one_before(fault: str) -> None:
    x, y = drawn(3)
    model = SoftmaxRegression().fit(x, y)
    before, kept = model.predict_proba(x), dict(vars(model))
    bad: dict[str, Any] = {"X": x, "y": y}
    if fault == "rows":
        bad["X"] = np.where(x == x[5, 1], np.nan, x)
    elif fault == "labels":
        bad["y"] = ["same"] * len(x)
    elif fault == "weights":
        bad["sample_weight"] = -np.ones(len(x))
    else:
        model.set_params(**{fault: -1})
    with pytest.raises(InputError):
        model.fit(**bad)
    assert all(vars(model)[name] is value for name, value in kept.items() if name.endswith("_"))
    model.set_params(l2=None, tol=1e-6, threads=None)
    assert model.predict_proba(x).tobytes() == before.tobytes()


def test_e08_fit_after_a_failed_fit_equals_a_fresh_one() -> None:
    x, y = drawn(3)
    model = SoftmaxRegression()
    with pytest.raises(InputError):
        model.fit(x, y[:-1])
    assert model.fit(x, y).coef_.tobytes() == SoftmaxRegression().fit(x, y).coef_.tobytes()


def test_parameters() -> None:
    model = SoftmaxRegression(l2=0.5)
    defaults = SoftmaxRegression().get_params()
    assert defaults["l2"] == "auto" and defaults["l1"] == 0.0 and defaults["tol"] == 1e-6
    assert model.get_params() == {**defaults, "l2": 0.5}
    assert model.set_params(tol=1e-3, threads=2) is model
    assert model.get_params() == {**defaults, "l2": 0.5, "tol": 1e-3, "threads": 2}
    with pytest.raises(InputError, match="no parameter 'C'; it has l2, l1, class_weight"):
        model.set_params(C=1)


def test_repr_shows_what_is_not_the_default() -> None:
    assert repr(SoftmaxRegression()) == "SoftmaxRegression()"
    assert repr(SoftmaxRegression(l2=0.5, threads=2)) == "SoftmaxRegression(l2=0.5, threads=2)"


def test_clone_and_pickle() -> None:
    x, y = drawn(3)
    model = SoftmaxRegression(l2=0.25).fit(x, y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "coef_")
    again = pickle.loads(pickle.dumps(model))
    assert again.predict_proba(x).tobytes() == model.predict_proba(x).tobytes()


def test_fit_gives_the_model_itself_and_luce_offers_it() -> None:
    model = SoftmaxRegression()
    assert model.fit(*drawn(2)) is model
    assert luce.SoftmaxRegression is SoftmaxRegression


def test_the_decision_function_is_the_logit() -> None:
    """4 roundings of a product of 4 columns: 1e-14."""
    for classes in CLASSES:
        x, y = drawn(classes)
        model = SoftmaxRegression().fit(x, y)
        z = (x @ model.coef_.T + model.intercept_).squeeze()
        assert np.abs(model.decision_function(x) - z).max() <= 1e-14 * max(1.0, np.abs(z).max())
        assert model.predict_proba(x) == pytest.approx(
            luce.softmax(z if z.ndim == 2 else np.stack([0 * z, z], axis=1)), abs=1e-14
        )


def test_the_certificate_says_what_it_holds() -> None:
    certificate = SoftmaxRegression().fit(*drawn(3)).certificate_
    assert certificate.relative_gap == pytest.approx(certificate.gap / certificate.objective, rel=1e-14)
    assert certificate.sentence().startswith("proven to lie within ")
    assert f"{certificate.passes} passes" in certificate.sentence()
    assert certificate.seconds >= 0


def test_labels_may_be_numpy_scalars_in_a_list() -> None:
    x = np.arange(20.0)[:, np.newaxis]
    for labels in (np.array([0, 1] * 10), np.array(["a", "b"] * 10), np.array([True, False] * 10)):
        plain, listed = (luce.SoftmaxRegression(l2=0.1).fit(x, y) for y in (labels, list(labels)))
        assert (plain.coef_ == listed.coef_).all() and (plain.classes_ == listed.classes_).all()
