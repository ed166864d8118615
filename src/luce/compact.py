"""A text model within a number of bytes: how many n-grams it may have, and their weights in 8 bits."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from luce.conformal import METHODS, MOST, arrays_of
from luce.errors import InputError
from luce.fitted import Fitted
from luce.heads import Linear

BESIDE = 8_000  # bytes of a file that are no weights of n-grams and no sets, about
OF_GRAM = 8  # bytes for the bucket and the scale of an n-gram
SCALING = 16  # bytes for what a network does to a column before it reads it
STEPS = 127  # of either sign
AT_ONCE = 1024  # n-grams
LEAST = 1e-30  # of a step
DEFAULT = 20e6  # bytes of a model, where nothing is said
OF_MANY, MOST_OF_MANY = 1 << 15, 1 << 28
UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}


def bytes_of(size: str | float, name: str = "size") -> float:
    """2MB, 500 kB or a number of bytes, as a number; raises InputError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?b?)\s*", str(size).lower())
    unit = None if found is None else UNITS.get(found[2] if found[2] in UNITS else f"{found[2]}b")
    if found is None or unit is None or not float(found[1]) > 0:
        raise InputError(f"{name} is {size!r}: give bytes, such as 2MB or 500kB")
    return float(found[1]) * unit


def room_for(size: float, table: int, counts: NDArray[np.int64], units: int = 0) -> int:
    """How many n-grams with weights of 8 bits a model of `size` bytes has room for, beside so many features that are
    none and what it keeps of so many rows of each class. units: of the hidden layer that reads them, whose weights are
    float32. Raises InputError if there is room for none."""
    room = _room(size, table, counts, units)
    if room < 1:
        raise InputError(f"size is {size:,.0f} bytes: no n-gram fits beside the rest of the model; give more")
    return room


def room_of_many(size: float, table: int, counts: NDArray[np.int64]) -> int:
    """The same where the classes are very many: from DEFAULT bytes on at least OF_MANY n-grams, or as many as have
    MOST_OF_MANY weights."""
    if size < DEFAULT:
        return room_for(size, table, counts)
    return max(_room(size, table, counts, 0), min(OF_MANY, max(MOST_OF_MANY // len(counts), 1)))


def _room(size: float, table: int, counts: NDArray[np.int64], units: int) -> int:
    outputs = 1 if len(counts) == 2 else len(counts)
    sets = 8 * len(METHODS) * int(np.minimum(counts, MOST).sum())
    each, gram = (4 * units, 4 * units + SCALING) if units else (8 * (outputs + 1), 4 + outputs)
    return int((size - BESIDE - sets - table * each) // (OF_GRAM + gram))


def within(fitted: Fitted, size: float) -> Fitted:
    """The model with weights of n-grams in 8 bits, if a file of `size` bytes takes no more: whole multiples, up to 127,
    of a step for each n-gram."""
    grams = sum(len(t.buckets) for t in fitted.encoder.texts)
    head = fitted.head
    if not grams or not isinstance(head, Linear):
        return fitted
    table, outputs = fitted.encoder.width - grams, head.outputs
    sets = {} if fitted.conformal is None else arrays_of(fitted.conformal)
    beside = BESIDE + sum(array.nbytes for array in sets.values()) + 8 * table * (outputs + 1)
    if grams * (OF_GRAM + 4 * outputs) <= size - beside:
        return fitted
    coef, steps = head.coef.copy(order="K"), np.empty(grams, dtype=np.float32)
    for i in range(0, grams, AT_ONCE):
        some, by = coef[:, table + i : table + i + AT_ONCE], steps[i : i + AT_ONCE]
        by[:] = np.maximum(np.abs(some).max(axis=0) / STEPS, LEAST)
        some[:] = np.rint(some / by).clip(-STEPS, STEPS) * by.astype(np.float64)
    return replace(fitted, head=replace(head, coef=coef, steps=steps))
