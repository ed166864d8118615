"""The images that a page shows: the surest mistakes, right answers of each class, and what speaks for a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.classifier import Classifier
from luce.decision import best_of
from luce.effects import added_by
from luce.fitted import Fitted
from luce.functional import available_threads
from luce.patches import Bank
from luce.table import Table

WRONG = 24  # mistakes that are shown
CLASSES = 20  # that have pictures of their own
CELLS = 7  # a side of the grid that images are covered by, one cell at a time
MOST_COVERED = 20  # images of a class of which that is done,
PIXELS = 60_000_000  # fewer, so that about so many pixels are read in all
ACROSS = 16  # filters in a line
ZOOM = 4  # pixels a side of a number of a filter
AT_ONCE = 10_000_000  # of them in memory
LARGEST = 128  # pixels a side of a picture on the page; larger ones are shown by means of blocks

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Gallery:
    """facts: rows, classes and numbers, for JSON. pixels: the pictures, (height, width, channels) uint8, by the path
    of their fact and, where it is a row's, the place of the column of images: "images.wrong.0.0"."""

    facts: dict[str, Any]
    pixels: dict[str, Pixels]


def gallery(
    classifier: Classifier, table: Table, probabilities: Floats, codes: NDArray[np.integer],
    scored: NDArray[np.bool_] | None = None,
) -> Gallery | None:  # fmt: skip
    """The mistakes of largest probability, the surest and the least sure right answer of each class, and of each
    column of images the mean image of a class and where its images speak for it; None for a model without images.

    probabilities: (n, K) of the rows of the table; codes: (n,) of their labels; scored: (n,) the rows that count.
    """
    fitted = classifier.fitted
    names = list(fitted.image_sizes)
    if not names:
        return None
    answers = best_of(probabilities, fitted.costs)
    sure = probabilities[np.arange(len(codes)), answers]
    counted = np.ones(len(codes), dtype=np.bool_) if scored is None else scored
    classes = _commonest(codes, len(fitted.classes))
    wrong = np.flatnonzero(counted & (answers != codes))
    right = np.flatnonzero(counted & (answers == codes))
    shown = [wrong[k] for k in _surest_first(sure[wrong])[:WRONG]]
    ends = [(row, kind) for k in classes for row, kind in _both_ends(right[codes[right] == k], sure)]

    def told(row: int) -> dict[str, Any]:
        true, answer = int(codes[row]), int(answers[row])
        said = {"true": fitted.classes[true], "answer": fitted.classes[answer], "probability": sure[row]}
        file = {"file": table.files[row]} if table.files else {}
        return {"row": row + 1} | file | said | {"true_probability": probabilities[row, true]}

    parsed = fitted.parsed(table)
    threads = available_threads(classifier.threads)
    facts: dict[str, Any] = {
        "scored": int(counted.sum()),
        "mistakes": len(wrong),
        "wrong": [told(int(row)) for row in shown],
        "right": [told(int(row)) | {"sure": kind} for row, kind in ends],
        "columns": [_column(fitted, name, parsed[name], codes, classes, threads) for name in names],
        "more": len(fitted.classes) - len(classes),
    }
    pixels = {
        f"images.{key}.{i}.{j}": smaller(parsed[name][row])
        for key, rows in (("wrong", shown), ("right", [row for row, _ in ends]))
        for i, row in enumerate(rows)
        for j, name in enumerate(names)
    }
    for j, name in enumerate(names):
        for i, k in enumerate(classes):
            pixels[f"images.columns.{j}.classes.{i}"] = smaller(mean_image(parsed[name], codes == k))
        plan = next(image.plan for image in fitted.encoder.images if image.name == name)
        for i, bank in enumerate(plan.banks):
            pixels[f"images.columns.{j}.filters.{i}"] = filter_sheet(bank, plan.channels)
    return Gallery(facts, pixels)


def _commonest(codes: NDArray[np.integer], count: int) -> list[int]:
    """At most CLASSES classes that have rows, those of most rows, in the order of the classes."""
    rows = np.bincount(codes, minlength=count)
    order = np.argsort(-rows, kind="stable")[:CLASSES]
    return sorted(k for k in order.tolist() if rows[k])


def _surest_first(sure: Floats) -> list[int]:
    found: list[int] = np.argsort(-sure, kind="stable").tolist()
    return found


def _both_ends(rows: NDArray[np.int64], sure: Floats) -> Sequence[tuple[int, bool]]:
    """The surest of some rows, and the least sure where that is another."""
    order = [int(rows[k]) for k in _surest_first(sure[rows])]
    return [(row, k == 0) for k, row in enumerate((order[0], order[-1])[: len(order)])] if order else []


def mean_image(images: Pixels, rows: NDArray[np.bool_]) -> Pixels:
    """The mean of some of the images, rounded."""
    total = np.zeros(images.shape[1:], dtype=np.int64)
    own = np.flatnonzero(rows)
    for at in range(0, len(own), 1024):
        total += images[own[at : at + 1024]].sum(axis=0, dtype=np.int64)
    return np.rint(total / len(own)).astype(np.uint8)


def smaller(image: Pixels) -> Pixels:
    """The image, or means of its blocks if a side is larger than LARGEST."""
    height, width, channels = image.shape
    size = -(-max(height, width) // LARGEST)
    if size == 1 or min(height, width) < size:
        return image
    down, across = height // size, width // size
    blocks = image[: down * size, : across * size].reshape(down, size, across, size, channels)
    return np.asarray(np.rint(blocks.mean(axis=(1, 3))), dtype=np.uint8)


def filter_sheet(bank: Bank, channels: int) -> Pixels:
    """The filters of a bank side by side, each from its most negative number (dark) to its opposite (light)."""
    filters = bank.filters.reshape(-1, channels, bank.side, bank.side).transpose(0, 2, 3, 1)
    most = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    shade = np.rint(127.5 + 127.5 * filters / np.where(most > 0, most, 1.0)).astype(np.uint8)
    tiles = shade.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)
    side = bank.side * ZOOM + 2
    lines = -(-len(tiles) // ACROSS)
    sheet = np.full((lines * side, ACROSS * side, channels), 255, dtype=np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // ACROSS * side + 1, k % ACROSS * side + 1
        sheet[top : top + side - 2, left : left + side - 2] = tile
    return sheet


# --- what speaks for a class -------------------------------------------------


def _column(
    fitted: Fitted, name: str, images: Pixels, codes: NDArray[np.integer], classes: Sequence[int], threads: int
) -> dict[str, Any]:
    """Of one column of images, by class: how many rows it has, how many images were covered, and what each cell adds
    to the class, lines from the top."""
    height, width, channels = images.shape[1:]
    copies = len(grid(height)) * len(grid(width)) + 1
    each = copies * height * width * channels
    most = min(max(PIXELS // (each * max(len(classes), 1)), 1), MOST_COVERED)
    step = max(AT_ONCE // each, 1)
    found = []
    for k in classes:
        own = np.flatnonzero(codes == k)
        some = own[np.unique(np.linspace(0, len(own) - 1, most).round().astype(np.int64))]
        parts = [images[some[at : at + step]] for at in range(0, len(some), step)]
        cells = np.sum([covered_effect(fitted, name, part, threads) for part in parts], axis=0) / len(some)
        known: Mapping[str, Any] = {"class": fitted.classes[k], "code": k, "rows": len(own), "covered": len(some)}
        speaks = cells[:, :, k] if cells.shape[2] > 1 else cells[:, :, 0] * (1 if k else -1)
        found.append({**known, "cells": speaks.tolist(), "least": speaks.min(), "most": speaks.max()})
    plan = next(image.plan for image in fitted.encoder.images if image.name == name)
    filters = [{"side": bank.side << bank.halved, "count": len(bank.filters)} for bank in plan.banks]
    size = {"height": height, "width": width, "channels": channels}
    return {"column": name} | size | {"classes": found, "filters": filters}


def grid(side: int) -> list[tuple[int, int]]:
    """The cells along one side of an image, each from its first pixel to behind its last."""
    edges = np.linspace(0, side, min(CELLS, side) + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def border(image: Pixels) -> Pixels:
    """The median colour of the outermost pixels, (channels,)."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return np.asarray(np.sort(edge, axis=0)[(len(edge) - 1) // 2], dtype=np.uint8)


def covered_effect(fitted: Fitted, name: str, images: Pixels, threads: int = 1) -> Floats:
    """What each cell of images (n, height, width, channels) adds to the logits: how far they fall, the other columns
    as they are, when the cell gets the median colour of the image's border; summed over the images.

    (lines of cells, cells of a line, outputs); logits of more than two classes are less their mean, two have the one
    of the second. (Occlusion: Zeiler and Fergus, ECCV 2014, section 4.2; here it is exact, as the model is linear in
    what it makes of an image.)
    """
    down, across = grid(images.shape[1]), grid(images.shape[2])
    copies = np.repeat(images[:, np.newaxis], len(down) * len(across) + 1, axis=1)
    for image, own in zip(images, copies, strict=True):
        ground = border(image)
        for i, (top, bottom) in enumerate(down):
            for j, (left, right) in enumerate(across):
                own[1 + i * len(across) + j, top:bottom, left:right] = ground
    added = added_by(fitted, name, {name: copies.reshape(-1, *images.shape[1:])}, threads)
    added = added.reshape(len(images), -1, added.shape[-1])
    falls = (added[:, :1] - added[:, 1:]).sum(axis=0)
    return np.asarray(falls.reshape(len(down), len(across), -1), dtype=np.float64)
