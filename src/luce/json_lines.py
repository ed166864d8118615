"""JSON lines: one flat object a line, no key twice, every number with its digits."""

from __future__ import annotations

import io
import json
from bisect import bisect_right as bisect
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from luce.errors import InputError, LimitError, inert
from luce.text_source import Text, check_width

if TYPE_CHECKING:
    import polars as pl

# JSON lines may leave keys out, so few bytes could ask for a huge table of nulls.
MAX_JSON_CELLS = 1 << 28


class _Number(str):
    """A JSON number as it was spelled."""

    __slots__ = ()


def read_json_lines(text: Text) -> pl.DataFrame:
    """The rows of a text in order; a key that a line lacks is null. Raises InputError with the line."""
    block = _read_block(text, {})
    if not block.columns:
        raise _no_keys(text.where)
    return block.frame({name: Form.of(values) for name, values in block.columns.items()})


def json_forms(texts: Iterable[Text]) -> dict[str, Form]:
    """What the columns of a text in pieces, which are whole lines, come to, in the order of first appearance."""
    forms: dict[str, Form] = {}
    where = ""
    for text in texts:
        where = text.where
        for name, values in _read_block(text, forms).columns.items():
            forms[name] = forms.get(name, Form()) | Form.of(values)
    if not forms:
        raise _no_keys(where)
    return forms


def json_frames(texts: Iterable[Text], forms: dict[str, Form] | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a text in pieces, which are whole lines, in columns of these forms.

    Without forms those of the first piece with rows hold; InputError names the first line that does not keep to them.
    """
    for text in texts:
        block = _read_block(text, forms or {})
        if not block.lines:
            continue
        own = {name: Form.of(values) for name, values in block.columns.items()}
        if forms is None:
            if not own:
                raise _no_keys(text.where)
            forms = own
        if odd := [name for name, form in own.items() if not _fits(form, forms.get(name))]:
            raise _other_form(text.where, block, forms, odd)
        yield block.frame(forms)


def _no_keys(where: str) -> InputError:
    return InputError(f"{where}: its objects have no keys; it needs rows with columns")


class _Block(NamedTuple):
    """Rows as they were spelled, and the number of the line of each."""

    columns: dict[str, list[Any]]
    lines: list[int]

    def frame(self, forms: Mapping[str, Form]) -> pl.DataFrame:
        import polars as pl

        gone = [None] * len(self.lines)
        return pl.DataFrame([form.series(name, self.columns.get(name, gone)) for name, form in forms.items()])


def _read_block(text: Text, known: Collection[str]) -> _Block:
    """The rows of whole lines. known: the columns that the lines before have."""
    decoder = json.JSONDecoder(
        object_pairs_hook=distinct_keys, parse_int=_Number, parse_float=_Number, parse_constant=refuse_constant
    )
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    names, width = set(known), 0
    for number, line in enumerate(io.TextIOWrapper(io.BytesIO(text.data), "utf-8"), text.line):
        if line.isspace():
            continue
        rows = len(lines)
        for key, value in _json_row(f"{text.where}, line {number}", line, decoder).items():
            column = columns.setdefault(key, [])
            column.extend([None] * (rows - len(column)))
            column.append(value)
        lines.append(number)
        if len(columns) > width:
            names, width = names.union(columns), len(columns)
            check_width(text.where, len(names))
        if len(lines) * len(names) > MAX_JSON_CELLS:
            what = f"{len(names):,} different keys by line {number:,}"
            raise LimitError(f"{text.where}: {what} make more than MAX_JSON_CELLS ({MAX_JSON_CELLS:,}) cells")
    for column in columns.values():
        column.extend([None] * (len(lines) - len(column)))
    return _Block(columns, lines)


def distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'the key "{inert(next(name for name in names if names.count(name) > 1))}" comes twice')
    return row


def refuse_constant(token: str) -> None:
    raise ValueError(f"{token} is not JSON; write null for a missing number")


def _json_row(where: str, line: str, decoder: json.JSONDecoder) -> dict[str, Any]:
    try:
        row = decoder.decode(line)
        if "\\u" in line and isinstance(row, dict):
            "".join(f"{key}{value}" for key, value in row.items()).encode("utf-8")
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: is not one JSON object: {error.msg} at character {error.colno}") from None
    except UnicodeEncodeError:
        raise InputError(f"{where}: an escape such as \\ud800 is half a character; write the whole pair") from None
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply; write one flat object") from None
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f'{where}: is not an object; write each row as {{"column": value, ...}} on one line')
    for key, value in row.items():
        if isinstance(value, (dict, list)):
            what = "an object" if isinstance(value, dict) else "a list"
            raise InputError(
                f'{where}: column "{inert(key)}" holds {what}; give each of its values a column, or leave it out'
            )
    return row


class Form(NamedTuple):
    """What is known of the values of a column; that of two parts together is `a | b`."""

    truth: bool = False  # a boolean occurs
    number: bool = False
    text: bool = False
    fraction: bool = False  # a number with a point or an exponent
    long: bool = False  # a whole number of 16 digits or more
    beyond: bool = False  # a whole number beyond Int64
    huge: bool = False  # a number beyond Float64

    @staticmethod
    def of(values: list[Any]) -> Form:
        import polars as pl

        kinds = {type(value) for value in values}
        if _Number not in kinds:
            return Form(bool in kinds, text=str in kinds)
        numbers = pl.Series([value for value in values if type(value) is _Number], dtype=pl.String)
        return Form(
            bool in kinds,
            True,
            str in kinds,
            bool(numbers.str.contains("[.eE]").any()),
            bool(numbers.str.contains(r"^-?\d{16,}$").any()),
            bool(numbers.cast(pl.Int64, strict=False).null_count()),
            not numbers.cast(pl.Float64, strict=False).is_finite().fill_null(False).all(),
        )

    def __or__(self, other: Form) -> Form:
        return Form(*(a or b for a, b in zip(self, other, strict=True)))

    def dtype(self) -> type[pl.DataType]:
        """Of one JSON type that type; where types mix, or digits would be lost, text."""
        import polars as pl

        if self.truth and not self.number and not self.text:
            return pl.Boolean
        if self.truth or self.text or not self.number:
            return pl.String
        if self.fraction:
            return pl.String if self.long or self.huge else pl.Float64
        return pl.String if self.beyond else pl.Int64

    def series(self, name: str, values: list[Any]) -> pl.Series:
        """The column; as text, every number and boolean as it was spelled."""
        import polars as pl

        dtype = self.dtype()
        if dtype == pl.Boolean:
            return pl.Series(name, values, dtype=dtype)
        if self.truth:
            values = [str(value).lower() if isinstance(value, bool) else value for value in values]
        return pl.Series(name, values, dtype=pl.String).cast(dtype)


def _fits(form: Form, own: Form | None) -> bool:
    """Whether values leave a column what it is; a new column fits where it holds nothing."""
    return form == Form() if own is None else (own | form).dtype() == own.dtype()


def _other_form(where: str, block: _Block, forms: Mapping[str, Form], odd: list[str]) -> InputError:
    """Name the first line that does not keep to the forms."""
    import polars as pl

    def first(name: str) -> int:
        values, own = block.columns[name], forms.get(name)
        return bisect(range(len(values)), False, key=lambda row: not _fits(Form.of(values[: row + 1]), own))

    row, name = min((first(name), name) for name in odd)
    what = f'column "{inert(name)}" holds {inert(json.dumps(block.columns[name][row], ensure_ascii=False))}'
    called = {pl.Boolean: "booleans", pl.Int64: "whole numbers", pl.Float64: "numbers", pl.String: "text"}
    before = called[forms[name].dtype()] if forms.get(name, Form()) != Form() else "nothing"
    return InputError(
        f"{where}, line {block.lines[row]}: {what} where the lines before hold {before}; what comes as a stream keeps "
        "to the columns and types of its first lines: give it as a file"
    )
