"""The bytes of a model file: a header length, a JSON header, raw arrays; checked whole before a byte is believed.

The layout is that of safetensors (https://github.com/huggingface/safetensors, format section), made stricter: one set
of arrays and facts has exactly one spelling, and a SHA-256 covers every byte of it. See docs/model-file.md.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import math
import os
import re
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from typing import Any

import numpy as np
import numpy.typing as npt

from luce.atomic_file import kind_of, possible_name, reason_of, replace_file
from luce.errors import FileError, InputError, LimitError, ModelFileError, inert

FORMAT_VERSION = 1

_MAX_HEADER = 64 << 20
_MAX_STRING = 1 << 20
_MAX_DEPTH = 64
_MAX_DIMENSIONS = 32

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("|u1"),
    "BOOL": np.dtype("|b1"),
}
_DTYPE_NAMES = {dtype.str: name for name, dtype in _DTYPES.items()}

_METADATA = "__metadata__"
_METADATA_KEYS = {"format", "format_version", "luce_version", "facts", "sha256"}
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}
_NO_DIGEST = "0" * 64

# The closing quote is optional and nothing backtracks, so that hostile text is scanned once.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{[}]")

_MAGIC = (
    (b"PK", "a ZIP archive (perhaps a PyTorch, Keras or NumPy file)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89HDF", "an HDF5 file (perhaps a Keras model)"),
    (b"\x93NUMPY", "a NumPy array file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x04\x22\x4d\x18", "an LZ4 file"),
    *((b"\x78" + level, "a zlib stream (perhaps a joblib file)") for level in (b"\x01", b"\x5e", b"\x9c", b"\xda")),
    (b"GGUF", "a GGUF file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x80", "a Python pickle (perhaps a joblib or PyTorch file)"),
    (b"{", "a JSON text"),
)


class _FaultError(Exception):
    """What is wrong with a file; the public functions add its path."""


@dataclass(frozen=True, slots=True)
class _Spec:
    """What the header says of one array, without its place."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_container(
    path: str | os.PathLike[str], arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, object]
) -> None:
    """Save arrays and JSON facts as one file, whole or not at all: temporary file, flush, rename.

    arrays: float64, float32, int64, int32, uint8 or bool of any shape without a zero, every float finite.
    facts: what JSON holds (string keys, lists, no tuple); `facts["luce_version"]` is required text.
    The same arrays and facts give the same bytes. A symbolic link is followed: the file it names is replaced. A
    replaced file keeps its mode, owner and group, or the save is refused.
    Raises InputError (LimitError) before the disk is touched; ModelFileError when the file cannot be written.
    """
    chunks = _encode(arrays, facts)
    try:
        replace_file(path, chunks)
    except FileError as error:
        raise ModelFileError(str(error)) from error


def read_container(path: str | os.PathLike[str]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, object]]:
    """Load (arrays, facts) from a file that `write_container` made; the arrays are read-only, every float is finite.

    Sizes, offsets, names, versions and the SHA-256 are checked first; nothing in the file is ever run.
    Raises ModelFileError for a file that is broken, foreign, unreadable, or of a newer format.
    """
    shown = inert(os.fsdecode(path), 4096)
    try:
        with open(possible_name(path), "rb", buffering=0, opener=_open_without_waiting) as file:
            return _decode(file)
    except FileError as error:
        raise ModelFileError(str(error)) from None
    except _FaultError as fault:
        raise ModelFileError(f"{shown}: {fault}") from None
    except OSError as error:
        raise ModelFileError(f"{shown}: cannot be read: {reason_of(error)}") from error


# ---- what both directions share


def _layout(specs: Mapping[str, _Spec]) -> dict[str, tuple[int, int]]:
    """Where each array lies: wide elements first, then by name, so that all are aligned and nothing is between them."""
    places, at = {}, 0
    for name in sorted(specs, key=lambda name: (-specs[name].dtype.itemsize, name)):
        places[name] = (at, at + specs[name].nbytes)
        at += specs[name].nbytes
    return places


def _canonical(value: object) -> str:
    """The one spelling of a JSON value that this format knows."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _digest_field(digest: str) -> bytes:
    """The SHA-256 as it stands in the header; quotes inside strings are escaped, so no string can imitate it."""
    return f'"sha256":"{digest}"'.encode()


def _check_depth(text: str, what: str) -> None:
    """Count the brackets outside strings, because a parser would recurse on them."""
    brackets = _STRING.sub("", text).encode().translate(_STEPS, _NOT_BRACKETS)
    depth = np.cumsum(np.frombuffer(brackets, np.int8), dtype=np.int32).max(initial=0)
    if depth > _MAX_DEPTH:
        raise _FaultError(f"{what} nests {depth} deep, the limit is {_MAX_DEPTH}")


def _check_strings(text: str, what: str) -> None:
    """Refuse a JSON text with a string over 1 MiB, counted in characters as written."""
    if len(text) <= _MAX_STRING:
        return
    longest = max((match.end() - match.start() for match in _STRING.finditer(text)), default=0)
    if longest > _MAX_STRING:
        raise _FaultError(f"{what} hold a string of {longest} characters, the limit is {_MAX_STRING}")


def _check_finite(name: str, array: npt.NDArray[Any]) -> None:
    if array.dtype.kind != "f":
        return
    finite = np.isfinite(array)
    if not finite.all():
        where = np.argwhere(~finite)
        raise _FaultError(f"array {_quoted(name)} is not finite at {where[0].tolist()} ({len(where)} such in all)")


def _quoted(text: str) -> str:
    return f"'{inert(text, 80)}'"


# ---- writing


def _encode(arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, object]) -> list[bytes | memoryview]:
    try:
        specs = {name: _spec_of(name, array) for name, array in arrays.items()}
        metadata = _metadata(facts)
    except _FaultError as fault:
        raise InputError(f"model not saved: {fault}") from fault.__cause__
    places = _layout(specs)
    data = [_bytes_of(arrays[name], specs[name]) for name in places]
    header = _header(specs, places, metadata)
    digest = hashlib.sha256(header)
    for chunk in data:
        digest.update(chunk)
    return [header.replace(_digest_field(_NO_DIGEST), _digest_field(digest.hexdigest())), *data]


def _spec_of(name: str, array: npt.NDArray[Any]) -> _Spec:
    _check_name(name)
    # A masked array would lose its mask without a word.
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise _FaultError(f"array {_quoted(name)} is a {type(array).__name__}, not a NumPy array")
    dtype = array.dtype.newbyteorder("<")
    if dtype.str not in _DTYPE_NAMES:
        raise _FaultError(f"array {_quoted(name)} has dtype {array.dtype}; a model file holds {', '.join(_DTYPES)}")
    if 0 in array.shape or array.ndim > _MAX_DIMENSIONS:
        raise _FaultError(f"array {_quoted(name)} has shape {array.shape}; a model file holds no empty array")
    _check_finite(name, array)
    return _Spec(dtype, array.shape)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or name == _METADATA or len(name) > _MAX_STRING:
        raise _FaultError(f"{_quoted(str(name))} cannot name an array: text up to {_MAX_STRING} characters is needed")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise _FaultError(f"{_quoted(name)} cannot name an array: it is not valid Unicode") from error


def _metadata(facts: Mapping[str, object]) -> dict[str, str]:
    made_by = facts.get("luce_version")
    if not isinstance(made_by, str):
        raise _FaultError("facts['luce_version'] must be the text of the version that saves")
    return {
        "format": "luce",
        "format_version": str(FORMAT_VERSION),
        "luce_version": made_by,
        "facts": _facts_text(dict(facts)),
        "sha256": _NO_DIGEST,
    }


def _facts_text(facts: dict[str, object]) -> str:
    try:
        text = _canonical(facts)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _FaultError(f"the facts cannot be written as JSON: {inert(str(error), 200)}") from error
    _check_depth(text, "the JSON of the facts")
    _check_strings(text, "the facts")
    if json.loads(text) != facts:
        raise _FaultError("the facts would not come back equal: keys must be text, and sequences lists")
    return text


def _header(specs: Mapping[str, _Spec], places: Mapping[str, tuple[int, int]], metadata: dict[str, str]) -> bytes:
    """The length and the JSON, padded so that the arrays start on a multiple of 8."""
    header: dict[str, object] = {_METADATA: metadata}
    for name, spec in specs.items():
        dtype = _DTYPE_NAMES[spec.dtype.str]
        header[name] = {"dtype": dtype, "shape": spec.shape, "data_offsets": places[name]}
    text = _canonical(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise LimitError(f"model not saved: its header takes {len(text)} bytes, the limit is {_MAX_HEADER}")
    return struct.pack("<Q", len(text)) + text


def _bytes_of(array: npt.NDArray[Any], spec: _Spec) -> memoryview:
    return np.ascontiguousarray(array, dtype=spec.dtype).reshape(-1).view(np.uint8).data


# ---- reading


def _open_without_waiting(name: str, flags: int) -> int:
    """A named pipe or a terminal must be refused at once, not waited for."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _decode(file: FileIO) -> tuple[dict[str, npt.NDArray[Any]], dict[str, object]]:
    before = os.fstat(file.fileno())
    if not stat.S_ISREG(before.st_mode):
        raise _FaultError(f"this is {kind_of(before.st_mode)}, not a file")
    raw_header = _read_header(file, before.st_size)
    header, text = _parse_header(raw_header[8:])
    metadata = _check_metadata(header.get(_METADATA))
    _check_spelling(header, text, "the header")
    entries = {name: entry for name, entry in header.items() if name != _METADATA}
    specs, places = _check_entries(entries, before.st_size - len(raw_header))
    data = _read_exactly(file, before.st_size - len(raw_header))
    _check_unchanged(file, before)
    _check_digest(raw_header, data, metadata["sha256"])
    arrays = {name: _view(name, data, spec, places[name][0]) for name, spec in specs.items()}
    return arrays, _parse_facts(metadata)


def _read_header(file: FileIO, size: int) -> bytes:
    """The length field and the header it announces, refused by magic bytes and by length before they are read."""
    if size == 0:
        raise _FaultError("this file is empty")
    head = bytes(_read_exactly(file, min(size, 16)))
    if size < 10:
        raise _FaultError(f"this file has only {size} bytes; it is cut short, or not a luce model")
    length = int.from_bytes(head[:8], "little")
    if not 0 < length <= _MAX_HEADER or head[8:9] != b"{":
        raise _FaultError(_foreign(head, length))
    if length > size - 8:
        raise _FaultError(f"the header should have {length} bytes, but {size - 8} are there; the file is cut short")
    return head[: 8 + length] + bytes(_read_exactly(file, max(0, 8 + length - len(head))))


def _is_text(head: bytes) -> bool:
    """Whether a file that begins so may be UTF-8 without control characters but blanks and ends of lines."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may go on
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\t\r\n\ufeff" for letter in text)


def _foreign(head: bytes, length: int) -> str:
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return f"this is {what}, not a luce model; luce reads no other format"
    if _is_text(head):
        return "this is a text, not a luce model; give the file that `luce train` wrote, and the data after it"
    if not 0 < length <= _MAX_HEADER:
        return f"this is not a luce model: header length {length} is not between 1 and {_MAX_HEADER}"
    return "this is not a luce model: its header is not JSON"


def _read_exactly(file: FileIO, size: int) -> memoryview:
    """A read-only view of the next `size` bytes, which the file's own size has already vouched for."""
    try:
        buffer = bytearray(size)
    except MemoryError:
        raise _FaultError(f"there is no memory for its {size} bytes") from None
    rest = memoryview(buffer)
    while len(rest):
        count = file.readinto(rest)
        if not count:
            raise _FaultError("the file became shorter while it was read; load it again")
        rest = rest[count:]
    return memoryview(buffer).toreadonly()


def _check_unchanged(file: FileIO, before: os.stat_result) -> None:
    after = os.fstat(file.fileno())
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise _FaultError("the file was changed while it was read; load it again")


def _parse_header(raw: bytes) -> tuple[dict[str, object], str]:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _FaultError(f"the header is not UTF-8 at byte {8 + error.start}") from None
    stripped = text.rstrip(" ")
    if len(raw) % 8 or len(text) - len(stripped) >= 8:
        raise _FaultError("the header is not padded to a multiple of 8 bytes")
    return _parse_json(stripped, "the header"), stripped


def _parse_json(text: str, what: str) -> dict[str, object]:
    _check_depth(text, what)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except ValueError as error:
        raise _FaultError(f"{what}: not valid JSON: {inert(str(error), 200)}") from None
    if not isinstance(value, dict):
        raise _FaultError(f"{what}: not a JSON object")
    return value


def _check_spelling(value: object, text: str, what: str) -> None:
    """Refuse every JSON text but the canonical one; a lone surrogate or a number beyond float64 has none."""
    with suppress(ValueError):
        if _canonical(value) == text:
            return
    raise _FaultError(f"{what}: not spelled as luce spells JSON (sorted keys, no spaces, plain UTF-8)")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _FaultError("a key appears twice in one JSON object")
    return value


def _refuse_constant(text: str) -> object:
    raise _FaultError(f"{text} is not a JSON number")


def _check_metadata(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or metadata.get("format") != "luce":
        raise _FaultError("this is a safetensors file, but not a luce model")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise _FaultError("the metadata hold something other than text")
    _check_version(metadata)
    if set(metadata) != _METADATA_KEYS:
        raise _FaultError(f"the metadata must be {', '.join(sorted(_METADATA_KEYS))}")
    return metadata


def _check_version(metadata: dict[str, str]) -> None:
    text = metadata.get("format_version", "")
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise _FaultError(f"format version {_quoted(text)} is not a number")
    if int(text) > FORMAT_VERSION:
        made_by = inert(metadata.get("luce_version", "unknown"), 40)
        raise _FaultError(
            f"made by luce {made_by} (format {text}); this is luce {_running_version()} (format {FORMAT_VERSION}): "
            "update luce"
        )


def _running_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 20 ms that `import luce` need not wait for

    try:
        return version("luce")
    except PackageNotFoundError:
        return "unknown"


def _check_entries(entries: dict[str, object], size: int) -> tuple[dict[str, _Spec], dict[str, tuple[int, int]]]:
    """Compare every stated place with the only layout there is: no overlap, no gap, no bytes before or behind."""
    specs, stated = {}, {}
    for name, entry in entries.items():
        specs[name], stated[name] = _entry(name, entry)
    places = _layout(specs)
    for name, place in places.items():
        if stated[name] != list(place):
            raise _FaultError(
                f"array {_quoted(name)}: data_offsets must be the place that dtypes, shapes and names give it "
                "(no gap, no overlap, wide elements first)"
            )
    needed = sum(spec.nbytes for spec in specs.values())
    if needed > size:
        raise _FaultError(f"the header announces more array bytes than the {size} in the file; it is cut short")
    if needed < size:
        raise _FaultError(f"bytes behind the last array: {size - needed}; they do not belong to a luce model")
    return specs, places


def _entry(name: str, entry: object) -> tuple[_Spec, object]:
    if len(name) > _MAX_STRING:
        raise _FaultError(f"an array name has {len(name)} characters, the limit is {_MAX_STRING}")
    if not isinstance(entry, dict) or set(entry) != _ENTRY_KEYS:
        raise _FaultError(f"array {_quoted(name)}: an entry has exactly dtype, shape and data_offsets")
    dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _FaultError(f"array {_quoted(name)}: dtype must be one of {', '.join(_DTYPES)}")
    # type(), because true and 1.0 equal 1.
    if not isinstance(shape, list) or not all(type(length) is int and length > 0 for length in shape):
        raise _FaultError(f"array {_quoted(name)}: shape must be a list of whole numbers above zero")
    if len(shape) > _MAX_DIMENSIONS:
        raise _FaultError(f"array {_quoted(name)}: {len(shape)} dimensions, the limit is {_MAX_DIMENSIONS}")
    if not isinstance(place, list) or not all(type(offset) is int for offset in place):
        raise _FaultError(f"array {_quoted(name)}: data_offsets must be two whole numbers")
    return _Spec(_DTYPES[dtype], tuple(shape)), place


def _check_digest(raw_header: bytes, data: memoryview, digest: str) -> None:
    found = hashlib.sha256(raw_header.replace(_digest_field(digest), _digest_field(_NO_DIGEST)))
    found.update(data)
    if found.hexdigest() != digest:
        raise _FaultError("the SHA-256 does not match: the file is damaged; copy or save it again")


def _view(name: str, data: memoryview, spec: _Spec, begin: int) -> npt.NDArray[Any]:
    flat = np.frombuffer(data, spec.dtype, math.prod(spec.shape), begin)
    if spec.dtype.kind == "b" and flat.view(np.uint8).max() > 1:
        raise _FaultError(f"array {_quoted(name)}: a truth value must be 0 or 1")
    array = flat.reshape(spec.shape)
    _check_finite(name, array)
    return array


def _parse_facts(metadata: dict[str, str]) -> dict[str, object]:
    _check_strings(metadata["facts"], "the facts")
    facts = _parse_json(metadata["facts"], "the facts")
    _check_spelling(facts, metadata["facts"], "the facts")
    if facts.get("luce_version") != metadata["luce_version"]:
        raise _FaultError("the facts and the metadata name different luce versions")
    return facts
