"""Which features image columns become: the rung of the ladder (patches.py), and the strength, on rows held out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.cells import family, shown
from luce.choice import Choice, Tried, compared, is_better, sample_of
from luce.encoder import Encoder, ImagePlan
from luce.errors import InputError
from luce.features import Features
from luce.images import read_images
from luce.patches import LADDER, fit_patches
from luce.path import Problem, folds_of, hold_out, path_of, race_side_by_side
from luce.splits import holdout, strata_of_groups
from luce.table import Table
from luce.wording import keys_of

SAMPLE = 5_000  # rows: on so many the strength is looked for; it then falls as the rows grow
MANY_ROWS = 20_000  # with more, SOME_FOLDS are held out
SOME_FOLDS = 2
INKED = 1_000  # images that tell whether strokes on an even ground are what they show
NEAR = 48  # grey levels
SMALLEST = 12  # pixels a side: smaller images are taken as they are


def choose_images(
    encoder: Encoder, parsed: Mapping[str, Any], names: Sequence[str], codes: NDArray[np.int32], classes: int, *,
    plain: Choice | None, l2: float | str | None, threads: int, groups: NDArray[np.int64] | None = None,
) -> Choice:  # fmt: skip
    """The image columns `names` as responses of filters beside the other columns, and the strength.

    Filters are learnt from the images alone, without labels, so that the same serve all folds. plain: the choice
    without the images, None where there is no other column; it stays if the images do not lower the log loss.
    """
    base = encoder if plain is None else plain.encoder
    wider, features = _with_images(base, parsed, names, threads)
    others = base.transform(parsed, threads) if base.width else Features(len(codes))
    strata, keys = None, keys_of(others, {name: parsed[name] for name in names}, threads)
    if groups is not None:
        strata, keys = strata_of_groups(codes, groups, 0)
    problem = Problem(features, codes, classes, None, threads=threads, keys=keys, strata=strata)
    strength = float(l2) if isinstance(l2, float | int) else _strength(problem)
    fold = folds_of(problem, keys)
    if len(codes) > MANY_ROWS:
        fold[fold >= SOME_FOLDS] = -1
    path = hold_out(problem, strength, fold_of_row=fold)
    found = Choice(wider, problem, strength, path, None)
    if plain is None or plain.path is None or path is None:
        loss = float(np.nanmean(found.losses)) if path is not None else np.nan
        alone = (Tried("images", wider.width, loss, 0.0, 0.0),) if path is not None else ()
        return replace(found, tried=alone)
    told = compared("images", found, plain)
    return replace(found, tried=(*plain.tried, told)) if is_better(told) else plain


def _with_images(
    encoder: Encoder, parsed: Mapping[str, Any], names: Sequence[str], threads: int
) -> tuple[Encoder, Features]:
    """The encoder with a plan for each column of images, and its features."""
    plans = [fit_patches(parsed[name], level_for(parsed[name]), 0, threads) for name in names]
    bare = replace(
        encoder,
        images=tuple(ImagePlan(n, p, np.zeros(p.columns, np.float32)) for n, p in zip(names, plans, strict=True)),
    )
    features = bare.transform(parsed, threads)
    assert features.dense is not None
    means = features.dense.mean(axis=0, dtype=np.float64).astype(np.float32)
    images, own = [], bare.owner[: features.dense_columns]
    for image in bare.images:
        its = np.flatnonzero(own == bare.sources.index(image.name))
        features.dense[:, its[0] : its[-1] + 1] -= means[its]
        images.append(replace(image, means=means[its]))
    return replace(encoder, images=tuple(images)), features


def level_for(images: NDArray[np.uint8]) -> int:
    """The highest rung whose patches fit."""
    return len(LADDER) - 1 if min(images.shape[1:3]) >= SMALLEST else 0


def _strength(problem: Problem) -> float:
    """The best strength on a sample, in proportion: what a row says of a weight counts as much with more rows."""
    rows = np.arange(len(problem.codes))
    if len(rows) > 1.5 * SAMPLE:
        rows = holdout(problem.codes, SAMPLE / len(rows), 0)[1]
    part = sample_of(problem, rows)
    assert part.keys is not None
    race = race_side_by_side(part, 1.0 / len(rows), SOME_FOLDS, folds_of(part, part.keys), lambda _: part.features)
    near = 1.0 / len(rows) if race is None else path_of(race, race.best).l2
    return near * len(rows) / len(problem.codes)


def ink_of(images: NDArray[np.uint8]) -> str | None:
    """ "light on dark" or "dark on light" for grey images of strokes on an even ground, as digits are; None for others:
    at least half of all pixels lie near the median of the borders, itself near an end of the scale."""
    if images.shape[3] != 1:
        return None
    grey = images[np.unique(np.linspace(0, len(images) - 1, INKED).astype(np.int64)), :, :, 0]
    border = np.concatenate([grey[:, [0, -1]].ravel(), grey[:, :, [0, -1]].ravel()])
    ground = float(np.median(border))
    even = float(np.mean(np.abs(grey - ground) <= NEAR)) >= 0.5
    if not even or NEAR < ground < 255 - NEAR:
        return None
    return "light on dark" if ground <= NEAR else "dark on light"


def with_pixels(
    table: Table, names: Iterable[str], base: str, sizes: Mapping[str, tuple[int, int, int]] | None = None,
    skip_bad: bool = False,
) -> Table:  # fmt: skip
    """The table with columns of paths (seen from the folder `base`) or of encoded images as pixels of one size.

    sizes: (height, width, channels) that a model knows them in; None: chosen from the images. skip_bad: rows whose
    image cannot be read are left out, which a note tells; else InputError names the first.
    """
    import polars as pl

    for name in names:
        series = table.column(name)
        known = None if sizes is None else sizes[name]
        if family(series.dtype) == "image":
            continue
        try:
            size, channels = (None, None) if known is None else (known[:2], known[2])
            found = read_images(series.to_list(), size=size, channels=channels, skip_bad=skip_bad, base=base)
        except InputError as error:
            raise type(error)(f"{table.source}, column {shown(name)}: {error}") from None
        frame = table.frame[found.rows] if len(found.rows) < table.rows else table.frame
        files = tuple(map(str, series[found.rows])) if family(series.dtype) == "text" else ()
        notes = (*table.notes, *(f"column {shown(name)}: {note}" for note in found.notes))
        frame = frame.with_columns(pl.Series(series.name, found.pixels))
        table = replace(table, frame=frame, notes=notes, levels={}, files=files)
    return table
