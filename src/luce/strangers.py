"""Strangers: cells that a model is asked about and knows little of, as training had none like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luce.curves import NumberBasis
from luce.encoder import CategoryPlan, NumberPlan
from luce.errors import inert
from luce.fitted import Fitted
from luce.text import TextPlan

FAR = 10.0  # standard deviations from the mean: of any numbers at most
MANY = 5  # numbers outside those of training, where they are most: fresh ones of the same kind are 2 of n + 1
FEW = 1 / FAR**2  # of them lie so far (Chebyshev), so that no training table is told that it is strange


@dataclass(frozen=True)
class Strangers:
    """Of one column: how many cells are little known, among how many that are not missing (gaps: among all). example:
    the first. Of numbers also the mean of training, its least and greatest, and how many lie outside these."""

    column: str
    kind: str  # category, number, text, gap
    count: int
    among: int
    example: str = ""
    mean: float = 0.0
    ends: tuple[float, float] = (-np.inf, np.inf)
    outside: int = 0

    def __add__(self, later: Strangers) -> Strangers:
        count, among = self.count + later.count, self.among + later.among
        outside = self.outside + later.outside
        return replace(self, count=count, among=among, example=self.example or later.example, outside=outside)

    @property
    def sentence(self) -> str:
        """For the user, one line; nothing where there is nothing to say."""
        where = f"column {inert(self.column)}: " if self.column else ""
        if self.kind == "number" and self.count <= FEW * self.among and self.outside > max(MANY, self.among / 2):
            low, high = self.ends
            told = f"{where}{self.outside:,} of {self.among:,} number(s) lie outside those of training"
            return f"{told} ({low:.4g} to {high:.4g}): are they in the same unit?"
        if self.count <= (FEW * self.among if self.kind == "number" else 0):
            return ""
        if self.kind == "category":
            return f"{where}{self.count:,} cell(s) rare or unseen in training, such as '{inert(self.example)}'"
        if self.kind == "number":
            far = f"{where}{self.count:,} of {self.among:,} number(s) are far from those of training"
            return f"{far} (such as {self.example}; mean there {self.mean:.4g}): are they in the same unit?"
        if self.kind == "gap":
            return f"{where}{self.count:,} of {self.among:,} cell(s) are missing, and none was in training"
        what = f"nothing in {self.count:,} of {self.among:,} text(s) is known to the model"
        return f"{where}{what}: is it the language it was trained on?"


def strangers_among(fitted: Fitted, parsed: Mapping[str, Any], threads: int) -> list[Strangers]:
    """Those of each category, number and text among parsed cells: levels rare or unseen in training, numbers more than
    FAR standard deviations from the mean of training, cells missing where training had all of them, texts without an
    n-gram that counts."""
    encoder, whole = fitted.encoder, fitted.never_missing
    found = [_levels(plan, parsed[plan.name]) for plan in encoder.categories]
    ends = {b.name: (b.knots[0], b.knots[-1]) for b in encoder.bases if isinstance(b, NumberBasis)}
    found += [_numbers(plan, parsed[plan.name], ends.get(plan.name, (-np.inf, np.inf))) for plan in encoder.numbers]
    names = [p.name for p in encoder.categories] + [p.name for p in encoder.numbers]
    found += [_gaps(name, parsed[name]) for name in names if name in whole]
    texts = ((plan, [t for t in parsed[plan.name].to_list() if t and t.strip()]) for plan in encoder.texts)
    return found + [Strangers(p.name, "text", unknown_among(p, known, threads), len(known)) for p, known in texts]


def unknown_among(plan: TextPlan, texts: Sequence[str], threads: int) -> int:
    """How many of the texts have no n-gram that counts."""
    return int((np.diff(plan.rows(texts, threads).starts) == 0).sum()) if texts else 0


def _levels(plan: CategoryPlan, cells: Any) -> Strangers:
    known = cells.drop_nulls()
    new = known.filter(~known.is_in(list(plan.levels)))
    return Strangers(plan.name, "category", len(new), len(known), str(new[0]) if len(new) else "")


def _gaps(name: str, cells: Any) -> Strangers:
    gone = np.isnan(cells).sum() if isinstance(cells, np.ndarray) else cells.null_count()
    return Strangers(name, "gap", int(gone), len(cells))


def _numbers(plan: NumberPlan, x: Any, ends: tuple[float, float]) -> Strangers:
    beyond = FAR * plan.scale
    far = (x < plan.mean - beyond) | (x > plan.mean + beyond)
    example = f"{x[far.argmax()]:.6g}" if far.any() else ""
    outside = int(((x < ends[0]) | (x > ends[1])).sum())
    return Strangers(plan.name, "number", int(far.sum()), int((x == x).sum()), example, plan.mean, ends, outside)
