"""The softmax family: error bounds against 50 digits, special values, shapes and memory layouts, and refusals.

u = 2^-53 is the rounding unit of a double. Where an error bound is stated in u, the worst error measured over the same
draws stands beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
from mpmath import mpf

from luce.errors import InputError
from luce.functional import available_threads, cross_entropy, log_softmax, logsumexp, one_hot, sigmoid, softmax

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


def test_n04_softmax_float64_error_at_every_width() -> None:
    """Relative error <= (max z - z_i + 8) u: the shift rounds once, and exp turns d u absolute into d u relative.

    The 8 u are exp (2), the sum (a few), the quotient (1); beyond d u the worst measured is 3.1 u. The errors of a sum
    of K positive terms in 8 lanes are at most K/8 u, and in these draws about the square root of that. Results below
    1e-300 may be subnormal and are left out here.
    """
    for width in WIDTHS:
        z = drawn(width)
        wanted = reference.softmax(z)
        normal = [i for i, p in enumerate(wanted) if p > 1e-300]
        errors = reference.roundings(softmax(z)[normal], [wanted[i] for i in normal])
        assert np.all(errors <= (z.max() - z + 8)[normal]), width


def test_n04_softmax_float64_error_where_the_shift_is_exact() -> None:
    """<= 7 u: on a grid of 1/1024 the differences do not round, so what is left is flat in z. Measured 3.8 u."""
    for width in WIDTHS[::3]:
        z = np.round(drawn(width, 20.0) * 1024) / 1024
        assert reference.roundings(softmax(z), reference.softmax(z)).max() <= 7, width


def test_n04_log_softmax_float64_error_at_every_width() -> None:
    """Relative error <= (D + 8) u, D the distance of the two largest logits, D = 0 but for the largest.

    For the largest, ln p = -ln(1 + rest), and the rounding of the shift makes the rest wrong by D u; for the others
    |ln p_i| >= max z - z_i outweighs that rounding. Measured: 2.3 u beyond D u.
    """
    for width in WIDTHS[1:]:
        z = drawn(width)
        second, top = np.sort(z)[-2:]
        errors = reference.roundings(log_softmax(z), reference.log_softmax(z))
        assert np.all(errors <= np.where(z == top, top - second, 0) + 8), width


def test_n04_logsumexp_float64_error_at_every_width() -> None:
    """|error| <= 3 u (|max z| + ln K + 1): one rounding each of the logarithm and of the sum. Measured 0.8 of 3."""
    for width in WIDTHS:
        z = drawn(width)
        error = abs(mpf(float(logsumexp(z))) - reference.logsumexp(z))
        assert error <= 3 * U * (abs(z).max() + np.log(width) + 1), width


@both
def test_n04_float32_results_are_rounded_once(function: Callable[..., Any]) -> None:
    """<= 0.51 ulp: computed in double, whose error is below 2^-15 ulp of a float32, and rounded once. Measured 0.5."""
    wanted = {softmax: reference.softmax, log_softmax: reference.log_softmax}[function]
    for width in WIDTHS[1::2]:
        z = drawn(width).astype(np.float32)
        got = function(z)
        assert got.dtype == np.float32
        assert reference.ulps32(got, wanted(z)).max() <= 0.51, width


def test_sigmoid_error() -> None:
    """<= 5 u in float64 (exp 2, sum 1, quotient 1, product 1) and 0.51 ulp in float32 (see above). Measured 2.1 u."""
    z = np.concatenate([np.linspace(-700, 700, 401), np.random.default_rng(0).normal(0, 3, 200)])
    assert reference.roundings(sigmoid(z), [reference.sigmoid(v) for v in z]).max() <= 5
    z32 = (z / 10).astype(np.float32)
    assert reference.ulps32(sigmoid(z32), [reference.sigmoid(v) for v in z32]).max() <= 0.51


def test_exp_is_within_1_ulp_and_log1p_of_it_within_3() -> None:
    """The sigmoid far below 0 is exp itself, as 1 + exp rounds to 1; logsumexp of 0 and z < 0 is log1p(exp(z)).

    The bounds are those of core/vector_math.h: exp 1, log1p 2 and exp's error carried over. Measured 0.98 and 2.7.
    """
    z = np.random.default_rng(0).uniform(-708, -40, 4000)
    wanted = [reference.sigmoid(v) for v in z]
    assert np.all(np.abs(reference.distances(sigmoid(z), wanted)) <= np.spacing(sigmoid(z)))
    z = np.random.default_rng(0).uniform(-40, 0, 4000)
    pairs = np.stack([np.zeros(4000), z], axis=1)
    wanted = [reference.logsumexp(pair) for pair in pairs]
    assert np.all(np.abs(reference.distances(logsumexp(pairs), wanted)) <= 3 * np.spacing(logsumexp(pairs)))


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


def test_n02_the_loss_of_a_row_with_inf_is_nan_and_of_an_impossible_label_inf() -> None:
    assert np.isnan(cross_entropy([[0.0, INF], [0.0, 0.0]], [0, 1]))
    assert np.isnan(cross_entropy([[NAN, 0.0]], [1]))
    assert cross_entropy([[0.0, -INF]], [1]) == INF
    assert cross_entropy([[0.0, -INF]], [0]) == 0


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


@pytest.mark.parametrize("function", [softmax, log_softmax, logsumexp, sigmoid])
@either_float
def test_n05_every_layout_gives_the_bits_of_the_contiguous_copy(function: Callable[..., Any], dtype: type) -> None:
    a = np.random.default_rng(0).normal(0, 3, (37, 11)).astype(dtype)
    for name, b in layouts(a).items():
        if name == "big-endian" and dtype is np.float32:
            continue  # a foreign float32 is taken as float64, which is more exact
        before = b.tobytes()
        assert same_bits(np.ascontiguousarray(function(b)), function(a)), name
        assert b.tobytes() == before, f"{name}: the caller's array was changed"


@pytest.mark.parametrize("function", [softmax, log_softmax, sigmoid])
def test_float32_stays_and_all_else_is_float64(function: Callable[..., Any]) -> None:
    assert function(np.zeros(3, dtype=np.float32)).dtype == np.float32
    for other in (np.float16, np.float64, np.longdouble, np.int8, np.uint64, np.bool_):
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


def test_a_row_has_the_same_bits_alone_and_in_any_batch() -> None:
    z = np.random.default_rng(0).normal(0, 10, (20_000, 7))
    whole = softmax(z)
    for first, last in ((0, 1), (1, 8), (4681, 4690), (19_999, 20_000)):
        assert same_bits(softmax(z[first:last]), whole[first:last])
    flat = sigmoid(z[:, 0])
    for first, last in ((0, 1), (3, 12), (17, 80)):
        assert same_bits(sigmoid(z[first:last, 0]), flat[first:last])


# --- cross-entropy and one-hot -------------------------------------------------------------------------------------


def test_cross_entropy_is_the_mean_of_minus_ln_p() -> None:
    """1e-14: 100 terms of one sign, each within 8 u, summed by NumPy in pairs."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 5, (100, 4)), rng.integers(0, 4, 100)
    wanted = sum(-reference.log_softmax(row)[k] for row, k in zip(z, y, strict=True)) / 100
    assert cross_entropy(z, y) == pytest.approx(float(wanted), rel=1e-14)


def test_cross_entropy_of_float32_logits_is_computed_in_double() -> None:
    z = np.random.default_rng(0).normal(0, 5, (100, 4)).astype(np.float32)
    y = np.zeros(100, dtype=np.int64)
    assert cross_entropy(z, y) == cross_entropy(z.astype(np.float64), y)


def test_cross_entropy_of_a_near_certain_row_keeps_its_digits() -> None:
    assert cross_entropy([[0.0, -40.0]], [0]) == pytest.approx(4.248354255291589e-18, rel=1e-15)


def test_one_hot() -> None:
    assert one_hot([2, 0]).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert one_hot([0], classes=2).tolist() == [[1, 0]]
    assert one_hot(["강아지", "고양이"], classes=["고양이", "강아지"]).tolist() == [[0, 1], [1, 0]]
    assert one_hot([], classes=3).shape == (0, 3)
    assert one_hot([1, 0]).dtype == np.float64


@pytest.mark.parametrize(
    "label", [-1, 2, 2**31, 2**63, NAN, 0.0, True, "0"], ids=["-1", "K", "2^31", "2^63", "NaN", "float", "bool", "text"]
)
def test_n18_labels_that_are_no_class_numbers(label: Any) -> None:
    """Class numbers are integers from 0 to K - 1; a float or a truth value is more likely a column taken by mistake."""
    with pytest.raises(InputError, match="class"):
        cross_entropy([[0.0, 1.0], [0.0, 1.0]], np.array([label] * 2))
    with pytest.raises(InputError, match="class"):
        one_hot(np.array([label]), classes=2)


def test_n18_the_error_names_the_first_row() -> None:
    with pytest.raises(InputError, match="label 5 in row 2"):
        cross_entropy(np.zeros((4, 3)), [0, 1, 5, -1])
    with pytest.raises(InputError, match="'bird' is not one of the 2 classes"):
        one_hot(["cat", "bird"], classes=["cat", "dog"])


# --- refusals ------------------------------------------------------------------------------------------------------


@all_three
@pytest.mark.parametrize(
    ("logits", "said"),
    [
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


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (0, 2)])
def test_cross_entropy_needs_rows_by_classes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="rows x classes"):
        cross_entropy(np.zeros(shape), np.zeros(shape[0], dtype=int))


def test_cross_entropy_needs_a_label_for_each_row() -> None:
    with pytest.raises(InputError, match="each of the 3 rows"):
        cross_entropy(np.zeros((3, 2)), [0, 1])


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
