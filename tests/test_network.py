"""NetworkClassifier: its gradient against differences and a plain NumPy network, its steps, what it must withstand."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from claims import same_bits

import luce.network
import luce.training
from luce import _core
from luce.errors import InputError, LuceWarning, NotFittedError
from luce.features import Features
from luce.network import NetworkClassifier

Array = np.ndarray
Layers = list[tuple[Array, Array]]

SHAPES: list[tuple[tuple[int, ...], int, bool]] = [
    ((), 2, False), ((), 5, False), ((7,), 2, True), ((7,), 3, False), ((33, 20), 2, False), ((17, 18, 5), 20, True),
]  # fmt: skip
every_shape = pytest.mark.parametrize(("hidden", "classes", "gelu"), SHAPES)


# --- a plain network, in float64 -----------------------------------------------------------------------------------


def drawn_layers(columns: int, hidden: Sequence[int], classes: int) -> Layers:
    rng = np.random.default_rng(columns + classes)
    sizes = [columns, *hidden, 1 if classes == 2 else classes]
    return [
        ((rng.normal(size=(i, o)) / np.sqrt(i)).astype(np.float32), rng.normal(size=o).astype(np.float32))
        for i, o in pairwise(sizes)
    ]


def activation(z: Array, gelu: bool) -> Array:
    return z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))) / 2 if gelu else np.maximum(z, 0)


def plain_logits(layers: Layers, x: Array, gelu: bool) -> Array:
    for w, b in layers[:-1]:
        x = activation(x @ w.astype(np.float64) + b, gelu)
    return x @ layers[-1][0].astype(np.float64) + layers[-1][1]


def plain_loss(layers: Layers, x: Array, codes: Array, weight: Array, gelu: bool) -> float:
    z = plain_logits(layers, x, gelu)
    if z.shape[1] == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    return float(np.sum(weight * (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), codes])))


def plain_gradient(layers: Layers, x: Array, codes: Array, weight: Array, gelu: bool) -> Array:
    """By central differences of step 1e-5, in the order of the layers: weights, then bias."""
    wide = [(w.astype(np.float64), b.astype(np.float64)) for w, b in layers]
    out = []
    for part in [array for layer in wide for array in layer]:
        flat = part.reshape(-1)
        for i, held in enumerate(flat.copy()):
            values = []
            for step in (1e-5, -1e-5):
                flat[i] = held + step
                values.append(plain_loss(wide, x, codes, weight, gelu))
            flat[i] = held
            out.append((values[0] - values[1]) / 2e-5)
    return np.array(out)


def built(layers: Layers, features: Features, classes: int, gelu: bool) -> Any:
    hidden = [len(b) for _, b in layers[:-1]]
    network = _core.Network(hidden, features.dense_columns, features.sparse_columns, classes, gelu)
    for place, (w, b) in enumerate(layers):
        network.set(place, w, b)
    return network


def sparse_features(x: Array, dense: Array | None = None) -> Features:
    csr = scipy.sparse.csr_array(x)
    starts, indices = csr.indptr.astype(np.int64), csr.indices.astype(np.int32)
    return Features(len(x), dense, starts, indices, csr.data.astype(np.float32), x.shape[1])


def forms(x: Array) -> dict[str, Features]:
    """The same numbers in every kind of storage."""
    return {
        "float64": Features(len(x), dense=x.astype(np.float64)),
        "float32, Fortran order": Features(len(x), dense=np.asfortranarray(x.astype(np.float32))),
        "uint8": Features(len(x), dense=x.astype(np.uint8)),
        "sparse": sparse_features(x),
        "dense and sparse": sparse_features(x[:, 4:], x[:, :4].astype(np.float32)),
    }


def some_rows(rows: int, columns: int, classes: int) -> tuple[Array, Array, Array]:
    """Whole numbers, many of them 0, that every kind of storage holds exactly."""
    rng = np.random.default_rng(rows)
    x = np.where(rng.random((rows, columns)) < 0.6, 0, rng.integers(1, 4, (rows, columns))).astype(np.float64)
    return x, rng.integers(0, classes, rows).astype(np.int32), rng.uniform(0.1, 2, rows)


# --- the gradient --------------------------------------------------------------------------------------------------


@every_shape
@pytest.mark.parametrize("form", ["float64", "float32, Fortran order", "uint8", "sparse", "dense and sparse"])
def test_the_gradient_is_that_of_a_plain_network(hidden: tuple[int, ...], classes: int, gelu: bool, form: str) -> None:
    """1e-5 of the longest part: float32 sums of some hundred products of numbers near 1. 53 rows are no multiple of any
    block, and 260 more than one batch."""
    for rows in (53, 260) if hidden == (7,) else (53,):
        x, codes, weight = some_rows(rows, 11, classes)
        layers = drawn_layers(11, hidden, classes)
        features = forms(x)[form]
        scale, shift = np.linspace(0.3, 1.1, 11), np.linspace(-1, 1, 11)
        shift[features.dense_columns :] = 0.0
        network, out = built(layers, features, classes, gelu), np.empty(sum(w.size + b.size for w, b in layers))
        labels, order = _core.Labels(codes, weight, classes), np.random.default_rng(0).permutation(rows)
        loss = network.gradient(features.design, shift, scale, labels, order, out, 2)
        z = (x - shift) * scale
        wanted = plain_gradient(layers, z, codes, weight, gelu)
        assert loss == pytest.approx(plain_loss(layers, z, codes, weight, gelu), rel=1e-6)
        assert np.abs(out - wanted).max() <= 1e-5 * np.abs(wanted).max()
        logits = np.empty((rows, 1 if classes == 2 else classes))
        network.logits(features.design, shift, scale, logits, 2)
        assert np.abs(logits - plain_logits(layers, z, gelu)).max() <= 1e-5 * np.abs(logits).max()


def test_the_steps_of_more_units_than_a_block_are_those_of_backpropagation() -> None:
    """Blocks of 96 inputs and panels of 16 units have edges: 211 columns, 101 and 113 units. Of a first step of AdamW
    the moments tell the sign alone, so gradients are compared, at the start and after two steps of few numbers: the
    turned copies that go back must have followed. 1e-5 of the longest part: as above."""
    x, codes, weight = some_rows(53, 211, 3)
    layers = drawn_layers(211, (101, 113), 3)
    network, labels = built(layers, Features(53, dense=x), 3, False), _core.Labels(codes, weight, 3)
    design, shift, scale, order = Features(53, dense=x).design, np.zeros(211), np.full(211, 0.3), np.arange(53)
    for _ in range(2):
        out = np.empty(sum(w.size + b.size for w, b in layers))
        network.gradient(design, shift, scale, labels, order, out, 2)
        wanted = backpropagated(layers, 0.3 * x, codes, weight)
        assert np.abs(out - wanted).max() <= 1e-5 * np.abs(wanted).max()
        network.epoch(design, shift, scale, labels, order, 0.01, 0.05, 0.0, 30, 0, 2)
        for place, (w, b) in enumerate(layers):
            before = w.copy()
            network.get(place, w, b)
            assert (w != before).all()  # all decay


def backpropagated(layers: Layers, x: Array, codes: Array, weight: Array) -> Array:
    """The gradient of a network of rectified units and three classes or more, in float64."""
    values = [x]
    for w, b in layers:
        z = values[-1] @ w.astype(np.float64) + b
        values.append(np.maximum(z, 0))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    back = weight[:, np.newaxis] * (e / e.sum(axis=1, keepdims=True) - np.eye(z.shape[1])[codes])
    parts: list[Array] = []
    for (w, _), a in zip(layers[::-1], values[-2::-1], strict=True):
        parts = [(a.T @ back).ravel(), back.sum(axis=0), *parts]
        back = (back @ w.astype(np.float64).T) * (a > 0)
    return np.concatenate(parts)


@every_shape
def test_the_gradient_is_that_of_pytorch(hidden: tuple[int, ...], classes: int, gelu: bool) -> None:
    torch = pytest.importorskip("torch")
    x, codes, weight = some_rows(64, 11, classes)
    layers = drawn_layers(11, hidden, classes)
    parts = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for layer in layers for a in layer]
    a = torch.tensor(x)
    for place in range(0, len(parts), 2):
        a = a @ parts[place] + parts[place + 1]
        if place < len(parts) - 2:
            a = torch.nn.functional.gelu(a, approximate="tanh") if gelu else torch.relu(a)
    z = torch.cat([torch.zeros_like(a), a], dim=1) if classes == 2 else a
    each = torch.nn.functional.cross_entropy(z, torch.tensor(codes, dtype=torch.int64), reduction="none")
    (each * torch.tensor(weight)).sum().backward()
    wanted = np.concatenate([part.grad.numpy().ravel() for part in parts])
    features, out = Features(64, dense=x), np.empty(len(wanted))
    network, labels = built(layers, features, classes, gelu), _core.Labels(codes, weight, classes)
    network.gradient(features.design, np.zeros(11), np.ones(11), labels, np.arange(64), out, 1)
    assert np.abs(out - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("own", [0, 1, 2])
@pytest.mark.parametrize("away", [0.0, 1e3, -1e3])
def test_n01_logits_far_apart_and_far_from_0_have_their_loss_and_gradient(own: int, away: float) -> None:
    """exp(300) is no float32, and exp(1000) no double. Whole numbers, so exact: exp(-300) leaves nothing of 1."""
    z = np.array([away + 300, away, away - 300], dtype=np.float32)
    layers: Layers = [(np.zeros((1, 3), dtype=np.float32), z)]
    features = Features(1, dense=np.zeros((1, 1)))
    network, labels = built(layers, features, 3, False), _core.Labels(np.array([own], dtype=np.int32), None, 3)
    out = np.empty(6)
    loss = network.gradient(features.design, np.zeros(1), np.ones(1), labels, np.array([0]), out, 1)
    assert loss == 300 * own
    assert np.array_equal(out[3:], np.array([1.0, 0, 0]) - (np.arange(3) == own))


@pytest.mark.parametrize("form", ["float64", "sparse"])
def test_steps_are_those_of_adamw(form: str) -> None:
    """Two batches, the last one short, in NumPy: Loshchilov and Hutter, algorithm 2. Weights decay, biases do not; each
    column of the sparse rows is in both batches. 1e-5: gradients are right to that, and a step is at most the rate."""
    x, codes, weight = some_rows(35, 6, 3)
    features, layers = forms(x)[form], drawn_layers(6, (5,), 3)
    network, labels = built(layers, features, 3, False), _core.Labels(codes, weight, 3)
    rate, decay = 0.1, 0.05
    network.epoch(features.design, np.zeros(6), np.ones(6), labels, np.arange(35), rate, decay, 0.0, 20, 0, 2)
    flat = np.concatenate([a.ravel() for layer in layers for a in layer]).astype(np.float64)
    decays = np.concatenate([np.full(a.size, float(a.ndim == 2)) for layer in layers for a in layer])
    m, v, at = np.zeros_like(flat), np.zeros_like(flat), layers
    for t, rows in ((1, slice(0, 20)), (2, slice(20, 35))):
        g = plain_gradient(at, x[rows], codes[rows], weight[rows], False) / len(x[rows])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        flat = flat - rate * (step + decay * decays * flat)
        at = unflattened(flat, layers)
    for place, (w, b) in enumerate(at):
        found = np.empty(w.shape, dtype=np.float32), np.empty(b.shape, dtype=np.float32)
        network.get(place, *found)
        known = np.abs(w - layers[place][0]) > 0  # where a gradient is 0, its rounding has a sign of its own
        assert np.abs(found[0] - w)[known].max() <= 1e-5
        assert np.abs(found[1] - b).max() <= 1e-5


@pytest.mark.parametrize("form", ["float64", "dense and sparse"])
def test_weights_that_are_set_forget_the_steps_before(form: str) -> None:
    """Where a fit goes back to its best point, means of the gradients of the way that was wrong must not push it on."""
    x, codes, weight = some_rows(40, 6, 3)
    features, layers = forms(x)[form], drawn_layers(6, (5,), 3)
    network, labels = built(layers, features, 3, False), _core.Labels(codes, weight, 3)
    seen = []
    for _ in range(2):
        for place, (w, b) in enumerate(layers):
            network.set(place, w, b)
        network.epoch(features.design, np.zeros(6), np.ones(6), labels, np.arange(40), 0.1, 0.05, 0.5, 20, 0, 2)
        parts = [(np.empty_like(w), np.empty_like(b)) for w, b in layers]
        for place, part in enumerate(parts):
            network.get(place, *part)
        seen.append(np.concatenate([a.ravel() for part in parts for a in part]))
    assert same_bits(*seen)


def unflattened(flat: Array, like: Layers) -> Layers:
    out, place = [], 0
    for w, b in like:
        parts = flat[place : place + w.size].reshape(w.shape), flat[place + w.size : place + w.size + b.size]
        out.append(parts)
        place += w.size + b.size
    return out


@pytest.mark.parametrize("dropout", [0.0, 0.25, 0.8])
def test_so_many_units_are_left_out_and_the_others_make_up_for_them(dropout: float) -> None:
    """Each of 20,000 units gives 1, the output their mean: the logit is the share of those left, times 1 / (1 - d): 1,
    but for 6 standard errors and 1e-3 of 20,000 roundings. Which are left out differs from row to row and from batch to
    batch."""
    units = 20_000
    layers: Layers = [
        (np.zeros((1, units), dtype=np.float32), np.ones(units, dtype=np.float32)),
        (np.full((units, 1), 1 / units, dtype=np.float32), np.zeros(1, dtype=np.float32)),
    ]
    features = Features(2, dense=np.zeros((2, 1)))
    network, labels = built(layers, features, 2, False), _core.Labels(np.ones(2, dtype=np.int32), None, 2)
    seen = []
    for row in (0, 1, 0):
        loss = network.epoch(
            features.design, np.zeros(1), np.ones(1), labels, np.array([row]), 0.0, 0, dropout, 1, 7, 1
        )
        seen.append(-np.log(np.expm1(loss)))
    error = np.sqrt(dropout / (1 - dropout) / units)
    assert np.abs(np.array(seen) - 1).max() <= 6 * error + 1e-3
    assert len(set(seen)) == (1 if dropout == 0 else 3)


def test_units_that_are_left_out_learn_nothing() -> None:
    """Neither what leads to them nor what leads on: without decay a step of AdamW of no gradient is 0. Half of 1,000
    units, but for 6 standard errors. The layers of a row leave out others: the second is not the first."""
    ones = np.ones((1, 1))
    sizes = [1, 1000, 1000, 1]
    layers: Layers = [
        (np.full((i, o), 0.01, dtype=np.float32), np.ones(o, dtype=np.float32)) for i, o in pairwise(sizes)
    ]
    network = built(layers, Features(1, dense=ones), 2, False)
    labels = _core.Labels(np.zeros(1, dtype=np.int32), None, 2)
    network.epoch(Features(1, dense=ones).design, np.zeros(1), np.ones(1), labels, np.array([0]), 0.1, 0, 0.5, 1, 7, 1)
    moved = []
    for place, (w, b) in enumerate(layers):
        parts = np.empty_like(w), np.empty_like(b)
        network.get(place, *parts)
        moved.append((parts[0] != w, parts[1] != b))
    first, second = moved[0][1], moved[1][1]
    for kept in (first, second):
        assert abs(kept.sum() - 500) <= 6 * np.sqrt(250)
    assert np.array_equal(moved[0][0][0], first)
    assert np.array_equal(moved[1][0], np.outer(first, second))
    assert np.array_equal(moved[2][0][:, 0], second)
    assert 300 < (first != second).sum() < 700


# --- fits ----------------------------------------------------------------------------------------------------------


def rings(rows: int, seed: int = 0) -> tuple[Array, Array]:
    """A class within another: no line tells them apart."""
    x = np.random.default_rng(seed).normal(size=(rows, 2))
    return x, np.where((x**2).sum(axis=1) > 1.4, "out", "in")


def test_it_learns_what_no_line_tells() -> None:
    x, y = rings(2000)
    new, truth = rings(1000, 1)
    assert luce.SoftmaxRegression().fit(x, y).score(new, truth) < 0.7
    model = NetworkClassifier((32,)).fit(x, y)
    assert model.score(new, truth) > 0.97
    assert "not convex, so no proof" in model.note_
    assert "200 rows held out" in model.note_


def test_the_order_of_the_rows_means_nothing() -> None:
    """E07: hashes of the rows decide, so even the bits are the same."""
    x, y = rings(700)
    order = np.random.default_rng(3).permutation(700)
    one, other = NetworkClassifier((9,), epochs=5).fit(x, y), NetworkClassifier((9,), epochs=5).fit(x[order], y[order])
    assert same_bits(one.predict_proba(x), other.predict_proba(x))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_row_of_weight_two_is_the_row_given_twice(sparse: bool) -> None:
    x, y = rings(300)
    weight = np.random.default_rng(0).integers(0, 4, 300)
    twice = np.repeat(np.arange(300), weight)
    rows = [scipy.sparse.csr_array(a) if sparse else a for a in (x, x[twice])]
    one = NetworkClassifier((9,), epochs=5).fit(rows[0], y, sample_weight=weight)
    other = NetworkClassifier((9,), epochs=5).fit(rows[1], y[twice])
    assert same_bits(one.predict_proba(x), other.predict_proba(x))


def test_e12_the_scale_of_a_column_means_nothing() -> None:
    """From 1e-12 to 1e12, and far from 0: what comes in is the same to the rounding of the means, where the same rows
    teach: under 200 none is held out. Of more rows others are held out, as their hashes are others; the fit is as
    good."""
    x, y = rings(1500)
    scale, away = np.array([1e-12, 1e12]), np.array([3e-9, 5e12])
    plain = NetworkClassifier((4,), epochs=1).fit(x[:150], y[:150])
    model = NetworkClassifier((4,), epochs=1).fit(x[:150] * scale + away, y[:150])
    for other, wanted in ((model.shift_, plain.shift_ * scale + away), (1 / model.scale_, scale / plain.scale_)):
        assert np.abs(other / wanted - 1).max() <= 1e-9
    model = NetworkClassifier((32,)).fit(x * scale + away, y)
    new, truth = rings(1000, 1)
    assert model.score(new * scale + away, truth) > 0.96


def test_the_classes_of_class_weight_weigh_so_much() -> None:
    x, y = rings(400)
    by_class = NetworkClassifier((9,), class_weight={"in": 1, "out": 3}, epochs=5).fit(x, y)
    by_row = NetworkClassifier((9,), epochs=5).fit(x, y, sample_weight=np.where(y == "out", 3.0, 1.0))
    assert same_bits(by_class.predict_proba(x), by_row.predict_proba(x))
    assert not same_bits(by_class.predict_proba(x), NetworkClassifier((9,), epochs=5).fit(x, y).predict_proba(x))


@pytest.mark.parametrize("rate", [1.0, 9.0])
def test_a_fit_that_blows_up_is_taken_back(rate: float) -> None:
    """No number that is not finite, and no worse than knowing the shares of the classes alone."""
    x, y = rings(600)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LuceWarning)
        model = NetworkClassifier((64, 64), learning_rate=rate, epochs=30).fit(x, y)
    assert all(np.isfinite(part).all() for layer in model.layers_ for part in layer)
    assert any(epoch.taken_back for epoch in model.history_)
    shares = np.array([np.mean(y == name) for name in ("in", "out")])
    p = model.predict_proba(x)
    assert -np.log(p[np.arange(600), (y == "out").astype(int)]).mean() <= -np.sum(shares * np.log(shares)) + 0.01


def test_what_is_kept_is_the_best_epoch() -> None:
    x, y = rings(600)
    model = NetworkClassifier((16,), learning_rate=0.05, epochs=80).fit(x, y)
    best = min(epoch.held_out for epoch in model.history_)
    assert f"60 rows held out {best:.4g}" in model.note_
    assert min(epoch.rate for epoch in model.history_) < 0.05


def flat(layers: Layers) -> Array:
    return np.concatenate([part.ravel() for layer in layers for part in layer])


def test_the_rate_falls_and_the_best_point_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses of the held-out rows as they are told: a better one is kept, after three that are no better or one that
    has blown up the fit goes on from the best with 0.3 of the rate; less than 0.1 % is no better, but it is kept. What
    is judged and kept is the mean of the weights since the last time, of which a tenth at least is new. 1e-6: float32
    numbers below 4."""
    told = [1.0, 0.9, 0.95, np.nan, 0.8, 1.7, 0.85, 0.8, 0.82, 0.7995]
    losses, rates = iter(told), []
    begun: list[Array] = []
    ended: list[Array] = []
    judged: list[Array] = []
    real, real_logits = luce.training.Training._epoch, luce.training.Training._logits

    def epoch(training: Any, number: int, rate: float) -> float:
        begun.append(flat(training._layers()))
        rates.append(rate)
        lost = real(training, number, rate)
        ended.append(flat(training._layers()))
        return float(lost)

    def logits(training: Any, layers: Layers) -> Array:
        judged.append(flat(layers))
        return real_logits(training, layers)

    monkeypatch.setattr(luce.training, "PATIENCE", 3)
    monkeypatch.setattr(luce.training.Training, "_epoch", epoch)
    monkeypatch.setattr(luce.training.Training, "_logits", logits)
    monkeypatch.setattr(luce.training.Training, "loss", lambda training, z: next(losses, 0.7))
    x, y = rings(600)
    model = NetworkClassifier((4,), learning_rate=0.1, epochs=9).fit(x, y)
    falls = [0, 0, 0, 1, 1, 2, 2, 2, 3]
    assert rates == pytest.approx([0.1 * 0.3**n for n in falls])
    assert [epoch.rate for epoch in model.history_] == rates
    backs = [2, 4, 7]
    assert [number for number, epoch in enumerate(model.history_) if epoch.taken_back] == backs
    judged.pop(0)  # before the first epoch
    mean, count = begun[0], 0
    for number, best in enumerate([None, 0, 1, 0, 3, 3, 5, 6, 3]):
        back = number - 1 in backs
        assert best is None or same_bits(begun[number], (judged if back else ended)[best]), f"{number} began elsewhere"
        mean, count = (begun[number], 1) if back else (mean, count + 1)
        mean = mean + max(1 / count, 0.1) * (ended[number] - mean)
        assert np.abs(judged[number] - mean).max() <= 1e-6
    assert same_bits(flat(model.layers_), judged[-1])


def test_a_tenth_of_the_mean_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten epochs; of those before, each is one share. 1e-6: float32 numbers below 4."""
    ended: list[Array] = []
    judged: list[Array] = []
    real = luce.training.Training._average

    def average(training: Any) -> None:
        ended.append(flat(training._layers()))
        real(training)
        judged.append(flat(training.mean))

    monkeypatch.setattr(luce.training.Training, "_average", average)
    monkeypatch.setattr(luce.training, "PATIENCE", 99)
    NetworkClassifier((4,), epochs=14).fit(*rings(300))
    mean = np.mean(ended[:10], axis=0, dtype=np.float64)
    assert np.abs(judged[9] - mean).max() <= 1e-6
    for number in range(10, 14):
        mean = 0.9 * mean + 0.1 * ended[number]
        assert np.abs(judged[number] - mean).max() <= 1e-6


class Spied:
    """A network of the core that tells how it was used."""

    def __init__(self, *shape: Any) -> None:
        self.inner, self.sets, self.epochs = REAL(*shape), [], []
        SPIED.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def set(self, place: int, w: Array, b: Array, moment: int = 0) -> None:
        self.sets.append(w.copy())
        self.inner.set(place, w, b, moment)

    def epoch(self, *given: Any) -> float:
        self.epochs.append(given)
        return float(self.inner.epoch(*given))


REAL, SPIED = _core.Network, list[Spied]()


def trained() -> list[Spied]:
    return [network for network in SPIED if network.epochs]


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> None:
    SPIED.clear()
    monkeypatch.setattr(_core, "Network", Spied)


@pytest.mark.usefixtures("spied")
def test_the_settings_reach_the_core() -> None:
    """order, rate, decay, dropout, batch, seed, threads; by default 0.2 is dropped of pixels alone, and a batch is a
    32nd of the rows, from 16 to 128, but so that an epoch has at least 30 steps."""
    x, y = rings(1000)
    NetworkClassifier((4,), epochs=1).fit(x, y)
    NetworkClassifier((4,), epochs=1).fit((20 * x + 128).astype(np.uint8), y)
    NetworkClassifier((4,), "gelu", 0.3, 0.07, learning_rate=0.5, batch_size=90, epochs=1, threads=1).fit(x, y)
    NetworkClassifier((4,), epochs=1).fit(*rings(190))
    plain, pixels, other, few = (network.epochs for network in trained())
    assert [call[5:9] for call in plain] == [(2e-3, 0.01, 0.0, 28)]
    assert pixels[0][7] == 0.2
    assert [call[5:9] + call[10:] for call in other] == [(0.5, 0.07, 0.3, 90, 1)] * 3
    assert [call[5:9] for call in few] == [(2e-3, 0.01, 0.0, 16)] * 2


@pytest.mark.usefixtures("spied")
def test_the_seed_settles_all_that_is_drawn() -> None:
    """The first weights, the order of the rows, those held out, the order in each epoch, and what is dropped; the
    orders are of the same rows and each is another. No first weight is 6 spreads, the root of 2 / (2 + 4), from 0."""
    x, y = rings(700)
    features, codes = Features(700, dense=x), np.unique(y, return_inverse=True)[1].astype(np.int32)
    drawn = []
    for seed in (1, 2, (1 << 63) - 1):
        model = NetworkClassifier((4,), epochs=2, seed=seed).fit(x, y)
        network = trained()[-1]
        rows = luce.network._merged(features, codes, None, luce.network.Settings.of(model))[0]
        orders = [call[4] for call in network.epochs]
        assert all(np.array_equal(np.sort(order), np.sort(orders[0])) for order in orders)
        place = np.empty(700, dtype=np.int64)
        place[rows] = np.arange(700)
        train = np.sort(place[orders[0]])
        drawn += [network.sets[0], rows, train, *(np.searchsorted(train, place[order]) for order in orders)]
        assert len({call[9] for call in network.epochs}) == len(orders)
        drawn += [np.array([call[9] for call in network.epochs])]
        assert same_bits(
            model.predict_proba(x), NetworkClassifier((4,), epochs=2, seed=seed).fit(x, y).predict_proba(x)
        )
    assert len({part.tobytes() for part in drawn}) == len(drawn)
    assert not same_bits(*(luce.network._parts(codes, seed)[1] for seed in (1, 2)))
    assert 0 < np.abs(drawn[0]).max() < 6 * np.sqrt(2 / 6)
    assert 0 < np.abs(trained()[-1].sets[1]).max() < 6 * np.sqrt(2 / 5)


def test_the_rows_held_out_judge_and_calibrate_by_their_weights() -> None:
    x, y = rings(800)
    weight = np.random.default_rng(0).choice([0.01, 1.0, 30.0], 800)
    noisy = np.where(np.random.default_rng(1).random(800) < 0.2, "in", y)
    model = NetworkClassifier((64,), learning_rate=0.02, epochs=8).fit(x, noisy, sample_weight=weight)
    settings = luce.network.Settings.of(model)
    features, codes = Features(800, dense=x), np.unique(noisy, return_inverse=True)[1].astype(np.int32)
    rows, weights = luce.network._merged(features, codes, weight, settings)
    held = rows[luce.network._parts(codes[rows], 0)[1]]
    seen = features.take(held)
    z = luce.network.network_logits(seen, model.layers_, model.shift_, model.scale_, 2, False, 1)
    losses = np.logaddexp(0, np.where(codes[held] == 1, -z[:, 0], z[:, 0]))
    best = min(epoch.held_out for epoch in model.history_)
    assert best == pytest.approx(np.average(losses, weights=weight[held]), rel=1e-9)
    assert model.history_[-1].held_out > best
    assert not model.history_[-1].taken_back  # so that the note is of the best point, not of the last
    assert f"{len(held)} rows held out {best:.4g}" in model.note_
    own = luce.network.choose(z, codes[held], 2, weights[held], seen.hashes(0, 1), 1)
    assert model.calibration_.rows == own.rows == 80
    assert model.calibration_.before == pytest.approx(best, rel=1e-9)
    assert model.calibration_.kind == own.kind
    assert np.abs(model.calibration_.matrix - own.matrix).max() <= 1e-9
    assert np.abs(model.calibration_.bias - own.bias).max() <= 1e-9


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_what_is_predicted_is_what_was_trained(name: str) -> None:
    """Of 150 rows none is held out to calibrate, so the logits are those of the layers. 1e-5: float32."""
    x, y = rings(150)
    model = NetworkClassifier((9, 5), name, epochs=5).fit(x, y)
    wanted = plain_logits(model.layers_, (x - model.shift_) * model.scale_, name == "gelu")[:, 0]
    assert np.abs(model.decision_function(x) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_l01_an_interrupt_ends_at_the_best_point_so_far() -> None:
    x, y = rings(600)

    def stop(epoch: int, loss: float) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    with pytest.warns(LuceWarning, match="stopped early \\(interrupted\\)"):
        model = NetworkClassifier((16,), progress=stop).fit(x, y)
    assert model.n_iter_ == 4
    assert same_bits(flat(model.layers_), flat(NetworkClassifier((16,), epochs=4).fit(x, y).layers_))
    assert model.calibration_.kind in ("none", "temperature")  # as someone waits
    assert "gradient" not in model.note_
    with pytest.warns(LuceWarning, match="time limit"):
        assert NetworkClassifier((16,), time_limit=1e-6).fit(x, y).n_iter_ == 1


def test_progress_tells_each_epoch() -> None:
    x, y = rings(300)
    told: list[tuple[int, float]] = []
    model = NetworkClassifier((5,), epochs=6, progress=lambda epoch, loss: told.append((epoch, loss))).fit(x, y)
    assert told == [(1 + i, epoch.held_out) for i, epoch in enumerate(model.history_)]


# --- several members -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("hidden", [(), (7,), (9, 5), (4, 3, 6)])
def test_networks_side_by_side_have_the_mean_of_their_logits(hidden: tuple[int, ...], classes: int, gelu: bool) -> None:
    """1e-5 of the largest: float32."""
    x = np.random.default_rng(1).normal(size=(30, 6))
    each = [
        [(w * factor, b + factor) for w, b in drawn_layers(6, hidden, classes)] for factor in np.float32([1, -0.5, 2])
    ]
    layers = luce.network._side_by_side(each)
    assert [w.shape for w, _ in layers[:-1]] == [
        (6 if n == 0 else 3 * hidden[n - 1], 3 * u) for n, u in enumerate(hidden)
    ]
    assert {part.dtype for layer in layers for part in layer} == {np.dtype(np.float32)}
    wanted = np.mean([plain_logits(own, x, gelu) for own in each], axis=0)
    found = luce.network.network_logits(Features(30, dense=x), layers, np.zeros(6), np.ones(6), classes, gelu, 2)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert luce.network._side_by_side(each[:1]) is each[0]


def test_members_lose_less_together_than_one_by_one() -> None:
    """Cross-entropy is convex in the logits: their mean loses at most the mean of the losses. The first member is the
    network that is trained alone; the others begin elsewhere and are as good; history_ has all."""
    x, y = rings(600)
    noisy = np.where(np.random.default_rng(1).random(600) < 0.1, "in", y)
    alone = NetworkClassifier((12,), epochs=30).fit(x, noisy)
    model = NetworkClassifier((12,), epochs=30, members=3).fit(x, noisy)
    assert same_bits(model.layers_[0][0][:, :12], alone.layers_[0][0])
    assert len({model.layers_[0][0][:, first : first + 12].tobytes() for first in (0, 12, 24)}) == 3
    assert [epoch.member for epoch in model.history_] == [0] * 30 + [1] * 30 + [2] * 30
    assert model.history_[:30] == alone.history_
    each = [min(e.held_out for e in model.history_ if e.member == number) for number in range(3)]
    together = model.calibration_.before
    assert together < np.mean(each)
    said = (
        f"{np.mean(each):.4g} by one of 3 networks (they differ by {np.std(each, ddof=1):.2g}), {together:.4g} by all"
    )
    assert said in model.note_
    assert "networks" not in alone.note_


def test_a_member_that_was_not_finished_does_not_count() -> None:
    """But the first, which is all there is; the loss that progress tells is of the network in training."""
    x, y = rings(300)

    def stop(epoch: int, loss: float) -> None:
        if epoch == 15:
            raise KeyboardInterrupt

    with pytest.warns(LuceWarning, match="interrupted"):
        model = NetworkClassifier((5,), epochs=10, members=3, progress=stop).fit(x, y)
    assert model.n_iter_ == 15
    assert same_bits(flat(model.layers_), flat(NetworkClassifier((5,), epochs=10).fit(x, y).layers_))


def test_a_row_far_out_has_probabilities() -> None:
    x, y = rings(400)
    model = NetworkClassifier((16, 16), epochs=10).fit(x, y)
    p = model.predict_proba(np.array([[1e99, -1e99], [1e30, 0.0]]))
    assert np.isfinite(p).all()
    assert np.abs(p.sum(axis=1) - 1).max() <= 1e-12


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": ()},
        {"hidden": 5},
        {"hidden": np.array([4, 3])},
        {"hidden": (1,), "activation": "gelu"},
        {"hidden": (4,) * 12},
        {"seed": (1 << 63) - 1},
        {"batch_size": (1 << 63) - 1},
        {"batch_size": 1},
        {"batch_size": np.int64(399)},
        {"weight_decay": 0},
        {"weight_decay": 0.999},
        {"dropout": 0.999},
        {"learning_rate": 1e-300},
    ],
    ids=str,
)
def test_settings_at_their_ends_are_fitted(settings: dict[str, Any]) -> None:
    x, y = rings(400)
    model = NetworkClassifier(**{"hidden": (5,), "epochs": 2, **settings}).fit(x, y)
    p = model.predict_proba(x)
    assert np.isfinite(p).all()
    assert 1 <= model.n_iter_ <= 2


def test_a_batch_of_more_rows_than_there_are_is_all_of_them() -> None:
    """And an epoch makes as many steps as with a batch of just so many: 360 of 400 rows teach."""
    x, y = rings(400)
    one, other = (NetworkClassifier((5,), epochs=3, batch_size=size).fit(x, y) for size in (360, 10**15))
    assert same_bits(one.predict_proba(x), other.predict_proba(x))


@pytest.mark.parametrize("rows", [2, 3, 5, 25, 199, 201])
@pytest.mark.parametrize("classes", [2, 3])
def test_few_rows_are_fitted(rows: int, classes: int) -> None:
    """Distinct rows that a network tells apart, and so few that it knows them by heart."""
    if rows < classes:
        pytest.skip("fewer rows than classes")
    rng = np.random.default_rng(rows)
    codes = np.arange(rows) % classes
    x = rng.normal(size=(rows, 4)) + 5 * codes[:, np.newaxis]
    model = NetworkClassifier((16,), epochs=20).fit(x, codes)
    assert np.isfinite(model.predict_proba(x)).all()
    assert model.score(x, codes) > 0.9
    assert ("none was held out" in model.note_) == (rows < 200)


def test_300_classes_are_told_apart() -> None:
    """Each a place in the plane; four rows a class near it, so that 1,200 rows, of which 120 are held out."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(300), 4)
    places = np.stack(np.unravel_index(codes, (15, 20)), axis=1)
    x = places + rng.uniform(-0.1, 0.1, size=(1200, 2))
    model = NetworkClassifier((128,), learning_rate=0.02, epochs=100).fit(x, codes)
    p = model.predict_proba(x)
    assert p.shape == (1200, 300)
    assert np.abs(p.sum(axis=1) - 1).max() <= 1e-12
    assert model.score(x, codes) > 0.8


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint8])
def test_constant_columns_leave_the_shares_of_the_classes(kind: type) -> None:
    """And are as many rows as there are classes, once equal ones are put together. 0.016: a fit ends where 0.1 % of the
    loss, 6e-4 nats, is no better, and so much a share lies off that loses them, the root of 2 0.3 0.7 6e-4. Without
    dropout, which minimises another loss."""
    x, y = np.full((500, 3), 7, dtype=kind), np.repeat(["a", "b"], [150, 350])
    p = NetworkClassifier((8,), dropout=0).fit(x, y).predict_proba(x[:1])
    assert np.abs(p - [0.3, 0.7]).max() <= 0.016
    wide = np.column_stack([x, rings(500)[0].astype(kind)])
    assert np.isfinite(NetworkClassifier((8,), epochs=3).fit(wide, y).predict_proba(wide)).all()


def test_a_class_of_weight_0_is_one_that_is_not_there() -> None:
    """Its rows teach nothing, are not held out, and shift no column; it keeps a probability."""
    x, y = rings(400)
    rows, labels = np.concatenate([x, x + 50.0]), np.concatenate([y, np.full(400, "third")])
    weight = np.repeat([1.0, 0.0], 400)
    model = NetworkClassifier((8,), epochs=60).fit(rows, labels, sample_weight=weight)
    assert model.score(x, y) > 0.9
    assert model.predict_proba(x)[:, 2].max() < 0.1
    assert model.classes_.tolist() == ["in", "out", "third"]
    assert np.abs(model.shift_).max() < 1
    with pytest.raises(InputError, match="fewer than two classes"):
        NetworkClassifier((8,)).fit(x, y, sample_weight=np.where(y == "in", 1.0, 0.0))


@pytest.mark.parametrize("factor", [2.0**-1000, 2.0**-30, 2.0**1020])
def test_a_factor_of_all_weights_means_nothing(factor: float) -> None:
    x, y = rings(300)
    weight = np.random.default_rng(0).uniform(0.5, 2, 300)
    one = NetworkClassifier((5,), epochs=3).fit(x, y, sample_weight=weight)
    other = NetworkClassifier((5,), epochs=3).fit(x, y, sample_weight=factor * weight)
    assert same_bits(one.predict_proba(x), other.predict_proba(x))


@pytest.mark.parametrize("which", ["one row", "one class", "half of each class", "all"])
@pytest.mark.parametrize(("small", "large"), [(1e-300, 1e300), (1e-300, 1.0), (1.0, 1e300), (1e-12, 1e12)])
def test_weights_far_apart_leave_numbers(which: str, small: float, large: float) -> None:
    x, y = rings(400)
    chosen = {
        "one row": np.arange(400) == 7,
        "one class": y == "in",
        "half of each class": np.arange(400) % 2 == 0,
        "all": np.ones(400, dtype=bool),
    }[which]
    weight = np.where(chosen, large, small)
    model = NetworkClassifier((8,), epochs=12).fit(x, y, sample_weight=weight)
    p = model.predict_proba(x)
    assert np.isfinite(p).all()
    right = p[np.arange(400), (y == "out").astype(int)]
    assert np.average(-np.log(right), weights=weight / large) < 0.7


def test_what_is_held_out_shifts_and_scales_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows far from the others are held out, all of them: the columns are as if they were not there, whatever their
    storage."""
    x, y = rings(300)
    far = np.where(np.arange(300) < 30, 1e6, 0.0)[:, np.newaxis]

    def parted(codes: Array, seed: int) -> tuple[Array, Array]:
        rows = merged[-1]
        return np.flatnonzero(rows >= 30), np.flatnonzero(rows < 30)

    merged: list[Array] = []
    real = luce.network._merged

    def seen(*given: Any) -> Any:
        merged.append(real(*given)[0])
        return real(*given)

    monkeypatch.setattr(luce.network, "_merged", seen)
    monkeypatch.setattr(luce.network, "_parts", parted)
    model = NetworkClassifier((4,), epochs=1).fit(x + far, y)
    assert np.abs(model.shift_ - x[30:].mean(axis=0)).max() <= 1e-12
    assert np.abs(model.scale_ * x[30:].std(axis=0) - 1).max() <= 1e-12
    sparse = NetworkClassifier((4,), epochs=1).fit(scipy.sparse.csr_array(x + far), y)
    assert np.abs(sparse.scale_ * np.sqrt((x[30:] ** 2).mean(axis=0)) - 1).max() <= 1e-6


def test_a_failed_fit_leaves_the_earlier_one() -> None:
    x, y = rings(300)
    model = NetworkClassifier((5,), epochs=3).fit(x, y)
    before = model.predict_proba(x)
    with pytest.raises(InputError):
        model.fit(np.full((3, 2), np.nan), ["a", "b", "a"])
    assert same_bits(model.predict_proba(x), before)
    assert same_bits(pickle.loads(pickle.dumps(model)).predict_proba(x), before)
    with pytest.raises(NotFittedError):
        NetworkClassifier().predict(x)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("hidden", "256", "units of each hidden layer"),
        ("hidden", (0,), "units of each hidden layer"),
        ("hidden", (2.5,), "units of each hidden layer"),
        ("hidden", None, "units of each hidden layer"),
        ("hidden", 2.5, "units of each hidden layer"),
        ("hidden", True, "units of each hidden layer"),
        ("hidden", {4: 2}, "units of each hidden layer"),
        ("activation", "tanh", "'relu' or 'gelu'"),
        ("dropout", 1.0, "from 0 to below 1"),
        ("dropout", "half", "from 0 to below 1"),
        ("weight_decay", -0.1, "from 0 to below 1"),
        ("learning_rate", 0, "from 0 to below 10"),
        ("batch_size", 0, "whole number"),
        ("epochs", 1.5, "whole number"),
        ("members", 0, "whole number"),
        ("members", True, "whole number"),
        ("seed", -1, "whole number"),
        ("time_limit", 0, "seconds above 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: str, value: Any, says: str) -> None:
    x, y = rings(50)
    with pytest.raises(InputError, match=f"{setting} is .*{says}"):
        NetworkClassifier(**{setting: value}).fit(x, y)
