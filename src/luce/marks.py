"""Where in a text the n-grams stand that speak for a class or against it, by words; and which words to show."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array
from luce.text import TextPlan

LONG = 12  # letters without a blank from which on what is written without blanks is cut
FEW = 3  # letters of a piece of it
MOST_WORDS = 40  # of a text that are shown
STRENGTHS = (0.1, 1 / 3, 2 / 3)  # of the strongest mark: from each on a mark is one step stronger
UNSPACED = (  # scripts without blanks, and Hangul, which may go without: the first and the last code point
    ("\u0e00", "\u0fff"), ("\u1000", "\u109f"), ("\u1100", "\u11ff"), ("\u1780", "\u17ff"), ("\u3005", "\u318f"),
    ("\u3400", "\u9fff"), ("\uac00", "\ud7ff"), ("\uf900", "\ufaff"), ("\U00020000", "\U0003ffff"),
)  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """A piece of a text, characters [begin, end), and what it adds to the difference of the logits."""

    begin: int
    end: int
    amount: float


@dataclass(frozen=True)
class Shown:
    """A piece as it is shown: the blank or "…" before it, and its strength, -3 (against) to 3 (for the answer)."""

    before: str
    text: str
    strength: int


@dataclass(frozen=True)
class MarkedText:
    """The text of a column and its marks in order, whose amounts add up to what the column adds."""

    column: str
    text: str
    marks: tuple[Mark, ...]

    def strongest(self, count: int = 3) -> list[str]:
        """The words that do most of what the text as a whole does, each once, the strongest first."""
        sign = 1.0 if sum(mark.amount for mark in self.marks) >= 0 else -1.0
        ranked = sorted(self.marks, key=lambda mark: -sign * mark.amount)
        return list(dict.fromkeys(self.text[m.begin : m.end] for m in ranked if sign * m.amount > 0))[:count]

    def shown(self, most: int = MOST_WORDS) -> list[Shown]:
        """The text in pieces, a long one as the strongest of them and their neighbours; at its end a last "…", if it
        goes on."""
        every = pieces(self.text)
        amounts = {mark.begin: mark.amount for mark in self.marks}
        largest = max(map(abs, amounts.values()), default=0.0)
        end, last = 0, -1
        out: list[Shown] = []
        for i in _chosen([abs(amounts.get(begin, 0.0)) for begin, _ in every], most):
            begin, after = every[i]
            before = "… " if i > last + 1 else " " if begin > end and out else ""
            before = f" {before}" if i > last + 1 and out else before
            out.append(Shown(before, self.text[begin:after], strength(amounts.get(begin, 0.0), largest)))
            end, last = after, i
        return out if last + 1 == len(every) else [*out, Shown(" …", "", 0)]


def _chosen(sizes: Sequence[float], most: int) -> list[int]:
    """The places of the largest and of those beside them, at most `most`, ascending."""
    if len(sizes) <= most:
        return list(range(len(sizes)))
    found: set[int] = set()
    for i in np.argsort(-np.array(sizes), kind="stable").tolist():
        beside = {j for j in (i - 1, i, i + 1) if 0 <= j < len(sizes)}
        if len(found | beside) > most:
            break
        found |= beside
    return sorted(found)


def strength(amount: float, largest: float) -> int:
    """How strong a mark is beside the largest of its text: -3 to 3."""
    steps = sum(abs(amount) >= share * largest > 0 for share in STRENGTHS)
    return steps if amount >= 0 else -steps


def marks(text: str, plan: TextPlan, weights: Array) -> tuple[Mark, ...]:
    """What each piece of a text adds. weights: of the n-grams of the plan, (n-grams,).

    What an n-gram adds is shared equally by its occurrences, and the part of each of these by the characters that it
    was made from, but for blanks; then it is summed by piece. A piece of no known n-gram has no mark.
    """
    row = plan.rows([text], 1)
    if not len(row.indices):
        return ()
    buckets, added = plan.buckets[row.indices], weights[row.indices] * row.values
    order = np.argsort(buckets)
    found = np.array(_core.occurrences(text, plan.recipe.core), dtype=np.int64)
    place = np.minimum(np.searchsorted(buckets, found[:, 0], sorter=order), len(order) - 1)
    known = buckets[order[place]] == found[:, 0]
    place, found = order[place[known]], found[known]
    share = added[place] / np.bincount(place, minlength=len(added))[place]
    amounts, used = _by_character(text, found[:, 1:], share)
    sums = ((begin, end, float(amounts[begin:end].sum())) for begin, end in pieces(text) if used[begin:end].any())
    return tuple(Mark(*each) for each in sums)


def _by_character(text: str, spans: NDArray[np.int64], share: Array) -> tuple[Array, NDArray[np.bool_]]:
    """What each character is given of shares of spans of bytes, and whether a span has it."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    starts = np.concatenate([[0], np.cumsum(1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000))])
    control = (codes < 0x20) | ((codes >= 0x7F) & (codes < 0xA0))  # blanks to n-grams
    seen = ~(control | np.fromiter(map(str.isspace, text), dtype=np.bool_, count=len(text)))
    before = np.concatenate([[0], np.cumsum(seen)])  # seen characters before each
    ends = np.searchsorted(starts, spans)
    first, last = before[ends.min(axis=1)], before[ends.max(axis=1)]  # marks that change places can turn a span round
    first = np.minimum(first, before[-1] - 1)
    last = np.maximum(last, first + 1)
    rate, steps, cover = share / (last - first), np.zeros(before[-1] + 1), np.zeros(before[-1] + 1, dtype=np.int64)
    for at, sign in ((first, 1), (last, -1)):
        np.add.at(steps, at, sign * rate)
        np.add.at(cover, at, sign)
    amounts, used = np.zeros(len(text)), np.zeros(len(text), dtype=np.bool_)
    used[seen] = np.cumsum(cover)[:-1] > 0
    amounts[seen] = np.where(used[seen], np.cumsum(steps)[:-1], 0.0)
    return amounts, used


# --- pieces ----------------------------------------------------------------------------------------------------------


def pieces(text: str) -> list[tuple[int, int]]:
    """The words of a text, characters [begin, end); of a long one without a blank what is written without blanks in
    pieces of three letters."""
    out: list[tuple[int, int]] = []
    at = 0
    for word in text.split():
        begin = text.index(word, at)
        at = begin + len(word)
        out += [(begin, at)] if len(word) <= LONG else _cut(text, begin, at)
    return out


def _cut(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """A word in pieces: each of another script than the one before, or of a few letters without blanks."""
    heads = [i for i in range(begin, end) if i == begin or not _joined(text, i)]
    if len(heads) <= LONG:
        yield begin, end
        return
    first, letters, unspaced = begin, 0, None
    for i in heads:
        own = _unspaced(text[i]) if text[i].isalnum() else unspaced
        if (unspaced is not None and own != unspaced) or (unspaced and letters >= FEW):
            yield first, i
            first, letters = i, 0
        unspaced, letters = own, letters + 1
    yield first, end


def _unspaced(letter: str) -> bool:
    return any(low <= letter <= high for low, high in UNSPACED)


def _joined(text: str, i: int) -> bool:
    """Whether a character belongs to the one before: a mark, a vowel or tail of Hangul, a part of an emoji."""
    here = text[i]
    hangul = "\u1160" <= here <= "\u11ff" or "\ud7b0" <= here <= "\ud7ff"
    emoji = here == "\u200d" or text[i - 1] == "\u200d" or "\U0001f3fb" <= here <= "\U0001f3ff"
    return hangul or emoji or unicodedata.category(here)[0] == "M"
