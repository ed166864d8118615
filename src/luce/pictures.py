"""Which features image columns become: the rung of the ladder (patches.py), the views of an image that count as one,
and the strength; settled on rows held out."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.cells import family, shown
from luce.choice import (
    FEW_READ,
    MANY_READ,
    SOME_FOLDS,
    Choice,
    beside_plain,
    compared,
    sample_of,
)  # fmt: skip
from luce.columnar import is_encoded
from luce.encoder import Encoder, ImagePlan
from luce.errors import InputError
from luce.features import Features
from luce.grouping import dealt_by
from luce.images import read_images
from luce.patches import IN_HASTE, LADDER, VIEWS, Bank, PatchPlan, fit_patches, recipes_for, scaled, work_of
from luce.path import FOLDS, LITTLE, Path, Problem, folds_of, path_of, race_side_by_side
from luce.run import piece
from luce.splits import holdout
from luce.strength import hold_out
from luce.table import Table
from luce.wording import keys_of

INKED = 1_000  # images that tell whether strokes on an even ground are what they show
NEAR = 48  # grey levels
SMALLEST = 12  # pixels a side: smaller images are taken as they are
MOST_ANSWERS = 200_000  # rows x classes that the ways to look are settled on,
MOST_WORK = 2e11  # multiplications for one of them,
LEAST_ROWS = 1_000  # or so many rows
FEW_ANSWERS = 10_000  # with at most so many, all folds are held out for it
HIGHER = 1.0  # standard errors by which a higher rung must lower the log loss, if all rows are tried: more rows have
MANY_MORE = 4  # more to gain by it, and where there are so many times as many it must but lower it,
ALIKE = 2.0  # and by which it must fall if twice as many views, which take twice as long, are to count as one
PROBE = (32, 64, 64, 1)  # images that the speed of this machine is measured on, with 64 filters
LEARNING = 2.5e6  # multiplications for each number of a filter, and
WHITENING = 4e5  # for each pair of numbers of a patch
PASSES = 60  # of a fit: all features are multiplied with the weights of each class, and
BESIDE = 8  # takes as long as so many classes more
TRIALS = 4  # strengths, to try a way
UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


@dataclass(frozen=True)
class Way:
    """To look at images: a rung of the ladder, and how many views of an image count as one."""

    level: int
    views: int = 1


def seconds_of(budget: str | float) -> float:
    """30s, 2min, 1.5h or a number of seconds, as a number; raises InputError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(budget).lower())
    unit = None if found is None else UNITS.get(found[2])
    if found is None or unit is None or not 0 < float(found[1]) * unit < 1e9:
        raise InputError(f"budget is {budget!r}: give seconds above 0, such as 30s, 2min or 90")
    return float(found[1]) * unit


def choose_images(
    encoder: Encoder, parsed: Mapping[str, Any], names: Sequence[str], codes: NDArray[np.int32], classes: int, *,
    plain: Choice | None, l2: float | str | None, threads: int, groups: NDArray[np.int64] | None = None,
    budget: float | None = None,
) -> Choice:  # fmt: skip
    """The image columns `names` as responses of filters beside the other columns, and the strength.

    A higher rung of the ladder is taken if it lowers the log loss of rows held out by a standard error (at all, where
    these are a quarter of the rows or fewer); then mirror images count as one if that lowers it by two. Filters are
    learnt from the images alone, without labels, so that the same serve all folds. plain: the choice without the
    images, None where there is no other column; it stays if the images do not lower the log loss. budget: seconds that
    it may take, about, by a model of time for this machine.
    """
    base = encoder if plain is None else plain.encoder
    others = base.transform(parsed, threads) if base.width else Features(len(codes))
    strata, keys = dealt_by(codes, groups, keys_of(others, {name: parsed[name] for name in names}, threads), parsed)
    problem = Problem(others, codes, classes, None, threads=threads, keys=keys, strata=strata)
    look = Look(base, parsed, names, problem, l2)
    way, best, notes = _best_way(look, None if budget is None else Clock(budget, look))
    strength = float(l2) if isinstance(l2, float | int) else best.l2 * len(look.rows) / len(codes)
    wider, problem = (best.encoder, best.problem) if look.has_all else look.through(way, all_rows=True)
    fold = folds_of(problem, keys)
    if len(codes) > MANY_READ:
        fold[fold >= SOME_FOLDS] = -1
    path = hold_out(problem, strength, fold_of_row=fold)
    return beside_plain("images", Choice(wider, problem, strength, path, None, notes=notes), plain)


@dataclass
class Look:
    """Images and what is known of their rows; plans: known ones, by level."""

    base: Encoder
    parsed: Mapping[str, Any]
    names: Sequence[str]
    problem: Problem  # without the images
    l2: float | str | None
    plans: dict[int, list[PatchPlan]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Those that it is settled on how images are looked at, and how strong the penalty is; what a row says of a
        weight counts as much with more rows."""
        rows, outputs = len(self.problem.codes), self.problem.outputs
        work = max(sum(work_of(size, way.level)[0] for size in self.sizes) for way in self.ways())
        some = min(FEW_READ, max(LEAST_ROWS, min(MOST_ANSWERS // outputs, int(MOST_WORK / max(work, 1)))))
        return np.arange(rows) if rows <= 1.5 * some else holdout(self.problem.codes, some / rows, 0)[1]

    @property
    def folds(self) -> int:
        """How many are held out to try a way."""
        return FOLDS if len(self.rows) * self.problem.outputs <= FEW_ANSWERS else SOME_FOLDS

    @property
    def has_all(self) -> bool:
        return len(self.rows) == len(self.problem.codes)

    @property
    def sizes(self) -> list[tuple[int, ...]]:
        return [self.parsed[name].shape[1:] for name in self.names]

    def ways(self) -> list[Way]:
        """The rungs whose patches fit, but the one for those in haste."""
        if min(min(size[:2]) for size in self.sizes) < SMALLEST:
            return [Way(0)]
        rungs = [level for level in range(1, len(LADDER)) if level != IN_HASTE]
        return [Way(level) for level in rungs if all(_fits(size, level) for size in self.sizes)]

    def through(self, way: Way, all_rows: bool) -> tuple[Encoder, Problem]:
        """The encoder that looks so, and the problem with its features: of all rows, or of the rows to try it on."""
        threads, every = self.problem.threads, all_rows or self.has_all
        if way.level not in self.plans:
            self.plans[way.level] = [fit_patches(self.parsed[n], way.level, 0, threads) for n in self.names]
        plans = self.plans[way.level]
        if way.views > 1:
            given = zip(plans, self.names, strict=True)
            plans = [scaled(replace(p, views=way.views), self.parsed[n], 0, threads) for p, n in given]
        cells = self.parsed if every else {name: column[self.rows] for name, column in self.parsed.items()}
        encoder, features = _with_images(self.base, cells, self.names, plans, threads)
        if every:
            return encoder, replace(self.problem, features=features)
        return encoder, replace(sample_of(self.problem, self.rows), features=features)

    def tried(self, way: Way, near: float) -> Choice:
        """How the way does on rows held out, with the best strength near one, or the one that is wanted."""
        encoder, part = self.through(way, all_rows=False)
        assert part.keys is not None
        fold = folds_of(part, part.keys)
        if isinstance(self.l2, float | int):
            fold[fold >= self.folds] = -1
            path = hold_out(part, float(self.l2), fold_of_row=fold)
            return Choice(encoder, part, float(self.l2), path, None)

        def scored() -> Path | None:
            race = race_side_by_side(part, near, self.folds, fold, lambda _: part.features)
            return None if race is None else path_of(race, race.best)

        path = piece("images", scored, Path)
        return Choice(encoder, part, near if path is None else path.l2, path, None)


def _fits(size: tuple[int, ...], level: int) -> bool:
    try:
        recipes_for(size, level)
    except InputError:
        return False
    return True


def _best_way(look: Look, clock: Clock | None) -> tuple[Way, Choice, tuple[str, ...]]:
    """The way to look of least log loss, how it did, and notes."""
    first, *higher = look.ways()
    if clock is not None and not clock.has_time_for(first):
        higher = []
        first = Way(IN_HASTE) if first.level and clock.has_time_for(Way(IN_HASTE)) else Way(0)
    way, best = first, look.tried(first, 1.0 / len(look.rows))

    def climb(to: Way, by: float) -> bool:
        nonlocal way, best
        if best.path is None or (clock is not None and not clock.has_time_for(to)):
            return False
        found = look.tried(to, best.l2)
        if found.path is None:
            return False
        told = compared("images", found, best)
        if told.gain <= max(by * told.error, LITTLE * told.log_loss):
            return False
        way, best = to, found
        return True

    more = len(look.problem.codes) / len(look.rows)
    for each in higher:
        climb(each, HIGHER if more < MANY_MORE else 0.0)
    for views in VIEWS[1:] if way.level else ():
        if (views == 8 and any(size[0] != size[1] for size in look.sizes)) or not climb(
            replace(way, views=views), ALIKE
        ):
            break
    return way, best, () if clock is None else clock.notes(way)


class Clock:
    """A budget of seconds, and what of it the ways that are tried take by a model of time: multiplications, at the
    speed of this machine, rounded down to a power of the root of two so that it is mostly the same from run to run."""

    def __init__(self, budget: float, look: Look) -> None:
        self.budget, self.look, self.spent = budget, look, 0.0
        self.speed = 2.0 ** (np.floor(2.0 * np.log2(_speed(look.problem.threads))) / 2.0)
        self.learnt: set[int] = set()
        self.left_out: list[Way] = []

    def has_time_for(self, way: Way) -> bool:
        """Whether trying it and then fitting all rows so stays within the budget; if so it counts as tried."""
        look = self.look
        rows, some = len(look.problem.codes), len(look.rows)
        folds = SOME_FOLDS if rows > MANY_READ else FOLDS
        trial = learning = rest = 0.0
        for size in look.sizes:
            work, features = work_of(size, way.level)
            fit = float(PASSES * features * (look.problem.outputs + BESIDE))  # a row
            learning += sum(
                LEARNING * r.filters * size[2] * r.side**2 + WHITENING * (size[2] * r.side**2) ** 2
                for r in recipes_for(size, way.level)
            )
            trial += some * (way.views * work + TRIALS * look.folds * fit)
            rest += rows * ((0.0 if look.has_all else way.views * work) + (folds + 1) * fit)
        trial += 0.0 if way.level in self.learnt else learning
        if self.spent + (trial + rest) / self.speed > self.budget:
            self.left_out.append(way)
            return False
        self.spent += trial / self.speed
        self.learnt.add(way.level)
        return True

    def notes(self, way: Way) -> tuple[str, ...]:
        """What the budget left no time for."""
        if not way.level and self.left_out:
            return (f"the budget of {self.budget:g} s has no time for patches of the images: they enter as pixels",)
        if self.left_out:
            return (
                f"the budget of {self.budget:g} s left {len(self.left_out)} richer way(s) to look at images untried",
            )
        return ()


def _speed(threads: int) -> float:
    """Multiplications a second when filters are laid over images, the best of some."""
    images = np.arange(np.prod(PROBE), dtype=np.uint64).astype(np.uint8).reshape(PROBE)
    filters = np.tile(np.array([1, -1] * 12 + [0], dtype=np.float32), (64, 1))
    plan = PatchPlan(*PROBE[1:], 1.0, (Bank(5, 4, 0.5, 10.0, filters, np.zeros(64, dtype=np.float32)),))
    took = []
    for _ in range(5):
        began = time.perf_counter()
        plan.features(images, threads)
        took.append(time.perf_counter() - began)
    return PROBE[0] * 60 * 60 * 25 * 64 / min(took)


def _with_images(
    encoder: Encoder, parsed: Mapping[str, Any], names: Sequence[str], plans: Sequence[PatchPlan], threads: int
) -> tuple[Encoder, Features]:
    """The encoder with a plan for each column of images, and its features."""
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


def image_columns(table: Table, kinds: Mapping[str, str]) -> list[str]:
    """The columns that are images as `kinds` says, or as their cells are files of images and it says nothing."""
    said = [name for name, kind in kinds.items() if kind == "image"]
    return said + [name for name, dtype in table.frame.schema.items() if is_encoded(dtype) and name not in kinds]


def with_pixels(
    table: Table, names: Iterable[str], base: str, sizes: Mapping[str, tuple[int, int, int]] | None = None,
    skip_bad: bool = False,
) -> Table:  # fmt: skip
    """The table with columns of paths (seen from the folder `base`), of encoded images or of pixels as pixels of one
    size.

    sizes: (height, width, channels) that a model knows them in; None: chosen from the images. skip_bad: rows whose
    image cannot be read are left out, which a note tells; else InputError names the first.
    """
    import polars as pl

    for name in names:
        series = table.column(name)
        known = None if sizes is None else sizes[name]
        pixels = family(series.dtype) == "image"
        if pixels and known in (None, getattr(series.dtype, "shape", None)):
            continue
        try:
            size, channels = (None, None) if known is None else (known[:2], known[2])
            cells = series.to_numpy() if pixels else series.to_list()
            found = read_images(cells, size=size, channels=channels, skip_bad=skip_bad, base=base)
        except InputError as error:
            raise type(error)(f"{table.source}, column {shown(name)}: {error}") from None
        frame = table.frame[found.rows] if len(found.rows) < table.rows else table.frame
        files = tuple(map(str, series[found.rows])) if family(series.dtype) == "text" else ()
        notes = (*table.notes, *(f"column {shown(name)}: {note}" for note in found.notes))
        frame = frame.with_columns(pl.Series(series.name, found.pixels))
        table = replace(table, frame=frame, notes=notes, levels={}, files=files)
    return table
