"""Matrices of any storage are the numbers they hold: sparse ones of scipy, memory maps, every type of number.

Fits that are not the same bits are compared by the bound of claims.py: the mean distance of their predictions is at
most the mean of their gaps.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from claims import ROUNDING, distance

from luce.errors import InputError, LuceWarning
from luce.features import Features
from luce.inputs import features_of
from luce.linear import SoftmaxRegression

Array = np.ndarray

SHAPES = {"tall": (240, 12), "wide": (60, 150)}
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_k = pytest.mark.parametrize("classes", [2, 3])


def drawn(classes: int, shape: str = "tall", whole: bool = False) -> tuple[Array, Array]:
    """Rows of which a fifth of the numbers is not 0, whose class depends on the first columns; row 3 and column 5 are
    empty. Numbers are exact in float32, and in int8 if they are whole."""
    rows, columns = SHAPES[shape]
    rng = np.random.default_rng(rows + classes)
    numbers = rng.integers(-5, 6, (rows, columns)) if whole else rng.normal(size=(rows, columns)).astype(np.float32)
    x = np.where(rng.random((rows, columns)) < 0.2, numbers, 0).astype(np.float64)
    score = x[:, :4].sum(axis=1) + rng.normal(size=rows)
    x[3], x[:, 5] = 0, 0
    return x, np.array(["a", "b", "c"])[np.argsort(np.argsort(score)) * classes // rows]


def fit(x: Any, y: Array, **how: Any) -> SoftmaxRegression:
    return SoftmaxRegression(**{"l2": 0.02, "tol": 1e-8, **how}).fit(x, y)


def same_optimum(one: SoftmaxRegression, x: Any, other: SoftmaxRegression, z: Any) -> None:
    gaps = one.certificate_.gap, other.certificate_.gap
    assert one.certificate_.converged and other.certificate_.converged
    assert abs(one.certificate_.objective - other.certificate_.objective) <= max(gaps) + ROUNDING
    assert distance(one.predict_proba(x), other.predict_proba(z)) <= sum(gaps) / 2 + ROUNDING


def rounded_alike(model: SoftmaxRegression, x: Any, dense: Array) -> None:
    """The logits of one model, however its rows are stored: sums of at most 150 products in another order."""
    z, wanted = model.decision_function(x), dense @ model.coef_.T + model.intercept_
    assert np.abs(z - (wanted[:, 0] if z.ndim == 1 else wanted)).max() <= 150 * 2**-52 * (1 + np.abs(wanted).max())
    assert np.array_equal(model.predict(x), model.predict(dense))


def fingerprint(x: Any) -> str:
    """Of every array of a matrix, in any format, and of its flags that say what order it is in."""
    arrays = [getattr(x, name) for name in ("data", "indices", "indptr", "row", "col", "coords") if hasattr(x, name)]
    facts = [(type(x), x.shape, x.dtype)] + [[np.asarray(part).tobytes() for part in np.atleast_1d(a)] for a in arrays]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


# --- formats -------------------------------------------------------------------------------------------------------

FORMATS: dict[str, Callable[[Array], Any]] = {
    "CSR array": sp.csr_array,
    "CSR matrix": sp.csr_matrix,
    "CSC array": sp.csc_array,
    "CSC matrix": sp.csc_matrix,
    "COO array": sp.coo_array,
    "COO matrix": sp.coo_matrix,
    "LIL array": sp.lil_array,
    "DOK array": sp.dok_array,
    "BSR array": sp.bsr_array,
}


@pytest.mark.parametrize("form", FORMATS)
@every_shape
@every_k
def test_every_format_has_the_optimum_of_the_dense_rows(classes: int, shape: str, form: str) -> None:
    x, y = drawn(classes, shape)
    stored = FORMATS[form](x)
    before = fingerprint(stored)
    model = fit(stored, y)
    rounded_alike(model, stored, x)
    assert fingerprint(stored) == before
    same_optimum(fit(x, y), x, model, stored)


@every_shape
def test_formats_have_the_same_bits(shape: str) -> None:
    """All become compressed rows."""
    x, y = drawn(3, shape)
    wanted = fit(sp.csr_array(x), y).coef_.tobytes()
    for make in FORMATS.values():
        assert fit(make(x), y).coef_.tobytes() == wanted


@pytest.mark.parametrize("indices", [np.int32, np.int64])
@pytest.mark.parametrize("values", [np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, np.bool_])
@every_shape
def test_every_type_of_number_and_index(shape: str, values: type, indices: type) -> None:
    x, y = drawn(3, shape, whole=True)
    if values in (np.bool_, np.uint8):
        x = np.abs(x) if values is np.uint8 else (x != 0).astype(np.float64)
    stored = sp.csr_array(x).astype(values)
    stored.indices, stored.indptr = stored.indices.astype(indices), stored.indptr.astype(indices)
    before = fingerprint(stored)
    model = fit(stored, y)
    assert (stored.dtype, stored.indices.dtype) == (values, indices)
    assert fingerprint(stored) == before
    rounded_alike(model, stored, x)
    same_optimum(fit(x, y), x, model, stored)


@every_shape
def test_entries_out_of_order_are_put_in_order(shape: str) -> None:
    x, y = drawn(3, shape)
    stored = sp.csr_array(x)
    rng = np.random.default_rng(0)
    for row in range(len(x)):
        part = slice(stored.indptr[row], stored.indptr[row + 1])
        order = rng.permutation(part.stop - part.start)
        stored.indices[part], stored.data[part] = stored.indices[part][order], stored.data[part][order]
    stored.has_sorted_indices = False
    stored.has_canonical_format = False
    assert np.array_equal(stored.toarray(), x)
    before = fingerprint(stored)
    model = fit(stored, y)
    rounded_alike(model, stored, x)
    assert fingerprint(stored) == before
    assert model.coef_.tobytes() == fit(sp.csr_array(x), y).coef_.tobytes()


@pytest.mark.parametrize("make", [sp.csr_array, sp.coo_array, sp.csc_array])
@every_shape
def test_entries_given_twice_are_added(shape: str, make: Callable[..., Any]) -> None:
    """Each number as two parts whose sum is exact."""
    x, y = drawn(3, shape, whole=True)
    row, column = np.nonzero(x)
    parts = np.concatenate([x[row, column] - 2.5, np.full(len(row), 2.5)])
    twice = (np.concatenate([row, row]), np.concatenate([column, column]))
    coo = sp.coo_array((parts, twice), shape=x.shape)
    if make is sp.coo_array:
        stored = coo
    else:  # by hand, as tocsr would add them
        major, minor = twice if make is sp.csr_array else twice[::-1]
        order = np.argsort(major, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(major, minlength=x.shape[make is sp.csc_array]))])
        stored = make((parts[order], minor[order], starts), shape=x.shape)
    assert stored.nnz == 2 * len(row)
    before = fingerprint(stored)
    model = fit(stored, y)
    rounded_alike(model, stored, x)
    assert fingerprint(stored) == before
    assert stored.nnz == 2 * len(row)
    assert model.coef_.tobytes() == fit(sp.csr_array(x), y).coef_.tobytes()


@every_shape
def test_zeros_that_are_stored_are_zeros(shape: str) -> None:
    x, y = drawn(3, shape)
    stored = sp.csr_array(np.where(x == 0, 7.0, x))
    stored.data[stored.data == 7.0] = 0.0
    stored.data[::3] = np.where(stored.data[::3] == 0, -0.0, stored.data[::3])
    assert stored.nnz == x.size
    model = fit(stored, y)
    rounded_alike(model, stored, x)
    same_optimum(fit(x, y), x, model, stored)


@every_shape
def test_empty_rows_and_columns_have_what_the_intercepts_say(shape: str) -> None:
    x, y = drawn(3, shape)
    model = fit(sp.csr_array(x), y)
    assert not model.coef_[:, 5].any()
    assert model.decision_function(sp.csr_array(x))[3] == pytest.approx(model.intercept_, rel=1e-15, abs=1e-15)


@pytest.mark.parametrize("columns", [2, 50])
def test_a_matrix_of_nothing_gives_the_shares_of_the_classes(columns: int) -> None:
    y = np.array(["a"] * 12 + ["b"] * 6 + ["c"] * 2)
    model = fit(sp.csr_array((20, columns)), y)
    assert not model.coef_.any()
    assert model.predict_proba(sp.csr_array((1, columns)))[0] == pytest.approx([0.6, 0.3, 0.1], rel=1e-6)
    auto = SoftmaxRegression().fit(sp.csr_array((20, columns)), y)
    assert not hasattr(auto, "path_")


def test_slices_and_views_are_what_they_show() -> None:
    x, y = drawn(3)
    whole = sp.csr_array(np.vstack([x, 100 + x]))
    assert fit(whole[: len(x)], y).coef_.tobytes() == fit(sp.csr_array(x), y).coef_.tobytes()
    transposed = sp.csc_array(x.T).T  # compressed rows by another way
    assert fit(transposed, y).coef_.tobytes() == fit(sp.csr_array(x), y).coef_.tobytes()


def test_arrays_that_cannot_be_written_are_read() -> None:
    x, y = drawn(3)
    stored = sp.csr_array(x)
    for part in (stored.data, stored.indices, stored.indptr):
        part.flags.writeable = False
    assert fit(stored, y).coef_.tobytes() == fit(sp.csr_array(x), y).coef_.tobytes()


@pytest.mark.parametrize(
    "how", [{"l1": 0.01}, {"fit_intercept": False}, {"l2": "auto"}, {"class_weight": "balanced"}], ids=repr
)
@every_shape
@every_k
def test_every_setting_works_on_either(classes: int, shape: str, how: dict[str, Any]) -> None:
    x, y = drawn(classes, shape)
    stored = sp.csr_array(x)
    one, other = fit(x, y, **how), fit(stored, y, **how)
    if how.get("l2") == "auto":  # the fits of the folds are within 1e-3 of their best: scores are close, not equal
        assert other.path_.strengths[0] == pytest.approx(one.path_.strengths[0], rel=1e-12)
        one, other = fit(x, y, l2=other.l2_), other
    same_optimum(one, x, other, stored)


@every_shape
def test_weights_of_rows_and_threads(shape: str) -> None:
    x, y = drawn(3, shape)
    w = np.random.default_rng(0).uniform(0, 2, len(x))
    one = SoftmaxRegression(l2=0.02, tol=1e-8).fit(x, y, sample_weight=w)
    other = SoftmaxRegression(l2=0.02, tol=1e-8, threads=1).fit(sp.csr_array(x), y, sample_weight=w)
    assert abs(one.certificate_.objective - other.certificate_.objective) <= 1e-8
    for threads in (2, 3):
        again = SoftmaxRegression(l2=0.02, tol=1e-8, threads=threads).fit(sp.csr_array(x), y, sample_weight=w)
        assert again.coef_.tobytes() == other.coef_.tobytes()


@pytest.mark.parametrize("shape", [(20_000, 30), (3000, 20_000)], ids=repr)
@every_k
def test_any_number_of_threads_has_the_same_bits(classes: int, shape: tuple[int, int]) -> None:
    """On matrices large enough that the core starts threads."""
    rng = np.random.default_rng(0)
    x = sp.random_array(shape, density=min(1.0, 20 / shape[1]), rng=rng, format="csr")
    y = rng.integers(0, classes, shape[0])
    one = fit(x, y, tol=1e-4, threads=1)
    for threads in (2, 3):
        other = fit(x, y, tol=1e-4, threads=threads)
        assert one.coef_.tobytes() == other.coef_.tobytes()
        assert one.predict_proba(x).tobytes() == other.predict_proba(x).tobytes()


@every_shape
def test_a_matrix_that_lost_an_entry_is_found_out(shape: str) -> None:
    """A hand-made fault: one number of hundreds is missing, once in the fit and once in the prediction."""
    x, y = drawn(3, shape)
    lost = sp.csr_array(x)
    lost.data[np.abs(lost.data).argmax()] = 0.0
    model = fit(lost, y)
    with pytest.raises(AssertionError):
        same_optimum(fit(x, y), x, model, lost)
    with pytest.raises(AssertionError):
        rounded_alike(model, lost, x)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["CSR array", "CSC array", "COO matrix", "DOK array"])
@pytest.mark.parametrize(("bad", "said"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e101, "1e\\+101")])
def test_a_number_that_cannot_be_used_is_named_with_its_row_and_column(bad: float, said: str, form: str) -> None:
    x, y = drawn(3)
    x[17, 4] = bad
    with pytest.raises(InputError, match=f"X has {said} in row 17, column 4"):
        fit(FORMATS[form](x), y)
    model = fit(np.where(np.isfinite(x) & (np.abs(x) < 1e100), x, 0.0), y)
    with pytest.raises(InputError, match=f"X has {said} in row 17, column 4"):
        model.predict(FORMATS[form](x))


def test_the_first_and_the_last_entry_are_named_too() -> None:
    """Beside empty rows, whose starts are those of the next."""
    for row, column in ((0, 2), (9, 0)):
        x = np.zeros((10, 3))
        x[row, column] = np.nan
        x[5, 1] = 1.0
        with pytest.raises(InputError, match=f"row {row}, column {column}"):
            fit(sp.csr_array(x), np.arange(10) % 2)


def _beyond() -> sp.csr_array:
    """A column that 32 bits would make one of the matrix."""
    x = sp.csr_array(np.eye(4))
    x.indices = x.indices.astype(np.int64)
    x.indices[2] += 2**32
    return x


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (sp.csr_array((0, 3)), "0 rows"),
        (sp.csr_array((4, 0)), "0 columns"),
        (sp.csr_array(np.eye(4) * 1j), "omplex"),
        (sp.coo_array(np.ones(4)), "1 dimensions"),
        (_beyond(), "a column that is none of its 4"),
    ],
    ids=["no rows", "no columns", "complex", "one dimension", "a column of 64 bits"],
)
def test_matrices_that_cannot_be_used(x: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit(x, [0, 1, 0, 1])


def test_prediction_refuses_other_columns() -> None:
    x, y = drawn(3)
    model = fit(sp.csr_array(x), y)
    with pytest.raises(InputError, match="X has 11 features, but SoftmaxRegression is expecting 12"):
        model.predict(sp.csr_array(x)[:, :11])


def test_sums_that_overflow_are_named() -> None:
    """Two parts that are fine alone."""
    stored = sp.csr_array((np.array([9e99, 9e99, 1.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    with pytest.raises(InputError, match=r"row 0, column 1: .*numbers beyond 1e100"):
        fit(stored, [0, 1])


# --- dense rows of any type and place ------------------------------------------------------------------------------


@every_k
def test_numbers_of_any_width_have_one_optimum(classes: int) -> None:
    x, y = drawn(classes, whole=True)
    x = np.abs(x)
    wanted = fit(x, y)
    for dtype in (np.float32, np.uint8, np.int8, np.uint16, np.int64, np.float16):
        same_optimum(wanted, x, fit(x.astype(dtype), y), x.astype(dtype))


@pytest.mark.parametrize("columns", [16, 40, 200])
@pytest.mark.parametrize("order", ["C", "F"])
def test_so_they_have_where_rows_are_long(columns: int, order: str) -> None:
    """Long rows are worked otherwise than short ones, those of float32 and uint8 in float32 on the way."""
    rng = np.random.default_rng(columns)
    x = rng.integers(0, 256, (150, columns)).astype(np.float64, order=order)
    y = (x[:, 0] + 60 * rng.normal(size=150) > 128) + (x[:, 1] > 128)
    wanted = fit(x, y, l2=20.0)
    for dtype in (np.uint8, np.float32):
        other = fit(x.astype(dtype, order=order), y, l2=20.0)
        same_optimum(wanted, x, other, x.astype(dtype, order=order))
        rounded_alike(other, x.astype(dtype, order=order), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_memory_map_is_read_where_it_lies(tmp_path: Path, dtype: type, order: str) -> None:
    x, y = drawn(3, whole=True)
    x = np.asarray(np.abs(x), dtype=dtype, order=order)
    path = tmp_path / "x.bin"
    x.tofile(path) if order == "C" else x.T.tofile(path)
    on_disk = path.read_bytes()
    lies = np.memmap(path, dtype=dtype, mode="r", shape=x.shape, order=order)
    model = fit(lies, y)
    assert model.coef_.tobytes() == fit(x, y).coef_.tobytes()
    assert model.predict_proba(lies).tobytes() == model.predict_proba(x).tobytes()
    assert path.read_bytes() == on_disk
    seen = features_of(lies).dense
    assert seen is not None and np.shares_memory(seen, lies)  # no copy was made


def test_the_same_goes_for_a_file_of_numpy(tmp_path: Path) -> None:
    x, y = drawn(3)
    np.save(tmp_path / "x.npy", x)
    model = fit(np.load(tmp_path / "x.npy", mmap_mode="r"), y)
    assert model.coef_.tobytes() == fit(x, y).coef_.tobytes()


@pytest.mark.parametrize("change", ["backwards", "big end first", "unaligned", "every other"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_layout_in_memory_has_the_same_bits(change: str, dtype: type) -> None:
    x, y = drawn(3)
    x = x.astype(dtype)
    if change == "backwards":
        other = x[::-1, ::-1].copy()[::-1, ::-1]
    elif change == "big end first":
        other = x.astype(np.dtype(dtype).newbyteorder(">"))
    elif change == "unaligned":
        other = np.frombuffer(b"\0" + x.tobytes(), dtype=np.uint8)[1:].view(dtype).reshape(x.shape)
    else:
        wide = np.full((2 * len(x), 2 * x.shape[1]), np.nan, dtype=dtype)
        wide[::2, ::2] = x
        other = wide[::2, ::2]
    assert np.array_equal(other, x)
    model = fit(x, y)
    assert fit(other, y).coef_.tobytes() == model.coef_.tobytes()
    for rows in (1, 5, 64, 65, len(x)):  # few rows are answered by another way than many
        assert model.predict_proba(other[:rows]).tobytes() == model.predict_proba(x)[:rows].tobytes()


# --- hashes: rows of equal numbers are equal -----------------------------------------------------------------------


def test_a_hash_is_that_of_the_numbers() -> None:
    """However they are stored: dense in any type, sparse in any order, zeros stored or not, of either sign."""
    x, _ = drawn(3, whole=True)
    x = np.abs(x)
    wanted = features_of(x).hashes(7, 1)
    assert len(set(wanted.tolist())) == len(np.unique(x, axis=0))
    signed = sp.csr_array(np.where(x == 0, 200.0, x))
    signed.data[signed.data == 200.0] = -0.0
    stored = (x.astype(np.uint8), x.astype(np.float32), np.asfortranarray(x), np.where(x == 0, -0.0, x))
    for other in (*stored, sp.csr_array(x), sp.csr_array(x.astype(np.float32)), sp.coo_array(x), signed):
        for threads in (1, 2):
            assert np.array_equal(features_of(other).hashes(7, threads), wanted)
    assert not np.array_equal(features_of(x).hashes(8, 1), wanted)
    assert not np.array_equal(features_of(x[:, ::-1]).hashes(7, 1), wanted)
    ones = Features(3, starts=np.array([0, 1, 2, 3]), indices=np.array([0, 1, 0], np.int32), sparse_columns=2)
    assert np.array_equal(ones.hashes(7, 1), features_of(np.array([[1.0, 0], [0, 1], [1, 0]])).hashes(7, 1))


def test_the_choice_of_l2_does_not_hang_on_the_storage() -> None:
    x, y = drawn(3, whole=True)
    x = np.abs(x)
    one = SoftmaxRegression().fit(x, y)
    for other in (x.astype(np.uint8), x.astype(np.float32), sp.csr_array(x), sp.csc_matrix(x.astype(np.int8))):
        path = SoftmaxRegression().fit(other, y).path_
        assert path.strengths[:4] == pytest.approx(one.path_.strengths[:4], rel=1e-6)  # float32 on the way
        assert path.scores[:4] == pytest.approx(one.path_.scores[:4], rel=2e-3)  # twice the gap of a fit in a fold


# --- other manners -------------------------------------------------------------------------------------------------


def test_a_model_of_sparse_rows_predicts_dense_ones_and_comes_back_from_a_pickle() -> None:
    x, y = drawn(3, "wide")
    model = fit(sp.csr_array(x), y)
    again = pickle.loads(pickle.dumps(model))
    assert again.predict_proba(sp.csr_array(x)).tobytes() == model.predict_proba(sp.csr_array(x)).tobytes()
    assert np.abs(model.predict_proba(x) - model.predict_proba(sp.csr_array(x))).max() <= ROUNDING
    assert model.predict_log_proba(sp.csr_array(x)).shape == (60, 3)
    assert model.score(sp.csr_array(x), y) == model.score(x, y)


@every_k
def test_the_gap_of_a_wide_matrix_is_true(classes: int) -> None:
    """It is fitted by a number a row and class. What is left is measured against a tight fit to the dense rows."""
    x, y = drawn(classes, "wide")
    best = fit(x, y, tol=1e-12).certificate_.objective
    for tol in (1e-1, 1e-2, 1e-4, 1e-8):
        model = fit(sp.csr_array(x), y, tol=tol)
        certificate = model.certificate_
        z = model.decision_function(x)
        z = np.column_stack([np.zeros(len(z)), z]) if z.ndim == 1 else z
        loss = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), np.searchsorted(model.classes_, y)]
        value = loss.mean() + 0.01 * np.sum(model.coef_**2)
        assert certificate.objective == pytest.approx(value, rel=1e-12, abs=0)
        assert -1e-12 * best <= value - best <= certificate.gap + ROUNDING
        assert certificate.gap <= tol * certificate.objective


@every_k
def test_warm_starts_on_a_wide_matrix_have_the_optimum_of_fresh_fits(classes: int) -> None:
    x, y = drawn(classes, "wide")
    model = SoftmaxRegression(tol=1e-8, warm_start=True)
    for l2 in (1.0, 0.1, 0.01, 0.3):
        model.set_params(l2=l2).fit(sp.csr_array(x), y)
        same_optimum(model, sp.csr_array(x), fit(x, y, l2=l2), x)


def test_no_penalty_on_a_wide_matrix_is_separable_and_says_so() -> None:
    """With more columns than rows some plane parts any classes."""
    x, y = drawn(3, "wide")
    with pytest.warns(LuceWarning, match="separable"):
        model = fit(sp.csr_array(x), y, l2=0, tol=1e-4)
    assert np.isfinite(model.coef_).all()
    assert model.score(x, y) > 0.95  # but for the empty row
