"""Embeddings: rows of numbers that another model has made of something, in a file or an array that is never copied
whole."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.errors import InputError, inert
from luce.inputs import first_beyond, native
from luce.text_lines import blocks, opened

WIDE = 256  # columns: an array of float16 or float32 with more is taken for embeddings
SIGN = b"\x93NUMPY"  # what an .npy file begins with
REMEDY = "save it again with numpy.save"


@dataclass(frozen=True)
class Embeddings:
    """vectors: (n, width) uint8, float16, float32 or float64, finite, maybe a memory map; labels: (n,) or None; notes:
    what a person should know."""

    vectors: NDArray[Any]
    labels: NDArray[Any] | None = None
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(x: NDArray[Any], where: str = "the data", labels: NDArray[Any] | None = None) -> Embeddings:
        """An array, checked in blocks of rows; copied only if it is of a kind that the core does not read.

        Raises InputError for other shapes than (rows, numbers), for none of them, and for a number that is not finite,
        by its row and column, counted from 0 as NumPy does.
        """
        if x.dtype.kind not in "biuf" or x.ndim != 2:
            shape = " x ".join(map(str, x.shape)) or "a single number"
            raise InputError(f"{where}: holds {x.dtype}, {shape}; embeddings are numbers, rows x columns")
        if 0 in x.shape:
            raise InputError(f"{where}: has {len(x):,} rows and {x.shape[1]:,} columns; give at least one of each")
        if labels is not None and len(labels) != len(x):
            raise InputError(f"{where}: has {len(x):,} rows, but there are {len(labels):,} labels; give one for each")
        known = native(x)
        notes = () if known is x else (f"{where}: {x.dtype.str} is copied as {known.dtype.name}",)
        if (place := first_beyond(known)) is not None:
            row, column = place
            what = f"{known[place]} in row {row}, column {column} (counted from 0)"
            raise InputError(f"{where}: has {what}; leave such rows out")
        return Embeddings(known, labels, notes)


def are_embeddings(name: str) -> bool:
    """Whether this is an .npy file of other than 3 or 4 dimensions, which would be images."""
    if not name.lower().endswith(".npy") or not os.path.isfile(name):
        return False
    with open(name, "rb") as file:
        return file.read(len(SIGN)) == SIGN and len(_load(name).shape) not in (3, 4)


def read_embeddings(name: str, labels: NDArray[Any] | None = None) -> Embeddings:
    """The rows of an .npy file, where they lie; raises InputError in one line for what is no such file."""
    return Embeddings.of(_load(name), inert(name, 4096), labels)


def read_labels(name: str, rows: int | None = None) -> NDArray[Any]:
    """Labels from an .npy file of one dimension (numbers, truth values or strings), or from text, one a line.

    rows: how many are wanted; a .csv file may have one line more, which is then its header.
    Raises InputError in one line for what is none of these.
    """
    where = inert(name, 4096)
    if name.lower().endswith(".npy"):
        found = np.array(_load(name))
        if found.ndim == 2 and found.shape[1] == 1:
            found = found[:, 0]
        if found.ndim != 1 or found.dtype.kind not in "biufU":
            shape = " x ".join(map(str, found.shape)) or "a single number"
            raise InputError(f"{where}: holds {found.dtype}, {shape}; give one number or string for each row")
        return found
    with opened(name) as source:
        lines = [line for block in blocks(source, None) for line in block]
    if name.lower().endswith(".csv"):
        lines = [_cell(line, where, number) for number, line in enumerate(lines, 1)]
        lines = lines[1:] if rows is not None and len(lines) == rows + 1 else lines
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InputError(f"{where}, label {number}: is empty; give a label for each row")
    return np.array(lines)


def _cell(line: str, where: str, number: int) -> str:
    cells = next(csv.reader([line]), [])
    if len(cells) > 1:
        raise InputError(f"{where}, line {number}: has {len(cells)} cells; give one label a line")
    return cells[0] if cells else ""


def _load(name: str) -> NDArray[Any]:
    """The array of an .npy file as a memory map: nothing of it is read yet."""
    where = inert(name, 4096)
    try:
        return np.load(name, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise InputError(f"{where}: there is no such file") from None
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        said = inert(" ".join(str(error).split()), 200)
        if "Python objects" in said or "pickle" in said.lower():
            said = "holds Python objects, which luce does not read"
        elif "mmap length" in said or "greater than file size" in said:
            said = "is cut off: its header tells of more numbers than there are"
        elif "empty file" in said:
            return _empty(name, where)
        raise InputError(f"{where}: {said}; {REMEDY}") from None


def _empty(name: str, where: str) -> NDArray[Any]:
    """An array without numbers cannot be mapped."""
    try:
        return np.asarray(np.load(name, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{where}: {inert(' '.join(str(error).split()), 200)}; {REMEDY}") from None
