"""Blocks: the frames of a file are the frame of `read_file`, or its error; the files of a folder or a pattern."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from reading import feed_stdin
from test_columnar import forge, parquet_bytes, typed_frame

from luce import blocks, columnar, reader
from luce.blocks import files_of, frames
from luce.errors import InputError
from luce.reader import read_file


def found(read, *arguments, **options):
    """The frame, or the line of the error."""
    try:
        got = read(*arguments, **options)
        return got.frame if isinstance(got, reader.RawTable) else pl.concat(list(got))
    except InputError as error:
        return str(error)


def assert_as_whole(path: Path, rows: int = 7) -> pl.DataFrame | str:
    notes: list[str] = []
    whole, parts = found(read_file, path), found(frames, path, rows=rows, notes=notes)
    if isinstance(whole, str) or isinstance(parts, str):
        assert whole == parts
    else:
        of = ("read as cp949", "trimmed", "column")  # the word that the first shows may be a part of one
        wanted = [note for note in read_file(path).notes if note.startswith(of)]
        assert [note.partition(" (not")[0] for note in notes] == [note.partition(" (not")[0] for note in wanted]
        assert whole.schema == parts.schema
        assert whole.equals(parts)
    return parts


def csv_text(chance: random.Random) -> str:
    plain = ["", "1", "2.5", "가나", "abc", "é", "x y"]
    quoted = ['"a\nb"', '"x""y"', '"\r\n"', '"a,b"', '"\n\n"', '""""', '"가\n나"', '""', '"\r"']
    odd = ['a"b', '"a"b', '"open', "1,2,3"]
    end, columns = chance.choice(["\n", "\r\n", "\r"]), chance.choice([1, 2, 3])

    def cell() -> str:
        at = chance.random()
        return chance.choice(odd if at < 0.003 else quoted if at < 0.15 else plain)

    lines = [",".join("abc"[:columns])]
    lines += [
        "" if chance.random() < 0.05 else ",".join(cell() for _ in range(columns)) for _ in range(chance.randint(0, 60))
    ]
    text = "".join(line + (chance.choice(["\n", "\r\n", "\r"]) if chance.random() < 0.03 else end) for line in lines)
    return chance.choice(["", end * 2]) + chance.choice([text, text.rstrip("\r\n"), text + end * 3])


def json_text(chance: random.Random) -> str:
    odd = [1.5, True, "s", 12345678901234567, 1e300, 10**20]
    lines = []
    for _ in range(chance.randint(0, 40)):
        row = {key: chance.choice([1, 2, None, 3]) for key in "abcd" if chance.random() < 0.7}
        row |= {chance.choice("abcde"): chance.choice(odd)} if chance.random() < 0.05 else {}
        lines += [json.dumps(row), *([""] if chance.random() < 0.05 else [])]
        lines += ["{bad"] if chance.random() < 0.01 else []
    return "\n".join(lines) + "\n" * chance.randint(0, 2)


@pytest.mark.parametrize("make", [csv_text, json_text])
def test_parts_are_the_whole_for_any_size(make, write, monkeypatch):
    chance, errors = random.Random(5), 0
    for _ in range(160 if make is csv_text else 80):
        text = make(chance)
        codec = chance.choice(["utf-8", "utf-8", "utf-8-sig", "cp949", "utf-16"])
        data = text.encode(codec, "replace" if codec == "cp949" else "strict")
        if chance.random() < 0.05 and data:
            at = chance.randrange(len(data))
            data = data[:at] + chance.choice([b"\0", b"\xff", b"\xea\xb0"]) + data[at + 1 :]
        name = "t.csv" if make is csv_text else "t.jsonl"
        zipped = chance.random() < 0.2
        path = write(gzip.compress(data) if zipped else data, name + ".gz" * zipped)
        whole = found(read_file, path)
        with monkeypatch.context() as patch:
            patch.setattr(reader, "_PIECE", chance.choice([3, 10, 100, 4 << 20]))
            patch.setattr(reader, "MAX_GZIP_RATIO", 1 << 20)  # which small pieces would exceed
            patch.setattr(blocks, "TEXT_BYTES", chance.choice([1, 8, 50, 300]))
            parts = found(frames, path, rows=chance.choice([1, 3, 1000]))
        if isinstance(whole, str) or isinstance(parts, str):
            assert whole == parts
            errors += 1
        else:
            assert whole.schema == parts.schema
            assert whole.equals(parts)
    assert 5 < errors < 60  # both kinds of end are tried


def test_a_large_text_is_cut_at_the_ends_of_rows(write, monkeypatch):
    monkeypatch.setattr(blocks, "TEXT_BYTES", 5000)
    lines = [f'{i},"cell, of {i}\nin two lines ""{i}""",{"x" * (i % 300)}' for i in range(2000)]
    frame = assert_as_whole(write("a,b,c\n" + "\n".join(lines) + "\n\n"))
    assert frame.height == 2000
    lines[1700] = "1,2"
    assert "line 3402: has 2 field(s)" in assert_as_whole(write("a,b,c\n" + "\n".join(lines)))
    lines[1700] = '1,2,"open'
    assert "line 3402: a quote opens here" in assert_as_whole(write("a,b,c\n" + "\n".join(lines)))


def test_lines_of_labels_and_other_forms(write, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "TEXT_BYTES", 50)
    text = "__label__a some words\r here\n__label__b __label__c more\n\n" * 30
    for data in (text, text.replace("\r", "").replace("\n", "\r")):
        assert assert_as_whole(write(data, "t.txt")).height == 90
    for name in ("t.md", "t.parquet", "t.png.csv", "none.csv"):
        data = {"t.md": b"no table", "t.parquet": b"a,b\n1,2\n", "t.png.csv": b"\x89PNG\r\n\x1a\n"}.get(name)
        assert isinstance(assert_as_whole(write(data, name) if data else tmp_path / name), str)
    assert "is empty" in assert_as_whole(write(b"", "t.csv"))
    typed_frame().write_ipc(tmp_path / "t.arrow")
    assert_as_whole(tmp_path / "t.arrow")


@pytest.mark.parametrize("group", [3, 50, 1000])
def test_parquet_of_any_row_groups(tmp_path, monkeypatch, group):
    frame = pl.concat([typed_frame()] * 70).with_columns(c=pl.Series(["x", None] * 105, dtype=pl.Categorical))
    frame.write_parquet(tmp_path / "[t]*.parquet", row_group_size=group)
    for size in (1, 2000, 1 << 20):
        monkeypatch.setattr(blocks, "CELL_BYTES", size)
        assert assert_as_whole(tmp_path / "[t]*.parquet", 1000).height == 210


def test_spans_cover_all_rows_in_order():
    for groups in ([(10, 800)], [(1, 8)] * 100, [(3, 24), (1000, 8000), (0, 0), (2, 1 << 20)]):
        for size in (1, 100, 5000, 1 << 30):
            spans = list(columnar._spans(groups, 1, size))
            assert spans[0][0] == 0
            assert all(start + count == after for (start, count), (after, _) in itertools.pairwise(spans))
            assert sum(spans[-1]) == sum(rows for rows, _ in groups)
            assert min(count for _, count in spans) >= 1


@pytest.mark.parametrize("which", [1, 7, 15])
def test_d17_forged_counts_are_refused_here_too(write, which):
    data = parquet_bytes(compression="uncompressed")
    assert isinstance(assert_as_whole(write(forge(data, 300, 10**9, which), "t.parquet")), str)
    assert "cut short" in assert_as_whole(write(data[:-20], "t.parquet"))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_d18_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, name):
    frame, path = pl.DataFrame({"a": ["1", "2"] * 20_000}), tmp_path / name
    write = {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[path.suffix[1:]]
    write(path)
    monkeypatch.setattr(blocks, "TEXT_BYTES", 100)
    monkeypatch.setattr(blocks, "CELL_BYTES", 800)
    monkeypatch.setattr(reader, "_PIECE", 100)
    parts = frames(path, rows=10)
    next(parts)
    os.utime(path, (0, 0))
    with pytest.raises(InputError, match="changed while it was being read"):
        list(parts)


# --- standard input --------------------------------------------------------------------------------------------------


def from_stdin(monkeypatch, data: bytes, **options):
    feed_stdin(monkeypatch, data)
    return found(frames, "-", **options)


def test_standard_input_in_parts(monkeypatch, tmp_path):
    monkeypatch.setattr(blocks, "TEXT_BYTES", 3000)
    rows = "".join(f"{i},가{i}\n" for i in range(100))
    for data in (rows.encode(), ("a,b\n" * 30000 + rows).encode("cp949"), rows.encode("utf-16")):
        data = b"x,y\n" + data if not data.startswith(b"\xff") else ("x,y\n" + rows).encode("utf-16")
        feed_stdin(monkeypatch, data)
        whole = read_file("-").frame
        for piece in (501, 4 << 20):
            monkeypatch.setattr(reader, "_PIECE", piece)
            assert whole.equals(from_stdin(monkeypatch, data, begun=b""))
    typed_frame().write_parquet(tmp_path / "t.parquet")
    assert from_stdin(monkeypatch, (tmp_path / "t.parquet").read_bytes()).equals(typed_frame())
    assert "is empty" in from_stdin(monkeypatch, b"")
    assert "is empty but for blank lines" in from_stdin(monkeypatch, b"\n\n")


def test_faults_of_standard_input_come_behind_its_rows(monkeypatch):
    monkeypatch.setattr(blocks, "TEXT_BYTES", 3000)
    rows = b"a,b\n" + b"1,2\n" * 50_000
    assert "line 50002: a NUL byte at offset 200006" in from_stdin(monkeypatch, rows + b"1,\0\n")
    assert "line 50002, byte offset 200006 (0xB0), after" in from_stdin(
        monkeypatch, "é,b\n".encode() + rows[4:] + b"1\xb0"
    )
    assert "nor cp949: line 50003, byte offset 200009" in from_stdin(monkeypatch, rows + b"1,\xb0\xa1\n\xff\xff\n")
    assert "line 50002: has 1 field(s)" in from_stdin(monkeypatch, rows + b"1\n")


@pytest.mark.parametrize(
    ("late", "said"),
    [
        ('{"a": 1.5}', 'line 42: column "a" holds "1.5" where the lines before hold whole numbers'),
        ('{"a": "x"}', 'line 42: column "a" holds "x" where the lines before hold whole numbers'),
        ('{"b": 1}', 'line 42: column "b" holds "1" where the lines before hold nothing'),
        ('{"a": 12345678901234567}', None),
        ('{"c": null}', None),
    ],
)
def test_d11_a_late_type_of_a_stream_is_an_error_with_its_line(monkeypatch, late, said):
    monkeypatch.setattr(blocks, "TEXT_BYTES", 50)
    data = '{"a": 1}\n' * 40 + "\n" + late + "\n" + '{"a": 2}\n' * 9
    got = from_stdin(monkeypatch, data.encode())
    if said is None:
        assert got.columns == ["a"]
        assert got.height == 50
    else:
        assert said in got
        assert "give it as a file" in got


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_files_of_a_folder_and_of_a_pattern(tmp_path):
    for name in ("b.parquet", "a.parquet", "B.parquet", "가.parquet", "_SUCCESS", "_x.parquet", ".c.parquet", "r.md"):
        (tmp_path / name).write_bytes(b"")
    names = ["B.parquet", "a.parquet", "b.parquet", "가.parquet"]
    assert [Path(each).name for each in files_of(tmp_path)] == names
    assert [Path(each).name for each in files_of(f"{tmp_path}/*")] == names
    assert [Path(each).name for each in files_of(f"{tmp_path}/[ab].parquet")] == names[1:3]
    assert files_of(tmp_path / "a.parquet") == [str(tmp_path / "a.parquet")]
    (tmp_path / "[ab].parquet").write_bytes(b"")  # a file of this very name goes first
    assert files_of(tmp_path / "[ab].parquet") == [str(tmp_path / "[ab].parquet")]
    assert files_of("-") == ["-"]


@pytest.mark.parametrize(
    ("names", "source", "said"),
    [
        ([], "", "holds no table file"),
        (["r.md"], "*.csv", "matches no table file"),
        ([], "none.csv", "cannot be read"),
        (["a.csv", "b.tsv", "c.parquet"], "", r"a.csv is CSV, .*c.parquet is Parquet"),
        (["a.csv", "sub/b.csv"], "", r"sub is a folder"),
        (["sub/b.csv"], "*", r"sub is a folder"),
    ],
)
def test_sources_that_are_refused(tmp_path, names, source, said):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(InputError, match=said):
        files_of(f"{tmp_path}/{source}")


# --- memory ----------------------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from luce.blocks import frames
import polars
next(iter(frames(sys.argv[2])))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(frame.height for frame in frames(sys.argv[1]))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_d19_memory_stays_flat(tmp_path, form):
    """The same file eight times: a reader of the whole would take all of its 100 MB more, one in parts next to none."""
    rows = np.random.default_rng(0).random((200_000, 8), dtype=np.float32)
    few = pl.DataFrame(rows[:100_000], schema=[f"c{i}" for i in range(8)])
    path, small = tmp_path / f"large.{form}", tmp_path / f"small.{form}"
    if form == "csv":
        few.write_csv(small)
        header, _, body = small.read_bytes().partition(b"\n")
        path.write_bytes(header + b"\n" + body * 13)
    else:
        few.write_parquet(small)
        pl.concat([few] * 33).write_parquet(path, row_group_size=1 << 22, compression="uncompressed", use_pyarrow=False)
    assert path.stat().st_size > 95 << 20
    got = subprocess.run([sys.executable, "-c", MEASURE, path, small], capture_output=True, text=True, check=True)
    height, grown = map(int, got.stdout.split())
    assert height == (1_300_000 if form == "csv" else 3_300_000)
    assert grown < 70 << 10  # KiB: of a file of 100 MB, whose cells as text take more than that
