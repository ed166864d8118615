"""The training of a network by backpropagation: epochs, what is kept of them, where it stands (core/network.h)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.checkpoint import EVERY, Checkpoint
from luce.errors import InputError, ModelFileError, inert
from luce.features import Array, Features
from luce.functional import available_threads
from luce.objective import Objective
from luce.path import row_losses
from luce.run import Solve, State
from luce.solver import Progress

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]  # weights (inputs, outputs), bias (outputs,)

BATCHES = 32  # of the rows, if that makes them no smaller and no larger than:
LEAST_BATCH, MOST_BATCH = 16, 128
LEAST_STEPS = 30  # of an epoch: few rows are run over more than once
RATE = 2e-3  # of AdamW, at first
FALL = 0.3  # what the rate is multiplied with when a rate teaches no more
LEAST_RATE = 0.02  # of the first that does not blow up
MEAN = 0.9  # of the mean of the weights over the epochs stays with each
PATIENCE = 5  # epochs without a better loss after which a rate teaches no more
PATIENCE_AT_FIRST = 25  # as long as it has not lost less by
LEARNT = 0.02  # than the shares of the classes do: what several columns tell together shows late
BETTER = 1e-3  # of the loss: less is no better
MOST_EPOCHS = 200
BLOWN_UP = 2.0  # times what is lost when nothing is known: a fit that has gone wrong
MOST_RESTARTS = 8
DROPPED_PIXELS = 0.2  # of the hidden units, where the columns are pixels
SEEDS = (1 << 64) - 1
TO_GO_ON = ("interrupted", "time limit")  # with a checkpoint
PARTS = ("weights", "bias")  # of a layer, in a checkpoint


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
    members: int = 1
    checkpoint: str | None = None

    @staticmethod
    def of(model: Any) -> Settings:
        """Those of a NetworkClassifier; raises InputError."""
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
        for name in ("batch_size", "epochs", "members", "seed"):
            if name == "batch_size" and model.batch_size is None:
                continue
            if not _is_whole(getattr(model, name), 0 if name == "seed" else 1, (1 << 63) - 1):
                raise InputError(f"{name} is {getattr(model, name)!r}: give a whole number")
        limit = model.time_limit
        if limit is not None and not (isinstance(limit, (int, float, np.number)) and limit > 0):
            raise InputError(f"time_limit is {limit!r}: give seconds above 0, or None")
        path = model.checkpoint
        if path is not None and not (isinstance(path, (str, os.PathLike)) and os.fspath(path)):
            raise InputError(f"checkpoint is {path!r}: give the path of a file, or None")
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
            members=int(model.members),
            checkpoint=None if path is None else os.fsdecode(path),
        )

    def named(self) -> dict[str, object]:
        """Those that decide the numbers, as their user names them."""
        return {
            "hidden": list(self.hidden), "activation": "gelu" if self.gelu else "relu", "dropout": self.dropout,
            "weight_decay": self.decay, "learning_rate": self.rate, "batch_size": self.batch, "epochs": self.epochs,
            "seed": self.seed, "members": self.members,
        }  # fmt: skip


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(least <= value <= most)


@dataclass(frozen=True)
class Epoch:
    """What a run over the rows lost on them, as it went, and then on those held out (or the same, where none are), in
    nats; the rate; taken back: the fit then went back to the best point; the number of the network, from 0."""

    loss: float
    held_out: float
    rate: float
    taken_back: bool = False
    member: int = 0


@dataclass(frozen=True)
class Ended:
    """A network at its best point; the logits of the rows held out (or of all), what they lose there, what those lose
    that taught, and how long the gradient is, if that was worked out."""

    layers: list[Layer]
    logits: Array
    held_out: float
    taught: float = float("nan")
    slope: float = float("nan")


def pixels(features: Features) -> bool:
    return features.dense is not None and features.dense.dtype == np.uint8


@dataclass
class Training:
    """The networks, one after the other, and where the one that is trained now stands."""

    features: Features
    codes: NDArray[np.int32]
    classes: int
    settings: Settings
    weight: Array
    shift: Array
    scale: Array
    train: NDArray[np.int64]
    held: NDArray[np.int64]
    checkpoint: Checkpoint | Solve | None = None
    history: list[Epoch] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    def __post_init__(self) -> None:
        f, s = self.features, self.settings
        self.dropout = s.dropout if s.dropout is not None else DROPPED_PIXELS if pixels(f) else 0.0
        self.sizes = [f.columns, *s.hidden, 1 if self.classes == 2 else self.classes]
        self.network, self.judge = (
            _core.Network(list(s.hidden), f.dense_columns, f.sparse_columns, self.classes, s.gelu) for _ in range(2)
        )
        self.labels = _core.Labels(self.codes, self.weight, self.classes)
        known = Objective(
            Features(len(self.codes), dense=np.zeros((len(self.codes), 1))), self.codes, self.classes, 1.0, self.weight
        )
        self.least = known.known_loss / known.total
        self.judged = self.held if len(self.held) else self.train
        self.seen = f.take(self.judged) if len(self.held) else None
        self.state: State | None = None  # after the last whole epoch, until it is saved
        self.saved = time.monotonic()

    @property
    def member(self) -> int:
        return len(self.ended)

    def _begin(self) -> None:
        """Weights by the rule of Glorot and Bengio (AISTATS 2010), so that nothing is claimed at first."""
        rng = np.random.default_rng([self.settings.seed, self.member])
        self.best: list[Layer] = []
        for inputs, outputs in pairwise(self.sizes):
            spread = (2.0 / (inputs + outputs)) ** 0.5
            weights = (spread * rng.standard_normal((inputs, outputs))).astype(np.float32)
            self.best.append((weights, np.zeros(outputs, dtype=np.float32)))
        self.rate, self.stale, self.restarts, self.epochs = self.settings.rate, 0, 0, 0
        self.least_rate = LEAST_RATE * self.rate
        self._restore()
        self.logits = self._logits(self.best)
        self.least_loss = self.loss(self.logits)

    def _restore(self) -> None:
        """Goes back to the best point; the mean of the weights begins again."""
        _set(self.network, self.best)
        self.mean, self.averaged = self.best, 0

    def _average(self) -> None:
        self.averaged += 1
        new = np.float32(max(1.0 / self.averaged, 1.0 - MEAN))
        now = self._layers()
        if self.averaged > 1:
            with np.errstate(over="ignore", invalid="ignore"):
                now = [((w - v) * new + v, (b - c) * new + c) for (w, b), (v, c) in zip(now, self.mean, strict=True)]
        self.mean = now

    def _layers(self, moment: int = 0) -> list[Layer]:
        """Of the network as it is: the weights, or the means of their gradients (1) or of the squares of these (2)."""
        out: list[Layer] = []
        for place, (inputs, outputs) in enumerate(pairwise(self.sizes)):
            layer = np.empty((inputs, outputs), dtype=np.float32), np.empty(outputs, dtype=np.float32)
            self.network.get(place, *layer, moment)
            out.append(layer)
        return out

    def _logits(self, layers: list[Layer]) -> Array:
        """Of the rows held out, or of all that teach."""
        _set(self.judge, layers)
        seen = self.features.take(self.judged) if self.seen is None else self.seen
        z = np.empty((len(self.judged), self.sizes[-1]))
        self.judge.logits(seen.design, self.shift, self.scale, z, self.settings.threads)
        return z

    def loss(self, z: Array) -> float:
        """The mean loss of these rows."""
        with np.errstate(over="ignore", invalid="ignore"):
            losses = row_losses(z, self.codes[self.judged])
        return float(np.average(losses, weights=self.weight[self.judged]))

    def _epoch(self, number: int, rate: float) -> float:
        """The mean loss that the rows had, each before its batch's step."""
        s, count = self.settings, len(self.train)
        batch = batch_of(count, s.batch)
        runs = max(1, LEAST_STEPS * batch // count)
        lost = 0.0
        for run in range(runs):
            draws = np.random.default_rng([s.seed, 1 + number, run, self.member])
            order = self.train[draws.permutation(count)]
            lost += self.network.epoch(
                self.features.design, self.shift, self.scale, self.labels, order, rate, s.decay, self.dropout, batch,
                (s.seed + number * runs + run + (self.member << 40)) & SEEDS, s.threads,
            )  # fmt: skip
        return lost / (runs * float(self.weight[self.train].sum()))

    def run(self, began: float, progress: Progress | None) -> str:
        """Trains the networks; what ended it before its end, or nothing. A network that was not finished then counts
        if it is the first."""
        s, stopped = self.settings, ""
        if not self._resume():
            self._begin()
            self._keep()
            self._save()
        try:
            while not stopped and self.member < s.members:
                while not stopped and self.epochs < s.epochs and self.rate >= self.least_rate:
                    self._step()
                    self._keep()
                    if time.monotonic() - self.saved >= EVERY:
                        self._save()
                    if progress is not None:
                        progress(len(self.history), self.history[-1].held_out)
                    if self.restarts > MOST_RESTARTS:
                        stopped = "it blew up again and again"
                    elif s.time_limit is not None and time.monotonic() - began > s.time_limit:
                        stopped = "time limit"
                if not stopped or not self.ended:
                    self._end()
                if not stopped and self.member < s.members:
                    self._begin()
        except KeyboardInterrupt:
            stopped = "interrupted"
        if stopped:
            self._save()
        if not self.ended:
            self.ended.append(Ended(self.best, self.logits, self.least_loss))
        return stopped

    def _step(self) -> None:
        """An epoch, and what it changes."""
        lost = self._epoch(self.epochs, self.rate)
        self._average()
        z = self._logits(self.mean)
        found = self.loss(z)
        wrong = not np.isfinite(found) or found > max(BLOWN_UP * self.least, 2 * self.least_loss)
        self.stale = 0 if not wrong and found < self.least_loss * (1 - BETTER) else self.stale + 1
        begun = self.rate < self.settings.rate or self.least_loss < (1 - LEARNT) * self.least
        back = wrong or self.stale >= (PATIENCE if begun else PATIENCE_AT_FIRST)
        self.history.append(Epoch(lost, found, self.rate, back, self.member))
        self.epochs += 1
        if not wrong and found < self.least_loss:
            self.least_loss, self.best, self.logits = found, self.mean, z
        if back:
            self._restore()
            self.rate, self.stale, self.restarts = self.rate * FALL, 0, self.restarts + wrong
            self.least_rate *= FALL if wrong else 1.0

    def _end(self) -> None:
        """The network is at its end: what is to be known of its best point."""
        _set(self.network, self.best)
        out = np.empty(self.network.parameters)
        f, s = self.features, self.settings
        loss = self.network.gradient(f.design, self.shift, self.scale, self.labels, self.train, out, s.threads)
        total = float(self.weight[self.train].sum())
        slope = float(np.linalg.norm(out)) / total
        self.ended.append(Ended(self.best, self.logits, self.least_loss, loss / total, slope))

    def _keep(self) -> None:
        """Where the training stands, if that is to be saved."""
        if self.checkpoint is None:
            return
        now = {"now": self._layers(), "first": self._layers(1), "second": self._layers(2)}
        layers = {**now, "best": self.best, "mean": self.mean}
        layers |= {f"member {number}": member.layers for number, member in enumerate(self.ended)}
        arrays = {
            f"{name}, layer {place}, {part}": array
            for name, parts in layers.items()
            for place, layer in enumerate(parts)
            for part, array in zip(PARTS, layer, strict=True)
        }
        facts = {
            "steps": self.network.steps, "averaged": self.averaged, "stale": self.stale, "restarts": int(self.restarts),
            "epochs": self.epochs, "rate": self.rate, "least_rate": self.least_rate, "least_loss": self.least_loss,
            "history": [list(astuple(epoch)) for epoch in self.history],
            "ended": [[member.held_out, member.taught, member.slope] for member in self.ended],
        }  # fmt: skip
        self.state = arrays, facts

    def _save(self) -> None:
        if self.checkpoint is not None and self.state is not None:
            self.checkpoint.save(*self.state)
            self.state = None
            self.saved = time.monotonic()

    def _resume(self) -> bool:
        """Goes to where the checkpoint stands, if there is one."""
        found = None if self.checkpoint is None else self.checkpoint.load()
        if found is None:
            return False
        try:
            self._restore_from(*found)
        except (LookupError, TypeError, ValueError) as error:
            name = inert(self.settings.checkpoint or "the checkpoint of a run", 4096)
            raise ModelFileError(f"{name}: no such training: {error}") from error
        return True

    def _restore_from(self, arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> None:
        def layers(name: str) -> list[Layer]:
            weights, bias = ([arrays[f"{name}, layer {n}, {p}"] for n in range(len(self.sizes) - 1)] for p in PARTS)
            return list(zip(weights, bias, strict=True))

        for moment, name in enumerate(("now", "first", "second")):
            _set(self.network, layers(name), moment)
        self.best, self.mean = layers("best"), layers("mean")
        self.history = [Epoch(*epoch) for epoch in facts["history"]]
        members = [layers(f"member {number}") for number in range(len(facts["ended"]))]
        ended = zip(members, facts["ended"], strict=True)
        self.ended = [Ended(member, self._logits(member), *numbers) for member, numbers in ended]
        self.logits = self._logits(self.best)
        self.network.steps, self.averaged, self.stale = facts["steps"], facts["averaged"], facts["stale"]
        self.restarts, self.epochs = facts["restarts"], facts["epochs"]
        self.rate, self.least_rate, self.least_loss = facts["rate"], facts["least_rate"], facts["least_loss"]


def batch_of(rows: int, given: int | None) -> int:
    """Rows to a step, where so many teach."""
    return min(given or min(max(rows // BATCHES, LEAST_BATCH), MOST_BATCH), rows)


def _set(network: Any, layers: Sequence[Layer], moment: int = 0) -> None:
    for place, (weights, bias) in enumerate(layers):
        network.set(place, weights, bias, moment)
