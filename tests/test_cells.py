"""The rules for cells: docs/tables.md is checked row by row, then any cells at all."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from parsing import check_one_line, column, numbers_as_text, parsed

from luce.cells import DATE_FORMATS, MISSING, number_cells
from luce.errors import InputError
from luce.schema import Column, Schema, infer_schema, parse
from luce.table import Table

# --- the documented rules, cell by cell ------------------------------------------------------------------------------


DOC = (Path(__file__).resolve().parents[1] / "docs" / "tables.md").read_text(encoding="utf-8")


def doc_rows(header: str) -> list[tuple[str, ...]]:
    lines = iter(DOC.splitlines())
    assert any(line == header for line in lines), header
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            return rows
        rows.append(tuple(part.strip(" ") for part in line[1:-1].split(" | ")))
    return rows


def quoted(text: str) -> str:
    match = re.fullmatch("`(.*)`", text)
    assert match, text
    return match[1]


CELLS = doc_rows("| cell | as a number | as a level |")

DATES = doc_rows("| cell | date |")


def test_d12_the_documented_tables_are_not_empty() -> None:
    assert len(CELLS) > 60
    assert len(DATES) > 20


@pytest.mark.parametrize(("cell", "number", "level"), CELLS)
def test_d12_cell_as_number_and_level(cell: str, number: str, level: str) -> None:
    text = quoted(cell)
    assert parsed([text, "b"], "category")[0] == (None if level == "missing" else quoted(level))
    if number == "no":
        with pytest.raises(InputError, match=r"row 2, column 'x'.*not a number"):
            parsed(["1.5", text], "number")
    else:
        value = None if number == "missing" else float(number.removesuffix("*name*"))
        assert parsed(["1.5", text], "number")[1] == value


@pytest.mark.parametrize(("cell", "number", "level"), CELLS)
def test_d12_cell_among_numbers_decides_the_kind(cell: str, number: str, level: str) -> None:
    table = Table.of({"x": [*numbers_as_text(), quoted(cell)]})
    if number == "no":
        with pytest.raises(InputError, match=r"row 31, column 'x'.*not a number.*--as 'x=category'"):
            infer_schema(table)
    else:
        assert (infer_schema(table).columns[0].kind == "number") == ("*name*" not in number)


@pytest.mark.parametrize(("cell", "date"), DATES)
def test_d12_cell_as_date(cell: str, date: str) -> None:
    text = quoted(cell)
    if date == "no":
        with pytest.raises(InputError, match=r"row 1, column 'x'.*no date"):
            parsed([text], "date")
        assert column([text, "2024-05-06"]).kind != "date"
    else:
        assert parsed([text, None], "date") == [datetime.datetime.fromisoformat(date), None]
        name = "date" if text == "20240131" else "x"
        assert column([text, None], name).kind == "date"


def test_d12_every_documented_missing_token_is_one_and_no_other() -> None:
    line = next(line for line in DOC.splitlines() if line.startswith("`na` "))
    assert set(re.findall("`([^`]+)`", line)) == MISSING - {""}
    for token in MISSING:
        assert parsed([token.upper(), f" {token} ", "a"], "category") == [None, None, "a"]


@pytest.mark.parametrize("pair", ["false true", "no yes", "n y", "f t", "off on", "아니오 예", "False TRUE"])
def test_d12_truth_values(pair: str) -> None:
    no, yes = pair.split()
    assert column([no, yes, "", yes]).kind == "boolean"
    assert parsed([no, yes, "", yes]) == [0.0, 1.0, None, 1.0]
    assert column([no, yes, "maybe"]).kind == "category"
    assert column([yes, yes]).why == f"constant: always {yes!r}"
    assert column([yes, yes, None]).kind == "category"


def test_a_share_is_the_same_number_alone_and_among_others() -> None:
    """Bit for bit: numbers of few values are told by equality."""
    shares = [f"{i / 10}%" for i in range(1001)]
    alone = [number_cells(pl.Series([cell]), decimal_comma=False)[0][0] for cell in shares]
    assert alone == [i / 10 / 100 for i in range(1001)] == number_cells(pl.Series(shares), False)[0].tolist()


def test_points_and_commas_in_one_column_are_told() -> None:
    mixed = [f"{i / 1000:.3f}" for i in range(1, 31)] + [f"{i / 1000:.3f}".replace(".", ",") for i in range(31, 61)]
    notes = infer_schema(Table.of({"x": mixed})).notes
    assert len(notes) == 1 and "'0.001', have a decimal point and others, such as '0,031', a decimal comma" in notes[0]
    assert infer_schema(Table.of({"x": ["0012", "0030"] * 30})).notes == ()


def test_several_currencies_in_one_column_are_told() -> None:
    note = infer_schema(Table.of({"x": ["$20", "₩26000", "3 원", "€7", "5"] * 8})).notes
    assert len(note) == 1 and "several currencies ($, ₩, €)" in note[0]
    assert infer_schema(Table.of({"x": ["$20", "5", "$7.5"] * 8})).notes == ()


def test_d12_truth_values_of_two_pairs_are_a_category() -> None:
    assert column(["yes", "false"]).kind == "category"


def test_d12_boolean_by_order_takes_all_spellings_and_refuses_others() -> None:
    assert parsed(["1", "0", "Yes", "f"], "boolean") == [1.0, 0.0, 1.0, 0.0]
    assert parsed([1, 0, None], "boolean") == [1.0, 0.0, None]
    with pytest.raises(InputError, match="row 2, column 'x': 'perhaps' is neither true nor false"):
        parsed(["yes", "perhaps"], "boolean")
    with pytest.raises(InputError, match="row 3, column 'x': 2 is neither"):
        parsed([1, 0, 2], "boolean")


def test_d12_decimal_commas_need_the_whole_column() -> None:
    schema = infer_schema(Table.of({"x": ["3,14", "0,25", "1.234,5", "7", ""]}))
    assert schema.columns[0] == Column("x", "number", decimal_comma=True)
    assert "decimal comma" in schema.notes[0]
    assert "'0,25' is 0.25" in schema.notes[0]
    assert parsed(["3,14", "0,25", "1.234,5", "7", ""]) == [3.14, 0.25, 1234.5, 7.0, None]
    assert column(["3,14", "2.5"]).kind == "category"


def test_d12_beside_decimal_commas_columns_that_may_have_them_do() -> None:
    table = Table.of({
        "price": ["1,5", "12,25"], "kilos": ["2,089", "1,011"], "sales": ["950", "1.234"], "plain": ["7", "8"],
        "share": ["0.125", "1.000"], "code": ["1.5", "2.5"],
    })  # fmt: skip
    schema = infer_schema(table)
    assert [column.decimal_comma for column in schema.columns] == [True, True, True, False, False, False]
    assert schema.notes == (
        "column 'price': the comma is a decimal comma, so '1,5' is 1.5",
        "column 'kilos': the comma is a decimal comma, so '1,011' is 1.011",
        "column 'sales': the point groups thousands, as other columns have decimal commas, so '1.234' is 1234",
    )
    cells = parse(table, schema)
    assert [list(cells[name]) for name in ("kilos", "sales", "share")] == [[2.089, 1.011], [950, 1234], [0.125, 1]]


def test_d12_numbers_by_order_have_the_decimal_sign_that_fits_most() -> None:
    table = Table.of({"x": ["1,5", "2,5", "k.A.", "3,5"]})
    schema = infer_schema(table, {"x": "number"})
    assert schema.notes == ("column 'x': the comma is a decimal comma, so '1,5' is 1.5",)
    with pytest.raises(InputError, match=r"row 3, column 'x': 'k.A.' is not a number; [a-z ]*$"):
        parse(table, schema)
    kilos = infer_schema(Table.of({"x": ["2,089", "1,011"]}), {"x": "number"})
    assert kilos.notes == ("column 'x': the comma groups thousands, so '1,011' is 1011",)


def test_whole_numbers_that_grow_with_every_row_are_noted() -> None:
    numbers = [3 * i + i % 2 for i in range(30)]
    for found in (numbers, [str(number) for number in numbers]):
        schema = infer_schema(Table.of({"번호": found}))
        assert schema.columns[0].kind == "number"
        assert len(schema.notes) == 1 and "'번호' grows with every row" in schema.notes[0]
        assert infer_schema(Table.of({"번호": found}), {"번호": "number"}).notes == ()
    for found in (
        numbers[::-1],
        [*numbers, numbers[-1]],
        [*numbers[:-1], None],
        [0.5 + n for n in numbers],
        numbers[:9],
    ):
        assert infer_schema(Table.of({"x": found})).notes == ()


def test_na_beside_codes_of_two_letters_is_noted() -> None:
    countries = ["DE", "FR", "NA", "KR", "JP", "NA", "BR"]
    (note,) = infer_schema(Table.of({"x": countries})).notes
    assert "'NA' counts as missing" in note
    assert infer_schema(Table.of({"x": ["Germany", "NA", "France"]})).notes == ()
    assert infer_schema(Table.of({"x": ["DE", "FR", ""]})).notes == ()


def test_d12_grouping_commas_come_first_and_are_noted() -> None:
    schema = infer_schema(Table.of({"x": ["1,234", "5,000"]}))
    assert schema.columns[0] == Column("x", "number")
    assert schema.notes == ("column 'x': the comma groups thousands, so '1,234' is 1234",)


def test_d12_some_cells_with_percent_are_noted() -> None:
    assert parsed(["5%", "0.1", "20%"]) == [0.05, 0.1, 0.2]
    assert "only some cells carry a %" in infer_schema(Table.of({"x": ["5%", "0.1"]})).notes[0]
    assert infer_schema(Table.of({"x": ["5%", "1%"]})).notes == ()


def test_d12_month_first_only_where_both_orders_fit() -> None:
    both = infer_schema(Table.of({"x": ["01/02/2024", "03/04/2024"]}))
    assert both.columns[0].date_format == "%m/%d/%Y"
    assert "month first" in both.notes[0]
    day_first = infer_schema(Table.of({"x": ["01/02/2024", "31/04/2024", "13/04/2024"]}))
    assert day_first.columns[0].kind == "category"  # 31 April is no date either way
    assert column(["01/02/2024", "13/04/2024"]).date_format == "%d/%m/%Y"


def test_d12_packed_dates_only_where_the_name_says_so() -> None:
    cells = ["20240131", "20240229", "20230101"]
    assert column(cells).kind == "number"
    assert column(cells, "Order_Date").date_format == "%Y%m%d"
    assert column([int(cell) for cell in cells], "date").date_format == "%Y%m%d"
    assert column([*cells, "20240230"], "date").kind == "number"
    assert column([20240131, 20240230], "date").kind == "number"
    assert parsed([20240131, None], "date")[0] == datetime.datetime(2024, 1, 31)


def test_d12_one_format_for_all_dates() -> None:
    assert column(["2024-01-31", "31.01.2024"]).kind == "category"
    assert column(["2024-01-31", "2024-02-30"]).kind == "category"
    with pytest.raises(InputError, match=r"row 2, column 'x': '31.01.2024' is no date of the form %Y-%m-%d"):
        parsed(["2024-01-31", "31.01.2024", "2024-02-01"], "date")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_d12_a_written_float_reads_as_the_same_float(value: float) -> None:
    assert parsed([repr(value), "1"], "number")[0] == value
    assert parsed([f"{value!r}%", "1"], "number")[0] == value / 100  # the rules' own way, not the plain cast


def test_every_date_format_is_reachable() -> None:
    moment = datetime.datetime(2024, 1, 31, 10, 5, 9)
    for date_format in DATE_FORMATS:
        text = moment.strftime(date_format.replace("%.f", ".5").replace("%#z", "Z"))
        assert column([text, None], "date").date_format == date_format, text


# --- any cells at all ------------------------------------------------------------------------------------------------


CELL = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from([quoted(row[0]) for row in (*CELLS, *DATES)]),
    st.from_regex(r"\A[+-]?[0-9]{1,3}([.,][0-9]{1,3}){0,2}%?\Z"),
    st.from_regex(r"\A[0-9]{4}[-./][0-9]{1,2}[-./][0-9]{1,2}( [0-9]{2}:[0-9]{2})?\Z"),
)


@settings(deadline=None)
@given(st.lists(CELL, min_size=1, max_size=40), st.sampled_from([None, "number", "boolean", "date", "category"]))
@example(["\ud800"], None)
@example(["0" * 400], "number")
@example(["1" * 400 + "%"], "number")
def test_random_text_never_raises_anything_but_input_errors(cells: list[Any], kind: str | None) -> None:
    try:
        table = Table.of({"date": cells})
        schema = infer_schema(table, {"date": kind} if kind else {})
        values = parse(table, schema)
    except InputError as error:
        check_one_line(error)
        return
    if schema.columns[0].kind == "left out":
        assert not values
    else:
        assert len(values["date"]) == len(cells)
        assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


@settings(deadline=None)
@given(st.lists(CELL.filter(bool), min_size=1, max_size=20))
def test_what_is_found_does_not_depend_on_the_order_of_rows(cells: list[Any]) -> None:
    def found(values: list[Any]) -> Any:
        try:
            return infer_schema(Table.of({"x": values}))
        except InputError:
            return InputError

    assert found(cells) == found(cells[::-1])
