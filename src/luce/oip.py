"""The Open Inference Protocol, version 2, over HTTP: tensors in and out, one row of a table an index.

Source: https://github.com/kserve/open-inference-protocol (rest_predict_v2), with the binary tensors of Triton's
extension_binary_data on the way in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from luce.answers import (
    Asked,
    Limits,
    Reader,
    RefusedError,
    check_json,
    check_rows,
    finite,
    pixels_in,
    reader_of,
    told,
)
from luce.errors import inert
from luce.hosting import Hosted

NUMPY = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
NUMBERS = frozenset(NUMPY)
TEXT = frozenset({"BYTES"})
OF_KIND = {
    "number": NUMBERS, "boolean": frozenset({"BOOL", "BYTES"}), "image": frozenset({"UINT8", "BYTES"}),
    "embedding": frozenset({"FP16", "FP32", "FP64"}),
}  # fmt: skip
PREFERRED = {"number": "FP64", "boolean": "BOOL", "image": "BYTES", "embedding": "FP32"}

_encode = msgspec.json.Encoder().encode


class Tensor(msgspec.Struct):
    """A column: shape [rows] or [rows, 1], [rows, height, width, channels] for pixels, [rows, width] for embeddings."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] = {}


class Wanted(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] | None = None


class Output(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferResponse(msgspec.Struct, omit_defaults=True):
    model_name: str
    outputs: list[Output]
    id: str | None = None


_request = msgspec.json.Decoder(InferRequest)


def metadata(hosted: Hosted) -> dict[str, Any]:
    """What a model takes and gives."""
    reader = reader_of(hosted)
    shapes = {name: [-1, width] for name, width in reader.widths.items()}
    return {
        "name": hosted.name,
        "versions": [],
        "platform": "luce",
        "inputs": [
            {"name": c.name, "datatype": PREFERRED.get(c.kind, "BYTES"), "shape": shapes.get(c.name, [-1])}
            for c in reader.columns
        ],
        "outputs": [
            {"name": "answer", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(hosted.classes)]},
        ],
    }


class Inference:
    """One request of the protocol: `read` gives what is asked, `write` its answer."""

    def __init__(self, hosted: Hosted, reader: Reader, header: int | None) -> None:
        self.hosted, self.reader, self.header = hosted, reader, header
        self.request: InferRequest | None = None

    def read(self, body: bytes, limits: Limits) -> Asked:
        cut = len(body) if self.header is None else self.header
        if cut > len(body):
            raise RefusedError(400, "Inference-Header-Content-Length is beyond the end of the body")
        check_json(body[:cut], limits)
        try:
            self.request = _request.decode(body[:cut])
        except msgspec.ValidationError as error:
            raise RefusedError(422, *told(error)) from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise RefusedError(400, "the body is no JSON that is read here") from None
        names = [each.name for each in self.request.outputs or ()]
        if wrong := set(names) - {"answer", "probabilities"}:
            raise RefusedError(
                422, f"there is no output {inert(min(wrong))!r}: answer and probabilities are", "outputs"
            )
        cells: dict[str, Any] = {}
        at = cut
        kinds = {column.name: column.kind for column in self.reader.columns}
        rows = self.request.inputs[0].shape[0] if self.request.inputs and self.request.inputs[0].shape else 0
        check_rows(rows, limits)
        for i, tensor in enumerate(self.request.inputs):
            where = f"inputs[{i}]"
            if tensor.name in self.reader.others:
                kind = "text"
            elif tensor.name not in kinds or tensor.name in cells:
                raise RefusedError(422, f"{inert(tensor.name)!r} is no column of the model, or comes twice", where)
            else:
                kind = kinds[tensor.name]
            values, at = _values(tensor, kind, rows, body, at, where, self.reader.widths.get(tensor.name))
            cells[tensor.name] = pixels_in(self.hosted, tensor.name, values) if _encoded(kind, values) else values
        if at != len(body):
            raise RefusedError(400, "the body is longer than its tensors")
        for name in self.reader.widths:
            if name not in cells:
                raise RefusedError(422, f"there is no tensor {inert(name)!r}, of the embeddings: give it", "inputs")
        cells = {name: cells.get(name, [None] * rows) for name in self.reader.names}
        self.reader.check_missing(cells)
        return Asked(rows, cells)

    def write(self, asked: Asked, p: NDArray[np.float64]) -> bytes:
        assert self.request is not None
        if not np.isfinite(p).all():
            raise RefusedError(422, "the model gives no finite probability for a row")
        rows, classes = p.shape
        every = {
            "answer": lambda: Output("answer", [rows], "BYTES", [str(a) for a in self.hosted.answers(p)]),
            "probabilities": lambda: Output("probabilities", [rows, classes], "FP64", p.reshape(-1).tolist()),
        }
        names = [each.name for each in self.request.outputs or ()] or list(every)
        return _encode(InferResponse(self.hosted.name, [every[name]() for name in names], self.request.id))


def _encoded(kind: str, values: Any) -> bool:
    return kind == "image" and isinstance(values, list)


def _values(
    tensor: Tensor, kind: str, rows: int, body: bytes, at: int, where: str, width: int | None
) -> tuple[Any, int]:
    """The cells of a tensor, and where the next one begins in the binary part; width: of an embedding."""
    allowed = OF_KIND.get(kind, TEXT)
    if tensor.datatype not in allowed:
        shown = ", ".join(sorted(allowed))
        raise RefusedError(
            422, f"a column of kind {kind} takes {shown}, not {inert(tensor.datatype)!r}", f"{where}.datatype"
        )
    pixels = tensor.datatype == "UINT8" and kind == "image"
    shape = tensor.shape
    count = int(np.prod(shape, dtype=np.float64)) if all(0 < side < 1 << 31 for side in shape) else 0
    fits = shape == [rows, width] if width else len(shape) in (3, 4) if pixels else count == rows
    if not shape or shape[0] != rows or not fits:
        wide = f" with {width:,} numbers each" if width else ""
        what = f"the shape {shape[:8]} does not fit {rows} rows of kind {kind}{wide}"
        raise RefusedError(422, what, f"{where}.shape")
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        values = _from_json(tensor, count, where)
    else:
        if type(size) is not int or not 0 <= size <= len(body) - at:
            raise RefusedError(400, "binary_data_size is beyond the end of the body", f"{where}.parameters")
        values, at = _from_bytes(tensor.datatype, body[at : at + size], count, where), at + size
    if width:
        return _vectors(values, tensor.datatype, shape, where), at
    if pixels:
        return np.array(values, dtype=np.uint8).reshape(shape if len(shape) == 4 else (*shape, 1)), at
    if kind == "number":
        return [None if isinstance(v, float) and v != v else v for v in values], at
    return values, at


def _vectors(values: list[Any], datatype: str, shape: list[int], where: str) -> NDArray[Any]:
    """Embeddings in the type that they came in."""
    if None in values:
        raise RefusedError(422, "an embedding has no missing cells", f"{where}.data")
    return finite(values, f"{where}.data", NUMPY[datatype]).reshape(shape)


def _from_json(tensor: Tensor, count: int, where: str) -> list[Any]:
    data = tensor.data
    while isinstance(data, list) and data and isinstance(data[0], list):  # nested rows are as good as flat ones
        if not all(isinstance(each, list) for each in data):
            raise RefusedError(422, "its rows are of different depths", f"{where}.data")
        data = [cell for row in data for cell in row]
    kinds: Any = {"BYTES": (str,), "BOOL": (bool,)}.get(tensor.datatype, (int, float))
    if not isinstance(data, list) or len(data) != count:
        raise RefusedError(422, f"data has not the {count:,} cells of its shape", f"{where}.data")
    for i, cell in enumerate(data):
        if cell is not None and (not isinstance(cell, kinds) or (kinds != (bool,) and isinstance(cell, bool))):
            raise RefusedError(422, f"a cell of {tensor.datatype} is no {type(cell).__name__}", f"{where}.data[{i}]")
    if tensor.datatype == "UINT8" and not all(type(cell) is int and 0 <= cell <= 255 for cell in data):
        raise RefusedError(422, "a cell of UINT8 is a whole number from 0 to 255", f"{where}.data")
    return data


def _from_bytes(datatype: str, data: bytes, count: int, where: str) -> list[Any]:
    if datatype == "BYTES":
        return _texts(data, count, where)
    dtype = np.dtype(NUMPY[datatype])
    if len(data) != count * dtype.itemsize:
        raise RefusedError(422, f"{len(data):,} bytes are not {count:,} cells of {datatype}", where)
    return list(np.frombuffer(data, dtype=dtype).tolist())


def _texts(data: bytes, count: int, where: str) -> list[str]:
    """Each behind its length in four bytes."""
    out: list[str] = []
    at = 0
    while at + 4 <= len(data) and len(out) < count:
        size = int.from_bytes(data[at : at + 4], "little")
        out.append(_utf8(data[at + 4 : at + 4 + size], where))
        at += 4 + size
    if at != len(data) or len(out) != count:
        raise RefusedError(422, f"the bytes are not {count:,} texts, each behind its length", where)
    return out


def _utf8(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RefusedError(422, "a text is not valid UTF-8", where) from None


def header_length(given: Sequence[str]) -> int | None:
    """Of Inference-Header-Content-Length: where the JSON ends and binary tensors begin."""
    if not given:
        return None
    if len(given) > 1 or not given[0].isascii() or not given[0].isdigit() or len(given[0]) > 12:
        raise RefusedError(400, "Inference-Header-Content-Length is no number")
    return int(given[0])
