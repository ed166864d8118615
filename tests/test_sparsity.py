"""L1 and elastic net: the optimum against a plain proximal gradient and scikit-learn, exact zeros, the proof."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import reference
import scipy.sparse
from claims import distance
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from luce.errors import LuceWarning
from luce.features import Features
from luce.linear import SoftmaxRegression
from luce.objective import Gap, Objective
from luce.solver import ProximalNewton, WorkingColumns

Array = np.ndarray

every_k = pytest.mark.parametrize("classes", [2, 3, 5])
ROUNDING = 1e-13
"""Of a mean of some dozen losses near 1."""


def drawn(classes: int, rows: int = 60, columns: int = 8) -> tuple[Array, Array]:
    """Three of the columns tell the class, with noise; the others tell nothing. A third of all numbers is 0."""
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < 2 / 3)
    score = 2 * x[:, 0] - x[:, 1] + x[:, 2] + rng.normal(size=rows)
    return x, np.argsort(np.argsort(score)) * classes // rows


def fit(x: Any, y: Array, tol: float = 1e-9, **how: Any) -> SoftmaxRegression:
    return SoftmaxRegression(tol=tol, **how).fit(x, y)


def point_of(model: SoftmaxRegression) -> Array:
    return np.vstack([model.coef_.T, model.intercept_])


def value(x: Array, y: Array, point: Array, l1: float, l2: float) -> float:
    n = len(x)
    return reference.objective(x, y, n * l2, np.ones(n), point) / n + l1 * float(np.abs(point[:-1]).sum())


def slope(x: Array, y: Array, point: Array, l2: float) -> Array:
    """The gradient of all but the L1 penalty."""
    return reference.gradient(x, y, len(x) * l2, np.ones(len(x)), point) / len(x)


def curvature(x: Array, l2: float) -> float:
    """No less than the largest curvature of the smooth part: that of log-sum-exp is at most 1/2."""
    ones = np.column_stack([x, np.ones(len(x))])
    return float(np.linalg.norm(ones, 2)) ** 2 / len(x) / 2 + l2


def shrunk(point: Array, by: float) -> Array:
    out = np.sign(point) * np.maximum(np.abs(point) - by, 0.0)
    out[-1] = point[-1]
    return out


@cache
def plain_optimum(classes: int, l1: float, l2: float, intercept: bool) -> tuple[Array, float]:
    """Proximal gradient with momentum, begun anew where it overshoots (Beck and Teboulle 2009; O'Donoghue and Candes
    2015), until a step moves nothing by 1e-13. The value is then within 1e-13 |slope| of the least or so."""
    x, y = drawn(classes)
    at = np.zeros((x.shape[1] + 1, 1 if classes == 2 else classes))
    ahead, momentum, size = at, 1.0, 1 / curvature(x, l2)
    for _ in range(100_000):
        move = slope(x, y, ahead, l2)
        move[-1] *= intercept
        after = shrunk(ahead - size * move, size * l1)
        if np.sum((ahead - after) * (after - at)) > 0:
            momentum = 1.0
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / grown * (after - at)
        moved, at, momentum = np.abs(after - at).max(), after, grown
        if moved < 1e-13 and np.abs(shrunk(at - size * move, size * l1) - at).max() < 1e-12:
            return at, value(x, y, at, l1, l2)
    raise AssertionError("the proximal gradient has not converged")


PENALTIES = [(0.03, 0.0), (0.1, 0.0), (0.03, 0.01), (0.01, 0.1)]
every_penalty = pytest.mark.parametrize(("l1", "l2"), PENALTIES, ids=repr)
STORED: dict[str, Callable[[Array], Any]] = {"dense": np.asarray, "CSR": scipy.sparse.csr_array}

MATRIX = {"the model is a matrix": ProximalNewton.MATRIX, "the model is of rows": 0}
"""Few weights or many: whether the curvature is a matrix; many columns of a sparse matrix start to work one by one."""


@pytest.fixture(params=MATRIX)
def every_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """To solve: problems of test size have few weights, and count as many too."""
    monkeypatch.setattr(ProximalNewton, "MATRIX", MATRIX[request.param])


# --- the optimum ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("intercept", [True, False])
@every_penalty
@every_k
def test_it_is_the_optimum_of_a_plain_proximal_gradient(
    classes: int, l1: float, l2: float, intercept: bool, stored: str
) -> None:
    x, y = drawn(classes)
    best, least = plain_optimum(classes, l1, l2, intercept)
    model = fit(STORED[stored](x), y, l1=l1, l2=l2, fit_intercept=intercept)
    certificate, point = model.certificate_, point_of(model)
    assert certificate.converged and certificate.relative_gap <= 1e-9
    assert certificate.objective == pytest.approx(value(x, y, point, l1, l2), rel=ROUNDING, abs=0)
    assert -ROUNDING <= value(x, y, point, l1, l2) - least <= certificate.gap + ROUNDING
    p, q = model.predict_proba(x), reference.probabilities(x, best)
    assert distance(p, q) <= certificate.gap / 2 + ROUNDING  # see claims.py; the L1 penalty is convex as well
    assert intercept or not model.intercept_.any()


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("classes", [2, 3])
def test_it_agrees_with_scikit_learn(classes: int, ratio: float) -> None:
    """1e-5: saga stops when a pass moves the largest weight by 1e-10 of it; its probabilities are within that."""
    x, y = drawn(classes)
    strength = 0.05
    theirs = LogisticRegression(
        C=1 / (strength * len(x)), l1_ratio=ratio, solver="saga", tol=1e-10, max_iter=100_000, random_state=0
    ).fit(x, y)
    ours = fit(x, y, tol=1e-12, l1=ratio * strength, l2=(1 - ratio) * strength)
    assert np.abs(ours.predict_proba(x) - theirs.predict_proba(x)).max() <= 1e-5
    assert np.array_equal(ours.coef_ == 0, theirs.coef_ == 0)


def stationarity(x: Array, y: Array, point: Array, l1: float, l2: float, intercept: bool) -> float:
    """The length of L times a proximal step: 0 at the optimum and nowhere else. There it says that |gradient| <= l1
    where w = 0, and = -l1 sign(w) elsewhere."""
    big = curvature(x, l2)
    move = slope(x, y, point, l2)
    move[-1] *= intercept
    return big * float(np.linalg.norm(point - shrunk(point - move / big, l1 / big)))


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("intercept", [True, False])
@every_penalty
@every_k
def test_the_conditions_of_an_optimum_hold_as_far_as_the_gap_says(
    classes: int, l1: float, l2: float, intercept: bool, tol: float
) -> None:
    """A proximal step of length s lowers P by L s^2 / 2 at least, and no more than the gap is there to be gained: so
    (L s)^2 <= 2 L gap."""
    x, y = drawn(classes)
    model = fit(x, y, tol=tol, l1=l1, l2=l2, fit_intercept=intercept)
    allowed = np.sqrt(2 * curvature(x, l2) * (model.certificate_.gap + ROUNDING))
    assert stationarity(x, y, point_of(model), l1, l2, intercept) <= allowed


def test_the_gradient_is_l1_where_there_is_a_weight_and_less_elsewhere() -> None:
    """The same, said plainly. 1e-6: the root of a gap of 1e-13, and some."""
    for classes in (2, 3, 5):
        x, y = drawn(classes)
        model = fit(x, y, tol=1e-13, l1=0.03, l2=0.0)
        w, g = point_of(model)[:-1], slope(x, y, point_of(model), 0.0)[:-1]
        assert np.abs(g[w != 0] + 0.03 * np.sign(w[w != 0])).max() <= 1e-6
        assert np.abs(g[w == 0]).max() <= 0.03 + 1e-6
        assert 0 < np.sum(w != 0) < w.size


@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-6])
@every_penalty
@every_k
def test_what_is_left_is_at_most_the_gap(classes: int, l1: float, l2: float, tol: float) -> None:
    x, y = drawn(classes)
    best = fit(x, y, tol=1e-13, l1=l1, l2=l2).certificate_
    certificate = fit(x, y, tol=tol, l1=l1, l2=l2).certificate_
    assert certificate.gap <= tol * certificate.objective
    assert -best.gap - ROUNDING <= certificate.objective - best.objective <= certificate.gap + ROUNDING


def test_weights_of_rows_are_repeated_rows() -> None:
    x, y = drawn(3)
    k = np.random.default_rng(0).integers(0, 4, len(x))
    one = SoftmaxRegression(l1=0.02, l2=0.0, tol=1e-10).fit(x, y, sample_weight=k)
    other = fit(np.repeat(x, k, axis=0), np.repeat(y, k), tol=1e-10, l1=0.02, l2=0.0)
    gaps = one.certificate_.gap + other.certificate_.gap
    assert abs(one.certificate_.objective - other.certificate_.objective) <= gaps + ROUNDING
    repeated = np.repeat(x, k, axis=0)
    assert distance(one.predict_proba(repeated), other.predict_proba(repeated)) <= gaps / 2 + ROUNDING


# --- zeros ---------------------------------------------------------------------------------------------------------


@every_penalty
@every_k
def test_weights_that_are_zero_are_exactly_zero(classes: int, l1: float, l2: float) -> None:
    """Those that are 0 at the optimum with room to spare, as a proximal gradient finds them."""
    x, y = drawn(classes)
    best, _ = plain_optimum(classes, l1, l2, True)
    room = np.abs(slope(x, y, best, l2)[:-1]) < 0.999 * l1
    model = fit(x, y, tol=1e-12, l1=l1, l2=l2)
    assert room.any() and (best[:-1][room] == 0).all()
    assert (point_of(model)[:-1][room] == 0).all()
    assert (point_of(model)[:-1][np.abs(best[:-1]) > 1e-3] != 0).all()


def largest_l1(x: Array, y: Array) -> float:
    """The strength from which on W = 0 is the optimum: the largest slope there, intercepts at the shares."""
    shares = np.bincount(y) / len(y)
    start = np.zeros((x.shape[1] + 1, 1 if len(shares) == 2 else len(shares)))
    start[-1] = np.log(shares[1:] / shares[:1]) if len(shares) == 2 else np.log(shares)
    return float(np.abs(slope(x, y, start, 0.0)[:-1]).max())


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("l2", [0.0, 0.01])
@every_k
def test_from_the_largest_l1_on_only_the_shares_of_the_classes_are_left(classes: int, l2: float) -> None:
    x, y = drawn(classes)
    y = np.where(np.arange(len(y)) % 3 == 0, 0, y)  # classes of different sizes
    most = largest_l1(x, y)
    shares = np.bincount(y) / len(y)
    for factor in (1 + 1e-9, 2.0, 1e6):
        model = fit(x, y, l1=factor * most, l2=l2)
        assert not model.coef_.any()
        assert np.abs(model.predict_proba(x) - shares).max() <= 1e-9  # root of a gap of 1e-18
        assert model.certificate_.gap <= 1e-9 * model.certificate_.objective
    assert fit(x, y, l1=0.99 * most, l2=l2).coef_.any()


@every_k
def test_the_stronger_the_penalty_the_fewer_the_weights(classes: int) -> None:
    x, y = drawn(classes)
    most = largest_l1(x, y)
    counts = [int(np.sum(fit(x, y, l1=share * most, l2=0.0).coef_ != 0)) for share in (0.9, 0.3, 0.1, 0.01)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_columns_that_say_nothing_have_no_weight_among_many() -> None:
    """600 columns of noise beside three that tell the class: most of the weights that are left are theirs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 600))
    y = np.argsort(np.argsort(x[:, 5] + x[:, 200] - x[:, 500] + 0.3 * rng.normal(size=300))) * 3 // 300
    model = fit(x, y, tol=1e-6, l1=0.08, l2=0.0)
    used = np.flatnonzero(model.coef_.any(axis=0))
    assert {5, 200, 500} <= set(used.tolist())
    assert len(used) < 100
    assert stationarity(x, y, point_of(model), 0.08, 0.0, True) <= np.sqrt(
        2 * curvature(x, 0.0) * model.certificate_.gap
    )


def words(columns: int) -> tuple[Any, Array]:
    """A sparse matrix of many columns, a dozen of which tell the class; a fifth store one number alone."""
    rng = np.random.default_rng(columns)
    x = scipy.sparse.random_array((200, columns), density=0.02, random_state=rng).tolil()
    x[:, : columns // 5] = 0.0
    x[rng.integers(0, 200, columns // 5), np.arange(columns // 5)] = 1.0
    y = rng.integers(0, 4, 200)
    for j in range(12):
        told = np.flatnonzero((y == j % 4) & (rng.random(200) < 0.6))
        x[told, columns - 1 - 50 * j] = rng.random(len(told))
    return x.tocsr(), y


@pytest.mark.parametrize(("l1", "l2"), [(0.02, 0.0), (0.005, 0.0), (0.01, 0.01)])
def test_columns_that_were_never_at_work_have_no_slope_beyond_the_penalty(l1: float, l2: float) -> None:
    x, y = words(3_000)
    model = fit(x, y, tol=1e-9, l1=l1, l2=l2)
    assert model.certificate_.converged
    assert 12 <= np.count_nonzero(model.coef_.any(axis=0)) < 1_500
    dense, point = x.toarray(), point_of(model)
    assert model.certificate_.objective == pytest.approx(value(dense, y, point, l1, l2), rel=ROUNDING, abs=0)
    allowed = np.sqrt(2 * curvature(dense, l2) * (model.certificate_.gap + ROUNDING))
    assert stationarity(dense, y, point, l1, l2, True) <= allowed


@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_a_path_over_many_sparse_columns_has_the_optima_of_fresh_fits(l2: float) -> None:
    x, y = words(3_000)
    model = SoftmaxRegression(l2=l2, tol=1e-9, warm_start=True)
    for l1 in (0.03, 0.01, 0.005, 0.02):
        model.set_params(l1=l1).fit(x, y)
        fresh = fit(x, y, l1=l1, l2=l2, threads=1)
        gaps = model.certificate_.gap + fresh.certificate_.gap
        assert model.certificate_.converged
        assert abs(model.certificate_.objective - fresh.certificate_.objective) <= gaps + ROUNDING


def test_a_proof_that_forgets_the_columns_not_at_work_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made fault: the fit ends with the columns it began with, and its gap says nothing of the others."""
    monkeypatch.setattr(WorkingColumns, "FIRST", 1)
    monkeypatch.setattr(Objective, "certify", lambda self, *args, true=Objective.certify: true(self, *args[:2]))
    monkeypatch.setattr(WorkingColumns, "_join", lambda self, *args, true=WorkingColumns._join: (
        true(self, *args) if self.columns.size == 1 else None
    ))  # fmt: skip
    x, y = words(3_000)
    model, dense = fit(x, y, l1=0.005, l2=0.0), x.toarray()
    allowed = np.sqrt(2 * curvature(dense, 0.0) * (model.certificate_.gap + ROUNDING))
    assert stationarity(dense, y, point_of(model), 0.005, 0.0, True) > allowed


def test_separable_classes_have_an_optimum_with_l1_alone() -> None:
    x = np.arange(20.0)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit(x, np.arange(20) // 10, l1=0.01, l2=0.0)
    assert model.certificate_.converged
    assert model.l2_ == 0.0
    assert model.certificate_.distance == np.inf  # without L2 the objective is not strongly convex


# --- one after another, and the same bits --------------------------------------------------------------------------


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("l2", [0.0, 0.01])
@every_k
def test_a_path_with_warm_starts_has_the_optima_of_fresh_fits(classes: int, l2: float) -> None:
    x, y = drawn(classes)
    most = largest_l1(x, y)
    model = SoftmaxRegression(l2=l2, tol=1e-9, warm_start=True)
    for share in (0.5, 0.2, 0.05, 0.02, 0.3):
        model.set_params(l1=share * most).fit(x, y)
        fresh = fit(x, y, l1=share * most, l2=l2)
        gaps = model.certificate_.gap + fresh.certificate_.gap
        assert model.certificate_.converged
        assert abs(model.certificate_.objective - fresh.certificate_.objective) <= gaps + ROUNDING
        assert distance(model.predict_proba(x), fresh.predict_proba(x)) <= gaps / 2 + ROUNDING


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("classes", [2, 3])
def test_any_number_of_threads_has_the_same_bits(classes: int, stored: str) -> None:
    """On rows enough that the core starts threads."""
    x, y = drawn(classes, rows=20_000)
    one = fit(STORED[stored](x), y, tol=1e-6, l1=0.01, l2=0.0, threads=1)
    for threads in (2, 3):
        other = fit(STORED[stored](x), y, tol=1e-6, l1=0.01, l2=0.0, threads=threads)
        assert point_of(one).tobytes() == point_of(other).tobytes()
        assert one.certificate_.gap == other.certificate_.gap


# --- the gap at any point ------------------------------------------------------------------------------------------


@cache
def problem(classes: int, l1: float, l2: float, intercept: bool) -> tuple[Objective, float]:
    """An objective as the solver sees it, a sum over the rows, and a value that is no less than its least."""
    x, y = drawn(classes)
    n = len(x)
    objective = Objective(Features(n, dense=x), y.astype(np.int32), classes, n * l2, l1=n * l1, intercept=intercept)
    return objective, n * plain_optimum(classes, l1, l2, intercept)[1]


def the_gap_covers_what_is_left(objective: Objective, least: float, point: Array) -> Gap:
    logits = objective.logits(point)
    proven = objective.certify(point, logits)
    value, gradient = objective.gradient_at(point, logits)
    part = objective.penalty_gap(point, gradient, value - objective.penalty_of(point))
    assert part >= 0.0
    assert proven.gap >= 0.0
    assert proven.gap >= (proven.value - least) * (1 - 1e-12) - 60 * ROUNDING
    return proven


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    classes=st.sampled_from([2, 3, 5]),
    penalty=st.sampled_from(PENALTIES),
    intercept=st.booleans(),
    seed=st.integers(0, 2**16),
    size=st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 1.0, 10.0]),
    near=st.booleans(),
    zeros=st.floats(0, 1),
)
def test_the_gap_covers_what_is_left_at_any_point(
    classes: int, penalty: tuple[float, float], intercept: bool, seed: int, size: float, near: bool, zeros: float
) -> None:
    """At points near the optimum and far from it, with many zeros or few, intercepts at their best or not."""
    objective, least = problem(classes, *penalty, intercept)
    rng = np.random.default_rng(seed)
    start = plain_optimum(classes, *penalty, intercept)[0] if near else np.zeros_like(objective.start())
    point = start + size * rng.normal(size=start.shape) * (rng.random(start.shape) >= zeros)
    point[-1] *= intercept
    the_gap_covers_what_is_left(objective, least, point)


@every_penalty
@every_k
def test_the_gap_vanishes_at_the_optimum(classes: int, l1: float, l2: float) -> None:
    """1e-9 of the value: it is of the first order in the slope's rounding where L1 stands alone, so not 1e-13."""
    objective, least = problem(classes, l1, l2, True)
    proven = the_gap_covers_what_is_left(objective, least, plain_optimum(classes, l1, l2, True)[0])
    assert proven.gap <= 1e-9 * proven.value


GAP_FAULTS: dict[str, Callable[..., float]] = {
    "no share of the loss": lambda true, o, point, gradient, loss, *others: true(o, point, gradient, 0.0, *others),
    "no L1 penalty": lambda true, o, point, *rest: max(
        true(o, point, *rest) - o.l1 * float(np.abs(point[:-1]).sum()), 0.0
    ),
    "weights of the wrong sign": lambda true, o, point, *rest: true(o, -point, *rest),
    "two thirds": lambda true, *all_of_it: true(*all_of_it) * 2 / 3,
}


@pytest.mark.parametrize("fault", GAP_FAULTS)
def test_a_gap_that_leaves_something_out_is_found_out(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the share of the loss W = 0 would be proven the best for L1 alone. The others show where the curvature is
    nearly that of L2, and the gap nearly all of what is left."""
    l1, l2 = (0.03, 0.0) if "loss" in fault else (0.03, 3.0)
    objective, least = problem(3, l1, l2, True)
    best, rng = plain_optimum(3, l1, l2, True)[0], np.random.default_rng(0)
    points = [objective.start(), *(best + 0.3 * rng.normal(size=best.shape) * (best != 0) for _ in range(20))]
    for point in points:
        the_gap_covers_what_is_left(objective, least, point)
    true = Objective.penalty_gap
    monkeypatch.setattr(Objective, "penalty_gap", lambda *args: GAP_FAULTS[fault](true, *args))

    def caught(point: Array) -> bool:
        try:
            the_gap_covers_what_is_left(objective, least, point)
        except AssertionError:
            return True
        return False

    assert any(caught(point) for point in points)


def test_a_fit_that_leaves_one_weight_out_is_found_out() -> None:
    """A hand-made fault of the solver: the conditions of an optimum say so."""
    x, y = drawn(3)
    model = fit(x, y, l1=0.03, l2=0.0)
    allowed = np.sqrt(2 * curvature(x, 0.0) * (model.certificate_.gap + ROUNDING))
    point = point_of(model)
    assert stationarity(x, y, point, 0.03, 0.0, True) <= allowed
    point[0, np.abs(point[0]).argmax()] = 0.0
    assert stationarity(x, y, point, 0.03, 0.0, True) > allowed


@pytest.mark.parametrize("l1", [-1.0, np.nan, np.inf, "1", None, True])
def test_strengths_that_are_none_are_refused(l1: Any) -> None:
    with pytest.raises(ValueError, match="l1"):
        SoftmaxRegression(l1=l1, l2=0.1).fit(*drawn(2))


def test_a_fit_that_ends_early_says_so() -> None:
    x, y = drawn(3)
    with pytest.warns(LuceWarning, match="time limit"):
        model = SoftmaxRegression(l1=0.03, l2=0.0, time_limit=1e-9).fit(x, y)
    assert not model.certificate_.converged
    assert model.certificate_.gap >= model.certificate_.objective - plain_optimum(3, 0.03, 0.0, True)[1] - ROUNDING
