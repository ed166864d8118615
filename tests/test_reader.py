"""What the reader promises: every row of a file accounted for, or one line that says what, where and what to do."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import os
import random
import string
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luce import reader
from luce.errors import InputError, LimitError
from luce.reader import RawTable, read_file


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(data: bytes | str, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write_file


def error_of(path: object, kind: type[InputError] = InputError, **options: str) -> str:
    """The one line of the error that a read must raise."""
    with pytest.raises(kind) as caught:
        read_file(path, **options)  # type: ignore[arg-type]  # some tests hand over what is no path
    assert type(caught.value) is kind
    line = str(caught.value)
    assert "\n" not in line
    assert "\ufffd" not in line
    return line


def rows(table: RawTable) -> list[tuple[object, ...]]:
    return table.frame.rows()


def feed_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# ------------------------------------------------------------------------------------------ plain reading


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


def test_standard_input(monkeypatch):
    feed_stdin(monkeypatch, b"a\tb\n1\t2\n")
    table = read_file("-")
    assert table.source == "standard input"
    assert rows(table) == [("1", "2")]


@pytest.mark.parametrize("form", ["parquet", "ipc", "ipc_stream", "ndjson", "csv"])
def test_standard_input_is_known_by_its_first_bytes(monkeypatch, form):
    frame, stream = pl.DataFrame({"a": ["x", "y"], "b": ["u", "v"]}), io.BytesIO()
    getattr(frame, f"write_{form}")(stream)
    feed_stdin(monkeypatch, b"\n" * (form == "ndjson") + stream.getvalue())
    assert read_file("-").frame.equals(frame)


def test_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "closed" in error_of("-")


def test_names_that_look_like_binary_forms_are_text(write):
    assert read_file(write("PAR1,PAR2\nx,y\n")).frame.columns == ["PAR1", "PAR2"]


@pytest.mark.parametrize("cell", ["x^2", "x\x01", "\x28", "PAR1", "#a", " "])
def test_a_first_cell_is_never_taken_for_compression_or_a_comment(write, cell):
    assert rows(read_file(write(f"a,b\n{cell},1\ny,2\n"))) == [(cell, "1"), ("y", "2")]


# ------------------------------------------------------------------------------------------ doors that are shut


def test_a_missing_file(tmp_path):
    assert "No such file" in error_of(tmp_path / "none.csv")


@pytest.mark.parametrize("name", ["", "nul\0name.csv", "x" * 5000 + ".csv"])
def test_an_impossible_name(name):
    assert "cannot be read" in error_of(name)


def test_a_folder(tmp_path):
    assert "is a folder" in error_of(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_device_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    start = time.monotonic()
    assert "pipe or a device" in error_of(tmp_path / "pipe.csv")
    assert "pipe or a device" in error_of(os.devnull)
    assert time.monotonic() - start < 5  # a hang would last for ever; a refusal takes microseconds


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_file_that_turns_into_a_pipe_does_not_hang(write, tmp_path, monkeypatch):
    regular = os.stat(write("a\n1\n"))
    os.mkfifo(tmp_path / "pipe.csv")
    monkeypatch.setattr(reader.os, "stat", lambda *_: regular)
    lines: list[str] = []
    worker = threading.Thread(target=lambda: lines.append(error_of(tmp_path / "pipe.csv")), daemon=True)
    worker.start()
    worker.join(10)  # a hang would last for ever; a refusal takes milliseconds
    monkeypatch.undo()
    assert "changed while it was being read" in lines[0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read any file")
def test_a_file_without_permission(write):
    path = write("a\n1\n")
    path.chmod(0)
    assert "ermission" in error_of(path)


@pytest.mark.parametrize("name", ["t.xls", "t", "t.gz", "t.parquet.gz", "t.json"])
def test_an_unknown_suffix_lists_the_readable_ones(write, name):
    line = error_of(write("a\n1\n", name))
    assert ".csv" in line
    assert ".parquet" in line
    assert ".ndjson" in line


def test_a_name_cannot_write_to_the_terminal(tmp_path):
    assert "\\x1b[31m\\n" in error_of(tmp_path / "\x1b[31m\n.csv")


# ------------------------------------------------------------------------------------------ D01, D02


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty;"),
        (b"\xef\xbb\xbf", "byte-order mark"),
        (b"\xff\xfe", "byte-order mark"),
        (b"\n\r\n", "blank lines"),
        (b"\xef\xbb\xbf\n", "blank lines"),
        (b"a,b", "header but no rows"),
        (b"a,b\r\n\r\n\n", "header but no rows"),
        (b'"a\n",b\r', "header but no rows"),
    ],
)
def test_d01_nothing_to_read_says_which(write, data, said):
    assert said in error_of(write(data))


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.jsonl", "t.csv.gz"])
def test_d01_an_empty_file_of_every_form(write, name):
    assert "empty" in error_of(write(gzip.compress(b"") if name.endswith("gz") else b"", name))


def test_d01_no_rows_in_a_typed_file(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": []}, schema={"a": pl.Int64}).write_parquet(path)
    assert "no rows" in error_of(path)


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


# ------------------------------------------------------------------------------------------ D03, D04, D05


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
    monkeypatch.setattr(reader, "_read_exact", lambda *_: pytest.fail("the quick reader should do"))
    random_ = random.Random(5)
    cells = ["".join(random_.choices('ab,"\n;', k=random_.randint(1, 30))) for _ in range(997)]
    table = [(cells[i % 997], str(i), cells[i * 7 % 997]) for i in range(300_000)]  # about 11 MB
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows([("a", "b", "c"), *table])
    assert read_file(write(stream.getvalue())).frame.equals(pl.DataFrame(table, schema=["a", "b", "c"], orient="row"))


@pytest.mark.parametrize("cell", ["x" * 1_000_000, '"' + "y,\n" * 300_000 + '"', '"' + "z" * 1_000_000 + '"'])
def test_d05_cells_longer_than_a_chunk_stay_with_the_quick_reader(write, monkeypatch, cell):
    monkeypatch.setattr(reader, "_read_exact", lambda *_: pytest.fail("the quick reader should do"))
    assert rows(read_file(write(f"a,b\n1,{cell}\n{cell},2\n"))) == [("1", cell.strip('"')), (cell.strip('"'), "2")]


def test_d05_the_exact_reader_keeps_missing_cells_of_one_column(write):
    assert rows(read_file(write('a\n5" pipe\n\n""\nx\n\n'))) == [('5" pipe',), (None,), (None,), ("x",)]


def test_d05_the_exact_reader_in_batches(write, monkeypatch):
    monkeypatch.setattr(reader, "_BATCH_CELLS", 10)
    text = "a,b\n" + "".join(f'{i}" pipe,{i}\n\n' for i in range(101))
    assert rows(read_file(write(text))) == [(f'{i}" pipe', str(i)) for i in range(101)]


# ------------------------------------------------------------------------------------------ against Python's csv

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
        patch.setattr(reader, "_SCAN_CHUNK", 5)  # so that every construct meets a chunk's edge
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
        patch.setattr(reader, "_SCAN_CHUNK", 5)
        if want and all(len(row) == 2 for row in want):
            assert rows(read_file(path)) == [tuple(cell or None for cell in row) for row in want]
        else:
            error_of(path)


# ------------------------------------------------------------------------------------------ D06


def test_d06_a_field_beyond_the_limit(write):
    big = "x" * (reader.MAX_FIELD_BYTES + 1)
    said = error_of(write(f"a,b\n1,2\n3,{big}\n"), LimitError)
    assert "MAX_FIELD_BYTES" in said
    assert "line 3" in said
    assert "MAX_FIELD_BYTES" in error_of(write(f'a,b\n5" pipe,2\n3,{big}\n'), LimitError)  # by the exact reader


def test_d06_a_field_at_the_limit_is_read(write, monkeypatch):
    monkeypatch.setattr(reader, "MAX_FIELD_BYTES", 1000)
    monkeypatch.setattr(reader, "_SCAN_CHUNK", 100)
    before = csv.field_size_limit()
    assert rows(read_file(write(f"a,b\n{'x' * 1000},1\n"))) == [("x" * 1000, "1")]
    assert rows(read_file(write(f'a,b\n{"x" * 999}",1\n'))) == [("x" * 999 + '"', "1")]
    assert csv.field_size_limit() == before


def test_d06_a_line_without_end(write):
    data = b"a,b\n1,2\n" + b"x," * (reader.MAX_LINE_BYTES // 2 + reader._PIECE)
    said = error_of(write(data), LimitError)
    assert "line 3: is longer than MAX_LINE_BYTES" in said


@pytest.mark.parametrize("piece", [b"x" * 4096, b"1,2\n" * 1024])
def test_d06_a_stream_without_end(monkeypatch, piece):
    taken = 0

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            nonlocal taken
            taken += len(piece)
            return piece

    class Stdin:
        buffer = Endless()

    monkeypatch.setattr(sys, "stdin", Stdin())
    monkeypatch.setattr(reader, "MAX_INPUT_BYTES", 1 << 20)
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 1 << 19)
    assert ("MAX_LINE" if b"x" in piece else "MAX_INPUT") in error_of("-", LimitError)
    assert taken <= (1 << 20) + len(piece)


@pytest.mark.parametrize("quote", ["", '"'])
def test_d06_too_many_columns(write, quote):
    header = ",".join(f"{quote}c{i}{quote}" for i in range(reader.MAX_COLUMNS + 1))
    assert "MAX_COLUMNS" in error_of(write(f"{header}\n1\n"), LimitError)


def test_d06_many_columns_are_read(write):
    wide = 20_000
    text = ",".join(f"c{i}" for i in range(wide)) + "\n" + ("1," * wide)[:-1] + "\n"
    assert read_file(write(text)).frame.shape == (1, wide)


def test_d06_a_gzip_bomb(write):
    bomb = gzip.compress(b"a\n" + b"0\n" * (20 << 20))
    assert len(bomb) < 1 << 20
    assert "MAX_GZIP_RATIO" in error_of(write(bomb, "t.csv.gz"), LimitError)


# ------------------------------------------------------------------------------------------ D07


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(b"a,b\n1,2\n"), "gzip"),
        (b"PK\x03\x04" + b"\0" * 30 + b"xl/workbook.xml", "Excel workbook"),
        (b"PK\x03\x04" + b"\0" * 30, "zip archive"),
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\xff\xd8\xff\xe0\0", "JPEG"),
        (b"\r\n<!DOCTYPE html><html>", "HTML"),
        (b"SQLite format 3\0", "SQLite"),
    ],
)
def test_d07_a_foreign_file_is_named(write, data, what):
    for name in ("t.csv", "t.jsonl", "t.parquet", "t.arrow"):
        assert what in error_of(write(data, name))


def test_d07_the_right_file_under_the_wrong_name(tmp_path):
    frame = pl.DataFrame({"a": [1]})
    frame.write_parquet(tmp_path / "p.csv")
    frame.write_ipc(tmp_path / "i.parquet")
    frame.write_csv(tmp_path / "c.arrow")
    assert "is a Parquet file" in error_of(tmp_path / "p.csv")
    assert "but an Arrow file" in error_of(tmp_path / "i.parquet")
    assert "not an Arrow file" in error_of(tmp_path / "c.arrow")


def test_d07_nul_bytes(write):
    assert "line 3: a NUL byte at offset 6" in error_of(write(b"a\n1\n2,\0\n"))
    assert "NUL byte" in error_of(write("a\n1\0\n".encode("utf-16")))
    assert "not a text file" in error_of(write(b"\xfe\xed\n\0\x01\xff"))


@pytest.mark.parametrize("order", ["le", "be"])
def test_d07_utf16_without_a_mark(write, order):
    path = write("name,x\nann,1\n".encode(f"utf-16-{order}"))
    assert f"--encoding utf-16-{order}" in error_of(path)
    assert rows(read_file(path, encoding=f"utf-16-{order}")) == [("ann", "1")]


def test_d07_a_broken_gzip_file(write):
    data = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    for broken in (data[:-9], data + b"tail", b"a,b\n1,2\n", data[:20] + b"\xff\xff\xff" + data[23:]):
        assert "gzip" in error_of(write(broken, "t.csv.gz"))


@pytest.mark.parametrize("name", ["T.CSV.GZ", "t.tsv.gz", "t.jsonl.gz"])
def test_gzip_of_every_text_format(write, name):
    text = '{"a": "1"}\n' if "json" in name else "a\n1\n"
    assert rows(read_file(write(gzip.compress(text.encode()), name))) == [("1",)]


# ------------------------------------------------------------------------------------------ D08

KOREAN = "이름,나이\n홍길동,서른\n펭귄,둘\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_d08_unicode_is_known_by_its_bytes(write, codec, end):
    mark = "\ufeff" if codec in ("utf-16-le", "utf-16-be") else ""
    table = read_file(write((mark + KOREAN.replace("\n", end)).encode(codec)))
    assert table.frame.columns == ["이름", "나이"]
    assert rows(table) == [("홍길동", "서른"), ("펭귄", "둘")]
    assert table.encoding is not None
    assert table.encoding == codec[:6].rstrip("-")
    assert table.notes == ()


@pytest.mark.parametrize("codec", ["cp949", "euc-kr"])
def test_d08_korean_without_unicode_is_guessed_and_said(write, codec):
    table = read_file(write(KOREAN.encode(codec)))
    assert table.frame.columns == ["이름", "나이"]
    assert rows(table)[0] == ("홍길동", "서른")
    assert table.encoding == "cp949"
    assert "read as cp949" in table.notes[0]
    assert "이름" in table.notes[0]
    assert "--encoding" in table.notes[0]


def test_d08_the_encoding_given_wins(write):
    table = read_file(write(KOREAN.encode("euc-kr")), encoding="euc-kr")
    assert rows(table)[0] == ("홍길동", "서른")
    assert table.notes == ()
    assert read_file(write("x\né\n".encode("latin-1")), encoding="latin-1").frame["x"].to_list() == ["é"]
    assert "line 1, byte offset 0 (0xC0)" in error_of(write(KOREAN.encode("euc-kr")), encoding="utf-8")


def test_d08_a_bad_byte_has_a_line_and_an_offset(write):
    good = b"a,b\n1,2\n"
    said = error_of(write(good + b"3,\xff\n"))
    assert "line 3, byte offset 10 (0xFF)" in said
    assert "--encoding" in said
    said = error_of(write(KOREAN.encode("cp949") + b"x,\xff\n"), encoding="cp949")
    assert f"line 4, byte offset {len(KOREAN.encode('cp949')) + 2} (0xFF)" in said
    assert "line 2, byte offset 10" in error_of(write("\ufeffab\r\n\ud800".encode("utf-16-le", "surrogatepass")))


def test_d08_damaged_utf8_is_not_guessed_as_cp949(write):
    damaged = "이름\n가나\n".encode() + "다".encode("cp949") + b"\n"
    said = error_of(write(damaged))
    assert "not valid UTF-8: line 3" in said
    assert "mend it" in said


def test_d08_latin_letters_are_not_guessed(write):
    assert "nor cp949" in error_of(write("name\ncafé\n".encode("latin-1")))


def test_d08_an_unknown_encoding(write):
    for name in ("latin-99", "hex", "", "a\0b"):
        assert "no encoding is called" in error_of(write("a\n1\n"), encoding=name)


def test_d08_an_encoding_for_a_typed_file_is_not_ignored_silently(tmp_path):
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "t.parquet")
    assert "does not apply" in read_file(tmp_path / "t.parquet", encoding="cp949").notes[0]


def test_d08_the_mark_for_lost_text_is_kept_when_the_file_holds_it(write):
    assert rows(read_file(write("a\n\ufffd\n"))) == [("\ufffd",)]


# ------------------------------------------------------------------------------------------ D10


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("age,x,age", 'columns 1 "age" and 3 "age" have the same name'),
        ("Age,x,age", 'columns 1 "Age" and 3 "age" differ only in letter case'),
        ("age,x, age ", "columns 1 "),
        ("가,x,\u1100\u1161", "Unicode form"),
        ("straße,x,STRASSE", "letter case"),
        (",x,", "columns 1 and 3 have no name"),
        ("a, ,\u3000", "columns 2 and 3 have no name"),
        ("column 2,,c", 'columns 1 "column 2" and 2 ""'),
    ],
)
def test_d10_names_that_can_be_confused(write, header, said):
    assert said in error_of(write(f"{header}\n1,2,3\n"))


def test_d10_names_are_composed_and_trimmed_with_a_note(write):
    table = read_file(write("\u1100\u1161 ,b\n1,2\n"))
    assert table.frame.columns == ["가", "b"]
    assert "NFC" in table.notes[0]


def test_d10_one_empty_name_is_filled_with_a_note(write):
    table = read_file(write(",a\n0,x\n"))
    assert table.frame.columns == ["column 1", "a"]
    assert "column 1 has no name" in table.notes[0]


def test_d10_names_of_typed_files_are_checked_too(tmp_path, write):
    pl.DataFrame({"Age": [1], "age": [2]}).write_parquet(tmp_path / "t.parquet")
    assert "letter case" in error_of(tmp_path / "t.parquet")
    assert "letter case" in error_of(write('{"Age": 1, "age": 2}\n', "t.jsonl"))
    pl.DataFrame({" a": [1]}).write_ipc(tmp_path / "t.arrow")
    assert read_file(tmp_path / "t.arrow").frame.columns == ["a"]


def test_d10_a_header_that_looks_like_data_is_told(write):
    assert "looks like data" in read_file(write("5.1,3\n4.9,2\n")).notes[0]
    assert read_file(write("x1,3\n4.9,2\n")).notes == ()


# ------------------------------------------------------------------------------------------ JSON lines


def test_json_lines_types(write):
    lines = [
        {"i": 1, "f": 1, "s": "x", "b": True, "n": None},
        {"i": None, "f": 2.5, "s": "", "b": False, "late": "가"},
    ]
    text = "\n".join(map(json.dumps, lines)).replace("\n", "\r\n\n  \n")
    table = read_file(write("\ufeff" + text, "t.jsonl"))
    want = {"i": pl.Int64, "f": pl.Float64, "s": pl.String, "b": pl.Boolean, "n": pl.String, "late": pl.String}
    assert dict(table.frame.schema) == want
    assert rows(table) == [(1, 1.0, "x", True, None, None), (None, 2.5, "", False, None, "가")]


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (["1", '"x"', "1.50", "true", "null"], ["1", "x", "1.50", "true", None]),
        (["true", "1"], ["true", "1"]),
        (["1", "99999999999999999999"], ["1", "99999999999999999999"]),
        (["0.5", "9007199254740993"], ["0.5", "9007199254740993"]),
        (["1.5", "1e400"], ["1.5", "1e400"]),
        (["9223372036854775807"], [2**63 - 1]),
        (["0.1", "-2E-3", "0.30000000000000004"], [0.1, -0.002, 0.30000000000000004]),
    ],
)
def test_json_lines_numbers_keep_their_digits(write, values, want):
    text = "".join(f'{{"a": {value}}}\n' for value in values)
    assert read_file(write(text, "t.ndjson")).frame["a"].to_list() == want


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": 1', "is not one JSON object"),
        ('{"a": 1} {"a": 2}', "is not one JSON object"),
        ("[1, 2]", "is not an object"),
        ("3", "is not an object"),
        ('{"a": [1]}', 'column "a" holds a list'),
        ('{"b": {"c": 1}}', 'column "b" holds an object'),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ('{"a": 1, "b": 2, "a": 1}', 'the key "a" comes twice'),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"a": 01}', "is not one JSON object"),
        ('{"a": "x\ty"}', "is not one JSON object"),
    ],
)
def test_json_lines_errors_name_the_line(write, line, said):
    message = error_of(write(f'{{"a": 1}}\n\n{line}\n', "t.jsonl"))
    assert "line 3: " in message
    assert said in message


def test_json_lines_whole_surrogate_pairs_are_text(write):
    assert rows(read_file(write('{"a": "\\ud83d\\ude00"}\n', "t.jsonl"))) == [("😀",)]


def test_d06_json_lines_with_ever_new_keys(write, monkeypatch):
    monkeypatch.setattr(reader, "MAX_JSON_CELLS", 10_000)
    text = "".join(f'{{"k{i}": 1}}\n' for i in range(200))
    assert "MAX_JSON_CELLS" in error_of(write(text, "t.jsonl"), LimitError)
    monkeypatch.setattr(reader, "MAX_COLUMNS", 20)
    assert "MAX_COLUMNS" in error_of(write(text, "t.jsonl"), LimitError)


def test_json_lines_without_keys(write):
    assert "no keys" in error_of(write("{}\n{}\n", "t.jsonl"))


# ------------------------------------------------------------------------------------------ Parquet and Arrow


def typed_frame() -> pl.DataFrame:
    day = datetime.date(2024, 2, 29)
    return pl.DataFrame(
        {
            "i": [1, None, -3],
            "u": pl.Series([0, 1, 255], dtype=pl.UInt8),
            "f": [0.1, None, 1e300],
            "g": pl.Series([0.5, 1.5, None], dtype=pl.Float32),
            "s": ["가", "", None],
            "b": [True, None, False],
            "d": [day, None, day],
            "t": [datetime.datetime(2024, 1, 1, 12), None, None],
        }
    )


@pytest.mark.parametrize("name", ["t.parquet", "t.pq", "t.arrow", "t.feather", "t.ipc", "stream.arrow"])
def test_typed_files_come_back_equal(tmp_path, name):
    frame, path = typed_frame(), tmp_path / name
    write = "parquet" if name.endswith(("parquet", "pq")) else "ipc_stream" if name == "stream.arrow" else "ipc"
    getattr(frame, f"write_{write}")(path)
    table = read_file(path)
    assert table.frame.equals(frame)
    assert table.frame.schema == frame.schema
    assert table.encoding is None


def test_types_that_are_cast(tmp_path):
    frame = pl.DataFrame(
        {
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
            "e": pl.Series(["p", None], dtype=pl.Enum(["p", "q"])),
            "m": [decimal.Decimal("1.10"), None],
            "n": [None, None],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    got = read_file(tmp_path / "t.parquet").frame
    assert got.dtypes == [pl.String, pl.String, pl.Float64, pl.String]
    assert got.rows() == [("x", "p", 1.1, None), ("y", None, None, None)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[1], [2]], "List"),
        ([{"k": 1}, {"k": 2}], "Struct"),
        ([b"x", b"y"], "Binary"),
        ([datetime.time(1), None], "Time"),
        ([datetime.timedelta(1), None], "Duration"),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "ipc"])
def test_types_that_are_refused(tmp_path, values, kind, form):
    path = tmp_path / f"t.{form}"
    getattr(pl.DataFrame({"ok": [1, 2], "odd": values}), f"write_{form}")(path)
    said = error_of(path)
    assert 'column "odd"' in said
    assert kind in said


class Point(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.point")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""


def test_d17_an_extension_type_is_refused(tmp_path):
    column = pa.ExtensionArray.from_storage(Point(), pa.array([1, 2]))
    pq.write_table(pa.table({"p": column}), tmp_path / "t.parquet")
    said = error_of(tmp_path / "t.parquet")
    assert 'column "p"' in said
    assert "tests.point" in said


def parquet_bytes(**options: object) -> bytes:
    stream = io.BytesIO()
    frame = pl.DataFrame({"a": range(300), "b": [f"x{i}" for i in range(300)]})
    frame.write_parquet(stream, **options)  # type: ignore[arg-type]  # the options are polars' own
    return stream.getvalue()


def varint(number: int) -> bytes:
    number, out = number << 1, b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def forge(data: bytes, old: int, new: int, which: int) -> bytes:
    """The Parquet file with those counts in its footer replaced whose bit is set in `which`."""
    size = int.from_bytes(data[-8:-4], "little")
    first, *parts = data[-8 - size : -8].split(varint(old))
    footer = first + b"".join(varint(new if which >> i & 1 else old) + part for i, part in enumerate(parts))
    return data[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize("which", range(1, 16))
def test_d17_forged_counts_are_refused_before_memory_is_asked_for(write, which):
    data = parquet_bytes(compression="uncompressed")
    assert forge(data, 300, 300, which) == data
    path = write(forge(data, 300, 10**9, which), "t.parquet")
    if which == 15:  # all counts agree
        assert "MAX_CELLS_PER_BYTE" in error_of(path, LimitError)
    else:
        assert "contradict" in error_of(path)


def test_d17_a_huge_claim_names_the_limit(write, monkeypatch):
    monkeypatch.setattr(reader, "MAX_CELLS", 500)
    assert "MAX_CELLS" in error_of(write(parquet_bytes(), "t.parquet"), LimitError)


def test_d17_one_repeated_value_is_no_forgery(tmp_path):
    pl.DataFrame({"a": [1.0] * 2_000_000}).write_parquet(tmp_path / "t.parquet")
    assert read_file(tmp_path / "t.parquet").frame.height == 2_000_000


@pytest.mark.parametrize("form", ["parquet", "ipc", "ipc_stream"])
def test_d17_corrupt_files_give_one_line_and_no_litter(tmp_path, capfd, form):
    stream, random_ = io.BytesIO(), random.Random(17)
    getattr(typed_frame(), f"write_{form}")(stream)
    whole, lines = stream.getvalue(), []
    path = tmp_path / ("t.parquet" if form == "parquet" else "t.arrow")
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(random_.randint(1, 4)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        path.write_bytes(data[: random_.choice([len(data), len(data), random_.randrange(len(data))])])
        try:
            read_file(path)
        except InputError as error:
            lines.append(str(error))
    assert not any("\n" in line for line in lines)
    assert len(lines) > 50  # most flips hit a checked place; a reader that never refuses would not be reading
    assert capfd.readouterr() == ("", "")


def test_d17_a_panic_of_native_code_is_one_line(tmp_path, monkeypatch, capfd):
    def panic(*_: object, **__: object) -> None:
        os.write(2, b"thread panicked at ...\n")
        raise pl.exceptions.PanicException("index out of range")

    pl.DataFrame({"a": [1]}).write_ipc(tmp_path / "t.arrow")
    monkeypatch.setattr(pl, "read_ipc", panic)
    assert "is a broken Arrow file; write it again" in error_of(tmp_path / "t.arrow")
    assert capfd.readouterr().err == ""


def test_what_native_code_says_of_a_good_file_is_not_lost(capfd):
    with reader._held_stderr():
        os.write(2, b"a word\n")
    assert capfd.readouterr().err == "a word\n"


def test_d17_a_file_cut_short(write):
    assert "cut short" in error_of(write(parquet_bytes()[:-20], "t.parquet"))


def test_d17_footers_of_another_writer(tmp_path):
    table = pa.table({"a": np.arange(5000), "b": pa.array(["x", None] * 2500)})
    for version in ("1.0", "2.6"):
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=700, version=version, data_page_version="2.0")
        assert read_file(tmp_path / "t.parquet").frame.equals(pl.from_arrow(table))


# ------------------------------------------------------------------------------------------ D18


@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
def test_d18_a_file_that_changes_while_it_is_read(write, monkeypatch, change):
    path = write("a,b\n" + "1,2\n" * 1000)
    true = reader._take

    def take(*args: object, **options: object) -> bytes:
        data = true(*args, **options)
        if change == "touch":
            os.utime(path, ns=(1, 1))
        else:
            os.truncate(path, 8000 if change == "grow" else 400)
        return data

    monkeypatch.setattr(reader, "_take", take)
    assert "changed while it was being read" in error_of(path)


def test_d18_standard_input_that_ends_in_the_middle(monkeypatch):
    for data, said in ((b"a,b,c\n1,2,3\n4,5", "line 3: has 2 field(s)"), (b'a,b\n1,"x', "line 2: a quote opens")):
        feed_stdin(monkeypatch, data)
        line = error_of("-")
        assert said in line
        assert line.startswith("standard input")


# ------------------------------------------------------------------------------------------ real files


def test_real_tables_are_read_whole(shared_data):
    paths = sorted((shared_data / "tables").glob("*.parquet"))[:8]
    assert paths
    for path in paths:
        assert read_file(path).frame.shape == pl.read_parquet(path).shape
