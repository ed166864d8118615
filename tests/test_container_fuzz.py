"""Anything at all in a model file: either the one error, or a file that is exactly what the writer makes of it."""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

import hypothesis.extra.numpy as hnp
import pytest
from container_bytes import ZERO_FIELD, Arrays, assert_same, entry, header_of, put, refused, seal
from hypothesis import given, settings
from hypothesis import strategies as st

from luce.container import read_container, write_container
from luce.errors import ModelFileError

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "m"


def check_any(scratch: Path, content: bytes) -> None:
    """Either the one error, or a file that is exactly what the writer makes of what was read."""
    put(scratch, content)
    try:
        loaded = read_container(scratch)
    except ModelFileError:
        refused(scratch)
        return
    write_container(scratch, *loaded)
    assert scratch.read_bytes() == content


def reseal(content: bytes) -> bytes:
    zeroed = re.sub(rb'"sha256":"[0-9a-f]{64}"', ZERO_FIELD, content, count=1)
    return zeroed.replace(ZERO_FIELD, b'"sha256":"' + hashlib.sha256(zeroed).hexdigest().encode() + b'"', 1)


VALID = seal(
    header_of(
        {"a": entry("F64", [2], 0, 16), "b": entry("BOOL", [1, 2], 16, 18)}, '{"luce_version":"9.8","x":[1,-0.5]}'
    ),
    struct.pack("<dd??", 1.0, -2.5, True, False),
)

TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b" ",
    b"\0",
    b"\xff",
    b"0",
    b"9",
    b"-1",
    b"1e9",
    b"null",
    b"[1]",
]

EDITS = st.lists(
    st.tuples(
        st.integers(0, len(VALID)),
        st.integers(0, 8),
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=3), st.just(b"")),
    ),
    min_size=1,
    max_size=3,
)


def edited(edits: list[tuple[int, int, bytes]]) -> bytes:
    content = VALID
    for at, removed, new in edits:
        content = content[:at] + new + content[at + removed :]
    return content


@settings(max_examples=400, deadline=None)
@given(edits=EDITS, sealed=st.booleans(), fit=st.booleans())
def test_edited_file(scratch: Path, edits: list[tuple[int, int, bytes]], sealed: bool, fit: bool) -> None:
    content = edited(edits)
    if fit:  # let the length field follow, so that the checks behind it are reached
        grown = len(content) - len(VALID)
        content = struct.pack("<Q", max(0, struct.unpack("<Q", VALID[:8])[0] + grown)) + content[8:]
    check_any(scratch, reseal(content) if sealed else content)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 17), byte=st.integers(0, 255))
def test_other_values_under_a_true_checksum(scratch: Path, at: int, byte: int) -> None:
    content = bytearray(VALID)
    content[len(VALID) - 18 + at] = byte
    check_any(scratch, reseal(bytes(content)))


SHAPES = st.lists(st.one_of(st.integers(-2, 9), st.sampled_from([2**31, 2**62, 2**63]), st.booleans(), st.floats()))

OFFSETS = st.lists(st.one_of(st.integers(-8, 40), st.sampled_from([2**63, 2**64 - 8])), min_size=1, max_size=3)

ENTRIES = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F64", "F32", "U8", "BOOL", "F16", ""]), "shape": SHAPES, "data_offsets": OFFSETS}
)


@settings(max_examples=200, deadline=None)
@given(entries=st.dictionaries(st.text(max_size=3), ENTRIES, max_size=3), data=st.binary(max_size=40))
def test_random_entries_under_a_true_checksum(scratch: Path, entries: dict[str, object], data: bytes) -> None:
    check_any(scratch, seal(header_of(entries), data))


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300), length=st.one_of(st.none(), st.integers(0, 300)))
def test_random_bytes(scratch: Path, content: bytes, length: int | None) -> None:
    if length is not None:
        content = struct.pack("<Q", length) + b"{" + content
    with pytest.raises(ModelFileError):
        read_container(put(scratch, content))


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=10,
)

ANY_ARRAY = st.one_of(
    hnp.floating_dtypes(sizes=(32, 64), endianness="?"), hnp.integer_dtypes(sizes=(32, 64), endianness="?"),
    hnp.unsigned_integer_dtypes(sizes=(8,)), hnp.boolean_dtypes(),
).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=4, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None,
    )
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    arrays=st.dictionaries(st.text(max_size=4), ANY_ARRAY, max_size=4),
    facts=st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=4),
    turn=st.booleans(),
)
def test_round_trip(scratch: Path, arrays: Arrays, facts: dict[str, object], turn: bool) -> None:
    facts["luce_version"] = "0.1"
    if turn:
        arrays = {name: array.T for name, array in arrays.items()}
    write_container(scratch, arrays, facts)
    assert_same(read_container(scratch), arrays, facts)
    first = scratch.read_bytes()
    write_container(scratch, *read_container(scratch))
    assert scratch.read_bytes() == first
