"""Whether hidden layers tell more than the certified linear fit, settled by the log loss of rows held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.calibration import Calibration
from luce.choice import Choice, Tried, compared, is_better
from luce.compact import room_for
from luce.errors import InputError
from luce.features import Array, Features
from luce.network import NetworkClassifier, NetworkFit, fit_network, network_logits
from luce.path import FOLDS, HeldOutLogits, folds_of
from luce.run import piece
from luce.solver import Progress
from luce.training import Epoch, Settings

MODELS = ("linear", "network", "auto")
MANY_ROWS = 2_000  # with more, SOME_FOLDS are held out
SOME_FOLDS = 2
TEXT_UNITS = 32  # of a hidden layer that reads n-grams, where nothing is said


@dataclass(frozen=True)
class Layered:
    """What was settled on, and the network to be trained on all rows, if it is one."""

    choice: Choice
    settings: Settings | None = None

    def trained(self, progress: Progress | None) -> NetworkFit:
        """On all rows. Raises KeyboardInterrupt if it was interrupted."""
        assert self.settings is not None
        problem = self.choice.problem
        fit = partial(fit_network, problem.features, problem.codes, problem.classes, self.settings, None, progress)
        return piece("network", lambda: _whole(fit()), NetworkFit, Calibration, Epoch)


def wanted(model: str | NetworkClassifier) -> tuple[str, NetworkClassifier]:
    """linear, network or auto, and how a network is built and trained; raises InputError for anything else."""
    if isinstance(model, NetworkClassifier):
        if model.class_weight is not None:
            raise InputError("class_weight of a network in a Classifier: give costs or recall instead")
        if model.checkpoint is not None:
            raise InputError(
                "checkpoint of a network in a Classifier, which fits several: give the checkpoint to the Classifier"
            )
        Settings.of(model)
        return "network", model
    if model not in MODELS:
        raise InputError(f"model is {model!r}: give one of {', '.join(MODELS)}, or a NetworkClassifier")
    return model, NetworkClassifier()


def units_for_texts(model: str | NetworkClassifier) -> int:
    """Of the layer that reads n-grams; 0 where a linear fit settles which."""
    if not isinstance(model, NetworkClassifier):
        return TEXT_UNITS if model == "network" else 0
    return (*Settings.of(model).hidden, 1)[0]


def choose_network(
    choice: Choice, parsed: Mapping[str, Any], model: str | NetworkClassifier, size: float, threads: int
) -> Layered:
    """The linear fit as it was settled on, or a network on the same columns without their curves and pairs.

    model: "auto" takes the network if it lowers the log loss of rows held out by half a standard error. Rows are held
    out in up to five folds, of more than 2,000 rows in two of the five.
    """
    kind, template = wanted(model)
    if kind == "linear":
        return Layered(choice)
    plain = replace(choice.encoder, curves=(), pairs=())
    problem = choice.problem
    if choice.encoder.curves or choice.encoder.pairs:
        problem = replace(problem, features=plain.transform(parsed, threads))
    settings = replace(Settings.of(template), threads=threads)
    if plain.texts and isinstance(model, str):
        settings = replace(settings, hidden=(TEXT_UNITS,))
    if kind == "auto" and (grams := sum(len(t.buckets) for t in plain.texts)):
        counts = np.bincount(problem.codes, minlength=problem.classes)
        room = room_for(size, plain.width - grams, counts, settings.hidden[0] if settings.hidden else problem.outputs)
        if grams > room:
            note = f"no network was tried: a model of this size has room for {room:,} n-grams of a network's {grams:,}"
            return Layered(replace(choice, notes=(*choice.notes, note)))
    held_out = _held_out(replace(choice, problem=problem), settings)
    found = replace(choice, encoder=plain, problem=problem, path=held_out, start=None)
    if choice.path is None or held_out is None:
        return Layered(found if kind == "network" else choice, settings if kind == "network" else None)
    told = compared("network", found, choice)
    tried = (*choice.tried, told)
    if kind == "network":
        return Layered(replace(found, tried=tried), settings)
    taken = is_better(told)
    best = replace(found if taken else choice, tried=tried, notes=(*choice.notes, settled(told, taken)))
    return Layered(best, settings if taken else None)


def settled(told: Tried, network: bool) -> str:
    """Which model was taken, and why."""
    losses = (
        f"the linear one loses {told.log_loss + told.gain:.4g} nats on rows held out, a network {told.log_loss:.4g}"
    )
    return f"model: {'network' if network else 'linear'} ({losses}, difference ± {told.error:.2g})"


def _held_out(choice: Choice, settings: Settings) -> HeldOutLogits | None:
    """The logits of networks on rows that they did not see; None where none can be held out."""
    problem = choice.problem
    assert problem.keys is not None
    codes = problem.codes
    fold = folds_of(problem, problem.keys)
    logits, scored = np.zeros((len(codes), problem.outputs)), np.zeros(len(codes), dtype=np.bool_)
    for f in range(SOME_FOLDS if len(codes) > MANY_ROWS else FOLDS):
        rows, rest = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
        known = np.unique(codes[rest])
        if len(known) < 2 or not len(rows):
            continue
        features = problem.features if choice.without is None else _used(choice.without(rows))
        taught, own = features.take(rest), features.take(rows)
        logits[rows] = piece("network", partial(_of_others, own, taught, codes[rest], problem.classes, settings))
        scored[rows] = np.isin(codes[rows], known)
    return HeldOutLogits(held_out=logits, scored=scored) if scored.any() else None


def _of_others(own: Features, taught: Features, codes: NDArray[np.int32], classes: int, settings: Settings) -> Array:
    """What a network that other rows taught says of these."""
    fit = _whole(fit_network(taught, codes, classes, settings, None))
    return network_logits(own, fit.layers, fit.shift, fit.scale, classes, settings.gelu, settings.threads)


def _used(features: Features) -> Features:
    """Without the columns of n-grams that nothing weighs: a network would have weights for each."""
    if features.dense is not None or features.indices is None or features.values is None:
        return features
    return features.take_columns(np.unique(features.indices[features.values != 0]))


def _whole(fit: NetworkFit) -> NetworkFit:
    if fit.stopped == "interrupted":
        raise KeyboardInterrupt  # the earlier fit, and the file, stay as they are
    return fit
