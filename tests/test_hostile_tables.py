"""Hostile and changing tables through the commands: one line, within bounds, and nothing written in part."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Run, good, luce, refused
from test_columnar import Point, forge, parquet_bytes, varint
from test_vast import cut, people, saved

import luce as luce_
from luce import blocks, columnar, gather, reader, vast
from luce.errors import InputError

__all__ = ["luce"]


def table(rows: int = 300) -> pl.DataFrame:
    return pl.DataFrame(
        {"x": range(rows), "town": [f"t{i % 40}" for i in range(rows)], "y": ["a", "b", "c"] * (rows // 3)}
    )


def parquet(frame: pl.DataFrame | pa.Table, **options: object) -> bytes:
    stream = io.BytesIO()
    if isinstance(frame, pl.DataFrame):
        frame = frame.to_arrow()
    pq.write_table(frame, stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def footed(data: bytes, footer: bytes) -> bytes:
    return b"PAR1" + data + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def nested(depth: int) -> bytes:
    """A group in a group in a group, so deep, and a column in the last of them, without a row group."""

    def element(name: bytes, leaf: bool) -> bytes:  # SchemaElement: 1 type, 3 repetition, 4 name, 5 children
        kind = b"\x15" + varint(1) if leaf else b""
        repetition = (b"\x25" if leaf else b"\x35") + varint(1)
        return kind + repetition + b"\x18" + bytes([len(name)]) + name + (b"" if leaf else b"\x15" + varint(1)) + b"\0"

    elements = b"".join(element(b"g", False) for _ in range(depth)) + element(b"x", True)
    count, head = depth + 1, bytearray()
    while count > 127:
        head.append(count & 127 | 128)
        count >>= 7
    head.append(count)
    # FileMetaData: 1 version, 2 schema, 3 rows, 4 row groups
    return footed(b"\x15\0", b"\x15" + varint(1) + b"\x19\xfc" + head + elements + b"\x16" + varint(3) + b"\x19\x0c\0")


def of_dictionary(values: int, size: int) -> bytes:
    """A column whose dictionary claims so many values, and so many bytes when unpacked."""
    frame = pa.table({"town": pa.array([f"t{i % 40}" for i in range(300)])})
    data = parquet(frame, compression="snappy", use_dictionary=["town"])
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    page = columnar._Typed(data[4:])
    header = page.struct()
    assert header[1][1] == 2  # a page of a dictionary
    was = page.at
    header[2] = (header[2][0], size)
    header[7][1][1] = (header[7][1][1][0], values)
    new = columnar._bytes_of(12, header)
    footer = columnar._Typed(data[end:-8]).struct()
    chunk = footer[4][1][1][0][1][1][1][0][3][1]
    for place, more in ((7, len(new) - was), (9, len(new) - was), (6, max(size, 0))):
        chunk[place] = (chunk[place][0], chunk[place][1] + more)
    return footed(new + data[4 + was : end], columnar._bytes_of(12, footer))


def extended() -> bytes:
    return parquet(pa.table({"p": pa.ExtensionArray.from_storage(Point(), pa.array([1, 2])), "y": ["a", "b"]}))


def listed() -> bytes:
    return parquet(pa.table({"p": [[[[1]]], [[[2]]]], "y": ["a", "b"]}))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "forged counts": (lambda: forge(parquet(table(), compression="none"), 300, 10**9, 1), "contradict"),
    "all counts forged": (
        lambda: forge(parquet_bytes(compression="uncompressed"), 300, 10**9, 15),
        "MAX_CELLS_PER_BYTE",
    ),
    "lists in lists": (listed, "no columns besides the label"),
    "groups in groups": (lambda: nested(3), "is of the type Struct"),
    "very deep": (lambda: nested(20_000), "lie 20,000 groups deep"),
    "an extension type": (extended, "no columns besides the label"),
    "a dictionary of many values": (lambda: of_dictionary(2**31 - 1, 300), "contradict"),
    "a dictionary of many bytes": (lambda: of_dictionary(2**31 - 1, 2**31 - 1), "MAX_DICTIONARY_RATIO"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_d17_hostile_parquet_is_refused_by_train(luce: Run, tmp_path: Path, name: str) -> None:
    """Alone, and as one of many files, before it takes memory; what is there already stays."""
    make, said = HOSTILE[name]
    Path("data").mkdir()
    Path("data/1.parquet").write_bytes(make())
    Path("m.luce").write_text("as it was")
    for data in ("data/1.parquet", "data/*.parquet", "data"):
        assert said in refused(luce("train", data, "--label", "y", "--out", "m.luce", "--memory", "100MB"))
    assert sorted(os.listdir()) == ["data", "m.luce"]
    assert Path("m.luce").read_text() == "as it was"


def arrow(depth: int, stream: bool) -> bytes:
    """An Arrow file, or stream, whose one column lies so deep in lists."""
    kind: pa.DataType = pa.int32()
    for _ in range(depth):
        kind = pa.list_(kind)
    out = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, pa.schema([("x", kind), ("y", pa.string())])):
        pass
    return out.getvalue()


@pytest.mark.parametrize("stream", [False, True])
def test_d17_a_deep_arrow_file_is_refused(tmp_path: Path, stream: bool) -> None:
    """Of 10,000 groups native code would end the process."""
    for depth, said in ((5, "no rows|is of the type List"), (70, "more than 64 groups deep"), (10_000, "more than 64")):
        (tmp_path / "t.arrow").write_bytes(arrow(depth, stream))
        with pytest.raises(InputError, match=said):
            reader.read_file(tmp_path / "t.arrow")


def test_d17_a_true_dictionary_of_many_values_is_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"code": [f"{i:09d}" for i in range(200_000)], "same": ["x" * 500] * 200_000})
    pq.write_table(frame.to_arrow(), tmp_path / "t.parquet", dictionary_pagesize_limit=1 << 26)
    assert reader.read_file(tmp_path / "t.parquet").frame.equals(frame)
    assert pl.concat(list(blocks.frames(tmp_path / "t.parquet"))).equals(frame)


# --- files that change, streams that end (D18) -----------------------------------------------------------------------


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


CHANGES: dict[str, Callable[[Path], None]] = {
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "grown": lambda path: os.truncate(path, path.stat().st_size + 9),
    "replaced": replaced,
}


@pytest.mark.parametrize(
    ("change", "form"),
    [(change, form) for change in CHANGES for form in ("csv", "parquet") if (change, form) != ("replaced", "csv")],
)
def test_d18_a_file_that_changes_meanwhile_leaves_no_model_and_no_answers(
    luce: Run, monkeypatch: pytest.MonkeyPatch, change: str, form: str
) -> None:
    Path("data").mkdir()
    people(2_000).write_csv("data/1.csv") if form == "csv" else people(2_000).write_parquet("data/1.parquet")
    data = Path(f"data/1.{form}")
    good(luce("train", data, "--label", "label", "--out", "m.luce", "--holdout", 0))
    whole, model = data.read_bytes(), Path("m.luce").read_bytes()
    monkeypatch.setattr(blocks, "TEXT_BYTES", 1000)
    monkeypatch.setattr(blocks, "CELL_BYTES", 8000)
    monkeypatch.setattr(reader, "_PIECE", 1000)
    calls = []

    def frames(*arguments: object, **options: object) -> object:
        for count, frame in enumerate(blocks.frames(*arguments, **options)):  # type: ignore[arg-type]
            if count == 2:
                calls.append(1)
                CHANGES[change](data)
            yield frame

    monkeypatch.setattr(gather, "frames", frames)
    monkeypatch.setattr("luce.prediction.frames", frames)
    for command in (
        ("train", "data/*", "--label", "label", "--out", "new.luce"),
        ("train", "data/*", "--label", "label", "--out", "m.luce", "--memory", "10kB"),
        ("predict", "m.luce", data, "--out", "a.csv"),
        ("predict", "m.luce", "data", "--out", "answers/"),
    ):
        assert "changed while it was being read" in refused(luce(*command))
        data.write_bytes(whole)
    assert len(calls) == 4
    assert sorted(path for path in os.listdir() if path != "answers") == ["data", "m.luce"]
    assert Path("m.luce").read_bytes() == model
    assert sorted(os.listdir("answers")) == [".predictions.lock", "_predictions.json"]


def test_d18_a_text_that_is_replaced_meanwhile_is_read_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays open, and whole."""
    monkeypatch.setattr(blocks, "TEXT_BYTES", 1000)
    frame, path = people(500), tmp_path / "t.csv"
    frame.write_csv(path)
    found = blocks.frames(path)
    first = next(found)
    people(500, 1).write_csv(tmp_path / "other")
    os.replace(tmp_path / "other", path)
    assert pl.concat([first, *found]).write_csv() == frame.write_csv()


@pytest.mark.parametrize("command", ["train", "predict"])
def test_d18_a_stream_that_ends_in_the_middle_leaves_nothing(luce: Run, command: str) -> None:
    text = people(300).write_csv().encode()
    Path("t.csv").write_bytes(text)
    good(luce("train", "t.csv", "--label", "label", "--out", "m.luce", "--holdout", 0))
    cut_off = text[: text.rindex(b",", 0, len(text) - 20)]
    rest = ("--label", "label", "--out", "n.luce") if command == "train" else ("--out", "a.csv")
    ran = luce(command, *(() if command == "train" else ("m.luce",)), "-", *rest, stdin=cut_off)
    assert re.search(r"standard input.*has \d+ field\(s\)", refused(ran))
    assert sorted(os.listdir()) == ["m.luce", "t.csv"]


# --- parts of a table that are unlike the others ---------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in ((vast, "MOST_CELLS", 1_000), (vast, "BLOCK", 257), (gather, "PART", 700)):
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("memory", [None, "10kB"])
def test_an_empty_file_among_many_is_named(luce: Run, memory: str | None) -> None:
    cut(people(90), Path("data"), 30, 60)
    room = [] if memory is None else ["--memory", memory]
    for empty, said in (
        (lambda path: people(90)[:0].write_parquet(path), "part-01.parquet: has no rows"),
        (lambda path: path.write_bytes(b""), "part-01.parquet: is empty"),
    ):
        empty(Path("data/part-01.parquet"))
        assert said in refused(luce("train", "data/*", "--label", "label", "--out", "m.luce", *room))
    assert os.listdir() == ["data"]


def test_a_class_that_the_last_rows_of_the_last_file_alone_have(small: None, tmp_path: Path) -> None:
    """It is behind all that is looked at first: blocks, parts, and the rows that types are read off."""
    frame = people()
    late = pl.when(pl.int_range(pl.len()) >= frame.height - 12).then(pl.lit("late")).otherwise(pl.col("label"))
    frame = frame.with_columns(label=late)
    pattern = cut(frame, tmp_path / "data", 1_000, 2_400)
    wanted = saved(frame, tmp_path / "memory.luce")
    assert luce_.load(tmp_path / "memory.luce").classes_.tolist() == ["a", "b", "c", "late"]
    for memory in (None, 1):
        assert saved(gather.gather(pattern, memory=memory, parent=tmp_path), tmp_path / "m.luce") == wanted


def test_d11_a_cell_that_is_no_number_late_in_the_last_file_is_no_missing_cell(small: None, tmp_path: Path) -> None:
    """Of texts the column is then one of texts, wherever the table lies."""
    frame = people().with_columns(pl.col("age").cast(pl.String))
    frame[2_990, "age"] = "old"
    pattern = cut(frame, tmp_path / "data", 1_000, 2_000, suffix="csv")
    stored, whole = gather.gather(pattern, memory=1, parent=tmp_path), gather.gather(pattern)
    assert stored.frame.get_column("age").equals(whole.frame["age"], check_dtypes=True)
    assert whole.frame["age"][2_990] == "old"
    assert whole.frame["age"].null_count() == 0


# --- clocks (L11) ----------------------------------------------------------------------------------------------------


def test_l11_no_wait_hangs_on_the_wall_clock() -> None:
    """time.time() is asked for dates alone: the files that may, and how often."""
    source = Path(luce_.__file__).parent
    asked = {path.stem: len(re.findall(r"\btime\.time\(|datetime\.now\(|utcnow\(", path.read_text(encoding="utf-8")))
             for path in source.glob("*.py")}  # fmt: skip
    assert {name: count for name, count in asked.items() if count} == {"journal": 2}


def test_l11_a_wall_clock_that_jumps_back_an_hour_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While workers fit, and files are answered, each look at the clock is an hour earlier."""
    hours = iter(range(10**9))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(hours))
    monkeypatch.setattr(vast, "MOST_CELLS", 1_000)
    x = np.random.default_rng(0).normal(size=(200, 3))
    fit = luce_.SoftmaxRegression(l2=1e-3, time_limit=60).fit(x, x[:, 0] > 0)
    assert fit.certificate_.converged
    model = luce_.Classifier(engine=luce_.processes(2, patience=60))
    model.fit(people(), "label").save(tmp_path / "m.luce")
    cut(people().drop("label"), tmp_path / "data", 1_000)
    engine = luce_.processes(2, patience=60)
    assert luce_.predict_files(tmp_path / "m.luce", tmp_path / "data", tmp_path / "out", engine=engine).rows == 3_000
