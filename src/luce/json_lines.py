"""JSON lines: one flat object a line, no key twice, every number with its digits."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

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
    import polars as pl

    decoder = json.JSONDecoder(
        object_pairs_hook=distinct_keys, parse_int=_Number, parse_float=_Number, parse_constant=refuse_constant
    )
    columns: dict[str, list[Any]] = {}
    rows = 0
    for number, line in enumerate(io.TextIOWrapper(io.BytesIO(text.data), "utf-8"), 1):
        if line.isspace():
            continue
        for key, value in _json_row(f"{text.where}, line {number}", line, decoder).items():
            column = columns.setdefault(key, [])
            column.extend([None] * (rows - len(column)))
            column.append(value)
        rows += 1
        check_width(text.where, len(columns))
        if rows * len(columns) > MAX_JSON_CELLS:
            what = f"{len(columns):,} different keys by line {number:,}"
            raise LimitError(f"{text.where}: {what} make more than MAX_JSON_CELLS ({MAX_JSON_CELLS:,}) cells")
    if not columns:
        raise InputError(f"{text.where}: its objects have no keys; it needs rows with columns")
    for column in columns.values():
        column.extend([None] * (rows - len(column)))
    return pl.DataFrame([_typed(name, column) for name, column in columns.items()])


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
            raise InputError(f'{where}: column "{inert(key)}" holds {what}; give each of its values a column')
    return row


def _typed(name: str, values: list[Any]) -> pl.Series:
    """A column of one JSON type; where types mix, text with every number and boolean as it was spelled."""
    import polars as pl

    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if bool in kinds:
        values = [str(value).lower() if isinstance(value, bool) else value for value in values]
    text = pl.Series(name, values, dtype=pl.String)
    if kinds != {_Number}:
        return text
    whole = not text.str.contains("[.eE]").any()
    if not whole and text.str.contains(r"^-?\d{16,}$").any():
        return text  # the whole numbers would lose digits
    numbers = text.cast(pl.Int64 if whole else pl.Float64, strict=False)
    return numbers if numbers.null_count() == text.null_count() and numbers.is_finite().all() else text
