"""CSV and TSV: polars where a scan of the bytes proves it right, else Python's csv reader, record by record."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from luce.errors import InputError, LimitError
from luce.text_source import SAMPLE, Text, check_width, clean_names, end_of_rows, last_line_end, line_at, mib

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

MAX_FIELD_BYTES = 16 << 20

_SCAN_CHUNK = 1 << 18  # bytes for one step of the scan: small enough for the cache, and below MAX_FIELD_BYTES
_BATCH_CELLS = 1 << 20  # cells of one batch in the exact reader
_DELIMITERS = ",\t;|"
_FORMULA = "^[=+\\-@\t\r\n＝＋－＠]"  # a spreadsheet runs cells that begin so
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"  # and shows these


def read_delimited(text: Text, delimiter: str | None) -> pl.DataFrame:
    """The rows below a header as columns of text, an empty cell null; without a delimiter the first lines decide.

    Raises InputError (line and what to do) for ragged rows, broken quotes and names, LimitError for a huge cell.
    """
    text = text._replace(data=_plain_line_ends(text.data))
    delimiter, names, body = _header(text, delimiter)
    stop = end_of_rows(text.data)
    if stop <= body:
        raise InputError(f"{text.where}: has a header but no rows below it")
    frame = _read_quick(text, delimiter, names, body, stop)
    return _read_exact(text, delimiter, names, body, stop)[0] if frame is None else frame


def delimited_frames(pieces: Iterator[bytes], where: str, delimiter: str | None, size: int) -> Iterator[pl.DataFrame]:
    """The same rows from pieces of UTF-8, each frame of about `size` bytes, or of one row where that is longer."""
    source = _Growing(pieces)
    source.grow(SAMPLE + 1)
    while True:
        try:
            delimiter, names, body = _header(Text(where, source.data, "utf-8", []), delimiter, source.ended)
            break
        except _CutError:
            source.grow(2 * len(source.data))
    # From here on the data begins with the end of the line before the rows.
    line, rows, most = line_at(source.data[:body]) - 1, 0, size
    source.data = b"\n" + source.data[body:]
    while True:
        source.grow(most)
        last = source.ended and len(source.data) <= most
        limit = len(source.data) if last else last_line_end(source.data[:most])
        part = _plain_line_ends(source.data[:limit])
        found = _read_part(Text(where, part, "utf-8", [], line), delimiter, names, 1, last)
        if found is None:
            if last:
                break
            most *= 2
            continue
        frame, end = found
        line += line_at(part[:end]) - 1
        source.data = b"\n" + part[_after_lines(part, 1, end) :] + source.data[limit:]
        most, rows = size, rows + frame.height
        yield frame
    if not rows:
        raise InputError(f"{where}: has a header but no rows below it")


class _Growing:
    """Data that is read as far as it is needed."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.data, self.ended = pieces, b"", False

    def grow(self, size: int) -> None:
        """At least so many bytes, or all there are."""
        more, have = [self.data], len(self.data)
        while have < size and not self.ended:
            more.append(next(self.pieces, b""))
            have += len(more[-1])
            self.ended = not more[-1]
        self.data = b"".join(more) if len(more) > 1 else self.data


class _CutError(Exception):
    """The data ends before what is read of it does."""


def _header(text: Text, delimiter: str | None, whole: bool = True) -> tuple[str, list[str], int]:
    """The delimiter, the clean names, where the rows begin; raises _CutError where data that is not whole may go on."""
    if not whole and not last_line_end(text.data.lstrip(b"\r\n")):
        raise _CutError
    notes = text.notes if whole else []
    mark = delimiter or _sniff_delimiter(text)
    _refuse_wide_header(text, mark)
    header, _, lines = next(record for record in _records(text, mark, whole) if record[0])
    body = _after_lines(text.data, lines)
    if not whole and body >= len(text.data):
        raise _CutError
    names = clean_names(text.where, header, notes)
    if all(re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", cell) for cell in header):
        notes.append("the first line looks like data, not column names")
    return mark, names, body


def _read_part(text: Text, delimiter: str, names: list[str], body: int, last: bool) -> tuple[pl.DataFrame, int] | None:
    """The rows that end in the data, which ends with a line, and where the last of them does; None for none."""
    stop = end_of_rows(text.data)
    if stop <= body:
        return None
    end = stop if last else _end_outside_quotes(text.data, body, stop)
    frame = _read_quick(text, delimiter, names, body, end) if end > body else None
    if frame is not None:
        return frame, end
    frame, end = _read_exact(text, delimiter, names, body, stop, last)
    return (frame, end) if end > body else None


def _end_outside_quotes(data: bytes, body: int, stop: int) -> int:
    """Where the last row ends that quotes, if they come in pairs, leave closed; `body` if there is none."""
    end, quotes = stop, data.count(b'"', body, stop)
    while quotes % 2:
        cut = data.rfind(b"\n", body, end)
        if cut < 0:
            return body
        quotes -= data.count(b'"', cut, end)
        end = cut
    return body + end_of_rows(data[body:end])


def guarded(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The frame for a file that a spreadsheet may open, and how many of its cells and names had to be guarded.

    Text that begins with = + - @, a tab, a line end or a full-width twin of the signs gets an apostrophe before it, so
    that it is shown and not run. Numbers stay as they are, as text too (-1).
    """
    import polars as pl

    texts = [name for name, dtype in frame.schema.items() if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum))]
    cells = [pl.col(name).cast(pl.String) for name in texts]
    risky = [(cell.str.contains(_FORMULA) & ~cell.str.contains(_NUMBER)).fill_null(False) for cell in cells]
    count = sum(frame.select(each.sum().alias(str(k)) for k, each in enumerate(risky)).row(0)) if texts else 0
    if count:
        frame = frame.with_columns(
            pl.when(each).then("'" + cell).otherwise(cell).alias(name)
            for name, cell, each in zip(texts, cells, risky, strict=True)
        )
    names = {n: f"'{n}" for n in frame.columns if re.match(_FORMULA, n) and not re.match(_NUMBER, n)}
    return frame.rename(names), int(count) + len(names)


def _plain_line_ends(data: bytes) -> bytes:
    """Lone CR line ends made LF; a file with quotes is left to the exact reader, which knows CR inside a cell."""
    if b'"' in data or not _has_lone_cr(data):
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _has_lone_cr(data: bytes) -> bool:
    return b"\r" in data and data.count(b"\r") != data.count(b"\r\n")


def _after_lines(data: bytes, lines: int, start: int = 0) -> int:
    ends = islice(re.compile(rb"\r\n|\n|\r").finditer(data, start), lines - 1, lines)
    return next((end.end() for end in ends), len(data))


def _sniff_delimiter(text: Text) -> str:
    """The delimiter that cuts the first lines into the header's number of fields; on equal terms, the earlier one."""
    sample = text.data[:SAMPLE]
    if len(text.data) > SAMPLE and (whole := max(sample.rfind(b"\n"), sample.rfind(b"\r"))) > 0:
        sample = sample[:whole]
    scores = {mark: _fit(sample.decode("utf-8", "ignore"), mark) for mark in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda mark: scores[mark])
    rivals = [mark for mark in _DELIMITERS if mark != best and scores[mark][0] == scores[best][0] == 1]
    if rivals:
        text.notes.append(f"cells are cut at {best!r}; {' and '.join(map(repr, rivals))} would fit as well")
    elif best != ",":
        text.notes.append(f"cells are cut at {best!r}")
    return best


def _fit(sample: str, delimiter: str) -> tuple[float, int]:
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    widths = [len(row) for row in islice(reader, 50) if row]
    if not widths or widths[0] < 2:
        return 0.0, 0
    return widths.count(widths[0]) / len(widths), widths[0]


def _refuse_wide_header(text: Text, delimiter: str) -> None:
    """The limit taken on the bytes, before a cell is made of each field; names in quotes are counted when cut."""
    end = _after_lines(text.data, 1)
    count = text.data.count(delimiter.encode(), 0, end) + 1
    if text.data.find(b'"', 0, end) < 0:
        check_width(text.where, count)


def _read_quick(text: Text, delimiter: str, names: list[str], body: int, stop: int) -> pl.DataFrame | None:
    """What polars reads, if its rows and bytes are those that the scan counted; else None."""
    import polars as pl

    scan = _Scan(text, delimiter, len(names))
    if _has_lone_cr(text.data) or not scan.run(body, stop):
        return None
    quoted = text.data.find(b'"', body, stop) >= 0
    try:
        frame = pl.read_csv(
            # From the header's own line end: polars takes some first letters of a bare body for compression.
            text.data[body - 1 : stop],
            has_header=False,
            skip_lines=1,
            separator=delimiter,
            quote_char='"' if quoted else None,
            schema=dict.fromkeys(names, pl.String),
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return None
    if frame.shape != (scan.rows, len(names)) or (quoted and _cell_bytes(frame) != stop - body - scan.overhead):
        return None
    return _empty_to_null(frame) if quoted else frame


def _cell_bytes(frame: pl.DataFrame) -> int:
    import polars as pl

    return sum(frame.select(pl.all().str.len_bytes().cast(pl.Int64).sum()).row(0))


def _empty_to_null(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return frame.select(pl.when(pl.all() != "").then(pl.all()))


class _Scan:
    """The structure of the rows by the bytes alone: quotes by parity, then delimiters and line ends outside them."""

    def __init__(self, text: Text, delimiter: str, columns: int) -> None:
        self.text, self.delimiter, self.columns = text, ord(delimiter), columns
        self.bytes = np.frombuffer(text.data, np.uint8)
        self.has_quotes, self.has_cr = b'"' in text.data, b"\r" in text.data
        self.inside = False  # a quoted cell
        self.cuts = 0  # delimiters and line ends so far
        self.overhead = 0  # bytes that belong to no cell
        self.field = 0  # where the current field starts

    @property
    def rows(self) -> int:
        return (self.cuts + 1) // self.columns

    def run(self, body: int, stop: int) -> bool:
        """Whether every row of data[body:stop] has the header's number of fields, beyond doubt."""
        self.field = body
        if not all(self._step(at, min(at + _SCAN_CHUNK, stop)) for at in range(body, stop, _SCAN_CHUNK)):
            return False
        # The last line end lies beyond `stop`, so the last row lacks exactly one cut.
        return not self.inside and (self.cuts + 1) % self.columns == 0

    def _step(self, start: int, stop: int) -> bool:
        chunk = self.bytes[start:stop]
        mask = chunk == self.delimiter
        mask |= chunk == 10
        if self.has_quotes:
            mask |= chunk == 34
        at = np.flatnonzero(mask)
        kinds = chunk[at]
        at += start
        quotes = kinds == 34
        if self.has_quotes and (self.inside or quotes.any()):
            if not self._well_quoted(at[quotes]):
                return False
            covered = ((np.cumsum(quotes, dtype=np.uint8) + np.uint8(self.inside)) & 1).astype(np.bool_)
            self.inside = bool(covered[-1]) if covered.size else self.inside
            outside = ~(covered | quotes)
            at, kinds = at[outside], kinds[outside]
        self._check_field(int(at[0]) if at.size else stop)
        return self._rectangular(at, kinds == 10)

    def _well_quoted(self, at: NDArray[np.intp]) -> bool:
        """An opening quote follows a cut or a quote, a closing one precedes them: then parity is the CSV grammar."""
        opening, closing = at[int(self.inside) :: 2], at[1 - int(self.inside) :: 2]
        before = self.bytes[opening - 1]
        after = self.bytes[closing[closing + 1 < self.bytes.size] + 1]
        doubled = after == 34
        opened = (before == self.delimiter) | (before == 10) | (before == 34)
        closed = (after == self.delimiter) | (after == 10) | (after == 13) | doubled
        self.overhead += at.size - int(np.count_nonzero(doubled))  # of a doubled quote one byte is the cell's
        return bool(opened.all() and closed.all())

    def _check_field(self, end: int) -> None:
        # A chunk is shorter than the limit, so only the field that a chunk begins with can be beyond it.
        if end - self.field > MAX_FIELD_BYTES:
            raise _long_field(self.text.where, self.text.line + line_at(self.text.data[: self.field]) - 1)

    def _rectangular(self, at: NDArray[np.intp], newline: NDArray[np.bool_]) -> bool:
        if not at.size:
            return True
        expected = newline[self.columns - 1 - self.cuts % self.columns :: self.columns]
        self.field = int(at[-1]) + 1
        self.cuts += at.size
        self.overhead += at.size
        if self.has_cr:
            self.overhead += int(np.count_nonzero(self.bytes[at[newline] - 1] == 13))
        return bool(expected.all()) and np.count_nonzero(newline) == expected.size


def _long_field(where: str, line: int) -> LimitError:
    what = f"a cell that starts here is longer than MAX_FIELD_BYTES ({mib(MAX_FIELD_BYTES)})"
    return LimitError(f"{where}, line {line}: {what}; is a closing quote missing?")


def _records(text: Text, delimiter: str, whole: bool = True) -> Iterator[tuple[list[str], int, int]]:
    """Records with the numbers of their first and last line in the data, by Python's strict csv reader; a blank line is
    []. Raises _CutError where the end of data that is not whole leaves a record open."""
    lines = io.TextIOWrapper(io.BytesIO(text.data), "utf-8", newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 1
        allowed = csv.field_size_limit(MAX_FIELD_BYTES)  # it belongs to the whole process: set for one record at a time
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "field limit" in str(error):
                raise _long_field(text.where, text.line + first - 1) from None
            if "unexpected end" in str(error) and not whole:
                raise _CutError from None
            raise _quote_error(text, delimiter, first) from None
        finally:
            csv.field_size_limit(allowed)
        if row is None:
            return
        yield row, first, reader.line_num


def _read_exact(
    text: Text, delimiter: str, names: list[str], body: int, stop: int, whole: bool = True
) -> tuple[pl.DataFrame, int]:
    """Every record by Python's csv reader, one at a time: the arbiter where the scan is in doubt; and where they end,
    which is before `stop` where that leaves a record of data that is not whole open."""
    import polars as pl

    rows = text._replace(data=text.data[body:stop], line=text.line + line_at(text.data[:body]) - 1)
    batch: list[list[str]] = []
    frames = [_frame_of([], names)]
    lines = 0  # that have been read
    try:
        for row, line, lines in _records(rows, delimiter, whole):  # noqa: B007
            if not row and len(names) > 1:
                continue
            if len(row) != len(names) and row:
                raise InputError(
                    f"{text.where}, line {rows.line + line - 1}: has {len(row)} field(s), but the header has "
                    f"{len(names)}; mend the line, or quote a cell that holds {delimiter!r}"
                )
            batch.append(row or [""])
            if len(batch) * len(names) >= _BATCH_CELLS:
                frames.append(_frame_of(batch, names))
                batch = []
        end = stop
    except _CutError:
        end = body + (_after_lines(rows.data, lines) if lines else 0)
        if lines:
            end -= 2 if text.data[:end].endswith(b"\r\n") else 1
    if batch:
        frames.append(_frame_of(batch, names))
    return _empty_to_null(pl.concat(frames)), end


def _frame_of(batch: list[list[str]], names: list[str]) -> pl.DataFrame:
    import polars as pl

    columns = zip(names, zip(*batch, strict=True) if batch else [[]] * len(names), strict=True)
    return pl.DataFrame([pl.Series(name, column, dtype=pl.String) for name, column in columns])


def _quote_error(text: Text, delimiter: str, line: int) -> InputError:
    """Name the line where the quote opens that breaks the record which starts at a line."""
    record = text.data[_after_lines(text.data, line - 1) if line > 1 else 0 :]
    mark, quoted = re.escape(delimiter), '"[^"]*+(?:""[^"]*+)*+"'
    whole = re.match(f'(?:(?:{quoted}|[^"{mark}\r\n][^{mark}\r\n]*+)?+{mark})*+'.encode(), record)
    at = whole.end() if whole else 0
    opened = f"{text.where}, line {text.line + line + line_at(record[:at]) - 2}: a quote opens here"
    close = re.compile(quoted.encode()).match(record, at)
    if close is None:
        return InputError(f'{opened} and never closes; close it, or write a quote that is text as ""')
    last = text.line + line + line_at(record[: close.end()]) - 2
    return InputError(f'{opened} and closes before other text on line {last}; write a quote that is text as ""')
