"""NetworkClassifier: what is learned, kept, held out and drawn; several networks side by side."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from claims import same_bits
from networks import Array, Layers, drawn_layers, flat, plain_logits, rings

import luce.network
import luce.training
from luce import _core
from luce.errors import LuceWarning
from luce.features import Features
from luce.network import NetworkClassifier


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
    teach: under 40 none is held out. Of more rows others are held out, as their hashes are others; the fit is as
    good."""
    x, y = rings(1500)
    scale, away = np.array([1e-12, 1e12]), np.array([3e-9, 5e12])
    plain = NetworkClassifier((4,), epochs=1).fit(x[:39], y[:39])
    model = NetworkClassifier((4,), epochs=1).fit(x[:39] * scale + away, y[:39])
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
    assert [call[5:9] for call in few] == [(2e-3, 0.01, 0.0, 16)] * 3


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
    assert not same_bits(
        *(luce.network._parts(codes, np.arange(len(codes), dtype=np.uint64), seed)[1] for seed in (1, 2))
    )
    assert 0 < np.abs(drawn[0]).max() < 6 * np.sqrt(2 / 6)
    assert 0 < np.abs(trained()[-1].sets[1]).max() < 6 * np.sqrt(2 / 5)


def test_the_rows_held_out_judge_and_calibrate_by_their_weights() -> None:
    x, y = rings(800)
    weight = np.random.default_rng(0).choice([0.01, 1.0, 30.0], 800)
    noisy = np.where(np.random.default_rng(1).random(800) < 0.2, "in", y)
    model = NetworkClassifier((64,), learning_rate=0.02, epochs=8).fit(x, noisy, sample_weight=weight)
    settings = luce.network.Settings.of(model)
    features, codes = Features(800, dense=x), np.unique(noisy, return_inverse=True)[1].astype(np.int32)
    rows, keys, weights = luce.network._merged(features, codes, weight, settings)
    held = rows[luce.network._parts(codes[rows], keys, 0)[1]]
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
