"""A text model within a number of bytes: weights of 8 bits, and of the n-grams those that move the logits most."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from luce.conformal import arrays_of
from luce.encoder import Encoder
from luce.errors import InputError
from luce.features import Array, Features
from luce.fitted import Fitted

BESIDE = 8_000  # bytes of a file that are no weights of n-grams and no sets, about
OF_GRAM = 8  # bytes for the bucket and the scale of an n-gram
STEPS = 127  # of either sign
UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}


def bytes_of(size: str | float) -> float:
    """2MB, 500 kB or a number of bytes, as a number; raises InputError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?b?)\s*", str(size).lower())
    unit = None if found is None else UNITS.get(found[2] if found[2] in UNITS else f"{found[2]}b")
    if found is None or unit is None or not float(found[1]) > 0:
        raise InputError(f"size is {size!r}: give bytes, such as 2MB or 500kB")
    return float(found[1]) * unit


def kept_grams(fitted: Fitted, features: Features, size: float) -> NDArray[np.int64] | None:
    """The places of the n-grams that a model of about `size` bytes has room for, with weights of 8 bits: those whose
    weights, with what the training rows (`features`) have of them, move the logits most. None if all fit as they are.

    Raises InputError if there is room for none.
    """
    table, grams, outputs = _table_columns(fitted.encoder), _grams(fitted.encoder), len(fitted.coef)
    sets = {} if fitted.conformal is None else arrays_of(fitted.conformal)
    beside = BESIDE + sum(array.nbytes for array in sets.values())
    room = size - beside - 8.0 * table * (outputs + 1)
    if not grams or grams * (OF_GRAM + 4 * outputs) <= room:
        return None
    count = min(int(room // (OF_GRAM + 4 + outputs)), grams)
    if count < 1:
        raise InputError(f"size is {size:,.0f} bytes: no n-gram fits beside the other columns; give more")
    if count == grams:
        return np.arange(grams)
    return np.sort(np.argsort(-_moves(fitted.coef[:, table:], features, grams), kind="stable")[:count])


def with_grams(fitted: Fitted, kept: NDArray[np.int64]) -> Fitted:
    """The model with some of its n-grams alone."""
    table = _table_columns(fitted.encoder)
    columns = np.concatenate([np.arange(table), table + kept])
    encoder, coef = _of_kept(fitted.encoder, kept), np.ascontiguousarray(fitted.coef[:, columns])
    return replace(fitted, encoder=encoder, coef=coef, means=fitted.means[columns])


def in_bytes(fitted: Fitted) -> Fitted:
    """Weights of n-grams as whole multiples, up to 127, of a step for each n-gram."""
    table, coef = _table_columns(fitted.encoder), fitted.coef.copy()
    largest = np.abs(coef[:, table:]).max(axis=0)
    steps = np.where(largest > 0, largest / STEPS, 1.0).astype(np.float32)
    coef[:, table:] = np.rint(coef[:, table:] / steps).clip(-STEPS, STEPS) * steps.astype(np.float64)
    return replace(fitted, coef=coef, steps=steps)


def _grams(encoder: Encoder) -> int:
    return sum(len(t.buckets) for t in encoder.texts)


def _table_columns(encoder: Encoder) -> int:
    """How many features are no n-grams."""
    return encoder.width - _grams(encoder)


def _moves(coef: Array, features: Features, grams: int) -> Array:
    """For each n-gram: sum over the rows of x^2, times the variance of its weights over the classes."""
    assert features.indices is not None and features.values is not None
    first = features.sparse_columns - grams
    own = features.indices >= first
    energy = np.bincount(
        features.indices[own] - first, weights=features.values[own].astype(np.float64) ** 2, minlength=grams
    )
    spread = np.sum((coef - (coef.mean(axis=0) if len(coef) > 1 else 0.0)) ** 2, axis=0)
    return np.asarray(energy * spread)


def _of_kept(encoder: Encoder, kept: NDArray[np.int64]) -> Encoder:
    texts, first = [], 0
    for t in encoder.texts:
        own = kept[(kept >= first) & (kept < first + len(t.buckets))] - first
        texts.append(replace(t, buckets=t.buckets[own], scale=t.scale[own]))
        first += len(t.buckets)
    return replace(encoder, texts=tuple(texts))
