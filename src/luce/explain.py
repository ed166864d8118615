"""Why one class and not another: exact contributions of the columns of a table to a difference of logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from luce.encoder import TIMES, Encoder
from luce.errors import InputError
from luce.features import Array, Features, dense_row
from luce.fitted import Fitted, Label
from luce.marks import MarkedText, marks
from luce.strangers import strangers_among
from luce.table import Table


@dataclass(frozen=True)
class Contribution:
    """What a column adds to the difference: its name, its cell as it was given, and the amount, on the logit."""

    column: str
    value: Any
    amount: float


@dataclass(frozen=True)
class HeatMap:
    """Where in the image of a column its contribution comes from: lines of amounts from the top, their sum is it."""

    column: str
    cells: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Explanation:
    """Why the answer is `answer` and not `other` for one row.

    difference = logit of answer - logit of other, after calibration, = base + the sum of all contributions, exact but
    for rounding. base: the difference for an average training row; contributions: by column, the largest first.
    probabilities: (answer's, other's). texts: those of text columns that are features, with what each word adds.
    images: of each image column, what each part of the image adds. notes: cells that training had none like.
    """

    answer: Label
    other: Label
    probabilities: tuple[float, float]
    difference: float
    base: float
    contributions: tuple[Contribution, ...]
    texts: tuple[MarkedText, ...] = ()
    images: tuple[HeatMap, ...] = ()
    notes: tuple[str, ...] = ()

    def sentence(self, count: int = 3) -> str:
        """The strongest reasons in words."""
        for_it = [c for c in self.contributions if c.amount > 0][:count]
        against = [c for c in self.contributions if c.amount < 0][:count]
        p, q = (100 * share for share in self.probabilities)
        said = f"{self.answer} ({p:.1f} %) and not {self.other} ({q:.1f} %)"
        if for_it:
            said += ", because of " + ", ".join(self._shown(c) for c in for_it)
        return said + (", against " + ", ".join(self._shown(c) for c in against) if against else "")

    def _shown(self, c: Contribution) -> str:
        """A column, its cell, or the strongest words of its text, and its amount."""
        words = next((text.strongest() for text in self.texts if text.column == c.column), None)
        told = _told(c.value) if not words else ", ".join(f"'{word}'" for word in words)
        return f"{c.column} {told} ({c.amount:+.2f})"


def explain(
    fitted: Fitted,
    table: Table,
    parsed: Mapping[str, Any],
    features: Features,
    probabilities: Array,
    answer: int,
    other: int | None,
) -> Explanation:
    """For a table of one row, its parsed cells, its features, its probabilities (1, K), and the places of the answer
    and of the class that it is set against: by default the most probable of the others."""
    p = probabilities[0]
    if other is None:
        other = int(np.argsort(-np.where(np.arange(len(p)) == answer, -1.0, p), kind="stable")[0])
    if other == answer:
        raise InputError(f"the answer is {fitted.classes[answer]!r} itself: name another class to set it against")
    x = dense_row(features)
    coef, intercept = fitted.calibrated_weights(x)
    if len(coef) == 1:  # the logit of the second class over the first
        weights, bias = (coef[0], intercept[0]) if answer == 1 else (-coef[0], -intercept[0])
    else:
        weights, bias = coef[answer] - coef[other], intercept[answer] - intercept[other]
    parts = weights * (x - fitted.means)
    sums = np.bincount(fitted.encoder.owner, weights=parts, minlength=len(fitted.encoder.sources)).tolist()
    amounts = dict(zip(fitted.encoder.sources, sums, strict=True))
    base = float(np.sum(weights * fitted.means) + bias)
    widths = {e.name: e.width for e in fitted.encoder.embeddings}
    cells = table.frame.drop([*fitted.image_sizes, *widths]).row(0, named=True)
    cells |= {name: f"{width} x {height} pixels" for name, (height, width, _) in fitted.image_sizes.items()}
    cells |= {name: f"{width:,} numbers" for name, width in widths.items()}
    cells |= {TIMES.join(pair): TIMES.join(_told(cells[name]) for name in pair) for pair in fitted.encoder.pairs}
    found = [Contribution(column, cells.get(column), amount) for column, amount in amounts.items()]
    found.sort(key=lambda c: -abs(c.amount))
    notes = filter(None, (each.sentence for each in strangers_among(fitted, parsed, 1)))
    return Explanation(
        fitted.classes[answer], fitted.classes[other], (float(p[answer]), float(p[other])),
        base + float(np.sum(parts)), base, tuple(found), _marked(fitted.encoder, parsed, weights),
        _mapped(fitted, parsed, weights), tuple(notes),
    )  # fmt: skip


def _mapped(fitted: Fitted, parsed: Mapping[str, Any], weights: Array) -> tuple[HeatMap, ...]:
    """What each part of the images of a row adds, of all features with these weights."""
    encoder, maps = fitted.encoder, []
    for image in encoder.images:
        own = encoder.owner == encoder.sources.index(image.name)
        heat = image.plan.heat(parsed[image.name][0], weights[own], image.means + fitted.means[own])
        maps.append(HeatMap(image.name, tuple(map(tuple, heat.tolist()))))
    return tuple(maps)


def _marked(encoder: Encoder, parsed: Mapping[str, Any], weights: Array) -> tuple[MarkedText, ...]:
    """What each word of the texts of a row adds."""
    out = []
    for plan in encoder.texts:
        if not len(plan.buckets):
            continue
        text = parsed[plan.name][0] or ""
        own = weights[encoder.owner == encoder.sources.index(plan.name)]
        out.append(MarkedText(plan.name, text, marks(text, plan, own)))
    return tuple(out)


def _told(value: Any) -> str:
    return "missing" if value is None or value == "" else str(value)
