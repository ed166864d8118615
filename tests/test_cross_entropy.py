"""The cross-entropy and its gradient by the logits: error bounds, weights, targets, special values and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from mpmath import mpf

from luce.errors import InputError
from luce.functional import cross_entropy, cross_entropy_with_gradient, one_hot, softmax

U = 2.0**-53
INF, NAN = np.inf, np.nan

either_float = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def loss_by_hand(z: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    return float((weights * -(targets * np.log(softmax(z))).sum(axis=1)).sum() / weights.sum())


@either_float
def test_the_gradient_of_the_loss_is_exact_to_4_ulp(dtype: type) -> None:
    """At labels of every rank, near-certain and hopeless ones too. Measured 0.5009 in float32, 2.2 in float64."""
    for width in (2, 3, 7, 10, 16, 17, 100, 129, 300):
        for spread in (0.1, 3.0, 60.0):
            z = np.random.default_rng(width).normal(0, spread, (7, width)).astype(dtype)
            labels = np.argsort(z, axis=1)[np.arange(7), np.linspace(0, width - 1, 7).astype(int)]
            loss, gradient = cross_entropy_with_gradient(z, labels)
            losses = mpf(0)
            for r, label in enumerate(labels):
                p = reference.softmax(z[r])
                p[label] = -sum(v for k, v in enumerate(p) if k != label)
                assert reference.ulps(gradient[r], [v / 7 for v in p]).max() <= 4, (width, spread)
                losses -= reference.log_softmax(z[r])[label]
            tolerance = 4 * U if dtype is np.float64 else 2.0**-33  # of exponentials worked to 2^-34.2
            assert abs(loss - losses / 7) <= tolerance * losses / 7


def test_n20_many_small_losses_are_summed_without_loss() -> None:
    """2 ulp; adding a million equal numbers one by one would lose some 20 bits."""
    one = cross_entropy([[9.0, -9.3]], [0])
    many = cross_entropy(np.tile([[9.0, -9.3]], (1_000_000, 1)), np.zeros(1_000_000, dtype=int))
    assert abs(many - one) <= 2 * np.spacing(one)


@pytest.mark.parametrize("classes", [3, 200])
def test_the_gradient_has_the_same_bits_on_any_number_of_threads(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    z = np.random.default_rng(0).normal(0, 5, (200_000 // classes, classes)).astype(np.float32)
    labels = np.arange(len(z)) % classes
    weights = np.linspace(0, 1, len(z))
    found = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("LUCE_NUM_THREADS", threads)
        out = np.empty_like(z)
        loss, gradient = cross_entropy_with_gradient(z, labels, sample_weight=weights, out=out)
        assert gradient is out
        found.append((loss, out.tobytes()))
    assert found[0] == found[1] == found[2]
    assert (out[0] == 0).all()  # its weight is 0


def test_the_gradient_may_lie_on_the_logits_and_a_row_of_weight_0_may_hold_anything() -> None:
    z = np.random.default_rng(0).normal(0, 5, (50, 3))
    loss, gradient = cross_entropy_with_gradient(z, np.arange(50) % 3)
    assert cross_entropy_with_gradient(z, np.arange(50) % 3, out=z)[0] == loss and (z == gradient).all()
    broken = np.array([[0.0, 1.0], [NAN, INF]])
    loss, gradient = cross_entropy_with_gradient(broken, [0, 1], sample_weight=[1.0, 0.0])
    assert loss == cross_entropy([[0.0, 1.0]], [0]) and (gradient[1] == 0).all()


def test_n02_the_loss_of_a_row_with_inf_is_nan_and_of_an_impossible_label_inf() -> None:
    assert np.isnan(cross_entropy([[0.0, INF], [0.0, 0.0]], [0, 1]))
    assert np.isnan(cross_entropy([[NAN, 0.0]], [1]))
    assert cross_entropy([[0.0, -INF]], [1]) == INF
    assert cross_entropy([[0.0, -INF]], [0]) == 0


def test_cross_entropy_is_the_mean_of_minus_ln_p() -> None:
    """1e-14: 100 terms of one sign, each within 8 u, summed by NumPy in pairs."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 5, (100, 4)), rng.integers(0, 4, 100)
    wanted = sum(-reference.log_softmax(row)[k] for row, k in zip(z, y, strict=True)) / 100
    assert cross_entropy(z, y) == pytest.approx(float(wanted), rel=1e-14)


def test_cross_entropy_of_float32_logits_is_exact_far_beyond_float32() -> None:
    z = np.random.default_rng(0).normal(0, 5, (100, 4)).astype(np.float32)
    y = np.zeros(100, dtype=np.int64)
    exact = cross_entropy(z.astype(np.float64), y)
    # float32 logits are worked in double with exponentials to 2^-34.2 (docs/numerics.md)
    assert abs(cross_entropy(z, y) - exact) <= 2.0**-33 * exact


def test_cross_entropy_of_a_near_certain_row_keeps_its_digits() -> None:
    assert cross_entropy([[0.0, -40.0]], [0]) == pytest.approx(4.248354255291589e-18, rel=1e-15)


def test_cross_entropy_with_targets_weights_and_ignored_rows() -> None:
    """1e-14: sums of 40 terms below 10, each within a few u."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 2, (40, 5)), rng.integers(0, 5, 40)
    soft, rows, classes = softmax(rng.normal(size=(40, 5))), rng.uniform(0.1, 2, 40), rng.uniform(0.1, 2, 5)
    hard = np.eye(5)[y]
    close = pytest.approx
    assert cross_entropy(z, soft) == close(loss_by_hand(z, soft, np.ones(40)), rel=1e-14)
    assert cross_entropy(z, y, sample_weight=rows) == close(loss_by_hand(z, hard, rows), rel=1e-14)
    assert cross_entropy(z, y, class_weight=classes) == close(loss_by_hand(z, hard, classes[y]), rel=1e-14)
    kept = np.where(y == 3, 0.0, 1.0)
    marked = np.where(y == 3, -100, y)
    assert cross_entropy(z, marked, ignore_index=-100) == close(loss_by_hand(z, hard, kept), rel=1e-14)


@pytest.mark.parametrize("classes", [2, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 1e-9, 0.5])
def test_n17_label_smoothing(classes: int, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 2, (30, classes)), rng.integers(0, classes, 30)
    targets = (1 - smoothing) * np.eye(classes)[y] + smoothing / classes
    found = cross_entropy(z, y, label_smoothing=smoothing)
    assert found == pytest.approx(loss_by_hand(z, targets, np.ones(30)), rel=1e-13)  # sums of 1000 terms
    if smoothing == 0:
        assert found == cross_entropy(z, y)


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1}, {"ignore_index": 2}, {"class_weight": [1, 2, 0.5, 1]}]
)
def test_the_gradient_of_the_loss_is_its_slope(options: dict[str, Any]) -> None:
    """1e-9: central differences with steps of 1e-4 miss their third order, 1e-8 of numbers below 0.1."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 2, (6, 4)), rng.integers(0, 4, 6)
    loss, gradient = cross_entropy_with_gradient(z, y, **options)
    assert loss == cross_entropy(z, y, **options)
    for place in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[place] = 1e-4
        slope = (cross_entropy(z + step, y, **options) - cross_entropy(z - step, y, **options)) / 2e-4
        assert gradient[place] == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("size", [50.0, 500.0, 5000.0])
def test_n15_n16_the_gradient_of_the_loss_at_saturation(size: float) -> None:
    """4 ulp of 50 digits, or exactly 0 where it is below every double; a masked class has exactly 0."""
    z = np.array([[size, 0.0, 1.0, -INF]])
    wanted = reference.softmax(z[0, :3])
    wanted[0] = -(wanted[1] + wanted[2])
    _, gradient = cross_entropy_with_gradient(z, [0])
    assert gradient[0, 3] == 0
    for found, exact in zip(gradient[0, :3], wanted, strict=True):
        ok = found == 0 if abs(exact) < 1e-330 else reference.ulps(np.array([found]), [exact])[0] <= 4
        assert ok or abs(exact) < 1e-300, (found, exact)
    _, certain = cross_entropy_with_gradient(z, [1])
    assert certain[0].tolist() == [1.0, -1.0, pytest.approx(float(wanted[2]), rel=1e-15), 0.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sample_weight": [1.0, -1.0]}, "sample_weight holds -1.0"),
        ({"sample_weight": [1.0, NAN]}, "sample_weight holds nan"),
        ({"sample_weight": [0.0, 0.0]}, "no row counts"),
        ({"class_weight": [1.0]}, "class_weight has shape"),
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        ({"ignore_index": 0}, "no row counts"),
    ],
)
def test_n19_options_that_make_no_loss(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        cross_entropy(np.zeros((2, 3)), [0, 0], **options)


@pytest.mark.parametrize("size", [5e-324, 1e300])
def test_n19_only_the_ratios_of_weights_count(size: float) -> None:
    z, y = np.random.default_rng(0).normal(size=(9, 3)), np.arange(9) % 3
    weights = np.array([1.0, 2.0, 0.0] * 3)
    assert cross_entropy(z, y, sample_weight=weights * size) == cross_entropy(z, y, sample_weight=weights)


def test_targets_that_are_no_probabilities() -> None:
    with pytest.raises(InputError, match=r"target 1.5 in row 1"):
        cross_entropy(np.zeros((2, 2)), [[0.5, 0.5], [1.5, 0.0]])
    with pytest.raises(InputError, match=r"targets have shape"):
        cross_entropy(np.zeros((2, 2)), np.zeros((2, 3)))


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


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (0, 2)])
def test_cross_entropy_needs_rows_by_classes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="rows x classes"):
        cross_entropy(np.zeros(shape), np.zeros(shape[0], dtype=int))


def test_cross_entropy_needs_a_label_for_each_row() -> None:
    with pytest.raises(InputError, match="each of the 3 rows"):
        cross_entropy(np.zeros((3, 2)), [0, 1])
