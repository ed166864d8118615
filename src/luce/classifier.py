"""Classifier: from a labelled table to class probabilities; the house's one mutable object."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luce.calibration import Calibration
from luce.check import cells_of, computed_by, examples
from luce.counterfactual import Counterfactual, counterfactual, repeated
from luce.decision import best_of, estimated_shares, shares_of, shifts
from luce.effects import known_spread
from luce.effects import overview as overview_of
from luce.engine import Engine
from luce.errors import InputError, NotFittedError, warn
from luce.estimator import probabilities_of
from luce.explain import Explanation, explain
from luce.features import Features
from luce.fitted import Check, Fitted, HeldOut, Label
from luce.fitting import LOGITS_AT_ONCE, LabelledTable, begin_run, checkpointed, fit_rows, table_of
from luce.functional import available_threads
from luce.images import Images
from luce.labels import encode_labels
from luce.model_file import load_fitted, save_fitted
from luce.network import NetworkClassifier
from luce.pictures import with_pixels
from luce.report import Report, evaluate
from luce.solver import Progress
from luce.table import Table, of_cells
from luce.vast import blocks_of, is_vast, trimmed

if TYPE_CHECKING:
    import polars as pl

IMAGES_AT_ONCE = 4096  # have their features in memory
FEW_TEXTS = 64  # are not worth a second thread


class Classifier:
    """A softmax classifier for tables: columns are recognised, encoded and weighed; probabilities come out.

    Logits are linear in the encoded columns (numbers standardised, categories one-hot, each with a slot for missing
    cells; where it pays, with functions that let a number bend and two columns act together) and minimise
    mean cross-entropy + l2/2 |W|^2  to a proven distance from the optimum (`certificate`). Then they are calibrated on
    the logits of rows held out in the choice of l2, if that lowers the log loss beyond its noise (`calibration`).

    l2: strength of the penalty; "auto" chooses it by cross-validated log loss, None is 1/n. kinds: what a column is, by
    name, where it is not what it seems: "number", "boolean", "date", "category", "text", "image", "embedding" or
    "ignore". threads: None for all processors; the model has the same bits for every number of threads.
    effects: "linear" (numbers that are compressed by a logarithm far out, or not: docs/effects.md), "curves" (numbers
    may bend), "pairs" (and pairs of columns act together), or "auto": the one that lowers the log loss of rows held
    out. In "auto" and "pairs" numbers that are codes are told value by value, where that lowers it.
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
        return array_of(self.fitted.classes)

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
        rows = LabelledTable.of(data, label, self.kinds, group)
        with checkpointed(self), trimmed(rows.table):
            begin_run(self, rows, label=rows.label, group=group)
            set_fit(self, *checked_fit(rows, self, progress))
        return self

    def predict_proba(self, data: object) -> NDArray[np.float64]:
        """Probabilities (n, K) float64, columns in the order of classes_; rows in the order given, each sums to 1.

        Columns are matched by name. For a model that reads one text column, a list of texts will do. Raises InputError
        that lists missing and unknown columns, or names the first cell that does not fit its column.
        """
        fitted = self.fitted
        if type(data).__name__ == "Series" and fitted.text_alone is not None:
            data = list(data)  # type: ignore[call-overload]  # texts
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
        coverage has several) have None instead, and the array is one of objects. Costs may decide for a class that is
        not the one of the set: it is then not thought likely, but worth acting on.
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
        parsed = fitted.parsed(one)
        features = fitted.encoder.transform(parsed)
        p = self._probabilities(features)
        answer = fitted.classes.index(self.decide(p).tolist()[0])
        if against is not None and against not in fitted.classes:
            raise InputError(f"{against!r} is no class; there are {', '.join(map(repr, fitted.classes[:5]))}")
        other = None if against is None else fitted.classes.index(against)
        return explain(fitted, one, parsed, features, p, answer, other)

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
        columns = fitted.schema.columns
        return counterfactual(fitted.encoder, parsed, given, answer, wanted, keep, columns, fitted.classes)

    def _table(self, data: object) -> Table:
        """Rows as the model reads them: paths of images, seen from the working folder, become pixels."""
        if isinstance(data, Images):
            data = replace(data, labels=None)
        sizes = self.fitted.image_sizes
        if isinstance(data, np.ndarray) and data.ndim == 2 and sizes and len(self.fitted.encoder.sources) == 1:
            raise InputError(
                f"an array {data.shape} is one image alone: give a stack (1, height, width), as image[None]"
            )
        table = table_of(data, self.fitted.embedding_alone is not None)
        return with_pixels(table, [name for name in sizes if name in table.names], ".", sizes)

    def _row_of(self, data: object, row: int) -> Table:
        table = self._table(data)
        if not 0 <= row < table.rows:
            raise InputError(f"there is no row {row}: {table.source} has {table.rows:,}, counted from 0")
        return table.take(np.array([row]))

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
        other = unfitted(self)
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
        table = table_of(data, fitted.embedding_alone is not None)
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
        return report_of(fitted, self.predict_proba(table), self.classes_[codes].tolist())

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


def unfitted(model: Classifier) -> Classifier:
    """One with the same settings."""
    return Classifier(
        model.l2, model.kinds, model.threads, effects=model.effects, costs=model.costs, recall=model.recall,
        size=model.size, model=model.model, budget=model.budget, engine=model.engine, checkpoint=model.checkpoint,
    )  # fmt: skip


def checked_fit(rows: LabelledTable, settings: Classifier, progress: Progress | None) -> tuple[Fitted, HeldOut | None]:
    """As `fit_rows`, with example rows."""
    fitted, held_out = fit_rows(rows, settings, progress)
    return checked(fitted), held_out


def checked(fitted: Fitted) -> Fitted:
    """The model with example rows, and what it says of them."""
    own, columns = Classifier(threads=1), examples(fitted.schema, fitted.encoder)
    own._fitted = fitted
    p = own.predict_proba(of_cells(cells_of(fitted, columns)))
    return replace(fitted, check=Check(columns, p, computed_by()))


def set_fit(model: Classifier, fitted: Fitted, held_out: HeldOut | None) -> None:
    """Makes a classifier the one of this fit."""
    model._fitted, model._held_out = fitted, held_out


def report_of(
    fitted: Fitted, p: NDArray[np.float64], truth: list[Label], groups: NDArray[np.int64] | None = None
) -> Report:
    """How probabilities (n, K) by a model, and its answers, compare with the labels of the rows, of which some may
    belong together."""
    answers = None if fitted.costs is None else array_of(fitted.classes)[best_of(p, fitted.costs)].tolist()
    return evaluate(truth, p, list(fitted.classes), predicted=answers, class_shares=fitted.class_shares, groups=groups)


def _squeezed(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits[:, 0] if logits.shape[1] == 1 else logits


def _rows_and_values(table: Table, label: str | Sequence[Any] | NDArray[Any]) -> tuple[Table, str, pl.Series]:
    import polars as pl

    if isinstance(label, str):
        return table.without(label), label, table.column(label)
    values = pl.Series("label", label)
    if len(values) != table.rows:
        raise InputError(f"there are {len(values)} labels for {table.rows} rows: give one for each row")
    return table, "", values


def array_of(classes: tuple[Label, ...]) -> NDArray[Any]:
    """The classes as an array: ints, bools, or strings of any length."""
    return np.array(classes)
