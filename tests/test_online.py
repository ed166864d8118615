"""partial_fit: one batch is a fit; more batches are what the formula says, and come near a fit to all rows."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import reference
import scipy.optimize
import scipy.sparse as sp
from claims import ROUNDING, distance
from sklearn.base import clone

import luce.linear
from luce.errors import InputError, LuceWarning
from luce.linear import Online, SoftmaxRegression

Array = np.ndarray
NAMES = np.array(["a", "b", "c"])
every_k = pytest.mark.parametrize("classes", [2, 3])


def drawn(classes: int = 3, rows: int = 300, columns: int = 4, seed: int = 0) -> tuple[Array, Array]:
    """Rows whose class depends on the first columns by one rule for every seed, with noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    score = np.stack([1.5 * x[:, 0] - 0.5, x[:, 1] - x[:, 2], -x[:, 0]], axis=1)[:, :classes]
    return x, NAMES[np.argmax(score + rng.gumbel(size=score.shape), axis=1)]


def point_of(model: SoftmaxRegression) -> Array:
    return np.vstack([model.coef_.T, model.intercept_])


def log_loss(model: SoftmaxRegression, x: Array, y: Array) -> float:
    return float(-model.predict_log_proba(x)[np.arange(len(x)), np.searchsorted(model.classes_, y)].mean())


# --- one batch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"fit_intercept": False}, {"class_weight": {"a": 2.0}}, {"threads": 1}], ids=repr)
@pytest.mark.parametrize("weighted", [False, True])
@every_k
def test_one_batch_is_a_fit(classes: int, weighted: bool, how: dict[str, Any]) -> None:
    x, y = drawn(classes)
    w = np.random.default_rng(0).uniform(0.2, 3, len(x)) if weighted else None
    whole = SoftmaxRegression(l2=0.01, tol=1e-9, **how).fit(x, y, sample_weight=w)
    batch = SoftmaxRegression(l2=0.01, tol=1e-9, **how).partial_fit(x, y, sample_weight=w)
    gaps = whole.certificate_.gap + batch.certificate_.gap
    assert batch.certificate_.converged
    assert abs(whole.certificate_.objective - batch.certificate_.objective) <= gaps + ROUNDING
    assert np.abs(point_of(whole)[:-1] - point_of(batch)[:-1]).max() <= (
        whole.certificate_.distance + batch.certificate_.distance
    )
    if not weighted and "class_weight" not in how:
        assert distance(whole.predict_proba(x), batch.predict_proba(x)) <= gaps / 2 + ROUNDING


@pytest.mark.parametrize("l2", ["auto", "one-standard-error", None, 0.05, 0])
def test_the_first_batch_settles_the_strength(l2: Any) -> None:
    x, y = drawn()
    model = SoftmaxRegression(l2=l2).partial_fit(x[:150], y[:150])
    assert model.l2_ == SoftmaxRegression(l2=l2).fit(x[:150], y[:150]).l2_
    before = model.l2_
    model.partial_fit(x[150:], y[150:])
    assert model.l2_ == before


def test_sparse_batches_are_dense_ones() -> None:
    x, y = drawn()
    x = np.where(np.abs(x) < 0.5, 0.0, x)
    one, other = SoftmaxRegression(l2=0.01, tol=1e-12), SoftmaxRegression(l2=0.01, tol=1e-12)
    for part in np.array_split(np.arange(len(x)), 3):
        one.partial_fit(x[part], y[part])
        other.partial_fit(sp.csr_array(x[part]), y[part])
    # weights within sqrt(2 gap / l2) = 1.3e-5 of the optimum for either, of three batches
    assert np.abs(one.coef_ - other.coef_).max() <= 1e-4


# --- more batches: the formula -------------------------------------------------------------------------------------


def learnt_by_hand(
    batches: list[tuple[Array, Array, Array]], classes: int, l2: float, intercept: bool = True
) -> list[Array]:
    """After each batch the minimum, by SciPy's BFGS with a plain gradient, of  sum s_i CE + m l2/2 |W|^2 + sum r/2
    (point - before)^2, m the weights of the batch. The past is its own objective to the second order: r is the
    curvature s p (1 - p) x^2 summed over the batches before, and, for the weights W, the penalty n l2 that they came
    with. (With n l2 in the new penalty instead, every batch would draw W towards 0 by the penalty of all rows anew.)"""
    points, rows = [], 0.0
    held = np.zeros((batches[0][0].shape[1] + 1, 1 if classes == 2 else classes))
    firm = np.zeros_like(held)
    for x, codes, w in batches:
        past = np.maximum(firm, 1e-3) if points else 0 * firm
        past[:-1] += rows * l2
        own = w.sum() * l2

        def value(flat: Array, x=x, codes=codes, w=w, past=past, held=held, own=own) -> tuple[float, Array]:  # type: ignore[no-untyped-def]
            at = flat.reshape(held.shape)
            slope = reference.gradient(x, codes, own, w, at) + past * (at - held)
            slope[-1] *= intercept
            penalty = float(np.sum(past * (at - held) ** 2)) / 2
            return reference.objective(x, codes, own, w, at) + penalty, slope.ravel()

        at = held.ravel()
        for _ in range(5):  # anew from where it stopped, until rounding leaves nothing
            at = scipy.optimize.minimize(value, at, jac=True, method="BFGS", options={"gtol": 1e-11}).x
        held = at.reshape(held.shape)
        points.append(held)
        p = reference.probabilities(x, held)[:, -held.shape[1] :]
        spread = w[:, None] * p * (1 - p)
        firm, rows = firm + np.vstack([(x**2).T @ spread, spread.sum(axis=0)]), rows + w.sum()
    return points


def follows_the_formula(classes: int, weighted: bool = False, intercept: bool = True) -> None:
    """1e-5: BFGS ends where its value no longer falls by rounding, some sqrt(1e-16 n) from the optimum; what the later
    batches are held to differs by as much."""
    rng = np.random.default_rng(0)
    x, y = drawn(classes, rows=90)
    model = SoftmaxRegression(l2=0.01, tol=1e-14, fit_intercept=intercept)
    batches = []
    for part in np.array_split(np.arange(90), 3):
        w = rng.uniform(0.5, 2, len(part)) if weighted else np.ones(len(part))
        batches.append((x[part], np.searchsorted(NAMES, y[part]), w))
    wanted = learnt_by_hand(batches, classes, 0.01, intercept)
    for (rows, codes, w), point in zip(batches, wanted, strict=True):
        model.partial_fit(rows, NAMES[codes], sample_weight=w if weighted else None)
        found = point_of(model)
        assert np.abs(found[:-1] - point[:-1]).max() <= 1e-5
        if classes == 2:
            assert np.abs(found[-1] - point[-1]).max() <= 1e-5
        else:  # a constant on all intercepts is nothing that the first batch says
            assert np.abs((found[-1] - found[-1].mean()) - (point[-1] - point[-1].mean())).max() <= 1e-5


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
@every_k
def test_later_batches_minimise_what_is_said(classes: int, intercept: bool, weighted: bool) -> None:
    follows_the_formula(classes, weighted, intercept)


def half_as_firm(true: Any, problem: Any, logits: Array) -> Array:
    return true(problem, logits) / 2


def of_the_first_batch_alone(true: Any, problem: Any, logits: Array) -> Array:
    return true(problem, logits) * (problem.features.rows != 30)


@pytest.mark.parametrize("fault", [half_as_firm, of_the_first_batch_alone])
def test_a_past_that_counts_for_less_is_found_out(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    true = luce.linear._curvature
    monkeypatch.setattr(luce.linear, "_curvature", lambda *args: fault(true, *args))
    with pytest.raises(AssertionError):
        follows_the_formula(3)


@every_k
def test_the_certificate_is_that_of_the_newest_batch(classes: int) -> None:
    """What is left is within the gap, the past included."""
    x, y = drawn(classes, rows=90)
    for tol in (1e-2, 1e-6):
        loose, tight = SoftmaxRegression(l2=0.01, tol=tol), SoftmaxRegression(l2=0.01, tol=1e-13)
        for model in (loose, tight):
            model.partial_fit(x[:45], y[:45])
        tight._online = loose._online  # the same past
        for model in (loose, tight):
            model.partial_fit(x[45:], y[45:])
        certificate, best = loose.certificate_, tight.certificate_
        assert certificate.relative_gap <= tol
        assert -ROUNDING <= certificate.objective - best.objective <= certificate.gap + ROUNDING


# --- more batches: how good they are -------------------------------------------------------------------------------


def comes_near_a_fit_to_all_rows(classes: int, l2: float, size: int, order: str = "as drawn") -> None:
    """On 5,000 rows more, the loss is within 0.015 nats of that of the fit to all 1,000, whatever the size of a batch.
    The shares of the classes alone lose some 0.25."""
    x, y = drawn(classes, rows=1000)
    by = np.argsort(x[:, 3]) if order == "by a column" else np.arange(1000)[:: 1 if order == "as drawn" else -1]
    later = drawn(classes, rows=5000, seed=1)
    whole, model = SoftmaxRegression(l2=l2).fit(x, y), SoftmaxRegression(l2=l2)
    for part in np.split(by, 1000 // size):
        model.partial_fit(x[part], y[part], classes=NAMES[:classes])
    assert abs(log_loss(model, *later) - log_loss(whole, *later)) <= 0.015


@pytest.mark.parametrize("order", ["as drawn", "backwards", "by a column"])
@pytest.mark.parametrize("l2", [1e-3, 1e-2])
@every_k
def test_many_batches_come_near_a_fit_to_all_rows(classes: int, l2: float, order: str) -> None:
    comes_near_a_fit_to_all_rows(classes, l2, 100, order)


@pytest.mark.parametrize(("classes", "size"), [(2, 1), (3, 5)])
def test_so_do_small_batches_and_single_rows(classes: int, size: int) -> None:
    comes_near_a_fit_to_all_rows(classes, 1e-2, size)


def test_a_model_that_forgets_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made fault: each batch begins with nothing known."""
    true = Online.learn
    monkeypatch.setattr(
        Online, "learn", lambda self, problem, *how: true(Online.empty(problem, self.l2), problem, *how)
    )
    with pytest.raises(AssertionError):
        comes_near_a_fit_to_all_rows(3, 1e-3, 100)


# --- classes -------------------------------------------------------------------------------------------------------


@every_k
def test_a_batch_may_lack_a_class_that_is_named(classes: int) -> None:
    """In the first batch or in a later one."""
    x, y = drawn(classes)
    some = y != "b"
    model = SoftmaxRegression(l2=0.01).partial_fit(x[some], y[some], classes=NAMES[:classes])
    assert model.classes_.tolist() == NAMES[:classes].tolist()
    assert model.certificate_.converged
    p = model.predict_proba(x)
    assert p.shape == (300, classes)
    assert p[:, 1].max() < 0.05  # no row so far was of it
    model.partial_fit(x, y)
    after = model.predict_proba(x)[:, 1].mean()
    model.partial_fit(x[some], y[some])
    assert after > p[:, 1].mean()
    assert np.isfinite(point_of(model)).all()


def test_a_batch_of_one_class_of_two() -> None:
    x, y = drawn(2)
    model = SoftmaxRegression(l2=0.01).partial_fit(x[y == "a"], y[y == "a"], classes=["a", "b"])
    assert model.predict(x).tolist() == ["a"] * 300
    for _ in range(3):
        model.partial_fit(x, y)
    assert model.score(x, y) > 0.7


def test_without_classes_the_first_batch_names_them_all() -> None:
    x, y = drawn()
    with pytest.raises(InputError, match="one class only"):
        SoftmaxRegression(l2=0.01).partial_fit(x[y == "a"], y[y == "a"])
    some = y != "b"
    model = SoftmaxRegression(l2=0.01).partial_fit(x[some], y[some])
    assert model.classes_.tolist() == ["a", "c"]
    row = int(np.flatnonzero(y == "b")[0])
    with pytest.raises(InputError, match=rf"'b' in row {row}, .* name all classes at the first call"):
        model.partial_fit(x, y)


def test_an_unknown_label_is_named_with_its_row() -> None:
    x, y = drawn()
    model = SoftmaxRegression(l2=0.01).partial_fit(x, y)
    for label in ("0", "bb", "z"):  # before, between and after the known ones
        with pytest.raises(InputError, match=f"'{label}' in row 7, which is none of the classes"):
            model.partial_fit(x, np.where(np.arange(300) == 7, label, y))
    with pytest.raises(InputError, match="'z' in row 0"):
        SoftmaxRegression(l2=0.01).partial_fit(x[:2], ["z", "a"], classes=["a", "b"])
    with pytest.raises(InputError, match="the classes are"):
        model.partial_fit(x, np.arange(300) % 3)


def test_classes_cannot_change() -> None:
    x, y = drawn()
    model = SoftmaxRegression(l2=0.01).partial_fit(x, y, classes=["c", "a", "b"])  # in any order
    model.partial_fit(x, y, classes=["a", "b", "c"])
    with pytest.raises(InputError, match="the first batch had"):
        model.partial_fit(x, y, classes=["a", "b", "c", "d"])


def test_balanced_weights_of_a_batch_that_lacks_a_class() -> None:
    """A class without rows has no weight to be worked out; a warning is an error here."""
    x, y = drawn()
    some = y != "b"
    model = SoftmaxRegression(l2=0.01, class_weight="balanced")
    model.partial_fit(x[some], y[some], classes=NAMES)
    assert np.isfinite(model.predict_proba(x)).all()


# --- manners -------------------------------------------------------------------------------------------------------


def test_l1_is_refused() -> None:
    with pytest.raises(InputError, match="partial_fit works without l1"):
        SoftmaxRegression(l1=0.1).partial_fit(*drawn())


@pytest.mark.parametrize("fault", ["rows", "columns", "labels", "weights", "tol"])
def test_a_failed_batch_changes_nothing(fault: str) -> None:
    x, y = drawn()
    model = SoftmaxRegression(l2=0.01).partial_fit(x, y)
    before, untouched = pickle.dumps(vars(model)), pickle.loads(pickle.dumps(model))
    batch: dict[str, Any] = {"X": x, "y": y}
    if fault == "rows":
        batch["X"] = np.where(x == x[3, 1], np.nan, x)
    elif fault == "columns":
        batch["X"] = x[:, :3]
    elif fault == "labels":
        batch["y"] = y[:-1]
    elif fault == "weights":
        batch["sample_weight"] = -np.ones(300)
    else:
        model.set_params(tol=-1.0)
    with pytest.raises(InputError):
        model.partial_fit(**batch)
    model.set_params(tol=1e-6)
    assert pickle.dumps(vars(model)) == before
    assert model.partial_fit(x, y).coef_.tobytes() == untouched.partial_fit(x, y).coef_.tobytes()


def test_a_fit_forgets_all_batches() -> None:
    x, y = drawn()
    model = SoftmaxRegression(l2=0.01)
    model.partial_fit(*drawn(seed=5)).partial_fit(*drawn(seed=6))
    assert model.fit(x, y).coef_.tobytes() == SoftmaxRegression(l2=0.01).fit(x, y).coef_.tobytes()
    after = model.partial_fit(x, y)  # which is a first batch again
    assert after.coef_.tobytes() == SoftmaxRegression(l2=0.01).partial_fit(x, y).coef_.tobytes()


def test_the_first_batch_after_a_fit_may_have_other_columns_and_classes() -> None:
    x, y = drawn()
    model = SoftmaxRegression(l2=0.01).fit(x, y)
    model.partial_fit(x[:, :3], np.where(y == "a", "yes", "no"))
    assert model.n_features_in_ == 3
    assert model.classes_.tolist() == ["no", "yes"]


def test_batches_go_on_after_a_pickle_and_not_after_a_clone() -> None:
    x, y = drawn()
    model = SoftmaxRegression(l2=0.01).partial_fit(*drawn(seed=5))
    again = pickle.loads(pickle.dumps(model))
    fresh = clone(model)
    for one in (model, again, fresh):
        one.partial_fit(x, y)
    assert again.coef_.tobytes() == model.coef_.tobytes()
    assert fresh.coef_.tobytes() == SoftmaxRegression(l2=0.01).partial_fit(x, y).coef_.tobytes()


@every_k
def test_any_number_of_threads_has_the_same_bits(classes: int) -> None:
    """On batches large enough that the core starts threads."""
    x, y = drawn(classes, rows=40_000)
    models = [SoftmaxRegression(l2=0.01, threads=threads) for threads in (1, 2, 3)]
    for model in models:
        model.partial_fit(x[:20_000], y[:20_000]).partial_fit(x[20_000:], y[20_000:])
    assert len({model.coef_.tobytes() for model in models}) == 1


def test_names_of_columns_are_checked_from_the_second_batch_on() -> None:
    import pandas as pd

    x, y = drawn()
    frame = pd.DataFrame(x, columns=list("pqrs"))
    model = SoftmaxRegression(l2=0.01).partial_fit(frame, y)
    assert model.feature_names_in_.tolist() == list("pqrs")
    model.partial_fit(frame, y)
    with pytest.raises(InputError, match="same order"):
        model.partial_fit(frame[list("srqp")], y)
    with pytest.warns(LuceWarning, match="does not have valid feature names"):
        model.partial_fit(x, y)
    assert model.feature_names_in_.tolist() == list("pqrs")


# --- warm starts ---------------------------------------------------------------------------------------------------


@every_k
def test_a_warm_start_needs_fewer_passes_for_the_same_optimum(classes: int) -> None:
    x, y = drawn(classes, rows=2000)
    model = SoftmaxRegression(l2=0.01, tol=1e-9, warm_start=True).fit(x, y)
    cold = SoftmaxRegression(l2=0.011, tol=1e-9).fit(x, y)
    warm = model.set_params(l2=0.011).fit(x, y)
    gaps = warm.certificate_.gap + cold.certificate_.gap
    assert warm.n_iter_ < cold.n_iter_
    assert abs(warm.certificate_.objective - cold.certificate_.objective) <= gaps + ROUNDING
    assert distance(warm.predict_proba(x), cold.predict_proba(x)) <= gaps / 2 + ROUNDING
    again = warm.n_iter_, warm.fit(x, y).n_iter_
    assert again[1] <= again[0]
    assert again[1] == 5  # where it is already: the logits, the gradient and the proof


def test_a_warm_start_goes_where_it_can_and_begins_anew_elsewhere() -> None:
    """With other classes or columns there is nothing to start from."""
    x, y = drawn()
    model = SoftmaxRegression(l2=0.01, warm_start=True).fit(x, y)
    fewer = y != "c"
    for rows, labels in ((x[:, :2], y), (x[fewer], y[fewer]), (x, np.char.upper(y))):
        found = pickle.loads(pickle.dumps(model)).fit(rows, labels)
        assert found.coef_.tobytes() == SoftmaxRegression(l2=0.01).fit(rows, labels).coef_.tobytes()


def test_without_warm_start_the_weights_before_mean_nothing() -> None:
    x, y = drawn()
    model = SoftmaxRegression(l2=0.01).fit(*drawn(seed=3))
    assert model.fit(x, y).coef_.tobytes() == SoftmaxRegression(l2=0.01).fit(x, y).coef_.tobytes()


def test_a_warm_start_from_far_off_weights_finds_the_same_optimum() -> None:
    """As far as those of hardly any penalty are, and with a part that all classes share, which the fit must undo."""
    x, y = drawn()
    cold = SoftmaxRegression(l2=0.1, tol=1e-9).fit(x, y)
    for part in (0.0, 1.0):
        model = SoftmaxRegression(l2=1e-6, tol=1e-9, warm_start=True).fit(x, y)
        model.coef_ = 5 * model.coef_ + part
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.set_params(l2=0.1).fit(x, y)
        gaps = cold.certificate_.gap + model.certificate_.gap
        assert distance(cold.predict_proba(x), model.predict_proba(x)) <= gaps / 2 + ROUNDING
