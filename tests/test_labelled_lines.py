"""fastText's files: every line's labels and text, in any encoding and under any name; what lacks a label is named."""

from __future__ import annotations

import gzip

import pytest
from reading import error_of, feed_stdin, rows

from luce.labelled_lines import is_labelled, without_labels
from luce.reader import read_file

LINES = '__label__pos  a warm, "quiet" film\n__label__neg\tcold; dull | grey\n'
ROWS = [("pos", 'a warm, "quiet" film'), ("neg", "cold; dull | grey")]


@pytest.mark.parametrize("name", ["t.txt", "t", "t.train", "t.TXT"])
def test_lines_with_labels_are_a_label_and_a_text(write, name):
    table = read_file(write(LINES, name))
    assert table.frame.columns == ["label", "text"]
    assert rows(table) == ROWS
    assert (table.label, table.notes) == ("label", ())


def test_standard_input_is_known_by_its_labels(monkeypatch):
    feed_stdin(monkeypatch, LINES.encode())
    assert rows(read_file("-")) == ROWS
    feed_stdin(monkeypatch, LINES[9:].encode())
    assert rows(read_file("-", begun=LINES[:9].encode())) == ROWS


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + LINES.encode(),
        LINES.encode("utf-16"),
        LINES.replace("\n", "\r\n").encode(),
        LINES.replace("\n", "\r").encode(),
        b"\n  \n" + LINES.replace("\n", "\n\n").encode(),
        LINES.rstrip("\n").encode(),
        LINES.replace("\n", " \r\n").replace("__l", "\t __l").encode(),
    ],
    ids=["mark", "utf-16", "crlf", "cr", "blank lines", "no last end", "outer blanks"],
)
def test_marks_line_ends_and_blanks_are_no_text(write, data):
    assert rows(read_file(write(data, "t.txt"))) == ROWS


def test_korean_in_cp949_and_a_compressed_file(write):
    korean = "__label__긍정 정말 따뜻한 영화\n__label__부정 지루하고 차가운 영화\n"
    table = read_file(write(korean.encode("cp949"), "t.txt"))
    assert rows(table) == [("긍정", "정말 따뜻한 영화"), ("부정", "지루하고 차가운 영화")]
    assert table.encoding == "cp949"
    assert "cp949" in table.notes[0]
    assert rows(read_file(write(gzip.compress(LINES.encode()), "t.txt.gz"))) == ROWS


def test_a_line_with_several_labels_stands_once_for_each(write):
    table = read_file(write("__label__a __label__b\t__label__a  both\n__label__b one\n", "t.txt"))
    assert rows(table) == [("a", "both"), ("b", "both"), ("b", "one")]
    assert table.notes == ("1 line(s) with several labels stand once for each of them",)


def test_a_text_may_be_empty_and_may_hold_the_prefix(write):
    table = read_file(write("__label__a\n__label__b \n__label__a see __label__b there\n", "t.txt"))
    assert rows(table) == [("a", ""), ("b", ""), ("a", "see __label__b there")]
    assert table.notes == ("1 text(s) hold __label__ behind other words, which is taken as text",)


def test_unicode_blanks_and_separators_are_text(write):
    text = "a\u00a0b\u2028c\x85d\x1ce"
    assert rows(read_file(write(f"__label__x\u3000y {text}\n", "t.txt"))) == [("x\u3000y", text)]


def test_a_line_without_a_label_is_named(write):
    line = error_of(write("\n__label__a one\n\ntwo\n__label__a three\n__label__b\nlast\n", "t.txt"))
    assert line.endswith(
        "t.txt, line 4: has no label (1 more lines too); begin it with __label__NAME, as the others do"
    )
    nameless = error_of(write("__label__a one\n__label__ two\n", "t.txt"))
    assert "t.txt, line 2: has a label without a name" in nameless


def test_a_label_behind_the_text_is_no_label(write):
    assert "line 2: has no label" in error_of(write("__label__a one\ntwo __label__b\n__label__b three\n", "t.txt"))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("label,text\n__label__a,one\n__label__b,two\n", "t.txt"),
        ("__label__,text\na,one\nb,two\n", "t.txt"),
        ("__label__a,text\n__label__b,one\n", "t.csv"),
    ],
)
def test_tables_stay_tables(write, data, name):
    table = read_file(write(data, name))
    assert table.label is None
    assert table.frame.columns == data.partition("\n")[0].split(",")


def test_a_name_that_says_no_format_needs_labels(write):
    for data in ("a\n__label__b\n", "", "plain text\n"):
        assert "the name has no suffix" in error_of(write(data, "t"))


def test_only_whole_lines_of_the_sample_count():
    assert is_labelled(b"__label__a x" * 10_000)
    assert is_labelled(b"__label__a x\n" * 10_000)
    assert not is_labelled(b"__label__a x\n" + b"x\n" * 2)
    assert not is_labelled(b"")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("__label__a one two ", "one two"), (" __label__a\t__label__b x", "x"), ("__label__a", ""), ("", ""),
        ("  kept as it is ", "  kept as it is "), ("see __label__a", "see __label__a"), ("__labels__", "__labels__"),
    ],
)  # fmt: skip
def test_labels_before_a_text_are_dropped(line, text):
    assert without_labels(line) == text
