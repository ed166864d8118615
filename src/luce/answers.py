"""Answers: the body of a request becomes rows, rows become probabilities, and these the body of an answer."""

from __future__ import annotations

import base64
import binascii
import difflib
import io
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from luce.cells import EXACT, image_series, nfc, shown
from luce.check import UNREAD
from luce.errors import LuceError, inert
from luce.explain import Explanation
from luce.hosting import SOURCE, Hosted
from luce.images import read_images
from luce.inputs import LARGEST, first_beyond
from luce.json_lines import distinct_keys, refuse_constant
from luce.reader import read_csv
from luce.table import Table
from luce.text_lines import Source, blocks

PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|bmp|webp|tiff);base64,", re.IGNORECASE)
TOO_MANY = "too many requests are being answered: try again soon"
MOST_EXPLAINED = 100  # rows that are explained at once
_PLACE = re.compile(r"rows, row (\d+), column ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Limits:
    """What one request may bring, and how long it may take; all limits of the service stand here.

    Bytes: body, header. Counts: rows, texts... Seconds: header_s and body_s to arrive, total_s to be answered.
    """

    body: int = 32 << 20
    rows: int = 100_000
    depth: int = 32
    header: int = 32 << 10
    headers: int = 100
    connections: int = 1_000
    waiting: int = 256  # requests
    waiting_bytes: int = 128 << 20
    at_once: int = 16  # requests that are taken however long they take
    wait_s: float = 0.006  # of the processor's time that those being answered may take, beyond which more are refused
    header_s: float = 10.0
    body_s: float = 30.0
    total_s: float = 60.0
    idle_s: float = 15.0
    stop_s: float = 8.0


class RefusedError(Exception):
    """A request that is answered with an error: its status, one line, and the place in the body."""

    def __init__(self, status: int, what: str, where: str | None = None) -> None:
        super().__init__(what)
        self.status, self.what, self.where = status, what, where


@dataclass
class Asked:
    """What a request asks of a model. One of cells by column (plain ones), a table, and what the core has read (numbers
    and codes of levels) holds the rows."""

    rows: int
    cells: dict[str, Any] | None = None
    table: Table | None = None
    coverage: float | None = None
    explain: bool = False
    against: Any = None
    flip: bool = False
    as_csv: bool = False
    names: list[str] | None = None
    coded: tuple[NDArray[np.float64], NDArray[np.int32]] | None = None

    @property
    def heavy(self) -> bool:
        return self.table is not None or self.explain or self.flip


class Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What may stand beside the rows."""

    coverage: float | UnsetType | None = UNSET
    explain: bool | UnsetType = UNSET
    against: str | int | bool | UnsetType | None = UNSET
    flip: bool | UnsetType = UNSET


class Query(Options):
    """A request in JSON: rows as objects, by column."""

    rows: list[dict[str, Any]]


class Part(msgspec.Struct):
    """What a column adds to the difference of the logits, with its cell."""

    column: str
    value: Any
    amount: float


class Piece(msgspec.Struct):
    """A part of a text; strength: from -3 (against the answer) to 3 (for it)."""

    text: str
    strength: int


class Marked(msgspec.Struct):
    column: str
    pieces: list[Piece]


class Heat(msgspec.Struct):
    """What each part of an image adds, lines from the top; the sum is the amount of its column."""

    column: str
    cells: list[list[float]]


class Change(msgspec.Struct):
    """The smallest change that flips the answer: moves have a column, before and after."""

    sentence: str
    moves: list[dict[str, Any]]
    answer: str | int | bool


class Reasons(msgspec.Struct):
    """Why answer and not other: difference of their logits = base + the sum of all contributions; notes tell of cells
    that training had none like."""

    answer: str | int | bool
    other: str | int | bool
    probabilities: tuple[float, float]
    difference: float
    base: float
    contributions: list[Part]
    texts: list[Marked]
    images: list[Heat]
    notes: list[str]
    flip: Change | UnsetType | None = UNSET


class Answer(msgspec.Struct, omit_defaults=True):
    """Classes and, of each row, the answer and the probabilities in the order of the classes."""

    model: str
    classes: list[str | int | bool]
    answers: list[Any]
    probabilities: list[list[float]]
    sets: list[list[Any]] | None = None
    explanations: list[Reasons] | None = None


class Fault(msgspec.Struct):
    """status: that of the answer; what: one line; where: the place in the body, such as rows[3].age."""

    status: int
    what: str
    where: str | None


class Error(msgspec.Struct):
    error: Fault


_query = msgspec.json.Decoder(Query)
_encode = msgspec.json.Encoder().encode


class Reader:
    """Reads JSON bodies for one model: rows of plain cells by a decoder of its own columns, all others by the rules."""

    def __init__(self, hosted: Hosted) -> None:
        fitted = hosted.fitted
        self.hosted = hosted
        unread = {c.name for c in fitted.schema.columns if c.kind == "left out"} | set(hosted.unread)
        self.widths = {e.name: e.width for e in fitted.encoder.embeddings}
        self.columns = [c for c in fitted.schema.columns if c.name not in unread]
        self.names = [c.name for c in self.columns]
        self.others = unread | ({fitted.label} - {""})
        self._cells = [attrgetter(f"f{i}") for i in range(len(self.columns))]
        self._number = [(c.name, cell) for c, cell in zip(self.columns, self._cells, strict=True) if c.kind == "number"]
        fields = [f"f{i}" for i, c in enumerate(self.columns) if c.kind == "number"]
        self._number_cells = attrgetter(*fields[:1], *fields) if fields else None  # two or more: it gives a tuple
        self._strict = [i for i, (name, _) in enumerate(self._number) if name in fitted.never_missing]
        self._plain = self._decoder()
        columns = [(c.name, c.kind, c.name not in fitted.never_missing) for c in self.columns]
        self._columns = None if self._plain is None else hosted.plain.json_columns(columns)

    def _decoder(self) -> msgspec.json.Decoder[Any] | None:
        """Of rows of these columns alone; None where a name is such that there can be none."""
        if any(re.search(r'[\\"\x00-\x1f]', name) for name in self.names):
            return None
        fields = [(f"f{i}", _cell_type(c.kind) | None | UnsetType, UNSET) for i, c in enumerate(self.columns)]
        rename = {f"f{i}": name for i, name in enumerate(self.names)}
        row: Any = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, gc=False)
        query: Any = msgspec.defstruct(
            "PlainQuery", [("rows", list[row])], bases=(Options,), forbid_unknown_fields=True, kw_only=True
        )
        return msgspec.json.Decoder(query)

    def read(self, body: bytes, limits: Limits) -> Asked:
        if self._plain is None:
            return self._by_rules(body, limits)
        asked = self._coded(body, limits)
        if asked is not None:
            return asked
        try:
            query: Any = self._plain.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return self._by_rules(body, limits)
        rows = query.rows
        check_rows(len(rows), limits)
        if _colons(body) != 1 + _given(query) + len(rows) * len(self.names):
            check_json(body, limits)  # a key is left out, comes twice, or a text has a colon
        columns = zip(self.columns, self._cells, strict=True)
        cells: dict[str, Any] = {c.name: None if c.kind == "number" else _cells(cell, rows) for c, cell in columns}
        cells |= self._numbers(rows)
        self.check_missing(cells)
        asked = _asked(Asked(len(rows), cells), query)
        pictures = [c.name for c in self.columns if c.kind == "image"]
        for name in pictures:
            cells[name] = pixels_in(self.hosted, name, cells[name])
        for name, width in self.widths.items():
            cells[name] = vectors_in(name, width, cells[name])
        return asked

    def _coded(self, body: bytes, limits: Limits) -> Asked | None:
        """By the core; None where it leaves the body to others."""
        found = None if self._columns is None else self._columns.read(body, limits.rows)
        if found is None:
            return None
        numbers, codes, begin, end = found
        rest = body[:begin] + b"[]" + body[end:]
        try:
            query = _query.decode(rest)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        if query.explain is True or query.flip is True or _colons(rest) != 1 + _given(query):
            return None
        return _asked(Asked(max(numbers.shape[1], codes.shape[1]), coded=(numbers, codes)), query)

    def _numbers(self, rows: Sequence[Any]) -> dict[str, NDArray[np.float64]]:
        """The columns of numbers, NaN for cells that are left out or null."""
        if self._number_cells is None:
            return {}
        count = len(self._number) + 1
        try:
            flat = np.fromiter(chain.from_iterable(map(self._number_cells, rows)), np.float64, len(rows) * count)
            x = np.ascontiguousarray(flat.reshape(len(rows), count).T[1:])
        except TypeError:  # a cell that is left out
            x = np.array([_cells(cell, rows) for _, cell in self._number], dtype=np.float64)
        gone = np.isnan(x[self._strict])
        if gone.any():
            i, row = np.argwhere(gone)[0]
            raise _missing(self._number[self._strict[i]][0], int(row))
        return {name: own for (name, _), own in zip(self._number, x, strict=True)}

    def _by_rules(self, body: bytes, limits: Limits) -> Asked:
        check_json(body, limits)
        try:
            query = _query.decode(body)
        except msgspec.ValidationError as error:
            raise RefusedError(422, *told(error)) from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RefusedError(400, f"the body is no JSON: {inert(str(error), 200)}") from None
        check_rows(len(query.rows), limits)
        known = {nfc(name) for name in (*self.names, *self.others)}
        for i, row in enumerate(query.rows):
            for name, cell in row.items():
                if nfc(name) not in known:
                    near = difflib.get_close_matches(name, self.names, n=1)
                    hint = f" (did you mean {shown(near[0])}?)" if near else ""
                    raise RefusedError(
                        422, f"the model knows no column {shown(name)}{hint}", f"rows[{i}].{inert(name)}"
                    )
                if isinstance(cell, dict) or (isinstance(cell, list) and nfc(name) not in self.widths):
                    raise RefusedError(
                        422, "a cell is a number, a text, true, false or null", f"rows[{i}].{inert(name)}"
                    )
        cells: dict[str, Any] = {name: [row.get(name) for row in query.rows] for name in self.names}
        self.check_missing(cells)
        for column in self.columns:
            if column.kind == "image":
                cells[column.name] = pixels_in(self.hosted, column.name, cells[column.name])
        for name, width in self.widths.items():
            cells[name] = vectors_in(name, width, cells[name])
        if self.widths:
            return _asked(Asked(len(query.rows), cells), query)
        return _asked(Asked(len(query.rows), None, self.hosted.table(cells, len(query.rows))), query)

    def check_missing(self, cells: Mapping[str, Any]) -> None:
        for name, own in cells.items():
            if name in self.hosted.fitted.never_missing and isinstance(own, list) and None in own:
                raise _missing(name, own.index(None))


def reader_of(hosted: Hosted) -> Reader:
    """The reader of a model, made once."""
    found = hosted.cache.get("reader")
    if not isinstance(found, Reader):
        found = hosted.cache["reader"] = Reader(hosted)
    return found


def read_table(hosted: Hosted, body: bytes, limits: Limits) -> Asked:
    """What a CSV asks, by the rules of `luce predict`; an image is a text, as in JSON, and never a path."""
    table = Table.of(read_csv(body, SOURCE))
    check_rows(table.rows, limits)
    for name in hosted.fitted.image_sizes:
        if name in table.names:
            cells = pixels_in(hosted, name, table.column(name).to_list())
            table = replace(table, frame=table.frame.with_columns(image_series(name, cells, SOURCE)))
    for name in hosted.unread:
        blank = image_series(name, np.zeros((table.rows, *UNREAD), np.uint8), SOURCE)
        table = replace(table, frame=table.frame.with_columns(blank))
    return Asked(table.rows, None, table)


def read_lines(hosted: Hosted, body: bytes, limits: Limits) -> Asked:
    """Texts, one a line, for a model of one text column."""
    plan = hosted.fitted.text_alone
    if plan is None:
        raise RefusedError(415, "text/plain is for models that read one text column and nothing else")
    texts = [text for block in blocks(Source(SOURCE, io.BytesIO(body))) for text in block]
    check_rows(len(texts), limits)
    return Asked(len(texts), {plan.name: texts})


def read_image(hosted: Hosted, body: bytes, limits: Limits) -> Asked:
    """One image, for a model of one image column."""
    names = list(hosted.fitted.image_sizes)
    if len(names) != 1 or len(hosted.fitted.encoder.sources) != 1:
        raise RefusedError(415, "an image alone is for models that read one image column and nothing else")
    if not body:
        raise RefusedError(422, "there is no image in an empty body")
    return Asked(1, {names[0]: pixels_of(hosted, names[0], [body])})


def _colons(body: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(body, dtype=np.uint8) == ord(":")))


def _missing(name: str, row: int) -> RefusedError:
    what = f"{shown(name)} is missing here, and was never missing where the model was trained: give it"
    return RefusedError(422, what, f"rows[{row}].{inert(name)}")


def _cells(cell: Callable[[Any], Any], rows: Sequence[Any]) -> list[Any]:
    """The cells of a column, None for those that are left out."""
    found = list(map(cell, rows))
    return [None if each is UNSET else each for each in found] if UNSET in found else found


def pixels_in(hosted: Hosted, name: str, cells: Sequence[Any]) -> NDArray[np.uint8]:
    """Cells of an image column, data:image/png;base64,..., as the model reads them."""
    encoded = []
    for row, cell in enumerate(cells):
        where = f"rows[{row}].{inert(name)}"
        found = PICTURE.match(cell) if isinstance(cell, str) else None
        if found is None:
            raise RefusedError(422, "an image is a text that begins with data:image/png;base64,", where)
        try:
            encoded.append(base64.b64decode(cell[found.end() :], validate=True))
        except (binascii.Error, ValueError):
            raise RefusedError(422, "the image is not written in base64", where) from None
    return pixels_of(hosted, name, encoded)


def pixels_of(hosted: Hosted, name: str, encoded: Sequence[bytes]) -> NDArray[np.uint8]:
    """Encoded images as the model reads them."""
    height, width, channels = hosted.fitted.image_sizes[name]
    return read_images(list(encoded), size=(height, width), channels=channels, threads=1).pixels


def vectors_in(name: str, width: int, cells: Sequence[Any]) -> NDArray[np.float64]:
    """Cells of a column of embeddings, (n, width)."""
    out = np.empty((len(cells), width))
    for row, cell in enumerate(cells):
        where = f"rows[{row}].{inert(name)}"
        if not isinstance(cell, list) or len(cell) != width or not set(map(type, cell)) <= {float, int}:
            raise RefusedError(422, f"an embedding is a list of {width:,} numbers", where)
        out[row] = finite(cell, where)
    return out


def finite(values: Sequence[Any], where: str, dtype: str = "<f8") -> NDArray[Any]:
    """Numbers in their type; raises RefusedError for one that it does not hold."""
    try:
        with np.errstate(over="ignore"):
            found = np.array(values, dtype=np.float64).astype(dtype)
    except OverflowError:  # a whole number beyond float64
        found = np.array([np.inf])
    if first_beyond(found[np.newaxis]) is not None:
        what = f"an embedding holds a number that is not finite, beyond {LARGEST:g}, or that its type does not hold"
        raise RefusedError(422, what, where)
    return found


def _cell_type(kind: str) -> Any:
    return {"number": float, "boolean": bool | str, "embedding": list[float]}.get(kind, str)


def _given(query: Any) -> int:
    return sum(getattr(query, name) is not UNSET for name in Options.__struct_fields__)


def _asked(asked: Asked, query: Any) -> Asked:
    for name in Options.__struct_fields__:
        value = getattr(query, name)
        if value is not UNSET and value is not None:
            setattr(asked, name, value)
    if asked.coverage is not None and not 0 < asked.coverage < 1:
        raise RefusedError(422, "coverage is a share between 0 and 1, such as 0.95", "coverage")
    if (asked.explain or asked.flip) and asked.rows > MOST_EXPLAINED:
        raise RefusedError(422, f"at most {MOST_EXPLAINED} rows are explained at once", "rows")
    return asked


def check_rows(rows: int, limits: Limits) -> None:
    if not rows:
        raise RefusedError(422, "there are no rows: give one or more", "rows")
    if rows > limits.rows:
        raise RefusedError(422, f"there are {rows:,} rows, more than {limits.rows:,}: send them in parts", "rows")


def told(error: msgspec.ValidationError) -> tuple[str, str | None]:
    """A line, and the place, of msgspec's words."""
    what, _, place = str(error).partition(" - at `")
    where = place.rstrip("`").removeprefix("$.").removeprefix("$") or None
    return inert(what.replace("`", "'"), 200), None if where is None else inert(where, 100)


def check_json(body: bytes, limits: Limits) -> None:
    """Raises RefusedError for what is no JSON, is nested too deep, or has a key twice."""
    if _depth(body) > limits.depth:
        raise RefusedError(400, f"the JSON is nested deeper than {limits.depth}")
    try:
        json.loads(body, object_pairs_hook=distinct_keys, parse_constant=refuse_constant, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is no JSON that is read here: {inert(str(error), 200)}") from None


_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[{]}")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def _depth(body: bytes) -> int:
    steps = np.frombuffer(_STRING.sub(b"", body).translate(None, _BRACKETS), dtype=np.uint8)
    up = (steps == ord("[")) | (steps == ord("{"))
    return int(np.cumsum(np.where(up, 1, -1)).max(initial=0))


def _whole(text: str) -> float:
    if len(text) > 400:
        raise ValueError(f"a number of {len(text):,} digits is beyond all that is computed with")
    return float(text)


# --- probabilities ---------------------------------------------------------------------------------------------------


def refused(error: LuceError) -> RefusedError:
    """What the rules of tables say of a cell, as an answer."""
    told = " ".join(str(error).split())
    found = _PLACE.fullmatch(told)
    if found is None:
        return RefusedError(422, inert(told, 1000))
    name = found[2][1:-1]
    return RefusedError(422, inert(f"{shown(name)}: {found[3]}", 1000), f"rows[{int(found[1]) - 1}].{inert(name)}")


def probabilities(hosted: Hosted, asked: Asked) -> NDArray[np.float64]:
    """Of each row, (n, K)."""
    if asked.table is not None:
        return hosted.classifier.predict_proba(asked.table)
    return together(hosted, [asked])[0]


def together(hosted: Hosted, many: Sequence[Asked]) -> list[NDArray[np.float64]]:
    """The probabilities of several requests, all of plain cells or all read by the core, as one batch; each row has the
    bits that it has alone."""
    coded = [each.coded for each in many if each.coded is not None]
    if coded:
        numbers, codes = (
            coded[0] if len(many) == 1 else (np.concatenate(part, axis=1) for part in zip(*coded, strict=True))
        )
        p = hosted.coded_probabilities(numbers, codes)
    elif len(many) == 1:
        return [hosted.probabilities(many[0].cells or {}, many[0].rows)]
    else:
        names = list(many[0].cells or {})
        cells = {name: _joined([(each.cells or {})[name] for each in many]) for name in names}
        p = hosted.probabilities(cells, sum(each.rows for each in many))
    return np.split(p, np.cumsum([each.rows for each in many])[:-1])


def _joined(parts: Sequence[Any]) -> Any:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [cell for part in parts for cell in (part.tolist() if isinstance(part, np.ndarray) else part)]


def answer(hosted: Hosted, asked: Asked, p: NDArray[np.float64]) -> bytes:
    """The body of an answer in JSON, or CSV as `luce predict` writes it."""
    if not np.isfinite(p).all():
        raise RefusedError(422, "the model gives no finite probability for a row")
    if asked.as_csv:
        return _csv(hosted, asked, p)
    told = Answer(hosted.name, list(hosted.classes), hosted.answers(p), p.tolist())
    if asked.coverage is not None:
        told.sets = _sets(hosted, p, asked.coverage)
    if asked.explain or asked.flip:
        told.explanations = [_explained(hosted, asked, row) for row in range(asked.rows)]
    return _encode(told)


def _sets(hosted: Hosted, p: NDArray[np.float64], coverage: float) -> list[list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sets = hosted.classifier.sets_of(p, coverage)
    return [[hosted.classes[k] for k in np.flatnonzero(row).tolist()] for row in sets]


def _csv(hosted: Hosted, asked: Asked, p: NDArray[np.float64]) -> bytes:
    import polars as pl

    from luce.delimited import guarded

    columns: dict[str, Any] = {"prediction": hosted.classifier.decide(p)}
    if asked.coverage is not None:
        columns["set"] = ["|".join(map(str, row)) for row in _sets(hosted, p, asked.coverage)]
    columns |= {f"p:{c}": p[:, k] for k, c in enumerate(hosted.classes)}
    return guarded(pl.DataFrame(columns))[0].write_csv().encode()


def _explained(hosted: Hosted, asked: Asked, row: int) -> Reasons:
    classifier = hosted.classifier
    table = asked.table
    if table is None:
        given = {name: _as_given(own) for name, own in (asked.cells or {}).items()}
        table = asked.table = hosted.table(given, asked.rows)
    found = classifier.explain(table, row, against_of(hosted, asked.against))
    out = explanation(found)
    if asked.flip:
        flip = classifier.counterfactual(table, row, against_of(hosted, asked.against))
        out.flip = None
        if flip is not None:
            moves = [{"column": m.column, "before": _plain(m.before), "after": _plain(m.after)} for m in flip.moves]
            out.flip = Change(flip.sentence(), moves, flip.answer)
    return out


def _as_given(own: Any) -> Any:
    """Numbers as a person writes them: whole ones without a point."""
    if isinstance(own, np.ndarray) and own.dtype == np.float64 and own.ndim == 1:
        return [_plain(cell) for cell in own.tolist()]
    return own


def against_of(hosted: Hosted, given: Any) -> Any:
    """The class that is meant, also by its text."""
    if given is None:
        return None
    found = next((c for c in hosted.classes if str(c) == str(given)), None)
    if found is None:
        raise RefusedError(422, f"{shown(str(given))} is no class of this model", "against")
    return found


def explanation(found: Explanation) -> Reasons:
    texts = [text for text in found.texts if text.marks]
    return Reasons(
        found.answer, found.other, found.probabilities, found.difference, found.base,
        [Part(c.column, _plain(c.value), c.amount) for c in found.contributions],
        [Marked(t.column, [Piece(p.before + p.text, p.strength) for p in t.shown()]) for t in texts],
        [Heat(image.column, [list(line) for line in image.cells]) for image in found.images], list(found.notes),
    )  # fmt: skip


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and (value != value or (value.is_integer() and abs(value) < EXACT)):
        return None if value != value else int(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
