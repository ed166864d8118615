"""The section of the page about images: the surest mistakes, right answers, what speaks for a class."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from luce import svg
from luce.markup import TITLE_WIDTH, Markup, View, el, inert, join, name
from luce.png import png
from luce.sections import para, plain_text, rows, say, section

SIDE = 96  # pixels of the page that the longer side of a picture takes at most
COARSE = 2  # times as large or more: each pixel is then seen as a square


def images(v: View) -> Markup:
    """Mistakes by their probability, a sure and an unsure right answer of each class, and each class by its cells."""
    given = v.at("measured.on") == "rows given"
    parts = [para(v, "images.intro"), para(v, "images.given" if given else "images.held", "quiet")]
    parts += [el("h3", say(v, "images.wrong")), _counted(v)]
    if v.at("images.wrong"):
        parts.append(_row_of(v, "wrong"))
    if v.at("images.right"):
        parts += [el("h3", say(v, "images.right")), para(v, "images.right.intro", "quiet"), _row_of(v, "right")]
    columns = range(len(v.at("images.columns")))
    several = len(columns) > 1
    parts += [el("h3", say(v, "images.speaks")), para(v, "images.speaks.intro"), _key(v)]
    for j in columns:
        heading = [el("h4", name(v.at(f"images.columns.{j}.column")))] if several else []
        parts += [*heading, _classes(v, j)]
    sheets = [sheet for j in columns for sheet in _filters(v, j)]
    if sheets:
        parts += [el("h3", say(v, "images.filters")), para(v, "images.filters.intro"), *sheets]
    if v.at("images.more"):
        parts.append(para(v, "images.more", "quiet", n=v.num("images.more", "count")))
    return section(v, "images", *parts)


# --- rows --------------------------------------------------------------------


def _counted(v: View) -> Markup:
    of = rows(v, "images.scored")
    if not v.at("images.mistakes"):
        return para(v, "images.no mistakes", rows=of)
    less = v.at("images.mistakes") > len(v.at("images.wrong"))
    return para(v, "images.surest" if less else "images.all", n=v.num("images.mistakes", "count"), rows=of)


def _row_of(v: View, key: str) -> Markup:
    told = [_example(v, f"images.{key}.{k}") for k in range(len(v.at(f"images.{key}")))]
    return el("ul", join([el("li", each) for each in told]), class_="thumbs")


def _example(v: View, path: str) -> Markup:
    """The images of a row, its classes and the probability of its answer."""
    each = v.at(path)
    true, answer = name(each["true"], 16), name(each["answer"], 16)
    right = "sure" in each
    kind = f"images.{'sure' if each['sure'] else 'unsure'}" if right else ""
    alt = say(v, "images.alt.right" if right else "images.alt.wrong", true=true, answer=answer)
    pictures = [picture(v, f"{path}.{j}", plain_text(alt)) for j in range(len(v.at("images.columns")))]
    p = v.num(f"{path}.probability", "percent")
    said = [say(v, kind, answer=answer, p=p)] if right else [say(v, "images.true", true=true), Markup("<br>")]
    if not right:
        said.append(say(v, "images.said", answer=answer, p=p))
    row = el("small", say(v, "texts.row", row=v.num(f"{path}.row", "plain")))
    return el("figure", *pictures, el("figcaption", *said, row, *_file(each)))


def _file(each: Mapping[str, Any]) -> list[Markup]:
    """The name of the file, the whole path of which is its title."""
    if "file" not in each:
        return []
    last = re.split(r"[/\\]", each["file"])[-1]
    whole = inert(each["file"], TITLE_WIDTH)
    return [el("small", el("bdi", inert(last, 60), class_="name", title=whole), class_="file")]


def picture(v: View, path: str, alt: str) -> Markup:
    """A picture in the page itself, SIDE pixels a side at most; nothing where its pixels are not at hand."""
    pixels = v.pixels.get(path)
    if pixels is None:
        return Markup("")
    height, width = pixels.shape[:2]
    times = SIDE / max(height, width)
    times = int(times) if times >= COARSE else times
    kind = "coarse" if times >= COARSE else None
    sizes = {"width": max(round(times * width), 1), "height": max(round(times * height), 1)}
    return el("img", src=uri(pixels), alt=alt, class_=kind, **sizes)


def uri(pixels: Any) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


# --- classes -----------------------------------------------------------------


def _key(v: View) -> Markup:
    """How cells look that speak for a class, and against it."""
    items = [el("li", svg.cell(step), say(v, key)) for step, key in ((4, "images.for"), (-4, "images.against"))]
    return el("ul", *items, class_="legend")


def _classes(v: View, j: int) -> Markup:
    places = range(len(v.at(f"images.columns.{j}.classes")))
    return el("div", *(_class(v, f"images.columns.{j}.classes.{k}", f"images.columns.{j}") for k in places),
              class_="faces")  # fmt: skip


def _class(v: View, path: str, column: str) -> Markup:
    """The mean image of a class, and the same below the cells that speak for the class and against it."""
    each = v.at(path)
    class_ = {"class": name(each["class"], 16)}
    mean = picture(v, path, plain_text(say(v, "images.mean", **class_)))
    below = uri(v.pixels[path]) if path in v.pixels else None
    size = v.at(f"{column}.width"), v.at(f"{column}.height")
    title, desc = (plain_text(say(v, key, **class_)) for key in ("images.heat", "images.heat.desc"))
    cells = svg.overlay(each["cells"], size, below, inert(title, 200), desc)
    ends = {end: v.num(f"{path}.{end}", "signed") for end in ("least", "most")}
    range_ = el("small", say(v, "images.range", covered=v.num(f"{path}.covered", "count"), **ends))
    caption = el("figcaption", el("b", class_["class"]), Markup(" · "), rows(v, f"{path}.rows"), range_)
    return el("figure", caption, el("div", mean, cells, class_="face"))


def _filters(v: View, j: int) -> list[Markup]:
    """The patterns that a column of images is compared with, a picture for each size."""
    out = []
    for i in range(len(v.at(f"images.columns.{j}.filters"))):
        path = f"images.columns.{j}.filters.{i}"
        numbers = {key: v.num(f"{path}.{key}", "count") for key in ("side", "count")}
        caption = say(v, "images.filters.of", **numbers)
        sheet = v.pixels.get(path)
        if sheet is not None:
            shown = el("img", src=uri(sheet), alt=plain_text(caption), class_="sheet", width=sheet.shape[1])
            out.append(el("figure", el("figcaption", caption), shown))
    return out
