"""NetworkClassifier: hidden layers and a softmax output, trained by backpropagation (core/network.h).

Equal rows of one class are put together, and rows are taken in an order that their numbers and the seed decide: the
order of the rows means nothing, and a row of weight 2 is the row given twice.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce import _core
from luce.calibration import KINDS, Calibration, choose, no_calibration, shrunk
from luce.checkpoint import Checkpoint
from luce.errors import InputError, warn
from luce.estimator import Estimator
from luce.features import Array, Features
from luce.functional import available_threads
from luce.inputs import classes_of, features_of, names_of, row_weights
from luce.run import Solve, now, solve
from luce.solver import Progress
from luce.splits import dealt_as_copies, holdout, holdout_of_groups, keys_of_copies, kfold_of_groups
from luce.training import MOST_EPOCHS, RATE, TO_GO_ON, Ended, Epoch, Layer, Settings, Training, pixels

HELD_OUT = 0.1  # of the rows, or
ENOUGH = 40  # of them, but no more than
MOST_HELD = 0.3
FOLDS = 5  # of fewer rows: each is left out of a network that says how sure one may be of it
FEW = 50  # rows, from which on some are held out
BLOCK = 4096  # rows that are summed at a time


class NetworkClassifier(Estimator):
    """A network of dense layers: z = W_L a_{L-1} + b_L, a_l = activation(W_l a_{l-1} + b_l), probabilities softmax(z).

    Minimises the mean cross-entropy (weights s_i scaled to mean 1) by AdamW on batches (Loshchilov and Hutter, ICLR
    2019): a tenth of the rows (or 40, but no more than three tenths) is held out and judges the running mean of the
    weights over the epochs; when their loss falls no more, the fit goes back to the best point and on with a smaller
    rate. A fit that blows up is taken back and begins again with a smaller rate. The held-out rows also calibrate
    (calibration.py); of fewer than 50 rows none is, and networks that are taught without a fifth each tell by how much
    logits are too large. It is not convex: there is no proof of how far the best fit is, see `note_`.

    hidden: units of each hidden layer. activation: "relu" or "gelu" (by tanh).
    dropout: the share of hidden units that each row leaves out while it teaches, in [0, 1); None: 0.2 for pixels
    (uint8), else 0.
    weight_decay: what a weight loses in each step, times the rate.
    class_weight: as in SoftmaxRegression. threads: None means all processors; the numbers are the same for any.
    seed: of the first weights, the held-out rows and the order.
    learning_rate, batch_size: of AdamW; None: a 32nd of the rows, from 16 to 128.
    epochs: runs over the rows at most; few rows are run over several times in each.
    members: networks that are trained, each from other first weights; their logits are averaged, which is one network
    of their units side by side, and `note_` says how far apart they are.
    time_limit: seconds after which it ends at the best point so far; Ctrl-C ends it in the same way.
    checkpoint: a path to which the state of the training goes every ten seconds; a fit of the same rows and settings
    goes on from there, to the bit. A finished fit removes it.
    progress: called after each epoch with its number and the loss of the held-out rows.

    Columns are brought to mean 0 and spread 1 first; uint8 ones, which are pixels, are divided by 255.
    After fit: layers_ (weights (inputs, outputs) and bias of each layer, float32), classes_, n_features_in_,
    feature_names_in_ (of a data frame), n_iter_ (epochs of all members), history_ (what each epoch
    lost), calibration_, note_.
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
        members: int = 1,
        time_limit: float | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
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
        self.members = members
        self.time_limit = time_limit
        self.checkpoint = checkpoint
        self.progress = progress

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fits to numbers X (n, d) and labels y (n,) of ints, bools or strings.

        X, sample_weight and errors: as in SoftmaxRegression.fit; a failed fit leaves an earlier one as it was. Raises
        InputError for a checkpoint of other rows or settings, ModelFileError for one that is damaged or not written.
        """
        settings = Settings.of(self)
        names, features = names_of(X), features_of(X, threads=self.threads)
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
    began = time.monotonic()
    rows, keys, weight = _merged(features, codes, weights, settings)
    train, held = (rows[part] for part in _parts(codes[rows], keys, settings.seed))
    shift, scale = _scaling(features, train, weight[train])
    checkpoint: Checkpoint | Solve | None = None
    with solve() as at:
        if settings.checkpoint is not None:
            data = _data(features, rows, codes, classes, weight, settings.threads)
            checkpoint = Checkpoint(settings.checkpoint, settings.named(), data)
        elif now() is not None:
            checkpoint = at
        training = Training(features, codes, classes, settings, weight, shift, scale, train, held, checkpoint)
        stopped = training.run(began, progress)
        if stopped == "interrupted" and now() is not None:
            raise KeyboardInterrupt
    layers = _side_by_side([member.layers for member in training.ended])
    calibration, together = no_calibration(1 if classes == 2 else classes), float("nan")
    try:
        if len(held):
            z = np.mean([member.logits for member in training.ended], axis=0)
            together = training.loss(z)
            rest = features.take(held)
            hashes = rest.hashes(settings.seed, settings.threads)
            strata, keys = dealt_as_copies(codes[held], hashes, rest.different())
            kinds = KINDS[:2] if stopped == "interrupted" else KINDS  # someone waits
            calibration = choose(z, codes[held], classes, weight[held], keys, settings.threads, kinds, strata)
        elif not stopped:
            calibration = _by_folds(features, codes, classes, settings, weight, rows, keys)
    except KeyboardInterrupt:  # of a fit that is finished but for this
        if stopped:
            raise
        stopped = "interrupted"
    if checkpoint is not None and stopped not in TO_GO_ON:
        checkpoint.remove()
    note = _note(training.ended, together, len(train), len(held))
    return NetworkFit(layers, shift, scale, calibration, training.history, note, stopped)


def _by_folds(
    features: Features, codes: NDArray[np.int32], classes: int, settings: Settings, weight: Array,
    rows: NDArray[np.int64], keys: NDArray[np.uint64],
) -> Calibration:  # fmt: skip
    """The factor of the logits that rows held out in turn ask for, each of a network that the others taught: of few
    rows none can be spared."""
    outputs = 1 if classes == 2 else classes
    fold = kfold_of_groups(codes[rows], keys, FOLDS)
    z, scored = np.zeros((len(rows), outputs)), np.zeros(len(rows), dtype=np.bool_)
    own, none = replace(settings, checkpoint=None, members=1), np.empty(0, dtype=np.int64)
    for f in range(FOLDS):
        out, rest = rows[fold == f], rows[fold != f]
        known = np.unique(codes[rest])
        if len(known) < 2 or not len(out):
            continue
        shift, scale = _scaling(features, rest, weight[rest])
        training = Training(features, codes, classes, own, weight, shift, scale, rest, none, None)
        if training.run(time.monotonic(), None) == "interrupted":
            raise KeyboardInterrupt
        layers, threads = training.ended[0].layers, settings.threads
        z[fold == f] = network_logits(features.take(out), layers, shift, scale, classes, settings.gelu, threads)
        scored[fold == f] = np.isin(codes[out], known)
    if not scored.any():
        return no_calibration(outputs)
    taken = rows[scored]
    return shrunk(z[scored], codes[taken], classes, weight[taken], settings.threads)


def _side_by_side(members: Sequence[list[Layer]]) -> list[Layer]:
    """The network of the mean of their logits: the units of all, each on those of its own."""
    if len(members) == 1:
        return members[0]
    out: list[Layer] = []
    for place, parts in enumerate(zip(*members, strict=True)):
        first, last = place == 0, place == len(members[0]) - 1
        share = np.float32(len(members) if last else 1)
        rows = np.cumsum([0, *(0 if first else len(w) for w, _ in parts)])
        columns = np.cumsum([0, *(0 if last else len(b) for _, b in parts)])
        inputs, outputs = parts[0][0].shape
        weights = np.zeros((inputs if first else rows[-1], outputs if last else columns[-1]), dtype=np.float32)
        bias = np.zeros(weights.shape[1], dtype=np.float32)
        for (w, b), row, column in zip(parts, rows, columns, strict=False):
            weights[row : row + len(w), column : column + len(b)] += w / share
            bias[column : column + len(b)] += b / share
        out.append((weights, bias))
    return out


def _note(members: Sequence[Ended], together: float, taught: int, held: int) -> str:
    """What stands where a convex fit has its certificate."""
    count = len(members)
    each, its = (f"{count} networks", "their") if count > 1 else ("", "its")
    said = "not convex, so no proof: "
    slope, loss = max(member.slope for member in members), np.mean([member.taught for member in members])
    if np.isfinite(slope):
        said += f"the gradient of the loss has length {slope:.2g}{' at most' if count > 1 else ''} at {its} end, "
        said += f"the {taught:,} rows that taught lose {loss:.4g} nats each"
    else:
        said += f"{taught:,} rows taught"
    if not held:
        return said + ", none was held out"
    losses = np.array([member.held_out for member in members])
    if count == 1:
        return said + f", {held:,} rows held out {losses[0]:.4g}"
    spread = f"{losses.mean():.4g} by one of {each} (they differ by {losses.std(ddof=1):.2g}), {together:.4g} by all"
    return said + f", {held:,} rows held out {spread}"


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


def _data(
    features: Features, rows: NDArray[np.int64], codes: NDArray[np.int32], classes: int, weight: Array, threads: int
) -> dict[str, object]:
    """What a checkpoint tells the rows by, whatever their order."""
    keys = features.hashes(0, threads)
    rows = rows[np.lexsort((codes[rows], keys[rows]))]
    digest = hashlib.sha256()
    for each in (keys, codes, weight):
        digest.update(each[rows].tobytes())
    return {
        "rows": len(rows), "columns": features.columns, "sparse columns": features.sparse_columns, "classes": classes,
        "pixels": pixels(features), "digest": digest.hexdigest(),
    }  # fmt: skip


def _merged(
    features: Features, codes: NDArray[np.int32], weights: Array | None, settings: Settings
) -> tuple[NDArray[np.int64], NDArray[np.uint64], Array]:
    """One row of each that are equal and of one class, in the order of their hashes; its key, which copies of other
    classes share; and the weights of all rows: those taken have that of all their equals, in the mean 1."""
    weight = np.ones(features.rows)
    if weights is not None:  # by a power of 2, which rounds nothing: sums stay finite
        weight = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
    keys = keys_of_copies(codes, features.hashes(settings.seed, settings.threads), features.different())
    order = np.lexsort((codes, keys))
    order = order[weight[order] > 0]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (keys[order][1:] != keys[order][:-1]) | (codes[order][1:] != codes[order][:-1])
    starts = np.flatnonzero(new)
    sums = np.add.reduceat(weight[order], starts)
    rows = order[starts]
    out = np.zeros(features.rows)
    out[rows] = sums / sums.mean()
    return rows, keys[rows], out


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


def _parts(
    codes: NDArray[np.int32], keys: NDArray[np.uint64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that teach and those held out, if there are enough; copies with several labels stay together."""
    none = np.arange(len(codes)), np.empty(0, dtype=np.int64)
    if len(codes) < FEW or np.bincount(codes).max() < 2:
        return none
    share = min(max(HELD_OUT, ENOUGH / len(codes)), MOST_HELD)
    if (keys[1:] != keys[:-1]).all():
        return holdout(codes, share, seed)
    try:
        return holdout_of_groups(codes, keys, share, seed)
    except InputError:  # each row has all the labels
        return none
