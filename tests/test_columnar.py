"""Parquet and Arrow: typed columns come back equal; hostile bytes give one line."""

from __future__ import annotations

import datetime
import decimal
import io
import os
import random

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import error_of

from luce import columnar
from luce.blocks import frames
from luce.errors import InputError, LimitError
from luce.reader import read_file


def test_d01_no_rows_in_a_typed_file(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": []}, schema={"a": pl.Int64}).write_parquet(path)
    assert "no rows" in error_of(path)


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
        ([{"bytes": b"x", "more": [1]}, None], "Struct"),
        ([datetime.time(1), None], "Time"),
        ([datetime.timedelta(1), None], "Duration"),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "ipc"])
def test_columns_of_types_that_are_not_read(tmp_path, values, kind, form):
    """They are left out and named; a file of nothing else is refused."""
    path = tmp_path / f"t.{form}"
    getattr(pl.DataFrame({"ok": [1, 2], "odd": values}), f"write_{form}")(path)
    table, notes = read_file(path), list[str]()
    assert table.frame.to_dict(as_series=False) == {"ok": [1, 2]}
    assert pl.concat(list(frames(path, notes=notes))).equals(table.frame)
    assert list(table.notes) == notes
    (note,) = notes
    assert note.startswith(f'column "odd" is of the type {kind}')
    getattr(pl.DataFrame({"odd": values}), f"write_{form}")(path)
    assert f'column "odd" is of the type {kind}' in error_of(path)


@pytest.mark.parametrize("form", ["parquet", "ipc"])
def test_bytes_are_images_or_text(tmp_path, form):
    picture, path = b"\x89PNG and more", tmp_path / f"t.{form}"
    cells = {"word": ["가".encode(), None], "photo": [None, picture], "both": [{"bytes": picture, "path": "a"}, None]}
    cells["none"] = [None, None]
    getattr(pl.DataFrame(cells, schema_overrides={"none": pl.Binary}), f"write_{form}")(path)
    read = read_file(path).frame
    assert read.to_dict(as_series=False) == cells | {"word": ["가", None]}
    assert pl.concat(list(frames(path))).equals(read)
    getattr(pl.DataFrame({"odd": [b"x", b"\xff\xfe"], "ok": [b"x", b"y"]}), f"write_{form}")(path)
    assert error_of(path).endswith(
        'column "odd" holds bytes that are neither text in UTF-8 nor images; leave it out of the file'
    )


# --- broken and hostile files (D17) ----------------------------------------------------------------------------------


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
    monkeypatch.setattr(columnar, "MAX_CELLS", 500)
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
    with columnar._held_stderr():
        os.write(2, b"a word\n")
    assert capfd.readouterr().err == "a word\n"


def test_d17_a_file_cut_short(write):
    assert "cut short" in error_of(write(parquet_bytes()[:-20], "t.parquet"))


def test_d17_footers_of_another_writer(tmp_path):
    table = pa.table({"a": np.arange(5000), "b": pa.array(["x", None] * 2500)})
    for version in ("1.0", "2.6"):
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=700, version=version, data_page_version="2.0")
        assert read_file(tmp_path / "t.parquet").frame.equals(pl.from_arrow(table))
