"""What the reader promises: every row of a file accounted for, or one line that says what, where and what to do."""

from __future__ import annotations

import gzip
import io
import os
import sys
import threading
import time

import polars as pl
import pytest
from reading import error_of, feed_stdin, rows

from luce import reader
from luce.errors import LimitError
from luce.reader import read_file


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


# --- doors that are shut ---------------------------------------------------------------------------------------------


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


# --- nothing to read; limits (D01, D06) ------------------------------------------------------------------------------


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


def test_d06_a_gzip_bomb(write):
    bomb = gzip.compress(b"a\n" + b"0\n" * (20 << 20))
    assert len(bomb) < 1 << 20
    assert "MAX_GZIP_RATIO" in error_of(write(bomb, "t.csv.gz"), LimitError)


# --- files of another form (D07) -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "gzip"),
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


# --- encodings (D08) -------------------------------------------------------------------------------------------------


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


# --- files and streams that change (D18), real files -----------------------------------------------------------------


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


def test_real_tables_are_read_whole(shared_data):
    paths = sorted((shared_data / "tables").glob("*.parquet"))[:8]
    assert paths
    for path in paths:
        assert read_file(path).frame.shape == pl.read_parquet(path).shape
