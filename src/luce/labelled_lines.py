"""fastText's files: a line is its labels, each a word that begins with __label__, then a text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from luce.errors import InputError
from luce.text_source import SAMPLE, Text

if TYPE_CHECKING:
    import polars as pl

PREFIX = "__label__"
LABEL, TEXT = "label", "text"  # the names of the columns

_BLANK = " \t\v\f\r"  # within a line; what else Unicode calls blank is text, as it is for fastText
_WORD = f"{PREFIX}[^{_BLANK}]*"
_LINE = f"^[{_BLANK}]*((?:{_WORD}(?:[{_BLANK}]+|$))*)(.*?)[{_BLANK}]*$"


def is_labelled(data: bytes) -> bool:
    """Whether the first line begins with a label, and so do most lines of a sample; blank lines count for nothing."""
    sample = data[:SAMPLE]
    if len(data) > SAMPLE:
        sample = sample[: max(sample.rfind(b"\n"), sample.rfind(b"\r"), 0)] or sample
    lines = [line for line in map(bytes.lstrip, re.split(rb"[\r\n]+", sample)) if line]
    begun = [line.startswith(PREFIX.encode()) for line in lines]
    return bool(begun) and begun[0] and 2 * sum(begun) > len(begun)


def read_labelled_lines(text: Text) -> pl.DataFrame:
    """The columns `label` and `text`; a line with several labels stands once for each of them, said in a note.

    Blank lines are left out. Raises InputError with the line for one without a label, or with a label without a name.
    """
    import polars as pl

    lines = pl.Series(_plain_line_ends(text.data).decode().split("\n"))
    groups = pl.col("line").str.extract_groups(_LINE)
    labels = groups.struct[0].str.extract_all(_WORD)
    labels = labels.list.eval(pl.element().str.strip_prefix(PREFIX)).list.unique(maintain_order=True)
    frame = pl.DataFrame({"line": lines}).with_row_index("number", text.line)
    frame = frame.filter(pl.col("line").str.contains(f"[^{_BLANK}]"))
    frame = frame.select("number", labels.alias(LABEL), groups.struct[1].alias(TEXT))
    _refuse_lacking(text.where, frame)
    several = frame.select((pl.col(LABEL).list.len() > 1).sum()).item()
    if several:
        text.notes.append(f"{several:,} line(s) with several labels stand once for each of them")
    within = frame.select(pl.col(TEXT).str.contains(f"(?:^|[{_BLANK}]){PREFIX}").sum()).item()
    if within:
        text.notes.append(f"{within:,} text(s) hold {PREFIX} behind other words, which is taken as text")
    return frame.explode(LABEL).select(LABEL, TEXT)


def without_labels(line: str) -> str:
    """The text of a line, without the labels that it may begin with."""
    if not line.lstrip(_BLANK).startswith(PREFIX):
        return line
    found = re.match(_LINE, line)
    return found[2] if found else line


def _plain_line_ends(data: bytes) -> bytes:
    """A CR ends a line where no LF does; else it is a blank."""
    return data if b"\n" in data else data.replace(b"\r", b"\n")


def _refuse_lacking(where: str, frame: pl.DataFrame) -> None:
    import polars as pl

    lacking = frame.filter(pl.col(LABEL).list.len() == 0)
    nameless = frame.filter(pl.col(LABEL).list.contains(""))
    for rows, what in ((lacking, "has no label"), (nameless, "has a label without a name")):
        if rows.height:
            more = f" ({rows.height - 1:,} more lines too)" if rows.height > 1 else ""
            raise InputError(
                f"{where}, line {rows['number'][0]}: {what}{more}; begin it with {PREFIX}NAME, as the others do"
            )
