"""CSV and TSV: every row and every byte accounted for, or one line that says what, where and what to do."""

from __future__ import annotations

import csv
import io
import random
import string

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import error_of, rows

from luce import delimited
from luce.errors import LimitError
from luce.reader import read_file
from luce.text_source import MAX_COLUMNS


def test_cells_stay_text_as_in_the_file(write):
    table = read_file(write('id,note,x\n007, padded ,1e3\n,"",N/A\n'))
    assert rows(table) == [("007", " padded ", "1e3"), (None, None, "N/A")]
    assert table.frame.dtypes == [pl.String] * 3
    assert (table.encoding, table.notes) == ("utf-8", ())
    assert table.source.endswith("t.csv")


@pytest.mark.parametrize(
    ("mark", "name"), [(",", "t.csv"), (";", "t.csv"), ("|", "t.txt"), ("\t", "t.txt"), ("\t", "t.tsv")]
)
def test_the_delimiter_is_found(write, mark, name):
    text = 'a,b\n"1,5;|\t",x\n2,y\n'.replace(",", mark) if mark != "," else 'a,b\n"1,5;|\t",x\n2,y\n'
    table = read_file(write(text, name))
    assert table.frame.columns == ["a", "b"]
    assert table.frame["b"].to_list() == ["x", "y"]
    assert bool(table.notes) == (mark != "," and name != "t.tsv")


def test_a_european_file_with_decimal_commas(write):
    assert rows(read_file(write("x;y\n1,5;2,5\n3,5;4,5\n"))) == [("1,5", "2,5"), ("3,5", "4,5")]


def test_two_delimiters_that_fit_are_told(write):
    assert "would fit as well" in " ".join(read_file(write("a;1,b\nc;2,d\n")).notes)


def test_a_text_with_commas_below_one_name_is_refused_with_the_fix(write):
    assert "quote a cell that holds ','" in error_of(write("review\ngood\nfine, but slow\n"))


def test_names_that_look_like_binary_forms_are_text(write):
    assert read_file(write("PAR1,PAR2\nx,y\n")).frame.columns == ["PAR1", "PAR2"]


@pytest.mark.parametrize("cell", ["x^2", "x\x01", "\x28", "PAR1", "#a", " "])
def test_a_first_cell_is_never_taken_for_compression_or_a_comment(write, cell):
    assert rows(read_file(write(f"a,b\n{cell},1\ny,2\n"))) == [(cell, "1"), ("y", "2")]


# --- line ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [0, 1, 3])
@pytest.mark.parametrize("quote", ["", '"'])
def test_d02_line_ends(write, end, last, quote):
    text = end.join(["a,b", f"{quote}1{quote},2", "3,4"]) + end * last
    assert rows(read_file(write(text))) == [("1", "2"), ("3", "4")]


def test_d02_mixed_line_ends_and_blank_lines(write):
    assert rows(read_file(write("\r\na,b\r1,2\r\n\n3,4\n\r\n5,6\r7,8"))) == [(str(i), str(i + 1)) for i in (1, 3, 5, 7)]


def test_d02_line_ends_inside_quotes_stay(write):
    text = 'a,b\r\n"x\ry","p\r\nq"\r\n"u\nv",w\r'
    assert rows(read_file(write(text))) == [("x\ry", "p\r\nq"), ("u\nv", "w")]


def test_d02_a_blank_line_in_one_column_is_a_missing_cell(write):
    assert rows(read_file(write("a\nx\n\ny\n\n"))) == [("x",), (None,), ("y",)]


# --- ragged rows, broken quotes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "fields"),
    [
        ("a,b,c\n1,2,3\n4,5\n", 3, 2),
        ("a,b,c\n1,2,3\n4,5,6,7\n", 3, 4),
        ("a,b,c\n1,2\n3,4,5,6\n", 2, 2),
        ("\n\na,b,c\r\n\n1,2\r\n", 5, 2),
        ('a,b,c\n"x\ny",2,3\n4,5\n', 4, 2),
        ("a,b,c\r1,2,3\r4,5,6,7", 3, 4),
        ("a,b,c\n1,2,3\n \n4,5,6\n", 3, 1),
    ],
)
def test_d03_ragged_rows(write, text, line, fields):
    said = error_of(write(text))
    assert f"line {line}: has {fields} field(s), but the header has 3" in said


def test_d03_a_ragged_row_deep_in_the_file(write):
    said = error_of(write("a,b\n" + "1,2\n" * 200_000 + "3\n" + "1,2\n" * 200_000))
    assert "line 200002: has 1 field(s)" in said


def test_d03_every_row_is_accounted_for_when_polars_is_wrong(write, monkeypatch):
    true = pl.read_csv
    monkeypatch.setattr(pl, "read_csv", lambda *args, **options: true(*args, **options).head(1))
    assert len(rows(read_file(write("a,b\n1,2\n3,4\n")))) == 2


def test_d03_every_byte_is_accounted_for_when_polars_is_wrong(write, monkeypatch):
    true = pl.read_csv
    monkeypatch.setattr(pl, "read_csv", lambda *args, **options: true(*args, **options).with_columns(b=pl.lit("")))
    assert rows(read_file(write('a,b\n"1",2\n3,4\n'))) == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\n1,"x\n2,y\n', 2),
        ('a,b\n1,2\n"x\ny","z\n\n', 4),
        ('a,"b\n1,2\n', 1),
        ('a,b\n1,"abc\n2,def\n3,"ghi"\n', 2),
        ('a,b\n1,"x"y\n', 2),
        ('a,b\r1,2\r3,"x\r', 3),
    ],
)
def test_d04_a_quote_that_breaks_the_file_is_named_where_it_opened(write, text, line):
    assert f"line {line}: a quote opens here" in error_of(write(text))


def test_d04_an_unclosed_quote_in_a_large_file(write):
    said = error_of(write('a,b\n1,"x\n' + "1,2\n" * 5_000_000), LimitError)
    assert "line 2" in said
    assert "closing quote" in said


def test_d04_stray_quotes_inside_a_cell_are_text(write):
    assert rows(read_file(write('a,b\n5" pipe,1\n6" and 7",2\n'))) == [('5" pipe', "1"), ('6" and 7"', "2")]


def test_d05_quotes_newlines_and_delimiters_far_beyond_one_block(write, monkeypatch):
    monkeypatch.setattr(delimited, "_read_exact", lambda *_: pytest.fail("the quick reader should do"))
    random_ = random.Random(5)
    cells = ["".join(random_.choices('ab,"\n;', k=random_.randint(1, 30))) for _ in range(997)]
    table = [(cells[i % 997], str(i), cells[i * 7 % 997]) for i in range(300_000)]  # about 11 MB
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows([("a", "b", "c"), *table])
    assert read_file(write(stream.getvalue())).frame.equals(pl.DataFrame(table, schema=["a", "b", "c"], orient="row"))


@pytest.mark.parametrize("cell", ["x" * 1_000_000, '"' + "y,\n" * 300_000 + '"', '"' + "z" * 1_000_000 + '"'])
def test_d05_cells_longer_than_a_chunk_stay_with_the_quick_reader(write, monkeypatch, cell):
    monkeypatch.setattr(delimited, "_read_exact", lambda *_: pytest.fail("the quick reader should do"))
    assert rows(read_file(write(f"a,b\n1,{cell}\n{cell},2\n"))) == [("1", cell.strip('"')), (cell.strip('"'), "2")]


def test_d05_the_exact_reader_keeps_missing_cells_of_one_column(write):
    assert rows(read_file(write('a\n5" pipe\n\n""\nx\n\n'))) == [('5" pipe',), (None,), (None,), ("x",)]


def test_d05_the_exact_reader_in_batches(write, monkeypatch):
    monkeypatch.setattr(delimited, "_BATCH_CELLS", 10)
    text = "a,b\n" + "".join(f'{i}" pipe,{i}\n\n' for i in range(101))
    assert rows(read_file(write(text))) == [(f'{i}" pipe', str(i)) for i in range(101)]


# --- against Python's csv --------------------------------------------------------------------------------------------


CELL = st.text(alphabet='ab1,;\t|" \r\né가', max_size=6)

GRID = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1))

BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(cell: str, always: bool, alone: bool) -> str:
    """A cell of a tab-separated file; Python's own writer leaves a CR bare where the line ends are LF."""
    if always or set(cell) & set('\t"\r\n') or (alone and not cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell


@BOUNDED
@given(GRID, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_d05_what_is_written_is_read_cell_for_cell(tmp_path, grid, end, always):
    table = [list(string.ascii_lowercase[: len(grid[0])]), *grid]
    text = "".join("\t".join(written(cell, always, len(row) == 1) for cell in row) + end for row in table)
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)) == table
    path = tmp_path / "t.tsv"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_SCAN_CHUNK", 5)  # so that every construct meets a chunk's edge
        got = rows(read_file(path))
    assert got == [tuple(cell or None for cell in row) for row in grid]


@BOUNDED
@given(st.text(alphabet='ab,"\n\r', min_size=1, max_size=30))
def test_d03_any_text_gives_the_rows_of_strict_csv_or_an_error(tmp_path, body):
    path = tmp_path / "t.csv"
    path.write_bytes(f"p,q\n{body}".encode())
    try:
        want = list(csv.reader(io.StringIO(f"p,q\n{body}".rstrip("\r\n"), newline=""), strict=True))[1:]
    except csv.Error:
        want = []
    want = [row for row in want if row]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_SCAN_CHUNK", 5)
        if want and all(len(row) == 2 for row in want):
            assert rows(read_file(path)) == [tuple(cell or None for cell in row) for row in want]
        else:
            error_of(path)


# --- limits, the header ----------------------------------------------------------------------------------------------


def test_d06_a_field_beyond_the_limit(write):
    big = "x" * (delimited.MAX_FIELD_BYTES + 1)
    said = error_of(write(f"a,b\n1,2\n3,{big}\n"), LimitError)
    assert "MAX_FIELD_BYTES" in said
    assert "line 3" in said
    assert "MAX_FIELD_BYTES" in error_of(write(f'a,b\n5" pipe,2\n3,{big}\n'), LimitError)  # by the exact reader


def test_d06_a_field_at_the_limit_is_read(write, monkeypatch):
    monkeypatch.setattr(delimited, "MAX_FIELD_BYTES", 1000)
    monkeypatch.setattr(delimited, "_SCAN_CHUNK", 100)
    before = csv.field_size_limit()
    assert rows(read_file(write(f"a,b\n{'x' * 1000},1\n"))) == [("x" * 1000, "1")]
    assert rows(read_file(write(f'a,b\n{"x" * 999}",1\n'))) == [("x" * 999 + '"', "1")]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("quote", ["", '"'])
def test_d06_too_many_columns(write, quote):
    header = ",".join(f"{quote}c{i}{quote}" for i in range(MAX_COLUMNS + 1))
    assert "MAX_COLUMNS" in error_of(write(f"{header}\n1\n"), LimitError)


def test_d06_many_columns_are_read(write):
    wide = 20_000
    text = ",".join(f"c{i}" for i in range(wide)) + "\n" + ("1," * wide)[:-1] + "\n"
    assert read_file(write(text)).frame.shape == (1, wide)


def test_d10_a_header_that_looks_like_data_is_told(write):
    assert "looks like data" in read_file(write("5.1,3\n4.9,2\n")).notes[0]
    assert read_file(write("x1,3\n4.9,2\n")).notes == ()


# --- text that a spreadsheet would run

RISKY = ["=1+1", "+1+1", "-1-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x", "=", "-"]
PLAIN = ["-1", "+1", "-1.5", "-.5e-3", "a=b", " =1", "'=1", "1-2", "", "가", "=".join("ab"), "\u2212 1", None]


def text_is_guarded_and_numbers_are_not(guard):
    texts = RISKY + PLAIN
    numbers = [-1.5, *([2.0] * (len(texts) - 1))]
    frame = pl.DataFrame({"=name": texts, "number": numbers, "whole": [-3] * len(texts), "flag": [True] * len(texts)})
    frame = frame.with_columns(pl.Series("level", RISKY[:4] + ["x"] * (len(texts) - 4), dtype=pl.Categorical))
    found, count = guard(frame)
    assert found["'=name"].to_list() == ["'" + text for text in RISKY] + PLAIN
    assert found["level"].cast(pl.String).to_list() == ["'" + text for text in RISKY[:4]] + ["x"] * (len(texts) - 4)
    for name in ("number", "whole", "flag"):
        assert found[name].to_list() == frame[name].to_list()
        assert found[name].dtype == frame[name].dtype
    assert count == len(RISKY) + 4 + 1
    assert frame["=name"].to_list() == texts


def test_s18_text_is_guarded_and_numbers_are_not():
    text_is_guarded_and_numbers_are_not(delimited.guarded)


@pytest.mark.parametrize("pattern", ["^=", "[=+\\-@\t\r\n＝＋－＠]", "^[=+\\-@]", "^ *[=+\\-@\t\r\n＝＋－＠]"])
def test_a_guard_that_misses_or_overdoes_is_noticed(pattern, monkeypatch):
    monkeypatch.setattr(delimited, "_FORMULA", pattern)
    with pytest.raises(AssertionError):
        text_is_guarded_and_numbers_are_not(delimited.guarded)


def test_a_frame_without_such_text_is_left_alone():
    frame = pl.DataFrame({"a": PLAIN[:3], "b": [-1, 2, 3]})
    assert delimited.guarded(frame)[0].equals(frame)
    assert delimited.guarded(frame)[1] == 0
    assert delimited.guarded(frame.select("b"))[1] == 0
