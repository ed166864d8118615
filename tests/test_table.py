"""Tables and schemas: every source says the same, every column is what a reader would say."""

from __future__ import annotations

import copy
import datetime
import fractions
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsing import check_one_line, column, numbers_as_text, parsed, same_parsed, twins

import luce
from luce.errors import InputError, ModelFileError
from luce.labels import labels
from luce.schema import Column, Schema, infer_schema, parse
from luce.table import Table

# --- what columns are ------------------------------------------------------------------------------------------------


def test_d11_a_late_cell_that_is_no_number_is_named_with_its_row() -> None:
    cells = [str(value) for value in range(5000)] * 2
    cells[9321] = "12 kg"
    cells[9500] = "n.a."
    with pytest.raises(InputError) as error:
        infer_schema(Table.of({"weight": cells}, "data.csv"))
    assert str(error.value) == (
        "data.csv, row 9322, column 'weight': '12 kg' is not a number, but nearly all other cells are (and 1 more such "
        "cells); correct it, leave the cell empty, or call the column a category (--as 'weight=category', in Python "
        "kinds={'weight': 'category'})"
    )
    assert column(cells, weight="category", name="weight").kind == "category"


def test_d11_few_numbers_or_many_others_are_a_category() -> None:
    assert column([*(["1", "2"] * 100), "x"]).kind == "category"
    assert column([*numbers_as_text(80), *(["x"] * 20)]).kind == "category"


def test_d11_decimal_commas_with_a_late_bad_cell() -> None:
    with pytest.raises(InputError, match=r"row 41.*'x' is not a number"):
        infer_schema(Table.of({"x": [f"{value},5" for value in range(40)] + ["x"]}))


def test_d13_long_integers_and_leading_zeros_stay_text() -> None:
    assert column(["007", "12", "3"]).kind == "category"
    assert column(["0", "12", "0.5"]).kind == "number"
    assert column([str(2**53 + value) for value in range(1, 40)]).why.startswith(
        "identifier: 39 different values in 39"
    )
    assert column([2**53 + 1, 2**53 + 2, 5]).kind == "category"
    assert parsed([2**53 + 1, 2**53 + 2]) == ["9007199254740993", "9007199254740994"]
    assert column([10**30, 1, 2]).kind == "category"
    assert column([2**53, 1, 2]).kind == "number"


def test_d13_told_otherwise_they_are_numbers() -> None:
    assert parsed(["007", "12"], "number") == [7.0, 12.0]
    assert parsed([2**53 + 1, 5], "number") == [2.0**53, 5.0]


def test_infinite_numbers_name_their_row() -> None:
    with pytest.raises(InputError, match="row 3, column 'x': the number is infinite"):
        column([1.0, 2.0, float("inf")])
    schema = infer_schema(Table.of({"x": [1.0, 2.0]}))
    with pytest.raises(InputError, match="row 2, column 'x': the number is infinite"):
        parse(Table.of({"x": np.array([1.0, -np.inf])}), schema)


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["a"] * 5, "constant: always 'a'"),
        (["a", " a", "a "], "constant: always 'a'"),
        ([3, 3, 3], "constant: always 3"),
        (["3", "3.0", "3"], "constant: always 3"),
        ([True, True], "constant: always 'true'"),
        ([datetime.date(2024, 1, 31)] * 2, "constant: always '2024-01-31 00:00:00.000000'"),
        ([None, None], "all cells are missing"),
        (["", "?"], "all cells are missing"),
        ([float("nan"), float("nan")], "all cells are missing"),
        (list(range(1, 31)), "identifier: counts the rows, 1 to 30"),
        ([str(value) for value in range(30)][::-1], "identifier: counts the rows, 0 to 29"),
        ([f"id{value}" for value in range(20)], "identifier: 20 different values in 20 rows"),
        ([f"id{value % 19}" for value in range(20)], "identifier: 19 different values in 20 rows"),
    ],
)  # fmt: skip
def test_columns_left_out_say_why(cells: list[Any], why: str) -> None:
    assert column(cells) == Column("x", "left out", why)


def test_short_reviews_are_texts_beside_other_columns_and_names_of_persons_are_none() -> None:
    starts, ends = (
        ("정말", "너무", "아주", "전혀", "매우"),
        ("재미있는 영화", "지루한 연기였다", "좋은 배우들", "나쁜 이야기 ㅠㅠ"),
    )
    reviews = [f"{a} {b}{mark}" for a in starts for b in ends for mark in ("", "!", " 10점")]
    names = [f"{first} {last}" for first in ("Ann", "Bo", "Cy", "Di", "Ed") for last in ("Ray", "Lee", "Fox", "Orr")]
    numbers = [f"12 {k} {k + 3}b" for k in range(40)]
    kinds = [
        next(c for c in infer_schema(Table.of({"x": cells, "age": [30, 41, 30, 52] * (len(cells) // 4)})).columns).kind
        for cells in (reviews, names, numbers)
    ]
    assert kinds == ["text", "left out", "left out"]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([3, 3, None], "number"),
        (["a", "a", None], "category"),
        (list(range(19)), "number"),
        ([*range(1, 30), 31], "number"),
        ([*range(1, 30), 29], "number"),
        ([value + 0.5 for value in range(30)], "number"),
        ([f"id{value}" for value in range(19)], "category"),
        ([f"id{value % 18}" for value in range(20)], "category"),
        ([True, False, None], "boolean"),
        ([datetime.date(2024, 1, 31), None], "date"),
        (["low", "high"], "category"),
        (["12:30", "9:75"], "category"),
    ],
)
def test_columns_that_are_kept(cells: list[Any], kind: str) -> None:
    assert column(cells) == Column("x", kind, date_format="typed" if kind == "date" else "")


@pytest.mark.parametrize(
    "cells",
    [
        [f"we like item {value}" for value in range(20)],  # 4 words, all different
        ["one two three four five six seven", "x y", *(f"a b c d e f g h {n}" for n in range(40))] * 2,  # 9 words
        ["날씨가 좋다", "집에 간다"] + [f"오늘은 {n}번째 영화를 봤는데 참 재미있었다" for n in range(20)],
        [f"私は{chr(0x4E00 + n)}が好きです" for n in range(20)],  # no spaces, 8 letters
        ["baker", "teacher", "nurse", "driver"] + [f"{a}{b} worker" for a in "abcd" for b in "efgh"],  # nothing else
    ],
)
def test_sentences_are_text(cells: list[str]) -> None:
    assert column(cells) == Column("x", "text")


def test_missing_texts_are_missing_and_others_stay_as_they_are() -> None:
    cells = ["NaN", " n/a ", "", "  ", None, "nan bread", " Ein  Satz\t", "ㅋㅋ", "no"]
    assert parsed(cells, "text") == [None] * 5 + cells[5:]


def test_codes_are_no_text_even_if_nothing_else_is_there() -> None:
    assert column([f"id{value}" for value in range(30)]).kind == "left out"


def test_kinds_overrule_and_unknown_ones_are_refused() -> None:
    table = Table.of({"age": ["1", "2"], "zip": ["7", "8"]})
    schema = infer_schema(table, {"zip": "category", "age": "ignore"})
    assert [(c.kind, c.why) for c in schema.columns] == [("left out", "left out as asked"), ("category", "")]
    with pytest.raises(InputError, match=r"no column 'zap' \(did you mean 'zip'\?\)"):
        infer_schema(table, {"zap": "category"})
    with pytest.raises(
        InputError,
        match="'words' is no kind; the kinds are number, boolean, date, category, text, image, embedding, ignore",
    ):
        infer_schema(table, {"zip": "words"})
    with pytest.raises(InputError, match="row 2, column 'x': 'b' is not a number"):
        parsed(["1", "b"], "number")
    with pytest.raises(InputError, match="row 2, column 'x': 'b' is no date"):
        parsed([None, "b"], "date")


def test_kinds_turn_typed_columns_into_levels_and_numbers() -> None:
    assert parsed([1.0, 2.5, None], "category") == ["1", "2.5", None]
    assert parsed([True, False], "category") == ["true", "false"]
    assert parsed([True, None], "number") == [1.0, None]
    assert parsed([None, ""], "number") == [None, None]
    assert parsed([None, None], "date") == [None, None]


def test_types_that_are_not_read_are_refused_unless_left_out() -> None:
    table = Table.of(pl.DataFrame({"a": [1, 2], "b": [[1], [2]]}))
    with pytest.raises(InputError, match=r"column 'b' holds values of type List.*--as 'b=ignore'"):
        infer_schema(table)
    schema = infer_schema(table, {"b": "ignore"})
    assert list(parse(table, schema)) == ["a"]
    with pytest.raises(InputError, match="column 'a' holds values of type List"):
        parse(Table.of(pl.DataFrame({"a": [[1]]})), schema)
    with pytest.raises(InputError, match="column 'a' holds values of type Date where numbers are expected"):
        parse(Table.of(pl.DataFrame({"a": [datetime.date(2024, 1, 1)]})), schema)


def test_schema_survives_json_and_broken_json_is_refused() -> None:
    table = Table.of({"a": ["1,5", "2,5"], "d": ["2024-01-31", "2024-02-01"], "k": ["x", "x"]})
    schema = infer_schema(table)
    data = json.loads(json.dumps(schema.to_json()))
    assert Schema.from_json(data) == schema
    broken: list[Callable[[Any], Any]] = [
        lambda d: d.pop("notes"),
        lambda d: d["columns"][0].pop("name"),
        lambda d: d["columns"][0].update(kind="sound"),
        lambda d: d["columns"][0].update(surprise=1),
        lambda d: d["columns"][1].update(date_format="%c"),
        lambda d: d["columns"][1].update(name="a"),
        lambda d: d["columns"][1].update(name=7),
        lambda d: d["notes"].append(3),
    ]
    for spoil in broken:
        spoiled = copy.deepcopy(data)
        spoil(spoiled)
        with pytest.raises(ModelFileError, match="schema of the model file is broken"):
            Schema.from_json(spoiled)


# --- prediction ------------------------------------------------------------------------------------------------------


def test_e11_columns_match_by_name_and_differences_are_listed() -> None:
    table = Table.of({"age": [1, 2], "fare": [3, 5], "same": ["x", "x"]})
    schema = infer_schema(table)
    again = parse(Table.of({"fare": [3, 5], "age": [1, 2]}), schema)
    assert list(again) == ["age", "fare"]
    assert again["age"].tolist() == [1.0, 2.0]
    with pytest.raises(InputError) as error:
        parse(Table.of({"fair": [1], "age": [2], "zzz": [0]}, "new.csv"), schema)
    assert str(error.value) == (
        "new.csv: the columns are not those the model was fitted on; missing: 'fare'; "
        "not known: 'fair' (did you mean 'fare'?), 'zzz'"
    )
    with pytest.raises(InputError, match="not known: 'y'"):
        parse(Table.of({"age": [1], "fare": [2], "y": [0]}), schema)
    assert list(parse(Table.of({"age": [1], "fare": [2], "y": [0]}), schema, ignore={"y"})) == ["age", "fare"]


def test_e11_typed_and_text_cells_mean_the_same() -> None:
    typed = Table.of({"n": [1, 2], "b": [True, False], "d": [datetime.date(2024, 1, 31), datetime.date(2024, 2, 1)]})
    text = Table.of({"n": ["1", "2"], "b": ["True", "False"], "d": ["2024-01-31", "2024-02-01"]})
    for one, other in ((typed, text), (text, typed)):
        same_parsed(parse(one, infer_schema(one)), parse(other, infer_schema(one)))


def test_d16_categories_go_by_value_not_by_code() -> None:
    def frame(order: list[str]) -> pd.DataFrame:
        return pd.DataFrame({"c": pd.Categorical(["a", "b", None], categories=order)})

    schema = infer_schema(Table.of(frame(["a", "b"])))
    for order in (["a", "b"], ["b", "a"], ["z", "b", "a"]):
        assert parse(Table.of(frame(order)), schema)["c"].to_list() == ["a", "b", None]
    for dtype in (pl.Categorical(), pl.Enum(["b", "a"])):
        cells = pl.DataFrame({"c": pl.Series(["a", "b", None], dtype=dtype)})
        assert parse(Table.of(cells), schema)["c"].to_list() == ["a", "b", None]


def test_d09_twin_spellings_are_one_level_and_one_column() -> None:
    nfc, nfd = twins("가")
    table = Table.of({nfd: [nfc, nfd, f" {nfc}　", "나"]})
    schema = infer_schema(table)
    assert schema.columns[0].name == nfc
    assert "taken as one" in schema.notes[0]
    assert parse(table, schema)[nfc].to_list() == [nfc, nfc, nfc, "나"]
    assert table.without(nfd).names == ()
    assert table.column(nfd).name == nfc
    with pytest.raises(InputError, match="columns 1 and 2 are both named '가'"):
        Table.of({nfc: [1], nfd: [2]})


def test_dates_with_offsets_and_time_zones_become_utc() -> None:
    utc = datetime.datetime(2024, 1, 31, 1, 0)
    assert parsed(["2024-01-31T10:00:00+09:00", None])[0] == utc
    zone = datetime.timezone(datetime.timedelta(hours=9))
    aware = datetime.datetime(2024, 1, 31, 10, 0, tzinfo=zone)
    assert parsed([aware, None])[0] == utc
    assert parsed([pd.Timestamp(aware), pd.NaT])[0] == utc
    series = pl.Series("x", [aware.astimezone(datetime.UTC)], dtype=pl.Datetime("ns", "Asia/Seoul"))
    table = Table.of(pl.DataFrame([series]))
    assert parse(table, Schema((Column("x", "date", date_format="typed"),)))["x"].to_list() == [utc]


# --- sources ---------------------------------------------------------------------------------------------------------


COLUMNS: dict[str, list[Any]] = {
    "whole": [1, 2, 4],
    "gaps": [1, None, 4],
    "share": [0.5, None, 2.25],
    "flag": [True, False, True],
    "some": [True, None, False],
    "word": ["a", None, "b"],
    "day": [datetime.datetime(2024, 1, 31), None, datetime.datetime(2024, 2, 1, 10, 30)],
}

SOURCES: dict[str, Callable[[], Any]] = {
    "dict": lambda: COLUMNS,
    "tuples": lambda: {name: tuple(cells) for name, cells in COLUMNS.items()},
    "records": lambda: [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)],
    "sparse records": lambda: [
        {name: cell for name, cell in zip(COLUMNS, row, strict=True) if cell is not None}
        for row in zip(*COLUMNS.values(), strict=True)
    ],
    "polars": lambda: pl.DataFrame(COLUMNS),
    "lazy polars": lambda: pl.DataFrame(COLUMNS).lazy(),
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "pandas objects": lambda: pd.DataFrame(COLUMNS, dtype=object),
    "pandas nullable": lambda: pd.DataFrame(COLUMNS).convert_dtypes(),
    "pandas arrow": lambda: pa.table(COLUMNS).to_pandas(types_mapper=pd.ArrowDtype),
    "arrow": lambda: pa.table(COLUMNS),
    "arrow batch": lambda: pa.record_batch(COLUMNS),
    "polars series": lambda: {name: pl.Series(cells) for name, cells in COLUMNS.items()},
    "pandas series": lambda: {name: pd.Series(cells) for name, cells in COLUMNS.items()},
    "arrow columns": lambda: {name: pa.array(cells) for name, cells in COLUMNS.items()},
    "objects": lambda: {name: np.array(cells, dtype=object) for name, cells in COLUMNS.items()},
    "table": lambda: Table.of(COLUMNS),
}


@pytest.mark.parametrize("source", SOURCES)
def test_all_sources_say_the_same(source: str) -> None:
    expected = Table.of(COLUMNS)
    schema = infer_schema(expected)
    assert [c.kind for c in schema.columns] == ["number"] * 3 + ["boolean"] * 2 + ["category", "date"]
    table = Table.of(SOURCES[source]())
    assert table.rows == 3
    assert sorted(table.names) == sorted(COLUMNS)
    assert sorted(infer_schema(table).columns, key=lambda c: c.name) == sorted(schema.columns, key=lambda c: c.name)
    same_parsed(parse(table, schema), parse(expected, schema))


def columns_of(data: Any) -> list[Any]:
    return list(data.values()) if isinstance(data, dict) else [data]


@pytest.mark.parametrize("source", sorted(set(SOURCES) - {"lazy polars", "table"}))
def test_e10_the_callers_objects_are_unchanged(source: str) -> None:
    data = SOURCES[source]()
    before = copy.deepcopy(data)
    table = Table.of(data)
    parse(table, infer_schema(table))
    labels(table, "flag")
    for one, other in zip(columns_of(data), columns_of(before), strict=True):
        assert type(one) is type(other)
        assert str(one) == str(other)
    if isinstance(data, pd.DataFrame):
        pd.testing.assert_frame_equal(data, before)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", ">f8", "int8", "uint8", "int32", "int64", "longdouble"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_e10_numeric_arrays_by_any_dtype_and_order(dtype: str, order: Any) -> None:
    data = np.asarray([[1, 2], [3, 4], [5, 7]], dtype=dtype, order=order)
    kept = data.copy()
    table = Table.of(data)
    assert table.names == ("x0", "x1")
    values = parse(table, infer_schema(table))
    assert values["x0"].tolist() == [1, 3, 5]
    assert values["x1"].tolist() == [2, 4, 7]
    data[:] = 0
    assert parse(table, infer_schema(table))["x0"].tolist() == [1, 3, 5]
    assert kept.dtype == data.dtype


def test_arrays_longer_than_a_block_keep_every_cell() -> None:
    data = np.random.default_rng(0).normal(size=(2500, 3))
    values = parse(Table.of(data), infer_schema(Table.of(data)))
    np.testing.assert_array_equal(np.column_stack(list(values.values())), data)


def test_nan_in_arrays_and_lists_is_missing() -> None:
    assert parsed([1.0, float("nan"), 2]) == [1.0, None, 2.0]
    table = Table.of(np.array([[1.0], [np.nan]]))
    assert np.isnan(parse(table, infer_schema(table))["x0"]).tolist() == [False, True]


def test_lists_of_lists_and_object_arrays_are_rows() -> None:
    for data in ([[1, "a"], [2, "b"]], [(1, "a"), (2, "b")], np.array([[1, "a"], [2, "b"]], dtype=object)):
        table = Table.of(data)
        assert [c.kind for c in infer_schema(table).columns] == ["number", "category"]


@pytest.mark.parametrize(
    ("odd", "said"), [("unknown", "unknown"), ("<38", "<38"), (None, "20.01 kg"), ("ab 12", None), ("about 7", None)]
)
def test_a_category_of_numbers_with_a_few_words_is_told(odd: str | None, said: str | None) -> None:
    cells = [f"{20 + k / 100:.2f}" for k in range(1, 61)] * 2
    if odd is None:
        cells = [f"{cell} kg" for cell in cells]
    elif said is None:
        cells = [f"{odd}{cell}" for cell in cells]
    else:
        cells[::10] = [odd] * 12
    schema = infer_schema(Table.of({"weight": cells, "z": [k * 0.37 % 1 for k in range(120)]}))
    assert schema.columns[0].kind in ("category", "text")
    notes = [note for note in schema.notes if "most cells begin with a number" in note]
    assert len(notes) == (said is not None)
    assert said is None or (f"'{said}'" in notes[0] and "'weight'" in notes[0])


def test_short_titles_with_digits_are_texts() -> None:
    titles = [f"team {k % 7} lead of office {k % 41}" for k in range(100)]
    codes = [f"A{k % 7} {k % 83}-{k % 41}" for k in range(100)]
    schema = infer_schema(Table.of({"title": titles[:70] + titles[:30], "code": codes[:70] + codes[:30]}))
    assert [c.kind for c in schema.columns] == ["text", "category"]


def test_rows_of_a_file_keep_their_source_and_notes() -> None:
    class RawTable:
        frame = pl.DataFrame({"a": ["1"]})
        source = "data.csv"
        notes = ("read as cp949",)

    table = Table.of(RawTable())
    assert (table.source, table.notes, table.rows) == ("data.csv", ("read as cp949",), 1)
    assert Table.of(table) is table
    assert table.without("a").notes == table.notes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "has no columns"),
        ([], "has no columns"),
        (np.zeros((3, 0)), "has no columns"),
        (np.zeros((0, 3)), "has no rows"),
        (pl.DataFrame({"a": []}), "has no rows"),
        (pd.DataFrame({"a": []}), "has no rows"),
        (np.zeros(3), r"two dimensions, rows and columns, and has 1; use a.reshape\(-1, 1\)"),
        (np.zeros((2, 2, 2, 2, 2)), "has 5$"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "columns 1 and 2 are both named 'a'"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "columns 1 and 2 are both named '1'"),
        (pa.table([[1], [2]], names=["a", "a"]), "columns 1 and 2 are both named 'a'"),
        (pd.DataFrame([[1]], columns=[("a", "b")]), r"the name of column 1 is a tuple"),
        ({"a": [1, 2], "b": [1]}, "columns differ in length: 'a' has 2 rows, 'b' has 1"),
        ({"a": "text"}, "column 'a': a str is no column"),
        ({"a": 3}, "column 'a': a int is no column"),
        ([{"a": 1}, 3], "row 2: a int where a record"),
        ([[1, 2], [3]], "row 2: 1 cells where row 1 has 2"),
        ([1, 2], "row 1: a int where a record"),
        ("data.csv", "a str is no table"),
        (3, "a int is no table"),
        (None, "a NoneType is no table"),
        ({"a": [1, b"x"]}, "row 2, column 'a': a cell of type bytes"),
        ({"a": [Decimal(1), fractions.Fraction(1, 2)]}, "row 2, column 'a': a cell of type Fraction"),
        ({"a": [None, datetime.date(2024, 1, 1), "x"]}, "row 2, column 'a': a cell of type date"),
        ({"a": [{"b": 1}]}, "row 1, column 'a': a cell of type dict"),
        ({"a": ["x", "\ud800"]}, "row 2, column 'a': the text is not valid Unicode"),
        (pd.DataFrame({"a": [1, object()]}), "row 2, column 'a': a cell of type object"),
        (np.array([[1j]]), "row 1, column 'x0': a cell of type complex"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Table.of(data)
    assert "\n" not in str(error.value)


def test_pandas_frames_need_no_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Table.of(COLUMNS)
    with pd.option_context("mode.string_storage", "python"):  # else pandas itself needs pyarrow
        frames = [SOURCES[source]() for source in ("pandas", "pandas objects", "pandas nullable")]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for frame in frames:
        same_parsed(parse(Table.of(frame), infer_schema(expected)), parse(expected, infer_schema(expected)))


def test_the_module_imports_no_polars() -> None:
    code = "import sys, luce.schema; sys.exit('polars' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pandas_types_of_every_sort() -> None:
    frame = pd.DataFrame(
        {
            "codes": pd.Categorical([3, 1, None]),
            "zoned": pd.to_datetime(["2024-01-31", None, "2024-02-01 10:00"], format="ISO8601").tz_localize(
                "Asia/Seoul"
            ),
            "sparse": pd.arrays.SparseArray([0.0, 1.5, 0.0]),
            "fine": pd.array([0.1, None, 0.3], dtype="Float32"),
            "dates": [datetime.date(2024, 1, 31), None, datetime.date(2024, 2, 1)],
        }
    )
    table = Table.of(frame)
    values = parse(table, infer_schema(table))
    assert values["codes"].tolist()[:2] == [3.0, 1.0]
    assert np.isnan(values["codes"][2])
    assert values["zoned"].to_list() == [datetime.datetime(2024, 1, 30, 15), None, datetime.datetime(2024, 2, 1, 1)]
    assert values["sparse"].tolist() == [0.0, 1.5, 0.0]
    assert values["fine"][0] == pytest.approx(0.1, rel=1e-7)  # one part in 2^24: the column is float32
    assert values["dates"].to_list()[:2] == [datetime.datetime(2024, 1, 31), None]
    with pytest.raises(InputError, match="row 1, column 'x': a cell of type Period"):
        Table.of(pd.DataFrame({"x": pd.period_range("2024-01", periods=2, freq="M")}))
    with pytest.raises(InputError, match=r"row 1, column 'x': a cell of type (Timedelta|timedelta)"):
        Table.of(pd.DataFrame({"x": pd.to_timedelta(["1h", "2h"])}))


def test_whole_number_names_become_text() -> None:
    assert Table.of(pd.DataFrame(np.zeros((2, 2)))).names == ("0", "1")
    assert Table.of({0: [1], np.int64(1): [2]}).names == ("0", "1")


def test_mixed_python_cells_are_read_as_text() -> None:
    assert parsed([1, "a", True, 2.5, None]) == ["1", "a", "true", "2.5", None]
    assert parsed(["1", 2, None]) == [1.0, 2.0, None]
    assert parsed([np.float32(1.5), np.int64(2), np.bool_(False), np.str_("a")]) == ["1.5", "2", "false", "a"]


def test_a_table_without_columns_but_the_label_is_refused() -> None:
    with pytest.raises(InputError, match="no columns besides the label"):
        infer_schema(Table.of({"y": [1, 2]}).without("y"))


# --- any cells, speed, real tables -----------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.none(), st.integers(), st.floats(), st.booleans(), st.text(max_size=4)), max_size=20))
def test_random_python_cells_never_raise_anything_but_input_errors(cells: list[Any]) -> None:
    try:
        table = Table.of({"x": cells, "y": cells})
        parse(table, infer_schema(table))
        labels(table, "y")
    except InputError as error:
        check_one_line(error)


def test_long_cells_and_names_are_cut_in_messages() -> None:
    table = Table.of({"n" * 500: [*numbers_as_text(), "x" * 500]})
    with pytest.raises(InputError) as error:
        infer_schema(table)
    assert len(str(error.value)) < 500


def test_half_a_million_rows_are_read_fast() -> None:
    rng = np.random.default_rng(0)
    table = Table.of({f"x{place}": rng.normal(size=500_000) for place in range(10)})
    start = time.process_time()
    parse(table, infer_schema(table))
    # Takes about 0.02 s; a rule that walks the cells in Python would take more than a second.
    assert time.process_time() - start < 0.5


def test_every_real_table_is_read(shared_data: Path) -> None:
    facts = json.loads((shared_data / "manifest.json").read_text(encoding="utf-8"))
    tables = {key: fact for key, fact in facts.items() if key.startswith("tables/")}
    assert len(tables) > 40
    for key, fact in tables.items():
        label = fact["label"].strip("`")
        table = Table.of(pl.read_parquet(shared_data / key), key)
        found = labels(table, label)
        assert str(len(found.classes)) == fact["classes"], key
        rest = table.without(label)
        schema = infer_schema(rest)
        values = parse(rest, schema)
        assert list(values) == [column.name for column in schema.columns if column.kind != "left out"], key


def test_real_columns_are_what_a_reader_would_say(shared_data: Path) -> None:
    def kinds(name: str) -> dict[str, str]:
        table = Table.of(pl.read_parquet(shared_data / "tables" / f"{name}.parquet"))
        return {column.name: column.why.split(":")[0] or column.kind for column in infer_schema(table).columns}

    titanic = kinds("titanic")
    assert {titanic[name] for name in ("age", "fare", "body", "pclass")} == {"number"}
    assert {titanic[name] for name in ("sex", "ticket", "cabin", "boat", "home.dest")} == {"category"}
    assert titanic["name"] == "text"
    maintenance = kinds("predictive_maintenance")
    assert maintenance["UDI"] == maintenance["Product ID"] == "identifier"
    churn = kinds("telecom_churn")
    assert churn["phone number"] == "identifier"
    assert churn["state"] == "category"
    assert churn["international plan"] == "boolean"
    assert kinds("hypothyroid")["TBG"] == "all cells are missing"
    assert kinds("mushroom")["veil-type"] == "constant"


def test_text_and_typed_real_tables_agree(shared_data: Path) -> None:
    for name in ("adult_census", "segment", "stroke", "wine_quality"):
        frame = pl.read_parquet(shared_data / "tables" / f"{name}.parquet")
        typed, text = Table.of(frame), Table.of(frame.cast(pl.String))
        one, other = infer_schema(typed), infer_schema(text)
        assert [replace(column, why="") for column in one.columns] == [replace(c, why="") for c in other.columns], name
        same_parsed(parse(typed, one), parse(text, other))


def icd(rows: int, groups: int, seed: int = 0) -> list[str]:
    """Codes of a letter and digits, of `groups` letters."""
    rng = np.random.default_rng(seed)
    return [f"{'ABCDEFGHIJKLMNOP'[a]}{b:02d}.{c}" for a, b, c in rng.integers(0, [groups, 40, 10], (rows, 3))]


def test_codes_with_common_letters_are_texts_where_nearly_each_is_another() -> None:
    assert column(icd(300, 12)).kind == "text"
    schema = infer_schema(Table.of({"code": icd(300, 12) + icd(300, 12)}))
    assert schema.columns[0].kind == "category"
    assert len(schema.notes) == 1 and "begin alike" in schema.notes[0] and "'code=text'" in schema.notes[0]
    for numbered in ([f"P{i:04d}" for i in range(300)], icd(300, 4)):  # rows of one letter, or hardly more
        schema = infer_schema(Table.of({"code": numbered}))
        assert schema.columns[0].kind == "left out" and not schema.notes


def test_levels_that_differ_only_in_case_are_told() -> None:
    schema = infer_schema(Table.of({"smokes": ["Yes", "no", "yes", "No", "maybe", "no"], "town": ["a", "b", "c"] * 2}))
    (note,) = schema.notes
    assert note.startswith(
        "column 'smokes': levels that differ only in case, such as 'No' and 'no', are levels of their"
    )
    assert not infer_schema(Table.of({"town": ["Oslo", "Bern", "Oslo", "Ulm"]})).notes


def test_masked_cells_are_missing_and_decimals_are_numbers() -> None:
    """A mask that was lost would leave what was entered in place of nothing, such as -999."""
    masked = np.ma.masked_array([[1.0, -999.0], [2.0, 3.0]], mask=[[False, True], [False, False]])
    for table in (Table.of(masked), Table.of({"x0": masked[:, 0], "x1": masked[:, 1]})):
        assert table.frame.to_dict(as_series=False) == {"x0": [1.0, 2.0], "x1": [None, 3.0]}
    whole = np.ma.masked_array(np.array([1, -999]), mask=[False, True])
    assert Table.of({"a": whole}).frame["a"].to_list() == [1, None]
    bills = Table.of({"a": [Decimal("0.1"), None, Decimal("NaN"), 2]})
    assert bills.frame["a"].to_list() == [0.1, None, None, 2.0] and bills.frame["a"].dtype == pl.Float64


def test_where_nothing_can_be_missing_a_masked_array_is_refused() -> None:
    x, y, model = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3), luce.SoftmaxRegression()
    masked = np.ma.masked_array
    for call in (
        lambda: model.fit(masked(x), y),
        lambda: model.fit(x, masked(y)),
        lambda: model.fit(x, y, sample_weight=masked(np.ones(6))),
        lambda: luce.calibrate(masked(x[:, 0]), y),
    ):
        with pytest.raises(InputError, match="is a masked array, whose mask would be lost"):
            call()
