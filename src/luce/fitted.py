"""Fitted: what a fit leaves behind, frozen; all that a model file holds and all that a prediction needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.calibration import Calibration, no_calibration
from luce.cells import shown
from luce.conformal import Conformal
from luce.encoder import Encoder
from luce.errors import InputError
from luce.features import Features
from luce.heads import Head, Linear
from luce.schema import Schema, parse
from luce.table import Table
from luce.text import TextPlan

Label = str | int | bool


@dataclass(frozen=True)
class Check:
    """Example rows that no person gave (check.py), by column, their probabilities (rows, K) at the fit, and what
    computed these."""

    columns: Mapping[str, list[Any]]
    probabilities: NDArray[np.float64]
    computed_by: str


@dataclass(frozen=True)
class Measured:
    """Rows held out by `train`, or some of them: probabilities (n, K) float32 by the fit that did not see them, and the
    places (n,) of their labels among the classes. No cell of a row is among it."""

    MOST = 4_000
    BYTES = 1 << 20

    probabilities: NDArray[np.float32]
    codes: NDArray[np.int32]

    @staticmethod
    def of(probabilities: NDArray[np.float64], codes: NDArray[np.integer], size: float) -> Measured | None:
        """At most MOST rows, BYTES, and a twentieth of the size of a file; None where no row has room."""
        room = int(min(Measured.BYTES, size / 20) // (4 * probabilities.shape[1] + 4))
        count = min(len(codes), Measured.MOST, room)
        if not count:
            return None
        rows = np.unique(np.linspace(0, len(codes) - 1, count).astype(np.int64))
        return Measured(probabilities[rows].astype(np.float32), codes[rows].astype(np.int32))


@dataclass(frozen=True)
class Fitted:
    """All parts of a softmax classifier; `facts` tells how the fit came about."""

    schema: Schema
    encoder: Encoder
    head: Head
    means: NDArray[np.float64]  # (features,), of the training rows
    spread: NDArray[np.float64] | None  # (outputs, sources): how far each column moves each logit; None: not known
    calibration: Calibration
    conformal: Conformal | None  # None where no row could be held out
    costs: NDArray[np.float64] | None  # (K, K), true class x answer; None where all mistakes cost the same
    classes: tuple[Label, ...]
    label: str
    facts: Mapping[str, Any]
    check: Check | None = None  # None where an older version of luce made the file
    measured: Measured | None = None  # None where `train` held no row out

    def logits(self, features: Features, threads: int) -> NDArray[np.float64]:
        """Calibrated, (n, outputs)."""
        return self.calibration.apply(self.head.logits(features, threads), threads)

    @property
    def linear(self) -> Linear:
        """The weights of a model that is linear in its features."""
        assert isinstance(self.head, Linear)
        return self.head

    @property
    def image_sizes(self) -> dict[str, tuple[int, int, int]]:
        """(height, width, channels) of the images of each column."""
        return {image.name: image.plan.size for image in self.encoder.images}

    @cached_property
    def missing_shares(self) -> dict[str, float]:
        """The share of training rows whose cell was missing, by column: the means of the features that say so."""
        tables = replace(self.encoder, texts=())
        pairs = zip(tables.columns, tables.names, self.means.tolist(), strict=False)  # n-grams come last
        return {column: mean for column, name, mean in pairs if name == f"{column} is missing"}

    @cached_property
    def never_missing(self) -> frozenset[str]:
        """The columns whose cells were all there in training; a text may always be missing."""
        shares = self.missing_shares
        known = bool(self.means.any())  # files of an older luce hold none
        may_miss = {name for name, share in shares.items() if share > 0 or not known}
        may_miss |= {date.name for date in self.encoder.dates if date.year.missing}
        read = {column.name for column in self.schema.columns if column.kind not in ("text", "left out")}
        return frozenset(read - may_miss)

    @property
    def embedding_alone(self) -> str | None:
        """The name of the one column of embeddings that is all that the model reads; None if it reads others."""
        kept = [column.name for column in self.schema.columns if column.kind != "left out"]
        return kept[0] if len(kept) == 1 and self.encoder.embeddings else None

    @cached_property
    def text_alone(self) -> TextPlan | None:
        """The plan of the one text column that the model reads; None if it reads others, or none."""
        kept = [column.name for column in self.schema.columns if column.kind != "left out"]
        texts = self.encoder.texts
        known = len(texts) == 1 and kept == [texts[0].name] and len(texts[0].buckets) > 0
        return texts[0] if known else None

    @cached_property
    def scorer(self) -> _core.TextScorer | None:
        """From texts to probabilities, where one text column is all that a linear model reads."""
        plan = self.text_alone
        if plan is None or not isinstance(self.head, Linear):
            return None
        head, maps, one = self.head, self.calibration, np.ones(self.head.outputs)
        if maps.kind == "matrix":
            head, maps = Linear(*self.calibrated_weights()), no_calibration(head.outputs)
        factor = np.ascontiguousarray(np.diagonal(maps.matrix)) * one
        return _core.TextScorer(
            plan.recipe.core, plan.buckets, plan.scale, head.weights, head.intercept * one, factor, maps.bias * one
        )

    def parsed(self, table: Table) -> dict[str, Any]:
        """The cells of rows that fit the schema; a column named as the label may be there and is not read."""
        parsed: dict[str, Any] = dict(parse(table, self.schema, ignore={self.label} if self.label else set()))
        for e in self.encoder.embeddings:
            if (width := parsed[e.name].shape[1]) != e.width:
                have = f"has {width:,} numbers a row, but the model was fitted on {e.width:,}"
                raise InputError(f"{table.source}, column {shown(e.name)}: {have}; use the network that made those")
        for plan in self.encoder.categories:
            if plan.spellings:
                parsed[plan.name] = parsed[plan.name].replace(plan.spellings)
        return parsed

    def features(self, table: Table, threads: int = 1) -> Features:
        return self.encoder.transform(self.parsed(table), threads)

    @cached_property
    def _calibrated(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.calibrated_weights(self.means)

    def calibrated_weights(
        self, row: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights (outputs, features) and intercepts (outputs,) whose logits at a row, (features,), and at the mean of
        the training rows are the calibrated ones: at all rows, if the model is linear."""
        if row is None:
            return self._calibrated
        (coef, intercept), maps = self.head.weights_between(self.means, row), self.calibration
        if maps.kind == "none":
            return coef, intercept
        if len(coef) > 1:
            coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
        if maps.kind != "matrix":
            factor = np.diagonal(maps.matrix)
            return factor[:, np.newaxis] * coef, factor * intercept + maps.bias
        return np.einsum("kl,ld->kd", maps.matrix, coef), np.einsum("kl,l->k", maps.matrix, intercept) + maps.bias

    @property
    def class_shares(self) -> NDArray[np.float64]:
        """The share of each class among the training rows, or in the population that it was adjusted to, (K,)."""
        if "shares" in self.facts:
            return np.asarray(self.facts["shares"], dtype=np.float64)
        counts = np.asarray(self.facts["class_counts"], dtype=np.float64)
        return np.asarray(counts / counts.sum())


@dataclass(frozen=True)
class HeldOut:
    """What the fits that choose the strength say of rows they did not see: the model's own cross-validation.

    probabilities: (n, K) float64, calibrated, of each training row from a fit on other rows; codes: (n,) int32, the
    place of its label among the classes; scored: (n,) bool, False for the few rows that were not held out (the only
    ones of their class); rows: which training rows these are, where they are not all, (n,) int64.
    """

    probabilities: NDArray[np.float64]
    codes: NDArray[np.int32]
    scored: NDArray[np.bool_]
    rows: NDArray[np.int64] | None = None

    def of_all(self, codes: NDArray[np.int32]) -> HeldOut:
        """The same of all training rows, by their labels: those that are none of `rows` were not held out."""
        if self.rows is None:
            return self
        p, scored = np.zeros((len(codes), self.probabilities.shape[1])), np.zeros(len(codes), dtype=np.bool_)
        p[self.rows], scored[self.rows] = self.probabilities, self.scored
        return HeldOut(p, codes, scored)
