"""The sections of the page about what the model is: its columns, its proof, its promises, its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luce import svg, words
from luce.markup import Markup, View, el, escaped, inert, join, name
from luce.report import percent
from luce.sections import (
    figure,
    label,
    more,
    only_images,
    own_label,
    para,
    picker,
    plain_text,
    rows,
    say,
    section,
    table,
)

TOGETHER = 4  # lines that one picture holds, and classes that one table of levels holds
FOLD = 20  # columns from which their list is folded away
FINDING_ROWS = 50
FINDING_COLUMNS = 8
FIRST_FINDINGS = 10  # the others are folded away
WORD = 60  # characters of a word that are shown
WEIGHTS = ("fault", "ask", "fact")


# --- what the model looks at -------------------------------------------------


def looks(v: View) -> Markup:
    """The strongest columns, then what the values of each add."""
    found = v.facts["overview"]
    if not found["columns"]:
        return section(v, "looks", para(v, "looks.none"))
    parts = [para(v, "looks.intro"), _strongest(v), *_numbers(v), *_levels(v), *_pairs(v)]
    return section(v, "looks", *parts)


def _strongest(v: View) -> Markup:
    columns = v.at("overview.columns")
    two = len(v.facts["classes"]) == 2
    most = max(c["weight"] for c in columns) or 1.0
    heads = [say(v, key) for key in ("looks.column", "looks.weight", *(() if two else ("looks.by_class",)))]
    body = []
    for k, column in enumerate(columns):
        weight = _meter(v.num(f"overview.columns.{k}.weight", "percent"), svg.bar(column["weight"] / most))
        kind = el("small", say(v, f"kind.{column['kind']}"), class_="beside-name")
        body.append([join([name(column["column"]), Markup(" "), kind]), weight, *([] if two else [_top_classes(v, k)])])
    shown = table(v, say(v, "looks.caption"), heads, body, "strongest")
    more_columns = v.at("overview.more")
    return join(
        [shown, para(v, "looks.more", "quiet", n=v.num("overview.more", "count")) if more_columns else Markup("")]
    )


def _meter(number: Markup, bar: Markup) -> Markup:
    return el("div", bar, number, class_="meter")


def _top_classes(v: View, k: int) -> Markup:
    path = f"overview.columns.{k}.by_class"
    said = []
    for j, each in enumerate(v.at(path)):
        said.append(el("span", name(each["class"], 14), " ", v.num(f"{path}.{j}.weight", "decimal"), class_="chip"))
    return join(said, " ")


def _numbers(v: View) -> list[Markup]:
    found = v.at("overview.numbers")
    if not found:
        return []
    two = len(v.facts["classes"]) == 2
    about = para(v, "looks.numbers.two", **{"class": label(v, 1)}) if two else para(v, "looks.numbers.many")
    pictures = [_number(v, k) for k in range(len(found))]
    return [el("h3", say(v, "looks.numbers")), about, el("div", *pictures, class_="grid")]


def _number(v: View, k: int) -> Markup:
    column = v.at(f"overview.numbers.{k}")
    ends = {end: v.num(f"overview.numbers.{k}.{end}", "signed") for end in ("least", "most")}
    caption = join([el("b", name(column["column"])), Markup(" · "), say(v, "looks.curve.range", **ends)])
    groups = [column["series"][at : at + TOGETHER] for at in range(0, len(column["series"]), TOGETHER)]
    pictures = [_lines(v, column, group) for group in groups]
    rest = [more(say(v, "looks.others"), *pictures[1:])] if len(pictures) > 1 else []
    return figure(pictures[0], *rest, caption=caption, above=True)


def _lines(v: View, column: Mapping[str, Any], group: Sequence[Mapping[str, Any]]) -> Markup:
    title = plain_text(say(v, "looks.curve", column=name(column["column"])))
    axes = inert(column["column"]), plain_text(say(v, "looks.adds"))
    series = [("", each["y"]) for each in group]
    chart = svg.lines(column["x"], series, title, plain_text(say(v, "looks.curve.desc")), axes)
    if len(v.facts["classes"]) == 2:
        return chart
    return join([chart, svg.legend([label(v, each["code"], 18) for each in group])])


def _levels(v: View) -> list[Markup]:
    found = v.at("overview.levels")
    if not found:
        return []
    return [
        el("h3", say(v, "looks.levels")),
        el("div", *(_level_tables(v, k) for k in range(len(found))), class_="grid"),
    ]


def _level_tables(v: View, k: int) -> Markup:
    column = v.at(f"overview.levels.{k}")
    places = range(len(column["codes"]))
    groups = [places[at : at + TOGETHER] for at in range(0, len(places), TOGETHER)]
    tables = [_level_table(v, k, group) for group in groups]
    rest = [more(say(v, "looks.others"), *tables[1:])] if len(tables) > 1 else []
    left = [para(v, "looks.levels.more", "quiet", n=v.num(f"overview.levels.{k}.more", "count"))]
    return el("div", tables[0], *rest, *(left if column["more"] else []))


def _level_name(v: View, level: Any) -> Markup:
    """A category's own text, or what stands for a missing cell, for yes, for no."""
    if level is None:
        return say(v, "level.missing")
    return say(v, f"level.{str(level).lower()}") if isinstance(level, bool) else name(level, 24)


def _level_table(v: View, k: int, group: Sequence[int]) -> Markup:
    column = v.at(f"overview.levels.{k}")
    counted = any(level["rows"] is not None for level in column["levels"])
    classes = [label(v, column["codes"][j], 14) for j in group]
    heads = [say(v, "looks.level"), *([say(v, "rows")] if counted else []), *classes]
    body = []
    for i, level in enumerate(column["levels"]):
        at = f"overview.levels.{k}.levels.{i}"
        cells = [
            _meter(v.num(f"{at}.y.{j}", "signed"), svg.signed_bar(level["y"][j] / (column["most"] or 1.0)))
            for j in group
        ]
        rows_there = [v.num(f"{at}.rows", "count")] if counted else []
        body.append([_level_name(v, level["level"]), *rows_there, *cells])
    return table(v, join([el("b", name(column["column"])), Markup(" · "), say(v, "looks.adds")]), heads, body, "levels")


def _pairs(v: View) -> list[Markup]:
    found = v.at("overview.pairs")
    if not found:
        return []
    return [el("h3", say(v, "looks.pairs")), para(v, "looks.pair.desc"), el("div", *_heats(v), class_="grid")]


def _heats(v: View) -> list[Markup]:
    out = []
    for k, pair in enumerate(v.at("overview.pairs")):
        maps = [(label(v, each["code"]), _heat(v, k, m)) for m, each in enumerate(pair["maps"])]
        out.append(picker(v, maps))
    return out


def _heat(v: View, k: int, m: int) -> Markup:
    pair, path = v.at(f"overview.pairs.{k}"), f"overview.pairs.{k}.maps.{m}"
    first, second = (name(column) for column in pair["columns"])
    title = say(v, "looks.pair", first=first, second=second)
    axes = inert(pair["columns"][0]), inert(pair["columns"][1])
    z, desc = v.at(f"{path}.z"), plain_text(say(v, "looks.pair.desc"))
    chart = svg.heat(pair["x"], pair["y"], z, plain_text(title), desc, axes)
    ends = {end: v.num(f"{path}.{end}", "signed") for end in ("least", "most")}
    about = say(v, "looks.pair.for", **{"class": label(v, v.at(f"{path}.code"))}, **ends)
    return figure(chart, caption=join([el("b", title), Markup(" · "), about]), above=True)


# --- texts -------------------------------------------------------------------


def texts(v: View) -> Markup:
    """Some texts that were answered right and some that were not, with the words for and against the answer."""
    places = range(len(v.at("texts")))
    parts = [para(v, "texts.intro"), el("p", _key(v), class_="quiet")]
    parts.append(para(v, "texts.held" if v.at("measured.on") != "rows given" else "texts.given", "quiet"))
    for right in (True, False):
        own = [k for k in places if v.at(f"texts.{k}.right") == right]
        if own:
            parts += [el("h3", say(v, "texts.right" if right else "texts.wrong")), *(_text(v, k) for k in own)]
    return section(v, "texts", *parts)


def _key(v: View) -> Markup:
    """How the marks look."""
    signs = {"for": el("mark", say(v, "texts.for"), class_="m3"), "against": _against(say(v, "texts.against"), 3)}
    return say(v, "texts.key", **signs)


def _against(text: object, strength: int) -> Markup:
    return el("mark", text, class_=f"n{strength}")


def _text(v: View, k: int) -> Markup:
    """One row: its answer and probability, and its texts."""
    each = v.at(f"texts.{k}")
    parts = {"answer": name(each["answer"]), "p": v.num(f"texts.{k}.probability", "percent")}
    parts["other"] = name(each["other"])
    head = say(v, "texts.was right" if each["right"] else "texts.was wrong", **parts)
    row = el("small", say(v, "texts.row", row=v.num(f"texts.{k}.row", "plain")))
    several = len(each["texts"]) > 1
    said = []
    for text in each["texts"]:
        column = [el("b", inert(text["column"])), ": "] if several else []
        said.append(el("p", *column, *map(_word, text["words"]), class_="name", dir="auto"))
    return el("figure", el("figcaption", head, row), *said, class_="text")


def _word(word: Mapping[str, Any]) -> Markup:
    strength = word["strength"]
    text = inert(word["text"], WORD) if word["text"] else ""
    if strength < 0:
        return join([escaped(word["before"]), _against(text, -strength)])
    return join([escaped(word["before"]), el("mark", text, class_=f"m{strength}") if strength else escaped(text)])


# --- findings ----------------------------------------------------------------


def findings(v: View) -> Markup:
    """What was found in the data, each kind as a title, a sentence and a table of at most 50 rows."""
    found = v.facts["findings"]
    if found is None:
        return section(v, "findings", para(v, "findings.not asked"))
    kinds = [(key, value) for key, value in found.items() if key != "columns"]  # the section of the columns has these
    parts = [part for key, value in kinds for part in _finding(v, key, value)]
    if not parts:
        return section(v, "findings", para(v, "findings.none"))
    return section(v, "findings", para(v, "findings.intro"), *parts)


def _finding(v: View, key: str, value: Any) -> list[Markup]:
    """A list of rows, or a dictionary of a title, a sentence and rows; what is empty is left out."""
    title, sentence, listed = key.replace("_", " "), "", value
    if isinstance(value, Mapping):
        title, sentence = str(value.get("title", title)), str(value.get("sentence", ""))
        listed = next((each for each in value.values() if isinstance(each, list)), [])
    if not isinstance(listed, list) or not (listed or sentence):
        return []
    weight = value.get("weight") if isinstance(value, Mapping) else None
    flag = [Markup(" "), el("span", say(v, f"weight.{weight}"), class_=f"flag {weight}")] if weight in WEIGHTS else []
    head = [el("h3", words.known(v.lang, "finding", key, title, 80), *flag)]
    if sentence and v.lang == "en":
        head.append(el("p", inert(sentence, 400), class_="name"))
    elif sentence:
        head.append(el("p", words.known(v.lang, "advice", key, sentence, 400)))
    return [*head, *([_evidence(v, listed)] if listed else [])]


def _evidence(v: View, listed: list[Any]) -> Markup:
    """What was found: whole sentences where there are some, else a table."""
    shown = [each if isinstance(each, Mapping) else {"said": each} for each in listed[:FINDING_ROWS]]
    if all(isinstance(each.get("said"), str) for each in shown):
        whole = el("ul", *(el("li", name(each["said"], 300), lang="en") for each in shown))
    else:
        fields = [f for f in dict.fromkeys(f for each in shown for f in each) if f != "score"][:FINDING_COLUMNS]
        heads = [words.known(v.lang, "field", field, field.replace("_", " "), 40) for field in fields]
        body = [[_finding_cell(field, each.get(field)) for field in fields] for each in shown]
        whole = table(v, escaped(""), heads, body[:FIRST_FINDINGS], "found")
        if len(body) > FIRST_FINDINGS:
            rest = table(v, escaped(""), heads, body[FIRST_FINDINGS:], "found")
            whole = join([whole, more(say(v, "findings.rest"), rest)])
    return join([whole, *([para(v, "findings.more", "quiet")] if len(listed) > FINDING_ROWS else [])])


def _finding_cell(field: str, value: Any) -> Markup:
    if value is None or value == "":
        return Markup("–")
    if isinstance(value, float):
        text = percent(value) if field.startswith("p_") or field == "share" else f"{value:.4g}"
        return el("span", text, class_="name number")
    if isinstance(value, int) and field not in ("given", "suggested", "class", "class_", "row"):
        return el("span", f"{value:,}", class_="name number")
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return name(value, 60)


# --- proof, calibration, sets ------------------------------------------------


def proof(v: View) -> Markup:
    """The certificate in one sentence, and what it means; of a network, what its training lost."""
    if v.at("certificate.network") is not None:
        return section(v, "proof", *_trained(v))
    numbers = {key: v.num(f"certificate.{key}", "short") for key in ("objective", "l2", "gap")}
    numbers["passes"] = v.num("certificate.passes", "count")
    if v.at("certificate.gap") is None:
        del numbers["gap"]
        return section(v, "proof", para(v, "proof.none", **numbers), para(v, "proof.means"))
    parts = v.num("certificate.parts", "rough")
    relative = [] if v.at("certificate.parts") is None else [say(v, "proof.relative", parts=parts)]
    return section(v, "proof", el("p", join([say(v, "proof.is", **numbers), *relative], " ")), para(v, "proof.means"))


def _trained(v: View) -> list[Markup]:
    network, path = v.at("certificate.network"), "certificate.network"
    units = join([v.num(f"{path}.units.{i}", "count") for i in range(len(network["units"]))], " → ")
    numbers = {"units": units, "parameters": v.num(f"{path}.parameters", "count")}
    numbers["passes"] = v.num("certificate.passes", "count")
    said = [para(v, "proof.network", **numbers), para(v, "proof.no proof")]
    curves = [
        (float(k), *pair)
        for k, pair in enumerate(zip(network["taught"], network["held_out"], strict=True), 1)
        if None not in pair
    ]
    if len(curves) < 2:
        return said
    x, taught, held_out = zip(*curves, strict=True)
    title, desc = plain_text(say(v, "proof.curve")), plain_text(say(v, "proof.curve.desc"))
    axes = plain_text(say(v, "proof.epoch")), plain_text(say(v, "proof.loss"))
    chart = svg.lines(x, [("", taught), ("", held_out)], title, desc, axes)
    names = svg.legend([say(v, "proof.taught"), say(v, "proof.held_out")])
    ends = {"first": v.num(f"{path}.held_out.0", "nats"), "last": v.num(f"{path}.held_out.{int(x[-1]) - 1}", "nats")}
    return [*said, figure(chart, names, caption=say(v, "proof.curve.range", **ends), above=True)]


def calibration(v: View) -> Markup:
    """What was done to the logits so that probabilities are true, and what it gained."""
    kind = v.at("calibration.kind")
    if not v.at("calibration.rows"):
        return section(v, "calibration", para(v, "calibration.unknown"))
    parts = {"before": v.num("calibration.before", "nats"), "rows": rows(v, "calibration.rows")}
    if kind != "none":
        parts["after"] = v.num("calibration.after", "nats")
    return section(v, "calibration", para(v, f"calibration.{kind}", **parts))


def sets(v: View) -> Markup:
    """The promise of conformal sets, and the classes that have too few rows for it."""
    if v.facts["conformal"] is None:
        return section(v, "sets", para(v, "sets.none"))
    option = el("code", "luce predict --coverage 0.95")
    coverage = v.num("conformal.coverage", "whole")
    said = para(v, "sets.is", option=option, coverage=coverage, rows=rows(v, "conformal.rows"))
    few, least = v.at("conformal.too_few"), v.num("conformal.least", "count")
    if not few:
        return section(v, "sets", said, para(v, "sets.all", least=least))
    items = [
        el("li", name(each["class"]), ": ", rows(v, f"conformal.too_few.{k}.rows")) for k, each in enumerate(few[:50])
    ]
    return section(v, "sets", said, para(v, "sets.few", least=least), el("ul", join(items), class_="plain"))


# --- columns, measurement, card ----------------------------------------------


def schema(v: View) -> Markup:
    """The columns: what each is, why it is left out, and how many of its cells were missing."""
    numbers = {"used": v.num("schema.used", "count"), "left": v.num("schema.left_out", "count")}
    columns = v.at("schema.columns")
    heads = [say(v, f"schema.{key}") for key in ("column", "kind", "missing")]
    body = [_column(v, k) for k in range(len(columns))]
    listed = table(v, say(v, "schema.caption"), heads, body, "columns", sortable=True)
    if len(columns) > FOLD:
        listed = more(say(v, "schema.all"), listed)
    intro = para(v, "schema.intro.images" if only_images(v) else "schema.intro", **numbers)
    return section(v, "schema", intro, listed)


def _column(v: View, k: int) -> list[Markup]:
    column = v.at(f"schema.columns.{k}")
    kind = say(v, f"kind.{column['kind']}")
    if column["why"]:
        kind = join([kind, el("small", words.why(v.lang, column["why"]), class_="name")])
    if not column.get("missing"):
        return [name(column["name"]), kind, Markup("–")]
    at = f"schema.columns.{k}"
    share = el("small", v.num(f"{at}.missing_share", "percent"), class_="beside-name")
    gone = join([v.num(f"{at}.missing", "count"), Markup(" "), share])
    return [name(column["name"]), kind, gone]


def how(v: View) -> Markup:
    """How many rows were fitted on and measured, and how these were chosen."""
    on, held = v.at("measured.on"), v.at("measured.held_out")
    pairs = [("how.train", v.num("training.rows", "count"))]
    if v.at("measured.source"):
        pairs.append(("how.source", name(v.at("measured.source"), 60)))
    if on == "held out":
        pairs.append(("how.held", v.num("rows", "count")))
    elif on == "rows given":
        pairs.append(("how.given", v.num("rows", "count")))
    if on == "held out" and held:
        pairs.append(("how.share", v.num("measured.held_out.share", "general")))
        if held.get("by"):
            pairs.append(("how.by", say(v, f"how.{held['by']}", column=name(held["column"], 60))))
        if held.get("by") != "time":
            pairs.append(("how.seed", v.num("measured.held_out.seed", "plain")))
    asked = f"how.{held['by']}.text" if on == "held out" and held and held.get("by") else "how.held.text"
    text = {"held out": asked, "rows given": "how.given.text"}.get(on, "how.nothing.text")
    return section(v, "how", _pairs_of(v, pairs), para(v, text))


def _pairs_of(v: View, pairs: Sequence[tuple[str, Markup]]) -> Markup:
    return el("dl", *(join([el("dt", say(v, key)), el("dd", value)]) for key, value in pairs))


def card(v: View) -> Markup:
    """What is known of the model in short: task, classes, form, limits, and how to get the same numbers again."""
    own = own_label(v)
    task = say(v, "card.task.is", label=name(own)) if own else say(v, "card.task.plain")
    pairs = [
        ("card.task", task),
        ("how.train", v.num("training.rows", "count")),
        ("card.form", say(v, "card.form.is", features=v.num("training.features", "count"))),
    ]
    return section(
        v, "card", _pairs_of(v, pairs), _class_shares(v), el("h3", say(v, "card.limits")), _limits(v), *_notes(v),
        el("h3", say(v, "card.again")), _command(v),
    )  # fmt: skip


def _class_shares(v: View) -> Markup:
    heads = [say(v, "class"), say(v, "rows"), say(v, "card.share")]
    body = []
    for k, each in enumerate(v.at("training.classes")):
        at = f"training.classes.{k}"
        share = _meter(v.num(f"{at}.share", "percent"), svg.bar(each["share"]))
        body.append([label(v, k), v.num(f"{at}.rows", "count"), share])
    listed = table(v, say(v, "card.classes"), heads, body, "shares", sortable=True)
    if v.at("training.other_shares"):
        listed = join([listed, para(v, "card.other shares", "quiet")])
    return more(say(v, "card.classes"), listed) if len(body) > FOLD else listed


def _limits(v: View) -> Markup:
    kinds = {column["kind"] for column in v.at("schema.columns")}
    keys = [key for key in ("drift", "cause", "unseen", "noise") if key != "unseen" or "category" in kinds]
    items = [el("li", say(v, f"card.{key}")) for key in keys]
    few = [name(each["class"], 16) for each in v.at("training.classes") if each["few"]]
    if few:
        shown = join([*few[:10], *([Markup("…")] if len(few) > 10 else [])], ", ")
        items.append(el("li", say(v, "card.small", classes=shown)))
    return el("ul", join(items))


def _notes(v: View) -> list[Markup]:
    notes = [el("li", inert(note, 300), class_="name", lang="en") for note in v.at("training.notes")[:20]]
    return [el("h3", say(v, "card.notes")), el("ul", join(notes))] if notes else []


def _command(v: View) -> Markup:
    """The command that gives the same numbers again, in the same version."""
    version = el("span", v.at("training.version"), class_="name")
    below = el("small", join([Markup("luce "), version]))
    if v.at("measured.command"):
        return el("p", el("code", name(v.at("measured.command"), 1000)), below, class_="command")
    source = name(v.at("measured.source") or "DATA", 200)
    if v.at("measured.on") == "rows given":
        said = join([Markup("luce evaluate MODEL "), source])
    else:
        folder = only_images(v) and own_label(v) is None
        of = [] if folder else [Markup(" --label "), name(v.at("training.label") or "LABEL", 60)]
        said = join([Markup("luce train "), source, *of])
        if v.at("measured.held_out"):
            share, seed = (v.num(f"measured.held_out.{key}", "plain") for key in ("share", "seed"))
            said = join([said, Markup(" --holdout "), share, Markup(" --seed "), seed])
    return el("p", el("code", said), below, class_="command")
