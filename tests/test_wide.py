"""Wide dense matrices, which are worked along their rows: against NumPy with a bound, in double and in float32, and bit
by bit against each other. test_instruction_sets.py runs all of this for every instruction set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import reference

from luce.features import Features
from luce.objective import Objective
from luce.solver import minimise

Array = np.ndarray
WIDE = 32  # columns from which on a matrix is wide
PENALTY = 0.7
U32, U64 = 2.0**-24, 2.0**-53

every_d = pytest.mark.parametrize(
    "columns", [WIDE, 33, 50, 79]
)  # whole registers of any kind, and what is left of them
every_n = pytest.mark.parametrize("rows", [1, 7, 63, 64, 65, 200])  # a tile has 64 rows, a block of rows 2, 4 or 8
every_k = pytest.mark.parametrize("classes", [2, 3, 4, 7, 29])  # 1, 3, 4, 7 and 29 outputs: blocks of 1 to 6


def whole_numbers(rows: int, columns: int) -> Array:
    return np.random.default_rng(rows * columns).integers(0, 256, (rows, columns))


def surrounded(x: Array) -> Array:
    """The same numbers with NaN before and behind each row."""
    wide = np.full((2 * len(x), x.shape[1] + 5), np.nan, dtype=np.float32)
    inside = wide[::2, 2:-3]
    inside[:] = x
    return inside


STORED: dict[str, Callable[[Array], Array]] = {
    "float64": lambda x: x.astype(np.float64),
    "float32": lambda x: x.astype(np.float32),
    "uint8": lambda x: x.astype(np.uint8),
    "fortran64": lambda x: np.asfortranarray(x.astype(np.float64)),
    "fortran32": lambda x: np.asfortranarray(x.astype(np.float32)),
    "fortran8": lambda x: np.asfortranarray(x.astype(np.uint8)),
    "surrounded": surrounded,
    "backwards": lambda x: x[::-1, ::-1].astype(np.float32)[::-1, ::-1],
    "upside down": lambda x: x[::-1].astype(np.float32)[::-1],
}
every_storage = pytest.mark.parametrize("storage", STORED)


def sparse_part(rows: int) -> Features:
    rng = np.random.default_rng(rows)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 4, rows))]).astype(np.int64)
    values = rng.normal(size=starts[-1]).astype(np.float32)
    return Features(rows, None, starts, rng.integers(0, 6, starts[-1]).astype(np.int32), values, 6)


class Problem:
    """An objective at a random point, and the same as plain arrays."""

    def __init__(self, storage: str, rows: int, columns: int, classes: int, sparse: bool = False, threads: int = 1):
        rng = np.random.default_rng(rows + columns + classes)
        dense = STORED[storage](whole_numbers(rows, columns))
        self.features = replace(sparse_part(rows) if sparse else Features(rows), dense=dense)
        self.x = reference.dense(self.features)
        self.codes = rng.integers(0, classes, rows).astype(np.int32)
        self.weights = rng.uniform(0.0, 2.0, rows)
        self.objective = Objective(self.features, self.codes, classes, PENALTY, self.weights, threads)
        shape = (self.x.shape[1] + 1, self.objective.outputs)
        self.point, self.direction = 0.01 * rng.normal(size=shape), 0.01 * rng.normal(size=shape)
        self.logits = np.ascontiguousarray(reference.logits(self.x, self.point)[:, -self.objective.outputs :].T)

    def unit(self, single: bool) -> float:
        return U32 if single and self.features.dense.dtype != np.float64 else U64

    def logits_bound(self, point: Array, single: bool) -> Array:
        """A sum of n products in any order, the factors rounded first, is off by at most (n + 2) u of what it would be
        with all signs plus. NumPy's own sum has n + 2 roundings of double."""
        n = len(point) + 2
        return n * (self.unit(single) + U64) * (np.abs(self.x) @ np.abs(point[:-1]) + np.abs(point[-1])).T

    def sums_bound(self, single: bool) -> Array:
        """Sums over a tile of at most 64 rows; over the tiles in double. NumPy's residuals are p - 1, exact to a few u
        of 1: 20 u of the weights for both sides."""
        size = np.abs(np.column_stack([self.x, np.ones(len(self.x))])).T
        rounded = 66 * self.unit(single) * (size @ np.abs(self.residual()))
        return rounded + 2 * (len(self.x) + 20) * U64 * (size @ self.weights[:, None])

    def residual(self) -> Array:
        return reference.residual(self.x, self.codes, self.weights, self.point)[:, -self.objective.outputs :]


@every_storage
@every_d
@every_n
@every_k
def test_logits_and_gradient_are_within_their_bounds(storage: str, rows: int, columns: int, classes: int) -> None:
    p = Problem(storage, rows, columns, classes)
    _, wanted = p.objective.gradient_at(p.point, p.logits)
    exact = reference.gradient(p.x, p.codes, PENALTY, p.weights, p.point)
    for single in (False, True):
        logits = p.objective.logits(p.point, single)
        assert (np.abs(logits - p.logits) <= p.logits_bound(p.point, single)).all()
        value, gradient = p.objective.gradient_at(p.point, p.logits, single=single)
        assert (np.abs(gradient - exact) <= p.sums_bound(single) + 4 * U64 * np.abs(exact)).all()
        if single and p.features.can_be_single:
            assert rows == 1 or gradient.tobytes() != wanted.tobytes(), "it was calculated in double"
        else:
            assert gradient.tobytes() == wanted.tobytes()
        assert value == pytest.approx(reference.objective(p.x, p.codes, PENALTY, p.weights, p.point), rel=1e-13)


@pytest.mark.parametrize("storage", ["float32", "uint8", "float64"])
@pytest.mark.parametrize("sparse", [False, True])
@every_d
@every_k
def test_one_pass_does_both_and_products_too(storage: str, sparse: bool, columns: int, classes: int) -> None:
    """An error e in the logits changes p, and p (d - mean d) where it is in d, by at most 2 p (1 - p) e <= e / 2."""
    p = Problem(storage, 200, columns, classes, sparse)
    o = p.objective
    hessian = reference.hessian(p.x, PENALTY, p.weights, p.point)
    product = (hessian @ p.direction.ravel()).reshape(p.point.shape)
    size = np.abs(np.column_stack([p.x, np.ones(200)])).T @ p.weights[:, None]
    for single in (False, True):
        logits = o.logits(p.point, single)
        assert (np.abs(logits - p.logits) <= p.logits_bound(p.point, single)).all()
        _, gradient = o.value_and_gradient(p.point, single)
        exact = reference.gradient(p.x, p.codes, PENALTY, p.weights, p.point)
        moved = p.logits_bound(p.point, single).max()
        assert (np.abs(gradient - exact) <= moved * size + p.sums_bound(single)).all()
        along = np.abs(reference.logits(p.x, p.direction)).max()
        bound = (p.logits_bound(p.direction, single).max() + (66 * p.unit(single) + 1000 * U64) * along) * size
        assert (np.abs(o.hessian_product(p.logits, p.direction, single) - product) <= bound).all()


@every_d
@every_k
def test_neither_type_nor_order_in_memory_changes_a_bit(columns: int, classes: int) -> None:
    """In double; and in float32 among those that are no more exact."""
    for single in (False, True):
        seen: dict[bool, set[bytes]] = {True: set(), False: set()}
        for storage in STORED:
            p = Problem(storage, 130, columns, classes)
            o = p.objective
            results = [o.logits(p.point, single), *o.value_and_gradient(p.point, single)]
            results.append(o.gradient_at(p.point, p.logits, single=single)[1])
            results.append(o.hessian_product(p.logits, p.direction, single))
            rounded = single and p.features.can_be_single
            seen[rounded].add(b"".join(np.asarray(a).tobytes() for a in results))
        assert [len(s) for s in seen.values()] == ([1, 1] if single else [0, 1])


@pytest.mark.parametrize("storage", ["float32", "uint8", "float64"])
@pytest.mark.parametrize("single", [False, True])
@every_k
def test_a_row_has_the_same_logits_wherever_it_stands(storage: str, single: bool, classes: int) -> None:
    p = Problem(storage, 200, 50, classes)
    whole = p.objective.logits(p.point, single)
    weights, bias = np.ascontiguousarray(p.point[:-1]), np.ascontiguousarray(p.point[-1])
    for first, end in ((0, 1), (3, 4), (5, 8), (61, 70), (199, 200)):
        dense = np.ascontiguousarray(p.features.dense[first:end])
        part = Features(end - first, dense=dense).logits(weights, bias, 1, single)
        assert part.tobytes() == np.ascontiguousarray(whole[:, first:end]).tobytes()


@pytest.mark.parametrize("storage", ["float32", "uint8", "float64", "fortran32"])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 11])
def test_e07_any_number_of_threads_gives_the_same_bits(storage: str, single: bool, sparse: bool, classes: int) -> None:
    results = []
    for threads in (1, 2, 3, 8):
        p = Problem(storage, 9_001, 50, classes, sparse, threads)  # enough for threads, and no whole number of tiles
        o = p.objective
        found = [*o.value_and_gradient(p.point, single), o.hessian_product(p.logits, p.direction, single)]
        along = o.logits(p.direction, single)
        found += [along, *o.gradient_at(p.point, p.logits, (along, 0.5), single=single)]
        results.append([np.asarray(a).tobytes() for a in found])
    assert all(r == results[0] for r in results)


def test_narrow_and_float64_matrices_are_always_double() -> None:
    for columns, dtype in ((WIDE - 1, np.float32), (WIDE - 1, np.uint8), (WIDE, np.float64)):
        features = Features(9, dense=whole_numbers(9, columns).astype(dtype))
        assert not features.can_be_single
    for dtype in (np.float32, np.uint8):
        assert Features(9, dense=whole_numbers(9, WIDE).astype(dtype)).can_be_single


@every_k
def test_narrow_matrices_of_bytes_are_those_of_floats(classes: int) -> None:
    results = []
    for storage in ("uint8", "fortran8", "float64"):
        p = Problem(storage, 130, 9, classes)
        found = [p.objective.logits(p.point), *p.objective.value_and_gradient(p.point)]
        results.append([np.asarray(a).tobytes() for a in found])
    assert results[0] == results[1] == results[2]


def test_the_metric_reads_bytes() -> None:
    x = whole_numbers(40, 33)
    rows, columns = np.arange(0, 40, 3), np.arange(0, 33, 2)
    of = [
        Features(40, dense=x.astype(t)).submatrix(rows, columns, np.zeros(33), np.ones(33), 1)
        for t in (np.uint8, np.float64)
    ]
    assert of[0].tobytes() == of[1].tobytes()
    assert (of[0][:, : len(columns)] == x[rows][:, columns]).all()


# --- the solver ----------------------------------------------------------------------------------------------------


def drawn(rows: int, columns: int, classes: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    score = x @ rng.normal(size=(columns, classes)) + 3 * rng.normal(size=(rows, classes))
    return x, score.argmax(axis=1).astype(np.int32)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30, 1e37])  # at 1e37 sums of float32 overflow
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_float32_on_the_way_leads_to_the_same_optimum(
    tolerance: float, classes: int, scale: float, shift: float
) -> None:
    """Both are proven to lie within their gap of one and the same value, but for the rounding of the values: logits
    near 100 that are exact to some 50 u."""
    x, codes = drawn(400, 40, classes)
    x = ((x + shift) * scale if scale < 1e37 else x * scale).astype(np.float32)
    penalty = 0.5 * scale**2
    fits = []
    for dtype in (np.float32, np.float64):
        fit = minimise(Objective(Features(400, dense=x.astype(dtype)), codes, classes, penalty), tolerance)
        assert fit.certificate.converged
        fits.append(fit.certificate)
    low = [c.objective - c.gap for c in fits]
    assert max(low) <= min(c.objective for c in fits) + 5000 * U64
    if shift == 0:
        assert fits[0].passes <= 1.3 * fits[1].passes + 18  # either way may refuse a whole step that the other takes
