"""HTML that is safe by its type: whatever is not Markup is escaped, and foreign text is made inert."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.report import nats, percent

NAME_WIDTH = 28  # characters of a foreign name that are shown; the whole of it is in its title
TITLE_WIDTH = 400
VOID = frozenset({"meta", "link", "br", "col", "img"})


class Markup(str):
    """Text that is markup already; every other text is escaped where it meets markup."""

    __slots__ = ()


def escaped(value: object) -> Markup:
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def join(parts: list[Markup] | tuple[Markup, ...], between: str = "") -> Markup:
    return Markup(between.join(map(escaped, parts)))


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """An element: children that are no Markup are escaped; an attribute that is None is left out, True stands bare.

    An underscore at the end of an attribute's name is dropped, others become hyphens.
    """
    said = ""
    for key, value in attributes.items():
        name = key.rstrip("_").replace("_", "-")
        if value is not None and value is not False:
            said += f" {name}" if value is True else f' {name}="{html.escape(str(value), quote=True)}"'
    if tag in VOID:
        return Markup(f"<{tag}{said}>")
    return Markup(f"<{tag}{said}>{''.join(map(escaped, children))}</{tag}>")


def inert(text: str, width: int = NAME_WIDTH) -> str:
    """Foreign text of at most `width` characters: what cannot be seen, or turns the direction of writing, is spelt."""
    head = text[: width - 1] + "…" if len(text) > width else text
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in head)
    return seen if seen.strip() == seen and seen else f"'{seen}'"


def name(value: object, width: int = NAME_WIDTH) -> Markup:
    """A foreign name set apart from the direction of the text around it; where it is cut, its title has the whole."""
    text = str(value)
    whole = inert(text, TITLE_WIDTH) if len(text) > width else None
    return el("bdi", inert(text, width), class_="name", title=whole)


def minus(text: str) -> str:
    return text.replace("-", "−")


def written(value: float, form: str) -> str:
    """A number as a reader sees it.

    form: percent, end and end % (of an interval, in hundredths), whole and whole bare (no decimals), of100, count,
    nats, signed, points, decimal, short, general, plain (as Python writes it), rough (two digits and zeros).
    """
    if form == "percent":
        return percent(value).replace(" ", "\u00a0")
    if form in ("end", "end %"):
        return _end(value) + ("\u00a0%" if form == "end %" else "")
    if form in ("whole", "whole bare"):
        return f"{100.0 * value:.0f}" + ("\u00a0%" if form == "whole" else "")
    if form == "of100":
        return _of_100(value)
    if form == "points":
        return minus(f"{100.0 * value:+.1f}")
    if form == "nats":
        return nats(value)
    if form == "plain":
        return str(value)
    if form == "rough":
        return f"{float(f'{value:.1e}'):,.0f}"
    pattern = {"count": "{:,}", "signed": "{:+.2f}", "decimal": "{:.3f}", "short": "{:.3g}", "general": "{:.4g}"}[form]
    return minus(pattern.format(value))


def _end(share: float) -> str:
    """In hundredths, with as many decimals as keep what is not quite all, or not quite nothing, from being rounded."""
    for decimals in range(1, 9):
        text = f"{100.0 * share:.{decimals}f}"
        if share in (0.0, 1.0) or float(text) not in (0.0, 100.0):
            break
    return text


def _of_100(share: float) -> str:
    hundred = 100.0 * share
    near_an_end = 0.0 < share < 1.0 and round(hundred) in (0, 100)
    return minus(percent(share).removesuffix(" %")) if near_an_end else minus(f"{hundred:.0f}")


@dataclass(frozen=True)
class View:
    """The facts, and the one way to show a number of them: by its path, so that the page and the JSON agree.

    pixels: pictures (height, width, channels) uint8 by the path of their fact; JSON lacks them.
    """

    facts: dict[str, Any]
    lang: str
    pixels: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def at(self, path: str) -> Any:
        """The fact at a path such as `intervals.accuracy.low` or `per_class.0.f1`."""
        found: Any = self.facts
        for step in path.split("."):
            found = found[int(step)] if isinstance(found, list) else found[step]
        return found

    def num(self, path: str, form: str, tag: str = "data", **attributes: object) -> Markup:
        """The number at a path, shown in a form (see `written`); a dash where there is none."""
        value = self.at(path)
        if value is None:
            return el("span" if tag == "data" else tag, "–", data_fact=path, **attributes)
        exact = {"value": json.dumps(value)} if tag == "data" else {}
        return el(tag, written(value, form), **exact, data_fact=path, **attributes)

    def between(self, path: str, form: str) -> Markup:
        """The ends of the interval at a path."""
        first, last = ("end", "end %") if form == "percent" else (form, form)
        return join([self.num(f"{path}.low", first), Markup("–"), self.num(f"{path}.high", last)])
