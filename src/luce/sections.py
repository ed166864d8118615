"""The sections of the page about how the model did: each a function from the view of the facts to markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luce import svg, words
from luce.markup import Markup, View, el, join, name
from luce.report import MATRIX_CLASSES
from luce.table import LABEL

METRICS = (
    "accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "precision_weighted",
    "recall_weighted", "f1_weighted", "matthews", "kappa", "log_loss", "brier", "ece", "classwise_ece",
)  # fmt: skip
WIDE = 0.15  # width of an interval of a share from which the page calls it wide
SHADES = 10


# --- what sections are made of -----------------------------------------------


def say(v: View, key: str, **parts: Markup) -> Markup:
    return words.say(v.lang, key, **parts)


def para(v: View, key: str, class_: str | None = None, **parts: Markup) -> Markup:
    return el("p", say(v, key, **parts), class_=class_)


def title(v: View, key: str) -> Markup:
    """Of a section; a network has a training in place of a proof."""
    trained = key == "proof" and v.at("certificate.network") is not None
    return say(v, "proof.curve" if trained else key)


def section(v: View, key: str, *children: Markup) -> Markup:
    return el("section", el("h2", title(v, key), id=f"{key}-h"), *children, id=key, aria_labelledby=f"{key}-h")


def rows(v: View, path: str) -> Markup:
    """A number of rows with its unit."""
    return say(v, "unit.row" if v.at(path) == 1 else "unit.rows", n=v.num(path, "count"))


def only_images(v: View) -> bool:
    """Does the model read images and nothing else?"""
    kinds = {column["kind"] for column in v.at("schema.columns")} - {"left out"}
    return kinds == {"image"}


def own_label(v: View) -> str | None:
    """The name of the label; None where it has none, or only that of a folder's images."""
    known: str | None = v.at("training.label")
    return None if only_images(v) and known == LABEL else known or None


def label(v: View, code: int, width: int = 28) -> Markup:
    return name(v.facts["classes"][code], width)


def table(
    v: View, caption: Markup, heads: Sequence[Markup], body: Sequence[Sequence[Markup]], class_: str = "",
    sortable: bool = False,
) -> Markup:  # fmt: skip
    """A table whose first cells head their rows; it scrolls by itself where it is wider than the page."""
    top = el("tr", *(el("th", head, scope="col") for head in heads))
    lines = [el("tr", el("th", row[0], scope="row"), *(el("td", cell) for cell in row[1:])) for row in body]
    kind = f"{class_} sortable".strip() if sortable else class_ or None
    whole = el("table", el("caption", caption), el("thead", top), el("tbody", join(lines)), class_=kind)
    return el("div", whole, class_="wide", tabindex="0", role="region", aria_label=say(v, "scroll"))


def figure(*children: Markup, caption: Markup, above: bool = False) -> Markup:
    told = el("figcaption", caption)
    return el("figure", told, *children) if above else el("figure", *children, told)


def more(summary: Markup, *children: Markup, class_: str | None = None, open_: bool = False) -> Markup:
    return el("details", el("summary", summary), *children, class_=class_, open=open_)


def picker(v: View, items: Sequence[tuple[Markup, Markup]]) -> Markup:
    """One thing a class: folded away, the first one open; with script one is chosen from a list."""
    folded = [more(head, body, class_="item", open_=k == 0) for k, (head, body) in enumerate(items)]
    if len(folded) == 1:
        return items[0][1]
    return el("div", *folded, class_="pick", data_label=say(v, "picker"))


def value_and_interval(v: View, path: str, form: str) -> Markup:
    """A number, and its interval in small type below."""
    if v.at(f"{path}.value") is None:
        return v.num(f"{path}.value", form, title=say(v, "undefined"))
    return join([v.num(f"{path}.value", form), el("small", v.between(path, form))])


def plain_text(markup: Markup) -> str:
    """The text of markup without elements or with names alone, for titles of pictures."""
    import html
    import re

    return html.unescape(re.sub(r"<[^>]*>", "", markup))


# --- in short ----------------------------------------------------------------


def answer(v: View) -> Markup:
    """How often it is right, compared with the commonest class, and how sure that is."""
    if not v.facts["rows"]:
        holdout, evaluate = el("code", "--holdout 0.2"), el("code", "luce evaluate")
        told = [para(v, "nothing", "big"), para(v, "nothing.more", holdout=holdout, evaluate=evaluate)]
        return section(v, "answer", *told)
    right = el("strong", v.num("intervals.accuracy.value", "of100"))
    ends = {end: v.num(f"intervals.accuracy.{end}", "of100") for end in ("low", "high")}
    head = [para(v, "answer.right", "big", right=right), para(v, "answer.range", "range", **ends)]
    reach = v.facts["intervals"]["accuracy"]
    base = v.facts["baseline"]["accuracy"]
    sign = para(v, "reach.key", "key-line", **{"class": name(v.facts["baseline"]["class"], 16)})
    picture = el("div", svg.span(reach["low"], reach["value"], reach["high"], base), sign, class_="reach")
    rest = [_gain(v), *_never(v), _loss(v), *([para(v, "costs", "note")] if v.facts["by_costs"] else []), _sure(v)]
    return section(v, "answer", el("div", el("div", *head, picture), _hundreds(v), class_="hero"), *rest)


def _hundreds(v: View) -> Markup:
    title, desc = plain_text(say(v, "hundred.title")), plain_text(say(v, "hundred.desc"))
    base = name(v.facts["baseline"]["class"], 16)
    parts = []
    for path, head in (
        ("intervals.accuracy.value", say(v, "hundred.model")),
        ("baseline.accuracy", say(v, "hundred.base", **{"class": base})),
    ):
        dots = svg.hundred(round(100 * v.at(path)), title, desc)
        below = join([el("b", head), Markup("<br>"), say(v, "hundred.of", right=v.num(path, "of100"))])
        parts.append(figure(dots, caption=below))
    return el("div", *parts, el("p", say(v, "hundred.key"), class_="key-line"), class_="hundreds")


def _gain(v: View) -> Markup:
    verdict = v.facts["headline"]["verdict"]
    form = "of100" if verdict == "better" else "points"
    ends = {end: v.num(f"headline.gain.{end}", form) for end in ("low", "high")}
    if verdict != "unsure":
        ends["gain"] = v.num("headline.gain.value", form)
    base = {"class": name(v.facts["baseline"]["class"]), "base": v.num("baseline.accuracy", "of100")}
    return para(v, f"gain.{verdict}", **base, **ends)


def _never(v: View) -> list[Markup]:
    out = []
    for k in v.facts["headline"]["never_found"][:5]:
        option = el("code", "--recall CLASS=0.8")
        parts = {"class": label(v, k), "rows": rows(v, f"class_intervals.{k}.support"), "option": option}
        out.append(para(v, "never", "warn", **parts))
    return out


def _loss(v: View) -> Markup:
    if v.facts["log_loss"] is None:
        return para(v, "loss.infinite", "warn")
    base = v.facts["baseline"]["log_loss"]
    below = say(v, "infinite") if base is None else v.num("baseline.log_loss", "nats")
    return para(v, f"loss.{v.facts['headline']['log_loss_verdict']}", loss=v.num("log_loss", "nats"), base=below)


def _sure(v: View) -> Markup:
    reach = v.facts["intervals"]["accuracy"]
    said = [say(v, "sure", rows=rows(v, "rows"))]
    if reach["high"] - reach["low"] > WIDE:
        said.append(say(v, "sure.wide"))
    return el("p", join(said, " "), class_="quiet")


# --- how far to trust a probability ------------------------------------------


def trust(v: View) -> Markup:
    """Reliability diagrams: of the most probable class, and of each class."""
    path = "reliability.overall"
    bins = v.at(path)
    most = max(range(len(bins)), key=lambda b: (bins[b]["rows"], b))
    said = [para(v, "trust.intro"), el("p", _bin_sentence(v, f"{path}.{most}", "trust.most"), class_="key-sentence")]
    off = [b for b, each in enumerate(bins) if each["verdict"] != "fits"]
    if off:
        items = [el("li", _bin_sentence(v, f"{path}.{b}", f"trust.{bins[b]['verdict']}")) for b in off]
        said += [el("ul", join(items), class_="marks"), para(v, "trust.chance", "quiet")]
    else:
        said.append(para(v, "trust.fits"))
    classes = v.at("reliability.classes")
    each = [(name(c["class"]), _diagram(v, f"reliability.classes.{k}.bins", c["class"])) for k, c in enumerate(classes)]
    below = [el("h3", say(v, "trust.classes")), para(v, "trust.classes.intro")]
    if len(classes) < len(v.facts["classes"]) > 2:
        below.append(para(v, "shown.worst", "quiet"))
    return section(v, "trust", *said, _diagram(v, path), *below, picker(v, each))


def _bin_sentence(v: View, path: str, key: str) -> Markup:
    numbers = {field: v.num(f"{path}.{field}", "percent") for field in ("observed", "probability")}
    numbers |= {"low": v.num(f"{path}.low", "end"), "high": v.num(f"{path}.high", "end %")}
    ends = {"from": v.num(f"{path}.from", "whole bare"), "to": v.num(f"{path}.to", "whole")}
    return say(v, key, rows=rows(v, f"{path}.rows"), **ends, **numbers)


def _diagram(v: View, path: str, class_: Any = None) -> Markup:
    bins = [
        svg.Bin(
            b["from"], b["to"], b["rows"], v.num(f"{path}.{k}.rows", "count", tag="tspan"), b["probability"],
            b["observed"], b["low"], b["high"], b["verdict"] == "fits",
        )
        for k, b in enumerate(v.at(path))
    ]  # fmt: skip
    title = say(v, "trust.title") if class_ is None else say(v, "trust.title.class", **{"class": name(class_)})
    axes = tuple(plain_text(say(v, key)) for key in ("trust.x", "trust.y", "rows"))
    chart = svg.reliability(bins, plain_text(title), plain_text(say(v, "trust.desc")), axes)  # type: ignore[arg-type]
    return el("div", figure(chart, caption=say(v, "trust.caption")), _bin_table(v, path, title), class_="beside")


def _bin_table(v: View, path: str, title: Markup) -> Markup:
    heads = [say(v, key) for key in ("bin.given", "rows", "bin.mean", "bin.true", "bin.verdict")]
    body = []
    for k, each in enumerate(v.at(path)):
        at = f"{path}.{k}"
        given = join([v.num(f"{at}.from", "whole bare"), Markup("–"), v.num(f"{at}.to", "whole")])
        true = join([v.num(f"{at}.observed", "percent"), el("small", v.between(at, "percent"))])
        verdict = say(v, f"verdict.{each['verdict']}")
        body.append([given, v.num(f"{at}.rows", "count"), v.num(f"{at}.probability", "percent"), true, verdict])
    return more(say(v, "as.table"), table(v, title, heads, body), open_=path == "reliability.overall")


# --- classes -----------------------------------------------------------------


def classes(v: View) -> Markup:
    """Precision, recall and F1 of each class with their intervals; small classes are marked."""
    heads = [say(v, key) for key in ("class", "rows", "precision", "recall", "f1")]
    body = []
    for k, each in enumerate(v.facts["class_intervals"]):
        flag = join([Markup(" "), _flag(v)]) if each["few"] else Markup("")
        scores = [_score(v, f"class_intervals.{k}.{score}") for score in ("precision", "recall", "f1")]
        body.append([join([label(v, k), flag]), v.num(f"class_intervals.{k}.support", "count"), *scores])
    whole = table(v, say(v, "classes.caption"), heads, body, "scores", sortable=True)
    few = any(each["few"] for each in v.facts["class_intervals"])
    note = [para(v, "few.note", "quiet", flag=_flag(v))] if few else []
    return section(v, "classes", para(v, "classes.intro"), whole, *note)


def _flag(v: View) -> Markup:
    return el("span", say(v, "few"), class_="flag")


def _score(v: View, path: str) -> Markup:
    each = v.at(path)
    picture = svg.span(each["low"] or 0.0, each["value"] or 0.0, 1.0 if each["high"] is None else each["high"])
    return join([value_and_interval(v, path, "percent"), picture])


# --- confusions --------------------------------------------------------------


def confusion(v: View) -> Markup:
    """Up to a dozen classes as a matrix, more as lists of the commonest mistakes and the worst classes."""
    if len(v.facts["classes"]) <= MATRIX_CLASSES:
        return section(v, "confusion", para(v, "confusion.intro"), _matrix(v), *_mistakes(v, 5))
    return section(v, "confusion", *_mistakes(v, 20), el("h3", say(v, "confusion.worst")), _worst(v))


def _matrix(v: View) -> Markup:
    counts = v.facts["confusion"]
    corner = el("td", say(v, "confusion.corner"), class_="corner")
    heads = [el("th", label(v, k, 12), scope="col") for k in range(len(counts))]
    lines = []
    for i, row in enumerate(counts):
        cells = []
        for j, n in enumerate(row):
            level = 0 if not n else max(1, round(SHADES * n / sum(row)))
            kind = f"{'g' if i == j else 'b'}{level}"
            cells.append(el("td", v.num(f"confusion.{i}.{j}", "count"), class_=kind))
        lines.append(el("tr", el("th", label(v, i, 16), scope="row"), *cells))
    head = el("thead", el("tr", corner, *heads))
    body = el("table", el("caption", say(v, "confusion.caption")), head, el("tbody", *lines), class_="matrix")
    return el("div", body, class_="wide", tabindex="0", role="region", aria_label=say(v, "scroll"))


def _mistakes(v: View, most: int) -> list[Markup]:
    found = v.facts["confusions"][:most]
    if not found:
        return [para(v, "confusion.none")]
    heads = [say(v, key) for key in ("confusion.true", "confusion.answer", "rows", "confusion.share")]
    body = []
    for k, each in enumerate(found):
        counted = v.num(f"confusions.{k}.rows", "count"), v.num(f"confusions.{k}.share", "percent")
        body.append([label(v, each["true"]), label(v, each["answer"]), *counted])
    return [table(v, say(v, "confusion.most"), heads, body, "two-names")]


def _worst(v: View) -> Markup:
    heads = [say(v, key) for key in ("class", "rows", "f1")]
    body = []
    for k in v.facts["worst"][:10]:
        at = f"class_intervals.{k}"
        body.append([label(v, k), v.num(f"{at}.support", "count"), _score(v, f"{at}.f1")])
    return table(v, say(v, "confusion.worst"), heads, body, "scores")


# --- curves ------------------------------------------------------------------


def curves(v: View) -> Markup:
    """ROC and precision-recall curves of one class against the rest, and their areas."""
    found = v.facts["curves"]
    if not found:
        return section(v, "curves", para(v, "curves.none"))
    items = [(name(c["class"]), _curve_pair(v, k)) for k, c in enumerate(found)]
    notes = [para(v, "shown.worst", "quiet")] if len(found) < len(v.facts["classes"]) > 2 else []
    heads = [say(v, key) for key in ("class", "rows", "roc_auc", "average_precision")]
    body = []
    for c in found:
        at = f"class_intervals.{c['code']}"
        areas = [value_and_interval(v, f"{at}.{area}", "decimal") for area in ("roc_auc", "average_precision")]
        body.append([label(v, c["code"]), v.num(f"{at}.support", "count"), *areas])
    areas_table = table(v, say(v, "curves.caption"), heads, body, sortable=len(body) > 1)
    return section(v, "curves", para(v, "curves.intro"), *notes, picker(v, items), areas_table)


def _curve_pair(v: View, k: int) -> Markup:
    each = v.facts["curves"][k]
    class_ = {"class": name(each["class"])}
    pictures = []
    for kind, area, level in (("roc", "roc_auc", None), ("pr", "average_precision", each["share"])):
        title, desc = (plain_text(say(v, f"{kind}.title", **class_)), plain_text(say(v, f"{kind}.desc")))
        axes = plain_text(say(v, f"{kind}.x")), plain_text(say(v, f"{kind}.y"))
        chart = svg.curve(each[kind]["x"], each[kind]["y"], title, desc, axes, level)
        number = v.num(f"class_intervals.{each['code']}.{area}.value", "decimal")
        caption = join([el("b", say(v, area), " ", number), Markup(" · "), say(v, f"{kind}.caption")])
        pictures.append(figure(chart, caption=caption))
    return el("div", *pictures, class_="two")


# --- all measures ------------------------------------------------------------


def metrics(v: View) -> Markup:
    """Each measure with its interval, and how the interval is made."""
    heads = [say(v, key) for key in ("metrics.name", "metrics.value", "metrics.interval")]
    body = [_metric(v, measure) for measure in METRICS]
    caption = say(v, "metrics.caption")
    return section(v, "metrics", para(v, "metrics.intro"), table(v, caption, heads, body, "measures"))


def _metric(v: View, measure: str) -> list[Markup]:
    is_share = measure == "accuracy" or measure.startswith(("balanced", "precision", "recall", "f1"))
    form = "percent" if is_share else "nats" if measure == "log_loss" else "decimal"
    about = [say(v, f"m.{measure}"), el("small", say(v, f"m.{measure}.is"))]
    if measure not in v.facts["intervals"]:
        return [join(about), v.num(measure, form), el("span", say(v, "metrics.no interval"), class_="quiet")]
    path = f"intervals.{measure}"
    about.append(el("small", say(v, "metrics.how", how=words.how(v.lang, v.at(f"{path}.how"))), class_="how"))
    if v.at(f"{path}.value") is None:
        lost = say(v, "infinite" if measure in ("log_loss", "brier") else "undefined")
        return [join(about), el("span", lost, data_fact=f"{path}.value"), Markup("–")]
    return [join(about), v.num(f"{path}.value", form), v.between(path, form)]
