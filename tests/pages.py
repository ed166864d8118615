"""What the tests of the page share: facts of a small model, the page as a tree, what a shown number may be."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np

VOID = {"meta", "link", "br", "col", "img"}
TITLES = {"answer", "looks", "findings", "proof", "calibration", "sets", "schema", "how", "card"}
MEASURED = {"trust", "classes", "confusion", "curves", "metrics"}

# In a page: the elements whose text stands out less than 4.5 to 1 against what is behind it.
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
                      const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const part = v => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = c => .2126 * part(c[0]) + .7152 * part(c[1]) + .0722 * part(c[2]);
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const shut = e.closest('details:not([open])') && !e.closest('summary');
    if (!text || shut || e.closest('[hidden], script') || (e.closest('svg') && e.closest('title, desc'))) continue;
    const style = getComputedStyle(e), layers = [];
    for (let up = e; up; up = up.parentElement) layers.push(rgba(getComputedStyle(up).backgroundColor));
    const behind = layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
    const ink = rgba(e.closest('svg') ? style.fill : style.color);
    const a = light(over(ink, behind)), b = light(behind);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push([e.tagName, e.className.baseVal ?? e.className, e.textContent.slice(0, 30), ratio]);
  }
  return bad; }"""


@dataclass
class Node:
    """An element: its tag, attributes and children, texts among them."""

    tag: str
    attributes: dict[str, str]
    children: list[Any] = field(default_factory=list)

    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text() for child in self.children)

    def all(self, tag: str | None = None, **attributes: str) -> list[Node]:
        """All elements inside, at any depth, with this tag and these attributes (`_` for `-`; None: just there)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        out = []
        for child in self.children:
            if isinstance(child, str):
                continue
            if tag in (None, child.tag) and all(child.attributes.get(k) == v for k, v in wanted.items()):
                out.append(child)
            out += child.all(tag, **attributes)
        return out


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def tree(html: str) -> Node:
    """The page as a tree; every element is closed by its own end."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.open == [builder.root]
    return builder.root


def at(facts: Any, path: str) -> Any:
    """The fact at a dotted path."""
    for step in path.split("."):
        facts = facts[int(step)] if isinstance(facts, list) else facts[step]
    return facts


def agrees(shown: str, value: float) -> bool:
    """Does a shown number say the value, as is or in hundredths, rounded in its last place?"""
    text = shown.replace("−", "-").replace(",", "").replace("\u00a0", "").replace(" ", "")
    bound, text = (text[0], text[1:]) if text[0] in "<>" else ("", text)
    text, hundredths = text.removesuffix("%"), text.endswith("%")
    assert re.fullmatch(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", text), shown
    said, (mantissa, _, power) = float(text), text.partition("e")
    decimals = len(mantissa.partition(".")[2])
    place = 10.0 ** (int(power or 0) - decimals)
    scales = (100.0,) if hundredths else (1.0, 100.0)
    if bound:
        return any((scale * value < said if bound == "<" else scale * value > said) for scale in scales)
    zeros = len(mantissa) - len(mantissa.rstrip("0")) if "." not in mantissa and len(mantissa) > 2 else 0
    slack = 0.5000001 * place * 10.0**zeros
    return any(abs(scale * value - said) <= slack for scale in scales)


def overview(fitted: Any, seed: int = 0) -> list[dict[str, Any]]:
    """What the columns might add: numbers, levels and a pair, in the shape that a page takes."""
    rng = np.random.default_rng(seed)
    outputs = 1 if len(fitted.classes) == 2 else len(fitted.classes)
    labels = list(fitted.classes[-outputs:])
    kept = [column for column in fitted.schema.columns if column.kind != "left out"]
    weights = rng.dirichlet(np.ones(len(kept) + 1)).tolist()
    out = [_column(column, weight, labels, rng) for column, weight in zip(kept, weights[1:], strict=True)]
    x, z = np.linspace(20.0, 80.0, 14).tolist(), rng.normal(size=(14, 3, outputs)).tolist()
    pair = {"column": "a pair", "kind": "pair", "weight": weights[0], "by_class": _by_class(labels)}
    pair |= {"columns": [kept[0].name, kept[-1].name], "heat": {"x": x, "y": ["no", "yes", "<b>?"], "z": z}}
    return [*out, pair]


def _by_class(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"class": label, "weight": 1 / len(labels)} for label in labels]


def _column(column: Any, weight: float, labels: list[Any], rng: np.random.Generator) -> dict[str, Any]:
    entry = {"column": column.name, "kind": column.kind, "weight": weight, "by_class": _by_class(labels)}
    if column.kind == "number":
        x = np.linspace(1.0, 9.0, 80)
        y = np.outer(np.tanh(x - 5.0), rng.normal(size=len(labels)))
        return entry | {"curve": {"x": x.tolist(), "y": y.tolist(), "low": 1.5, "high": 8.5}}
    levels = [{"level": f"level {k}", "y": rng.normal(size=len(labels)).tolist(), "rows": k + 2} for k in range(15)]
    return entry | {"levels": levels}
