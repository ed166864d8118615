"""Classifier: from a labelled table to class probabilities; the house's one mutable object."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luce.calibration import Calibration, choose, no_calibration
from luce.check import cells_of, computed_by, examples
from luce.choice import Choice, Tried, choose_effects
from luce.compact import bytes_of, within
from luce.conformal import Conformal, with_means
from luce.counterfactual import Counterfactual, counterfactual, repeated
from luce.decision import best_of, costs_for_recall, costs_of, estimated_shares, shares_of, shifts
from luce.effects import known_spread, spread_of
from luce.effects import overview as overview_of
from luce.embeddings import WIDE, Embeddings
from luce.encoder import Encoder
from luce.engine import Engine
from luce.errors import InputError, NotFittedError, inert, warn
from luce.estimator import probabilities_of
from luce.explain import Explanation, explain
from luce.features import Features
from luce.fitted import Check, Fitted, HeldOut, Label, Measured
from luce.functional import available_threads
from luce.grouping import groups_of, split_of, times_of
from luce.heads import Linear, Network
from luce.hidden import Layered, choose_network, settled, units_for_texts, wanted
from luce.images import Images
from luce.labels import Labels, encode_labels, labels, labels_of
from luce.linear import LinearFit, fit_linear, warn_of
from luce.model_file import load_fitted, save_fitted
from luce.network import NetworkClassifier
from luce.objective import MOST_LOGITS
from luce.path import HeldOutLogits, Problem
from luce.pictures import choose_images, ink_of, seconds_of, with_pixels
from luce.probe import choose_embeddings, choose_straight
from luce.report import Report, evaluate
from luce.run import keeping, now, piece
from luce.solver import Certificate, Progress
from luce.splits import Split
from luce.store import StoredFrame
from luce.table import EMBEDDING, Schema, Table, infer_schema, of_cells, parse
from luce.training import Settings
from luce.vast import ParsedLater, blocks_of, encoder_of, features_for, is_vast, trimmed
from luce.wording import choose_texts, keys_of

if TYPE_CHECKING:
    import polars as pl

TOLERANCE = 1e-6  # how near a fit comes, relative
IMAGES_AT_ONCE = 4096  # have their features in memory
LOGITS_AT_ONCE = 1 << 22  # are in memory where rows are embeddings
COLUMNS_AT_ONCE = 1024  # are rounded
MOST_OF_PIECE = 1 << 25  # weights that a run keeps beside the model's own; more are fitted again from the last state
FEW_TEXTS = 64  # are not worth a second thread
READ_TOLERANCE = 1e-4  # the same where texts or images are read
LARGE_TOLERANCE = 5e-3  # and where texts have so many classes that logits of all rows are not kept
READ_SHARE = 5e-5  # or the gap as a share of what is there to be known: such fits may leave next to no loss


class Classifier:
    """A softmax classifier for tables: columns are recognised, encoded and weighed; probabilities come out.

    Logits are linear in the encoded columns (numbers standardised, categories one-hot, each with a slot for missing
    cells; where it pays, with functions that let a number bend and two columns act together) and minimise
    mean cross-entropy + l2/2 |W|^2  to a proven distance from the optimum (`certificate`). Then they are calibrated on
    the logits of rows held out in the choice of l2, if that lowers the log loss beyond its noise (`calibration`).

    l2: strength of the penalty; "auto" chooses it by cross-validated log loss, None is 1/n. kinds: what a column is, by
    name, where it is not what it seems: "number", "boolean", "date", "category" or "ignore". threads: None for all
    processors; the model has the same bits for every number of threads.
    effects: "linear", "curves" (numbers may bend), "pairs" (and pairs of columns act together), or "auto": the one
    that lowers the log loss of rows held out.
    costs: what mistakes cost, {class: cost of missing it}, {true class: {answer: cost}}, or numbers (K, K); by default
    all mistakes cost 1. recall: {class: share of its rows to be found}, by costs that held-out rows settle. Both change
    `predict` alone; probabilities stay true.
    budget: of seconds for the fit of a model that looks at images, about, such as "30s" (docs/images.md); None: what is
    looked for depends on the data alone.
    size: of the file of a model that reads texts, at most about, such as "2MB": weights of 8 bits and fewer n-grams.
    model: "linear", "network" (hidden layers before the softmax, network.py, or a NetworkClassifier with settings of
    its own: no proof, `facts` tell what stands there), or "auto": a network if it lowers the log loss of rows held out.
    engine: who makes the passes over a vast table: `luce.processes()`, `luce.ray()` (docs/scale.md); the model is the
    same file.
    checkpoint: a path to which a fit of more than half a minute goes, now and then; the same fit of the same data,
    begun anew, goes on from there to the same bits. A finished fit removes it.
    """

    def __init__(
        self,
        l2: float | str | None = "auto",
        kinds: Mapping[str, str] | None = None,
        threads: int | None = None,
        *,
        effects: str = "auto",
        costs: Mapping[Any, Any] | Sequence[Any] | NDArray[Any] | None = None,
        recall: Mapping[Any, float] | None = None,
        size: str | float = "20MB",
        model: str | NetworkClassifier = "linear",
        budget: str | float | None = None,
        engine: Engine | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.l2 = l2
        self.kinds = kinds
        self.threads = threads
        self.effects = effects
        self.costs = costs
        self.recall = recall
        self.size = size
        self.model = model
        self.budget = budget
        self.engine = engine
        self.checkpoint = checkpoint
        self._fitted: Fitted | None = None
        self._held_out: HeldOut | None = None

    def __repr__(self) -> str:
        if self._fitted is None:
            return "Classifier(), not fitted"
        return f"Classifier of {len(self.classes_)} classes, fitted on {self.fitted.facts['rows']:,} rows"

    def _unfitted(self) -> Classifier:
        """One with the same settings."""
        return Classifier(
            self.l2, self.kinds, self.threads, effects=self.effects, costs=self.costs, recall=self.recall,
            size=self.size, model=self.model, budget=self.budget, engine=self.engine, checkpoint=self.checkpoint,
        )  # fmt: skip

    @property
    def fitted(self) -> Fitted:
        """The fitted parts; raises NotFittedError before the first fit."""
        if self._fitted is None:
            raise NotFittedError("this Classifier is not fitted: call fit(data, label) first, or luce.load(path)")
        return self._fitted

    @property
    def calibration(self) -> Calibration:
        """The map from the linear model's logits to calibrated ones, and what it gained on rows held out."""
        return self.fitted.calibration

    @property
    def held_out(self) -> HeldOut | None:
        """The probabilities of the training rows by fits that did not see them, as long as the object that was fitted
        lives; None after `load`, and where no row could be held out."""
        return self._held_out

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, in the order of the columns of predict_proba."""
        return _array_of(self.fitted.classes)

    def fit(
        self,
        data: object,
        label: str | Sequence[Any] | NDArray[Any],
        *,
        group: str | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Fits to a table and its labels.

        data: a pandas, polars or pyarrow frame, a dict of columns, a list of records, or a 2-D array of numbers: of
        float16 or float32 with more than 256 columns it is embeddings, which are not copied (kinds={"embedding":
        "number"} makes columns of it, kinds={"embedding": "embedding"} embeddings of any array; docs/embeddings.md).
        label: the name of the label column, or one label for each row. Labels are strings, whole numbers or bools.
        group: a column whose equal values mark rows that belong together (a patient, a site): cross-validation keeps
        them on one side, and it is no feature.
        progress: called with (passes over the data, proven relative distance from the optimum so far).
        Raises InputError for data that cannot be used; a failed fit leaves an earlier one as it was.
        """
        table, name, target = _rows_and_labels(data, label, self.kinds)
        schema = _schema(table, name, self.kinds, group)
        groups = None if group is None else groups_of(table, group)
        with _run_of(self), trimmed(table):
            _begin(self, table, schema, target, groups, label=name, group=group)
            self._fitted, self._held_out = _fit(table, name, target, schema, self, progress, groups)
        return self

    def predict_proba(self, data: object) -> NDArray[np.float64]:
        """Probabilities (n, K) float64, columns in the order of classes_; rows in the order given, each sums to 1.

        Columns are matched by name. For a model that reads one text column, a list of texts will do. Raises InputError
        that lists missing and unknown columns, or names the first cell that does not fit its column.
        """
        fitted = self.fitted
        if isinstance(data, list | tuple) and data and all(isinstance(text, str) for text in data):
            if fitted.text_alone is None:
                raise InputError("texts alone are no rows of this model: it reads other columns too; give a table")
            return self._of_texts(data)
        table = self._table(data)
        if is_vast(table, fitted.schema):
            return np.concatenate([self.proba_of(fitted.parsed(block)) for block in blocks_of(table)])
        return self.proba_of(fitted.parsed(table))

    def proba_of(self, parsed: Mapping[str, Any]) -> NDArray[np.float64]:
        """The probabilities of rows whose cells are parsed: what `predict_proba` does after it has read them."""
        fitted = self.fitted
        if fitted.text_alone is not None:
            return self._of_texts(parsed[fitted.text_alone.name].to_list())
        threads = available_threads(self.threads)
        rows = len(next(iter(parsed.values())))
        step = IMAGES_AT_ONCE if fitted.encoder.images else max(rows, 1)
        if fitted.encoder.embeddings:
            step = max(LOGITS_AT_ONCE // len(fitted.classes), 1)
        parts = ({name: cells[i : i + step] for name, cells in parsed.items()} for i in range(0, rows, step))
        found = (self._probabilities(fitted.encoder.transform(part, threads), threads) for part in parts)
        if rows <= step:
            return next(found)
        out = np.empty((rows, len(fitted.classes)))
        for i, p in zip(range(0, rows, step), found, strict=True):
            out[i : i + step] = p
        return out

    def _of_texts(self, texts: Sequence[str | None]) -> NDArray[np.float64]:
        fitted, threads = self.fitted, 1 if len(texts) <= FEW_TEXTS else available_threads(self.threads)
        try:
            if fitted.scorer is None:
                return self._probabilities(fitted.encoder.of_texts(texts, threads), threads)
            return np.asarray(fitted.scorer.probabilities(texts, threads))
        except UnicodeEncodeError as broken:
            raise InputError(f"a text is not valid Unicode ({broken.reason})") from None

    def predict(self, data: object, *, abstain: float | None = None) -> NDArray[Any]:
        """The most probable class of each row, (n,), or where mistakes have costs the one of least expected cost.

        abstain: a coverage, such as 0.95. Then rows that more than one class may fit (whose `predict_set` at this
        coverage has several) have None instead, and the array is one of objects.
        """
        p = self.predict_proba(data)
        if abstain is None:
            return self.decide(p)
        answers = self.decide(p).astype(object)
        answers[self.sets_of(p, abstain).sum(axis=1) > 1] = None
        return np.asarray(answers)

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[Any]:
        """The answer for each row of probabilities (n, K), (n,): what `predict` does after `predict_proba`."""
        return np.asarray(self.classes_[best_of(probabilities, self.fitted.costs)])

    def explain(self, data: object, row: int = 0, against: Label | None = None) -> Explanation:
        """Why the answer for a row (counted from 0) is this class and not another: what each column adds to the
        difference of their logits, exactly.

        against: the class to compare with, by default the most probable of the others. The parts of a category, of a
        date, and of a missing cell are summed under their column. Raises InputError for a row that is not there.
        """
        fitted, one = self.fitted, self._row_of(data, row)
        p = self.predict_proba(one)
        answer = fitted.classes.index(self.decide(p).tolist()[0])
        if against is not None and against not in fitted.classes:
            raise InputError(f"{against!r} is no class; there are {', '.join(map(repr, fitted.classes[:5]))}")
        other = None if against is None else fitted.classes.index(against)
        return explain(fitted, one, fitted.features(one), p, answer, other)

    def counterfactual(
        self, data: object, row: int = 0, to: Label | None = None, keep: Sequence[str] = ()
    ) -> Counterfactual | None:
        """The smallest realistic change of one or two columns of a row (counted from 0) that changes its answer.

        to: the answer that is wanted, by default any other. keep: columns that cannot change. Numbers move within the
        middle 98 % of the training rows, categories to one of their eight most frequent levels; dates, texts and
        missing numbers stay. Of the changes that do it, that of one column goes first, then the one that passes the
        fewest training rows. It tells of the model, not of causes. None if there is no such change.
        """
        fitted, table = self.fitted, self._row_of(data, row)
        if to is not None and to not in fitted.classes:
            raise InputError(f"{to!r} is no class; there are {', '.join(map(repr, fitted.classes[:5]))}")
        keep = [keep] if isinstance(keep, str) else keep
        for name in keep:
            table.column(name)
        parsed = fitted.parsed(table)
        own = self.decide(self._probabilities(fitted.encoder.transform(parsed))).tolist()[0]
        if to == own:
            raise InputError(f"the answer is {own!r} already: name another class")

        words = [plan.rows(parsed[plan.name].to_list(), 1) for plan in fitted.encoder.texts]  # they stay as they are

        def answer(cells: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            rows = len(next(iter(cells.values())))
            p = self._probabilities(fitted.encoder.transform(cells, 1, [repeated(each, rows) for each in words]))
            return best_of(p, fitted.costs), p

        wanted = None if to is None else fitted.classes.index(to)
        given = table.frame.row(0, named=True)
        booleans = {column.name for column in fitted.schema.columns if column.kind == "boolean"}
        return counterfactual(fitted.encoder, parsed, given, answer, wanted, keep, booleans, fitted.classes)

    def _table(self, data: object) -> Table:
        """Rows as the model reads them: paths of images, seen from the working folder, become pixels."""
        if isinstance(data, Images):
            data = replace(data, labels=None)
        table, sizes = _table_of(data, self.fitted.embedding_alone is not None), self.fitted.image_sizes
        return with_pixels(table, [name for name in sizes if name in table.names], ".", sizes)

    def _row_of(self, data: object, row: int) -> Table:
        table = self._table(data)
        if not 0 <= row < table.rows:
            raise InputError(f"there is no row {row}: {table.source} has {table.rows:,}, counted from 0")
        return take(table, np.array([row]))

    def _probabilities(self, features: Features, threads: int | None = None) -> NDArray[np.float64]:
        logits = self.fitted.logits(features, available_threads(self.threads) if threads is None else threads)
        return probabilities_of(_squeezed(logits))

    def adjust_prior(self, shares: Mapping[Any, float] | Sequence[float] | NDArray[Any]) -> Classifier:
        """The same model for a population with other shares of the classes: p'_k in proportion to p_k s'_k / s_k.

        shares: {class: share}, or numbers in the order of classes_; they are divided by their sum. Within a class rows
        must be as they were. Sets keep their promise, which is one for each class, only for the probabilities that they
        were made from: the new model has none. Raises InputError for shares that are not above 0.
        """
        fitted = self.fitted
        new = shares_of(shares, fitted.classes)
        moved = fitted.calibration.shifted(shifts(fitted.class_shares, new))
        facts = {**fitted.facts, "shares": new.tolist()}
        other = self._unfitted()
        other._fitted = checked(replace(fitted, calibration=moved, conformal=None, facts=facts, measured=None))
        return other

    def estimate_shares(self, data: object) -> dict[Label, float]:
        """The likeliest shares of the classes in a batch of rows without labels, for `adjust_prior`.

        Holds where rows within a class are as they were in training, and only their shares have changed.
        """
        found = estimated_shares(self.predict_proba(data), self.fitted.class_shares)
        return dict(zip(self.fitted.classes, found.tolist(), strict=True))

    def predict_set(self, data: object, coverage: float = 0.95, method: str = "lac") -> NDArray[np.bool_]:
        """Which classes each row may have, (n, K) bool in the order of classes_.

        Of the rows of each class, drawn as the training rows were, about a share of `coverage` or more has its class in
        the set (docs/calibration.md). method: "lac" has the smallest sets, "aps" larger ones where a row is less sure.
        Warns of classes with too few rows for the promise, which are in every set.
        Raises InputError for a coverage outside (0, 1), and for a model without held-out rows.
        """
        return self.sets_of(self.predict_proba(data), coverage, method)

    def sets_of(self, p: NDArray[np.float64], coverage: float, method: str = "lac") -> NDArray[np.bool_]:
        """The set of each row of probabilities (n, K): what `predict_set` does after `predict_proba`."""
        conformal = self.fitted.conformal
        if conformal is None:
            raise InputError("this model has no sets: at its fit no row could be held out")
        sets = conformal.sets(p, coverage, method)
        if len(few := conformal.too_few(coverage)):
            shown = ", ".join(f"{self.fitted.classes[k]!r} ({conformal.counts[k]})" for k in few[:5])
            warn(
                f"too few rows to promise {100 * coverage:g} % for class {shown}{', ...' if len(few) > 5 else ''}: at "
                f"least {math.ceil(coverage / (1 - coverage) - 1e-9)} are needed; it is in every set"
            )
        return sets

    def evaluate(self, data: object, label: str | Sequence[Any] | NDArray[Any] | None = None) -> Report:
        """Accuracy, precision, recall, F1, log loss, confusion on labelled rows; label None: the column of the fit."""
        fitted = self.fitted
        table = _table_of(data, fitted.embedding_alone is not None)
        if label is None:
            if not fitted.label:
                raise InputError("the model was fitted on labels without a name: say which column to compare with")
            label = fitted.label
        table, name, values = _rows_and_values(table, label)
        codes = encode_labels(values, fitted.classes, f"{table.source}, label {name!r}" if name else "the labels")
        unknown = sorted({str(v) for v in np.asarray(values.to_list(), dtype=object)[codes < 0]})
        if unknown:
            shown = ", ".join(repr(u) for u in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            row = int(np.flatnonzero(codes < 0)[0]) + 1
            raise InputError(
                f"{table.source}: label {shown} (first in row {row}) is no class of the model; drop or retrain"
            )
        return self._report(table, self.classes_[codes].tolist())

    def _report(self, table: Table, truth: list[Label]) -> Report:
        p, fitted = self.predict_proba(table), self.fitted
        answers = None if fitted.costs is None else self.decide(p).tolist()
        return evaluate(truth, p, list(fitted.classes), predicted=answers, class_shares=fitted.class_shares)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as one file of arrays and JSON, whole or not at all (docs/model-file.md)."""
        save_fitted(self.fitted, path)

    def strongest(self, count: int = 5) -> dict[Label, list[tuple[str, float]]]:
        """For each class the columns, and the pairs of columns, that move its logit most: (column, how far).

        How far is the standard deviation, over the training rows, of what the column adds to the logit, against the
        mean over the classes; `overview` tells which way.
        """
        fitted = self.fitted
        names, spread = fitted.encoder.sources, known_spread(fitted)
        out: dict[Label, list[tuple[str, float]]] = {}
        for k, label in enumerate(fitted.classes):
            row = spread[min(k, len(spread) - 1)]
            order = np.argsort(-row, kind="stable")[:count]
            out[label] = [(names[i], float(row[i])) for i in order if row[i] > 0]
        return out

    def overview(self) -> list[dict[str, Any]]:
        """What the model makes of each column and pair, the strongest first: its share of all that moves the classes,
        and what its values add to each logit (docs/effects.md)."""
        return overview_of(self.fitted)


def load(path: str | os.PathLike[str]) -> Classifier:
    """A classifier from its file, which is checked whole before it is believed and can hold data only.

    Raises ModelFileError if it is not a luce model, is damaged, or was made by a newer format.
    """
    model = Classifier()
    model._fitted = load_fitted(path)
    return model


@dataclass(frozen=True)
class Trained:
    """A classifier fitted on all rows, and how its like did on the rows held out (None if none were)."""

    classifier: Classifier
    report: Report | None


def train(
    data: object,
    label: str | Sequence[Any] | NDArray[Any],
    *,
    classifier: Classifier | None = None,
    held_out: float = 0.2,
    seed: int = 0,
    group: str | None = None,
    time: str | None = None,
    progress: Progress | None = None,
    on_schema: Callable[[Schema], None] | None = None,
) -> Trained:
    """Fits on a part of the rows, measures on the rest, then fits on all rows: the work of `luce train`.

    held_out: share of the rows of each class to measure on, 0 for none; equal rows are held out together. seed: which
    rows these are.
    group: a column whose equal values mark rows that belong together: whole groups are held out, there and in the
    cross-validation, and the column is no feature. time: a column of dates or numbers: the latest rows are held out.
    on_schema: called once with what the columns are, before the first fit.
    What a column is (its type) is read off all rows; means, scales and levels off the rows fitted on alone.
    """
    if group is not None and time is not None:
        raise InputError("group and time both settle which rows are held out: give one of them")
    model = classifier if classifier is not None else Classifier()
    with _run_of(model):
        return _train(data, label, model, held_out, seed, group, time, progress, on_schema)


def _train(
    data: object, label: str | Sequence[Any] | NDArray[Any], model: Classifier, held_out: float, seed: int,
    group: str | None, time: str | None, progress: Progress | None, on_schema: Callable[[Schema], None] | None,
) -> Trained:  # fmt: skip
    """As `train`."""
    settings = model._unfitted()
    if model.budget is not None and held_out:
        settings.budget = seconds_of(model.budget) / 2  # for each of the two fits
    table, name, target = _rows_and_labels(data, label, model.kinds)
    schema = _schema(table, name, model.kinds, group)
    groups = None if group is None else groups_of(table, group)
    times = None if time is None else times_of(table, time)
    if on_schema is not None:
        on_schema(schema)
    more = {"label": name, "group": group, "time": time, "held_out": held_out, "seed": seed}
    _begin(model, table, schema, target, groups, times, **more)
    if times is None and (is_vast(table, schema) or _has_many_classes(schema, target)):
        with trimmed(table):
            model._fitted, model._held_out, report = _fit_once(
                table, name, target, schema, settings, progress, groups, held_out
            )
        return Trained(model, report)
    _check_in_memory(table)
    report, like = None, settings
    why: list[str] = []
    if held_out:
        together = rows_alike(table, schema) if groups is None and times is None else groups
        split = split_of(target.codes, held_out, seed, together, times)
        report, part = _measure(table, name, target, schema, settings, split, progress, groups)
        like, why = _like(part, settings)
    fitted, rows_held_out = _fit(table, name, target, schema, like, progress, groups)
    if report is not None:
        facts = _held_out_facts(report, held_out, seed)
        if group is not None or time is not None:
            by, column = ("time", time) if group is None else ("group", group)
            facts |= {"by": by, "column": inert(str(column))}
        notes = [*fitted.facts["notes"], *why]
        measured = _kept(report, fitted, bytes_of(model.size))
        fitted = replace(fitted, facts={**fitted.facts, "held_out": facts, "notes": notes}, measured=measured)
    model._fitted, model._held_out = fitted, rows_held_out
    return Trained(model, report)


def _has_many_classes(schema: Schema, target: Labels) -> bool:
    """Whether texts are read and the logits of all rows are too many to be kept."""
    many = len(target.codes) * len(target.classes) > MOST_LOGITS
    return many and any(column.kind == "text" for column in schema.columns)


def _run_of(model: Classifier) -> AbstractContextManager[object]:
    """The run of a fit that keeps a checkpoint."""
    path = model.checkpoint
    if path is None:
        return nullcontext()
    if not (isinstance(path, str | os.PathLike) and os.fspath(path)):
        raise InputError(f"checkpoint is {path!r}: give the path of a file, or None")
    if model.budget is not None:
        raise InputError("a fit with a budget depends on how fast it goes, not on the data alone: no checkpoint for it")
    return keeping(path)


def _begin(
    model: Classifier, table: Table, schema: Schema, target: Labels, groups: NDArray[np.int64] | None,
    times: NDArray[Any] | None = None, **more: object,
) -> None:  # fmt: skip
    """Tells a run what it is of; a vast table tells its rows once its features are there."""
    run = now()
    if run is None:
        return
    kind, network = wanted(model.model)
    run.settings = {
        "l2": str(model.l2), "effects": model.effects, "costs": str(model.costs), "recall": str(model.recall),
        "kinds": str(dict(model.kinds or {})), "size": str(model.size), "computed by": computed_by(),
        "model": Settings.of(network).named() if kind == "network" else kind,
        **{name: str(value) for name, value in more.items()},
    }  # fmt: skip
    if not is_vast(table, schema) or times is not None:
        run.of(lambda: _data_of(table, schema, target, groups, times, table_keys(table, schema)))


def _data_of(
    table: Table, schema: Schema, target: Labels, groups: NDArray[np.int64] | None, times: NDArray[Any] | None,
    keys: NDArray[np.uint64] | None,
) -> dict[str, object]:  # fmt: skip
    """What a checkpoint tells the rows by: hashes of their numbers, and the rest that a fit hangs on."""
    digest = hashlib.sha256(repr((target.classes, [(c.name, c.kind) for c in schema.columns])).encode())
    for each in (keys, target.codes, groups, times):
        digest.update(b"-" if each is None else np.ascontiguousarray(each).tobytes())
    return {"rows": table.rows, "columns": len(schema.columns), "digest": digest.hexdigest()}


def _fit_once(
    table: Table, name: str, target: Labels, schema: Schema, settings: Classifier, progress: Progress | None,
    groups: NDArray[np.int64] | None, share: float,
) -> tuple[Fitted, HeldOut | None, Report | None]:  # fmt: skip
    """A fit to all rows, and how one without them did on the rows that it held out. Their calibration is that of the
    model: it has few numbers, and they are many."""
    fitted, held = _fit(table, name, target, schema, settings, progress, groups)
    if held is None or not share:
        return fitted, held, None
    truth = _array_of(fitted.classes)[held.codes[held.scored]].tolist()
    p = held.probabilities[held.scored]
    said = None if fitted.costs is None else _array_of(fitted.classes)[best_of(p, fitted.costs)].tolist()
    report = evaluate(truth, p, list(fitted.classes), predicted=said, class_shares=fitted.class_shares)
    facts = {**fitted.facts, "held_out": _held_out_facts(report, report.rows / table.rows, 0)}
    measured = _kept(report, fitted, bytes_of(settings.size))
    return replace(fitted, facts=facts, measured=measured), held, report


def _measure(
    table: Table, name: str, target: Labels, schema: Schema, model: Classifier, split: Split,
    progress: Progress | None, groups: NDArray[np.int64] | None,
) -> tuple[Report, Classifier]:  # fmt: skip
    """How a classifier fitted to some of the rows does on the rest, and itself."""
    rows, rest = split
    known, codes = np.unique(target.codes[rows], return_inverse=True)
    if len(known) < 2:
        raise InputError(f"the rows to learn from are all of class {target.classes[int(known[0])]!r}: split otherwise")
    part = model._unfitted()
    of_rows = replace(target, codes=codes, classes=tuple(target.classes[k] for k in known.tolist()))
    own = None if groups is None else groups[rows]
    part._fitted, part._held_out = _fit(take(table, rows), name, of_rows, schema, model, progress, own)
    new = ~np.isin(target.codes[rest], known)
    if new.any():
        warn(f"{int(new.sum())} held-out row(s) of classes that the rows fitted on lack are not measured")
    rest = rest[~new]
    truth = _array_of(tuple(target.classes))[target.codes[rest]].tolist()
    return part._report(take(table, rest), truth), part


def _like(part: Classifier, model: Classifier) -> tuple[Classifier, list[str]]:
    """What is measured is what is kept: where a network or a linear model was to be settled on, the classifier with
    that of the measured part, and why."""
    if model.model != "auto":
        return model, []
    like, tried = model._unfitted(), part.fitted.facts["effects"]
    network = isinstance(part.fitted.head, Network)
    like.model = "network" if network else "linear"
    why = [settled(Tried(**tried[-1]), network)] if tried and tried[-1]["effects"] == "network" else []
    return like, why


def rows_alike(table: Table, schema: Schema) -> NDArray[np.int64] | None:
    """The same number for rows that a model cannot tell apart, (n,); None where there are none, or all are alike."""
    keys = table_keys(table, schema)
    if keys is None:
        return None
    _, group = np.unique(keys, return_inverse=True)
    return group if 0 < int(group.max()) < len(group) - 1 else None


def table_keys(table: Table, schema: Schema) -> NDArray[np.uint64] | None:
    """Equal for rows that a model cannot tell apart, (n,); None where it reads no column."""
    if all(column.kind == "left out" for column in schema.columns):
        return None
    parsed: Mapping[str, Any] = parse(table, schema)
    kinds = {column.name: column.kind for column in schema.columns}
    others = {name: cells.to_list() for name, cells in parsed.items() if kinds[name] == "text"}
    others |= {name: cells for name, cells in parsed.items() if kinds[name] == "image"}
    features = Encoder.fit(schema, parsed).transform(parsed)  # without the texts, whose n-grams labels settle
    return keys_of(features, others, available_threads(None))


def _held_out_facts(report: Report, share: float, seed: int) -> dict[str, Any]:
    loss = report.log_loss if np.isfinite(report.log_loss) else None
    return {"share": share, "seed": seed, "rows": report.rows, "accuracy": report.accuracy, "log_loss": loss}


def _kept(report: Report, fitted: Fitted, size: float) -> Measured | None:
    """The probabilities of the held-out rows among all classes of the final fit."""
    places = np.array([fitted.classes.index(label) for label in report.classes])
    p = np.zeros((report.rows, len(fitted.classes)))
    p[:, places] = report.probabilities
    return Measured.of(p, places[report.codes], size)


def take(table: Table, rows: NDArray[np.int64]) -> Table:
    """Some rows of a table, in the order given."""
    return Table(table.frame[rows], table.source, table.notes, table.mixed, vectors=table.vectors)


def _fit(
    table: Table,
    name: str,
    target: Labels,
    schema: Schema,
    model: Classifier,
    progress: Progress | None,
    groups: NDArray[np.int64] | None = None,
) -> tuple[Fitted, HeldOut | None]:
    with ExitStack() as workers:
        return _fit_with(workers, table, name, target, schema, model, progress, groups)


def _fit_with(
    workers: ExitStack, table: Table, name: str, target: Labels, schema: Schema, model: Classifier,
    progress: Progress | None, groups: NDArray[np.int64] | None,
) -> tuple[Fitted, HeldOut | None]:  # fmt: skip
    """The fit, where an engine's workers live as long as the context."""
    l2, threads = model.l2, available_threads(model.threads)
    if model.budget is not None:
        seconds_of(model.budget)
    if model.costs is not None and model.recall is not None:
        raise InputError("costs and recall both settle the answer: give one of them")
    costs = None if model.costs is None else costs_of(model.costs, target.classes)
    if all(c.kind == "left out" for c in schema.columns):
        reasons = "; ".join(f"{c.name!r}: {c.why}" for c in schema.columns[:5])
        raise InputError(
            f"{table.source}: no column is left to learn from ({reasons}); name one with --as 'COLUMN=category'"
        )
    vast = is_vast(table, schema)
    if not vast:
        _check_in_memory(table)
    parsed: Mapping[str, Any] = ParsedLater(table, schema) if vast else parse(table, schema)
    codes = target.codes.astype(np.int32)
    counts = np.bincount(codes, minlength=len(target.classes))
    if vast:
        _check_vast(table, model)
        encoder, classes = encoder_of(table, schema), len(target.classes)
        features = workers.enter_context(features_for(model.engine, encoder, table, schema, codes, classes, threads))
        if (run := now()) is not None:
            run.of(lambda: _data_of(table, schema, target, groups, None, features.hashes(0, threads)))
        choice = choose_straight(encoder, features, codes, classes, l2, threads, groups)
    else:
        encoder = Encoder.fit(schema, parsed)
        choice = _chosen(encoder, parsed, schema, codes, len(target.classes), model, groups)
    layered = choose_network(choice, parsed, "linear" if vast else model.model, bytes_of(model.size), threads)
    choice = layered.choice
    encoder, problem = choice.encoder, choice.problem
    head, told = _linear(choice, l2, target, progress) if layered.settings is None else _network(layered, progress)
    facts = {
        "rows": table.rows,
        "class_counts": counts.tolist(),
        **told,
        "effects": [asdict(tried) for tried in choice.tried],
        "notes": list(
            dict.fromkeys([*table.notes, *target.notes, *schema.notes, *_few(counts, target), *choice.notes])
        ),
    }
    if ink := {name: ink_of(np.asarray(parsed[name])) for name in (i.name for i in encoder.images)}:
        facts["ink"] = ink
    calibration, held_out = _on_held_out(choice.path, codes, problem)
    conformal = None
    if held_out is not None:
        p, truth = held_out.probabilities[held_out.scored], held_out.codes[held_out.scored]
        own = _mean_probabilities(problem.features, head, calibration, threads)
        conformal = Conformal.of(with_means(p, own), truth)
        if model.recall is not None:
            _check_held_out(model.recall, target, truth)
            costs = costs_for_recall(model.recall, p, truth, target.classes)
    elif model.recall is not None:
        raise InputError("recall needs rows held out of each class: give costs instead, or more rows")
    means = np.zeros(encoder.width)  # a text is set against an empty one
    table_features = replace(encoder, texts=()).transform(parsed) if encoder.texts else problem.features
    means[: table_features.columns] = table_features.means()
    parts = (schema, encoder, head, means, None, calibration, conformal, costs)
    fitted = Fitted(*parts, tuple(target.classes), name, facts)
    fitted = replace(fitted, spread=spread_of(fitted, problem.features))
    del parts, head  # so that no more than two copies of weights are there, which may be very many
    fitted = within(fitted, bytes_of(model.size))
    return checked(fitted), held_out


def _check_in_memory(table: Table) -> None:
    """Raises InputError for a stored table that has to be read at once."""
    if isinstance(table.frame, StoredFrame):
        raise InputError(
            f"{table.source}: its rows are more than the memory allows, and tables with texts, with rows held out by "
            "time, or of few cells are read at once: allow more memory"
        )


def _check_vast(table: Table, model: Classifier) -> None:
    if model.effects not in ("auto", "linear") or wanted(model.model)[0] == "network":
        raise InputError(
            f"{table.source}: has so many cells that its columns enter straight, in a linear model: leave effects and "
            "model at what they are by default, or give fewer rows"
        )


def checked(fitted: Fitted) -> Fitted:
    """The model with example rows, and what it says of them."""
    own, columns = Classifier(threads=1), examples(fitted.schema, fitted.encoder)
    own._fitted = fitted
    p = own.predict_proba(of_cells(cells_of(fitted, columns)))
    return replace(fitted, check=Check(columns, p, computed_by()))


def _linear(
    choice: Choice, l2: float | str | None, target: Labels, progress: Progress | None
) -> tuple[Linear, dict[str, Any]]:
    """The certified fit on all rows, and what is to be told of it."""
    encoder, problem = choice.encoder, choice.problem
    many = encoder.texts or encoder.images or encoder.embeddings
    tol, share = (READ_TOLERANCE, READ_SHARE) if many else (TOLERANCE, 0.0)
    if encoder.texts and problem.is_large:
        tol = LARGE_TOLERANCE

    def fitted() -> LinearFit:
        fit = fit_linear(
            problem.features, problem.codes, problem.classes, choice.l2, tol=tol, share=share, threads=problem.threads,
            start=choice.start, progress=progress,
        )  # fmt: skip
        if fit.certificate.stopped == "interrupted":
            raise KeyboardInterrupt  # the earlier fit, and the file, stay as they are
        return fit

    few = encoder.width * problem.outputs <= MOST_OF_PIECE
    fit = piece("fit", fitted, LinearFit, Certificate) if few else fitted()
    warn_of(fit, l2, list(target.classes))
    coef = _rounded(encoder, (fit.point.copy() if few else fit.point)[:-1].T)  # a run has its own
    return Linear(coef, fit.point[-1].copy()), {"l2": fit.l2, **_facts_of(fit.certificate)}


def _network(layered: Layered, progress: Progress | None) -> tuple[Network, dict[str, Any]]:
    """The network trained on all rows, and what is to be told of it."""
    fit = layered.trained(progress)
    if fit.stopped:
        warn(f"the training stopped early ({fit.stopped}): {fit.note}")
    assert layered.settings is not None
    head = Network(tuple(fit.layers), fit.shift, fit.scale, layered.settings.gelu)
    epochs = [[loss if math.isfinite(loss) else None for loss in (e.loss, e.held_out)] for e in fit.history]
    finite = [e for e in fit.history if math.isfinite(e.loss) and math.isfinite(e.held_out)]
    best = min(finite, key=lambda e: e.held_out).loss if finite else None
    told = {"objective": best, "gap": None, "passes": len(epochs), "epochs": epochs}
    return head, {**told, "l2": None, "certificate": fit.note}


def _mean_probabilities(
    features: Features, head: Linear | Network, calibration: Calibration, threads: int
) -> NDArray[np.float64]:
    """The mean over the rows, (K,), of which only some are in memory where they are very many."""
    step = features.rows if features.rows * head.outputs <= MOST_LOGITS else LOGITS_AT_ONCE // head.outputs
    total = np.zeros(max(head.outputs, 2))
    for i in range(0, features.rows, step):
        part = features.between(i, min(i + step, features.rows))
        own = calibration.probabilities(head.logits(part, threads), threads)
        if part.rows == features.rows:
            return np.asarray(own.mean(axis=0))
        total += own.sum(axis=0)
    return total / features.rows


def _facts_of(certificate: Certificate) -> dict[str, Any]:
    return {
        "objective": certificate.objective,
        "gap": certificate.gap if np.isfinite(certificate.gap) else None,
        "passes": certificate.passes,
        "certificate": certificate.sentence(),
    }


def _squeezed(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits[:, 0] if logits.shape[1] == 1 else logits


def _rounded(encoder: Encoder, coef: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of n-grams as float32, as they are kept."""
    table = encoder.width - sum(len(t.buckets) for t in encoder.texts)
    for i in range(table, encoder.width, COLUMNS_AT_ONCE):
        coef[:, i : i + COLUMNS_AT_ONCE] = coef[:, i : i + COLUMNS_AT_ONCE].astype(np.float32)
    return coef


def _chosen(
    encoder: Encoder, parsed: Mapping[str, Any], schema: Schema, codes: NDArray[np.int32], classes: int,
    model: Classifier, groups: NDArray[np.int64] | None,
) -> Choice:  # fmt: skip
    """How the columns enter, and whether and how the texts do."""
    l2, threads = model.l2, available_threads(model.threads)
    network = wanted(model.model)[0] == "network"  # which bends by itself
    effects = "linear" if network and model.effects == "auto" else model.effects
    texts, images = ([c.name for c in schema.columns if c.kind == kind] for kind in ("text", "image"))
    plain = None
    if encoder.embeddings:
        plain = choose_embeddings(encoder, parsed, codes, classes, l2=l2, threads=threads, groups=groups)
    elif not (texts or images) or (encoder.width and len(codes) * classes <= MOST_LOGITS):
        plain = choose_effects(encoder, parsed, codes, classes, effects=effects, l2=l2, threads=threads, groups=groups)
    if l2 is None:
        l2 = 1.0 / len(codes)
    if images:
        plain = choose_images(
            encoder,
            parsed,
            images,
            codes,
            classes,
            plain=plain,
            l2=l2,
            threads=threads,
            groups=groups,
            budget=None if model.budget is None else seconds_of(model.budget),
        )
    if not texts:
        assert plain is not None
        return plain
    size = bytes_of(model.size)
    return choose_texts(
        encoder, parsed, texts, codes, classes, plain=plain, l2=l2, size=size, threads=threads, groups=groups,
        units=units_for_texts(model.model),
    )  # fmt: skip


def _on_held_out(
    path: HeldOutLogits | None, codes: NDArray[np.int32], problem: Problem
) -> tuple[Calibration, HeldOut | None]:
    """The calibration that the logits of held-out rows ask for, and their probabilities by it; none where no row could
    be held out."""
    if path is None:
        return no_calibration(problem.outputs), None
    assert problem.keys is not None
    keys, scored = problem.keys, path.scored
    if path.rows is not None:
        keys, codes = keys[path.rows], codes[path.rows]
    calibration = choose(path.held_out[scored], codes[scored], problem.classes, None, keys[scored], problem.threads)
    return calibration, HeldOut(calibration.probabilities(path.held_out, problem.threads), codes, scored, path.rows)


def _check_held_out(recall: Mapping[Any, float], target: Labels, truth: NDArray[np.int32]) -> None:
    """Raises InputError if no row of a class that is to be found could be held out."""
    known = [str(c) for k, c in enumerate(target.classes) if (truth == k).any()]
    for name in recall:
        if str(name) not in known and str(name) in map(str, target.classes):
            raise InputError(f"recall of {name!r}: no row of this class could be held out; it needs two or more")


def _schema(table: Table, label: str, kinds: Mapping[str, str] | None, group: str | None = None) -> Schema:
    if kinds and kinds.get(EMBEDDING) == "number" and EMBEDDING not in table.names:  # said of a whole array
        kinds = {name: kind for name, kind in kinds.items() if name != EMBEDDING}
    if kinds and label in kinds:
        raise InputError(f"the kind of {label!r} cannot be settled: it is the label; name other columns")
    if group is not None:
        table.column(group)
        kinds = {**(kinds or {}), group: "ignore"}
    return infer_schema(table, kinds)


def _few(counts: NDArray[np.int64], target: Labels) -> list[str]:
    single = [repr(c) for c, n in zip(target.classes, counts, strict=True) if n == 1]
    if not single:
        return []
    which = ", ".join(single[:5]) + (", ..." if len(single) > 5 else "")
    return [f"classes with a single row: {which}; learnt from, but never held out to be measured"]


def _rows_and_labels(
    data: object, label: str | Sequence[Any] | NDArray[Any], kinds: Mapping[str, str] | None = None
) -> tuple[Table, str, Labels]:
    kinds = kinds or {}
    table = _table_of(data, {"embedding": True, "number": False}.get(kinds.get(EMBEDDING, "")))
    table = with_pixels(table, [name for name, kind in kinds.items() if kind == "image"], ".")
    if isinstance(label, str):
        target = labels(table, label)
        return table.without(label), label, target
    target = labels_of(label)
    if len(target.codes) != table.rows:
        raise InputError(f"there are {len(target.codes)} labels for {table.rows} rows: give one for each row")
    return table, "", target


def _table_of(data: object, embeddings: bool | None) -> Table:
    """A table; whether an array of numbers is one of embeddings, None: if it is of small floats and wide."""
    if isinstance(data, np.ndarray) and data.ndim == 2 and data.dtype.kind in "biuf":
        wide = data.dtype in (np.float16, np.float32) and data.shape[1] > WIDE
        if wide if embeddings is None else embeddings:
            return Table.of(Embeddings.of(data))
    return Table.of(data)


def _rows_and_values(table: Table, label: str | Sequence[Any] | NDArray[Any]) -> tuple[Table, str, pl.Series]:
    import polars as pl

    if isinstance(label, str):
        return table.without(label), label, table.column(label)
    values = pl.Series("label", label)
    if len(values) != table.rows:
        raise InputError(f"there are {len(values)} labels for {table.rows} rows: give one for each row")
    return table, "", values


def _array_of(classes: tuple[Label, ...]) -> NDArray[Any]:
    """The classes as an array: ints, bools, or strings of any length."""
    return np.array(classes)
