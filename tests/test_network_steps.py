"""The network of the core: its gradient against differences and a plain NumPy network, its steps, its dropout."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from claims import same_bits
from networks import Array, Layers, drawn_layers, plain_logits

from luce import _core
from luce.features import Features

SHAPES: list[tuple[tuple[int, ...], int, bool]] = [
    ((), 2, False), ((), 5, False), ((7,), 2, True), ((7,), 3, False), ((33, 20), 2, False), ((17, 18, 5), 20, True),
]  # fmt: skip
every_shape = pytest.mark.parametrize(("hidden", "classes", "gelu"), SHAPES)


# --- a plain network, in float64 -----------------------------------------------------------------------------------


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
