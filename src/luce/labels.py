"""Labels: the column that is predicted, as class codes; what is no class (a quantity, an identifier) is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from luce import cells
from luce.cells import nfc, shown
from luce.errors import InputError
from luce.schema import FEW_ROWS, mean_words
from luce.table import Table

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray


SENTENCE = 4  # words of the mean value from which on a column of nearly different values is text
MOST_LABELS = 100  # different values of a column that is offered as the label
_SAYS_LABEL = re.compile("label|class|target|categor|sentiment|topic|라벨|레이블|분류|감정", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Labels:
    """The class of each row as a code (int64), the classes in the order of their codes, and notes for the user."""

    codes: NDArray[np.int64]
    classes: tuple[str | int | bool, ...]
    notes: tuple[str, ...] = ()


def labels(table: Table, name: str) -> Labels:
    """The label column of a table as class codes and classes.

    Whole numbers become int classes in their order, truth values bool, and text its levels (NFC, stripped) by code
    point; text that is whole numbers throughout becomes int. Raises InputError for a missing column, missing labels,
    mixed types, quantities (numbers with fractions, or nearly as many values as rows), free text, and a single class.
    """
    series = table.column(name)
    place = f"{table.source}, label {shown(name)}"
    _refuse_mixed(table.mixed.get(nfc(name), ""), place)
    return _label_codes(series, place, table)


def labels_of(values: object, source: str = "y") -> Labels:
    """The labels in a one-dimensional array, list or series, by the rules of `labels`; (n, 1) arrays count as well."""
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    series, mixture = cells.series_of("label", values, source)
    _refuse_mixed(mixture, source)
    if not len(series):
        raise InputError(f"{source} has no labels")
    return _label_codes(series, source)


def encode_labels(
    values: pl.Series, classes: Sequence[str | int | bool], source: str = "the labels"
) -> NDArray[np.int64]:
    """The code of each label among known classes, -1 for a label that is none of them; a missing one raises InputError.

    Labels match by what they say: 3, 3.0, "3" and "3.0" are one label, and so are True and "true".
    """
    import polars as pl

    text = cells.stripped(cells.as_text(values))
    absent = text.is_null() | (text == "") | (text == "NaN" if values.dtype.is_float() else False)
    _refuse_missing(absent.fill_null(True).to_numpy(), source)
    codes = {str(label): code for code, label in enumerate(classes)}
    if isinstance(values.dtype, pl.Boolean) or {label.lower() for label in codes} == {"false", "true"}:
        text = text.str.to_lowercase()
        codes = {label.lower(): code for label, code in codes.items()}
    whole = {_whole(label): code for label, code in codes.items()}
    if len(whole) == len(codes):
        text, codes = text.str.replace(f"^{cells.WHOLE_NUMBER.pattern}$", "$1"), whole
    return text.replace_strict(codes, default=-1, return_dtype=pl.Int64).to_numpy()


def _whole(label: str) -> str:
    found = cells.WHOLE_NUMBER.fullmatch(label)
    return found[1] if found else label


def _refuse_mixed(mixture: str, place: str) -> None:
    if mixture:
        raise InputError(f"{place}: labels of several types; {mixture}; make them one type")


def _label_codes(series: pl.Series, place: str, table: Table | None = None) -> Labels:
    """Codes of a label column: truth values, whole numbers in their order, or text by code point (NFC, stripped).

    Raises InputError, opening with `place`, for missing labels, quantities, free text (naming a column of the table
    that may be meant), and fewer than two classes.
    """
    import polars as pl

    kind = cells.family(series.dtype)
    if kind in ("date", "image", "embedding", "other"):
        raise InputError(f"{place} holds values of type {series.dtype}; labels are text, whole numbers or truth values")
    if kind in ("text", "empty") or isinstance(series.dtype, (pl.Int128, pl.UInt128)):
        return _sound(_text_labels(cells.as_text(series), place, table), place)
    absent = np.isnan(cells.typed_numbers(series)) if series.dtype.is_float() else series.is_null().to_numpy()
    _refuse_missing(absent, place)
    if kind == "boolean":
        different, codes = _ranked(series.to_numpy().astype(np.int64))
        different = [bool(label) for label in different]
    else:
        different, codes = _ranked(_whole_labels(series, place))
    classes = tuple(different)
    few = len(classes) > 100 and len(codes) < 5 * len(classes)
    note = f"{place} has {len(classes):,} different numbers; if they are a quantity, put them into classes first"
    return _sound(Labels(codes.astype(np.int64), classes, (note,) if few else ()), place)


def _refuse_missing(missing: NDArray[np.bool_], place: str) -> None:
    """Raise InputError with the first row that has no label."""
    count, row = int(missing.sum()), int(missing.argmax()) + 1
    if count == len(missing):
        raise InputError(f"{place}: no row has a label; choose another column")
    if count:
        rows = "1 row has" if count == 1 else f"{count:,} rows have"
        raise InputError(f"{place}: {rows} no label, the first is row {row:,}; fill them in or drop those rows")


def _sound(labels: Labels, place: str) -> Labels:
    rows, different = len(labels.codes), len(labels.classes)
    if different < 2:
        raise InputError(f"{place}: every row has the label {shown(labels.classes[0])}; two classes or more are needed")
    if rows >= 50 and different > 0.5 * rows:
        what = f"{place} has {different:,} different values in {rows:,} rows, too many to be classes"
        raise InputError(f"{what}; is it an identifier, a quantity or free text? choose another column")
    return labels


def _whole_labels(series: pl.Series, place: str) -> NDArray[Any]:
    if not series.dtype.is_float() and not series.dtype.is_decimal():
        return series.to_numpy()
    values = cells.typed_numbers(series)
    broken = (values != np.floor(values)) | (np.abs(values) >= 2.0**63)
    if broken.any():
        _refuse_quantity(len(np.unique(values)), values[broken.argmax()], int(broken.argmax()), place)
    return values.astype(np.int64)


def _refuse_quantity(different: int, value: object, row: int, place: str) -> NoReturn:
    looks = f"{place} looks continuous: {different:,} different numbers, such as {value} in row {row + 1:,}"
    raise InputError(f"{looks}; luce predicts classes: name them by text (low, high), or choose another column")


def _ranked(values: NDArray[Any]) -> tuple[list[int], NDArray[np.intp]]:
    """The different integers in order and each one's rank; by counting where they lie close together, else sorted."""
    low, high = int(values.min()), int(values.max())
    if high - low > max(len(values), 1 << 16):
        different, codes = np.unique(values, return_inverse=True)
        return different.tolist(), codes
    wide = values if values.itemsize == 8 else values.astype(np.int64)
    steps = (wide - wide.dtype.type(low)).astype(np.int64)
    found = np.bincount(steps) > 0
    return [low + step for step in np.flatnonzero(found).tolist()], (np.cumsum(found) - 1)[steps]


_WHOLE = re.compile("0|-?[1-9][0-9]{0,17}")


def _text_labels(text: pl.Series, place: str, table: Table | None) -> Labels:
    raw = text.unique().drop_nulls()
    if len(text) >= FEW_ROWS and len(raw) > 0.5 * len(text) and (words := mean_words(raw)) >= SENTENCE:
        _refuse_text(len(raw), len(text), words, place, None if table is None else _label_like(table))
    bare = cells.stripped(raw).to_list()
    if text.null_count() or "" in bare:
        _refuse_missing((cells.stripped(text).fill_null("") == "").to_numpy(), place)
    names = list(dict.fromkeys(bare))
    whole = all(_WHOLE.fullmatch(name) for name in names)
    if not whole and len(names) > 20:
        _refuse_fractions(text, raw, place)
    order = sorted(names, key=int) if whole else sorted(names)
    ranks = {name: code for code, name in enumerate(order)}
    codes = np.array([ranks[name] for name in bare], dtype=np.int64)[cells.places(text, raw)]
    notes = []
    if len(names) < len(raw):
        notes.append(f"{place}: labels that differ only in outer blanks or Unicode form are taken as one class")
    alike = next(
        (name for before, name in pairwise(sorted(names, key=str.lower)) if before.lower() == name.lower()), ""
    )
    if alike:
        other = next(name for name in names if name.lower() == alike.lower() and name != alike)
        apart = f"{place}: {shown(other)} and {shown(alike)} differ only in case and are classes of their own"
        notes.append(f"{apart}; write them alike if they mean the same")
    unsure = [name for name in order if name.lower() in cells.MISSING - {"none"}]
    if unsure:
        notes.append(f"{place}: {shown(unsure[0])} is taken as a class; leave the cell empty where a label is missing")
    return Labels(codes, tuple(map(int, order)) if whole else tuple(order), tuple(notes))


def _refuse_text(different: int, rows: int, words: float, place: str, better: tuple[str, int] | None) -> NoReturn:
    looks = f"{place} looks like text, not like classes: {different:,} different values in {rows:,} rows"
    fix = "choose another column"
    if better is not None:
        fix = f"is {shown(better[0])} the label? it has {better[1]} different values"
    raise InputError(f"{looks}, of about {words:.0f} words; {fix}")


def _label_like(table: Table) -> tuple[str, int] | None:
    """The column that looks most like a label, and how many values it has: a few that occur often, under a name that
    says so or, of several, the fewest; None if there is none."""
    found = []
    for series in table.frame.get_columns():
        if (
            cells.family(series.dtype) in ("other", "image", "embedding")
            or series.dtype.is_float()
            or series.null_count()
        ):
            continue
        if 2 <= (different := series.n_unique()) <= min(MOST_LABELS, table.rows / 5):
            found.append((not _SAYS_LABEL.search(series.name), different, series.name))
    return (found[0][2], found[0][1]) if (found := sorted(found)) else None


def _refuse_fractions(text: pl.Series, raw: pl.Series, place: str) -> None:
    values, bad = cells.number_cells(raw, decimal_comma=False)
    broken = values != np.floor(values)
    if broken.any() and not bad.any():
        row = int(text.is_in(raw.to_numpy()[broken].tolist()).arg_max() or 0)
        _refuse_quantity(len(raw), text[row], row, place)
