"""Patch features: the formula, written again with sliding windows; the same bits; plans that come back from files."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_instruction_sets import SETS, runs

import luce
from luce import _core, patches
from luce.errors import InputError, ModelFileError
from luce.patches import LADDER, Bank, PatchPlan, fit_patches

Images = NDArray[np.uint8]


def drawn(n: int, height: int, width: int, channels: int, seed: int = 0) -> Images:
    """Images of blots: noise, averaged over neighbours, so that patches have shapes to learn."""
    noise = np.random.default_rng(seed).normal(0, 1, (n, height + 4, width + 4, channels))
    for axis in (1, 2):
        noise = np.lib.stride_tricks.sliding_window_view(noise, 5, axis=axis).mean(-1)
    return np.clip(128 + 250 * noise, 0, 255).astype(np.uint8)


def bank_of(side: int, filters: int, cells: int, channels: int, seed: int = 0, **more: float) -> Bank:
    random = np.random.default_rng(seed)
    weights = random.normal(0, 0.3, (filters, channels * side**2))
    weights -= weights.mean(axis=1, keepdims=True)
    offsets = random.normal(0, 0.2, filters).astype(np.float32)
    settings = {"threshold": 0.3, "noise": 10.0} | more
    return Bank(side, cells, settings["threshold"], settings["noise"], weights.astype(np.float32), offsets)


def plan_of(images: Images, *banks: Bank, scale: float = 1.0) -> PatchPlan:
    return PatchPlan(*images.shape[1:], scale, banks)


def cells_of(places: int, cells: int) -> NDArray[np.float64]:
    """A tent over each cell: 1 in its middle, 0 a whole cell away; each of sum 1."""
    cells = min(cells, places)
    size = places / cells
    out = np.array(
        [[max(0.0, 1 - abs(p + 0.5 - (c + 0.5) * size) / size) for p in range(places)] for c in range(cells)]
    )
    return out / out.sum(axis=1, keepdims=True)


def half(images: Images) -> Images:
    """Each pixel the mean of four, a half rounded up; an odd last line and column are left out."""
    n, height, width, channels = images.shape
    four = images[:, : height // 2 * 2, : width // 2 * 2].reshape(n, height // 2, 2, width // 2, 2, channels)
    return np.floor(four.mean(axis=(2, 4)) + 0.5).astype(np.uint8)


def oracle(images: Images, plan: PatchPlan) -> NDArray[np.float64]:
    """The mean over the views: every second one left and right exchanged, every second pair top and bottom, the last
    four of eight lines and columns."""
    out: list[NDArray[np.float64]] = []
    for view in range(plan.views):
        seen = [images]
        for _ in range(max(bank.halved for bank in plan.banks)):
            seen.append(half(seen[-1]))
        seen = [x.swapaxes(1, 2) if view & 4 else x for x in seen]
        seen = [x[:, :: -1 if view & 2 else 1, :: -1 if view & 1 else 1] for x in seen]
        out.append(one_view(seen, plan))
    return np.asarray(np.mean(out, axis=0))


def one_view(sizes: list[Images], plan: PatchPlan) -> NDArray[np.float64]:
    rows = []
    for bank in plan.banks:
        images = sizes[bank.halved]
        planes = images.astype(np.float64).transpose(0, 3, 1, 2)
        windows = np.lib.stride_tricks.sliding_window_view(planes, (bank.side, bank.side), axis=(2, 3))
        x = windows.transpose(0, 2, 3, 1, 4, 5).reshape(*windows.shape[:1], *windows.shape[2:4], -1)
        contrast = np.sqrt(x.var(axis=-1, keepdims=True) + bank.noise)
        r = (x - x.mean(axis=-1, keepdims=True)) / contrast @ bank.filters.T.astype(np.float64) - bank.offsets
        both = np.stack([np.maximum(r - bank.threshold, 0), np.maximum(-r - bank.threshold, 0)], axis=3)
        down, across = cells_of(x.shape[1], bank.cells), cells_of(x.shape[2], bank.cells)
        pooled = np.einsum("ay,bx,nyxsk->nabsk", down, across, both)
        rows.append(plan.scale * np.sqrt(pooled).reshape(len(images), -1))
    return np.concatenate([*rows, *tones_of(sizes[0], plan)], axis=1)


def tones_of(images: Images, plan: PatchPlan) -> list[NDArray[np.float64]]:
    """Mean and deviation of each channel of each cell; of an odd side both halves have the middle line."""
    parts = []
    for row in range(plan.tone_cells):
        for column in range(plan.tone_cells):
            lines, across = (cell_of(images.shape[1], row, plan), cell_of(images.shape[2], column, plan))
            cell = images[:, lines, across].astype(np.float64)
            moments = np.stack([cell.mean(axis=(1, 2)), cell.std(axis=(1, 2))], axis=2)
            parts.append(plan.tone_scale * moments.reshape(len(images), -1))
    return parts


def cell_of(side: int, at: int, plan: PatchPlan) -> slice:
    return slice(int(np.floor(at * side / plan.tone_cells)), int(np.ceil((at + 1) * side / plan.tone_cells)))


def close(got: NDArray[Any], wanted: NDArray[Any], scale: float = 1.0) -> bool:
    """Before the root sums of float32 are off by some 1e-5, as filters sum to 0 but for rounding, and pixels are up to
    128 from the middle; a root of next to nothing is off by the root of that."""
    error = np.abs(np.square(got / scale, dtype=np.float64) - np.square(wanted / scale, dtype=np.float64))
    return bool(error.max(initial=0.0) <= 3e-5)


# --- the formula ---------------------------------------------------------------------------------------------------

SHAPES = [
    (12, 12, 1, 3, 5, 2), (28, 28, 1, 5, 16, 4), (9, 17, 3, 4, 37, 3), (17, 9, 2, 2, 64, 5), (5, 5, 1, 5, 33, 4),
    (40, 75, 1, 7, 3, 6), (6, 6, 3, 1, 2, 2), (10, 31, 4, 3, 1, 1),
]  # fmt: skip


@pytest.mark.parametrize("views", [1, 2, 4, 8])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_features_are_the_formula(shape: tuple[int, ...], views: int) -> None:
    height, width, channels, side, filters, cells = shape
    if views == 8 and height != width:
        pytest.skip("lines and columns of a square alone can be exchanged")
    images = drawn(5, height, width, channels)
    plan = replace(plan_of(images, bank_of(side, filters, cells, channels), scale=0.7), views=views)
    wanted = oracle(images, plan)
    got = plan.features(images, 2)
    assert got.dtype == np.float32 and got.shape == (5, plan.columns) == wanted.shape
    assert close(got, wanted, plan.scale) and wanted.std() > 0.01


@pytest.mark.parametrize("views", [1, 2, 4, 8])
@pytest.mark.parametrize("shape", [(12, 12, 1), (13, 13, 3), (9, 17, 3), (31, 10, 4)], ids=str)
def test_brightness_and_contrast_stand_beside(shape: tuple[int, int, int], views: int) -> None:
    if views == 8 and shape[0] != shape[1]:
        pytest.skip("lines and columns of a square alone can be exchanged")
    images = drawn(5, *shape)
    bare = replace(plan_of(images, bank_of(3, 8, 3, shape[2])), views=views)
    for cells in (1, 2, 3):
        plan = replace(bare, tone_cells=cells, tone_scale=0.01)
        got, wanted = plan.features(images, 2), oracle(images, plan)
        assert got.shape == wanted.shape == (5, plan.columns) and plan.tone_columns == 2 * shape[2] * cells**2
        assert np.array_equal(got[:, : bare.columns], bare.features(images, 2))
        at = slice(bare.columns, None)
        assert np.allclose(got[:, at], wanted[:, at], rtol=1e-6, atol=0)  # a float32 is within 6e-8 of its number


def test_two_banks_stand_side_by_side() -> None:
    images = drawn(3, 14, 15, 1)
    one, two = bank_of(3, 8, 3, 1, 1), bank_of(6, 20, 2, 1, 2)
    both = plan_of(images, one, two).features(images, 1)
    assert np.array_equal(both, np.hstack([plan_of(images, b).features(images, 1) for b in (one, two)]))


@pytest.mark.parametrize(("height", "width", "views"), [(16, 24, 1), (21, 18, 2), (19, 23, 4), (27, 27, 8)])
def test_banks_may_see_images_halved(height: int, width: int, views: int) -> None:
    images = drawn(4, height, width, 3)
    one, two = replace(bank_of(3, 8, 3, 3, 1), halved=1), replace(bank_of(2, 20, 2, 3, 2), halved=2)
    plan = replace(plan_of(images, bank_of(4, 8, 2, 3), one, two, scale=0.7), views=views)
    assert close(plan.features(images, 2), oracle(images, plan), plan.scale)


def test_mirror_images_are_alike_where_it_is_said() -> None:
    images = drawn(6, 24, 24, 3)
    for level in (1, 2, 4):
        plan = fit_patches(images, level, 0, 1, 8)
        wanted = plan.features(images, 1)
        for other in (images[:, :, ::-1], images[:, ::-1], images.swapaxes(1, 2)):
            assert np.allclose(plan.features(other, 1), wanted, rtol=1e-4, atol=1e-3)
        alone = fit_patches(images, level, 0, 1)
        assert not np.allclose(alone.features(images[:, :, ::-1], 1), alone.features(images, 1), atol=0.1)
    with pytest.raises(InputError, match="8 for squares alone"):
        fit_patches(images[:, :12].copy(), 1, 0, 1, 8)


def test_large_images_are_halved_first() -> None:
    """150 pixels become 75, then 37, which is below the limit."""
    plan = fit_patches(drawn(3, 150, 100, 1), 2, 0, 2)
    assert [bank.halved for bank in plan.banks] == [2, 3]
    assert [bank.halved for bank in fit_patches(drawn(3, 72, 60, 1), 2, 0, 2).banks] == [0, 1]


def test_scale_multiplies() -> None:
    images = drawn(3, 14, 15, 1)
    plan = plan_of(images, bank_of(3, 8, 3, 1))
    assert np.allclose(replace(plan, scale=3.0).features(images, 1), 3 * plan.features(images, 1), rtol=1e-6)


def test_a_brighter_image_is_the_same_and_its_contrast_counts_little() -> None:
    images = drawn(4, 12, 12, 1) // 2
    plan = plan_of(images, bank_of(5, 16, 3, 1))
    assert close(plan.features(images + np.uint8(100), 1), plan.features(images, 1))
    sharper = plan.features(images * np.uint8(2), 1)
    assert np.abs(sharper - plan.features(images, 1)).max() < 0.1 < sharper.max()


@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant_images_show_the_offsets_alone(value: int) -> None:
    images = np.full((2, 9, 9, 3), value, dtype=np.uint8)
    bank = bank_of(4, 16, 2, 3)
    got = plan_of(images, bank).features(images, 1).reshape(2, 4, 2, 16)
    wanted = np.sqrt(np.maximum(np.stack([-bank.offsets, bank.offsets]) - bank.threshold, 0))
    assert close(got, np.broadcast_to(wanted, got.shape))
    plan = fit_patches(images, 1, 0, 1)  # there is nothing to learn, and nothing breaks
    assert np.isfinite(plan.features(images, 1)).all()


def test_level_0_is_the_pixels() -> None:
    images = drawn(50, 4, 3, 3)
    plan = fit_patches(images, 0, 0, 1)
    got = plan.features(images, 1)
    assert got.dtype == np.float32 and plan.columns == 36
    assert np.allclose(got / plan.scale, images.reshape(50, 36))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_features_are_scaled_ready_for_a_linear_model(level: int) -> None:
    images = drawn(60, 16, 16, 1)
    got = fit_patches(images, level, 0, 2).features(images, 2)
    share = 1 + patches.TONE_SHARE if level else 1
    assert got.var(axis=0, dtype=np.float64).sum() == pytest.approx(share * patches.VARIANCE, rel=1e-3)


# --- the same bits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_depends_on_its_image_alone(channels: int) -> None:
    images = drawn(70, 13, 11, channels)
    plan = plan_of(images, bank_of(3, 20, 3, channels), bank_of(5, 7, 2, channels, 1))
    whole = plan.features(images, 1)
    for threads in (2, 3):
        assert np.array_equal(plan.features(images, threads), whole)
    for first, last in ((0, 1), (1, 18), (17, 33), (69, 70), (3, 3)):
        assert np.array_equal(plan.features(images[first:last], 2), whole[first:last])
    assert np.array_equal(plan.features(images[::-3], 2), whole[::-3])


def same(one: PatchPlan, two: PatchPlan) -> bool:
    mine, other = one.arrays("x"), two.arrays("x")
    return one.to_json() == two.to_json() and all(np.array_equal(mine[k], other[k]) for k in mine | other)


def test_a_plan_depends_on_images_and_seed_alone() -> None:
    images = drawn(200, 12, 12, 1)
    plan = fit_patches(images, 1, 3, 1)
    for threads in (1, 2, 3):
        assert same(fit_patches(images, 1, 3, threads), plan)
    assert not same(fit_patches(images, 1, 4, 1), plan)
    assert not same(fit_patches(255 - images // 2, 1, 3, 1), plan)


@pytest.mark.parametrize("instruction_set", SETS)
def test_every_instruction_set_is_near_the_formula(instruction_set: str, tmp_path: Any) -> None:
    if not runs(instruction_set):
        pytest.skip(f"this processor does not run {instruction_set}")
    images = drawn(6, 15, 22, 3)
    plan = plan_of(images, bank_of(5, 50, 3, 3), bank_of(2, 9, 4, 3, 1))
    np.savez(tmp_path / "in.npz", images=images, **plan.arrays("x"))
    code = f"""
import numpy as np, luce
from luce.patches import PatchPlan, fit_patches
held = np.load({str(tmp_path / "in.npz")!r})
plan = PatchPlan.from_json({plan.to_json()!r}, held, "x")
fitted = fit_patches(held["images"], 1, 0, 2)
np.savez({str(tmp_path / "out.npz")!r}, x=plan.features(held["images"], 2), f=fitted.banks[0].filters)
print(luce.show_config()["instruction_set"])
"""
    environment = os.environ | {"LUCE_CPU": instruction_set}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [instruction_set]
    out = np.load(tmp_path / "out.npz")
    assert close(out["x"], oracle(images, plan))
    assert np.abs(np.linalg.norm(out["f"], axis=1)).min() > 0


# --- filters -------------------------------------------------------------------------------------------------------


def test_filters_have_sum_0_and_are_whitened_directions() -> None:
    images = drawn(300, 14, 14, 1)
    bank = fit_patches(images, 1, 0, 2).banks[0]
    assert np.abs(bank.filters.sum(axis=1)).max() < 1e-5
    x = patches._patches(images, bank.side, 5, 2).astype(np.float64)
    r = x @ bank.filters.T - bank.offsets
    assert np.abs(r.mean(axis=0)).max() < 0.1  # of patches less their mean
    assert 0.5 < r.std(axis=0).mean() < 1.5  # whitened: along any direction about 1


def test_patches_are_those_of_the_images() -> None:
    images = drawn(3, 8, 9, 2)
    places = np.array([[0, 0, 0], [2, 5, 6], [1, 3, 2]])
    got = np.empty((3, 2 * 9), dtype=np.float32)
    _core.take_patches(images, 3, 10.0, places, got, 2)
    for row, (i, top, left) in zip(got, places, strict=True):
        x = images[i, top : top + 3, left : left + 3].astype(np.float64).transpose(2, 0, 1).reshape(-1)
        assert np.allclose(row, (x - x.mean()) / np.sqrt(x.var() + 10.0), atol=1e-6)


def test_covariance_is_that_of_numpy() -> None:
    x = np.random.default_rng(0).normal(1, 2, (1500, 7)).astype(np.float32)
    mean, out = np.empty(7), np.empty((7, 7))
    _core.covariance(x, mean, out, 2)
    assert np.allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=1e-12)
    assert np.allclose(out, np.cov(x.T.astype(np.float64), bias=True), rtol=1e-9, atol=1e-12)
    for threads in (1, 3):
        again = np.empty((7, 7))
        _core.covariance(x, np.empty(7), again, threads)
        assert np.array_equal(again, out)


@pytest.mark.parametrize("filters", [1, 5, 40])
def test_each_patch_moves_the_filter_that_it_is_most_like(filters: int) -> None:
    random = np.random.default_rng(filters)
    x, w = random.normal(0, 1, (1300, 11)).astype(np.float32), random.normal(0, 1, (filters, 11)).astype(np.float32)
    offsets = random.normal(0, 1, filters).astype(np.float32)
    sums, weight = np.empty((filters, 11)), np.empty(filters)
    _core.gather_by_filter(x, w, offsets, sums, weight, 2)
    r = x.astype(np.float64) @ w.T - offsets
    r[np.arange(len(x))[:, np.newaxis], np.argsort(np.abs(r), axis=1)[:, :-1]] = 0
    assert np.allclose(weight, r.sum(axis=0), atol=1e-3) and np.allclose(sums, r.T @ x, atol=1e-3)
    for threads in (1, 3):
        again = np.empty((filters, 11))
        _core.gather_by_filter(x, w, offsets, again, np.empty(filters), threads)
        assert np.array_equal(again, sums)


def test_k_means_brings_centroids_nearer_to_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    images = drawn(200, 14, 14, 1)
    x = patches._patches(images, 5, 9, 2).astype(np.float64)

    def likeness(rounds: int) -> float:
        monkeypatch.setattr(patches, "ROUNDS", rounds)
        bank = fit_patches(images, 1, 0, 2).banks[0]
        return float(np.abs(x @ bank.filters.T - bank.offsets).max(axis=1).mean())

    assert likeness(10) > 1.05 * likeness(0)


def test_patches_that_show_nothing_teach_nothing() -> None:
    images = drawn(100, 16, 16, 1)
    images[:, :, 6:] = 40  # most places are blank
    found = patches._patches(images, 5, 0, 1)
    assert len(found) > 500 and (np.square(found).sum(axis=1) >= 12).all()


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2])
def test_images_smaller_than_a_patch_are_refused(level: int) -> None:
    with pytest.raises(InputError, match=r"images of 9 x 4 pixels are smaller than the patches of level .: use 0"):
        fit_patches(drawn(3, 4, 9, 1), level, 0, 1)


@pytest.mark.parametrize("level", [-1, len(LADDER), 1.5, True, None])
def test_a_level_that_is_none_is_refused(level: Any) -> None:
    with pytest.raises(InputError, match="level is"):
        fit_patches(drawn(3, 8, 8, 1), level, 0, 1)


def test_no_image_is_refused_where_one_is_needed() -> None:
    with pytest.raises(InputError, match="no image"):
        fit_patches(drawn(1, 8, 8, 1)[:0], 1, 0, 1)
    plan = fit_patches(drawn(9, 8, 8, 1), 1, 0, 1)
    assert plan.features(drawn(1, 8, 8, 1)[:0], 1).shape == (0, plan.columns)


@pytest.mark.parametrize("images", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 1)), [[[[1]]]]], ids=str)
def test_what_is_no_array_of_images_is_refused(images: Any) -> None:
    for use in (lambda: fit_patches(images, 1, 0, 1), lambda: PatchPlan(8, 8, 1, 1.0).features(images, 1)):
        with pytest.raises(InputError, match="images must be an array of uint8"):
            use()


def test_images_of_another_size_are_refused() -> None:
    plan = fit_patches(drawn(9, 8, 9, 1), 1, 0, 1)
    for shape in ((9, 8, 1), (8, 9, 3)):
        with pytest.raises(InputError, match="the model was fitted to"):
            plan.features(drawn(2, *shape), 1)


def test_images_that_lie_apart_are_copied() -> None:
    wide = drawn(4, 12, 24, 3)
    view = wide[:, :, ::2, ::-1]
    plan = plan_of(view, bank_of(3, 8, 3, 3))
    assert np.array_equal(plan.features(view, 1), plan.features(np.ascontiguousarray(view), 1))


def test_the_core_refuses_what_does_not_belong_together() -> None:
    images = drawn(2, 8, 8, 1)
    out = np.empty((2, 18), dtype=np.float32)
    whole, part = np.full((1, 6), 1 / 6, np.float32), np.full((1, 5), 0.2, np.float32)
    weights, offsets = np.zeros((9, 9), np.float32), np.zeros(9, np.float32)
    good = _core.PatchBank(3, weights, offsets, 0.5, 10.0, whole, whole)
    _core.patch_features([images], [good], 1, 0, 1.0, out, 1)
    for rows, columns in ((part, whole), (whole, part)):
        with pytest.raises(ValueError, match="another size"):
            _core.patch_features(
                [images], [_core.PatchBank(3, weights, offsets, 0.5, 10.0, rows, columns)], 1, 0, 1.0, out, 1
            )
    with pytest.raises(ValueError, match="other channels"):
        _core.patch_features([drawn(2, 8, 8, 2)], [good], 1, 0, 1.0, out, 1)
    with pytest.raises(ValueError, match="a row for each image"):
        _core.patch_features([images], [good, good], 1, 0, 1.0, out, 1)
    with pytest.raises(ValueError, match="halved as often"):
        _core.patch_features(
            [images], [_core.PatchBank(3, weights, offsets, 0.5, 10.0, whole, whole, 1)], 1, 0, 1.0, out, 1
        )
    with pytest.raises(ValueError, match="images, as they are"):
        _core.patch_features([], [good], 1, 0, 1.0, out, 1)
    with pytest.raises(ValueError, match="the same images"):
        _core.patch_features([images, images[:1]], [good], 1, 0, 1.0, out, 1)
    with pytest.raises(ValueError, match="views"):
        _core.patch_features([images], [good], 3, 0, 1.0, out, 1)
    with pytest.raises(ValueError, match="squares alone"):
        _core.patch_features([images[:, :7].copy()], [good], 8, 0, 1.0, out, 1)
    with pytest.raises(ValueError, match="cells of a pixel"):
        _core.patch_features([images], [good], 1, 9, 1.0, out, 1)
    with pytest.raises(ValueError, match="half the height"):
        _core.halve(images, np.empty((2, 4, 3, 1), dtype=np.uint8), 1)
    for broken in ((weights * np.nan, offsets, 10.0), (weights, offsets[:-1], 10.0), (weights, offsets, 0.0)):
        with pytest.raises(ValueError, match=r"finite|offset|noise"):
            _core.PatchBank(3, broken[0], broken[1], 0.5, broken[2], whole, whole)
    for place in ([2, 0, 0], [0, 6, 0], [0, 0, -1]):
        with pytest.raises(ValueError, match="outside the images"):
            _core.take_patches(images, 3, 10.0, np.array([place]), np.empty((1, 9), np.float32), 1)


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_a_plan_comes_back_from_json_and_arrays(level: int) -> None:
    images = drawn(30, 20, 22, 3)
    plan = fit_patches(images, level, 0, 1, 4)
    again = PatchPlan.from_json(plan.to_json(), plan.arrays("image0"), "image0")
    assert same(plan, again)
    assert np.array_equal(plan.features(images, 1), again.features(images, 1))


def broken_facts(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    side, cells, threshold, noise, halved = facts["banks"][0]
    size = facts["size"]
    rest = [noise, halved]
    banks: dict[str, list[Any]] = {
        "a patch larger than the image": [13, cells, threshold, *rest], "no patch": [0, cells, threshold, *rest],
        "half a patch": [2.5, cells, threshold, *rest], "other patches": [side - 1, cells, threshold, *rest],
        "no cells": [side, 0, threshold, *rest], "a thousand cells": [side, 1000, threshold, *rest],
        "no threshold": [side, cells, None, *rest], "no noise": [side, cells, threshold, 0.0, halved],
        "noise that is no number": [side, cells, threshold, float("nan"), halved],
        "a flag": [side, cells, threshold, True, halved],
        "halved below a patch": [side, cells, threshold, noise, 2],
        "halved by a half": [side, cells, threshold, noise, 0.5],
    }  # fmt: skip
    out = {what: facts | {"banks": [bank]} for what, bank in banks.items()}
    for what, wrong in (("other channels", [*size[:2], 1]), ("no height", [0, *size[1:]]), ("wide", [9, 1 << 20, 3])):
        out[what] = facts | {"size": wrong}
    return out | {
        "no scale": facts | {"scale": 0},
        "an endless scale": facts | {"scale": float("inf")},
        "too large": facts | {"scale": 1e200},
        "three views": facts | {"views": 3},
        "sides exchanged that differ": facts | {"views": 8},
        "half a cell of tones": facts | {"tones": [0.5, 1.0]},
        "cells smaller than a pixel": facts | {"tones": [11, 1.0]},
        "tones without a scale": facts | {"tones": [2, 0.0]},
    }


def test_broken_plans_are_refused() -> None:
    plan = fit_patches(drawn(30, 10, 12, 3), 1, 0, 1)
    facts, arrays = plan.to_json(), plan.arrays("x")
    for what, wrong in broken_facts(facts).items():
        with pytest.raises(ModelFileError):
            pytest.fail(f"{what}: {PatchPlan.from_json(wrong, arrays, 'x')}")
    filters, offsets = arrays["x_filters0"], arrays["x_offsets0"]
    for wrong_arrays in (
        {"x_filters0": filters[:-1], "x_offsets0": offsets},
        {"x_filters0": filters[:, 1:], "x_offsets0": offsets},
        {"x_filters0": filters.astype(np.float64), "x_offsets0": offsets},
        {"x_filters0": filters * np.float32(np.nan), "x_offsets0": offsets},
        {"x_filters0": filters, "x_offsets0": offsets[np.newaxis]},
        {"x_filters0": filters * np.float32(1e30), "x_offsets0": offsets},
        {"x_filters0": filters[:0], "x_offsets0": offsets[:0]},
    ):
        with pytest.raises(ModelFileError):
            PatchPlan.from_json(facts, wrong_arrays, "x")
    with pytest.raises(ModelFileError, match="too many features"):
        PatchPlan.from_json(facts | {"size": [4000, 4000, 3], "banks": [], "tones": [0, 1.0]}, {}, "x")


# --- what it is for ------------------------------------------------------------------------------------------------


def test_patches_tell_shapes_that_pixels_do_not() -> None:
    """Strokes that lean to the left or to the right, anywhere: no pixel tells them apart, a patch does."""
    random = np.random.default_rng(0)
    images, leaning = np.zeros((600, 24, 24, 1), dtype=np.uint8), random.integers(0, 2, 600)
    for image, way in zip(images, leaning, strict=True):
        top, left = random.integers(0, 18, 2)
        for i in range(6):
            image[top + i, left + (i if way else 5 - i)] = 255
    right = []
    for level in (0, 1):
        x = fit_patches(images[:400], level, 0, 2).features(images, 2)
        model = luce.SoftmaxRegression(l2=1e-4).fit(x[:400], leaning[:400])
        right.append(model.score(x[400:], leaning[400:]))
    assert right[0] < 0.8 and right[1] > 0.98


def test_brightness_alone_tells_classes() -> None:
    """Grey noise on three grounds, which contrast-normalised patches cannot tell apart."""
    random = np.random.default_rng(0)
    ground = random.integers(0, 3, 300)
    images = (60 + 40 * ground[:, np.newaxis, np.newaxis] + random.normal(0, 10, (300, 16, 16))).astype(np.uint8)
    plan = fit_patches(images[:200, :, :, np.newaxis], 1, 0, 2)
    right = []
    for known in (plan, replace(plan, tone_cells=0)):
        x = known.features(images[..., np.newaxis], 2)
        x -= x[:200].mean(axis=0)
        right.append(luce.SoftmaxRegression(l2=1e-3).fit(x[:200], ground[:200]).score(x[200:], ground[200:]))
    assert right[0] == 1.0 and right[1] < 0.6


@pytest.mark.parametrize("tones", [0, 2])
@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_a_heat_map_lies_where_the_image_is_and_turns_with_it(views: int, tones: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 3, (28, 28, 1), dtype=np.uint8)
    image[4:10, 18:24] = rng.integers(0, 255, (6, 6, 1))  # only here, at the upper right, is a patch of contrast
    banks = bank_of(5, 8, 6, 1), replace(bank_of(3, 4, 4, 1), halved=1)
    plan = replace(plan_of(image[np.newaxis], *banks), views=views, tone_cells=tones, tone_scale=0.01)
    found = plan.heat(image, rng.uniform(1, 2, plan.columns), np.zeros(plan.columns))
    line, column = np.unravel_index(found.argmax(), found.shape)
    assert found.shape == (14, 14) and 2 <= line <= 4 and 9 <= column <= 11
    weights, means = rng.normal(size=(2, plan.columns))
    wanted = plan.heat(image, weights, means)
    exact = oracle(image[np.newaxis], plan)[0]
    assert wanted.sum() == pytest.approx(weights @ (exact - means), rel=1e-4)  # features are float32
    for view in range(views):

        def turned(x: NDArray[Any], view: int = view) -> NDArray[Any]:
            x = x.swapaxes(0, 1) if view & 4 else x
            return x[:: -1 if view & 2 else 1, :: -1 if view & 1 else 1]

        assert np.allclose(plan.heat(turned(image), weights, means), turned(wanted), rtol=0, atol=1e-4)
