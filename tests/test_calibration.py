"""Calibration: each map against a plain optimiser, kept where it helps and only there, honest about what it gained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize

import luce
import luce.calibration
from luce.calibration import Calibration, _centred, _matrix, _Rows, _temperature, _vector, no_calibration
from luce.errors import InputError, ModelFileError
from luce.functional import softmax

Array = np.ndarray

every_k = pytest.mark.parametrize("classes", [2, 3, 6])


def logits(classes: int, rows: int = 1500, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(rows, 1 if classes == 2 else classes))


def probabilities(z: Array) -> Array:
    """Plain softmax; of two classes one logit, the first class's being 0."""
    z = np.column_stack([np.zeros(len(z)), z]) if z.shape[1] == 1 else z
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn(z: Array, seed: int = 1) -> Array:
    """Labels whose true logits are z."""
    shares = probabilities(z).cumsum(axis=1)
    return (shares < np.random.default_rng(seed).random((len(z), 1)) * shares[:, -1:]).sum(axis=1)


def loss(z: Array, y: Array, weights: Array | None = None) -> float:
    return float(np.average(-np.log(probabilities(z)[np.arange(len(y)), y]), weights=weights))


def centred(z: Array) -> Array:
    return z - z.mean(axis=1, keepdims=True) if z.shape[1] > 1 else z


# --- the maps ------------------------------------------------------------------------------------------------------


def rows_of(z: Array, y: Array, weights: Array | None = None) -> _Rows:
    w = np.ones(len(y)) if weights is None else weights
    return _Rows(_centred(z), y.astype(np.int32), max(2, z.shape[1]), w, 2)


@pytest.mark.parametrize("weighted", [False, True])
@every_k
def test_a_temperature_is_the_best_one(classes: int, weighted: bool) -> None:
    """Against SciPy's bounded minimiser. 1e-6: it knows the place of a minimum to the root of a value's rounding."""
    z = logits(classes)
    y = drawn(0.4 * z)
    w = np.random.default_rng(2).integers(0, 3, len(y)).astype(float) if weighted else None
    best = scipy.optimize.minimize_scalar(
        lambda t: loss(t * z, y, w), bounds=(0.01, 50), method="bounded", options={"xatol": 1e-12}
    )
    assert _temperature(rows_of(z, y, w)).matrix[0, 0] == pytest.approx(best.x, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@every_k
def test_a_vector_map_is_the_best_one(classes: int, weighted: bool) -> None:
    """Its gradient, by central differences, is 0. 1e-4: what is left of the loss, 1e-9, has a gradient of the root of
    that, or of a few times that where the logits are large."""
    z = logits(classes)
    outputs = z.shape[1]
    y = drawn(z * np.linspace(0.5, 1.5, outputs) + np.linspace(-0.5, 0.7, outputs))
    w = np.random.default_rng(2).uniform(0, 2, len(y)) if weighted else None
    found = _vector(rows_of(z, y, w))
    at, zc = np.concatenate([np.diagonal(found.matrix), found.bias]), centred(z)

    def value(point: Array) -> float:
        return loss(zc * point[:outputs] + point[outputs:], y, w)

    slope = [(value(at + d) - value(at - d)) / 2e-5 for d in 1e-5 * np.eye(2 * outputs)]
    assert np.abs(slope).max() <= 1e-4
    assert (found.matrix == np.diag(np.diagonal(found.matrix))).all()


def test_a_matrix_map_is_the_best_one_under_its_penalty() -> None:
    """The gradient of loss plus penalty, by central differences, is 0; 1e-6: the root of its gap of 1e-12."""
    z = logits(3)
    y = drawn(z @ np.array([[1.0, 0.5, 0.0], [0.0, 0.4, 0.0], [0.3, 0.0, 1.2]]))
    rows, zc = rows_of(z, y), centred(z)
    found, near = _matrix(rows), _vector(rows)
    held = luce.calibration.HELD_ROWS / len(y) * np.append((zc**2).mean(axis=0), 1.0)

    def value(point: Array) -> float:
        a, b = point[:9].reshape(3, 3), point[9:]
        off = np.vstack([(a - near.matrix).T, b - near.bias])
        return loss(zc @ a.T + b, y) + 0.5 * float(np.sum(held[:, None] * off**2))

    at = np.concatenate([found.matrix.ravel(), found.bias])
    slope = [(value(at + d) - value(at - d)) / 2e-5 for d in 1e-5 * np.eye(12)]
    assert np.abs(slope).max() <= 1e-6


@pytest.mark.parametrize("fit", [_temperature, _vector, _matrix])
def test_rows_that_are_all_right_do_not_make_logits_endless(fit: Callable[[_Rows], Calibration]) -> None:
    """60 rows, all right: the mean loss goes down to 1/60 and no further, or stays where it is if that is less."""
    z, y = np.array([[2.0, 0.0, -1.0], [0.0, 2.0, 1.0], [-1.0, 0.5, 1.5]] * 20), np.array([0, 1, 2] * 20)
    rows = rows_of(z, y)
    assert rows.mean(rows.losses(fit(rows))) == pytest.approx(1 / 60, rel=0.5)
    sure = rows_of(10 * z, y)
    assert sure.mean(sure.losses(fit(sure))) == pytest.approx(loss(10 * z, y), rel=1e-6)
    found = luce.calibrate(z[:15], y[:15])
    assert found.after > 0.9 / 15


# --- what is kept --------------------------------------------------------------------------------------------------

TRUE: dict[str, Callable[[Array], Array]] = {
    "none": lambda z: z,
    "temperature": lambda z: 0.4 * z,
    "vector": lambda z: centred(z) * np.array([0.4, 1.0, 1.7]) + np.array([0.0, 1.0, -1.0]),
    "matrix": lambda z: centred(z) @ np.array([[1.0, 0.8, -0.5], [0.0, 0.3, 0.9], [0.5, -0.6, 1.0]]),
}


@pytest.mark.parametrize("kind", TRUE)
def test_the_map_that_the_labels_were_drawn_by_is_found(kind: str) -> None:
    z = logits(3, rows=6000)
    y, fresh = drawn(TRUE[kind](z)), logits(3, rows=6000, seed=5)
    found = luce.calibrate(z, y)
    assert found.kind == kind
    wanted = probabilities(TRUE[kind](fresh))
    assert (
        np.abs(found.probabilities(fresh) - wanted).mean() <= 0.03
    )  # 6000 rows: some 1/sqrt(6000) a number, and the matrix is held


def test_two_classes_have_a_factor_and_a_shift() -> None:
    z = logits(2, rows=6000)
    y = drawn(0.5 * z + 1.0)
    found = luce.calibrate(z[:, 0], y)
    assert found.kind == "vector"
    assert found.matrix[0, 0] == pytest.approx(0.5, abs=0.1)
    assert found.bias[0] == pytest.approx(1.0, abs=0.1)
    both = luce.calibrate(np.column_stack([np.zeros(len(z)), z]), y)  # one logit a class says the same
    assert both.matrix == pytest.approx(found.matrix, rel=1e-9)
    assert found.apply(z[:, 0]).shape == (6000,)
    assert found.probabilities(z[:, 0]).sum(axis=1) == pytest.approx(1.0, abs=1e-12)


def test_noise_is_kept_out() -> None:
    """20 sets of labels drawn by the very logits: a map is kept where it gains two standard errors by chance, a few
    times in a hundred for each of two maps. Of 20 sets six or more would be so with a chance below 1e-3 at 5 % each;
    the seeds are fixed. What is kept harms little: less than a hundredth of a nat on fresh rows."""
    kept = []
    for seed in range(20):
        z, fresh = logits(3, rows=300, seed=seed), logits(3, rows=20_000, seed=100 + seed)
        found, y = luce.calibrate(z, drawn(z, seed)), drawn(fresh, 100 + seed)
        kept.append(found.kind != "none")
        assert loss(np.asarray(found.apply(fresh)), y) <= loss(fresh, y) + 0.01
    assert sum(kept) < 6


@pytest.mark.parametrize("classes", [2, 7])
def test_rows_that_are_all_right_do_not_make_the_next_mistake_dear(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 rows, none of them wrong, one in ten of them unsure: a map that makes logits larger gains on these in every
    fold, by more than two standard errors. It would lose that, and more, with the first of the others that is wrong."""
    rng = np.random.default_rng(0)
    y = np.arange(150) % classes
    z = np.where(rng.random((150, 1)) < 0.1, 1, 12) * np.eye(classes)[y] + rng.uniform(-0.4, 0.4, size=(150, classes))
    z = z[:, 1] - z[:, 0] if classes == 2 else z
    assert luce.calibrate(z, y).kind == "none"
    monkeypatch.setattr(_Rows, "one_more_wrong", lambda rows, fit, kept: 0.0)
    loud = luce.calibrate(z, y)
    assert loud.kind != "none"
    assert loud.matrix[0, 0] > 1.1


@pytest.mark.parametrize("classes", [2, 5])
def test_one_more_wrong_row_is_of_the_next_class(classes: int) -> None:
    """In the mean over the rows, by hand; a map that makes logits smaller costs nothing more."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(40, classes)), rng.integers(0, classes, 40).astype(np.int32)
    weight = rng.uniform(0.5, 2, 40)
    order = np.argsort(z, axis=1)[:, -2]
    losses = [np.log(np.exp(t * z).sum(axis=1)) - t * z[np.arange(40), order] for t in (1.0, 3.0)]
    logits = z[:, 1:] - z[:, :1] if classes == 2 else z
    rows = _Rows(_centred(logits), y, classes, weight, 1)
    maps = [
        Calibration("temperature", t * np.eye(logits.shape[1]), np.zeros(logits.shape[1]), 0, 0, 0, 0) for t in (1, 3)
    ]
    wanted = np.average(losses[1] - losses[0], weights=weight) / 40
    assert rows.one_more_wrong(maps[1], maps[0]) == pytest.approx(wanted, rel=1e-12)
    assert rows.one_more_wrong(maps[0], maps[1]) == 0


def test_the_gain_that_is_told_is_that_on_rows_that_the_map_never_saw() -> None:
    """Of labels drawn at random, so that a map fitted to the rows themselves would gain, and one on others does not."""
    z, rng = logits(6, rows=120), np.random.default_rng(3)
    found = luce.calibrate(z, rng.permutation(np.arange(120) % 6))
    fresh = logits(6, rows=20_000, seed=9)
    after = loss(np.asarray(found.apply(fresh)), rng.integers(0, 6, 20_000))
    assert found.after == pytest.approx(after, abs=5 * found.error + 0.05)
    assert found.before > found.after > np.log(6) - 0.05


def test_a_constant_over_the_classes_and_the_threads_mean_nothing() -> None:
    z = logits(3)
    y = drawn(TRUE["vector"](z))
    one = luce.calibrate(z, y, threads=1)
    for threads in (2, 3):
        other = luce.calibrate(z, y, threads=threads)
        assert other.matrix.tobytes() == one.matrix.tobytes()
        assert other.bias.tobytes() == one.bias.tobytes()
    shifted = z + np.random.default_rng(0).integers(-5, 5, (len(z), 1))
    assert np.abs(one.probabilities(shifted) - one.probabilities(z)).max() <= 1e-14
    some = one.apply(z[:100])
    assert np.array_equal(some, one.apply(z)[:100])  # any batch has the same bits


def test_a_weight_of_two_is_the_row_twice() -> None:
    z = logits(3)
    y = drawn(TRUE["vector"](z))
    k = np.random.default_rng(0).integers(1, 3, len(y))
    one, other = _vector(rows_of(z, y, k.astype(float))), _vector(rows_of(np.repeat(z, k, axis=0), np.repeat(y, k)))
    assert other.matrix == pytest.approx(one.matrix, abs=1e-6)
    assert other.bias == pytest.approx(one.bias, abs=1e-6)


# --- what a user may give ------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "probabilities": (lambda: luce.calibrate(softmax(logits(3)), drawn(logits(3))), "probabilities, not logits"),
    "not finite": (lambda: luce.calibrate([[0.0, np.nan, 1.0]] * 3, [0, 1, 2]), "row 0 of logits"),
    "three columns for two classes": (lambda: luce.calibrate(logits(3)[:4], [0, 1, 0, 1]), "3 columns for 2 classes"),
    "rows": (lambda: luce.calibrate(logits(3)[:4], [0, 1, 2]), "4"),
    "another class": (lambda: luce.calibrate(logits(3)[:3], [0, 1, 7], classes=[0, 1, 2]), "7"),
    "a cube": (lambda: luce.calibrate(np.zeros((2, 2, 2)), [0, 1]), "shape"),
    "others to apply to": (lambda: no_calibration(3).apply(np.zeros((2, 4))), "4 columns"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str) -> None:
    call, says = MISTAKES[mistake]
    with pytest.raises(InputError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_classes_may_be_named_and_absent() -> None:
    z = logits(3, rows=50)
    found = luce.calibrate(z, ["b", "a"] * 25, classes=["a", "b", "c"])
    assert found.probabilities(z).shape == (50, 3)
    assert "50 rows" in found.sentence()


# --- a classifier's own --------------------------------------------------------------------------------------------


def table(rows: int, seed: int) -> tuple[dict[str, Any], Array]:
    """Two groups of different noise: no linear map of the columns has calibrated logits."""
    rng = np.random.default_rng(seed)
    x, wide = rng.normal(size=(rows, 4)), rng.random(rows) < 0.5
    score = np.stack([x[:, 0], x[:, 1], -x[:, 0] - x[:, 1]], axis=1) * np.where(wide, 0.3, 6.0)[:, np.newaxis]
    y = np.argmax(score + rng.gumbel(size=score.shape), axis=1)
    columns = {f"x{j}": x[:, j] for j in range(4)}
    return columns | {"y": np.array(["low", "mid", "top"])[y]}, y


def test_a_classifier_is_calibrated_on_rows_held_out_and_keeps_that_in_its_file(tmp_path: Any) -> None:
    data, _ = table(3000, 0)
    model = luce.Classifier().fit(data, "y")
    assert isinstance(model.calibration, Calibration)
    assert model.calibration.rows == 3000
    model.save(tmp_path / "m.luce")
    again = luce.load(tmp_path / "m.luce")
    assert again.calibration.kind == model.calibration.kind
    assert again.calibration.sentence() == model.calibration.sentence()
    assert again.predict_proba(data).tobytes() == model.predict_proba(data).tobytes()


@pytest.mark.parametrize("l2", ["auto", 1e-6, 0.3])
def test_too_weak_and_too_strong_a_penalty_are_made_good(l2: Any) -> None:
    """60 columns of noise and few rows: without a penalty logits are too large, with a strong one too small; a factor
    mends both. 0.02 nats: the noise of 20,000 fresh rows, thrice."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(21_000, 60))
    y = np.argmax(np.stack([x[:, 0], x[:, 1], x[:, 2]], axis=1) * 2 + rng.gumbel(size=(21_000, 3)), axis=1)
    columns = {f"x{j}": x[:1000, j] for j in range(60)}
    model = luce.Classifier(l2=l2).fit(columns, y[:1000])
    fresh = {f"x{j}": x[1000:, j] for j in range(60)}
    p = model.predict_proba(fresh)
    sizes = np.linspace(0.5, 2.0, 31)
    best = min(sizes, key=lambda t: loss(t * np.log(p), y[1000:]))
    assert loss(np.log(p), y[1000:]) <= loss(best * np.log(p), y[1000:]) + 0.02
    assert 0.75 <= best <= 1.35


@pytest.mark.parametrize("kind", ["temperature", "vector"])
def test_a_map_that_is_no_matrix_is_kept_as_its_diagonal_and_read_from_a_matrix_too(kind) -> None:
    maps = Calibration(kind, np.diag([0.5, 2.0, 1.25]), np.array([0.0, -1.0, 3.0]), 1.0, 0.5, 0.1, 40)
    facts, arrays = luce.calibration.to_json(maps), luce.calibration.arrays_of(maps)
    assert arrays["calibration"].shape == (3,)
    for kept in (arrays, arrays | {"calibration": maps.matrix}):
        read = luce.calibration.from_json(facts, 3, kept)
        assert np.array_equal(read.matrix, maps.matrix) and np.array_equal(read.bias, maps.bias)
    with pytest.raises(ModelFileError):
        luce.calibration.from_json(facts | {"kind": "matrix"}, 3, arrays)


def test_two_classes_may_have_a_logit_each() -> None:
    rng = np.random.default_rng(0)
    z = 2 * rng.normal(size=2000)
    y = (rng.random(2000) < 1 / (1 + np.exp(-z))).astype(int)
    pairs, alone = np.stack([np.ones(2000), 1 + 3 * z], axis=1), 3 * z
    both, one = luce.calibrate(pairs, y), luce.calibrate(alone, y)
    assert both.kind == one.kind == "temperature"
    assert np.allclose(both.probabilities(pairs), one.probabilities(alone), rtol=0, atol=1e-9)  # 1 + 3 z is rounded
    made = both.apply(pairs)
    assert made.shape == (2000, 2) and np.allclose(made[:, 1] - made[:, 0], one.apply(alone), rtol=0, atol=1e-9)


def test_probabilities_of_two_classes_are_refused_or_told() -> None:
    rng = np.random.default_rng(0)
    p = 1 / (1 + np.exp(-2 * rng.normal(size=500)))
    y = (rng.random(500) < p).astype(int)
    with pytest.raises(InputError, match="these are probabilities"):
        luce.calibrate(np.stack([1 - p, p], axis=1), y)
    with pytest.warns(luce.errors.LuceWarning, match=r"give log\(p / \(1 - p\)\)"):
        luce.calibrate(p, y)


def test_logits_are_never_turned_round() -> None:
    """Of few rows the logits held out may be against the labels by chance: no map may make the opposite of them, but
    where they tell nothing it has the class shares, not as much for each class."""
    rng = np.random.default_rng(3317)
    rows, y = {f"x{i}": rng.normal(size=15) for i in range(10)}, rng.choice(["p", "q"], 15)
    model = luce.Classifier().fit(rows, y)
    assert np.diagonal(model.calibration.matrix).max() >= 0
    z = np.repeat([-1.0, 1.0], 200)
    turned = luce.calibrate(z, np.repeat([1, 0], 200))
    assert turned.matrix[0, 0] >= 0
    for classes, shares in ((1, [0.9, 0.1]), (3, [0.8, 0.15, 0.05])):
        noise = rng.normal(size=(2000, classes)) * 3.0
        y_of_noise = rng.choice(len(shares), 2000, p=shares)
        y_of_noise = (
            np.where(rng.random(2000) < 0.3, np.argmin(noise, axis=1), y_of_noise)
            if classes > 1
            else np.where(noise[:, 0] < -4.0, 1, y_of_noise)
        )
        found = luce.calibrate(noise, y_of_noise)
        p = found.probabilities(noise)
        known = np.bincount(y_of_noise, minlength=len(shares)) / 2000
        assert np.abs(p - known).max() < 1e-3 and "shares of the classes" in found.sentence()


def test_classes_may_be_named_in_any_order() -> None:
    z, y = np.random.default_rng(0).normal(size=(300, 3)), np.repeat([0, 1, 2], 100)
    z[np.arange(300), y] += 2.0
    known = luce.calibrate(z, np.array(["a", "b", "c"])[y])
    for names in (["b", "a", "c"], ["c", "a", "b"], ["c", "b", "a"]):
        found = luce.calibrate(z, np.array(names)[y], classes=names)
        np.testing.assert_array_equal(found.matrix, known.matrix)
    with pytest.raises(luce.errors.InputError, match=r"row 0, which is none of the classes.*name every class"):
        luce.calibrate(z, np.array(["d", "b", "c"])[y], classes=["a", "b", "c"])
