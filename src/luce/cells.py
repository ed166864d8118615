"""What a cell says: the one set of rules by which text, typed and Python cells become numbers, dates and levels.

docs/tables.md holds the same rules as one table; tests/test_cells.py checks that table cell by cell.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import math
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from luce.errors import InputError

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

Family = Literal["text", "number", "boolean", "date", "image", "embedding", "empty", "other"]

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-", "."})
"""Text cells that count as missing, after outer blanks are removed and in any case."""

PAIRS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"), ("아니오", "예"))
"""The spellings of a boolean column, false first, in any case."""

EXACT = 2**53
"""Above this size float64 cannot hold every integer, so longer digit strings are names, not quantities (D13)."""

WHOLE_NUMBER = re.compile(r"([+-]?[0-9]+)(\.0+)?")  # as integers are written, or as floats are
TRUTHS = {word: float(value) for pair in PAIRS for value, word in enumerate(pair)} | {"0": 0.0, "1": 1.0}


LONGEST_MISSING = 16
"""Bytes of a cell that may count as missing, blanks included; a longer one of blanks alone is an empty text."""


def nfc(text: str) -> str:
    """The composed Unicode form, so that Hangul typed on any system compares equal."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def shown(cell: object, width: int = 40) -> str:
    """A cell as an error line shows it: on one line, text in quotes, cut to `width` characters."""
    text = cell if isinstance(cell, str) else " ".join(str(cell).split())
    text = text if len(text) <= width else text[: width - 1] + "…"
    return repr(text) if isinstance(cell, str) else text


# ---------------------------------------------------------------------------------------------------------------------
# text cells


def family(dtype: pl.DataType) -> Family:
    """Which rules read a column of this type; "other" for lists, structures, bytes and the like."""
    import polars as pl

    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return "text"
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.Boolean):
        return "boolean"
    if isinstance(dtype, (pl.Date, pl.Datetime)):
        return "date"
    if isinstance(dtype, pl.Array) and len(dtype.shape) == 3 and dtype == pl.Array(pl.UInt8, dtype.shape):
        return "image"
    if dtype == pl.Array(pl.UInt32, 1):  # the numbers of rows that lie beside the frame (Table.vectors)
        return "embedding"
    return "empty" if isinstance(dtype, pl.Null) else "other"


def as_text(series: pl.Series) -> pl.Series:
    """Any column as text by value: categories by name, whole floats without a point, dates in ISO form."""
    import polars as pl

    if isinstance(series.dtype, pl.String):
        return series
    if not series.dtype.is_float():
        return series.cast(pl.String)
    cell = pl.col("cell")
    whole = (cell == cell.floor()) & (cell.abs() < float(EXACT))
    text = pl.when(whole).then(cell.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(cell.cast(pl.String))
    return series.to_frame("cell").select(text.alias("cell")).to_series().alias(series.name)


def stripped(text: pl.Series) -> pl.Series:
    """Text cells in NFC without outer white space (U+3000 included)."""
    bare = text.str.strip_chars()
    return bare if _ascii(bare) else bare.str.normalize("NFC")


def clean(text: pl.Series) -> pl.Series:
    """Text cells as levels: stripped, NFC, null where the cell counts as missing."""
    import polars as pl

    cell = pl.col("cell")
    gone = cell.str.to_lowercase().is_in(sorted(MISSING))
    return stripped(text).to_frame("cell").select(pl.when(~gone).then(cell)).to_series()


def present_texts(text: pl.Series) -> pl.Series:
    """Cells of a text column as they are, null where one counts as missing."""
    short = text.str.len_bytes() <= LONGEST_MISSING
    if not short.any():
        return text
    places = short.fill_null(False).arg_true()
    gone = places.filter(clean(text.gather(places)).is_null())
    return text.scatter(gone, None) if len(gone) else text


def widthless(cells: pl.Series) -> pl.Series:
    """Cells in NFKC, where full-width digits and signs are plain ones; for recognising numbers and dates only."""
    return cells if _ascii(cells) else cells.str.normalize("NFKC").str.replace_all("−", "-", literal=True)


def _ascii(cells: pl.Series) -> bool:
    return not (cells.str.len_bytes() != cells.str.len_chars()).any()


# ---------------------------------------------------------------------------------------------------------------------
# numbers


@dataclass(frozen=True, eq=False)
class Reading:
    """Cells read as numbers: `value` float64 (NaN = not a number), `name` true where digits are rather a name."""

    value: NDArray[np.float64]
    name: NDArray[np.bool_]

    def all_numbers(self, present: NDArray[np.bool_]) -> bool:
        """Whether the cells that are not missing are numbers, names among them or not."""
        return bool(present.any()) and not np.isnan(self.value[present]).any()

    def part(self, here: slice) -> Reading:
        return Reading(self.value[here], self.name[here])


def _number_pattern(group: str, point: str) -> str:
    grouped = rf"[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+"
    body = rf"(?:(?:{grouped}|[0-9]+)(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"
    return rf"^(?:[+-]?{body}(?: ?[%$€£₩¥원])?|(?:[+-]?[$€£₩¥%] ?|[$€£₩¥%] ?[+-]){body})$"


_POINT = _number_pattern(",", r"\.")
_COMMA = _number_pattern(r"\.", ",")
_NAME = "^[+-]?(?:0[0-9]+|[0-9]{16,})$"  # a leading zero, or so long that float64 may not hold it


def numbers(cells: pl.Series, decimal_comma: bool = False) -> Reading:
    """Read clean, widthless cells as numbers.

    A cell is sign, currency sign (before or behind), digits (grouped in threes or not), decimal point, exponent, per
    cent; what float64 cannot hold (1e400), inf, 0x10 and 1_000 are not numbers. Integers with a leading zero or above
    2^53 are names.
    """
    import polars as pl

    group, point = (".", ",") if decimal_comma else (",", ".")
    cell, digits = pl.col("cell"), pl.col("digits")
    fitting = pl.when(cell.str.contains(_COMMA if decimal_comma else _POINT)).then(cell)
    frame = cells.to_frame("cell").select(fitting)
    plain = cell.str.replace_all(f"[$€£₩¥원% {group}]", "").str.replace(point, ".", literal=True)
    frame = frame.select(digits=plain, share=cell.str.contains("%", literal=True))
    number = digits.cast(pl.Float64, strict=False)
    value = pl.when(number.is_finite()).then(number)
    whole = digits.cast(pl.Int64, strict=False)
    beyond = whole.is_null() | (whole > EXACT) | (whole < -EXACT)
    name = digits.str.contains(_NAME) & (beyond | digits.str.contains("^[+-]?0"))
    read = frame.select(value=value, name=name.fill_null(False), share=pl.col("share").fill_null(False))
    found, share = read["value"].to_numpy(), read["share"].to_numpy()
    if share.any():  # Polars divides one cell, but multiplies many by the inverse: other bits
        found = np.where(share, found / 100.0, found)
    return Reading(found, read["name"].to_numpy())


def in_notation_of(cell: object, value: float, decimal_comma: bool) -> str:
    """A number in six digits as it would be written in the place of a cell: with its currency sign or per cent, and the
    decimal sign of its column."""
    text = cell.strip() if isinstance(cell, str) else ""
    digits = f"{100.0 * value if '%' in text else value:.6g}"
    if text:
        sign = re.search("[%$€£₩¥원]", unicodedata.normalize("NFKC", text))
        digits = digits.replace(".", ",") if decimal_comma else digits
        if sign is not None:
            before = sign[0] in "$€£₩¥" and not text.endswith(sign[0])
            digits = sign[0] + digits if before else digits + sign[0]
    return digits


def number_cells(text: pl.Series, decimal_comma: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Every text cell of a number column as float64 (NaN = missing), and which cells are no numbers.

    Cells that a plain cast reads as a finite number are settled by it; the rules read the others.
    """
    import polars as pl

    values: NDArray[np.float64] = np.full(len(text), np.nan)
    bad = np.zeros(len(text), dtype=np.bool_)
    if not decimal_comma:
        values = text.cast(pl.Float64, strict=False).to_numpy()
    odd = ~np.isfinite(values) & text.is_not_null().to_numpy()
    if odd.any():
        cells = clean(text.filter(pl.Series(odd)))
        values = values.copy()
        values[odd] = found = numbers(widthless(cells), decimal_comma).value
        bad[odd] = np.isnan(found) & cells.is_not_null().to_numpy()
    return values, bad


def typed_numbers(series: pl.Series) -> NDArray[np.float64]:
    """A numeric or boolean column as float64 with NaN for null; may be a read-only view of the column."""
    import polars as pl

    if isinstance(series.dtype, (pl.Boolean, pl.Decimal, pl.Int128, pl.UInt128)):
        series = series.cast(pl.Float64)
    return series.to_numpy().astype(np.float64, copy=False)


# ---------------------------------------------------------------------------------------------------------------------
# dates

_DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%m/%d/%y",
    "%d/%m/%y", "%d %B %Y", "%d-%B-%Y", "%B %d, %Y", "%Y년 %m월 %d일",
)  # fmt: skip
_CLOCK = (" %H:%M", " %H:%M:%S%.f")
_TWELVE_HOURS = (" %I:%M %p", " %I:%M:%S %p")
_TIMES = tuple(time.strip() for time in (*_CLOCK, *_TWELVE_HOURS))
_ISO_TIMES = tuple(time.replace(" ", mark) + zone for mark in (" ", "T") for time in _CLOCK for zone in ("", "%#z"))
_PACKED = "%Y%m%d"
DATE_FORMATS = (
    *_DAYS,
    *(_DAYS[0] + time for time in _ISO_TIMES),
    *(day + time for day in _DAYS[1:] for time in _CLOCK),
    *(day + time for day in _DAYS for time in _TWELVE_HOURS),
    *_TIMES,
    _PACKED,
)
"""Every format of dates and times of day, in strptime letters; where both fit, month first stands before day first."""

_PARTS = {
    "%Y": "[0-9]{4}", "%y": "[0-9]{2}", "%m": "[0-9]{1,2}", "%B": "[A-Za-z]{3,9}", "%d": "[0-9]{1,2}",
    "%H": "[0-9]{1,2}", "%I": "[0-9]{1,2}", "%M": "[0-9]{2}", "%S": "[0-5][0-9]", "%p": "[AaPp][Mm]",
    "%.f": r"(?:\.[0-9]{1,9})?", "%#z": "(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)", "년 ": "년 ?", "월 ": "월 ?",
}  # fmt: skip


_BEGINS = re.compile("(?:[0-9]{1,4}[-/.:년 ]|[A-Za-z]{3,9} )[^0-9]*[0-9]")  # as any date does; most other cells do not
_NO_DAY = "1970-01-01 "  # stands before a time of day alone


@functools.cache
def _date_pattern(date_format: str) -> str:
    """The exact shape of a date format; strptime alone would take 24-01-31 for the year 24."""
    if date_format == _PACKED:
        return "^(?:19|20|21)[0-9]{6}$"
    pieces = re.split(r"(%[YymBdHIMSp]|%\.f|%#z)", date_format)
    return "^" + "".join(_PARTS.get(piece) or re.escape(piece) for piece in pieces) + "$"


@functools.cache
def _date_regex(date_format: str) -> re.Pattern[str]:
    return re.compile(_date_pattern(date_format))


def says_date(name: str) -> bool:
    """Whether a column's name allows its eight-digit numbers to be dates."""
    return any(word in name.lower() for word in ("date", "날짜", "일자"))


def date_formats(cells: Sequence[str], name: str) -> list[str]:
    """The formats that have the shape of every one of these cells."""
    formats = list(DATE_FORMATS if says_date(name) else DATE_FORMATS[:-1])
    for cell in cells:
        if not _BEGINS.match(cell):
            formats = [date_format for date_format in formats if date_format == _PACKED]
        formats = [date_format for date_format in formats if _date_regex(date_format).fullmatch(cell)]
        if not formats:
            break
    return formats


def dates(cells: pl.Series, date_format: str) -> pl.Series:
    """Clean, widthless cells as Datetime("us"), null where a cell is no date of this format; offsets become UTC."""
    import polars as pl

    cell = pl.col("cell")
    fits = cells.to_frame("cell").select(pl.when(cell.str.contains(_date_pattern(date_format))).then(cell)).to_series()
    if "%#z" in date_format:
        times = fits.str.strptime(pl.Datetime("us", "UTC"), date_format, strict=False)
        return times.dt.replace_time_zone(None)
    if date_format in _TIMES:
        fits, date_format = _NO_DAY + fits, _DAYS[0] + " " + date_format
    if "%H" in date_format or "%I" in date_format:
        return fits.str.strptime(pl.Datetime("us"), date_format, strict=False)
    return fits.str.strptime(pl.Date, date_format, strict=False).cast(pl.Datetime("us"))


def typed_dates(series: pl.Series) -> pl.Series:
    """A date or date-time column as Datetime("us"), with a time zone turned into UTC."""
    import polars as pl

    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return series.cast(pl.Datetime("us"))


# ---------------------------------------------------------------------------------------------------------------------
# the different cells of text columns


Cleaned: TypeAlias = "tuple[pl.Series, pl.Series]"  # the different cells of a column, and the same ones clean


@dataclass(frozen=True, eq=False)
class Levels:
    """The different cells of one text column, in no set order, each read by every rule that tells the kinds."""

    raw: pl.Series
    clean: pl.Series  # null = missing
    wide: pl.Series  # widthless
    present: NDArray[np.bool_]
    point: Reading
    comma: Reading  # with decimal commas
    marked: bool  # a %, a comma or a currency sign occurs

    def with_commas(self) -> Levels:
        """The same, read with decimal commas also where none was looked for."""
        if self.comma is not self.point:
            return self
        return replace(self, comma=numbers(self.wide, decimal_comma=True))

    @functools.cached_property
    def different(self) -> int:
        """How many levels there are once they are clean."""
        return len(self.raw) if self.clean is self.raw else int(self.clean.drop_nulls().n_unique())

    def sample(self) -> list[str]:
        """Up to fifty cells that are not missing, widthless."""
        return [cell for cell in self.wide.head(50).to_list() if cell is not None]

    def pair(self) -> bool:
        """Whether the cells are exactly the two spellings of one pair, in any case."""
        words = set() if len(self.raw) > 50 else {cell.lower() for cell in self.clean.to_list() if cell is not None}
        return any(words == set(pair) for pair in PAIRS)


def read_levels(columns: Sequence[pl.Series]) -> list[Levels]:
    """The levels of every text column, read as one long column: a call per column would cost more than the work."""
    import polars as pl

    if not columns:
        return []
    raw, parts = _different(columns)
    values = raw.cast(pl.Float64, strict=False).to_numpy()
    names = raw.str.contains(_NAME).to_numpy()
    plain = np.isfinite(values) & ~names
    digits = [bool(plain[here].all()) for here in parts]
    others = iter(_read_by_rules([raw[here] for here, settled in zip(parts, digits, strict=True) if not settled]))
    return [
        _plain_levels(raw[here], Reading(values[here], names[here])) if settled else next(others)
        for here, settled in zip(parts, digits, strict=True)
    ]


def _plain_levels(raw: pl.Series, read: Reading) -> Levels:
    """Digits throughout, as most columns of numbers are: no rule would read them otherwise."""
    return Levels(raw, raw, raw, np.ones(len(raw), dtype=np.bool_), read, read, marked=False)


def _read_by_rules(levels: Sequence[pl.Series]) -> list[Levels]:
    import polars as pl

    if not levels:
        return []
    raw, parts = pl.concat(levels), _parts(levels)
    cleaned = clean(raw)
    wide = widthless(cleaned)
    marks = wide.str.contains("[%,$€£₩¥원]").fill_null(False).to_numpy()
    point = numbers(wide)
    comma = numbers(wide, decimal_comma=True) if marks.any() else point
    present = cleaned.is_not_null().to_numpy()
    return [
        Levels(raw[h], cleaned[h], wide[h], present[h], point.part(h), comma.part(h), bool(marks[h].any()))
        for h in parts
    ]


def clean_levels(columns: Sequence[pl.Series]) -> list[Cleaned]:
    """The different cells of each text column, and the same ones clean."""
    if not columns:
        return []
    raw, parts = _different(columns)
    cleaned = clean(raw)
    return [(raw[here], cleaned[here]) for here in parts]


def category_cells(columns: Sequence[pl.Series], levels: Sequence[Cleaned]) -> list[pl.Series]:
    """Each text cell as its level (null = missing); only levels that are written otherwise than they read change."""
    import polars as pl

    if not columns:
        return []
    raw, cleaned = pl.concat([r for r, _ in levels]), pl.concat([c for _, c in levels])
    changed = cleaned.ne_missing(raw).to_numpy()
    out = []
    for column, here in zip(columns, _parts([r for r, _ in levels]), strict=True):
        odd = np.flatnonzero(changed[here]) + here.start
        out.append(column.replace(raw[odd], cleaned[odd]) if len(odd) else column)
    return out


def truth_cells(
    columns: Sequence[pl.Series], levels: Sequence[Cleaned]
) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """The cells of each boolean text column as 0, 1 or NaN (missing), and which cells are no truth values."""
    import polars as pl

    if not columns:
        return []
    raw, cleaned = pl.concat([r for r, _ in levels]), pl.concat([c for _, c in levels])
    parts = _parts([r for r, _ in levels])
    truths = cleaned.str.to_lowercase().replace_strict(TRUTHS, default=None, return_dtype=pl.Float64)
    bad = (truths.is_null() & cleaned.is_not_null()).to_numpy()
    read = pl.DataFrame(list(columns)).select(
        pl.col(column.name).replace_strict(raw[here], truths[here], default=None, return_dtype=pl.Float64)
        for column, here in zip(columns, parts, strict=True)
    )
    none = np.zeros(len(columns[0]), dtype=np.bool_)
    out = []
    for column, here in zip(columns, parts, strict=True):
        odd = raw[here].filter(pl.Series(bad[here])).to_list()
        wrong = column.is_in(odd).fill_null(False).to_numpy() if odd else none
        out.append((read[column.name].to_numpy(), wrong))
    return out


def places(column: pl.Series, levels: pl.Series) -> NDArray[np.intp]:
    """Where in `levels` each cell stands; one past the end for a null cell."""
    import polars as pl

    return column.cast(pl.Enum(levels)).to_physical().fill_null(len(levels)).to_numpy().astype(np.intp)


def _different(columns: Sequence[pl.Series]) -> tuple[pl.Series, list[slice]]:
    """The different cells of all columns, one column after the other, and where those of each column stand."""
    import polars as pl

    found = pl.DataFrame(list(columns)).select(pl.all().unique().drop_nulls().implode())
    levels = [found.to_series(place)[0] for place in range(found.width)]
    return pl.concat(levels), _parts(levels)


def _parts(levels: Sequence[pl.Series]) -> list[slice]:
    ends = np.cumsum([len(part) for part in levels]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


# ---------------------------------------------------------------------------------------------------------------------
# Python cells

_NAMES = {"truth": "a truth value", "number": "a number", "text": "text", "date": "a date"}


def from_values(name: str, values: Sequence[Any], source: str) -> tuple[pl.Series, str]:
    """A column from Python cells, and "" or one sentence on where its types are mixed (its cells are then text).

    Strings, truth values, integers, floats, dates, None and NaN are read; another type raises InputError with its row.
    """
    import polars as pl

    types = set(map(type, values)) - {type(None)}
    try:
        if types <= {str}:
            return pl.Series(name, values, dtype=pl.String), ""
        if types == {bool}:
            return pl.Series(name, values, dtype=pl.Boolean), ""
        if types <= {int, float} and _holds_all(values):
            return pl.Series(name, values, dtype=pl.Float64 if float in types else pl.Int64), ""
        return _from_mixed(name, [_plain(value) for value in values], source)
    except UnicodeEncodeError as broken:
        row = next(row for row, value in enumerate(values) if isinstance(value, str) and not _encodable(value))
        place = f"{source}, row {row + 1}, column {shown(name)}"
        raise InputError(f"{place}: the text is not valid Unicode ({broken.reason})") from None


def _from_mixed(name: str, values: list[Any], source: str) -> tuple[pl.Series, str]:
    import polars as pl

    families = [_family(value) for value in values]
    present = set(families) - {""}
    if present == {"date"}:
        return pl.Series(name, [_naive(value) for value in values], dtype=pl.Datetime("us")), ""
    if all(value is None or isinstance(value, bytes) for value in values) and present:
        return pl.Series(name, values, dtype=pl.Binary), ""  # encoded images, where it is said that they are
    odd = {"other", "date"} & present
    if odd:
        row = next(row for row, kind in enumerate(families) if kind in odd)
        kind = type(values[row]).__name__
        raise InputError(
            f"{source}, row {row + 1}, column {shown(name)}: a cell of type {kind} cannot be read; "
            "cells are text, numbers, truth values, or dates throughout"
        )
    if present == {"truth"}:
        return pl.Series(name, values, dtype=pl.Boolean), ""
    if present == {"number"} and _holds_all(values):
        whole = all(value is None or isinstance(value, int) for value in values)
        return pl.Series(name, values, dtype=pl.Int64 if whole else pl.Float64), ""
    floats = iter(as_text(pl.Series([v for v in values if isinstance(v, float)], dtype=pl.Float64)).to_list())
    text = [next(floats) if isinstance(value, float) else _written(value) for value in values]
    return pl.Series(name, text, dtype=pl.String), _mixture(values, families)


def _written(value: Any) -> str | None:
    """A cell that is no float as `as_text` writes it in a column of its own kind."""
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's, and every sign of a missing value as None."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, decimal.Decimal):  # as databases give them
        value = float(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return None if isinstance(value, float) and math.isnan(value) else value


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _family(value: Any) -> str:
    if value is None:
        return ""
    for kind, types in (("truth", bool), ("number", (int, float)), ("text", str), ("date", datetime.date)):
        if isinstance(value, types):
            return kind
    return "other"


def _naive(value: Any) -> datetime.datetime | None:
    if isinstance(value, datetime.datetime):
        return value if value.tzinfo is None else value.astimezone(datetime.UTC).replace(tzinfo=None)
    return None if value is None else datetime.datetime(value.year, value.month, value.day)


def _holds_all(values: Sequence[Any]) -> bool:
    """Whether int64, or float64 where floats occur, keeps every integer as it is."""
    floats = any(isinstance(value, float) for value in values)
    limit = EXACT if floats else 2**63 - 1
    return all(abs(value) <= limit for value in values if isinstance(value, int))


def _mixture(values: list[Any], families: list[str]) -> str:
    first = next((kind for kind in families if kind), "")
    row = next((row for row, kind in enumerate(families) if kind not in ("", first)), None)
    if row is None:
        return ""
    return f"row {row + 1} holds {_NAMES[families[row]]}, {shown(values[row])}, after {_NAMES[first]}"


def series_of(name: str, values: Any, source: str) -> tuple[pl.Series, str]:
    """One column from anything one-dimensional, and where its types are mixed ("" where they are not)."""
    import polars as pl

    pandas = sys.modules.get("pandas")
    if isinstance(values, pl.Series):
        held = isinstance(values.dtype, pl.Object)
        return from_values(name, values.to_list(), source) if held else (values.alias(name), "")
    if pandas is not None and isinstance(values, (pandas.Series, pandas.Index)):
        return _pandas_series(name, values, source)
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return numpy_series(name, values, source)
    if isinstance(values, np.ndarray) and values.ndim in (3, 4):
        return image_series(name, values, source), ""
    if hasattr(values, "to_pylist"):
        return from_values(name, values.to_pylist(), source)
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        return from_values(name, values, source)
    kind = f"{values.ndim}-D array" if isinstance(values, np.ndarray) else type(values).__name__
    raise InputError(f"{source}, column {shown(name)}: a {kind} is no column; give a list, an array or a series")


def numpy_series(name: str, values: NDArray[Any], source: str) -> tuple[pl.Series, str]:
    import polars as pl

    if values.dtype.kind == "M":
        return pl.Series(name, values.astype("datetime64[us]")), ""
    if values.dtype.kind not in "biuf" or isinstance(values, np.ma.MaskedArray):  # a masked cell is missing
        return from_values(name, values.tolist(), source)
    wide = values.astype(np.float64) if values.dtype.kind == "f" and values.itemsize not in (4, 8) else values
    return pl.Series(name, wide), ""


def image_series(name: str, values: NDArray[Any], source: str) -> pl.Series:
    """Images (n, height, width[, channels]) as a column of pixels, uint8 of one size; see `images.read_images`."""
    import polars as pl

    from luce.images import read_images

    try:
        return pl.Series(name, read_images(values, size=values.shape[1:3]).pixels)
    except InputError as error:
        raise InputError(f"{source}, column {shown(name)}: {error}") from None


def _pandas_series(name: str, values: Any, source: str) -> tuple[pl.Series, str]:
    """Through NumPy, since polars would ask for pyarrow, which the base install does not bring."""
    if isinstance(values.dtype, np.dtype):
        return numpy_series(name, values.to_numpy(), source)
    plain = {"i": np.int64, "u": np.uint64, "f": np.float64, "b": np.bool_}.get(values.dtype.kind)
    if plain is None:
        return from_values(name, values.to_numpy(dtype=object, na_value=None).tolist(), source)
    missing = np.asarray(values.isna())
    series, _ = numpy_series(name, values.to_numpy(dtype=plain, na_value=plain(0)), source)
    return (series.scatter(np.flatnonzero(missing), None) if missing.any() else series), ""
