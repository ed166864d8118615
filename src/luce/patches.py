"""Images -> features without a trained network: small patches compared with filters learnt from the images themselves.

Each square patch is brought to mean 0 and contrast 1, whitened, and compared with filters that spherical k-means has
found among such patches; what lies beyond a threshold, of either sign, is averaged over overlapping cells, and where it
makes no difference to the labels, over the image and its mirror image. How bright an image is and how strong its
contrasts are, which such patches cannot tell, stands beside it. On such features the fit stays linear, convex and
certified. (Coates, Ng and Lee, An analysis of single-layer networks, AISTATS
2011; Coates and Ng, Learning feature representations with k-means, 2012; the soft threshold: Coates and Ng, ICML 2011.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.errors import InputError, ModelFileError
from luce.features import Array
from luce.splits import row_keys

Images = NDArray[np.uint8]
Numbers = NDArray[np.float32]

PATCHES = 100_000  # that filters are learnt from
ROUNDS = 10  # of k-means
FLATTEN = 0.1  # added to the variance of whitened directions, of which the largest have some 10
NOISE = 10.0  # added to the variance of a patch, of pixels from 0 to 255
SPREAD_IMAGES = 500  # that the features' scale is measured on:
VARIANCE = 100.0  # of all features together, so that a penalty of 1/n is about right
TONES = 2  # cells a side that brightness and contrast are taken of,
TONE_SHARE = 0.1  # which vary so much of that beside the rest
MOST_FEATURES = 1 << 17
MOST_SIDE = 1 << 12  # of an image that a plan is for
MOST_CELLS = 64  # on a side of the grid
MOST_HALVED = 12
LARGE = 72  # pixels: images of longer sides are halved until they are none, before any filter sees them
VIEWS = (1, 2, 4, 8)  # of an image: as it is; and left and right exchanged; and top and bottom; and lines and columns
MOST_SIZE = 1e4  # of a number of a filter: whitening makes none above 4, and nothing can overflow
MOST_SCALE = 1e12
HEAT = 14  # lines, and columns, of a heat map at most


@dataclass(frozen=True)
class Recipe:
    """Filters for patches of side x side pixels of images that are halved so often, pooled over cells x cells."""

    side: int
    filters: int
    cells: int
    halved: int = 0
    threshold: float = 0.5


# Pixels; where strokes and parts have their place: patches of one size, of two scales, of two sizes; where things stand
# anywhere: few cells of many filters, of three scales; and where there is no time: few filters.
LADDER: tuple[tuple[Recipe, ...], ...] = (
    (),
    (Recipe(5, 64, 4),),
    (Recipe(5, 64, 4), Recipe(5, 64, 4, 1)),
    (Recipe(5, 64, 5), Recipe(9, 48, 4), Recipe(5, 64, 4, 1)),
    (Recipe(5, 64, 2), Recipe(5, 128, 2, 1), Recipe(5, 256, 2, 2)),
    (Recipe(5, 24, 4),),
)
IN_HASTE = 5


@dataclass(frozen=True)
class Bank:
    """Filters (K, c side^2) float32, their numbers by (channel, line, column), of sum 0, and offsets (K,) float32, for
    images that are halved so often.

    For a patch x of pixels 0 to 255,  r = filter . (x - mean x) / sqrt(var x + noise) - offset  compares its contrast-
    normalised, whitened self with a centroid; what counts is max(+-r - threshold, 0).
    """

    side: int
    cells: int
    threshold: float
    noise: float
    filters: Numbers
    offsets: Numbers
    halved: int = 0


@dataclass(frozen=True)
class PatchPlan:
    """What is made of images of height x width x channels: for each bank and cell the root of the mean response of each
    filter's positive side, then of its negative side, times scale; then for tone_cells x tone_cells parts of the image
    and each channel the mean of the pixels and the root of their variance, times tone_scale; the mean of that over so
    many views of an image. Without banks it is the pixels, times scale."""

    height: int
    width: int
    channels: int
    scale: float
    banks: tuple[Bank, ...] = ()
    views: int = 1
    tone_cells: int = 0
    tone_scale: float = 1.0

    @property
    def size(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def columns(self) -> int:
        if not self.banks:
            return self.height * self.width * self.channels
        return sum(bank.features for bank in self._core_banks) + self.tone_columns

    @property
    def tone_columns(self) -> int:
        """How many features, the last ones, are brightness and contrast."""
        return self.tone_cells**2 * self.channels * 2

    @cached_property
    def _core_banks(self) -> list[_core.PatchBank]:
        return [_core_bank(bank, self.height, self.width, self.scale) for bank in self.banks]

    def features(self, images: Images, threads: int) -> Numbers:
        """(n, columns) float32 of images (n, height, width, channels) uint8; a row depends on its image alone."""
        images = _checked(images)
        if images.shape[1:] != (self.height, self.width, self.channels):
            wanted, given = (self.height, self.width, self.channels), images.shape[1:]
            raise InputError(f"images are {given} (height, width, channels), the model was fitted to {wanted}")
        if not self.banks:
            return images.reshape(len(images), -1) * np.float32(self.scale)
        out = np.empty((len(images), self.columns), dtype=np.float32)
        sizes = halved(images, max(bank.halved for bank in self.banks), threads)
        self._fill(sizes, self.views, out, threads)
        return out

    def _fill(self, sizes: list[Images], views: int, out: Numbers, threads: int) -> None:
        _core.patch_features(sizes, self._core_banks, views, self.tone_cells, self.tone_scale, out, threads)

    def heat(self, image: Images, weights: Array, means: Array) -> Array:
        """Where in an image (height, width, channels) its features x speak: sum_j weights_j (x_j - means_j) in parts,
        (lines, columns) float64, at most HEAT a side.

        What a pooled cell adds lies on the pixels of its patches, as the cell weighs them, in each view where it looks.
        """
        images = _checked(image[np.newaxis])
        lines, columns = min(HEAT, self.height), min(HEAT, self.width)
        if not self.banks:
            parts = (weights * (self.features(images, 1)[0] - means)).reshape(self.size).sum(axis=2)
            return _binned(parts, 0, self.size, lines, columns)
        out = np.zeros((lines, columns))
        sizes = halved(images, max(bank.halved for bank in self.banks), 1)
        found = np.empty((1, self.columns), dtype=np.float32)
        for view in range(self.views):
            self._fill([_turned(size, view) for size in sizes], 1, found, 1)
            *parts, tones = np.split(weights * (found[0] - means) / self.views, self._ends)
            for bank, own in zip(self.banks, parts, strict=True):
                rows, across = (_pixels_of((side >> bank.halved) - bank.side + 1, bank) for side in self.size[:2])
                out += _binned(_spread(own, rows, across, view), bank.halved, self.size, lines, columns)
            if self.tone_cells:
                rows, across = (_tone_pixels(side, self.tone_cells) for side in self.size[:2])
                out += _binned(_spread(tones, rows, across, view), 0, self.size, lines, columns)
        return out

    @property
    def _ends(self) -> list[int]:
        """Where the features of each bank end."""
        ends: list[int] = np.cumsum([bank.features for bank in self._core_banks]).tolist()
        return ends

    def sentence(self) -> str:
        """What it looks at, for a person."""
        if not self.banks:
            return f"{self.columns:,} pixels"
        sides = sorted({bank.side << bank.halved for bank in self.banks})
        filters = sum(len(bank.offsets) for bank in self.banks)
        alike = {1: "", 2: ", mirror images are alike", 4: ", mirrored and upside down they are alike"}
        turned = alike.get(self.views, ", turned and mirrored they are alike")
        return f"{filters} filters for patches of {' and '.join(map(str, sides))} pixels{turned}"

    def to_json(self) -> dict[str, Any]:
        """All but the arrays."""
        banks = [[bank.side, bank.cells, bank.threshold, bank.noise, bank.halved] for bank in self.banks]
        size = [self.height, self.width, self.channels]
        tones = [self.tone_cells, self.tone_scale]
        return {"size": size, "scale": self.scale, "views": self.views, "banks": banks, "tones": tones}

    def arrays(self, name: str) -> dict[str, Numbers]:
        """The filters and offsets of each bank, by names that begin with `name`."""
        named = ({f"{name}_filters{i}": b.filters, f"{name}_offsets{i}": b.offsets} for i, b in enumerate(self.banks))
        return dict(chain.from_iterable(each.items() for each in named))

    @staticmethod
    def from_json(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], name: str) -> PatchPlan:
        """The plan that `to_json` and `arrays` wrote; raises ModelFileError if a part is wrong."""
        height, width, channels = (_whole(number, MOST_SIDE) for number in facts["size"])
        banks = tuple(
            _bank(entry, arrays[f"{name}_filters{i}"], arrays[f"{name}_offsets{i}"], (height, width, channels))
            for i, entry in enumerate(facts["banks"])
        )
        views = _whole(facts["views"], VIEWS[-1])
        if views not in VIEWS or (views == 8 and height != width):
            raise ModelFileError("the views of an image are broken")
        cells, tone_scale = facts.get("tones", (0, 1.0))
        cells = _whole(cells, min(height, width, MOST_CELLS) if banks else 0, 0)
        plan = PatchPlan(height, width, channels, _positive(facts["scale"]), banks, views, cells, _positive(tone_scale))
        if plan.columns > MOST_FEATURES:
            raise ModelFileError("the filters of an image make too many features")
        return plan


def recipes_for(size: tuple[int, ...], level: int) -> tuple[Recipe, ...]:
    """Those of a rung of the ladder for images of height x width: large ones are halved before.

    Raises InputError if there is no such rung, or the images are smaller than its patches.
    """
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level < len(LADDER):
        raise InputError(f"level is {level!r}: give a whole number from 0 to {len(LADDER) - 1}")
    before, (height, width) = 0, size[:2]
    while max(height, width) >> before > LARGE and min(height, width) >> before > LARGE // 4:
        before += 1
    recipes = tuple(replace(recipe, halved=recipe.halved + before) for recipe in LADDER[level])
    if any(min(height, width) >> recipe.halved < recipe.side for recipe in recipes):
        raise InputError(f"images of {width} x {height} pixels are smaller than the patches of level {level}: use 0")
    return recipes


def work_of(size: tuple[int, ...], level: int) -> tuple[int, int]:
    """Multiplications that the filters of a rung take on an image of height x width x channels, and how many features
    they make."""
    recipes = recipes_for(size, level)
    if not recipes:
        return 0, size[0] * size[1] * size[2]
    work = features = 0
    for recipe in recipes:
        down, across = ((side >> recipe.halved) - recipe.side + 1 for side in size[:2])
        work += down * across * recipe.filters * size[2] * recipe.side**2
        features += 2 * recipe.filters * min(recipe.cells, down) * min(recipe.cells, across)
    return work, features + TONES**2 * size[2] * 2


def fit_patches(images: Images, level: int, seed: int, threads: int, views: int = 1) -> PatchPlan:
    """The plan of a rung of the ladder for images (n, h, w, c) uint8, and so many views of them.

    The same images and seed give the same plan for any number of threads. Raises InputError for images smaller than
    the patches of the level, where there is no image, or for 8 views of images that are not square.
    """
    images = _checked(images)
    recipes = recipes_for(images.shape[1:], level)
    if not images.size:
        raise InputError("there is no image to learn from")
    height, width, channels = images.shape[1:]
    if views not in VIEWS or (views == 8 and height != width):
        raise InputError(f"views is {views!r}: give one of {', '.join(map(str, VIEWS))}, and 8 for squares alone")
    sizes = halved(images, max((recipe.halved for recipe in recipes), default=0), threads)
    banks = tuple(_fit_bank(sizes[recipe.halved], recipe, seed + i, threads) for i, recipe in enumerate(recipes))
    plan = (
        PatchPlan(height, width, channels, 1.0, banks, views, TONES)
        if banks
        else PatchPlan(height, width, channels, 1.0)
    )
    return scaled(plan, images, seed, threads)


def scaled(plan: PatchPlan, images: Images, seed: int, threads: int) -> PatchPlan:
    """The plan with the scales that some of the images ask for."""
    plan, keys = replace(plan, scale=1.0, tone_scale=1.0), row_keys(len(images), seed)
    some = np.sort(np.argsort(keys)[:SPREAD_IMAGES])
    spread = plan.features(images[some], threads).var(axis=0, dtype=np.float64)
    tones = plan.columns - plan.tone_columns
    return replace(
        plan, scale=_scale(spread[:tones], VARIANCE), tone_scale=_scale(spread[tones:], TONE_SHARE * VARIANCE)
    )


def _scale(spread: Array, wanted: float) -> float:
    """What gives features of such variances one of so much together; 1 if all are constant."""
    found = float(spread.sum())
    return min((wanted / found) ** 0.5, MOST_SCALE) if found > 0 else 1.0


def halved(images: Images, times: int, threads: int) -> list[Images]:
    """The images as they are, halved once, twice, ...: each pixel the mean of four, rounded."""
    out = [images]
    for _ in range(times):
        n, height, width, channels = out[-1].shape
        smaller = np.empty((n, height // 2, width // 2, channels), dtype=np.uint8)
        _core.halve(out[-1], smaller, threads)
        out.append(smaller)
    return out


def _checked(images: Any) -> Images:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
        raise InputError("images must be an array of uint8, (n, height, width, channels)")
    return np.ascontiguousarray(images)


def _fit_bank(images: Images, recipe: Recipe, seed: int, threads: int) -> Bank:
    """k-means among whitened patches; filters with the whitening folded in: F = D W, offsets F mean."""
    patches = _patches(images, recipe.side, seed, threads)
    width = patches.shape[1]
    mean, covariance = np.empty(width), np.empty((width, width))
    _core.covariance(patches, mean, covariance, threads)
    whitening = _whitening(covariance)
    filters = _spherical_k_means(patches, recipe.filters, mean, whitening, threads)
    folded = _folded(filters, mean, whitening)
    return Bank(recipe.side, recipe.cells, recipe.threshold, NOISE, *folded, recipe.halved)


def _patches(images: Images, side: int, seed: int, threads: int) -> Numbers:
    """Contrast-normalised patches of random places, about PATCHES, without those that show next to nothing."""
    n, height, width, channels = images.shape
    places = n * (height - side + 1) * (width - side + 1)
    keys = row_keys(min(2 * PATCHES, 4 * places), seed)
    rest, left = np.divmod(keys, np.uint64(width - side + 1))
    rest, top = np.divmod(rest, np.uint64(height - side + 1))
    where = np.stack([rest % np.uint64(n), top, left], axis=1).astype(np.int64)
    out = np.empty((len(where), channels * side**2), dtype=np.float32)
    _core.take_patches(images, side, NOISE, where, out, threads)
    shown = np.einsum("ij,ij->i", out, out) >= 0.5 * out.shape[1]  # a variance of NOISE or more
    return np.ascontiguousarray(out[shown][:PATCHES] if shown.any() else out[:PATCHES])


def _whitening(covariance: Array) -> Array:
    """The symmetric root of (covariance + FLATTEN)^-1 (ZCA: Bell and Sejnowski, Vision Res. 37, 1997)."""
    vectors, values = covariance.copy(), np.empty(len(covariance))
    if not _core.symmetric_eigen(vectors, values):
        return np.eye(len(covariance))
    return _product(vectors.T / np.sqrt(np.maximum(values, 0.0) + FLATTEN), vectors)


def _folded(centroids: Array, mean: Array, whitening: Array) -> tuple[Numbers, Numbers]:
    """What compares patches as they are. Their mean is 0, and so is that of centroids and filters."""
    filters = _product(centroids, whitening)
    return filters.astype(np.float32), (filters * mean).sum(axis=1).astype(np.float32)


def _spherical_k_means(patches: Numbers, count: int, mean: Array, whitening: Array, threads: int) -> Array:
    """Centroids of length 1, (count, width): each patch belongs to the one that it is most like, up to its sign, and
    moves it in proportion (Coates and Ng, 2012, section 2.2). They begin at patches."""
    first = np.resize(patches[:count], (count, patches.shape[1])).astype(np.float64)
    centroids = _directions(_product(first - mean, whitening))
    sums, weight = np.empty(centroids.shape), np.empty(count)
    for _ in range(ROUNDS):
        filters, offsets = _folded(centroids, mean, whitening)
        _core.gather_by_filter(patches, filters, offsets, sums, weight, threads)
        centroids = _directions(_product(sums - weight[:, np.newaxis] * mean, whitening) + centroids)
    return centroids


def _directions(rows: Array) -> Array:
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return np.asarray(rows / np.where(length > 0, length, 1.0))


def _product(a: Array, b: Array) -> Array:
    return np.asarray(np.einsum("ij,jk->ik", a, b, optimize=False))  # BLAS would choose its own order


def _core_bank(bank: Bank, height: int, width: int, scale: float) -> _core.PatchBank:
    height, width = height >> bank.halved, width >> bank.halved
    rows = _cells(height - bank.side + 1, bank.cells).astype(np.float64) * scale**2  # under a root later
    columns = _cells(width - bank.side + 1, bank.cells)
    return _core.PatchBank(
        bank.side, bank.filters, bank.offsets, bank.threshold, bank.noise, rows.astype(np.float32), columns,
        bank.halved,
    )  # fmt: skip


def _cells(places: int, cells: int) -> Numbers:
    """How much of each place belongs to each of so many cells, (cells, places): falling from the middle of a cell to
    those of its neighbours, of sum 1 for each cell. Fewer places are each a cell."""
    cells = min(cells, places)
    size = places / cells
    middle = (np.arange(cells)[:, np.newaxis] + 0.5) * size
    shares = np.maximum(1.0 - np.abs(np.arange(places) + 0.5 - middle) / size, 0.0)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


def _turned(images: Images, view: int) -> Images:
    """The images (n, height, width, channels) as a view shows them."""
    images = images.swapaxes(1, 2) if view & 4 else images
    images = images[:, :, ::-1] if view & 1 else images
    return np.ascontiguousarray(images[:, ::-1] if view & 2 else images)


def _pixels_of(places: int, bank: Bank) -> Array:
    """How much of each pixel along a side belongs to each cell, (cells, pixels): of a patch all alike."""
    shares = _cells(places, bank.cells).astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    out = np.zeros((len(shares), places + bank.side - 1))
    for at in range(bank.side):
        out[:, at : at + places] += shares / bank.side
    return out


def _tone_pixels(side: int, cells: int) -> Array:
    """How much of each pixel along a side belongs to each cell of the tones, (cells, pixels)."""
    at, cell = np.arange(side), np.arange(cells)[:, np.newaxis]
    inside = (at >= cell * side // cells) & (at < -(-(cell + 1) * side // cells))
    return np.asarray(inside / inside.sum(axis=1, keepdims=True))


def _spread(parts: Array, rows: Array, across: Array, view: int) -> Array:
    """The sums of what features of cells add, on the pixels of an image that a view shows; rows, across: how much of
    each pixel along a side belongs to each cell."""
    cells = parts.reshape(len(rows), len(across), -1).sum(axis=2)
    pixels = _product(_product(rows.T, cells), across)
    pixels = pixels[::-1] if view & 2 else pixels
    pixels = pixels[:, ::-1] if view & 1 else pixels
    return pixels.T if view & 4 else pixels


def _binned(pixels: Array, halved: int, size: tuple[int, int, int], lines: int, columns: int) -> Array:
    """The sums of pixels of the halved image over lines x columns parts of the whole one."""
    down = _overlap(len(pixels), halved, size[0], lines)
    across = _overlap(pixels.shape[1], halved, size[1], columns)
    return _product(_product(down.T, pixels), across)


def _overlap(pixels: int, halved: int, side: int, parts: int) -> Array:
    """The share of each pixel, 2^halved of the image, that lies in each equal part of the side, (pixels, parts)."""
    begin = (np.arange(pixels) << halved)[:, np.newaxis] * parts / side
    end = begin + (1 << halved) * parts / side
    part = np.arange(parts)
    shared = np.maximum(np.minimum(end, part + 1) - np.maximum(begin, part), 0.0)
    return np.asarray(shared / shared.sum(axis=1, keepdims=True))


def _bank(entry: Any, filters: NDArray[Any], offsets: NDArray[Any], size: tuple[int, int, int]) -> Bank:
    """A bank that a model file holds, checked."""
    height, width, channels = size
    side, cells, threshold, noise, times = entry
    times = _whole(times, MOST_HALVED, 0)
    side, cells = _whole(side, min(height, width) >> times), _whole(cells, MOST_CELLS)
    for array, ndim in ((filters, 2), (offsets, 1)):
        if array.dtype != np.float32 or array.ndim != ndim or not (np.abs(array) <= MOST_SIZE).all():
            raise ModelFileError("the filters of an image are broken")
    if filters.shape != (len(offsets), channels * side**2) or not len(offsets):
        raise ModelFileError("the filters of an image do not belong to its size")
    return Bank(side, cells, _positive(threshold), _positive(noise), filters, offsets, times)


def _whole(value: Any, most: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ModelFileError("the size of an image or of its patches is broken")
    return value


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 / MOST_SCALE <= value <= MOST_SCALE:
        raise ModelFileError("a number of an image's features is broken")
    return float(value)
