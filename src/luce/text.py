"""A text column -> features: hashed n-grams (core/ngram.h), weighed by what each tells of the class.

A text is a sparse row of unit length; an n-gram that stands there c times has (1 + ln c) s, its scale s being the
square root of the information that it gives on the class (in nats, one more text being given on top of the shares of
the classes, so that rare n-grams promise little). With an L2 penalty a larger scale is a weaker penalty on its
weight: the idea of naive-Bayes log-count ratios (Wang and Manning, ACL 2012), for any number of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luce import _core

Texts = Sequence[str | None]

LEAST = 2  # texts that an n-gram must be in
MOST_GRAMS = 1 << 20  # of the most frequent ones
MOST_WEIGHTS = 20_000_000  # n-grams times classes
MANY = 4_000_000  # n-grams in all texts; with more, those that tell least are left out:
LEFT_OUT = 0.03  # what they tell together, as a share of what all tell, and more where this is more:
MOST_NUMBERS = 2e9  # n-grams in all texts x classes, which a run over the texts reads
LEVELS = 1 << 14  # in which scales are told apart for that; information is seldom above 16 nats
MANY_TEXTS = 20_000
HANGUL = 0.2  # share of Hangul among the letters from which on syllables and their letters are looked at


@dataclass(frozen=True)
class Recipe:
    """Which n-grams are made: of words (up to so many), of characters across the text, and of the letters of Hangul
    syllables within a word, (least, most)."""

    name: str
    words: int
    characters: tuple[int, int] = (1, 0)
    jamo: tuple[int, int] = (1, 0)

    @cached_property
    def core(self) -> _core.Recipe:
        return _core.Recipe(self.words, *self.characters, True, *self.jamo)


WORDS = Recipe("words and pairs of words", 2)
PIECES = Recipe("words, pairs of words, pieces of 1 to 5 letters", 2, (1, 5))
SYLLABLES = Recipe("words, pieces of 1 to 4 syllables", 1, (1, 4))
JAMO = Recipe("words, pieces of 1 to 4 syllables and of 3 to 6 of their letters", 1, (1, 4), (3, 6))
RECIPES = {recipe.name: recipe for recipe in (WORDS, PIECES, SYLLABLES, JAMO)}


def recipes_for(texts: Texts) -> tuple[Recipe, ...]:
    """Those that are tried, the simplest first. Of many Korean texts syllables tell all that their letters do."""
    letters = "".join(text for text in texts[:1000] if text)
    hangul = sum("가" <= letter <= "힣" for letter in letters)
    if hangul > HANGUL * sum(map(str.isalpha, letters)) > 0:
        return (SYLLABLES, JAMO) if len(texts) <= MANY_TEXTS else (SYLLABLES,)
    return WORDS, PIECES


def _leave_out(scale: NDArray[np.float32], often: NDArray[np.int64], told: float, share: float) -> None:
    """The lowest scales become 0: those that tell together so little, or make up such a share of all that stands in the
    texts."""
    level = np.minimum(scale * np.float32(LEVELS / 4), LEVELS - 1).astype(np.int64)
    gone = np.zeros(LEVELS, dtype=np.bool_)
    for most, weight in ((told, often * np.square(scale)), (share, often)):
        below = np.cumsum(np.bincount(level, weights=weight, minlength=LEVELS))
        gone |= below <= most * below[-1]
    scale[gone[level]] = 0.0


@dataclass(frozen=True)
class TextPlan:
    """What is made of one text column: the n-grams that count, by bucket, each with its scale (float32)."""

    name: str
    recipe: Recipe
    buckets: NDArray[np.uint32]
    scale: NDArray[np.float32]

    @cached_property
    def vocabulary(self) -> _core.Vocabulary:
        return _core.Vocabulary(self.buckets)

    def rows(self, texts: Texts, threads: int) -> SparseRows:
        found = _core.text_rows(texts, self.recipe.core, self.vocabulary, self.scale, threads)
        return SparseRows(*found, len(self.buckets))


@dataclass(frozen=True)
class SparseRows:
    """starts (rows + 1,) int64, indices int32 and values float32 of a matrix with so many columns."""

    starts: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    columns: int


@dataclass(frozen=True)
class Grams:
    """The n-grams of the texts that a model is fitted to: those in LEAST texts or more, the most frequent first."""

    name: str
    recipe: Recipe
    buckets: NDArray[np.uint32]
    starts: NDArray[np.int64]
    places: NDArray[np.int32]
    counts: NDArray[np.uint8]

    @staticmethod
    def of(name: str, texts: Texts, recipe: Recipe, threads: int, most: int = MOST_GRAMS) -> Grams:
        starts, packed = _core.count_grams(texts, recipe.core, threads)
        buckets = _core.frequent_buckets(packed, LEAST, most, threads)
        return Grams(name, recipe, buckets, *_core.Vocabulary(buckets).known(starts, packed, threads))

    def scales(
        self, codes: NDArray[np.int32], classes: int, fold: NDArray[np.int32], most: int, threads: int,
        numbers: float = MOST_NUMBERS,
    ) -> NDArray[np.float32]:  # fmt: skip
        """The scale of each n-gram without the texts of each fold, and last by all, (folds + 1, n-grams); 0 for those
        that are left out: all but the `most` that tell most in all texts, and more where the texts have more than
        `numbers` times classes."""
        folds = int(fold.max()) + 1
        out = np.empty((folds + 1, len(self.buckets)), dtype=np.float32)
        often = np.zeros(len(self.buckets), dtype=np.int64)
        _core.information(self.starts, self.places, codes, classes, fold, folds, out, often, threads)
        stored = max(len(self.places), 1)
        told, share = (LEFT_OUT if stored > MANY else 0.0), 1.0 - numbers / (stored * classes)
        for scale in out:
            if max(told, share) > 0:
                _leave_out(scale, often, told, share)
            if np.count_nonzero(scale) > most:
                scale[np.argsort(-often * scale**2, kind="stable")[most:]] = 0.0
        return out

    def rows(self, scale: NDArray[np.float32], threads: int) -> SparseRows:
        """All n-grams stay columns; those of scale 0 are in no row."""
        return SparseRows(*_core.weigh(self.starts, self.places, self.counts, scale, threads), len(self.buckets))

    def plan(self, scale: NDArray[np.float32]) -> TextPlan:
        kept = scale > 0
        return TextPlan(self.name, self.recipe, self.buckets[kept], scale[kept])
