"""The softmax family: error bounds against 50 digits, special values, shapes and memory layouts, and refusals.

u = 2^-53 is the rounding unit of a double. Where an error bound is stated in u, the worst error measured over the same
draws stands beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import long_run
import mpmath
import numpy as np
import pytest
import reference
from mpmath import mpf

from luce.errors import InputError
from luce.functional import (
    available_threads,
    cross_entropy_with_gradient,
    log_sigmoid,
    log_softmax,
    logsumexp,
    one_hot,
    sigmoid,
    softmax,
    softmax_jvp,
    softmax_vjp,
    top_k,
)  # fmt: skip  # isort: skip

U = 2.0**-53
INF, NAN = np.inf, np.nan
WIDTHS = [*range(1, 258), 511, 512, 513, 1023, 1024, 1025]  # every tail of the SIMD lanes, and round powers of two
FAMILY = (softmax, log_softmax)

both = pytest.mark.parametrize("function", FAMILY)
all_three = pytest.mark.parametrize("function", [*FAMILY, logsumexp])
either_float = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def drawn(width: int, scale: float | None = None) -> np.ndarray:
    """Normal logits of a width: by turns close together, far apart, and with results near underflow."""
    return np.random.default_rng(width).normal(0, scale or (1, 30, 300)[width % 3], width)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# --- error bounds --------------------------------------------------------------------------------------------------


def test_known_values() -> None:
    assert np.round(softmax([0.25, 1.23, -0.8]), 3).tolist() == [0.249, 0.664, 0.087]
    assert softmax([0.0, 0.0]).tolist() == [0.5, 0.5]
    assert sigmoid(0.0) == 0.5
    assert logsumexp([0.0]) == 0.0


BOUNDS = {  # docs/numerics.md, in units of the last place; what was measured over these draws stands beside it
    (softmax, np.float32): 0.51,  # 0.5010
    (log_softmax, np.float32): 0.51,  # 0.5000
    (softmax, np.float64): 3.0,  # 1.54
    (log_softmax, np.float64): 2.5,  # 1.03
}


def hard_rows(width: int, dtype: type) -> list[np.ndarray]:
    """Rows that are known to lose digits: near ties, one certain class, far apart, large and tiny logits, on a grid."""
    rng = np.random.default_rng(width)
    z = rng.normal(size=width)
    top = np.zeros(width)
    top[rng.integers(width)] = 40.0
    rows = [z, 30 * z, 300 * z, 1 + 1e-6 * z, top, top + 1e-3 * z, 1e4 + z, -1e4 + z, 1e-5 * z, np.round(20 * z)]
    return [row.astype(dtype) for row in rows]


@both
@either_float
def test_n04_error_at_every_width(function: Callable[..., Any], dtype: type) -> None:
    wanted = {softmax: reference.softmax, log_softmax: reference.log_softmax}[function]
    for width in WIDTHS[:: 1 if dtype is np.float32 else 2]:
        rows = hard_rows(width, dtype) if width < 34 else [drawn(width).astype(dtype)]
        for number, z in enumerate(rows):
            errors = reference.ulps(function(z), wanted(z))
            assert errors.max() <= BOUNDS[function, dtype], (width, number, errors.max())


def test_two_classes_of_any_float32_difference() -> None:
    """A sample of all bit patterns; ./dev check --long takes every one."""
    bits = np.random.default_rng(0).integers(0, 1 << 32, 1 << 20, dtype=np.uint64).astype(np.uint32)
    assert long_run.two_classes(bits) <= 0.51


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than float64 here")
def test_a_sample_of_the_long_run_keeps_the_bounds() -> None:
    for key, error in long_run.all_rows(seed=0, numbers=400_000).items():
        assert error <= long_run.BOUNDS[key], key


@pytest.mark.parametrize("temperature", [0.3, 7.0])
def test_a_temperature_costs_no_digits(temperature: float) -> None:
    """The bounds are those without it: differences are divided with what the division left."""
    for width in (2, 3, 9, 17, 40):
        z = drawn(width, 30.0)
        scaled = [v / mpf(temperature) for v in reference.exact(z)]
        top = max(scaled)
        rest = sum(mpmath.exp(v - top) for i, v in enumerate(scaled) if i != scaled.index(top))
        exact = [mpmath.exp(v - top) / (1 + rest) for v in scaled]
        assert reference.ulps(softmax(z, temperature=temperature), exact).max() <= 3.0
        logs = [(v - top) - mpmath.log1p(rest) for v in scaled]
        assert reference.ulps(log_softmax(z, temperature=temperature), logs).max() <= 2.5


def test_n04_logsumexp_error_at_every_width() -> None:
    """<= 0.51 ulp in float32; in float64 2.5 ulp of what is larger, the result or the top logit, as the sum of the two
    parts of the logarithm and the top logit is rounded once. Measured 0.5 and 0.55."""
    for width in WIDTHS[::2]:
        for z in hard_rows(width, np.float64) if width < 34 else [drawn(width)]:
            wanted = reference.logsumexp(z)
            error = abs(mpf(float(logsumexp(z))) - wanted)
            assert error <= 2.5 * np.spacing(max(float(abs(wanted)), abs(z.max()))), width
            narrow = z.astype(np.float32)
            assert reference.ulps(logsumexp(narrow[None]), [reference.logsumexp(narrow)]).max() <= 0.51, width


@pytest.mark.parametrize("function", [sigmoid, log_sigmoid])
def test_sigmoid_error(function: Callable[..., Any]) -> None:
    """0.51 ulp in float32, 3 in float64. Measured 0.5 and 1.4."""
    z = np.concatenate([np.linspace(-700, 700, 401), np.random.default_rng(0).normal(0, 3, 200)])

    def wanted(values: np.ndarray) -> list[Any]:
        if function is sigmoid:
            return [reference.sigmoid(v) for v in values]
        return [reference.log_softmax([0.0, float(v)])[1] for v in values]

    assert reference.ulps(function(z), wanted(z)).max() <= 3
    z32 = (z / 10).astype(np.float32)
    assert reference.ulps(function(z32), wanted(z32)).max() <= 0.51


def test_n13_exp_of_log_softmax_is_softmax() -> None:
    """Relative difference <= 2^-52 (4 + 3 |ln p|): exp amplifies the rounding of ln p by |ln p|. Measured: 1/4."""
    z = np.random.default_rng(0).normal(0, 40, (2000, 12))
    p, logs = softmax(z), log_softmax(z)
    assert np.all(np.abs(np.exp(logs) - p) <= 2 * U * (4 + 3 * np.abs(logs)) * p)


@pytest.mark.parametrize("distance", [1.0, 40.0, 700.0])
def test_n14_the_log_of_a_probability_near_1_keeps_its_digits(distance: float) -> None:
    """4 ulp: whole numbers make the shift exact, so exp and log1p alone err."""
    got = log_softmax([0.0, -distance])
    assert np.all(reference.roundings(got, reference.log_softmax([0.0, -distance])) <= 8)


def test_n14_known_value() -> None:
    assert log_softmax([0.0, -40.0])[0] == pytest.approx(
        -4.248354255291589e-18, rel=1e-15
    )  # 16 digits are written here


@pytest.mark.parametrize("classes", [10, 1000, 10**6])
@either_float
def test_n07_equal_logits_are_rounded_correctly(classes: int, dtype: type) -> None:
    p = softmax(np.full(classes, 0.3, dtype=dtype))
    assert np.all(p == dtype(1 / classes))


def test_rows_sum_to_1() -> None:
    """1e-12 (float64) and 1e-6 (float32): 4000 probabilities round by at most u p each, their plain sum by 4000 u."""
    z = np.random.default_rng(0).normal(0, 20, (50, 4000))
    assert np.abs(softmax(z).sum(axis=1) - 1).max() <= 1e-12
    assert np.abs(softmax(z.astype(np.float32)).sum(axis=1, dtype=np.float64) - 1).max() <= 1e-6


def test_the_order_of_probabilities_is_the_order_of_logits() -> None:
    z = np.random.default_rng(0).normal(0, 1e-15, (500, 9)) + 0.25
    by_logit = np.take_along_axis(softmax(z), np.argsort(z, axis=1), axis=1)
    assert np.all(np.diff(by_logit, axis=1) >= 0)


def test_n10_a_constant_that_keeps_logits_exact_changes_no_bit() -> None:
    z = np.random.default_rng(0).integers(-4000, 4000, (300, 7)) / 8.0
    for shift in (1.0, -1024.0, 2.0**40):
        assert np.array_equal((z + shift) - shift, z), "the shift must be exact"
        assert same_bits(softmax(z + shift), softmax(z))
        assert same_bits(log_softmax(z + shift), log_softmax(z))


def test_n11_permuted_classes_permute_the_result() -> None:
    """8 u: only the order of the sum differs, 8 terms of one sign in two orders, each within 4 u. Measured 3.6 u."""
    rng = np.random.default_rng(0)
    z, order = rng.normal(0, 5, (300, 9)), rng.permutation(9)
    p = softmax(z)[:, order]
    assert np.all(np.abs(softmax(z[:, order]) - p) <= 8 * U * p)


def test_temperature_divides_the_logits() -> None:
    z = np.random.default_rng(0).normal(0, 5, (40, 5))
    assert same_bits(softmax(z, temperature=2.0), softmax(z / 2))
    assert same_bits(log_softmax(z, temperature=0.125), log_softmax(z * 8))


# --- special values ------------------------------------------------------------------------------------------------


@both
@either_float
def test_n01_n02_n03_unusable_rows_are_nan_as_a_whole_and_others_untouched(
    function: Callable[..., Any], dtype: type
) -> None:
    for width in WIDTHS:
        good = drawn(width).astype(dtype)
        place = width // 2
        rows = np.stack([good, np.full(width, -INF), good, good, good, good]).astype(dtype)
        rows[2, place], rows[3, place] = INF, NAN
        rows[4, 0], rows[4, -1] = NAN, INF
        out = function(rows)
        assert np.isnan(out[1:5]).all(), width
        assert same_bits(out[0], function(good)), width
        assert same_bits(out[5], out[0]), width


def test_n01_n02_n03_logsumexp_of_special_rows() -> None:
    for width in (1, 2, 7, 8, 9, 33):
        rows = np.zeros((4, width))
        rows[0] = -INF
        rows[1, -1] = INF
        rows[2, 0] = NAN
        rows[3, 0], rows[3, -1] = INF, NAN
        got = logsumexp(rows)
        assert got[0] == -INF
        assert got[1] == INF
        assert np.isnan(got[2:]).all()


@either_float
def test_a_logit_of_minus_inf_has_probability_0_and_changes_no_other(dtype: type) -> None:
    z = np.array([[0.5, -INF, 1.5, -INF], [-INF, -INF, -INF, 3.0]], dtype=dtype)
    p, logs = softmax(z), log_softmax(z)
    assert np.all(p[z == -INF] == 0)
    assert np.all(logs[z == -INF] == -INF)
    assert same_bits(p[0, [0, 2]], softmax(z[0, [0, 2]]))
    assert p[1, 3] == 1
    assert logs[1, 3] == 0


@pytest.mark.parametrize(("dtype", "big"), [(np.float32, 3e38), (np.float64, 1e308)])
def test_n08_differences_that_overflow(dtype: type, big: float) -> None:
    """ln p = -2 big: beyond the largest number, so -inf by the rule of rounding to nearest; never NaN."""
    z = np.array([-big, big], dtype=dtype)
    assert softmax(z).tolist() == [0, 1]
    assert log_softmax(z).tolist() == [-INF, 0]
    assert float(logsumexp(z)) == float(z[1])
    assert softmax(np.array([big, big], dtype=dtype)).tolist() == [0.5, 0.5]


def test_n09_subnormal_results_are_kept() -> None:
    """One rounding to the grid of subnormals, 2^-1074 apart, and the relative error of d u: 1.01 steps."""
    for distance in (720.0, 735.5, 744.0):
        got = softmax([0.0, -distance])[1]
        assert 0 < got < 2.3e-308
        assert (
            abs(mpf(float(got)) - reference.softmax([0.0, -distance])[1]) <= 1.01 * mpf(2) ** -1074 + got * distance * U
        )


def test_sigmoid_of_special_values() -> None:
    assert sigmoid([INF, -INF, 1e308, -1e308]).tolist() == [1, 0, 1, 0]
    assert np.isnan(sigmoid([NAN, 0.0])).tolist() == [True, False]


# --- shapes, dtypes, memory ----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_any_axis(function: Callable[..., Any], axis: int) -> None:
    z = np.random.default_rng(0).normal(0, 3, (4, 5, 6))
    out = function(z, axis=axis)
    assert out.shape == z.shape
    moved, rows = np.moveaxis(out, axis, -1), np.moveaxis(z, axis, -1)
    for place in np.ndindex(moved.shape[:-1]):
        assert same_bits(np.ascontiguousarray(moved[place]), function(rows[place].copy()))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_logsumexp_takes_the_axis_out_of_the_shape(axis: int) -> None:
    z = np.random.default_rng(0).normal(0, 3, (4, 5, 6))
    got = logsumexp(z, axis=axis)
    assert got.shape == np.moveaxis(z, axis, -1).shape[:-1]
    assert got[1, 2] == logsumexp(np.moveaxis(z, axis, -1)[1, 2])


def layouts(a: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers laid out otherwise."""
    wide = np.zeros((a.shape[0] * 2, a.shape[1] * 3), dtype=a.dtype)
    wide[::2, 1::3] = a
    frozen = a.copy()
    frozen.flags.writeable = False
    shifted = np.frombuffer(b"\0" + a.tobytes(), dtype=np.uint8)[1:].view(a.dtype).reshape(a.shape)
    return {
        "strided": wide[::2, 1::3],
        "reversed": a[::-1, ::-1].copy()[::-1, ::-1],
        "fortran": np.asfortranarray(a),
        "read-only": frozen,
        "misaligned": shifted,
        "big-endian": a.astype(a.dtype.newbyteorder(">")),
    }


@pytest.mark.parametrize("function", [softmax, log_softmax, logsumexp, sigmoid, log_sigmoid])
@either_float
def test_n05_every_layout_gives_the_bits_of_the_contiguous_copy(function: Callable[..., Any], dtype: type) -> None:
    a = np.random.default_rng(0).normal(0, 3, (37, 11)).astype(dtype)
    for name, b in layouts(a).items():
        before = b.tobytes()
        assert same_bits(np.ascontiguousarray(function(b)), function(a)), name
        assert b.tobytes() == before, f"{name}: the caller's array was changed"


@pytest.mark.parametrize("function", [softmax, log_softmax, sigmoid])
def test_float_types_stay_and_all_else_is_float64(function: Callable[..., Any]) -> None:
    for kept in (np.float16, np.float32):
        assert function(np.zeros(3, dtype=kept)).dtype == kept
    for other in (np.float64, np.longdouble, np.int8, np.uint64, np.bool_):
        assert function(np.zeros(3, dtype=other)).dtype == np.float64, other


def test_lists_and_integers_are_read() -> None:
    assert same_bits(softmax([[0, 1], [2, 4]]), softmax(np.array([[0.0, 1.0], [2.0, 4.0]])))
    assert same_bits(softmax(np.array([True, False])), softmax([1.0, 0.0]))
    assert logsumexp([0, 0]) == np.log(2.0)


@both
def test_n06_no_rows_give_an_empty_result(function: Callable[..., Any]) -> None:
    assert function(np.zeros((0, 3))).shape == (0, 3)
    assert function(np.zeros((3, 0, 2))).shape == (3, 0, 2)
    assert logsumexp(np.zeros((0, 3))).shape == (0,)
    assert sigmoid(np.zeros(0)).shape == (0,)


def test_sigmoid_keeps_any_shape_also_none() -> None:
    assert sigmoid(np.zeros((2, 3, 4))).shape == (2, 3, 4)
    assert sigmoid(3).shape == ()


def test_sigmoid_is_the_softmax_of_0_and_z() -> None:
    """6 u: the same exp, and three roundings on either way. Measured 2 u."""
    z = np.random.default_rng(0).normal(0, 20, 1000)
    p = softmax(np.stack([np.zeros(1000), z], axis=1))[:, 1]
    assert np.all(np.abs(sigmoid(z) - p) <= 6 * U * p)


@pytest.mark.parametrize("function", [softmax, log_softmax, logsumexp, sigmoid])
@either_float
def test_one_thread_or_many_give_the_same_bits(
    function: Callable[..., Any], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = np.random.default_rng(0).normal(0, 10, (30_011, 7)).astype(dtype)
    results = []
    for threads in ("1", "2", "3", "8"):
        monkeypatch.setenv("LUCE_NUM_THREADS", threads)
        results.append(function(z))
    assert all(same_bits(r, results[0]) for r in results)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 3, 16, 17, 100, 131, 1000, 300_001])
def test_results_written_past_the_cache_are_those_made_in_place(classes: int, dtype: type) -> None:
    """More than 8 MiB of results go past the cache unless they lie on the logits; to any address."""
    rows = 2_200_000 // classes + 1
    room = np.random.default_rng(0).normal(0, 4, rows * classes + 3).astype(dtype)
    labels = np.arange(rows) % classes
    for z in (room[:-3].reshape(rows, classes), room[3:].reshape(rows, classes)):
        for axis in (0, 1):
            for function in FAMILY:
                target = np.empty(z.size + 1, dtype)[1:].reshape(z.shape)
                kept = z.copy()
                assert same_bits(function(z, axis, out=target), function(kept, axis, out=kept))
        target = np.empty(z.size + 1, dtype)[1:].reshape(z.shape)
        cross_entropy_with_gradient(z, labels, out=target)
        some = slice(rows // 2, rows // 2 + 100)
        part = cross_entropy_with_gradient(z[some], labels[some], sample_weight=np.ones(len(z[some])))[1]
        assert np.allclose(target[some] * rows, part * len(part), rtol=1e-5, atol=0)


def test_a_row_has_the_same_bits_alone_and_in_any_batch() -> None:
    z = np.random.default_rng(0).normal(0, 10, (20_000, 7))
    whole = softmax(z)
    for first, last in ((0, 1), (1, 8), (4681, 4690), (19_999, 20_000)):
        assert same_bits(softmax(z[first:last]), whole[first:last])
    flat = sigmoid(z[:, 0])
    for first, last in ((0, 1), (3, 12), (17, 80)):
        assert same_bits(sigmoid(z[first:last, 0]), flat[first:last])


# --- masks, places to write into, arrays of other libraries ---------------------------------------------------------


@both
def test_a_mask_counts_out_as_minus_infinity_does(function: Callable[..., Any]) -> None:
    z = np.random.default_rng(0).normal(0, 3, (50, 6))
    mask = np.random.default_rng(1).random((50, 6)) < 0.7
    assert same_bits(function(z, where=mask), function(np.where(mask, z, -INF)))
    assert same_bits(function(z, where=mask[0]), function(np.where(mask[0], z, -INF)))
    assert np.isnan(function(z, where=False)).all()
    assert np.isneginf(logsumexp(z, where=False)).all()
    with pytest.raises(InputError, match="where holds float64"):
        function(z, where=z)
    with pytest.raises(InputError, match="where has shape"):
        function(z, where=np.ones((7,), dtype=bool))


@pytest.mark.parametrize("function", [softmax, log_softmax, sigmoid, log_sigmoid])
@pytest.mark.parametrize("classes", [2, 3, 16, 40])
def test_results_may_be_written_into_an_array(function: Callable[..., Any], classes: int) -> None:
    z = np.random.default_rng(0).normal(0, 5, (301, classes)).astype(np.float32)
    z[7] = 500.0 * z[7]  # a row that the fast way declines must be right in place too
    z[8, 0] = NAN
    wanted = function(z)
    for out in (np.empty_like(z), np.asfortranarray(z), np.zeros((602, classes), np.float32)[::2], z.copy()):
        assert function(z, out=out) is out
        assert np.array_equal(out, wanted, equal_nan=True)
    own = z.copy()
    function(own, out=own)
    assert np.array_equal(own, wanted, equal_nan=True)
    shared = np.concatenate([z, z])
    function(shared[:301], out=shared[150:451])  # overlapping, but not the same
    assert np.array_equal(shared[150:451], wanted, equal_nan=True)
    for bad in (np.empty_like(z, dtype=np.float64), np.empty((2, classes), np.float32)):
        with pytest.raises(InputError, match=r"^out is "):
            function(z, out=bad)
    wanted.flags.writeable = False
    with pytest.raises(InputError, match="read-only"):
        function(z, out=wanted)


def test_logsumexp_into_an_array() -> None:
    z, out = np.random.default_rng(0).normal(size=(5, 4, 3)), np.empty((5, 3))
    assert logsumexp(z, axis=1, out=out) is out
    assert same_bits(out, logsumexp(z, axis=1))


@pytest.mark.parametrize("function", [softmax, log_softmax, logsumexp, sigmoid])
def test_half_precision_is_worked_in_float32_and_rounded_once(function: Callable[..., Any]) -> None:
    """N12: with 65,536 classes a narrow running sum would stop growing."""
    for z in (np.random.default_rng(0).normal(0, 3, (20, 9)), np.zeros((1, 65_536))):
        narrow = z.astype(np.float16)
        assert same_bits(function(narrow), function(narrow.astype(np.float32)).astype(np.float16))
        ml_dtypes = pytest.importorskip("ml_dtypes")
        brain = z.astype(ml_dtypes.bfloat16)
        found = function(brain)
        assert found.dtype == brain.dtype
        assert np.array_equal(found, function(brain.astype(np.float32)).astype(ml_dtypes.bfloat16))


@both
@pytest.mark.parametrize("width", [2, 3, 16, 40, 200, 70_000])
def test_half_precision_of_any_width_axis_and_target_is_float32_rounded_once(
    function: Callable[..., Any], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = np.random.default_rng(width).normal(0, 4, (max(2, 100_000 // width), width)).astype(np.float16)
    z[0, :] = NAN, *[1.0] * (width - 1)
    wanted = function(z.astype(np.float32)).astype(np.float16)
    for threads in ("1", "2"):
        monkeypatch.setenv("LUCE_NUM_THREADS", threads)
        out = np.empty_like(z)
        assert function(z, out=out) is out and np.array_equal(out, wanted, equal_nan=True)
    assert np.array_equal(function(z.T, axis=0).T, wanted, equal_nan=True)
    assert np.array_equal(function(z[::-1, ::-1])[::-1, ::-1][1:], function(z[1:, ::-1])[:, ::-1])
    subnormal = function(np.array([0.0, -16.0, -17.5, -90.0], dtype=np.float16))
    assert same_bits(subnormal, function(np.array([0.0, -16.0, -17.5, -90.0], np.float32)).astype(np.float16))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_target_that_lies_partly_on_the_logits(dtype: type) -> None:
    room = np.random.default_rng(0).normal(0, 4, 100_003).astype(dtype)
    z, out = room[:99_999].reshape(-1, 3), room[3:100_002].reshape(-1, 3)
    wanted = softmax(z.copy())
    assert softmax(z, out=out) is out and same_bits(out, wanted)


def test_bfloat16_tensors_of_torch_take_a_target_and_any_axis() -> None:
    torch = pytest.importorskip("torch")
    z = torch.from_numpy(np.random.default_rng(0).normal(0, 5, (50, 7)).astype(np.float32)).to(torch.bfloat16)
    z[3, 2], z[4, 1] = NAN, -INF
    wanted = softmax(z.float()).to(torch.bfloat16)
    out = torch.zeros_like(z)
    assert softmax(z, out=out) is out
    for found in (out, softmax(z), softmax(z.T, axis=0).T):
        assert found.dtype == torch.bfloat16 and torch.equal(found.nan_to_num(9), wanted.nan_to_num(9))
    values, places = top_k(z[:2], 2)
    assert values.dtype == torch.bfloat16 and torch.equal(values, torch.topk(z[:2].float(), 2)[0].to(torch.bfloat16))
    assert torch.equal(places, torch.topk(z[:2].float(), 2)[1])
    where = np.arange(7) < 4
    masked = softmax(z, where=where)
    assert torch.equal(masked.nan_to_num(9), softmax(z.float(), where=where).to(torch.bfloat16).nan_to_num(9))


def test_tensors_of_torch_stay_tensors_and_their_operations_are_recorded() -> None:
    torch = pytest.importorskip("torch")
    z = torch.randn(40, 7, dtype=torch.float64)
    for function in (softmax, log_softmax, logsumexp, sigmoid, log_sigmoid):
        found = function(z)
        assert isinstance(found, torch.Tensor)
        assert same_bits(found.numpy(), np.asarray(function(z.numpy())))
        assert torch.autograd.gradcheck(function, (z.clone().requires_grad_(),))
        brain = function(z.to(torch.bfloat16))
        assert brain.dtype == torch.bfloat16
        assert torch.equal(brain, function(z.to(torch.bfloat16).float()).to(torch.bfloat16))
    out = torch.empty_like(z)
    assert softmax(z, out=out) is out
    assert same_bits(out.numpy(), softmax(z.numpy()))
    with pytest.raises(InputError, match="needs a gradient"):
        softmax(z.requires_grad_(), out=out)
    with pytest.raises(InputError, match="move it to the CPU"):
        softmax(torch.empty(3, 2, device="meta"))


def test_arrays_of_jax_stay_arrays_of_jax() -> None:
    jax = pytest.importorskip("jax")
    found = softmax(jax.numpy.arange(6.0).reshape(2, 3))
    assert isinstance(found, jax.Array)
    assert np.array_equal(np.asarray(found), softmax(np.arange(6.0, dtype=np.float32).reshape(2, 3)))


def test_whatever_speaks_dlpack_is_read_and_what_lies_elsewhere_is_refused() -> None:
    class Speaks:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    z = np.arange(6.0).reshape(2, 3)
    assert same_bits(softmax(Speaks(z)), softmax(z))
    elsewhere = Speaks(z)
    elsewhere.device = "cuda:0"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"logits lies on the device 'cuda:0'.*CPU"):
        softmax(elsewhere)


# --- derivatives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
def test_derivatives_are_those_of_the_jacobian(axis: int) -> None:
    """1e-15: products of at most 5 numbers below 3, each within a few u."""
    rng = np.random.default_rng(0)
    z, g = rng.normal(0, 2, (4, 5)), rng.normal(size=(4, 5))
    p = softmax(z / 0.7, axis=axis)
    wanted = np.empty_like(z)
    for row in range(z.shape[1 - axis]):
        one = (slice(None), row) if axis == 0 else (row, slice(None))
        wanted[one] = (np.diag(p[one]) - np.outer(p[one], p[one])) @ g[one] / 0.7
    for function in (softmax_vjp, softmax_jvp):
        assert np.abs(function(z, g, axis, temperature=0.7) - wanted).max() <= 1e-14
    narrow = softmax_vjp(z.astype(np.float32), g, axis)
    assert narrow.dtype == np.float32
    with pytest.raises(InputError, match="cotangent has shape"):
        softmax_vjp(z, g[:2])


@pytest.mark.parametrize("size", [50.0, 500.0, 5000.0])
def test_n15_n16_derivatives_at_saturation(size: float) -> None:
    """4 ulp of 50 digits, or exactly 0: nothing cancels beside a probability of 1, and a masked class has 0."""
    z = np.array([size, 0.0, 1.0, -INF])
    g = np.array([1.0, -2.0, 0.5, 7.0])
    p = [*reference.softmax(z[:3]), mpf(0)]
    mean = mpmath.fsum(p[i] * (mpf(g[i]) - mpf(g[0])) for i in range(4))
    wanted = [p[i] * ((mpf(g[i]) - mpf(g[0])) - mean) for i in range(4)]
    found = softmax_vjp(z, g)
    assert found[3] == 0
    normal = [i for i in range(3) if abs(wanted[i]) > 1e-300]
    assert all(found[i] == 0 for i in range(3) if abs(wanted[i]) < 1e-330)
    assert not normal or reference.ulps(found[normal], [wanted[i] for i in normal]).max() <= 4


# --- one-hot, top-k -------------------------------------------------------------------------------------


def test_top_k() -> None:
    z = np.array([[1.0, 3.0, 3.0, -INF], [NAN, 0.0, 5.0, 2.0]])
    values, places = top_k(z, 3)
    assert places.tolist() == [[1, 2, 0], [0, 2, 3]]
    assert np.array_equal(values, np.take_along_axis(z, places, axis=1), equal_nan=True)
    assert top_k(z[0], 1, axis=0)[1].tolist() == [1]
    assert top_k(z.T, 2, axis=0)[1].shape == (2, 2)
    for k in (0, 5, 1.0, True):
        with pytest.raises(InputError, match="k is"):
            top_k(z, k)


def test_one_hot() -> None:
    assert one_hot([2, 0]).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert one_hot([0], classes=2).tolist() == [[1, 0]]
    assert one_hot(["강아지", "고양이"], classes=["고양이", "강아지"]).tolist() == [[0, 1], [1, 0]]
    assert one_hot([], classes=3).shape == (0, 3)
    assert one_hot([1, 0]).dtype == np.float64


# --- refusals ------------------------------------------------------------------------------------------------------


@all_three
@pytest.mark.parametrize(
    ("logits", "said"),
    [
        (np.ma.masked_array([1.0, 2.0], [False, True]), "where"),
        (3.0, "single number"),
        ([], "no classes"),
        (np.zeros((2, 0)), "no classes"),
        (["a", "b"], "real numbers"),
        ([1j, 2.0], "real numbers"),
        ([None, 1.0], "real numbers"),
        (np.array(["2024-01-01"], dtype="datetime64[D]"), "real numbers"),
    ],
)
def test_n06_logits_that_are_none(function: Callable[..., Any], logits: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        function(logits)


@all_three
@pytest.mark.parametrize("axis", [1, -2, 5])
def test_an_axis_that_is_not_there(function: Callable[..., Any], axis: int) -> None:
    with pytest.raises(InputError, match=f"axis {axis}"):
        function([0.0, 1.0], axis=axis)


@both
@pytest.mark.parametrize("temperature", [0, -1.0, INF, -INF, NAN])
def test_n21_temperatures_that_are_none(function: Callable[..., Any], temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        function([0.0, 1.0], temperature=temperature)


# --- threads -------------------------------------------------------------------------------------------------------


def test_available_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUCE_NUM_THREADS", "3")
    assert available_threads() == 3
    assert available_threads(2) == 2
    monkeypatch.delenv("LUCE_NUM_THREADS")
    assert 1 <= available_threads() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", " "])
def test_a_thread_count_of_the_environment_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUCE_NUM_THREADS", text)
    with pytest.raises(InputError, match="LUCE_NUM_THREADS"):
        available_threads()


@pytest.mark.parametrize("threads", [0, -2, 1.5, True, "2"])
def test_a_thread_count_that_is_none(threads: Any) -> None:
    with pytest.raises(InputError, match="threads"):
        available_threads(threads)
