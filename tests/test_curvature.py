"""What steps with an L1 penalty are made of: whole curvatures, their updates, columns that stand out; against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import luce
from luce import _core
from luce.features import Features
from luce.objective import Objective
from luce.steps import LINE_SLOPE, NARROW, Quadratic, line_search

Array = np.ndarray

ENOUGH = 0.0
"""Of what a round must gain: none, so that descend ends with its rounds."""


def panel(rows: int, columns: int, seed: int = 0) -> Array:
    """Numbers, a column of ones, zeros up to a multiple of 32."""
    out = np.zeros((rows, (columns + 40) // 32 * 32), dtype=np.float32)
    out[:, :columns] = np.random.default_rng(seed).normal(size=(rows, columns))
    out[:, columns] = 1
    return out


def shares_of(rows: int, outputs: int, seed: int = 1) -> Array:
    z = np.random.default_rng(seed).normal(size=(max(outputs, 2), rows))
    p = np.exp(z) / np.exp(z).sum(axis=0)
    return np.ascontiguousarray(p[:outputs])


@pytest.mark.parametrize("outputs", [1, 2, 3, 7])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (50, 4), (700, 33)])
def test_a_whole_curvature_is_that_of_all_outputs(rows: int, columns: int, outputs: int) -> None:
    """1e-5: sums of at most 128 products in float, 2^-24 each, then double."""
    x, p = panel(rows, columns), shares_of(rows, outputs)
    w = np.random.default_rng(2).uniform(0, 3, rows)
    found = np.empty((outputs * (columns + 1),) * 2)
    _core.whole_curvature(x, columns + 1, p, w, found, 2)
    dense = x[:, : columns + 1].astype(float)
    inner = np.einsum("ki,kl->ikl", p, np.eye(outputs)) - np.einsum("ki,li->ikl", p, p)
    wanted = np.einsum("i,ia,ib,ikl->akbl", w, dense, dense, inner).reshape(found.shape)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert (found == found.T).all()
    again = np.empty_like(found)
    _core.whole_curvature(x, columns + 1, p, w, again, 1)
    assert again.tobytes() == found.tobytes()


@pytest.mark.parametrize("sure", [1.0, 30.0])  # classes uncertain, or all but certain
@pytest.mark.parametrize(
    ("rows", "columns", "classes"), [(40, 2, 3), (300, 4, 5), (700, 16, 26), (500, 40, 4), (64, 0, 9)]
)
def test_a_coupled_factor_is_that_of_the_whole_curvature(rows: int, columns: int, classes: int, sure: float) -> None:
    """3e-6: the diagonal is raised by 1e-6, and sums of at most 128 products in float have 2^-24 each."""
    x, m = panel(rows, columns), classes - 1
    z = sure * np.random.default_rng(1).normal(size=(classes, rows))
    p = np.exp(z - z.max(axis=0)) / np.exp(z - z.max(axis=0)).sum(axis=0)
    w, ridge = (np.random.default_rng(seed).uniform(0.5, 2, n) for seed, n in ((2, rows), (3, columns + 1)))
    factors = [np.zeros((m * (columns + 1),) * 2) for _ in range(2)]
    for threads, factor in enumerate(factors, 1):
        _core.coupled_factor(x, columns + 1, p, w, ridge, factor, threads)
    dense, to_last = x[:, : columns + 1].astype(float), np.vstack([np.eye(m), -np.ones((1, m))])
    inner = np.einsum("ki,kl->ikl", p, np.eye(classes)) - np.einsum("ki,li->ikl", p, p)
    inner = np.einsum("ka,ikl,lb->iab", to_last, inner, to_last)
    wanted = np.einsum("i,ia,ib,ikl->kalb", w, dense, dense, inner).reshape(factors[0].shape)
    wanted += np.kron(to_last.T @ to_last, np.diag(ridge))
    lower = np.tril(factors[0])
    assert np.abs(lower @ lower.T - wanted).max() <= 3e-6 * np.abs(wanted).max()
    assert factors[0].tobytes() == factors[1].tobytes()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("rows", "columns", "blocks"), [(1, 4, 1), (129, 39, 3), (1000, 120, 1), (777, 200, 2)])
def test_factors_are_those_of_weighted_squares(rows: int, columns: int, blocks: int, exact: bool) -> None:
    """L L' = X' diag(w) X + ridge, whether threads share the rows of a matrix or not; the diagonal is raised by 1e-6 of
    itself where float sums, which alone would show some 1e-7."""
    rng = np.random.default_rng(rows)
    size = columns + 1
    x = np.zeros((rows, (columns + 40) // 32 * 32), dtype=np.float32)
    x[:, :size] = rng.normal(size=(rows, size))
    w, ridge = rng.uniform(size=(blocks, rows)), np.full(size, 0.5)
    found = []
    for threads in (1, 2, 3, 8):
        factors = np.zeros((blocks, size, size))
        _core.curvature_factors(x, size, w, ridge, factors, threads, exact)
        found.append(np.tril(factors))
    assert all(np.array_equal(found[0], other) for other in found[1:])
    own = x[:, :size].astype(np.float64)
    for lower, weights in zip(found[0], w, strict=True):
        want = (own * weights[:, np.newaxis]).T @ own + np.diag(ridge)
        assert np.abs(lower @ lower.T - want).max() <= (2e-8 if exact else 2e-6) * np.abs(want).max()


def test_a_factor_summed_in_double_tells_columns_apart_that_say_almost_the_same() -> None:
    """Along the difference of two columns that are 1e-4 apart the curvature is 5e-9 of that along each. 1e-2: numbers
    and weights are rounded to float, 2^-24 each, and the diagonal is raised by 1e-12."""
    x, p, w = panel(500, 4), shares_of(500, 3), np.random.default_rng(2).uniform(0.5, 2, 500)
    x[:, 1] = x[:, 0] + 1e-4 * x[:, 1]
    factors, leasts = [np.zeros((10, 10)) for _ in range(3)], []
    for factor, threads in zip(factors, (1, 2, 2), strict=True):
        exact = factor is not factors[2]
        leasts.append(_core.coupled_factor(x, 5, p, w, np.zeros(5), factor, threads, exact))
    assert factors[0].tobytes() == factors[1].tobytes()
    difference = (x[:, 0].astype(float) - x[:, 1]) ** 2
    to_last = p[0] + p[2] - (p[0] - p[2]) ** 2  # the curvature of a class along which another falls
    wanted = float(np.sum(w * difference * to_last))
    found = [float(np.sum((np.tril(factor).T @ np.eye(10)[:, :2] @ [1, -1]) ** 2)) for factor in factors]
    assert abs(found[0] / wanted - 1) <= 1e-2
    assert found[2] > 2 * wanted  # sums in float do not tell it
    assert 0 < leasts[0] < 1e-8 and leasts[2] < 1e-5  # which the pivots say


@pytest.mark.parametrize("classes", [2, 3])
def test_a_fit_to_columns_that_say_almost_the_same_takes_few_passes(classes: int) -> None:
    """In units of their own, as they come; the least curvature is some 1e-9 of the largest. With curvature summed in
    float it takes over a thousand passes."""
    rng = np.random.default_rng(5)
    size = rng.lognormal(size=(3_000, 1))
    x = 1e3 * size * (1 + 1e-4 * rng.normal(size=(3_000, 6)))
    z = (x / size - 1e3) @ rng.normal(size=(6, classes)) * 10
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    fit = luce.SoftmaxRegression(l2=1e-9).fit(x, y).certificate_
    assert fit.converged and fit.passes < 100


def far_rows(seed: int) -> tuple[Objective, Array, Array]:
    """Rows of one class, some far on the wrong side and some on the right one, and a direction that moves the first to
    the right and the others to the wrong one, each at its own pace: the loss along it has kinks."""
    rng = np.random.default_rng(seed)
    o = Objective(Features(6, np.zeros((6, 1))), np.ones(6, dtype=np.int32), 2, 1.0)
    logits = np.append(-(10 ** rng.uniform(1, 4, 3)), 10 ** rng.uniform(0, 3, 3))
    along = np.append(10 ** rng.uniform(2, 8, 3), -(10 ** rng.uniform(3, 9, 3)))
    return o, logits[np.newaxis], along[np.newaxis]


@pytest.mark.parametrize("known", [False, True])
def test_a_step_lowers_the_loss_and_ends_near_a_kink(known: bool) -> None:
    """Whether or not the loss and its slope at the whole step are known, which then need not be looked at."""
    searched = 0
    for seed in range(300):
        o, logits, along = far_rows(seed)
        value, slope, _ = o.along(logits, along, 0.0)
        if slope >= 0:
            continue
        whole = o.along(logits, along, 1.0)[:2] if known else None
        step = line_search(o, logits, along, value, slope, Quadratic(0.0, 0.0, 0.0), whole)
        assert step > 0 and o.along(logits, along, step)[0] <= value, seed
        fallen = abs(o.along(logits, along, step)[1]) <= LINE_SLOPE * abs(slope)
        ends = [o.along(logits, along, step * (1 + far))[1] for far in (-2 * NARROW, 2 * NARROW)]
        assert fallen or ends[0] < 0 < ends[1], seed
        searched += 1
    assert searched > 100


def test_a_factor_of_columns_that_say_the_same_does_not_overflow() -> None:
    """What rounding leaves in place of nothing must not grow from column to column: no number of a factor's row is
    larger than the root of its diagonal."""
    codes = np.random.default_rng(4).integers(0, 5, (160, 16))
    wide = (codes[:, :, np.newaxis] == np.arange(5)).reshape(160, 80).astype(np.float32)
    x = np.zeros((160, 96), dtype=np.float32)
    x[:, :80], x[:, 80] = wide / wide.std(axis=0), 1
    side, p = 3 * 81, np.full((4, 160), 0.25)
    factor, ridge = np.zeros((side, side)), np.full(81, 1e-9)
    _core.coupled_factor(x, 81, p, np.ones(160), ridge, factor, 2)
    lower = np.tril(factor)
    most = np.sqrt(np.kron(np.full(3, 2 / 4), (x[:, :81].astype(float) ** 2).sum(axis=0)))
    assert (np.abs(lower) <= most[:, np.newaxis] * (1 + 1e-5)).all()
    assert (np.diag(lower) > 0).all()


def test_a_fit_of_separable_rows_with_next_to_no_penalty_is_proven() -> None:
    """Numbers of few values, each of them also told apart: many more weights than rows."""
    rows = {f"x{j}": [float(k % (j + 3)) for k in range(160)] for j in range(10)}
    wide = np.column_stack([np.array(column)[:, np.newaxis] == np.unique(column) for column in rows.values()])
    x, y = np.column_stack([*rows.values(), wide.astype(float)]), [k % 4 for k in range(160)]
    fit = luce.SoftmaxRegression(l2=3e-9).fit(x, y).certificate_
    assert fit.converged and fit.objective < 1e-3


def positive(n: int, seed: int = 0) -> Array:
    a = np.random.default_rng(seed).normal(size=(n, n))
    return a @ a.T + np.eye(n)


@pytest.mark.parametrize("n", [1, 2, 17, 130])
def test_an_update_is_that_of_bfgs(n: int) -> None:
    rng = np.random.default_rng(n)
    h, step = positive(n), rng.normal(size=n)
    change = positive(n, 1) @ step
    wanted = h - np.outer(h @ step, h @ step) / (step @ h @ step) + np.outer(change, change) / (step @ change)
    found = h.copy()
    assert _core.update_curvature(found, step, change)
    assert np.abs(found - wanted).max() <= 1e-12 * np.abs(wanted).max()
    assert np.abs(found @ step - change).max() <= 1e-11 * np.abs(change).max()  # what the update is for


@pytest.mark.parametrize("change", [np.zeros(3), -np.ones(3), np.full(3, np.nan)])
def test_a_change_that_shows_no_curvature_is_left_out(change: Array) -> None:
    h = positive(3)
    found = h.copy()
    assert not _core.update_curvature(found, np.ones(3), change)
    assert (found == h).all()


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("intercepts", [True, False])
def test_the_model_of_a_matrix_is_minimised(outputs: int, intercepts: bool) -> None:
    """Its subgradient has 0 in it: the slope is -l1 sign(w) where there is a weight, and at most l1 elsewhere. 1e-7:
    200 rounds, each with conjugate gradients, leave less."""
    columns = 6
    size, rng = (columns + 1) * outputs, np.random.default_rng(0)
    h, weights = positive(size), np.round(rng.normal(size=(columns, outputs)))
    gradient, l1 = 5 * rng.normal(size=(columns + 1, outputs)), 4.0
    d = np.empty((columns + 1, outputs))
    _core.descend(h, weights, gradient, l1, intercepts, ENOUGH, 200, d)
    slope = gradient + (h @ d.ravel()).reshape(d.shape)
    at = weights + d[:-1]
    has = at != 0
    assert 0 < has.sum() < has.size
    assert np.abs(slope[:-1][has] + l1 * np.sign(at[has])).max() <= 1e-7
    assert np.abs(slope[:-1][~has]).max() <= l1 + 1e-7
    assert np.abs(slope[-1]).max() <= 1e-7 if intercepts else not d[-1].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_peaks_are_those_of_the_whole_product(outputs: int, dtype: type) -> None:
    """Columns of many rows, of one, of none."""
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(40, 300)) * (rng.random((40, 300)) < 0.04)
    x = scipy.sparse.csr_array(dense.astype(dtype))
    assert {0, 1, 2} <= set(np.count_nonzero(dense, axis=0).tolist())
    features = Features(40, None, x.indptr.astype(np.int64), x.indices.astype(np.int32), x.data, 300)
    r = rng.normal(size=(outputs, 40))
    peak, excess = np.empty(300), np.empty(300)
    features.row_space.peaks(r, 0.5, peak, excess, 2)
    product = np.abs(x.toarray().astype(float).T @ r.T)
    assert peak == pytest.approx(product.max(axis=1), abs=1e-14)
    assert excess == pytest.approx((np.maximum(product - 0.5, 0) ** 2).sum(axis=1), abs=1e-13)


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, p, w = panel(5, 3), shares_of(5, 2), np.ones(5)
    for call in (
        lambda: _core.whole_curvature(x, 4, p, w, np.empty((7, 7)), 1),
        lambda: _core.whole_curvature(x, 4, p, np.ones(4), np.empty((8, 8)), 1),
        lambda: _core.whole_curvature(np.zeros((5, 4), dtype=np.float32), 4, p, w, np.empty((8, 8)), 1),
        lambda: _core.update_curvature(np.eye(3), np.ones(2), np.ones(3)),
        lambda: _core.descend(np.eye(5), np.ones((2, 2)), np.ones((3, 2)), 1.0, True, 0.0, 9, np.empty((3, 2))),
        lambda: _core.descend(np.eye(6), np.ones((2, 2)), np.ones((2, 2)), 1.0, True, 0.0, 9, np.empty((3, 2))),
    ):
        with pytest.raises(ValueError, match=r"must|for each|of its size"):
            call()
