"""Classifier: from a labelled table to class probabilities; the house's one mutable object."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luce.encoder import Encoder
from luce.errors import InputError, NotFittedError
from luce.fitted import Fitted, Label
from luce.functional import available_threads
from luce.labels import Labels, encode_labels, labels, labels_of
from luce.linear import fit_linear, probabilities_of, warn_of
from luce.model_file import load_fitted, save_fitted
from luce.report import Report, evaluate
from luce.solver import Progress
from luce.splits import holdout
from luce.table import Schema, Table, infer_schema, parse

if TYPE_CHECKING:
    import polars as pl


class Classifier:
    """A softmax classifier for tables: columns are recognised, encoded and weighed; probabilities come out.

    Logits are linear in the encoded columns (numbers standardised, categories one-hot, each with a slot for missing
    cells) and minimise  mean cross-entropy + l2/2 |W|^2  to a proven distance from the optimum (`certificate`).

    l2: strength of the penalty; "auto" chooses it by cross-validated log loss, None is 1/n. kinds: what a column is, by
    name, where it is not what it seems: "number", "boolean", "date", "category" or "ignore". threads: None for all
    processors; the model has the same bits for every number of threads.
    """

    def __init__(
        self, l2: float | str | None = "auto", kinds: Mapping[str, str] | None = None, threads: int | None = None
    ) -> None:
        self.l2 = l2
        self.kinds = kinds
        self.threads = threads
        self._fitted: Fitted | None = None

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
    def classes_(self) -> NDArray[Any]:
        """The labels, in the order of the columns of predict_proba."""
        return _array_of(self.fitted.classes)

    def fit(self, data: object, label: str | Sequence[Any] | NDArray[Any], *, progress: Progress | None = None) -> Self:
        """Fits to a table and its labels.

        data: a pandas, polars or pyarrow frame, a dict of columns, a list of records, or a 2-D array of numbers.
        label: the name of the label column, or one label for each row. Labels are strings, whole numbers or bools.
        progress: called with (passes over the data, proven relative distance from the optimum so far).
        Raises InputError for data that cannot be used; a failed fit leaves an earlier one as it was.
        """
        table, name, target = _rows_and_labels(data, label)
        schema = _schema(table, name, self.kinds)
        self._fitted = _fit(table, name, target, schema, self.l2, available_threads(self.threads), progress)
        return self

    def predict_proba(self, data: object) -> NDArray[np.float64]:
        """Probabilities (n, K) float64, columns in the order of classes_; rows in the order given, each sums to 1.

        Columns are matched by name. Raises InputError that lists missing and unknown columns, or names the first cell
        that does not fit its column.
        """
        fitted = self.fitted
        logits = fitted.logits(Table.of(data), available_threads(self.threads))
        return probabilities_of(logits[:, 0] if logits.shape[1] == 1 else logits)

    def predict(self, data: object) -> NDArray[Any]:
        """The most probable class of each row, (n,)."""
        return np.asarray(self.classes_[self.predict_proba(data).argmax(axis=1)])

    def evaluate(self, data: object, label: str | Sequence[Any] | NDArray[Any] | None = None) -> Report:
        """Accuracy, precision, recall, F1, log loss, confusion on labelled rows; label None: the column of the fit."""
        fitted = self.fitted
        table = Table.of(data)
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
        truth = self.classes_[codes].tolist()
        return evaluate(truth, self.predict_proba(table), list(fitted.classes), class_shares=fitted.class_shares)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as one file of arrays and JSON, whole or not at all (docs/model-file.md)."""
        save_fitted(self.fitted, path)

    def strongest(self, count: int = 5) -> dict[Label, list[tuple[str, float]]]:
        """For each class the features with the largest weights, by size: (feature, weight on the logit).

        A weight is the change of the class's logit when a number grows by one standard deviation, or when a category
        takes that level, against the mean over the classes.
        """
        fitted = self.fitted
        names, coef = fitted.encoder.names, fitted.coef
        if len(coef) == 1:
            coef = np.concatenate([-coef / 2, coef / 2])
        out: dict[Label, list[tuple[str, float]]] = {}
        for label, row in zip(fitted.classes, coef, strict=True):
            order = np.argsort(-np.abs(row), kind="stable")[:count]
            out[label] = [(names[j], float(row[j])) for j in order if row[j] != 0]
        return out


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
    label: str,
    *,
    classifier: Classifier | None = None,
    held_out: float = 0.2,
    seed: int = 0,
    progress: Progress | None = None,
    on_schema: Callable[[Schema], None] | None = None,
) -> Trained:
    """Fits on a part of the rows, measures on the rest, then fits on all rows: the work of `luce train`.

    held_out: share of the rows of each class to measure on, 0 for none. seed: which rows these are.
    on_schema: called once with what the columns are, before the first fit.
    What a column is (its type) is read off all rows; means, scales and levels off the rows fitted on alone.
    """
    model = classifier if classifier is not None else Classifier()
    table, name, target = _rows_and_labels(data, label)
    schema = _schema(table, name, model.kinds)
    if on_schema is not None:
        on_schema(schema)
    threads = available_threads(model.threads)
    report = None
    if held_out:
        report = _measure(table, name, target, schema, model.l2, threads, held_out, seed, progress)
    fitted = _fit(table, name, target, schema, model.l2, threads, progress)
    if report is not None:
        fitted = replace(fitted, facts={**fitted.facts, "held_out": _held_out_facts(report, held_out, seed)})
    model._fitted = fitted
    return Trained(model, report)


def _measure(
    table: Table, name: str, target: Labels, schema: Schema, l2: float | str | None, threads: int, share: float,
    seed: int, progress: Progress | None,
) -> Report:  # fmt: skip
    rows, rest = holdout(target.codes, share, seed)
    part = _fit(take(table, rows), name, replace(target, codes=target.codes[rows]), schema, l2, threads, progress)
    logits = part.logits(take(table, rest), threads)
    probabilities = probabilities_of(logits[:, 0] if logits.shape[1] == 1 else logits)
    truth = _array_of(target.classes)[target.codes[rest]].tolist()
    return evaluate(truth, probabilities, list(target.classes), class_shares=part.class_shares)


def _held_out_facts(report: Report, share: float, seed: int) -> dict[str, Any]:
    loss = report.log_loss if np.isfinite(report.log_loss) else None
    return {"share": share, "seed": seed, "rows": report.rows, "accuracy": report.accuracy, "log_loss": loss}


def take(table: Table, rows: NDArray[np.int64]) -> Table:
    """Some rows of a table, in the order given."""
    return Table(table.frame[rows], table.source, table.notes, table.mixed)


def _fit(
    table: Table,
    name: str,
    target: Labels,
    schema: Schema,
    l2: float | str | None,
    threads: int,
    progress: Progress | None,
) -> Fitted:
    if all(c.kind == "left out" for c in schema.columns):
        reasons = "; ".join(f"{c.name!r}: {c.why}" for c in schema.columns[:5])
        raise InputError(
            f"{table.source}: no column is left to learn from ({reasons}); name one with --as 'COLUMN=category'"
        )
    parsed = parse(table, schema)
    encoder = Encoder.fit(schema, parsed)
    codes = target.codes.astype(np.int32)
    counts = np.bincount(codes, minlength=len(target.classes))
    fit = fit_linear(encoder.transform(parsed), codes, len(target.classes), l2, threads=threads, progress=progress)
    if fit.certificate.stopped == "interrupted":
        raise KeyboardInterrupt  # the earlier fit, and the file, stay as they are
    warn_of(fit, l2, list(target.classes))
    certificate, strength, point = fit.certificate, fit.l2, fit.point
    facts = {
        "rows": table.rows,
        "class_counts": counts.tolist(),
        "l2": strength,
        "objective": certificate.objective,
        "gap": certificate.gap if np.isfinite(certificate.gap) else None,
        "passes": certificate.passes,
        "certificate": certificate.sentence(),
        "notes": list(dict.fromkeys([*table.notes, *target.notes, *schema.notes, *_few(counts, target)])),
    }
    coef = np.ascontiguousarray(point[:-1].T)
    return Fitted(schema, encoder, coef, point[-1].copy(), tuple(target.classes), name, facts)


def _schema(table: Table, label: str, kinds: Mapping[str, str] | None) -> Schema:
    if kinds and label in kinds:
        raise InputError(f"the kind of {label!r} cannot be settled: it is the label; name other columns")
    return infer_schema(table, kinds)


def _few(counts: NDArray[np.int64], target: Labels) -> list[str]:
    single = [repr(c) for c, n in zip(target.classes, counts, strict=True) if n == 1]
    if not single:
        return []
    which = ", ".join(single[:5]) + (", ..." if len(single) > 5 else "")
    return [f"classes with a single row: {which}; learnt from, but never held out to be measured"]


def _rows_and_labels(data: object, label: str | Sequence[Any] | NDArray[Any]) -> tuple[Table, str, Labels]:
    table = Table.of(data)
    if isinstance(label, str):
        target = labels(table, label)
        return table.without(label), label, target
    target = labels_of(label)
    if len(target.codes) != table.rows:
        raise InputError(f"there are {len(target.codes)} labels for {table.rows} rows: give one for each row")
    return table, "", target


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
