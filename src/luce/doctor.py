"""The data doctor: what is wrong with a labelled table, and what to do about it, before a model is trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from luce import cells
from luce.alone import coded, leaks_of, separations_of
from luce.classifier import Classifier
from luce.errors import InputError
from luce.features import Features
from luce.findings import FEW_ROWS, ClassNote, ColumnNote, Comparison, Findings, Scores, Suspect, render, to_json
from luce.fitted import HeldOut
from luce.grouping import groups_of, times_of
from luce.hints import hints_of
from luce.intervals import shares
from luce.labels import Labels, labels, labels_of
from luce.pictures import image_columns, with_pixels
from luce.schema import Schema, parse
from luce.solver import Progress
from luce.splits import Split, holdout, holdout_by_time, holdout_of_groups
from luce.suspects import Ranking, Wrong, rank, wrong
from luce.table import Table
from luce.twins import equal_rows, near_rows, row_sums

__all__ = ["Findings", "examine", "examine_fitted", "render", "to_json"]

HELD_OUT = 0.2  # of the rows, where splits are compared
SEED = 0
MOST_CHECKED = 0.9  # of the rows: of fewer whose labels are checked it is told


def examine(
    data: object,
    label: str | Sequence[Any] | NDArray[Any],
    *,
    group: str | None = None,
    time: str | None = None,
    classifier: Classifier | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Find labels that are likely wrong, columns that give the label away, twin rows, and what else spoils a measure.

    A Classifier is fitted once, and the probabilities of its own cross-validation are used (docs/doctor.md). data,
    label, progress: as in Classifier.fit. group, time: names of columns; with them the model is also fitted with whole
    groups, or the latest fifth of the rows, held out, and with a random fifth held out, and the scores are compared.
    classifier: settings for the fits (l2, kinds, threads); it is not fitted itself.

    Raises InputError for data or labels that cannot be used, and for columns that are not there or hold no times.
    """
    table = Table.of(data)
    name, target = (label, labels(table, label)) if isinstance(label, str) else ("", labels_of(label))
    settings = classifier if classifier is not None else Classifier()
    rows = table.without(label) if isinstance(label, str) else table
    if len(target.codes) != rows.rows:
        raise InputError(f"there are {len(target.codes)} labels for {rows.rows} rows: give one for each row")
    rows = with_pixels(rows, image_columns(rows, settings.kinds or {}), ".")
    groups = None if group is None else groups_of(rows, group)
    times = None if time is None else times_of(rows, time)
    schema, held_out = _held_out(rows, target, settings, progress)
    found = examine_fitted(rows, target, schema, held_out, label=name)
    compared: list[Comparison] = []
    if group is None and time is None:
        return found
    trial = _Trial(rows, schema, target, settings)
    if group is not None and groups is not None:
        split = holdout_of_groups(target.codes, groups, HELD_OUT, SEED)
        compared.append(trial.compare("group", group, split, len(np.unique(groups))))
    if time is not None and times is not None:
        compared.append(trial.compare("time", time, holdout_by_time(times, HELD_OUT), 0))
    return replace(found, comparisons=tuple(compared))


def examine_fitted(
    table: Table, target: Labels, schema: Schema, held_out: HeldOut | None, *, label: str = ""
) -> Findings:
    """What `examine` finds, by the parts of a Classifier that was fitted on these rows: no second fit.

    table: the rows without the label, n of them. target: the labels, (n,) codes. schema: `Classifier.fitted.schema`.
    held_out: `Classifier.held_out` of the same rows and classes, or None: then labels are not checked. label: its name.

    Raises InputError if the rows do not fit the schema, or held_out is of other rows or classes.
    """
    n, classes = table.rows, len(target.classes)
    if held_out is not None and held_out.probabilities.shape != (n, classes):
        rows, columns = held_out.probabilities.shape
        raise InputError(f"held_out is of {rows} rows and {columns} classes, and the table has {n} and {classes}")
    parsed = {name: _hashed(name, cells) for name, cells in parse(table, schema).items()}
    columns = list(coded(parsed, target))
    leaks, sums = leaks_of(columns, table, target), row_sums(parsed)
    ranking = None if held_out is None else rank(held_out)
    likely = None if held_out is None else wrong(held_out)
    scores = (
        None if held_out is None else _scores(held_out.probabilities[held_out.scored], target.codes[held_out.scored])
    )
    per_class = np.bincount(target.codes, minlength=classes)
    strong = [leak.column for leak in leaks if leak.how in ("equal", "one-to-one", "alone")]
    near = near_rows(parsed, sums, target)
    notes = [*table.notes, *target.notes, *schema.notes]
    checked = 0 if held_out is None else int(held_out.scored.sum())
    if held_out is None:
        why = "each class has only one, all are equal, or they are very many: then luce doctor checks some"
        notes.append(f"labels were not checked: none of these rows was held out ({why})")
    elif checked < MOST_CHECKED * n:
        notes.append(f"labels of {checked:,} of {n:,} rows were checked, those that a fit to so many rows holds out")
    if near.everywhere and len(parsed) > 1:  # one column is all that nearly equal rows could differ in
        notes.append("nearly equal rows were not looked for: with so few columns or values chance makes some")
    return Findings(
        source=table.source, label=label, rows=n, classes=target.classes, class_rows=tuple(per_class.tolist()),
        model=scores, leaks=tuple(leaks), ranking=ranking, wrong=likely, suspects=_suspects(ranking, likely, target),
        twins=equal_rows(sums, target), near=near, hints=tuple(hints_of(table, schema, parsed, target, strong)),
        comparisons=(), few=_few(per_class, target), separations=tuple(separations_of(columns, parsed, target)),
        columns=tuple(_column_notes(schema, parsed, n)), notes=tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _suspects(ranking: Ranking | None, likely: Wrong | None, target: Labels) -> tuple[Suspect, ...]:
    if ranking is None or likely is None:
        return ()
    rows = [row for row in ranking.order[: likely.look].tolist() if ranking.doubted[row]]
    r, classes = ranking, target.classes
    return tuple(
        Suspect(
            row + 1, classes[int(r.given[row])], classes[int(r.suggested[row])],
            float(r.p_given[row]), float(r.p_suggested[row]), float(r.score[row]),
        )
        for row in rows
    )  # fmt: skip


def _few(per_class: NDArray[np.int64], target: Labels) -> tuple[ClassNote, ...]:
    order = np.argsort(per_class, kind="stable")
    return tuple(ClassNote(target.classes[int(k)], int(per_class[k])) for k in order if per_class[k] < FEW_ROWS)


def _hashed(name: str, cells: Any) -> Any:
    """Images as text that is equal where they are; other cells as they are."""
    import polars as pl

    if not (isinstance(cells, np.ndarray) and cells.ndim > 1):
        return cells
    keys = Features(len(cells), dense=cells.reshape(len(cells), -1)).hashes(0, 1)
    return pl.Series(name, [f"image {key:016x}" for key in keys.tolist()])


def _column_notes(schema: Schema, parsed: Mapping[str, Any], rows: int) -> list[ColumnNote]:
    found = []
    for column in schema.columns:
        values = parsed.get(column.name)
        if values is None:
            found.append(ColumnNote(column.name, column.why, 0, 0.0))
            continue
        if isinstance(values, np.ndarray):
            missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0  # pixels are whole numbers
        else:
            missing = values.null_count()
        if missing:
            found.append(ColumnNote(column.name, "", missing, missing / rows))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# probabilities of rows held out


def _held_out(
    rows: Table, target: Labels, settings: Classifier, progress: Progress | None
) -> tuple[Schema, HeldOut | None]:
    """What a fit takes the columns for, and its held-out probabilities."""
    model = _like(settings, settings.kinds).fit(rows, np.array(target.classes)[target.codes], progress=progress)
    held = model.held_out
    return model.fitted.schema, None if held is None else held.of_all(target.codes.astype(np.int32))


def _like(settings: Classifier, kinds: Mapping[str, str] | None) -> Classifier:
    """A classifier of the same settings, but for the kinds, and without costs: they change answers, not findings."""
    model = copy(settings)
    model.kinds, model.costs, model.recall = kinds, None, None
    return model


def _scores(p: NDArray[np.float64], codes: NDArray[np.integer]) -> Scores:
    with np.errstate(divide="ignore"):
        losses = -np.log(p[np.arange(len(codes)), codes])
    right = np.array([int((p.argmax(axis=1) == codes).sum())])
    return Scores(len(codes), shares(right, np.array([len(codes)]))[0], float(losses.mean()) if len(codes) else 0.0)


# ---------------------------------------------------------------------------------------------------------------------
# groups and time


class _Trial:
    """Fits on some rows and scores on others; the columns are read and judged once, on all rows."""

    def __init__(self, rows: Table, schema: Schema, target: Labels, settings: Classifier) -> None:
        import polars as pl

        parsed = parse(rows, schema)
        self.table = Table(pl.DataFrame([pl.Series(name, column) for name, column in parsed.items()]), rows.source)
        self.kinds = {column.name: column.kind for column in schema.columns if column.name in parsed}
        self.target, self.settings = target, settings

    def compare(self, by: Literal["group", "time"], column: str, split: Split, groups: int) -> Comparison:
        codes = self.target.codes
        unknown = int((~np.isin(codes[split[1]], codes[split[0]])).sum())
        random = self._score(holdout(codes, HELD_OUT, SEED), column)
        return Comparison(by, column, groups, random, self._score(split, column), unknown)

    def _score(self, split: Split, column: str) -> Scores:
        codes, classes = self.target.codes, np.array(self.target.classes)
        train, held = split
        known = np.unique(codes[train])
        if len(known) < 2:
            class_ = cells.shown(self.target.classes[int(known[0])])
            raise InputError(
                f"split by {cells.shown(column)}, the rows to learn from are all of class {class_}; name another column"
            )
        model = _like(self.settings, self.kinds)
        model.fit(self.table.take(train), classes[codes[train]])
        p = model.predict_proba(self.table.take(held))
        seen = np.isin(codes[held], known)
        scores = _scores(p[seen], np.searchsorted(known, codes[held][seen]))
        right = np.array([round(scores.accuracy.value * scores.rows)])
        return Scores(len(held), shares(right, np.array([len(held)]))[0], scores.log_loss)
