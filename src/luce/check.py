"""Check: example rows that code alone makes for a model, to see later that it still gives the same probabilities."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.curves import NumberBasis
from luce.encoder import DatePlan, Encoder
from luce.errors import ModelFileError
from luce.fitted import Check, Fitted
from luce.functional import show_config
from luce.heads import Linear
from luce.schema import Column, Schema

ROWS = 6  # low, middle, high, missing where it can be, between, and beyond all that was seen
CLOSE, CLOSE_NETWORK = 1e-6, 1e-4  # of probabilities on another processor; a network calculates in float32
UNREAD = (1, 1, 1)  # height, width and channels that do for images which no feature comes from
TEXTS = (
    "The delivery was quick and the screen is great, thank you!",
    "정말 재미있게 봤어요, 배우들 연기가 최고! 또 보고 싶어요.",
    "It broke after 3 days. 돈이 아깝네요, 환불해 주세요 :(",
    None,
    "",
    "ok",
)


def examples(schema: Schema, encoder: Encoder) -> dict[str, list[Any]]:
    """Cells by column, ROWS of each, as JSON holds them; an image or an embedding is the number of a
    pattern."""
    bases = {basis.name: basis for basis in encoder.bases if isinstance(basis, NumberBasis)}
    numbers = {plan.name: plan for plan in encoder.numbers}
    levels = {plan.name: plan.levels for plan in encoder.categories}
    dates = {plan.name: plan for plan in encoder.dates}
    out: dict[str, list[Any]] = {}
    for column in schema.columns:
        name = column.name
        if column.kind == "number":
            plan = numbers[name]
            scale = plan.scale if np.isfinite(plan.scale) else 1.0
            out[name] = _number(bases.get(name), plan.mean, scale)
        elif column.kind == "boolean":
            out[name] = [False, True, True, None, False, True]
        elif column.kind == "category":
            out[name] = _category(levels[name])
        elif column.kind == "date":
            out[name] = _dates(dates[name], column)
        elif column.kind == "text":
            out[name] = list(TEXTS)
        elif column.kind in ("image", "embedding"):
            out[name] = list(range(ROWS))
    return out


def _number(basis: NumberBasis | None, mean: float, scale: float) -> list[float | None]:
    if basis is None:
        return [mean - scale, mean, mean + scale, None, mean + scale / 2, mean + 10 * scale]
    knots = basis.knots
    low, middle, high, between = knots[0], knots[len(knots) // 2], knots[-1], knots[len(knots) // 4]
    beyond = high + 10 * (high - low)
    return [low, middle, high, None, between, beyond if np.isfinite(beyond) else high]


def _category(levels: tuple[str, ...]) -> list[str | None]:
    new = "a level that nobody has seen ☂"
    first, middle, last = (levels[0], levels[len(levels) // 2], levels[-1]) if levels else (new, new, new)
    return [first, middle, last, None, first, new]


def _dates(plan: DatePlan, column: Column) -> list[str | None]:
    year = int(min(max(plan.year.mean, 1000.0), 9998.0))
    moments = [datetime.datetime(year + i // 3, 1 + 5 * i % 12, 1 + 5 * i, 4 * i, 30) for i in range(ROWS)]
    return [None if i == 3 else _written(moment, column.date_format) for i, moment in enumerate(moments)]


MONTHS = ("Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sep", "Oct", "Nov", "Dec")


def _written(moment: datetime.datetime, date_format: str) -> str:
    text = "%Y-%m-%d" if date_format == "typed" else date_format.replace("%.f", "").replace("%#z", "Z")
    parts = {"%Y": moment.year, "%m": moment.month, "%d": moment.day, "%H": moment.hour, "%M": moment.minute, "%S": 0}
    parts |= {"%y": moment.year % 100, "%I": moment.hour % 12 or 12}
    for mark, part in parts.items():
        text = text.replace(mark, f"{part:02}")
    return text.replace("%B", MONTHS[moment.month - 1]).replace("%p", "PM" if moment.hour >= 12 else "AM")


def cells_of(fitted: Fitted, columns: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The example rows with their images drawn, and embeddings as (rows, width) float32."""
    kinds = {column.name: column.kind for column in fitted.schema.columns}
    widths = {e.name: e.width for e in fitted.encoder.embeddings}
    out: dict[str, Any] = dict(columns)
    for name, cells in columns.items():
        if kinds[name] == "image":
            out[name] = _drawn(cells, fitted.image_sizes.get(name, UNREAD))
        elif kinds[name] == "embedding":
            out[name] = _vectors(np.array(cells), widths[name])
    return out


def _vectors(k: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    """Numbers from -1 to 1, each one also in half precision."""
    steps = (37 * np.arange(width) + 101 * k[:, np.newaxis] + 29) % 256 - 128
    return (steps / 128).astype(np.float32)


def _drawn(cells: list[Any], size: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.stack([_pattern(k, *size) for k in cells])


def _pattern(k: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """(height, width, channels): a slope, stripes, a grid, a disc, nothing, dots."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    away = (2 * y - height) ** 2 + (2 * x - width) ** 2
    drawn = (
        (255 * (x + y + c)) // (height + width + channels),
        255 * ((x + c) // 2 % 2),
        255 * ((x // 3 + y // 3) % 2),
        255 * (2 * away < min(height, width) ** 2),
        0 * x,
        (37 * x + 101 * y + 29 * c) % 256,
    )
    return np.asarray(drawn[k % ROWS], dtype=np.uint8)


def computed_by() -> str:
    """What settles the bits of a result beside the model: the versions and the instruction set."""
    return f"luce {version('luce')}, NumPy {np.__version__}, {show_config()['instruction_set']}"


def difference(fitted: Fitted, probabilities: NDArray[np.float64]) -> str | None:
    """What is wrong with the probabilities of the example rows, or None: the bits are those of the fit where the same
    versions and instruction set computed them, and near them elsewhere."""
    check = fitted.check
    assert check is not None
    if check.computed_by == computed_by():
        if np.array_equal(check.probabilities, probabilities):
            return None
        close = 0.0
    else:
        close = CLOSE if isinstance(fitted.head, Linear) else CLOSE_NETWORK
    apart = np.abs(check.probabilities - probabilities)
    if apart.max(initial=0.0) <= close:  # never true of NaN
        return None
    return f"its example rows have other probabilities than at its fit (up to {np.max(apart):.1e} away)"


def to_json(check: Check) -> dict[str, Any]:
    """All but the probabilities."""
    return {"columns": {name: list(cells) for name, cells in check.columns.items()}, "computed_by": check.computed_by}


def from_json(facts: Any, schema: Schema, probabilities: NDArray[Any], classes: int) -> Check:
    """What `to_json` wrote; raises ModelFileError if it does not belong to the schema."""
    columns, by = facts["columns"], facts["computed_by"]
    known = {column.name: column.kind for column in schema.columns if column.kind != "left out"}
    rows = len(probabilities)
    sound = probabilities.dtype == np.float64 and probabilities.shape == (rows, classes) and rows >= 1
    sound &= isinstance(by, str) and by.isprintable() and len(by) <= 200 and set(columns) == set(known)
    sound &= all(len(cells) == rows for cells in columns.values())
    sound &= all(_fits(cell, known[name]) for name, cells in columns.items() for cell in cells)
    if not sound or not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ModelFileError("its example rows do not belong to its columns and classes")
    return Check({name: list(cells) for name, cells in columns.items()}, probabilities, by)


def _fits(cell: Any, kind: str) -> bool:
    if kind in ("image", "embedding"):
        return type(cell) is int and 0 <= cell < ROWS
    if kind == "number":
        return cell is None or (type(cell) in (int, float) and abs(cell) < 1e300)
    return cell is None or type(cell) is (bool if kind == "boolean" else str)
