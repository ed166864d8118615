"""The page: one self-contained HTML file about a model, from the facts alone; it loads nothing and needs no script."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import portrait, sections, thumbnails, words
from luce.atomic_file import replace_file
from luce.classifier import Classifier
from luce.errors import InputError
from luce.facts import facts, text_examples
from luce.gallery import gallery
from luce.markup import Markup, View, el, join, name
from luce.report import Report
from luce.table import Table

MEASURED = (sections.trust, sections.classes, sections.confusion, sections.curves, sections.metrics)
MODEL = (
    portrait.looks, portrait.texts, thumbnails.images, portrait.findings, portrait.proof, portrait.calibration,
    portrait.sets, portrait.schema, portrait.how, portrait.card,
)  # fmt: skip

Pictures = Mapping[str, NDArray[np.uint8]]
EXAMPLES = ("texts", "images")  # sections of rows, where the model reads such and there are rows


def write_report(
    path: str | os.PathLike[str],
    classifier: Classifier,
    report: Report | None,
    *,
    lang: str | None = None,
    findings: Mapping[str, Any] | None = None,
    data: object = None,
) -> None:
    """Writes one HTML file that shows how a model did and what it is, whole or not at all (docs/report.md).

    report: what `train` or `Classifier.evaluate` gave; None where nothing was measured, and the page says so.
    lang: "en" or "ko", by default that of the locale. findings: of the data, as plain lists and texts.
    data: the rows of the report, or those that the classifier was just fitted to: some of their texts and images are
    then shown. The same arguments give the same bytes. Raises InputError for another language and for other rows,
    FileError if the file cannot be written, NotFittedError for a classifier without a fit.
    """
    chosen, rows = words.language(lang), None if data is None else classifier._table(data)
    known, pixels = shown(classifier, report, rows, findings=findings)
    if rows is not None and _answered(classifier, report, rows) is None:
        raise InputError(f"data has {rows.rows:,} rows: give those of the report, or those just fitted to")
    save(path, page(known, chosen, pixels))


def shown(
    classifier: Classifier, report: Report | None, rows: Table | None, *, findings: Mapping[str, Any] | None = None,
    source: str = "",
) -> tuple[dict[str, Any], Pictures]:  # fmt: skip
    """The facts of a page and its pictures. rows: as the model reads them, those of the report or of the fit; of
    others none are shown."""
    answered = None if rows is None else _answered(classifier, report, rows)
    texts, images = [], None
    if rows is not None and answered is not None:
        texts, images = text_examples(classifier, rows, *answered), gallery(classifier, rows, *answered)
    known = facts(
        classifier.fitted, report, findings=findings, overview=classifier.overview(), texts=texts,
        images=None if images is None else images.facts, source=source,
    )  # fmt: skip
    return known, {} if images is None else images.pixels


def _answered(classifier: Classifier, report: Report | None, rows: Table) -> tuple[Any, Any, Any] | None:
    """The probabilities, the true classes and which rows count: of a report on these rows, else of the rows held out
    in turn when they were fitted to; None for other rows."""
    held = classifier.held_out
    if report is not None and report.rows == rows.rows:
        return report.probabilities, report.codes, None
    if held is not None and len(held.codes) == rows.rows:
        return held.probabilities, held.codes, held.scored
    return None


def save(path: str | os.PathLike[str], text: str) -> None:
    """The page as a file, whole or not at all."""
    replace_file(path, [text.encode()])


def page(facts: Mapping[str, Any], lang: str, pixels: Pictures | None = None) -> str:
    """The facts (of `luce.facts.facts`) as an HTML page; each number on it is one of them. lang: "en" or "ko". pixels:
    the pictures of `luce.gallery.gallery`; without them their places are told in words alone."""
    v = View(dict(facts), words.language(lang), pixels or {})
    model = [part for part in MODEL if part.__name__ not in EXAMPLES or facts.get(part.__name__)]
    parts = [sections.answer, *(MEASURED if facts["rows"] else ()), *model]
    built = [part(v) for part in parts]
    keys = [part.__name__ for part in parts]
    body = el(
        "body",
        el("a", sections.say(v, "skip"), class_="skip", href="#main"),
        el(
            "div",
            _header(v),
            _contents(v, keys),
            el("main", *built, id="main", tabindex="-1"),
            _footer(v),
            class_="page",
        ),
        Markup(f"<script>{_text('page.js')}</script>"),
        data_sort=sections.say(v, "sort"),
    )
    whole = el("html", _head(v), body, lang=v.lang)
    return f"<!DOCTYPE html>\n{whole}\n"


def _label(v: View) -> Markup | None:
    label = sections.own_label(v)
    return name(label, 60) if label else None


def _head(v: View) -> Markup:
    style, script = _text("static/base.css") + _text("page.css"), _text("page.js")
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    said = sections.say(v, "title", label=_label(v) or Markup("luce"))
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", sections.plain_text(said)),
        el("link", rel="icon", href="data:,"),
        Markup(f"<style>{style}</style>"),
    )


def _header(v: View) -> Markup:
    label = _label(v)
    heading = sections.say(v, "heading", label=label) if label else sections.say(v, "heading.plain")
    counts = {"columns": v.num("schema.used", "count"), "rows": v.num("training.rows", "count")}
    classes, key = v.num("training.class_count", "count"), "intro.images" if sections.only_images(v) else "intro"
    intro = el("p", sections.say(v, key, classes=classes, **counts), class_="lead")
    return el("header", el("p", sections.say(v, "kicker"), class_="kicker"), el("h1", heading), intro)


def _contents(v: View, keys: list[str]) -> Markup:
    items = [el("li", el("a", sections.title(v, key), href=f"#{key}")) for key in keys]
    title = sections.say(v, "contents")
    return el("nav", el("p", title, class_="nav-title"), el("ol", join(items)), aria_label=title)


def _footer(v: View) -> Markup:
    version = el("span", v.at("training.version"), class_="name")
    return el("footer", el("p", sections.say(v, "footer", version=version)))


@cache
def _text(file: str) -> str:
    return (files("luce") / file).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
