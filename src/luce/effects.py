"""What a fitted model makes of each column: how far it moves each class; its curve, its bars, or the map of a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.curves import LevelBasis, NumberBasis
from luce.encoder import TIMES
from luce.features import Array, Features, dense_row
from luce.fitted import Fitted
from luce.heads import Linear
from luce.linear import linear_logits

ROWS = 4_096  # of the training rows, on which it is measured how far columns move the classes
NETWORK_ROWS = 256  # the same for a network, of which each row has weights of its own
POINTS = 60  # of a curve
SIDE = 10  # cells of a map along a number
MOST_LEVELS = 40  # of a category that are shown: those of the largest effects


def spread_of(fitted: Fitted, features: Features) -> Array:
    """How far each column moves each logit: the standard deviation, over the training rows (4,096 of them where there
    are more, 256 for a network), of what it adds. (outputs, columns), in the order of `encoder.sources`."""
    linear = isinstance(fitted.head, Linear)
    rows = np.unique(np.linspace(0, features.rows - 1, ROWS if linear else NETWORK_ROWS).astype(np.int64))
    part = features.take(rows)
    if not linear:
        parts = [_added(fitted, dense_row(part.take(np.array([i])))) for i in range(len(rows))]
        return np.asarray(np.std(parts, axis=0))
    encoder, weights, owner = fitted.encoder, fitted.linear.coef, fitted.encoder.owner
    out = np.zeros((len(weights), len(encoder.sources)))
    both: dict[int, NDArray[Any]] = {}  # numbers of few values have a dense and sparse columns
    texts = [encoder.sources.index(t.name) for t in encoder.texts if len(t.buckets)]
    for i in texts:
        own = weights if (owner == i).all() else np.where(owner == i, weights, 0.0)  # both may be very large
        both[i] = linear_logits(part, own, np.zeros(len(own)), 1)
    p = part.dense_columns
    if part.dense is not None:
        for i in np.unique(owner[:p]).tolist():
            own = np.flatnonzero(owner[:p] == i)
            both[i] = part.dense[:, own].astype(np.float64) @ weights[:, own].T
    if part.indices is not None and part.starts is not None:
        _add_sparse(both, part, owner[p:], weights[:, p:], texts)
    maps = replace(fitted.calibration, bias=np.zeros(len(weights)))
    for i, added in both.items():
        moved = maps.apply(added, 1)
        out[:, i] = (moved - moved.mean(axis=1, keepdims=True) if len(weights) > 1 else moved).std(axis=0)
    return out


def _added(fitted: Fitted, row: Array) -> Array:
    """What each column adds to the logits of a row, against the mean row, (outputs, sources)."""
    coef = _centred(*fitted.calibrated_weights(row))[0]
    parts, owner = coef * (row - fitted.means), fitted.encoder.owner
    return np.stack([np.bincount(owner, weights=part, minlength=len(fitted.encoder.sources)) for part in parts])


def _add_sparse(
    both: dict[int, NDArray[Any]], part: Features, owner: NDArray[np.int64], weights: Array, done: Sequence[int]
) -> None:
    """To what each column adds for every row, (rows, outputs) by column, what its sparse features do."""
    assert part.indices is not None and part.starts is not None
    row = np.repeat(np.arange(part.rows), np.diff(part.starts))
    values = np.ones(len(row)) if part.values is None else part.values.astype(np.float64)
    of = owner[part.indices]
    for i in sorted(set(np.unique(of).tolist()) - set(done)):
        mine = of == i
        added = weights[:, part.indices[mine]] * values[mine]
        sums = np.stack([np.bincount(row[mine], weights=line, minlength=part.rows) for line in added], axis=1)
        both[i] = both[i] + sums if i in both else sums


def centred_weights(fitted: Fitted) -> tuple[Array, Array]:
    """Weights (outputs, features) and intercepts of the calibrated logits of a linear model, of more than two classes
    with mean 0."""
    return _centred(*fitted.calibrated_weights())


def _centred(coef: Array, intercept: Array) -> tuple[Array, Array]:
    return (coef - coef.mean(axis=0), intercept - intercept.mean()) if len(coef) > 1 else (coef, intercept)


def added_by(fitted: Fitted, column: str, cells: Mapping[str, Any], threads: int = 1) -> Array:
    """What a column, or a pair "a × b", adds to the logits of rows with these cells, (n, outputs), less its mean over
    the training rows; for a network: to the logits of the mean row. cells: of each column concerned, as `parse` gives
    them."""
    own = np.array([name == column for name in fitted.encoder.columns])
    features = fitted.encoder.part(column).transform(cells, threads)
    if isinstance(fitted.head, Linear):
        weights = np.ascontiguousarray(centred_weights(fitted)[0][:, own])
        return linear_logits(features, weights, -weights @ fitted.means[own], threads)
    rows = np.tile(fitted.means, (features.rows + 1, 1))
    for i in range(features.rows):
        rows[i, own] = dense_row(features.take(np.array([i])))
    z = fitted.calibration.apply(fitted.head.at(rows), threads)
    z = z - z.mean(axis=1, keepdims=True) if z.shape[1] > 1 else z
    return np.asarray(z[:-1] - z[-1])


def known_spread(fitted: Fitted) -> Array:
    """`spread_of` the fit; for a model whose file does not tell, by the weights alone."""
    if fitted.spread is not None:
        return fitted.spread
    coef, owner = centred_weights(fitted)[0], fitted.encoder.owner
    squares = [np.sum(coef[:, owner == i] ** 2, axis=1) for i in range(len(fitted.encoder.sources))]
    return np.asarray(np.sqrt(np.stack(squares, axis=1)))


def overview(fitted: Fitted) -> list[dict[str, Any]]:
    """Every column and pair that moves the classes, the strongest first, as plain lists.

    Its kind, its share of all that is moved (`weight`), how far it moves each class (`by_class`), and what its values
    add to the logits, less the mean over the training rows: `curve` of a number, `levels` of a category (None: missing
    cells) or a code, with how many `more` it has than the 40 of most effect, `heat` of a pair.

    Two classes have one logit, that of the second.
    """
    names, spread = fitted.encoder.sources, known_spread(fitted)
    size = np.sqrt(np.sum(spread**2, axis=0))
    total = float(size.sum()) or 1.0
    kinds = {column.name: column.kind for column in fitted.schema.columns}
    classes = fitted.classes[1:] if len(spread) == 1 else fitted.classes
    out = []
    for i in np.argsort(-size, kind="stable").tolist():
        if size[i] == 0:
            break
        by_class = [{"class": c, "weight": float(w)} for c, w in zip(classes, spread[:, i], strict=True)]
        kind = kinds.get(names[i], "pair")
        found = {"column": names[i], "kind": kind, "weight": float(size[i]) / total, "by_class": by_class}
        out.append(found | _shape(fitted, names[i], kind))
    return out


def _shape(fitted: Fitted, name: str, kind: str) -> dict[str, Any]:
    if kind == "pair":
        return _map(fitted, name)
    basis = next((b for b in fitted.encoder.bases if b.name == name), None)
    if kind == "category":
        return _levels(fitted, name)
    if kind in ("text", "image", "embedding"):
        return {}
    if not isinstance(basis, NumberBasis):
        return {}  # dates, and models whose files have no bases
    if kind == "boolean" or len(basis.knots) == 2:
        x = np.array([basis.knots[0], basis.knots[-1], np.nan])
        missing = any(p.missing for p in fitted.encoder.numbers if p.name == name)
        y = added_by(fitted, name, {name: x})
        known = [False, True] if kind == "boolean" else [f"{value:g}" for value in x[:2]]
        levels = [*zip(known, y, strict=False)] + ([(None, y[2])] if missing else [])
        return {"levels": [{"level": level, "y": row.tolist(), "rows": None} for level, row in levels]}
    codes = next((v.values for v in fitted.encoder.values if v.name == name and v.is_code), ())
    if codes:
        lines = zip(codes, added_by(fitted, name, {name: np.array(codes)}).tolist(), strict=True)
        return _strongest([{"level": f"{code:.15g}", "y": y, "rows": None} for code, y in lines])
    knots = np.array(basis.knots)  # few values are shown as they are: between them is what no row had
    x = knots if len(knots) <= POINTS else basis.at(np.linspace(0.0, 1.0, POINTS))
    y = added_by(fitted, name, {name: x})
    return {"curve": {"x": x.tolist(), "y": y.tolist(), "low": basis.knots[0], "high": basis.knots[-1]}}


def _levels(fitted: Fitted, name: str) -> dict[str, Any]:
    import polars as pl

    plan = next(c for c in fitted.encoder.categories if c.name == name)
    shares = fitted.means[np.array(fitted.encoder.columns) == name]
    rows = np.rint(shares * fitted.facts["rows"]).astype(int).tolist() if shares.any() else [None] * len(plan.names)
    cells = pl.Series(name, [*plan.levels, None], dtype=pl.String)
    y = added_by(fitted, name, {name: cells})
    found = [
        {"level": level, "y": line.tolist(), "rows": n}
        for level, line, n in zip([*plan.levels, None], y, [*rows[:-2], rows[-1]], strict=True)
        if level is not None or n
    ]
    return _strongest(found)


def _strongest(levels: list[dict[str, Any]]) -> dict[str, Any]:
    """The levels that move a class most, at most MOST_LEVELS, in their order; and how many others there are."""
    size = [max(map(abs, level["y"])) for level in levels]
    strongest = np.argsort(-np.array(size), kind="stable")[:MOST_LEVELS]
    kept = [levels[i] for i in sorted(strongest.tolist())]
    return {"levels": kept} | ({"more": len(levels) - len(kept)} if len(levels) > len(kept) else {})


def _map(fitted: Fitted, name: str) -> dict[str, Any]:
    """What a pair adds on a grid of values of both."""
    pair = next(pair for pair in fitted.encoder.pairs if TIMES.join(pair) == name)
    bases = [next(b for b in fitted.encoder.bases if b.name == column) for column in pair]
    (first, x), (second, y) = (_ticks(basis) for basis in bases)
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(len(x)), np.arange(len(y)), indexing="ij"))
    z = added_by(fitted, name, {pair[0]: first[i], pair[1]: second[j]})
    return {"columns": list(pair), "heat": {"x": x, "y": y, "z": z.reshape(len(x), len(y), -1).tolist()}}


def _ticks(basis: NumberBasis | LevelBasis) -> tuple[Any, list[Any]]:
    """Cells along one side of a map, and how they are shown."""
    import polars as pl

    if isinstance(basis, LevelBasis):
        return pl.Series(basis.name, basis.levels, dtype=pl.String), list(basis.levels)
    few = len(basis.knots) <= SIDE
    x = np.asarray(basis.knots) if few else np.unique(basis.at((np.arange(SIDE) + 0.5) / SIDE))
    return x, x.tolist()
