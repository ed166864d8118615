"""Standard errors and p-values against the information matrix written out in NumPy, and against repeated draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.stats

from luce.audit import audit
from luce.errors import InputError, LuceWarning
from luce.inference import MOST_NUMBERS, Inference
from luce.linear import SoftmaxRegression

Array = np.ndarray
every_k = pytest.mark.parametrize("classes", [2, 3, 4])


def drawn(classes: int, rows: int = 200, columns: int = 3, seed: int = 0) -> tuple[Array, Array]:
    """Rows whose class depends on the columns by one rule for every seed, with noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) * [1, 2, 0.5]
    score = x @ np.random.default_rng(99).normal(size=(columns, classes)) * 0.7 + np.arange(classes) * 0.3
    return x, np.argmax(score + rng.gumbel(size=score.shape), axis=1)


def fit(x: Any, y: Any, weights: Any = None, l2: float = 0.0, **how: Any) -> SoftmaxRegression:
    return SoftmaxRegression(l2=l2, tol=1e-12, inference=True, **how).fit(x, y, sample_weight=weights)


def by_formula(model: SoftmaxRegression, x: Array, s: Array, intercept: bool = True) -> tuple[Array, Array]:
    """Estimates against the first class and their covariance A^-1 B A^-1. B = sum_i s_i (diag p - p p') (x) x x' over
    the other classes, A with the penalty: n l2 on the weights of two classes, n l2 (1 - 1/K 11') between those of more.
    """
    z = x @ model.coef_.T + model.intercept_
    z = np.column_stack([np.zeros(len(z)), z]) if z.shape[1] == 1 else z
    p = np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))
    ones = np.column_stack([x, np.ones(len(x))]) if intercept else x
    others, size = p.shape[1] - 1, ones.shape[1]
    loss = np.zeros((others * size, others * size))
    for i in range(len(x)):
        q = p[i, 1:]
        loss += s[i] * np.kron(np.diag(q) - np.outer(q, q), np.outer(ones[i], ones[i]))
    between = np.eye(1) if others == 1 else np.eye(others) - 1 / (others + 1)
    ridge = np.diag([1.0] * x.shape[1] + [0.0] * intercept)
    inverse = np.linalg.inv(loss + s.sum() * model.l2_ * np.kron(between, ridge))
    point = np.column_stack([model.coef_, model.intercept_]) if intercept else model.coef_
    return point if others == 1 else point[1:] - point[:1], inverse @ loss @ inverse


def is_as_the_formula_says(found: Inference, estimates: Array, covariance: Array) -> None:
    """1e-8: inverses of matrices of a condition below 1e5, in double, by other ways."""
    size = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert found.estimates == pytest.approx(estimates, rel=1e-12, abs=1e-14)
    assert (np.abs(found.covariance - covariance) <= 1e-8 * size).all()
    errors = np.sqrt(np.diag(covariance)).reshape(estimates.shape)
    assert found.errors == pytest.approx(errors, rel=1e-8, abs=0)
    assert found.z == pytest.approx(estimates / errors, rel=1e-8, abs=1e-12)
    assert found.p_values == pytest.approx(2 * scipy.stats.norm.sf(np.abs(estimates / errors)), rel=1e-6, abs=0)
    low, high = found.intervals()
    assert low == pytest.approx(estimates - 1.959963984540054 * errors, rel=1e-8, abs=1e-10)
    assert high == pytest.approx(estimates + 1.959963984540054 * errors, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("intercept", [True, False])
@every_k
def test_without_a_penalty_it_is_the_inverse_of_the_information(classes: int, intercept: bool) -> None:
    x, y = drawn(classes)
    model = fit(x, y, fit_intercept=intercept)
    estimates, covariance = by_formula(model, x, np.ones(len(x)), intercept)
    found = model.inference_
    assert found.estimates.shape == (max(classes - 1, 1), 3 + intercept)
    is_as_the_formula_says(found, estimates, covariance)
    model.l2_ = 0.0  # nor does the smallest penalty, which stands in for none, show: 1e-9 against curvatures near 0.1
    plain = np.sqrt(np.diag(by_formula(model, x, np.ones(200), intercept)[1]))
    assert found.errors.ravel() == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("l2", [0.001, 0.1, 10.0])
@pytest.mark.parametrize("intercept", [True, False])
@every_k
def test_with_a_penalty_it_is_the_sandwich(classes: int, intercept: bool, l2: float) -> None:
    x, y = drawn(classes)
    model = fit(x, y, l2=l2, fit_intercept=intercept)
    is_as_the_formula_says(model.inference_, *by_formula(model, x, np.ones(len(x)), intercept))


FAULTS: dict[str, Any] = {
    "the inverse information of a fit without penalty": lambda f: replace(f, covariance=f.covariance * 1.1),
    "errors 1e-7 too small": lambda f: replace(f, errors=f.errors * (1 - 1e-7)),
    "one-sided p-values": lambda f: replace(f, p_values=f.p_values / 2),
    "z without its sign": lambda f: replace(f, z=np.abs(f.z)),
    "estimates against the mean": lambda f: replace(f, estimates=f.estimates - f.estimates.mean()),
    "classes swapped": lambda f: replace(f, errors=f.errors[::-1]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_of_another_formula_are_found_out(fault: str) -> None:
    x, y = drawn(3)
    model = fit(x, y, l2=0.1)
    wanted = by_formula(model, x, np.ones(len(x)))
    is_as_the_formula_says(model.inference_, *wanted)
    with pytest.raises(AssertionError):
        is_as_the_formula_says(FAULTS[fault](model.inference_), *wanted)


def test_without_the_penalty_in_it_the_formula_gives_other_errors() -> None:
    """So the sandwich is told from the plain inverse."""
    x, y = drawn(3)
    model = fit(x, y, l2=0.1)
    found, model.l2_ = model.inference_, 0.0
    with pytest.raises(AssertionError):
        is_as_the_formula_says(found, *by_formula(model, x, np.ones(len(x))))


@every_k
def test_errors_are_the_spread_of_the_estimates_over_draws(classes: int) -> None:
    """Over 400 draws of 400 rows the standard deviation of an estimate is known to 1 / sqrt(800) = 3.5 % of itself;
    four times that, and 3 % for what 400 rows are short of many, is 17 %."""
    estimates, errors = [], []
    for seed in range(400):
        x, y = drawn(classes, rows=400, seed=seed + 1)
        found = SoftmaxRegression(l2=0.0, tol=1e-8, inference=True).fit(x, y).inference_
        estimates.append(found.estimates)
        errors.append(found.errors)
    spread = np.std(estimates, axis=0)
    assert np.mean(errors, axis=0) == pytest.approx(spread, rel=0.17)
    truth = np.random.default_rng(99).normal(size=(3, classes)) * 0.7
    wanted = (truth[:, 1:] - truth[:, :1]).T
    covered = np.abs(np.array(estimates)[:, :, :3] - wanted) <= 1.96 * np.array(errors)[:, :, :3]
    # 95 % of 400, within four standard deviations of a share, sqrt(0.95 0.05 / 400) = 1.1 %, and a little bias
    assert (np.abs(covered.mean(axis=0) - 0.95) <= 0.055).all()


@pytest.mark.parametrize("l2", [0.0, 0.05])
@every_k
def test_weights_that_differ_count_in_the_information(classes: int, l2: float) -> None:
    """Scaled to mean 1, as in the objective; only their ratios matter."""
    x, y = drawn(classes)
    w = np.random.default_rng(0).uniform(0.2, 3, len(x))
    w *= len(w) / w.sum()
    model = fit(x, y, weights=w, l2=l2)
    is_as_the_formula_says(model.inference_, *by_formula(model, x, w))


@every_k
def test_a_weight_of_k_is_the_row_k_times_for_errors_too(classes: int) -> None:
    """1e-4: weights are within sqrt(2 gap / curvature) of the optimum for either."""
    x, y = drawn(classes)
    k = np.random.default_rng(0).integers(1, 4, len(x))
    one, other = fit(x, y, weights=k).inference_, fit(np.repeat(x, k, axis=0), np.repeat(y, k)).inference_
    assert one.estimates == pytest.approx(other.estimates, rel=1e-4, abs=1e-5)
    assert one.errors == pytest.approx(other.errors, rel=1e-4)


def test_what_is_asked_of_a_strength_that_was_chosen() -> None:
    x, y = drawn(3)
    model = SoftmaxRegression(inference=True, tol=1e-12).fit(x, y)
    is_as_the_formula_says(model.inference_, *by_formula(model, x, np.ones(len(x))))


def test_sparse_rows_have_the_errors_of_dense_ones() -> None:
    import scipy.sparse

    x, y = drawn(3)
    x = np.where(np.abs(x) < 0.3, 0.0, x)
    one, other = fit(x, y, l2=0.01).inference_, fit(scipy.sparse.csr_array(x), y, l2=0.01).inference_
    assert other.errors == pytest.approx(one.errors, rel=1e-5)
    wide = np.hstack([x[:60], np.random.default_rng(0).normal(size=(60, 80)) * (np.arange(80) < 2)])  # another solver
    one, other = fit(wide, y[:60], l2=0.01).inference_, fit(scipy.sparse.csr_array(wide), y[:60], l2=0.01).inference_
    assert other.errors[:, :5] == pytest.approx(one.errors[:, :5], rel=1e-4)


@every_k
def test_a_column_in_other_units_has_other_errors_and_the_same_p_values(classes: int) -> None:
    """1e-4: the two fits are within their gaps of their optima, some 1e-6 of a weight. Units are smaller, so that the
    smallest penalty, which stands in for none, does not show."""
    x, y = drawn(classes)
    one, other = fit(x, y).inference_, fit(x * [1, 100, 1000], y).inference_
    assert other.errors[:, :3] * [1, 100, 1000] == pytest.approx(one.errors[:, :3], rel=1e-4)
    assert other.p_values == pytest.approx(one.p_values, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_intervals_of_any_level(level: float) -> None:
    found = fit(*drawn(3)).inference_
    low, high = found.intervals(level)
    width = scipy.stats.norm.ppf(0.5 + level / 2) * found.errors
    assert high - low == pytest.approx(2 * width, rel=1e-10)
    assert (low + high) / 2 == pytest.approx(found.estimates, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, np.nan])
def test_levels_that_are_none_are_refused(level: float) -> None:
    with pytest.raises(InputError, match="level"):
        fit(*drawn(2)).inference_.intervals(level)


def test_p_values_are_exact_far_out() -> None:
    """Of a column that tells the class well; a difference of 1 and the distribution function would be 0."""
    x, y = drawn(2, rows=4000)
    found = fit(x, y).inference_
    assert 0 < found.p_values.min() < 1e-30
    assert found.p_values == pytest.approx(2 * scipy.stats.norm.sf(np.abs(found.z)), rel=1e-9, abs=0)


def test_the_note_says_what_the_errors_are() -> None:
    x, y = drawn(3)
    plain, drawn_in = fit(x, y).inference_.note, fit(x, y, l2=0.25).inference_.note
    assert "observed information" in plain and "penalised" not in plain
    assert drawn_in.startswith("penalised (l2 0.25)")
    assert "fit with l2=0" in drawn_in


def test_only_a_fit_that_was_asked_has_it() -> None:
    x, y = drawn(3)
    model = fit(x, y)
    assert not hasattr(model.set_params(inference=False).fit(x, y), "inference_")
    assert not hasattr(SoftmaxRegression(l2=0.1).fit(x, y), "inference_")


@every_k
def test_it_changes_nothing_else_and_has_the_same_bits_on_any_threads(classes: int) -> None:
    x, y = drawn(classes)
    plain = SoftmaxRegression(l2=0.01, tol=1e-12).fit(x, y)
    models = [fit(x, y, l2=0.01, threads=threads) for threads in (1, 2, 3)]
    assert {model.coef_.tobytes() for model in models} == {plain.coef_.tobytes()}
    assert len({model.inference_.errors.tobytes() for model in models}) == 1


# --- refusals ------------------------------------------------------------------------------------------------------


def test_l1_is_refused() -> None:
    with pytest.raises(InputError, match="inference works without l1"):
        SoftmaxRegression(l1=0.1, l2=0.1, inference=True).fit(*drawn(3))


def test_more_weights_than_can_be_inverted_are_refused() -> None:
    x = np.random.default_rng(0).normal(size=(12, MOST_NUMBERS // 2))
    with pytest.raises(
        InputError, match=f"inference on {MOST_NUMBERS + 2} weights: at most {MOST_NUMBERS:,}|{MOST_NUMBERS}"
    ):
        SoftmaxRegression(l2=1.0, inference=True, tol=1e-2).fit(x, np.arange(12) % 3)


def test_a_class_without_weight_is_refused() -> None:
    x, y = drawn(3)
    with pytest.raises(InputError, match="without rows of weight"):
        fit(x, y, weights=(y != 1).astype(float), l2=0.1)


def collinear() -> tuple[Array, Array]:
    x, y = drawn(2)
    return np.column_stack([x, x[:, 0] + x[:, 1]]), y


def constant() -> tuple[Array, Array]:
    x, y = drawn(2)
    return np.column_stack([x, np.full(len(x), 3.0)]), y


def of_zeros() -> tuple[Array, Array]:
    x, y = drawn(3)
    return np.column_stack([x, np.zeros(len(x))]), y


@pytest.mark.parametrize("rows", [collinear, constant, of_zeros])
def test_columns_that_repeat_each_other_are_refused_without_a_penalty(rows: Any) -> None:
    """The information says nothing of their weights: any error would be a number from nowhere."""
    with pytest.raises(InputError, match="columns that repeat each other"):
        fit(*rows())


@pytest.mark.filterwarnings("ignore:the classes are separable:luce.errors.LuceWarning")
@pytest.mark.parametrize("classes", [2, 3])
def test_separable_classes_are_refused_without_a_penalty(classes: int) -> None:
    x = np.arange(60.0)[:, None] / 10
    with pytest.raises(InputError, match="classes that are separable"):
        fit(x, np.arange(60) * classes // 60)


def test_with_a_penalty_columns_that_repeat_each_other_have_errors() -> None:
    x, y = collinear()
    model = fit(x, y, l2=0.01)
    is_as_the_formula_says(model.inference_, *by_formula(model, x, np.ones(len(x))))


@pytest.mark.parametrize("rows", [constant, of_zeros])
def test_with_a_penalty_a_column_that_says_nothing_has_weight_and_error_0(rows: Any) -> None:
    """1e-6, the root of the rounding of a covariance. The other errors are those of the fit without it."""
    x, y = rows()
    found, wanted = fit(x, y, l2=0.01).inference_, fit(x[:, :3], y, l2=0.01).inference_
    assert np.abs(found.estimates[:, 3]).max() <= 1e-6
    assert np.abs(found.errors[:, 3]).max() <= 1e-6
    assert found.errors[:, [0, 1, 2, 4]] == pytest.approx(wanted.errors, rel=1e-4)
    assert not (found.p_values[:, 3] < 0.05).any()


def test_a_refusal_leaves_an_earlier_fit_as_it_was() -> None:
    x, y = drawn(3)
    model = fit(x, y, l2=0.1)
    before = model.coef_
    with pytest.raises(InputError):
        model.set_params(l1=0.1).fit(x, y)
    assert model.coef_ is before


@pytest.mark.parametrize("unit", [1e-3, 1e-6, 1e-12, 1e-30])
@pytest.mark.parametrize("kind", ["dense", "float32", "sparse"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_unit_of_a_column_changes_no_test_without_a_penalty(classes: int, kind: str, unit: float) -> None:
    """A column in other units has weights in theirs and the same z. Tolerance: float32 columns are rounded to 6e-8,
    and factors that are no power of two leave spreads of 0.7 to 1.4, where the stand-in for no penalty is 1e-9."""
    x, y = drawn(classes)
    factors = np.array([1.0, unit, 1.0])

    def found(rows: np.ndarray) -> SoftmaxRegression:
        given = {"dense": np.asarray, "float32": np.float32, "sparse": scipy.sparse.csr_array}[kind](rows)
        return SoftmaxRegression(l2=0.0, inference=True).fit(given, y)

    one, other = found(x), found(x * factors)
    assert np.abs(other.coef_ * factors - one.coef_).max() <= 1e-5
    assert np.abs(other.inference_.z / one.inference_.z - 1).max() <= 1e-5
    whole = np.tile(np.append(factors, 1.0), max(classes - 1, 1))
    back = other.inference_.covariance * whole * whole[:, np.newaxis]
    assert np.abs(back - one.inference_.covariance).max() <= 1e-5 * one.inference_.covariance.max()
    again = audit(other, x * factors, y)
    assert np.abs(again.point[:-1].T * factors - one.coef_).max() <= 1e-4
    assert again.changed == 0


@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_separable_classes_are_seen_in_any_unit(unit: float) -> None:
    x = np.random.default_rng(0).normal(size=(200, 2))
    y = (x[:, 0] > 0).astype(int)
    with pytest.warns(LuceWarning, match="separable"):
        model = SoftmaxRegression(l2=0).fit(x * unit, y)
    assert model.certificate_.separable


def test_errors_are_of_the_maximum_itself() -> None:
    """A relative gap of 1e-6 is 0.07 nats of these rows, in which a weight may be a third of its error away."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100_000, 3))
    y = (x[:, 0] + rng.logistic(size=100_000) > 0).astype(int)
    model = SoftmaxRegression(l2=0.0, inference=True).fit(x, y)
    exact = SoftmaxRegression(l2=0.0, tol=1e-13).fit(x, y)
    assert np.abs(model.coef_ - exact.coef_).max() <= 0.02 * model.inference_.errors.min()
