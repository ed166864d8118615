"""Schema: what each column of a table is, and its cells as checked values.

The rules for a single cell are in cells.py; docs/tables.md holds all of them as one table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, get_args

import numpy as np

from luce import cells
from luce.cells import Levels, nfc, shown
from luce.errors import InputError, ModelFileError

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray
from luce.table import Table, did_you_mean

Kind = Literal["number", "boolean", "date", "category", "text", "image", "embedding", "left out"]
Asked = Literal["number", "boolean", "date", "category", "text", "image", "embedding", "ignore"]
Parsed: TypeAlias = "NDArray[np.float64] | NDArray[np.uint8] | NDArray[np.floating] | pl.Series"

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"  # two letters count as a word
SAMPLE = 1_000
LETTERS = 15  # in the mean of a cell: no date or number has as many
FEW_ROWS = 20
"""Below this many cells a column is too short to be called an identifier, or free text but for sentences."""
VERY_FEW = 6


# ---------------------------------------------------------------------------------------------------------------------
# what the columns are


@dataclass(frozen=True)
class Column:
    """What one column is; `why` says what left it out, `date_format` is strptime's, or "typed" for typed dates."""

    name: str
    kind: Kind
    why: str = ""
    date_format: str = ""
    decimal_comma: bool = False


@dataclass(frozen=True)
class Schema:
    """The columns that a model knows, and notes on how cells were read that the user should see."""

    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and text, for a model file."""
        return {"columns": [asdict(column) for column in self.columns], "notes": list(self.notes)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Schema:
        """The schema that `to_json` wrote; raises ModelFileError if a part is lacking or of another type."""
        try:
            columns = tuple(Column(**column) for column in data["columns"])
            notes = tuple(data["notes"])
        except (TypeError, KeyError) as broken:
            raise ModelFileError(f"the schema of the model file is broken: {broken}") from None
        for column in columns:
            texts = (column.name, column.why, column.date_format)
            sound = column.date_format in ("", "typed", *cells.DATE_FORMATS) and isinstance(column.decimal_comma, bool)
            if not sound or not all(isinstance(text, str) for text in texts) or column.kind not in get_args(Kind):
                raise ModelFileError(f"the schema of the model file is broken at column {shown(column.name)}")
        if len({column.name for column in columns}) != len(columns) or not all(isinstance(n, str) for n in notes):
            raise ModelFileError("the schema of the model file is broken: doubled columns or notes that are no text")
        return Schema(columns, notes)


def infer_schema(table: Table, kinds: Mapping[str, str] | None = None) -> Schema:
    """What each column is, by the rules of docs/tables.md; all cells are looked at.

    `kinds` settles columns by name: "number", "boolean", "date", "category", "text", "image", "embedding" or "ignore".
    Raises InputError for an unknown name or kind, an infinite number, a column that is numbers but for a few cells, and
    types luce cannot read.
    """
    if not table.names:
        raise InputError(f"{table.source} has no columns besides the label")
    said = {name: kind for name, kind in table.kinds.items() if name in table.names}
    asked = _asked(table, {**said, **(kinds or {})})
    found: dict[str, Column] = {}
    texts: list[pl.Series] = []
    for series in table.frame.get_columns():
        ask = asked.get(series.name)
        column = _left_out(series.name, "left out as asked") if ask == "ignore" else _typed_column(table, series, ask)
        if column is None and ask is None and _plainly_text(series):
            found[series.name] = Column(series.name, "text")
        elif column is None:
            texts.append(cells.as_text(series).alias(series.name))
        else:
            found[series.name] = column
    notes: list[str] = []
    read = cells.read_levels(texts)
    beside = any(map(_needs_commas, read))
    for series, levels in zip(texts, read, strict=True):
        table.levels[series.name] = (levels.raw, levels.clean)
        found[series.name] = _text_column(table, series, levels, asked.get(series.name), beside, notes)
    notes += [
        f"column {shown(name)} grows with every row, as numbers of rows and times do: if it tells nothing of new rows, "
        f"leave it out ({_as(name, 'ignore')})"
        for name, column in found.items()
        if column.kind == "number" and name not in asked and _grows(table.column(name))
    ]
    if all(column.kind == "left out" for column in found.values()):  # short texts, such as job titles, then
        names = [series.name for series in texts if _are_names(table, found[series.name])]
        found |= {name: Column(name, "text") for name in names}
    return Schema(tuple(found[name] for name in table.names), tuple(notes))


def _asked(table: Table, kinds: Mapping[str, str]) -> dict[str, Asked]:
    asked: dict[str, Asked] = {}
    known = get_args(Asked)
    for name, kind in kinds.items():
        table.column(name)
        if kind not in known:
            raise InputError(f"column {shown(name)}: {shown(kind)} is no kind; the kinds are {', '.join(known)}")
        asked[nfc(name)] = kind  # type: ignore[assignment]  # checked on the line above
    return asked


def _left_out(name: str, why: str) -> Column:
    return Column(name, "left out", why)


def _typed_column(table: Table, series: pl.Series, ask: Asked | None) -> Column | None:
    """What a typed column is; None where the rules for text decide."""
    family = cells.family(series.dtype)
    if family == "image":
        if ask not in (None, "image"):
            raise InputError(f"{table.source}: column {shown(series.name)} holds images and can be nothing else")
        return Column(series.name, "image")
    if family == "embedding":
        if ask not in (None, "embedding"):
            raise InputError(f"{table.source}: column {shown(series.name)} holds embeddings and can be nothing else")
        return Column(series.name, "embedding")
    if ask in ("image", "embedding"):
        _refuse_type(table, series, f"{ask}s")
    if family == "other":
        what = f"column {shown(series.name)} holds values of type {series.dtype}, which luce does not read"
        remedy = f"turn them into numbers or text, or leave the column out ({_as(series.name, 'ignore')})"
        raise InputError(f"{table.source}: {what}; {remedy}")
    if family == "text" or (ask == "date" and family == "number"):
        return None
    if ask == "text":
        return Column(series.name, "text")
    if ask is not None and ask != "ignore":
        return Column(series.name, ask, date_format="typed" if ask == "date" else "")
    if series.null_count() == len(series):
        return _left_out(series.name, "all cells are missing")
    if family == "number":
        return _number_column(table, series)
    low, high = series.min(), series.max()
    if low == high and not series.null_count():
        return _left_out(series.name, f"constant: always {shown(cells.as_text(series)[0])}")
    return Column(series.name, "date", date_format="typed") if family == "date" else Column(series.name, "boolean")


def _number_column(table: Table, series: pl.Series) -> Column | None:
    """A typed number column; None for integers that are rather names (beyond 2^53) or packed dates."""
    low: Any = series.min()
    high: Any = series.max()
    if series.dtype.is_float():
        if low != low:
            return _left_out(series.name, "all cells are missing")
        if np.isinf(low) or np.isinf(high):
            _refuse_infinite(table, series.name, cells.typed_numbers(series))
    else:
        packed = cells.says_date(series.name) and 19000101 <= low <= high < 22000101
        if packed or max(abs(low), abs(high)) > cells.EXACT:
            return None
    why = ""
    if low == high or high - low + 1 == table.rows:
        values = cells.typed_numbers(series)
        why = _number_why(values, table.rows, int(np.isnan(values).sum()))
    return _left_out(series.name, why) if why else Column(series.name, "number")


def _number_why(values: NDArray[np.float64], rows: int, missing: int) -> str:
    """Why numbers say nothing: one value throughout, or a count of the rows ("" if they may say something)."""
    if missing:
        return ""
    low, high = values.min(), values.max()
    if low == high:
        return f"constant: always {low:.15g}"
    counts = rows >= FEW_ROWS and len(values) == rows and high - low + 1 == rows and low == np.floor(low)
    if counts and np.array_equal(np.sort(values), np.arange(low, low + rows)):
        return f"identifier: counts the rows, {low:.15g} to {high:.15g}"
    return ""


def _grows(series: pl.Series) -> bool:
    """Whether a column is whole numbers, each larger than that of the row before."""
    import polars as pl

    def growing(part: pl.Series) -> bool:
        numbers = part.cast(pl.Int64, strict=False)
        return not numbers.null_count() and bool((numbers.diff().drop_nulls() > 0).all())

    whole = series.dtype.is_integer() or str(series.dtype) == "String"
    return whole and len(series) >= FEW_ROWS and growing(series.head(FEW_ROWS)) and growing(series)


# ---------------------------------------------------------------------------------------------------------------------
# what a text column is


def _needs_commas(levels: Levels) -> bool:
    """Whether all cells are numbers with decimal commas, and not with points."""
    return not levels.point.all_numbers(levels.present) and levels.comma.all_numbers(levels.present)


def _may_have_commas(levels: Levels) -> bool:
    """Whether all cells are numbers with decimal commas, and other ones than with points."""
    comma, present = levels.comma, levels.present
    return comma.all_numbers(present) and not np.array_equal(comma.value[present], levels.point.value[present])


def _more_with_commas(levels: Levels) -> bool:
    """Whether more cells are numbers with decimal commas than with points."""
    odd, beside = (np.isnan(reading.value[levels.present]).sum() for reading in (levels.comma, levels.point))
    return bool(odd < beside)


def _text_column(
    table: Table, series: pl.Series, levels: Levels, ask: Asked | None, beside: bool, notes: list[str]
) -> Column:
    """beside: whether a column of the table needs decimal commas; then those that may have them do."""
    present = levels.present
    if ask in ("category", "boolean", "text"):
        return Column(series.name, ask)
    if beside:
        levels = levels.with_commas()
    comma = _needs_commas(levels) or (beside and _may_have_commas(levels))
    if ask == "number":
        comma = comma or _more_with_commas(levels)
        notes.extend(_marks(series.name, levels, comma))
        return Column(series.name, "number", decimal_comma=comma)
    if ask == "date":
        return _date_column(series, levels, notes) or _nearest_date(table, series, levels)
    missing = series.null_count() + _cells_at(series, levels, ~present)
    if missing == table.rows:
        return _left_out(series.name, "all cells are missing")
    if levels.different == 1 and not missing:
        return _left_out(series.name, f"constant: always {shown(levels.clean.drop_nulls()[0])}")
    if levels.pair():
        return Column(series.name, "boolean")
    if cells.says_date(series.name) and (column := _date_column(series, levels, notes)):
        return column
    read = levels.comma if comma else levels.point
    if not read.name[present].any():
        if read.all_numbers(present):
            return _text_number(table, series, levels, comma, missing, notes)
        _refuse_almost_numbers(table, series, levels, missing)
    return _date_column(series, levels, notes) or _category(table, series, levels, missing, notes)


def _cells_at(series: pl.Series, levels: Levels, chosen: NDArray[np.bool_]) -> int:
    """How many cells of the column hold one of the chosen levels."""
    import polars as pl

    return int(series.is_in(levels.raw.filter(pl.Series(chosen)).to_list()).sum()) if chosen.any() else 0


def _text_number(
    table: Table, series: pl.Series, levels: Levels, comma: bool, missing: int, notes: list[str]
) -> Column:
    values = (levels.comma if comma else levels.point).value[levels.present]
    why = _number_why(values, table.rows, missing)
    if why:
        return _left_out(series.name, why)
    notes.extend(_marks(series.name, levels, comma))
    return Column(series.name, "number", decimal_comma=comma)


def _marks(name: str, levels: Levels, comma: bool) -> Iterator[str]:
    """What was made of commas, of points beside decimal commas, and of a per cent sign that only some cells carry."""
    import polars as pl

    if not levels.marked and not comma:
        return
    is_number = np.isfinite((levels.comma if comma else levels.point).value)
    numbers = levels.wide.filter(pl.Series(is_number)).sort()
    commas, points = (numbers.filter(numbers.str.contains(mark, literal=True)) for mark in ",.")
    if len(commas):
        value = cells.numbers(commas.head(1), comma).value[0]
        use = "is a decimal comma" if comma else "groups thousands"
        yield f"column {shown(name)}: the comma {use}, so {shown(commas[0])} is {value:.15g}"
    elif comma and len(points):
        value = cells.numbers(points.head(1), comma).value[0]
        use = "the point groups thousands, as other columns have decimal commas"
        yield f"column {shown(name)}: {use}, so {shown(points[0])} is {value:.15g}"
    share = levels.wide.str.contains("%", literal=True).sum()
    signs = levels.wide.str.extract("([$€£₩¥원])").drop_nulls().replace("원", "₩").unique().sort().to_list()
    if len(signs) > 1:
        told = ", ".join(signs)
        yield f"column {shown(name)}: amounts in several currencies ({told}) are taken as plain numbers, side by side"
    if 0 < share < levels.present.sum():
        yield f"column {shown(name)}: only some cells carry a % and are divided by 100; the others stay as they are"


def _refuse_almost_numbers(table: Table, series: pl.Series, levels: Levels, missing: int) -> None:
    """D11: numbers with a few other cells are refused, since as a category every number would be a level."""
    import polars as pl

    values = min((levels.point.value, levels.comma.value), key=lambda found: int(np.isnan(found).sum()))
    bad = levels.present & np.isnan(values)
    good = values[~np.isnan(values)]
    if len(good) <= 20 or len(np.unique(good)) <= 20:
        return
    count = _cells_at(series, levels, bad)
    if count > 0.05 * (table.rows - missing):
        return
    row = series.is_in(levels.raw.filter(pl.Series(bad)).to_list()).fill_null(False).arg_max() or 0
    others = f" (and {count - 1:,} more such cells)" if count > 1 else ""
    raise InputError(
        f"{_place(table, row, series.name)}: {shown(series[row])} is not a number, but nearly all other cells are"
        f"{others}; correct it, leave the cell empty, or call the column a category ({_as(series.name, 'category')})"
    )


def _date_column(series: pl.Series, levels: Levels, notes: list[str]) -> Column | None:
    """The first format that every cell satisfies; a note where day and month could be swapped."""
    sample = levels.sample()
    fitting = cells.date_formats(sample, series.name) if sample else []
    absent = levels.wide.null_count()
    sound = [date_format for date_format in fitting if cells.dates(levels.wide, date_format).null_count() == absent]
    if not sound:
        return None
    if len(sound) > 1:
        swapped = f"column {shown(series.name)}: dates such as {shown(levels.wide.min())} are read month first"
        notes.append(f"{swapped}; they could be read day first as well")
    return Column(series.name, "date", date_format=sound[0])


def _nearest_date(table: Table, series: pl.Series, levels: Levels) -> Column:
    """For a column that was said to be dates: the format of most cells; `parse` names the first cell that differs."""
    counts = {date_format: cells.dates(levels.wide, date_format).count() for date_format in cells.DATE_FORMATS}
    best = max(counts, key=lambda date_format: counts[date_format])
    if not counts[best] and levels.present.any():
        bad = cells.clean(series).is_not_null().to_numpy()
        _refuse(table, series, bad, "is no date; write it as 2024-01-31")
    return Column(series.name, "date", date_format=best)


def _category(table: Table, series: pl.Series, levels: Levels, missing: int, notes: list[str]) -> Column:
    present = table.rows - missing
    different = levels.different
    if VERY_FEW <= present < FEW_ROWS and different > 0.9 * present and mean_words(levels.clean) >= 4:
        return Column(series.name, "text")
    hint = _points_and_commas(series.name, levels)
    if not hint and present >= FEW_ROWS and different > 0.3 * present:
        hint = _almost_a_number(series.name, levels, present)
    if hint:
        notes.append(hint)
    if present >= FEW_ROWS and different > 0.3 * present:
        words = mean_words(levels.clean)
        enough = 2.5 if _mostly_letters(levels.clean) else 4  # names of persons have two
        if words >= 8 or (words >= enough and different > 0.9 * present):
            return Column(series.name, "text")
        beginnings = _common_beginnings(levels)
        if beginnings:
            if different > 0.9 * present:
                return Column(series.name, "text")
            codes = f"column {shown(series.name)}: codes such as {shown(levels.clean.min())} begin alike"
            notes.append(
                f"{codes}; if what they have in common matters, read them as text ({_as(series.name, 'text')})"
            )
        if different > 0.9 * present:
            return _left_out(series.name, f"identifier: {different:,} different values in {present:,} rows")
        if words >= 2 and different > 0.5 * present and _are_words(levels.clean):
            return Column(series.name, "text")
    if different < levels.present.sum():
        merged = f"column {shown(series.name)}: levels that differ only in outer blanks or Unicode form"
        notes.append(f"{merged} are taken as one")
    if _codes_of_two_letters(levels):
        gone = f"column {shown(series.name)}: 'NA' counts as missing, beside levels of two letters"
        notes.append(f"{gone}; if it is one of them, as Namibia's code is, write it otherwise")
    if twins := _differing_in_case(levels):
        apart = (
            f"column {shown(series.name)}: levels that differ only in case, such as {twins}, are levels of their own"
        )
        notes.append(f"{apart}; write them alike if they mean the same")
    return Column(series.name, "category")


def _codes_of_two_letters(levels: Levels) -> bool:
    """Whether nine in ten levels are two capitals, as codes of countries are, and cells say NA."""
    codes = levels.clean.drop_nulls().str.contains("^[A-Z]{2}$").sum()
    return bool((levels.raw.str.strip_chars() == "NA").any()) and 10 * codes >= 9 * levels.different > 0


def _differing_in_case(levels: Levels) -> str:
    """Two levels that differ only in case, for a note; "" if there are none."""
    import polars as pl

    names = levels.clean.drop_nulls().unique().sort().alias("name").to_frame()
    names = names.with_columns(pl.col("name").str.to_lowercase().alias("small"))
    several = names.filter(pl.col("small").is_duplicated())
    if not len(several):
        return ""
    some = several.filter(pl.col("small") == several["small"][0])["name"]
    return f"{shown(some[0])} and {shown(some[1])}"


def _common_beginnings(levels: Levels) -> bool:
    """Whether levels are codes such as A45.3: letters, then digits; several with the same letters, others with others.
    Numbered rows have all the same letters."""
    letters = levels.clean.drop_nulls().str.extract(r"^(\p{L}{1,3})[-. ]?\d[\w.-]*$").drop_nulls()
    return len(letters) >= 0.9 * levels.different and 5 <= letters.n_unique() <= levels.different / 3


def _points_and_commas(name: str, levels: Levels) -> str:
    """What to say of numbers of which some have a decimal point and others a decimal comma; "" for other columns."""
    import polars as pl

    point, comma = np.isnan(levels.point.value) & levels.present, np.isnan(levels.comma.value) & levels.present
    if (point & comma).any() or not point.any() or not comma.any():
        return ""
    one, other = (shown(levels.raw.filter(pl.Series(odd)).sort()[0]) for odd in (comma, point))
    return (
        f"column {shown(name)}: some cells, such as {one}, have a decimal point and others, such as {other}, a decimal "
        "comma, so they are not read as numbers: write all alike"
    )


def _almost_a_number(name: str, levels: Levels, present: int) -> str:
    """What to say of a category of which most levels begin with a number; "" for others."""
    import polars as pl

    begin = levels.clean.str.contains(r"^[+\-(<>~$€£₩¥]?\s*\d").fill_null(False)
    if 2 * int(begin.sum()) <= len(begin):
        return ""
    odd = np.isnan(levels.point.value) & np.isnan(levels.comma.value) & levels.present
    if not odd.any():  # names of digits
        return ""
    first = shown(levels.raw.filter(pl.Series(odd)).sort()[0])
    return (
        f"column {shown(name)}: most cells begin with a number, but some, such as {first}, are none: it has "
        f"{levels.different:,} levels in {present:,} rows; if it is meant as numbers, dates or times, "
        "write plain numbers or 2024-01-31, and leave cells empty where nothing is known"
    )


def _plainly_text(series: pl.Series) -> bool:
    """Whether the first thousand cells and the number of different ones leave no doubt: then no rule for numbers, dates
    and levels has to be asked, which takes long on many texts."""
    if len(series) <= SAMPLE or str(series.dtype) != "String":
        return False
    first = series.head(SAMPLE).drop_nulls()
    letters = first.str.count_matches(r"\p{L}").mean()
    sentences = isinstance(letters, float) and letters >= LETTERS and mean_words(first) >= 4
    return sentences and len(first) > SAMPLE / 2 and series.n_unique() > 0.9 * len(series)


def _are_names(table: Table, column: Column) -> bool:
    """Whether a column that was taken for an identifier has words, and few digits."""
    if not column.why.startswith("identifier") or cells.family(table.column(column.name).dtype) != "text":
        return False
    given = table.column(column.name).drop_nulls()
    digits = given.str.contains(r"\d").mean()
    return _are_words(given) and isinstance(digits, float) and digits < 0.1


def _are_words(given: pl.Series) -> bool:
    """Whether every cell has a word, and more than half of the signs are letters."""
    return _mostly_letters(given) and bool(given.str.contains(r"\p{L}{2}").all())


def _mostly_letters(given: pl.Series) -> bool:
    return bool((2 * given.str.count_matches(r"\p{L}")).sum() > given.str.count_matches(r"\S").sum())


def mean_words(levels: pl.Series) -> float:
    """How many words the levels have in the mean; texts without spaces have one for every two letters."""
    words, letters = levels.str.count_matches(r"\S+").mean(), levels.str.count_matches(UNSPACED).mean()
    return max(float(words or 0.0), float(letters or 0.0) / 2)  # type: ignore[arg-type]  # of numbers


# ---------------------------------------------------------------------------------------------------------------------
# cells by the schema


def parse(table: Table, schema: Schema, ignore: Collection[str] = ()) -> dict[str, Parsed]:
    """The cells of every column that the schema keeps, matched by name, in the schema's order.

    A number or boolean is float64 with NaN for missing (at times a read-only view of the table), a category or text a
    String series and a date a Datetime("us") series with null for missing, an image uint8 (n, height, width, channels),
    an embedding (n, width), which is no copy where the table has all of its rows.
    Columns in `ignore` may be there and are not read. Raises InputError that lists missing and unknown columns, or
    names the first cell that does not fit.
    """
    _check_names(table, schema, {nfc(name) for name in ignore})
    out: dict[str, Parsed] = {}
    texts: dict[Kind, list[pl.Series]] = {"category": [], "boolean": []}
    for column in schema.columns:
        if column.kind == "left out":
            continue
        series = table.frame.get_column(column.name)
        out[column.name] = series  # holds the place in the order; the texts are read together below
        if column.kind == "category" or (column.kind == "boolean" and cells.family(series.dtype) == "text"):
            texts[column.kind].append(_text_of(table, series))
        elif column.kind == "text":
            out[column.name] = cells.present_texts(_text_of(table, series))
        elif column.kind == "image":
            out[column.name] = _image_cells(table, series)
        elif column.kind == "embedding":
            out[column.name] = _vectors(table, series)
        elif column.kind == "date":
            out[column.name] = _date_cells(table, series, column)
        else:
            out[column.name] = _number_cells(table, series, column)
    levels = _levels(table, [*texts["category"], *texts["boolean"]])
    categories = cells.category_cells(texts["category"], levels[: len(texts["category"])])
    out.update((series.name, series) for series in categories)
    truths = cells.truth_cells(texts["boolean"], levels[len(texts["category"]) :])
    for series, (values, bad) in zip(texts["boolean"], truths, strict=True):
        if bad.any():
            _refuse(table, series, bad, f"is neither true nor false; {_REMEDY}")
        out[series.name] = values
    return out


def _levels(table: Table, texts: Sequence[pl.Series]) -> list[cells.Cleaned]:
    """The levels of text columns: known already where the schema was inferred from this very table."""
    new = [series for series in texts if series.name not in table.levels]
    table.levels.update(zip([series.name for series in new], cells.clean_levels(new), strict=True))
    return [table.levels[series.name] for series in texts]


def _check_names(table: Table, schema: Schema, ignore: set[str]) -> None:
    known = {column.name for column in schema.columns}
    here = set(table.names)
    missing = [c.name for c in schema.columns if c.kind != "left out" and c.name not in here]
    unknown = [name for name in table.names if name not in known and name not in ignore]
    told = []
    if missing:
        told.append("missing: " + _listed([shown(name) for name in missing]))
    if unknown:
        told.append("not known: " + _listed([shown(name) + did_you_mean(name, missing) for name in unknown[:11]]))
    if told:
        raise InputError(f"{table.source}: the columns are not those the model was fitted on; {'; '.join(told)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


_REMEDY = "correct it or leave the cell empty"


def _number_cells(table: Table, series: pl.Series, column: Column) -> NDArray[np.float64]:
    family = cells.family(series.dtype)
    if family == "text":
        values, bad = cells.number_cells(cells.as_text(series), column.decimal_comma)
        if bad.any():
            _refuse(table, series, bad, f"is not a number; {_REMEDY}")
        return values
    if family not in ("number", "boolean", "empty"):
        _refuse_type(table, series, "numbers" if column.kind == "number" else "truth values")
    values = np.full(len(series), np.nan) if family == "empty" else cells.typed_numbers(series)
    if series.dtype.is_float():
        _refuse_infinite(table, series.name, values)
    if column.kind == "boolean" and family == "number":
        bad = ~np.isnan(values) & (values != 0) & (values != 1)
        if bad.any():
            _refuse(table, series, bad, f"is neither true (1) nor false (0); {_REMEDY}")
    return values


def _text_of(table: Table, series: pl.Series) -> pl.Series:
    if cells.family(series.dtype) == "other":
        _refuse_type(table, series, "levels of a category")
    return cells.as_text(series)


def _image_cells(table: Table, series: pl.Series) -> NDArray[np.uint8]:
    if cells.family(series.dtype) != "image":
        _refuse_type(table, series, "images of one size")
    if series.null_count():
        _refuse(table, series, series.is_null().to_numpy(), "is no image; leave the row out")
    return series.to_numpy()


def _vectors(table: Table, series: pl.Series) -> NDArray[Any]:
    """The rows of a column of embeddings: the array itself where they are all, in their order."""
    if cells.family(series.dtype) != "embedding":
        _refuse_type(table, series, "embeddings")
    vectors, rows = table.vectors[series.name], series.to_numpy()[:, 0]
    whole = len(rows) == len(vectors) and np.array_equal(rows, np.arange(len(rows), dtype=rows.dtype))
    return vectors if whole else vectors[rows]


def _date_cells(table: Table, series: pl.Series, column: Column) -> pl.Series:
    import polars as pl

    family = cells.family(series.dtype)
    if family == "date":
        return cells.typed_dates(series)
    if family == "empty":
        return series.cast(pl.Datetime("us"))
    if family not in ("text", "number") or (family == "number" and not series.dtype.is_integer()):
        _refuse_type(table, series, "dates")
    text = cells.widthless(cells.clean(cells.as_text(series)))
    date_format = column.date_format
    if date_format == "typed":
        fitting = cells.date_formats(text.drop_nulls().head(50).to_list(), "")
        date_format = next((f for f in fitting if f.startswith("%Y-")), "%Y-%m-%d")
    found = cells.dates(text, date_format)
    bad = (found.is_null() & text.is_not_null()).to_numpy()
    if bad.any():
        _refuse(table, series, bad, f"is no date of the form {date_format}; {_REMEDY}")
    return found.alias(series.name)


# ---------------------------------------------------------------------------------------------------------------------
# refusals


def _place(table: Table, row: int, name: str) -> str:
    return f"{table.source}, row {table.first + row + 1}, column {shown(name)}"


def _as(name: str, kind: str) -> str:
    return f"--as {shown(f'{name}={kind}', 60)}, in Python kinds={{{shown(name)}: {kind!r}}}"


def _refuse(table: Table, series: pl.Series, bad: NDArray[np.bool_], what: str) -> NoReturn:
    """Name the first bad cell, and how many more there are."""
    row, count = int(bad.argmax()), int(bad.sum())
    more = f" ({count - 1:,} more cells do not fit)" if count > 1 else ""
    raise InputError(f"{_place(table, row, series.name)}: {shown(series[row])} {what}{more}")


def _refuse_infinite(table: Table, name: str, values: NDArray[np.float64]) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        place = _place(table, int(infinite.argmax()), name)
        raise InputError(f"{place}: the number is infinite; correct it or leave the cell empty")


def _refuse_type(table: Table, series: pl.Series, expected: str) -> NoReturn:
    what = f"holds values of type {series.dtype} where {expected} are expected"
    raise InputError(f"{table.source}, column {shown(series.name)} {what}")
