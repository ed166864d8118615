"""NetworkClassifier: hidden layers and a softmax output, trained by backpropagation (core/network.h).

Equal rows of one class are put together, and rows are taken in an order that their numbers and the seed decide: the
order of the rows means nothing, and a row of weight 2 is the row given twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce import _core
from luce.calibration import Calibration, choose, no_calibration
from luce.errors import InputError, warn
from luce.estimator import Estimator
from luce.features import Array, Features
from luce.functional import available_threads
from luce.inputs import classes_of, features_of, names_of, row_weights
from luce.objective import Objective
from luce.path import row_losses
from luce.solver import Progress
from luce.splits import holdout

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]  # weights (inputs, outputs), bias (outputs,)

BATCHES = 32  # of the rows, if that makes them no smaller and no larger than:
LEAST_BATCH, MOST_BATCH = 16, 256
LEAST_STEPS = 30  # of an epoch: few rows are run over more than once
RATE = 2e-3  # of AdamW, at first
FALL = 0.3  # what the rate is multiplied with when a rate teaches no more
LEAST_RATE = 0.02  # of the first
PATIENCE = 3  # epochs without a better loss after which a rate teaches no more
BETTER = 1e-3  # of the loss: less is no better
HELD_OUT = 0.1  # of the rows
FEW = 200  # rows, from which on some are held out
MOST_EPOCHS = 200
BLOWN_UP = 2.0  # times what is lost when nothing is known: a fit that has gone wrong
MOST_RESTARTS = 8
DROPPED_PIXELS = 0.2  # of the hidden units, where the columns are pixels
SEEDS = (1 << 64) - 1
BLOCK = 4096  # rows that are summed at a time


class NetworkClassifier(Estimator):
    """A network of dense layers: z = W_L a_{L-1} + b_L, a_l = activation(W_l a_{l-1} + b_l), probabilities softmax(z).

    Minimises the mean cross-entropy (weights s_i scaled to mean 1) by AdamW on batches (Loshchilov and Hutter, ICLR
    2019): a tenth of the rows is held out; when their loss falls no more, the fit goes back to the best point and on
    with a smaller rate. A fit that blows up is taken back and begins again with a smaller rate. The held-out rows also
    calibrate (calibration.py). It is not convex: there is no proof of how far the best fit is, see `note_`.

    hidden: units of each hidden layer. activation: "relu" or "gelu" (by tanh).
    dropout: the share of hidden units that each row leaves out while it teaches, in [0, 1); None: 0.2 for pixels
    (uint8), else 0.
    weight_decay: what a weight loses in each step, times the rate.
    class_weight: as in SoftmaxRegression. threads: None means all processors; the numbers are the same for any.
    seed: of the first weights, the held-out rows and the order.
    learning_rate, batch_size: of AdamW; None: a 32nd of the rows, from 16 to 256.
    epochs: runs over the rows at most; few rows are run over several times in each.
    time_limit: seconds after which it ends at the best point so far; Ctrl-C ends it in the same way.
    progress: called after each epoch with its number and the loss of the held-out rows.

    Columns are brought to mean 0 and spread 1 first; uint8 ones, which are pixels, are divided by 255.
    After fit: layers_ (weights (inputs, outputs) and bias of each layer, float32), classes_, n_features_in_,
    feature_names_in_ (of a data frame), n_iter_ (epochs), history_ (what each epoch lost), calibration_, note_.
    """

    FITTED = "layers_"

    def __init__(
        self,
        hidden: Sequence[int] = (256,),
        activation: str = "relu",
        dropout: float | None = None,
        weight_decay: float = 0.01,
        class_weight: Mapping[Any, float] | str | None = None,
        threads: int | None = None,
        seed: int = 0,
        *,
        learning_rate: float = RATE,
        batch_size: int | None = None,
        epochs: int = MOST_EPOCHS,
        time_limit: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.class_weight = class_weight
        self.threads = threads
        self.seed = seed
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.time_limit = time_limit
        self.progress = progress

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fits to numbers X (n, d) and labels y (n,) of ints, bools or strings.

        X, sample_weight and errors: as in SoftmaxRegression.fit; a failed fit leaves an earlier one as it was.
        """
        settings = Settings.of(self)
        names, features = names_of(X), features_of(X)
        classes, codes = classes_of(y, features.rows)
        weights = row_weights(sample_weight, self.class_weight, classes, codes)
        if weights is not None and len(np.unique(codes[weights > 0])) < 2:
            raise InputError("fewer than two classes have rows of weight above zero: nothing is left to tell apart")
        fit = fit_network(features, codes, len(classes), settings, weights, self.progress)
        if fit.stopped:
            warn(f"the training stopped early ({fit.stopped}): {fit.note}")
        self.layers_, self.shift_, self.scale_ = fit.layers, fit.shift, fit.scale
        self.calibration_, self.history_, self.note_ = fit.calibration, fit.history, fit.note
        self.n_iter_ = len(fit.history)
        self.classes_, self.n_features_in_ = classes, features.columns
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Calibrated logits: (n, K), or for two classes (n,), the logit of classes_[1] over classes_[0]."""
        features, threads = self._features(X), available_threads(self.threads)
        gelu = self.activation == "gelu"
        z = network_logits(features, self.layers_, self.shift_, self.scale_, len(self.classes_), gelu, threads)
        z = self.calibration_.apply(z, threads)
        return z[:, 0] if z.shape[1] == 1 else z


@dataclass(frozen=True)
class Settings:
    """How a network is built and trained; checked."""

    hidden: tuple[int, ...] = (256,)
    gelu: bool = False
    dropout: float | None = None
    decay: float = 0.01
    rate: float = RATE
    batch: int | None = None
    epochs: int = MOST_EPOCHS
    seed: int = 0
    threads: int = 1
    time_limit: float | None = None

    @staticmethod
    def of(model: NetworkClassifier) -> Settings:
        hidden = model.hidden
        if isinstance(hidden, (int, np.integer)) and not isinstance(hidden, bool):
            hidden = (int(hidden),)
        several = isinstance(hidden, (Sequence, np.ndarray)) and not isinstance(hidden, (str, bytes))
        if not several or not all(_is_whole(units, 1, 1 << 16) for units in hidden):
            raise InputError(f"hidden is {model.hidden!r}: give the units of each hidden layer, such as (256,)")
        if model.activation not in ("relu", "gelu"):
            raise InputError(f"activation is {model.activation!r}: give 'relu' or 'gelu'")
        for name, most in (("dropout", 1.0), ("weight_decay", 1.0), ("learning_rate", 10.0)):
            value = getattr(model, name)
            if name == "dropout" and value is None:
                continue
            real = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if not real or not 0 <= value < most or (name == "learning_rate" and value == 0):
                raise InputError(f"{name} is {value!r}: give a number from 0 to below {most:g}")
        for name in ("batch_size", "epochs", "seed"):
            if name == "batch_size" and model.batch_size is None:
                continue
            if not _is_whole(getattr(model, name), 0 if name == "seed" else 1, (1 << 63) - 1):
                raise InputError(f"{name} is {getattr(model, name)!r}: give a whole number")
        limit = model.time_limit
        if limit is not None and not (isinstance(limit, (int, float, np.number)) and limit > 0):
            raise InputError(f"time_limit is {limit!r}: give seconds above 0, or None")
        return Settings(
            hidden=tuple(int(units) for units in hidden),
            gelu=model.activation == "gelu",
            dropout=None if model.dropout is None else float(model.dropout),
            decay=float(model.weight_decay),
            rate=float(model.learning_rate),
            batch=None if model.batch_size is None else int(model.batch_size),
            epochs=int(model.epochs),
            seed=int(model.seed),
            threads=available_threads(model.threads),
            time_limit=None if limit is None else float(limit),
        )


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(least <= value <= most)


@dataclass(frozen=True)
class Epoch:
    """What a run over the rows lost on them, as it went, and then on those held out (or the same, where none are), in
    nats; the rate; taken back: it ended worse than the best."""

    loss: float
    held_out: float
    rate: float
    taken_back: bool = False


@dataclass(frozen=True)
class NetworkFit:
    """What a fit leaves: the layers, what the columns become, the calibration, each epoch, what is to be said of it,
    and what ended it early, if anything."""

    layers: list[Layer]
    shift: Array
    scale: Array
    calibration: Calibration
    history: list[Epoch]
    note: str
    stopped: str = ""


def fit_network(
    features: Features, codes: NDArray[np.int32], classes: int, settings: Settings, weights: Array | None,
    progress: Progress | None = None,
) -> NetworkFit:  # fmt: skip
    """Trains a network; weights: of the rows, at least 0, or None for 1."""
    rows, weight = _merged(features, codes, weights, settings)
    train, held = _parts(codes[rows], settings.seed)
    shift, scale = _scaling(features, rows[train], weight[rows[train]])
    training = _Training(features, codes, classes, settings, weight, shift, scale, rows[train], rows[held])
    stopped = training.run(progress)
    calibration = no_calibration(1 if classes == 2 else classes)
    if len(held):
        z, keys = training.held_out_logits(), features.take(rows[held]).hashes(settings.seed, settings.threads)
        calibration = choose(z, codes[rows[held]], classes, weight[rows[held]], keys, settings.threads)
    note = training.note(len(train), len(held))
    return NetworkFit(training.best, shift, scale, calibration, training.history, note, stopped)


def network_logits(
    features: Features, layers: Sequence[Layer], shift: Array, scale: Array, classes: int, gelu: bool, threads: int
) -> Array:
    """(n, outputs) for layers of weights, one output for two classes."""
    hidden = [len(bias) for _, bias in layers[:-1]]
    network = _core.Network(hidden, features.dense_columns, features.sparse_columns, classes, gelu)
    for place, (w, b) in enumerate(layers):
        network.set(place, w, b)
    out = np.empty((features.rows, 1 if classes == 2 else classes))
    network.logits(features.design, shift, scale, out, threads)
    return out


def _merged(
    features: Features, codes: NDArray[np.int32], weights: Array | None, settings: Settings
) -> tuple[NDArray[np.int64], Array]:
    """One row of each that are equal and of one class, in the order of their hashes, and the weights of all rows: those
    taken have that of all their equals, in the mean 1."""
    weight = np.ones(features.rows)
    if weights is not None:  # by a power of 2, which rounds nothing: sums stay finite
        weight = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
    keys = features.hashes(settings.seed, settings.threads)
    order = np.lexsort((codes, keys))
    order = order[weight[order] > 0]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (keys[order][1:] != keys[order][:-1]) | (codes[order][1:] != codes[order][:-1])
    starts = np.flatnonzero(new)
    sums = np.add.reduceat(weight[order], starts)
    rows = order[starts]
    out = np.zeros(features.rows)
    out[rows] = sums / sums.mean()
    return rows, out


def _scaling(features: Features, rows: NDArray[np.int64], weight: Array) -> tuple[Array, Array]:
    """What brings each column to mean 0 and spread 1, (x - shift) scale; a constant one to 0; sparse ones, whose zeros
    stay, to a mean square of 1 where they are not 0."""
    shift, scale = np.zeros(features.columns), np.ones(features.columns)
    dense = features.dense
    if dense is not None and dense.dtype == np.uint8:
        scale[: features.dense_columns] = 1.0 / 255.0
    elif dense is not None:
        total, columns = weight.sum(), features.dense_columns
        for power in (1, 2):
            sums = np.zeros(columns)
            for first in range(0, len(rows), BLOCK):
                part = dense[rows[first : first + BLOCK]].astype(np.float64) - shift[:columns]
                sums += ((part if power == 1 else part**2) * weight[first : first + BLOCK, np.newaxis]).sum(axis=0)
            if power == 1:
                shift[:columns] = sums / total
        spread = np.sqrt(sums / total)
        some = spread > 1e-7 * np.abs(shift[:columns])
        scale[:columns] = np.where(some, 1.0 / np.where(some, spread, 1.0), 0.0)
    if features.values is not None:
        taken = features.take(rows)
        assert taken.values is not None and taken.starts is not None and taken.indices is not None
        each = np.repeat(weight, np.diff(taken.starts)) * (taken.values != 0)
        squares, counts = (
            np.bincount(taken.indices, weights=each * of, minlength=features.sparse_columns)
            for of in (taken.values.astype(np.float64) ** 2, 1.0)
        )
        root = np.sqrt(squares / np.where(counts > 0, counts, 1.0))
        scale[features.dense_columns :] = np.where(root > 0, 1.0 / np.where(root > 0, root, 1.0), 1.0)
    return shift, scale


def _parts(codes: NDArray[np.int32], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that teach and those held out, if there are enough."""
    if len(codes) < FEW or np.bincount(codes).max() < 2:
        return np.arange(len(codes)), np.empty(0, dtype=np.int64)
    return holdout(codes, HELD_OUT, seed)


@dataclass
class _Training:
    features: Features
    codes: NDArray[np.int32]
    classes: int
    settings: Settings
    weight: Array
    shift: Array
    scale: Array
    train: NDArray[np.int64]
    held: NDArray[np.int64]
    history: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        f, s = self.features, self.settings
        pixels = f.dense is not None and f.dense.dtype == np.uint8
        self.dropout = s.dropout if s.dropout is not None else DROPPED_PIXELS if pixels else 0.0
        self.network = _core.Network(list(s.hidden), f.dense_columns, f.sparse_columns, self.classes, s.gelu)
        self.labels = _core.Labels(self.codes, self.weight, self.classes)
        self.known = Objective(
            Features(len(self.codes), dense=np.zeros((len(self.codes), 1))), self.codes, self.classes, 1.0, self.weight
        )
        self.least = self.known.known_loss / self.known.total
        self.judged = self.held if len(self.held) else self.train
        self.seen = f.take(self.judged) if len(self.held) else None
        self._begin()

    def _begin(self, seed: int = 0) -> None:
        """Weights by He's rule (ICCV 2015, section 2.2), those of the output smaller, so that nothing is claimed."""
        rng = np.random.default_rng([self.settings.seed, seed])
        sizes = [self.features.columns, *self.settings.hidden, 1 if self.classes == 2 else self.classes]
        self.best: list[Layer] = []
        for place, (inputs, outputs) in enumerate(pairwise(sizes)):
            spread = (2.0 / inputs) ** 0.5 if place < len(sizes) - 2 else 0.1 / inputs**0.5
            weights = (spread * rng.standard_normal((inputs, outputs))).astype(np.float32)
            self.best.append((weights, np.zeros(outputs, dtype=np.float32)))
        self._restore()

    def _restore(self) -> None:
        for place, (weights, bias) in enumerate(self.best):
            self.network.set(place, weights, bias)

    def _keep(self) -> None:
        for place, (weights, bias) in enumerate(self.best):
            self.network.get(place, weights, bias)

    def held_out_logits(self) -> Array:
        """Of the rows held out, or of all that teach, by the network as it is."""
        seen = self.features.take(self.judged) if self.seen is None else self.seen
        out = np.empty((len(self.judged), 1 if self.classes == 2 else self.classes))
        self.network.logits(seen.design, self.shift, self.scale, out, self.settings.threads)
        return out

    def _loss(self) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            losses = row_losses(self.held_out_logits(), self.codes[self.judged])
        return float(np.average(losses, weights=self.weight[self.judged]))

    def _epoch(self, number: int, rate: float) -> float:
        """The mean loss that the rows had, each before its batch's step."""
        s, count = self.settings, len(self.train)
        batch = min(s.batch or min(max(count // BATCHES, LEAST_BATCH), MOST_BATCH), count)
        runs = max(1, LEAST_STEPS * batch // count)
        lost = 0.0
        for run in range(runs):
            order = self.train[np.random.default_rng([s.seed, 1 + number, run]).permutation(count)]
            lost += self.network.epoch(
                self.features.design, self.shift, self.scale, self.labels, order, rate, s.decay, self.dropout, batch,
                (s.seed + number * runs + run) & SEEDS, s.threads,
            )  # fmt: skip
        return lost / (runs * float(self.weight[self.train].sum()))

    def run(self, progress: Progress | None) -> str:
        """Epochs until a small rate teaches no more; what ended it before, or nothing. The network is then the best."""
        s, began = self.settings, time.monotonic()
        rate, stale, restarts, best = s.rate, 0, 0, self._loss()
        stopped = ""
        try:
            while len(self.history) < s.epochs and rate >= LEAST_RATE * s.rate:
                number = len(self.history)
                lost = self._epoch(number, rate)
                found = self._loss()
                wrong = not np.isfinite(found) or found > max(BLOWN_UP * self.least, 2 * best)
                better = not wrong and found < best * (1 - BETTER)
                stale = 0 if better else stale + 1
                back = wrong or stale >= PATIENCE
                self.history.append(Epoch(lost, found, rate, back))
                if better or (not wrong and found < best):
                    best = found
                    self._keep()
                if back:
                    self._restore()
                    rate, stale, restarts = rate * FALL, 0, restarts + wrong
                if progress is not None:
                    progress(len(self.history), found)
                if restarts > MOST_RESTARTS:
                    stopped = "it blew up again and again"
                    break
                if s.time_limit is not None and time.monotonic() - began > s.time_limit:
                    stopped = "time limit"
                    break
        except KeyboardInterrupt:
            stopped = "interrupted"
        self._restore()
        return stopped

    def note(self, taught: int, held: int) -> str:
        """What stands where a convex fit has its certificate."""
        out = np.empty(self.network.parameters)
        f, s = self.features, self.settings
        loss = self.network.gradient(f.design, self.shift, self.scale, self.labels, self.train, out, s.threads)
        total = float(self.weight[self.train].sum())
        said = f"not convex, so no proof: the gradient of the loss has length {np.linalg.norm(out) / total:.2g} at its "
        said += f"end, the {taught:,} rows that taught lose {loss / total:.4g} nats each"
        return said + (f", {held:,} rows held out {self._loss():.4g}" if held else ", none was held out")
