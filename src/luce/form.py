"""Form: what a person fills in to ask a model: its columns with ranges, shares, typical values."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import numpy as np

from luce.curves import NumberBasis
from luce.encoder import DatePlan
from luce.fitted import Fitted
from luce.heads import Linear
from luce.hosting import Hosted
from luce.schema import Column

BARS = 20  # of a histogram at most
MOST_LEVELS = 200


def describe(hosted: Hosted) -> dict[str, Any]:
    """The description of a model, as plain values."""
    fitted = hosted.fitted
    held = fitted.facts.get("held_out")
    missing = fitted.missing_shares
    known = bool(fitted.means.any())
    return {
        "name": hosted.name,
        "label": fitted.label,
        "classes": list(fitted.classes),
        "model": "linear" if isinstance(fitted.head, Linear) else "network",
        "rows": fitted.facts["rows"],
        "certificate": fitted.facts["certificate"],
        "held_out": None if held is None else {name: held[name] for name in ("rows", "accuracy", "log_loss")},
        "sets": fitted.conformal is not None,
        "costs": None if fitted.costs is None else fitted.costs.tolist(),
        "measured": fitted.measured is not None,
        "columns": [
            _column(fitted, column, missing, known)
            for column in fitted.schema.columns
            if column.kind != "left out" and column.name not in hosted.unread
        ],
    }


def _column(fitted: Fitted, column: Column, missing: dict[str, float], known: bool) -> dict[str, Any]:
    encoder, name = fitted.encoder, column.name
    out: dict[str, Any] = {"name": name, "kind": column.kind}
    if column.kind == "image":
        ink = fitted.facts.get("ink", {})
        height, width, channels = fitted.image_sizes[name]
        return out | {"height": height, "width": width, "channels": channels, "ink": ink.get(name), "typical": None}
    if column.kind == "embedding":
        return out | {"width": next(e.width for e in encoder.embeddings if e.name == name), "typical": None}
    if column.kind == "text":
        return out | {"typical": ""}
    share = missing.get(name, 0.0) if known else None
    out |= {"missing": name in missing if share is None else share > 0, "missing_share": share}
    if column.kind == "date":
        plan = next(d for d in encoder.dates if d.name == name)
        return out | _date(plan) | {"missing": plan.year.missing}
    if column.kind == "category":
        return out | _category(fitted, name)
    basis = next((b for b in encoder.bases if b.name == name and isinstance(b, NumberBasis)), None)
    mean = next(p.mean for p in encoder.numbers if p.name == name)
    if column.kind == "boolean":
        return out | {"typical": mean >= 0.5}
    return out | _number(basis, mean, _value_shares(fitted, name) if known else None)


def _value_shares(fitted: Fitted, name: str) -> dict[str, list[float]] | None:
    """Of a number of few values: these, and the share that each has of the cells that are there."""
    plan = next((v for v in fitted.encoder.values if v.name == name), None)
    if plan is None or plan.is_code:
        return None
    columns = replace(fitted.encoder, texts=()).columns  # n-grams come last
    own = fitted.means[: len(columns)][np.array(columns) == name]
    shares = own[-len(plan.names) :][: len(plan.values)]
    return {"values": list(plan.values), "shares": (shares / shares.sum()).tolist()}


def _number(basis: NumberBasis | None, mean: float, few: dict[str, list[float]] | None) -> dict[str, Any]:
    if basis is None:
        return {"low": mean, "high": mean, "histogram": None, "typical": mean, "whole": mean == int(mean)}
    knots = np.asarray(basis.knots)
    whole = bool((knots == np.rint(knots)).all())
    typical = float(basis.at(np.array([0.5]))[0])
    typical = float(np.rint(typical)) if whole else float(f"{typical:.3g}")
    return {
        "low": basis.knots[0], "high": basis.knots[-1], "histogram": few or _histogram(basis, mean, whole),
        "typical": min(max(typical, basis.knots[0]), basis.knots[-1]), "whole": whole,
    }  # fmt: skip


def _histogram(basis: NumberBasis, mean: float, whole: bool) -> dict[str, list[float]]:
    """A bar a value where there are two, or few whole ones, else shares of the places of equal parts of the range;
    places count a value by the square root of its rows."""
    knots = list(basis.knots)
    if len(knots) == 2:
        high = (mean - knots[0]) / (knots[1] - knots[0])
        return {"values": knots, "shares": [1 - high, high]}
    few = whole and len(knots) <= BARS
    edges = np.linspace(knots[0], knots[-1], BARS + 1)
    shares = np.gradient(basis.places) if few else np.diff(basis.places_of(edges))
    told = {"values": knots} if few else {"edges": edges.tolist()}
    return told | {"shares": (shares / shares.sum()).tolist()}


def _category(fitted: Fitted, name: str) -> dict[str, Any]:
    plan = next(c for c in fitted.encoder.categories if c.name == name)
    columns = replace(fitted.encoder, texts=()).columns  # n-grams come last
    own = fitted.means[: len(columns)][np.array(columns) == name][: len(plan.levels)]
    shares = own.tolist() if own.any() else [None] * len(plan.levels)
    order = np.argsort(-own, kind="stable")[:MOST_LEVELS].tolist()
    levels = [{"level": plan.levels[k], "share": shares[k]} for k in order]
    return {"levels": levels, "typical": plan.levels[order[0]] if order else None}


def _date(plan: DatePlan) -> dict[str, Any]:
    """The year's mean and two of its standard deviations; a file holds no more."""
    mean, scale = plan.year.mean, plan.year.scale
    spread = 2 * scale if np.isfinite(scale) else 0.0
    low, high = (min(max(round(year), 1), 9999) for year in (mean - spread, mean + spread))
    middle = min(max(mean, 1.0), 9999.0)
    typical = datetime.date(int(middle), 1, 1) + datetime.timedelta(days=int((middle % 1) * 365))
    return {"low": f"{low:04}-01-01", "high": f"{high:04}-12-31", "typical": typical.isoformat()}
