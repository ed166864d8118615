"""The words of the page in the language asked for: phrases whose braces take markup alone."""

from __future__ import annotations

import os
import re

from luce import intervals
from luce.errors import InputError
from luce.markup import Markup, el, escaped, inert
from luce.phrases import PHRASES

LANGUAGES = ("en", "ko")

HOWS = {
    intervals.EXACT: "how.exact",
    intervals.NO_ROWS: "how.no_rows",
    intervals.NORMAL: "how.normal",
    intervals.FORESEEN: "how.foreseen",
    intervals.GROUPED: "how.grouped",
    intervals.WORTH: "how.worth",
    intervals.ONE_ROW: "how.one_row",
    intervals.ONE_A_BIN: "how.one_a_bin",
    intervals.INFINITE: "how.infinite",
    intervals.BOOTSTRAP: "how.bootstrap",
    intervals.DEGENERATE: "how.degenerate",
    intervals.DELONG: "how.delong",
    intervals.PAIRS: "how.pairs",
    intervals.BOYD: "how.boyd",
    intervals.MATCHED: "how.matched",
}


def language(asked: str | None) -> str:
    """The language asked for, or that of the locale: Korean where it says so, else English. InputError for others."""
    if asked is None:
        said = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
        return "ko" if said.lower().startswith("ko") else "en"
    if asked not in LANGUAGES:
        raise InputError(f"the language is {inert(str(asked))!r}: give one of {', '.join(LANGUAGES)}")
    return asked


def say(lang: str, key: str, **parts: Markup) -> Markup:
    """A phrase with its parts, which must be markup already."""
    foreign = [part for part in parts.values() if not isinstance(part, Markup)]
    if foreign:
        raise TypeError(f"{key}: {foreign[0]!r} is not markup")
    text = PHRASES[key][LANGUAGES.index(lang)]
    pieces = re.split(r"\{(\w+)\}", text)
    said = [parts[piece] if k % 2 else escaped(piece) for k, piece in enumerate(pieces)]
    return Markup("".join(said))


def how(lang: str, said: str) -> Markup:
    """How an interval is made, in words."""
    return say(lang, HOWS.get(said, "how.bins"))


def known(lang: str, group: str, key: str, else_: str, width: int) -> Markup:
    """The phrase of a group for a foreign key, or else a text of at most `width` characters."""
    phrase = f"{group}.{key}"
    return say(lang, phrase) if phrase in PHRASES else el("span", inert(else_, width), class_="name")


def why(lang: str, said: str) -> Markup:
    """Why a column is left out: as it was said in English, and its beginning in Korean."""
    for key in ("identifier", "free text", "constant", "all cells", "left out"):
        if said.startswith(key) and lang != "en":
            return say(lang, f"why.{key}")
    return escaped(inert(said, 80))
