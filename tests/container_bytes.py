"""Helpers for the tests of model files: the bytes of a container, written from docs/model-file.md alone."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from luce.container import read_container
from luce.errors import ModelFileError

Arrays = dict[str, np.ndarray]

FACTS: dict[str, object] = {
    "luce_version": "0.1.0",
    "classes": ["setosa", "붓꽃", "<b>\x1b[31m"],
    "penalty": 0.1,
    "steps": 12,
    "nested": {"a": [True, None, -0.0, 1e-300]},
}

ARRAYS: Arrays = {
    "weights": np.arange(12.0).reshape(3, 4) / 7 - 1,
    "scale": np.array([0.5, -0.0], np.float32),
    "codes": np.array([[2**62, -(2**63)]]),
    "small": np.array([-(2**31)], np.int32),
    "bytes": np.arange(3, dtype=np.uint8),
    "flag": np.array(True),
}

ZERO_FIELD = b'"sha256":"' + b"0" * 64 + b'"'


def assert_same(loaded: tuple[Arrays, dict[str, object]], arrays: Arrays, facts: dict[str, object]) -> None:
    assert loaded[1] == facts
    assert loaded[0].keys() == arrays.keys()
    for name, array in arrays.items():
        found = loaded[0][name]
        assert found.shape == array.shape
        assert found.dtype == array.dtype.newbyteorder("=")
        assert found.tobytes() == array.astype(found.dtype).tobytes()


def refused(path: Path | str) -> str:
    """The line of the ModelFileError that loading must raise; it names the path and is fit for a terminal."""
    with pytest.raises(ModelFileError) as caught:
        read_container(path)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 1000
    return line


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def entry(dtype: object, shape: object, *offsets: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def header_of(entries: dict[str, object], facts: str = '{"luce_version":"9.8"}', **changes: object) -> bytes:
    metadata = {
        "format": "luce",
        "format_version": "1",
        "luce_version": "9.8",
        "facts": facts,
        "sha256": "0" * 64,
        **changes,
    }
    return canonical({"__metadata__": metadata, **entries})


def seal(header: bytes, data: bytes, pad: bool = True) -> bytes:
    """A file with a true checksum, whatever else is wrong with it; written from docs/model-file.md alone."""
    header += b" " * (-len(header) % 8 if pad else 0)
    whole = struct.pack("<Q", len(header)) + header + data
    digest = hashlib.sha256(whole).hexdigest().encode()
    return whole.replace(ZERO_FIELD, b'"sha256":"' + digest + b'"')


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
