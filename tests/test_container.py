"""The model file's bytes: every damage is refused in one line, what was written is read."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import pickle
import re
import socket
import struct
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from container_bytes import ARRAYS, FACTS, assert_same, entry, header_of, put, refused, seal
from disk import as_nobody, failing

from luce import container
from luce.container import FORMAT_VERSION, read_container, write_container
from luce.errors import InputError, LimitError, ModelFileError

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good small file of every dtype."""
    path = tmp_path / "model.luce"
    write_container(path, ARRAYS, FACTS)
    return path


# --- the layout ------------------------------------------------------------------------------------------------------


def test_exact_bytes(tmp_path: Path) -> None:
    arrays = {"b": np.array([1, 2], np.uint8), "a": np.array([[1.5]]), "c": np.array([7], np.uint8)}
    write_container(tmp_path / "m", arrays, {"luce_version": "9.8"})
    entries = {"a": entry("F64", [1, 1], 0, 8), "b": entry("U8", [2], 8, 10), "c": entry("U8", [1], 10, 11)}
    data = struct.pack("<dBBB", 1.5, 1, 2, 7)
    assert (tmp_path / "m").read_bytes() == seal(header_of(entries), data)


def test_m11_file_of_the_first_release_is_written_and_read_the_same(tmp_path: Path) -> None:
    # A literal, so that no change of this module or of the helpers above can move the format unseen.
    golden = (
        b"\x18\x01\x00\x00\x00\x00\x00\x00"
        b'{"__metadata__":{"facts":"{\\"classes\\":[\\"no\\",\\"\xec\x98\x88\\"],\\"luce_version\\":\\"0.1.0\\"}",'
        b'"format":"luce","format_version":"1","luce_version":"0.1.0",'
        b'"sha256":"39da74b55a470d9ae81128e23ac3a036f0f447155536f66b504b065dd4f93936"},'
        b'"w":{"data_offsets":[0,16],"dtype":"F64","shape":[2]}}    '
        b"\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\x00\xc0"
    )
    arrays, facts = {"w": np.array([1.0, -2.0])}, {"luce_version": "0.1.0", "classes": ["no", "예"]}
    write_container(tmp_path / "m", arrays, facts)
    assert (tmp_path / "m").read_bytes() == golden
    assert_same(read_container(put(tmp_path / "golden", golden)), arrays, facts)


def test_what_was_written_is_read(path: Path) -> None:
    assert_same(read_container(path), ARRAYS, FACTS)


def test_arrays_are_read_only_and_aligned(path: Path) -> None:
    for array in read_container(path)[0].values():
        assert array.flags.aligned
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)


def test_safetensors_reads_the_file(path: Path) -> None:
    assert_same((safetensors.numpy.load_file(path), {}), ARRAYS, {})
    with safetensors.safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["facts"]) == FACTS


def test_equal_input_gives_equal_bytes(path: Path) -> None:
    first = path.read_bytes()
    arrays = {name: np.array(array, order="F") for name, array in reversed(ARRAYS.items())}
    arrays["weights"] = np.repeat(ARRAYS["weights"], 2, axis=1)[:, ::2].astype(">f8")
    write_container(path, arrays, dict(reversed(FACTS.items())))
    assert path.read_bytes() == first


def test_no_arrays_and_few_facts(tmp_path: Path) -> None:
    write_container(tmp_path / "m", {}, {"luce_version": "1"})
    assert read_container(tmp_path / "m") == ({}, {"luce_version": "1"})


# --- damage ----------------------------------------------------------------------------------------------------------


def test_m01_truncation_at_every_byte(path: Path) -> None:
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        refused(path)


def test_m02_every_single_bit_flipped(path: Path) -> None:
    content = path.read_bytes()
    with open(path, "r+b", buffering=0) as file:
        for at, byte in enumerate(content):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), at)
                with pytest.raises(ModelFileError):
                    read_container(path)
            os.pwrite(file.fileno(), bytes([byte]), at)
    assert_same(read_container(path), ARRAYS, FACTS)


def test_m02_a_changed_weight_is_called_damage(path: Path) -> None:
    content = path.read_bytes()
    assert "SHA-256" in refused(put(path, content[:-1] + bytes([content[-1] ^ 1])))


@pytest.mark.parametrize("length", [0, 1, 8, 2**16, 2**25, 2**26, 2**26 + 8, 2**32, 2**62, 2**63, 2**64 - 1])
def test_m03_wrong_header_length(path: Path, length: int) -> None:
    put(path, struct.pack("<Q", length) + path.read_bytes()[8:])
    tracemalloc.start()
    line = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        "padded" if length == 1 else "JSON" if length == 8 else "cut short" if 0 < length <= 2**26 else "between"
    ) in line
    # 1 MiB: the limit that the case itself states; the file has about 1 KiB.
    assert peak < 1 << 20


def test_m03_header_over_the_limit_in_a_file_that_has_it(path: Path) -> None:
    put(path, struct.pack("<Q", 2**26 + 8) + b"{")
    os.truncate(path, 2**27)  # sparse
    assert "between" in refused(path)


def test_m03_header_without_padding(tmp_path: Path) -> None:
    header = header_of({}, '{"luce_version":"9.8","x":0}')
    assert len(header) % 8
    assert "padded" in refused(put(tmp_path / "m", seal(header, b"", pad=False)))


def test_m03_too_short_for_any_header(tmp_path: Path) -> None:
    assert "only 9 bytes" in refused(put(tmp_path / "m", b"\1" + bytes(7) + b"{"))


HEADER_FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "deep": (lambda h: h[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "100001 deep"),
    "deep and open": (lambda h: h[:-1] + b',"x":' + b'{"a":' * 100_000, "100001 deep"),
    "open string": (lambda h: h[:-1] + b',"' + b'\\"' * 5_000_000, "JSON"),
    "many quotes": (lambda h: h[:-1] + b',"x":' + b'"' * 5_000_000, "JSON"),
    "duplicate": (lambda h: h[:-1] + b',"a":{"data_offsets":[0,8],"dtype":"F64","shape":[1]}}', "twice"),
    "inner duplicate": (lambda h: h.replace(b'"dtype"', b'"dtype":"F64","dtype"'), "twice"),
    "NaN": (lambda h: h.replace(b'"shape":[1]', b'"shape":[NaN]'), "NaN"),
    "Infinity": (lambda h: h.replace(b'"shape":[1]', b'"shape":[-Infinity]'), "-Infinity"),
    "overflow": (lambda h: h.replace(b'"shape":[1]', b'"shape":[1e999]'), "spelled"),
    "5000 digits": (lambda h: h.replace(b'"shape":[1]', b'"shape":[' + b"1" * 5000 + b"]"), "JSON"),
    "UTF-8": (lambda h: h.replace(b'"a":', b'"a\xff":'), "UTF-8 at byte"),
    "surrogate byte": (lambda h: h.replace(b'"a":', b'"a\xed\xa0\x80":'), "UTF-8 at byte"),
    "surrogate": (lambda h: h.replace(b'"a":', b'"a\\ud800":'), "spelled"),
    "escape": (lambda h: h.replace(b'"a":', b'"\\u0061":'), "spelled"),
    "space": (lambda h: h.replace(b'"a":', b'"a": '), "spelled"),
    "order": (
        lambda h: h.replace(b'"data_offsets":[0,8],"dtype":"F64"', b'"dtype":"F64","data_offsets":[0,8]'),
        "spelled",
    ),
    "two values": (lambda h: h + b"{}", "JSON"),
    "cut": (lambda h: h[:-1], "JSON"),
    "padding": (lambda h: h + b" " * 8, "padded"),
    "newline": (lambda h: h + b"\n", "spelled"),
    "NUL": (lambda h: h + b"\0", "JSON"),
    "BOM": (lambda h: b"\xef\xbb\xbf" + h, "not JSON"),
    "list": (lambda h: b"[" + h + b"]", "not JSON"),
    "long name": (lambda h: h.replace(b'"a":', b'"' + b"a" * (2**20 + 1) + b'":'), "limit"),
}


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_m04_header_json(tmp_path: Path, fault: str) -> None:
    change, word = HEADER_FAULTS[fault]
    header = header_of({"a": entry("F64", [1], 0, 8)})
    assert read_container(put(tmp_path / "good", seal(header, bytes(8))))[0]["a"] == 0
    assert change(header) != header
    assert word in refused(put(tmp_path / "m", seal(change(header), bytes(8))))


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ("", "JSON"),
        ("[1]", "object"),
        ("null", "object"),
        ('{"luce_version":"9.8","x":NaN}', "NaN"),
        ('{"luce_version":"9.8","x":1e999}', "spelled"),
        ('{"luce_version":"9.8","luce_version":"9.8"}', "twice"),
        ('{"luce_version":"9.8","x":"\\ud800"}', "spelled"),
        ('{"luce_version": "9.8"}', "spelled"),
        ('{"luce_version":"9.8","x":' + "[" * 100_000 + "]" * 100_000 + "}", "100001 deep"),
        ('{"luce_version":"9.8","x":' + "[" * 64 + "]" * 64 + "}", "65 deep"),
        ('{"luce_version":"9.8","x":"' + "a" * 2**20 + '"}', "limit"),
        ('{"luce_version":"9.9"}', "versions"),
        ("{}", "versions"),
    ],
)
def test_m04_facts_json(tmp_path: Path, facts: str, word: str) -> None:
    assert word in refused(put(tmp_path / "m", seal(header_of({}, facts), b"")))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"format": "pt"}, "not a luce model"),
        ({"format": ["luce"]}, "not a luce model"),
        ({"luce_version": 1}, "text"),
        ({"more": "x"}, "metadata must be"),
        ({"sha256": "A" * 64}, "SHA-256"),
        ({"sha256": ""}, "SHA-256"),
        ({"facts": None}, "text"),
    ],
)
def test_m04_metadata(tmp_path: Path, changes: dict[str, object], word: str) -> None:
    assert word in refused(put(tmp_path / "m", seal(header_of({}, **changes), b"")))


@pytest.mark.parametrize("header", [b"{}", b'{"__metadata__":null}', b'{"__metadata__":[]}', b'{"__metadata__":{}}'])
def test_m04_no_metadata(tmp_path: Path, header: bytes) -> None:
    assert "not a luce model" in refused(put(tmp_path / "m", seal(header, b"")))


ENTRY_FAULTS: list[tuple[object, str]] = [
    (entry("F64", [2**62, 4], 0, 8), "must be the place"),
    (entry("F64", [2**61 + 1], 0, 8), "must be the place"),
    (entry("F64", [2**63, 2**63], 0, 2**129), "cut short"),
    (entry("F64", [10**4000] * 30, 0, 8), "must be the place"),
    (entry("F64", [-1], 0, 8), "above zero"),
    (entry("F64", [-1, -1], 0, 8), "above zero"),
    (entry("F64", [0], 0, 0), "above zero"),
    (entry("F64", [1, 0], 0, 0), "above zero"),
    (entry("F64", [1.0], 0, 8), "above zero"),
    (entry("F64", [True], 0, 8), "above zero"),
    (entry("F64", ["1"], 0, 8), "above zero"),
    (entry("F64", [[1]], 0, 8), "above zero"),
    (entry("F64", 1, 0, 8), "above zero"),
    (entry("F64", {"0": 1}, 0, 8), "above zero"),
    (entry("F64", [1] * 33, 0, 8), "dimensions"),
    (entry("F64", [2], 0, 8), "must be the place"),
    (entry("F64", [1], 8, 16), "must be the place"),
    (entry("F64", [1], 8, 0), "must be the place"),
    (entry("F64", [1], -8, 0), "must be the place"),
    (entry("F64", [1], 0), "must be the place"),
    (entry("F64", [1], 0, 8, 8), "must be the place"),
    (entry("F64", [1], False, 8), "two whole"),
    (entry("F64", [1], 0.0, 8.0), "two whole"),
    ({"dtype": "F64", "shape": [1], "data_offsets": "08"}, "two whole"),
    (entry("F16", [4], 0, 8), "dtype must"),
    (entry("f64", [1], 0, 8), "dtype must"),
    (entry(["F64"], [1], 0, 8), "dtype must"),
    (entry(None, [1], 0, 8), "dtype must"),
    ({"dtype": "F64", "shape": [1]}, "has exactly"),
    ({**entry("F64", [1], 0, 8), "url": "http://x"}, "has exactly"),
    ([], "has exactly"),
    ("F64", "has exactly"),
]


@pytest.mark.parametrize(("value", "word"), ENTRY_FAULTS)
def test_m05_entry(tmp_path: Path, value: object, word: str) -> None:
    assert word in refused(put(tmp_path / "m", seal(header_of({"a": value}), bytes(8))))


@pytest.mark.parametrize(
    ("entries", "size", "word"),
    [
        ({"a": entry("F64", [1], 0, 8), "b": entry("F64", [1], 0, 8)}, 8, "must be the place"),
        ({"a": entry("F64", [2], 0, 16), "b": entry("F64", [1], 8, 16)}, 16, "must be the place"),
        ({"a": entry("F64", [1], 0, 8), "b": entry("F64", [1], 16, 24)}, 24, "must be the place"),
        ({"a": entry("F64", [1], 8, 16), "b": entry("F64", [1], 0, 8)}, 16, "must be the place"),
        ({"a": entry("U8", [1], 0, 1), "b": entry("F64", [1], 1, 9)}, 9, "must be the place"),
        ({"a": entry("F64", [1], 0, 8)}, 9, "last array: 1;"),
        ({"a": entry("F64", [1], 0, 8)}, 7, "cut short"),
        ({}, 1, "last array: 1;"),
    ],
    ids=["same place", "overlap", "gap", "order", "misaligned", "trailing", "short", "data of nobody"],
)
def test_m05_places(tmp_path: Path, entries: dict[str, object], size: int, word: str) -> None:
    assert word in refused(put(tmp_path / "m", seal(header_of(entries), bytes(size))))


def test_m05_archive_behind_the_arrays(path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x", "y")
    assert zipfile.is_zipfile(path)
    assert "behind the last array" in refused(path)


class Bomb:
    """What a pickle loader would run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.marker),))


def saved(save: Callable[[io.BytesIO, np.ndarray], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, np.ones(3))
    return buffer.getvalue()


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "zip": (zipped, "ZIP archive"),
    "npz": (lambda p: put(p, saved(np.savez)), "ZIP archive"),
    "npy": (lambda p: put(p, saved(np.save)), "NumPy"),
    "gzip": (lambda p: put(p, gzip.compress(bytes(50))), "gzip"),
    "bzip2": (lambda p: put(p, bz2.compress(bytes(50))), "bzip2"),
    "xz": (lambda p: put(p, lzma.compress(bytes(50))), "xz"),
    "zlib": (lambda p: put(p, zlib.compress(bytes(50))), "zlib"),
    "hdf5": (lambda p: put(p, b"\x89HDF\r\n\x1a\n" + bytes(50)), "HDF5"),
    "json": (lambda p: put(p, json.dumps({"learner": [1] * 20}).encode()), "JSON"),
    "safetensors": (lambda p: safetensors.numpy.save_file({"a": np.ones(3)}, p), "not a luce model"),
    "png": (lambda p: put(p, b"\x89PNG\r\n\x1a\n" + bytes(50)), "not a luce model"),
    "text": (lambda p: put(p, b"hello world, this is text\n"), "a text, not a luce model"),
    "table": (lambda p: put(p, "x,진단\n1,감기\n".encode()), "a text, not a luce model"),
    "zeros": (lambda p: put(p, bytes(4096)), "not a luce model"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_m06_foreign_file_is_named(tmp_path: Path, kind: str) -> None:
    make, word = FOREIGN[kind]
    make(tmp_path / "model.luce")
    assert word in refused(tmp_path / "model.luce")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_m06_pickle_is_never_run(tmp_path: Path, protocol: int) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "marker"), protocol)
    line = refused(put(tmp_path / "model.luce", bomb))
    assert ("pickle" if protocol >= 2 else "not a luce model") in line
    assert not (tmp_path / "marker").exists()
    pickle.loads(bomb)
    assert (tmp_path / "marker").exists()


def test_m06_header_length_that_looks_like_a_pickle(tmp_path: Path) -> None:
    # 0x0280 as a little-endian length starts with the bytes of a pickle of protocol 2.
    facts: dict[str, object] = {"luce_version": "1", "x": ""}
    write_container(tmp_path / "m", {}, facts)
    facts["x"] = "a" * (0x280 - int.from_bytes((tmp_path / "m").read_bytes()[:8], "little"))
    write_container(tmp_path / "m", {}, facts)
    assert (tmp_path / "m").read_bytes().startswith(b"\x80\x02")
    assert read_container(tmp_path / "m")[1] == facts


def test_m07_declared_size_beyond_the_file_costs_nothing(tmp_path: Path) -> None:
    put(tmp_path / "m", seal(header_of({"a": entry("F64", [2**40], 0, 2**43)}), bytes(8)))
    tracemalloc.start()
    line = refused(tmp_path / "m")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "cut short" in line
    # 1 MiB: the limit that the case itself states.
    assert peak < 1 << 20


def test_m07_no_memory_for_a_large_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(size: int) -> bytearray:
        raise MemoryError

    monkeypatch.setattr(container, "bytearray", full, raising=False)
    assert "no memory" in refused(path)


STRANGE = [
    "../../etc/passwd",
    "a\0b",
    "\x1b[31mred\x1b[0m",
    "<script>alert(1)</script>",
    "\u202eabc",
    "\n\r",
    "",
    '"',
    "\\",
]


@pytest.mark.parametrize("name", [*STRANGE, "n" * 2**20])
def test_m08_strange_names_are_inert(tmp_path: Path, name: str) -> None:
    arrays = {name: np.ones(2)}
    facts: dict[str, object] = {"luce_version": name[:1000], "classes": [name[:1000]], name[:1000]: 1}
    write_container(tmp_path / "m", arrays, facts)
    assert_same(read_container(tmp_path / "m"), arrays, facts)
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize("name", [*STRANGE, "n" * 2**20])
def test_m08_a_message_shows_strange_names_harmless(tmp_path: Path, name: str) -> None:
    assert "dtype" in refused(put(tmp_path / "m", seal(header_of({name: entry("X", [1], 0, 8)}), bytes(8))))
    newer = header_of({}, format_version="2", luce_version=name)
    assert "update luce" in refused(put(tmp_path / "m", seal(newer, b"")))


def test_m08_strange_path_in_a_message(tmp_path: Path) -> None:
    assert "missing\\x1b\\n" in refused(tmp_path / "missing\x1b\n")
    assert "not a possible file name" in refused("a\0b")
    assert "not a possible file name" in refused("a\ud800b")


def test_m08_too_long_to_save(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot name"):
        write_container(tmp_path / "m", {"n" * (2**20 + 1): np.ones(1)}, {"luce_version": "1"})
    with pytest.raises(InputError, match="limit"):
        write_container(tmp_path / "m", {}, {"luce_version": "1", "x": ["y" * 2**20]})
    with pytest.raises(LimitError, match="limit"):
        write_container(tmp_path / "m", {}, {"luce_version": "1", "x": ["y" * 2**19] * 129})
    assert os.listdir(tmp_path) == []


# --- the file changes while it is read -------------------------------------------------------------------------------


def after_first_fstat(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Run `action` when the loader has just learnt the size."""
    true_fstat, calls = os.fstat, []

    def fstat(fd: int) -> os.stat_result:
        result = true_fstat(fd)
        calls.append(fd)
        if len(calls) == 1:
            action()
        return result

    monkeypatch.setattr(container.os, "fstat", fstat)


def test_m09_truncated_while_loading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_first_fstat(monkeypatch, lambda: os.truncate(path, path.stat().st_size - 1))
    assert "shorter" in refused(path)


def test_m09_grown_while_loading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_first_fstat(monkeypatch, lambda: os.truncate(path, path.stat().st_size + 1))
    assert "changed" in refused(path)


def test_m09_rewritten_in_place_while_loading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_first_fstat(monkeypatch, lambda: os.utime(path, ns=(1, 1)))
    assert "changed" in refused(path)


def test_m09_replaced_while_loading_gives_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_container(path.with_name("new"), {}, {"luce_version": "2"})
    after_first_fstat(monkeypatch, lambda: os.replace(path.with_name("new"), path))
    assert_same(read_container(path), ARRAYS, FACTS)


def test_m09_loads_beside_saves_give_a_whole_file(tmp_path: Path) -> None:
    path, stop = tmp_path / "m", threading.Event()
    payloads = [({"w": np.full(5000 + 1000 * k, float(k))}, {"luce_version": str(k)}) for k in range(2)]
    write_container(path, *payloads[0])

    def save() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            write_container(path, *payloads[turn % 2])

    writers = [threading.Thread(target=save) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(200):
            arrays, facts = read_container(path)
            assert_same((arrays, facts), *payloads[int(str(facts["luce_version"]))])
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert os.listdir(tmp_path) == ["m"]


# --- not a file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "socket", "loop", "missing", "under a file", "empty"])
def test_m10_not_a_file(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    target = {"device": "/dev/zero", "under a file": "file/x"}.get(kind, "x")
    put(Path("file"), b"content")
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "folder":
        os.mkdir(target)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(target)
    elif kind == "loop":
        os.symlink("x", "x")
    elif kind == "empty":
        put(Path(target), b"")
    words = {
        "fifo": "a named pipe", "folder": "directory", "device": "a device", "socket": "cannot be read",
        "loop": "symbolic links", "missing": "No such file", "under a file": "Not a directory", "empty": "empty",
    }  # fmt: skip
    assert words[kind] in refused(target)
    if kind not in {"missing", "empty"}:
        with pytest.raises(ModelFileError) as caught:
            write_container(target, ARRAYS, FACTS)
        assert "not saved" in str(caught.value)
    assert Path("file").read_bytes() == b"content"
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def test_m10_no_permission(path: Path) -> None:
    path.chmod(0)
    path.parent.chmod(0o777)
    with as_nobody(path.parent):
        assert "Permission denied" in refused(path.name)


# --- versions and values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [FORMAT_VERSION + 1, 999_999_999])
def test_m11_newer_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(container, "_running_version", lambda: "1.2")
    header = header_of({}, format_version=str(number), new_key="of the future")
    line = refused(put(tmp_path / "m", seal(header, b"")))
    assert line.endswith(f"m: made by luce 9.8 (format {number}); this is luce 1.2 (format 1): update luce")


@pytest.mark.parametrize("text", ["", "0", "01", "1.0", " 1", "-1", "+1", "1\n", "\uff11", "1" * 5000])
def test_m11_version_that_is_no_number(tmp_path: Path, text: str) -> None:
    assert "is not a number" in refused(put(tmp_path / "m", seal(header_of({}, format_version=text), b"")))


def test_m11_running_version_is_text() -> None:
    assert re.fullmatch(r"\d+\.\d+.*|unknown", container._running_version())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_m12_not_finite(tmp_path: Path, dtype: type, value: float) -> None:
    array = np.array([[1.0, 2.0], [value, 4.0]], dtype)
    with pytest.raises(InputError, match=r"'a' is not finite at \[1, 0\] \(1 such in all\)"):
        write_container(tmp_path / "m", {"a": array}, FACTS)
    assert os.listdir(tmp_path) == []
    name = "F64" if dtype is np.float64 else "F32"
    header = header_of({"a": entry(name, [2, 2], 0, array.nbytes)})
    assert "'a' is not finite at [1, 0] (1 such in all)" in refused(put(tmp_path / "m", seal(header, array.tobytes())))


def test_m12_truth_value_of_two(tmp_path: Path) -> None:
    header = header_of({"a": entry("BOOL", [3], 0, 3)})
    assert "0 or 1" in refused(put(tmp_path / "m", seal(header, bytes([0, 1, 2]))))


@pytest.mark.parametrize(
    "array",
    [
        np.ones(2, np.float16), np.ones(2, np.longdouble), np.ones(2, complex), np.ones(2, np.int16),
        np.ones(2, np.uint64), np.array(["a"]), np.array([None]), np.array(["2020-01-01"], "M8[s]"),
        np.zeros(2, "f8,f8"), np.zeros(0), np.zeros((2, 0)), np.ma.array([1.0], mask=[True]), [1.0], 1.0, None,
    ],
)  # fmt: skip
def test_m12_array_that_a_file_cannot_hold(path: Path, array: Any) -> None:
    before = path.read_bytes()
    with pytest.raises(InputError, match="'a'") as caught:
        write_container(path, {"a": array}, FACTS)
    assert str(caught.value).isprintable()
    assert path.read_bytes() == before


def loop() -> dict[str, object]:
    facts: dict[str, object] = {"luce_version": "1"}
    facts["self"] = facts
    return facts


def nested(depth: int) -> object:
    value: object = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "facts",
    [
        {}, {"luce_version": 1}, {"luce_version": "1", "x": np.nan}, {"luce_version": "1", "x": [np.inf]},
        {"luce_version": "1", "x": object()}, {"luce_version": "1", "x": np.int64(1)}, {"luce_version": "1", 1: "x"},
        {"luce_version": "1", "x": {2: 3}}, {"luce_version": "1", "x": (1, 2)}, {"luce_version": "1", "x": "\ud800"},
        {"luce_version": "1", "x": b"x"}, {"luce_version": "1", "x": 10**5000}, loop(),
        {"luce_version": "1", "x": nested(64)}, {"luce_version": "1", "x": nested(100_000)},
    ],
    ids=range(15),
)  # fmt: skip
def test_m12_facts_that_a_file_cannot_hold(path: Path, facts: Any) -> None:
    before = path.read_bytes()
    with pytest.raises(InputError, match="facts") as caught:
        write_container(path, ARRAYS, facts)
    assert str(caught.value).isprintable()
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["__metadata__", 1, None, "\ud800"])
def test_m12_name_that_a_file_cannot_hold(tmp_path: Path, name: Any) -> None:
    with pytest.raises(InputError, match="cannot name an array"):
        write_container(tmp_path / "m", {name: np.ones(1)}, FACTS)
    assert os.listdir(tmp_path) == []


def test_limits_can_be_reached(tmp_path: Path) -> None:
    arrays = {"deep": np.ones((1,) * 32), "n" * 2**20: np.ones(1)}
    facts: dict[str, object] = {"luce_version": "1", "x": nested(63), "y": "y" * (2**20 - 2)}
    write_container(tmp_path / "m", arrays, facts)
    assert_same(read_container(tmp_path / "m"), arrays, facts)


# --- saving; test_atomic_file.py has the other faults of a disk ------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "call"), [("open", 0), ("open", 1), ("fsync", 0), ("replace", 0), ("write", 0), ("write", 6)]
)
def test_m16_a_failing_call_leaves_the_old_model(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    with monkeypatch.context() as patch:
        calls = failing(patch, name, errno.ENOSPC, call)
        with pytest.raises(ModelFileError) as caught:
            write_container(path, {"w": np.ones(3)} | ARRAYS, FACTS)
    assert calls[0] > call
    assert str(caught.value).startswith(f"{path}: not saved")
    assert os.strerror(errno.ENOSPC) in str(caught.value)
    assert_same(read_container(path), ARRAYS, FACTS)
    assert os.listdir(path.parent) == [path.name]


def test_m18_read_only_model_is_not_replaced(path: Path) -> None:
    path.chmod(0o444)
    with pytest.raises(ModelFileError, match="read-only"):
        write_container(path, {}, {"luce_version": "2"})
    assert_same(read_container(path), ARRAYS, FACTS)
