"""What a model achieves on rows it never saw: as numbers, as JSON, as text on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce import metrics
from luce.errors import InputError
from luce.intervals import Interval, design_effect
from luce.metrics import Averages, ClassScores
from luce.scored import SUM_TOLERANCE, Classes, Label, scored_rows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

MATRIX_CLASSES = 12  # above this the terminal shows lists instead of the matrix
WORST_CLASSES = 10
TOP_CONFUSIONS = 10
INFINITE = "infinite: a row's true class had probability 0"

_LABEL_WIDTHS = (40, 32, 24, 16, 12, 8)  # cells that a label may take, tried from the left
_MATRIX_LABEL_WIDTHS = (24, 16, 12, 10, 8, 6)


@dataclass(frozen=True)
class ClassRow:
    """The scores of one class; support is the number of rows whose true class it is."""

    class_: Label
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Baseline:
    """What knowing only the training labels achieves: the majority class, and the class shares for every row."""

    class_: Label
    accuracy: float
    log_loss: float


@dataclass(frozen=True)
class Report:
    """The scores of one model on labelled rows; `confusion` has true classes as rows, predicted ones as columns.

    codes (n,) int64, the place of each row's true class among the classes, and probabilities (n, K) float64 are the
    rows that were scored: kept for the curves of a page, and no part of the JSON or of a comparison. Nor is effect: by
    how much rows that belong together widen intervals (`luce.intervals.design_effect`).
    """

    rows: int
    classes: tuple[Label, ...]
    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    precision_weighted: float
    recall_weighted: float
    f1_weighted: float
    log_loss: float
    per_class: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    baseline: Baseline
    intervals: Mapping[str, Interval]  # of 95 %, by the names of luce.metrics.measure
    codes: NDArray[np.int64] = field(repr=False, compare=False)
    probabilities: NDArray[np.float64] = field(repr=False, compare=False)
    effect: float = field(default=1.0, repr=False, compare=False)


def evaluate(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    classes: Classes,
    *,
    predicted: Sequence[Label] | None = None,
    class_shares: ArrayLike | None = None,
    groups: NDArray[Any] | None = None,
) -> Report:
    """Score probabilities against the true labels, and predictions: by default the most probable class, the first of
    equals.

    y_true: labels (n,). probabilities: (n, K), columns in the order of `classes`. class_shares: (K,) the shares of the
    classes among the training labels, for the baseline; by default their shares in y_true. groups: as in
    `luce.metrics.measure`.
    Raises InputError as `luce.metrics.log_loss` does, listing the labels that are not in `classes`.
    """
    loss = metrics.log_loss(y_true, probabilities, classes)  # first, because it checks every argument
    known = list(classes)
    codes, rows = scored_rows(y_true, probabilities, classes)
    if predicted is None:
        predicted = [known[code] for code in np.argmax(rows, axis=1).tolist()]
    scores = metrics.precision_recall_f1(y_true, predicted, classes)
    macro, weighted = scores.macro(), scores.weighted()
    return Report(
        rows=len(predicted),
        classes=scores.classes,
        accuracy=metrics.accuracy(y_true, predicted),
        precision_macro=macro.precision,
        recall_macro=macro.recall,
        f1_macro=macro.f1,
        precision_weighted=weighted.precision,
        recall_weighted=weighted.recall,
        f1_weighted=weighted.f1,
        log_loss=loss,
        per_class=_class_rows(scores),
        confusion=tuple(map(tuple, metrics.confusion(y_true, predicted, classes).tolist())),
        baseline=_baseline(scores, class_shares),
        intervals=metrics.measure(y_true, probabilities, classes, predicted=predicted, groups=groups),
        codes=codes,
        probabilities=rows,
        effect=1.0 if groups is None else _effect(codes, rows, [known.index(label) for label in predicted], groups),
    )


def _effect(codes: NDArray[np.int64], rows: NDArray[np.float64], guess: Sequence[int], groups: NDArray[Any]) -> float:
    """The larger design effect of the two that rows have: of their losses, and of whether they are right."""
    losses = -np.log(np.maximum(rows[np.arange(len(codes)), codes], 1e-300))
    right = (np.asarray(guess) == codes).astype(np.float64)
    return max(design_effect(right, groups), design_effect(losses, groups))


def to_json(report: Report) -> dict[str, Any]:
    """The report as a dictionary that `json.dumps(..., allow_nan=False)` takes; an infinite log loss is None."""
    return {
        "rows": report.rows,
        "classes": list(report.classes),
        "accuracy": report.accuracy,
        "precision_macro": report.precision_macro,
        "recall_macro": report.recall_macro,
        "f1_macro": report.f1_macro,
        "precision_weighted": report.precision_weighted,
        "recall_weighted": report.recall_weighted,
        "f1_weighted": report.f1_weighted,
        "log_loss": _finite(report.log_loss),
        "per_class": [
            {
                "class": row.class_,
                "precision": row.precision,
                "recall": row.recall,
                "f1": row.f1,
                "support": row.support,
            }
            for row in report.per_class
        ],
        "confusion": [list(row) for row in report.confusion],
        "baseline": {
            "class": report.baseline.class_,
            "accuracy": report.baseline.accuracy,
            "log_loss": _finite(report.baseline.log_loss),
        },
        "intervals": {name: interval_json(interval) for name, interval in report.intervals.items()},
    }


def interval_json(interval: Interval) -> dict[str, Any]:
    """An interval as a dictionary; what is not finite is None."""
    numbers = {name: _finite(getattr(interval, name)) for name in ("value", "low", "high")}
    return numbers | {"how": interval.how}


def render(report: Report, console: Console, rows: str = "held out") -> None:
    """Print the report: a headline, the scores of each class, and the confusions, fitted to the console's width.

    Up to 12 classes show the confusion matrix where it fits; otherwise the worst classes and the commonest confusions.
    """
    for line in _headline(report, console, rows):
        console.print(line)
    console.print(_intervals(report), style="dim", markup=False, highlight=False)
    if math.isinf(report.log_loss):
        console.print(INFINITE, style="bold red", markup=False, highlight=False)
    hidden = _print_classes(report, console)
    matrix = _matrix_that_fits(report, console)
    if matrix is None:
        hidden += _print_confusions(report, console)
    else:
        _print_block(console, "confusion matrix: a row is a true class, a column a predicted one", matrix)
    notes = _notes(report, hidden)
    if notes:
        _print_block(console, "\n".join(notes))


# --- the numbers -------------------------------------------------------------


def _class_rows(scores: ClassScores) -> tuple[ClassRow, ...]:
    columns = (scores.precision.tolist(), scores.recall.tolist(), scores.f1.tolist(), scores.support.tolist())
    return tuple(ClassRow(label, *values) for label, *values in zip(scores.classes, *columns, strict=True))


def _baseline(scores: ClassScores, class_shares: ArrayLike | None) -> Baseline:
    rows = int(scores.support.sum())
    shares = scores.support / rows if class_shares is None else _checked_shares(class_shares, len(scores.classes))
    majority = int(np.argmax(shares))
    present = scores.support > 0  # 0 rows of a class with share 0 cost nothing, though 0 * inf is NaN
    with np.errstate(divide="ignore"):
        losses = scores.support[present] * (0.0 - np.log(shares[present]))
    return Baseline(
        class_=scores.classes[majority],
        accuracy=int(scores.support[majority]) / rows,
        log_loss=math.fsum(losses.tolist()) / rows,
    )


def _checked_shares(class_shares: ArrayLike, size: int) -> NDArray[np.float64]:
    try:
        shares = np.asarray(class_shares, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"class_shares must be {size} numbers") from error
    if shares.shape != (size,):
        raise InputError(f"class_shares have the shape {shares.shape}; {size} classes need {(size,)}")
    if not ((shares >= 0.0) & (shares <= 1.0)).all() or abs(shares.sum() - 1.0) > SUM_TOLERANCE:
        raise InputError("class_shares must lie in [0, 1] and sum to 1; divide the class counts by their sum")
    return shares


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def worst(report: Report) -> list[int]:
    """Classes from the lowest F1; those without a row come last, as their 0 says nothing about the model."""
    rows = report.per_class
    return sorted(range(len(rows)), key=lambda k: (rows[k].support == 0, rows[k].f1, -rows[k].support))


def confusions(report: Report) -> list[tuple[int, int, int]]:
    """(rows, true class, predicted class) of every kind of mistake, the most frequent first."""
    counts = np.array(report.confusion)
    np.fill_diagonal(counts, 0)
    truth, predicted = np.nonzero(counts)
    order = np.argsort(-counts[truth, predicted], kind="stable")
    return [(int(counts[t, p]), int(t), int(p)) for t, p in zip(truth[order], predicted[order], strict=True)]


# --- words -------------------------------------------------------------------


def percent(share: float) -> str:
    """A share in hundredths; what is not quite all, or not quite nothing, is never rounded to it."""
    text = f"{100.0 * share:.1f} %"
    if text == "100.0 %" and share < 1.0:
        return ">99.9 %"  # 100.0 % is said only where nothing is missing
    return "<0.1 %" if text == "0.0 %" and share > 0.0 else text


def nats(loss: float) -> str:
    """A loss to three digits."""
    if loss == 0.0 or math.isinf(loss):
        return "infinite" if loss else "0"
    return f"{loss:#.3g}".rstrip(".")


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _sign(console: Console, sign: str, plain: str) -> str:
    """The sign, or its plain form where the terminal's encoding lacks it."""
    return sign if sign.encode(console.encoding, "ignore") else plain


def _shown_label(label: Label, width: int, console: Console) -> str:
    """A label as inert text of at most `width` cells: control characters escaped, blanks at the ends quoted."""
    from rich.cells import cell_len, set_cell_size

    whole = str(label)
    head = whole[: 4 * width]  # cells do not bound a label: combining marks take none
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in head)
    text = text.encode(console.encoding, "backslashreplace").decode(console.encoding)
    if text != text.strip() or not text:
        text = f"'{text}'"
    if cell_len(text) <= width and len(head) == len(whole):
        return text
    ellipsis = _sign(console, "…", "...")
    return set_cell_size(text, min(cell_len(text), width - len(ellipsis))).rstrip() + ellipsis


def _headline(report: Report, console: Console, rows: str) -> list[Text]:
    """One line where it fits, otherwise broken between its parts."""
    from rich.text import Text

    base = report.baseline
    majority = _shown_label(base.class_, 24, console)
    if isinstance(base.class_, str) and not majority.startswith("'"):
        majority = f"'{majority}'"
    parts = [
        Text.assemble(f"{rows}: ", (_count(report.rows, "row", "rows"), "bold")),
        Text.assemble(
            "accuracy ", (percent(report.accuracy), "bold"), f" (majority class {majority}: {percent(base.accuracy)})"
        ),
        Text.assemble("log loss ", (nats(report.log_loss), "bold"), f" (class shares alone: {nats(base.log_loss)})"),
    ]
    dot = f" {_sign(console, '·', '|')} "
    lines = [parts[0]]
    for part in parts[1:]:
        joined = Text.assemble(lines[-1], dot, part)
        if joined.cell_len <= console.width:
            lines[-1] = joined
        else:
            lines.append(part)
    return lines


def _intervals(report: Report) -> str:
    accuracy, loss = report.intervals["accuracy"], report.intervals["log_loss"]
    said = f"95 % intervals: accuracy {percent(accuracy.low)} to {percent(accuracy.high)}"
    return said + (f", log loss {nats(loss.low)} to {nats(loss.high)}" if math.isfinite(loss.high) else "")


def _notes(report: Report, hidden: list[str]) -> list[str]:
    notes = [f"not shown: {' and '.join(hidden)}"] if hidden else []
    absent = sum(row.support == 0 for row in report.per_class)
    if absent:
        verb = "has no row here and counts" if absent == 1 else "have no row here and count"
        notes.append(f"{_count(absent, 'class', 'classes')} {verb} as 0 in the macro mean")
    return notes


# --- tables ------------------------------------------------------------------


def _new_table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)


def _print_block(console: Console, title: str, table: Table | None = None) -> None:
    """A blank line, a quiet title in its own lines, and the table."""
    console.print()
    if title:
        console.print(title, style="dim", markup=False, highlight=False)
    if table is not None:
        console.print(table)


def _fits(table: Table, console: Console) -> bool:
    unbounded = console.options.update(max_width=100_000)
    return console.measure(table, options=unbounded).maximum <= console.width


def _print_classes(report: Report, console: Console) -> list[str]:
    """Print the scores of all classes, or of the worst among many; return what is left unsaid."""
    every = len(report.classes)
    if every <= MATRIX_CLASSES:
        _print_block(console, "", _class_table(report, list(range(every)), console))
        return []
    shown = worst(report)[:WORST_CLASSES]
    _print_block(console, f"the {len(shown)} worst of {every:,} classes by F1", _class_table(report, shown, console))
    return [_count(every - len(shown), "class", "classes")]


def _class_table(report: Report, shown: list[int], console: Console) -> Table:
    for width in _LABEL_WIDTHS:
        table = _class_table_at(report, shown, console, width, narrow=False)
        if _fits(table, console):
            return table
    return _class_table_at(report, shown, console, _LABEL_WIDTHS[-1], narrow=True)


def _class_table_at(report: Report, shown: list[int], console: Console, width: int, narrow: bool) -> Table:
    """The scores of the shown classes with the two means below; a narrow table keeps F1 and support alone."""
    from rich.text import Text

    table = _new_table()
    table.add_column("class", no_wrap=True)
    for heading in ("F1", "support") if narrow else ("precision", "recall", "F1", "support"):
        table.add_column(heading, justify="right", no_wrap=True)

    def add(name: Text, scores: ClassRow | Averages, support: int, style: str = "") -> None:
        shares = (scores.f1,) if narrow else (scores.precision, scores.recall, scores.f1)
        table.add_row(name, *(Text(percent(share)) for share in shares), Text(f"{support:,}"), style=style)

    for k in shown:
        row = report.per_class[k]
        add(Text(_shown_label(row.class_, width, console)), row, row.support, "" if row.support else "dim")
    table.add_section()
    macro = Averages(report.precision_macro, report.recall_macro, report.f1_macro)
    weighted = Averages(report.precision_weighted, report.recall_weighted, report.f1_weighted)
    add(Text("macro" if narrow else "macro mean", "italic"), macro, report.rows)
    add(Text("weighted" if narrow else "weighted mean", "italic"), weighted, report.rows)
    return table


def _matrix_that_fits(report: Report, console: Console) -> Table | None:
    """The confusion matrix, or None where it is too wide even with short labels, or cut labels would look alike."""
    if len(report.classes) > MATRIX_CLASSES:
        return None
    for width in _MATRIX_LABEL_WIDTHS:
        labels = [_shown_label(label, width, console) for label in report.classes]
        if len(set(labels)) < len(labels):
            return None
        table = _matrix(report, labels)
        if _fits(table, console):
            return table
    return None


def _matrix(report: Report, labels: list[str]) -> Table:
    from rich.text import Text

    table = _new_table()
    table.add_column("", no_wrap=True)
    for label in labels:
        table.add_column(Text(label), justify="right", no_wrap=True)
    for truth, counts in enumerate(report.confusion):
        cells = [Text(f"{count:,}", _count_style(count, truth == k)) for k, count in enumerate(counts)]
        table.add_row(Text(labels[truth], "bold"), *cells)
    return table


def _count_style(count: int, correct: bool) -> str:
    if count == 0:
        return "dim"
    return "bold green" if correct else ""


def _print_confusions(report: Report, console: Console) -> list[str]:
    """Print the most frequent confusions; return what is left unsaid."""
    from rich.text import Text

    found = confusions(report)
    if not found:
        _print_block(console, "no confusions: every row was given its true class")
        return []
    table = _new_table()
    arrow = _sign(console, "→", "->")
    width = max(6, min(32, (console.width - 20) // 2))
    for heading in (f"truth {arrow}", "predicted"):
        table.add_column(heading, no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    for count, truth, predicted in found[:TOP_CONFUSIONS]:
        pair = [_shown_label(report.classes[k], width, console) for k in (truth, predicted)]
        table.add_row(Text(f"{pair[0]} {arrow}"), Text(pair[1]), Text(f"{count:,}"))
    _print_block(console, "the most frequent confusions", table)
    rest = found[TOP_CONFUSIONS:]
    rows = sum(count for count, _, _ in rest)
    return [f"{_count(len(rest), 'confusion', 'confusions')} ({_count(rows, 'row', 'rows')})"] if rest else []
