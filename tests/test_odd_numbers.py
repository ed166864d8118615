"""Input that is odd but plausible, and once went wrong: each case is a mended fault."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from luce.errors import InputError
from luce.functional import log_softmax, one_hot, softmax
from luce.linear import SoftmaxRegression

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] + RNG.normal(size=60) > 0).astype(int)


@pytest.mark.parametrize(("z", "t"), [([0.0, 1.0, 2.0], 1e-309), ([1e300, 2e300], 1e-10), ([0.0, 1.0], 1e-308)])
def test_a_small_temperature_gives_no_nan(z, t) -> None:
    """Never NaN for finite logits: z / T would overflow, so the shift by the maximum comes first."""
    assert not np.isnan(softmax(z, temperature=t)).any()
    assert not np.isnan(log_softmax(z, temperature=t)).any()


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 5e-324])
def test_n19_tiny_weights_do_not_make_a_false_certificate(scale) -> None:
    """Unscaled, the gap would underflow to 0 at W = 0: converged, with nothing learnt."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a = SoftmaxRegression(l2=0.01).fit(X, Y, sample_weight=np.full(60, scale))
    b = SoftmaxRegression(l2=0.01).fit(X, Y)
    assert np.abs(a.coef_ - b.coef_).max() < 1e-2


@pytest.mark.parametrize("scale", [1e300, 1e160])
def test_n19_huge_weights(scale) -> None:
    a = SoftmaxRegression(l2=0.01).fit(X, Y, sample_weight=np.full(60, scale))
    assert a.certificate_.converged


@pytest.mark.parametrize("scale", [1e160, 1e307])
def test_e12_huge_numbers_are_refused_by_their_cell(scale) -> None:
    with pytest.raises(InputError, match="row 0, column 0: rescale the column"):
        SoftmaxRegression().fit(X * scale, Y)


def test_predict_on_numbers_that_would_overflow_names_the_cell() -> None:
    with pytest.raises(InputError, match="row 0, column 0: rescale"):
        SoftmaxRegression().fit(X, Y).predict_proba(np.full((2, 3), 1.7e308))


@pytest.mark.parametrize("labels", [["a"] * 30 + [1] * 30, [True] * 30 + [2] * 30, ["a"] * 30 + [None] * 30])
def test_e09_mixed_labels_in_a_list_are_refused(labels) -> None:
    """NumPy would turn the list into strings (or ints) before anyone looks."""
    with pytest.raises(InputError, match="row 30"):
        SoftmaxRegression().fit(X, labels)


def test_object_labels_that_are_all_integers() -> None:
    """As a pandas column of objects gives them."""
    model = SoftmaxRegression().fit(X, Y.astype(object))
    assert model.classes_.tolist() == [0, 1]


def test_labels_that_are_all_none_get_a_message_that_says_so() -> None:
    with pytest.raises(InputError) as caught:
        SoftmaxRegression().fit(X, [None] * 60)
    assert "mixes" not in str(caught.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: softmax([[1, 2], [3]]),
        lambda: SoftmaxRegression().fit([[1, 2], [3]], [0, 1]),
        lambda: SoftmaxRegression().fit(X, Y, sample_weight=["a"] * 60),
        lambda: SoftmaxRegression().fit(X, [[0, 1], [0]] * 30),
    ],
    ids=["logits", "X", "weights", "y"],
)
def test_ragged_lists_and_text_weights_raise_input_error(ask) -> None:
    with pytest.raises(InputError):
        ask()


@pytest.mark.parametrize("labels", [Y[:3], Y[:1]])
def test_score_checks_the_length_of_y(labels) -> None:
    """A single label must not be compared with every row."""
    model = SoftmaxRegression().fit(X, Y)
    with pytest.raises(InputError):
        model.score(X, labels)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: one_hot([2**63]),
        lambda: one_hot([2**40]),
        lambda: one_hot([], classes=-1),
        lambda: one_hot([[0]], classes=["a"]),
    ],
    ids=["2^63", "2^40", "classes -1", "nested"],
)
def test_n18_one_hot_refuses(ask) -> None:
    with pytest.raises(InputError):
        ask()


def test_numpy_scalars_are_numbers() -> None:
    SoftmaxRegression(l2=np.float32(0.5)).fit(X, Y)
    SoftmaxRegression(threads=np.int64(2)).fit(X, Y)


def test_predict_is_the_class_of_the_largest_probability_also_at_a_rounding_from_a_tie() -> None:
    model = SoftmaxRegression().fit([[-1.0], [1.0]], [0, 1])
    row = [[1e-17]]
    assert model.predict(row)[0] == model.classes_[model.predict_proba(row)[0].argmax()]


@pytest.mark.parametrize("temperature", ["1", None, [1.0, 2.0]])
def test_temperatures_that_are_no_numbers(temperature) -> None:
    with pytest.raises(InputError):
        softmax([0.0, 1.0], temperature=temperature)
