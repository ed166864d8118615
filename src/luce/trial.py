"""Trial: how a classifier does on rows that it has not seen, then the same one fitted on all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.choice import Tried
from luce.classifier import Classifier, array_of, checked_fit, report_of, set_fit, unfitted
from luce.compact import bytes_of
from luce.errors import InputError, inert, warn
from luce.fitted import Fitted, HeldOut, Measured
from luce.fitting import LabelledTable, begin_run, check_in_memory, checkpointed, table_keys
from luce.grouping import dealt_by, split_of, times_of
from luce.heads import Network
from luce.hidden import settled
from luce.objective import MOST_LOGITS
from luce.pictures import seconds_of
from luce.report import Report
from luce.schema import Schema, parse
from luce.solver import Progress
from luce.splits import Split
from luce.table import Table
from luce.vast import is_vast, trimmed


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
    with checkpointed(model):
        return _train(data, label, model, held_out, seed, group, time, progress, on_schema)


def _train(
    data: object, label: str | Sequence[Any] | NDArray[Any], model: Classifier, held_out: float, seed: int,
    group: str | None, time: str | None, progress: Progress | None, on_schema: Callable[[Schema], None] | None,
) -> Trained:  # fmt: skip
    """As `train`."""
    settings = unfitted(model)
    if model.budget is not None and held_out:
        settings.budget = seconds_of(model.budget) / 2  # for each of the two fits
    rows = LabelledTable.of(data, label, model.kinds, group)
    times = None if time is None else times_of(rows.table, time)
    if on_schema is not None:
        on_schema(rows.schema)
    more = {"label": rows.label, "group": group, "time": time, "held_out": held_out, "seed": seed}
    begin_run(model, rows, times, **more)
    if times is None and (is_vast(rows.table, rows.schema) or _has_many_classes(rows)):
        with trimmed(rows.table):
            fitted, rows_held_out, report = _fit_once(rows, settings, progress, held_out)
        set_fit(model, fitted, rows_held_out)
        return Trained(model, report)
    check_in_memory(rows.table)
    report, like = None, settings
    why: list[str] = []
    if held_out:
        together = (
            copies(rows.table, rows.schema, rows.target.codes) if rows.groups is None and times is None else rows.groups
        )
        split = split_of(rows.target.codes, held_out, seed, together, times)
        report, part = _measure(rows, settings, split, together, progress)
        like, why = _like(part, settings)
    fitted, rows_held_out = checked_fit(rows, like, progress)
    if report is not None:
        facts = _held_out_facts(report, held_out, seed)
        if group is not None or time is not None:
            by, column = ("time", time) if group is None else ("group", group)
            facts |= {"by": by, "column": inert(str(column))}
        notes = [*fitted.facts["notes"], *why]
        measured = _kept(report, fitted, bytes_of(model.size))
        fitted = replace(fitted, facts={**fitted.facts, "held_out": facts, "notes": notes}, measured=measured)
    set_fit(model, fitted, rows_held_out)
    return Trained(model, report)


def _has_many_classes(rows: LabelledTable) -> bool:
    """Whether texts are read and the logits of all rows are too many to be kept."""
    many = len(rows.target.codes) * len(rows.target.classes) > MOST_LOGITS
    return many and any(column.kind == "text" for column in rows.schema.columns)


def _fit_once(
    rows: LabelledTable, settings: Classifier, progress: Progress | None, share: float
) -> tuple[Fitted, HeldOut | None, Report | None]:
    """A fit to all rows, and how one without them did on the rows that it held out. Their calibration is that of the
    model: it has few numbers, and they are many."""
    fitted, held = checked_fit(rows, settings, progress)
    if held is None or not share:
        return fitted, held, None
    truth = array_of(fitted.classes)[held.codes[held.scored]].tolist()
    report = report_of(fitted, held.probabilities[held.scored], truth)
    facts = {**fitted.facts, "held_out": _held_out_facts(report, report.rows / rows.table.rows, 0)}
    measured = _kept(report, fitted, bytes_of(settings.size))
    return replace(fitted, facts=facts, measured=measured), held, report


def _measure(
    rows: LabelledTable, settings: Classifier, split: Split, together: NDArray[np.int64] | None,
    progress: Progress | None,
) -> tuple[Report, Classifier]:  # fmt: skip
    """How a classifier fitted to some of the rows does on the rest, and itself. together: numbers of the rows, the same
    for those that belong together."""
    some, rest = split
    taught, target = rows.take(some), rows.target
    if len(taught.target.classes) < 2:
        raise InputError(f"the rows to learn from are all of class {taught.target.classes[0]!r}: split otherwise")
    part = unfitted(settings)
    set_fit(part, *checked_fit(taught, settings, progress))
    new = ~np.isin(target.codes[rest], target.codes[some])
    if new.any():
        warn(f"{int(new.sum())} held-out row(s) of classes that the rows fitted on lack are not measured")
    rest = rest[~new]
    truth = array_of(tuple(target.classes))[target.codes[rest]].tolist()
    groups = None if together is None else together[rest]
    if groups is not None and len(np.unique(groups)) == len(groups):
        groups = None
    return report_of(part.fitted, part.predict_proba(rows.table.take(rest)), truth, groups), part


def _like(part: Classifier, settings: Classifier) -> tuple[Classifier, list[str]]:
    """What is measured is what is kept: where a network or a linear model was to be settled on, the classifier with
    that of the measured part, and why."""
    if settings.model != "auto":
        return settings, []
    like, tried = unfitted(settings), part.fitted.facts["effects"]
    network = isinstance(part.fitted.head, Network)
    like.model = "network" if network else "linear"
    why = [settled(Tried(**tried[-1]), network)] if tried and tried[-1]["effects"] == "network" else []
    return like, why


def copies(table: Table, schema: Schema, codes: NDArray[np.integer]) -> NDArray[np.int64] | None:
    """The same number for rows that are copies of one, (n,); None where there are none, or all are alike."""
    parsed = parse(table, schema)
    hashes = table_keys(parsed, schema)
    if hashes is None:
        return None
    _, keys = dealt_by(codes, None, hashes, parsed, [c.name for c in schema.columns if c.kind == "text"])
    _, group = np.unique(keys, return_inverse=True)
    return group if 0 < int(group.max()) < len(group) - 1 else None


def _held_out_facts(report: Report, share: float, seed: int) -> dict[str, Any]:
    loss = report.log_loss if np.isfinite(report.log_loss) else None
    return {"share": share, "seed": seed, "rows": report.rows, "accuracy": report.accuracy, "log_loss": loss}


def _kept(report: Report, fitted: Fitted, size: float) -> Measured | None:
    """The probabilities of the held-out rows among all classes of the final fit."""
    places = np.array([fitted.classes.index(label) for label in report.classes])
    p = np.zeros((report.rows, len(fitted.classes)))
    p[:, places] = report.probabilities
    return Measured.of(p, places[report.codes], size)
