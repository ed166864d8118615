"""Pictures as plain SVG: small functions, no styles of their own (the page's classes colour them), no script."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from luce.markup import Markup, el, inert, join, minus

HUNDRED = range(100)
DIVERGING = 5  # shades on each side of nothing
TICK_LABEL = 9  # characters


def picture(width: int, height: int, title: str, description: str, *parts: Markup, class_: str = "chart") -> Markup:
    """An SVG with a name and a description for those who cannot see it."""
    body = [el("title", title), el("desc", description), *parts]
    return el("svg", *body, class_=class_, viewBox=f"0 0 {width} {height}", role="img", aria_label=title)


def number(value: float) -> str:
    """A coordinate, to a tenth."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def shape(tag: str, class_: str, **places: float) -> Markup:
    return el(tag, class_=class_, **{name: number(value) for name, value in places.items()})


def line(class_: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return shape("line", class_, x1=x1, y1=y1, x2=x2, y2=y2)


def words(x: float, y: float, *said: object, class_: str = "tick", anchor: str = "middle", **more: object) -> Markup:
    return el("text", *said, x=number(x), y=number(y), class_=class_, text_anchor=anchor, **more)


def path(class_: str, points: Sequence[tuple[float, float]], step: bool = False) -> Markup:
    """A line through points; a step goes up or down first and then across."""
    said = "M" + " ".join(f"{number(x)},{number(y)}" for x, y in points[:1])
    for (before, _), (x, y) in pairwise(points):
        said += f"L{number(before)},{number(y)}" if step and x != before else ""
        said += f"L{number(x)},{number(y)}"
    return el("path", d=said, class_=class_)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough)
    first = math.ceil(low / size - 1e-9)
    return [k * size for k in range(first, math.floor(high / size + 1e-9) + 1)]


def tick_text(value: float) -> str:
    return minus(f"{value:.4g}") if value else "0"


@dataclass(frozen=True)
class Frame:
    """A rectangle of the picture, and the numbers at its edges."""

    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)

    def across(self, value: float) -> float:
        low, high = self.x
        return self.left + (self.right - self.left) * (value - low) / ((high - low) or 1.0)

    def up(self, value: float) -> float:
        low, high = self.y
        return self.bottom - (self.bottom - self.top) * (value - low) / ((high - low) or 1.0)

    def point(self, x: float, y: float) -> tuple[float, float]:
        return self.across(x), self.up(y)

    def grid(self, xs: Sequence[float], ys: Sequence[float], shown: Callable[[float], str]) -> list[Markup]:
        """Quiet lines and the numbers beside them."""
        out = []
        for value in ys:
            y = self.up(value)
            out += [line("grid", self.left, y, self.right, y)]
            out += [words(self.left - 6, y + 4, shown(value), anchor="end")]
        for value in xs:
            x = self.across(value)
            out += [line("grid", x, self.top, x, self.bottom), words(x, self.bottom + 16, shown(value))]
        return out


def _hundredths(value: float) -> str:
    return f"{100 * value:.0f}"


# --- the pictures ------------------------------------------------------------


def hundred(filled: int, title: str, description: str) -> Markup:
    """A hundred dots, ten a row: `filled` are full, the others are rings."""
    dots = []
    for k in HUNDRED:
        full = k < filled
        dots.append(shape("circle", "yes" if full else "no", cx=10 * (k % 10) + 5, cy=10 * (k // 10) + 5, r=3.6))
    return picture(100, 100, title, description, *dots, class_="hundred")


def span(low: float, value: float, high: float, mark: float | None = None) -> Markup:
    """A small bar of an interval on a scale from 0 to 1, decoration beside the numbers that it repeats."""
    parts = [line("track", 0, 5, 100, 5), line("reach", 100 * low, 5, 100 * high, 5)]
    if mark is not None:
        parts.append(line("mark", 100 * mark, 0, 100 * mark, 10))
    parts.append(shape("circle", "dot", cx=100 * value, cy=5, r=3))
    return el("svg", *parts, class_="span", viewBox="-4 0 108 10", aria_hidden="true")


def bar(share: float, class_: str = "bar") -> Markup:
    """A bar from the left, decoration beside the number that it repeats."""
    body = shape("rect", "full", x=0, y=1, width=max(100 * min(share, 1.0), 0.6), height=8)
    return el("svg", body, class_=class_, viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")


def signed_bar(share: float) -> Markup:
    """A bar from the middle to the right (above 0) or to the left (below 0), share in [-1, 1]."""
    size = 50 * min(abs(share), 1.0)
    left, class_ = (50.0, "plus") if share >= 0 else (50.0 - size, "less")
    parts = [line("axis", 50, 0, 50, 10), shape("rect", class_, x=left, y=1.5, width=size, height=7)]
    return el("svg", *parts, class_="bar", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")


@dataclass(frozen=True)
class Bin:
    """A bin of a reliability diagram; `count` is the markup of its number of rows."""

    left: float
    right: float
    rows: int
    count: Markup
    probability: float
    observed: float
    low: float
    high: float
    fits: bool


def reliability(bins: Sequence[Bin], title: str, description: str, axes: tuple[str, str, str]) -> Markup:
    """How often what was said came true, by what was said; below it how many rows were told so."""
    frame, base = Frame(46, 10, 346, 266), 368.0
    fifths = [k / 5 for k in range(6)]
    parts = frame.grid(fifths, fifths, _hundredths)
    parts.append(line("ideal", *frame.point(0, 0), *frame.point(1, 1)))
    most = max((b.rows for b in bins), default=1)
    for b in bins:
        parts += _bin_point(frame, b)
        height = max(36.0 * b.rows / most, 1.0)
        x, width = frame.across(b.left) + 2, frame.across(b.right) - frame.across(b.left) - 4
        parts.append(shape("rect", "count", x=x, y=base - height, width=width, height=height))
        parts.append(words(x + width / 2, base - height - 4, b.count, class_="small"))
    parts.append(line("axis", frame.left, base, frame.right, base))
    middle = (frame.left + frame.right) / 2
    parts += [words(middle, 302, axes[0], class_="label"), words(middle, base + 16, axes[2], class_="label")]
    parts.append(_turned(14, 140, axes[1]))
    return picture(360, 390, title, description, *parts)


def _bin_point(frame: Frame, b: Bin) -> list[Markup]:
    x, y = frame.point(b.probability, b.observed)
    low, high = frame.up(b.low), frame.up(b.high)
    kind = "fits" if b.fits else "off"
    out = [line(f"whisker {kind}", x, low, x, high)]
    out += [line(f"whisker {kind}", x - 4, end, x + 4, end) for end in (low, high)]
    if b.fits:
        return [*out, shape("circle", "point fits", cx=x, cy=y, r=4.5)]
    return [*out, el("path", d=f"M{number(x)},{number(y - 6.5)}l6.5,6.5l-6.5,6.5l-6.5,-6.5z", class_="point off")]


def _turned(x: float, y: float, said: str) -> Markup:
    place = f"rotate(-90 {number(x)} {number(y)})"
    return words(x, y, said, class_="label", transform=place)


def curve(
    x: Sequence[float], y: Sequence[float], title: str, description: str, axes: tuple[str, str],
    level: float | None = None,
) -> Markup:  # fmt: skip
    """A ROC curve with its diagonal, or with `level` a precision-recall curve with the line of blind guesses."""
    frame = Frame(46, 8, 286, 248)
    quarters = [k / 4 for k in range(5)]
    parts = frame.grid(quarters, quarters, _hundredths)
    guess = (frame.point(0, 0), frame.point(1, 1)) if level is None else (frame.point(0, level), frame.point(1, level))
    parts.append(line("ideal", *guess[0], *guess[1]))
    points = [frame.point(a, b) for a, b in zip(x, y, strict=True)]
    if level is None:
        under = [*points, frame.point(1, 0), frame.point(0, 0)]
        parts.append(path("under", under))
    parts.append(path("line s0", points, step=level is not None))
    parts += [words(166, 286, axes[0], class_="label"), _turned(14, 128, axes[1])]
    return picture(300, 294, title, description, *parts)


def lines(
    x: Sequence[float], series: Sequence[tuple[str, Sequence[float]]], title: str, description: str,
    axes: tuple[str, str],
) -> Markup:  # fmt: skip
    """Some lines over one axis, each with a dash of its own, and the line of nothing."""
    values = [value for _, y in series for value in y]
    low, high = min([*values, 0.0]), max([*values, 0.0])
    pad = 0.08 * (high - low) or 1.0
    frame = Frame(54, 8, 346, 196, (x[0], x[-1]), (low - pad, high + pad))
    parts = frame.grid(ticks(x[0], x[-1], 5), ticks(low - pad, high + pad, 5), tick_text)
    parts.append(line("zero", frame.left, frame.up(0.0), frame.right, frame.up(0.0)))
    for k, (_, y) in enumerate(series):
        parts.append(path(f"line s{k}", [frame.point(a, b) for a, b in zip(x, y, strict=True)]))
    parts += [words(200, 234, axes[0], class_="label"), _turned(12, 102, axes[1])]
    return picture(360, 242, title, description, *parts)


def key(place: int) -> Markup:
    """The sample of a line in a legend."""
    return el("svg", line(f"line s{place}", 0, 5, 26, 5), class_="key", viewBox="0 0 26 10", aria_hidden="true")


def shade(value: float, most: float) -> int:
    """A step of the diverging scale, from -DIVERGING to DIVERGING; 0 is nearly nothing."""
    if not most:
        return 0
    return max(-DIVERGING, min(DIVERGING, round(DIVERGING * value / most)))


def heat(
    x: Sequence[object], y: Sequence[object], z: Sequence[Sequence[float]], title: str, description: str,
    axes: tuple[str, str],
) -> Markup:  # fmt: skip
    """Cells shaded by what they add, z[across][up], each with its sign."""
    left, top, right, bottom = 86.0, 6.0, 354.0, 226.0
    wide, tall = (right - left) / len(x), (bottom - top) / len(y)
    most = max((abs(value) for column in z for value in column), default=0.0)
    cells: dict[int, list[tuple[float, float]]] = {}
    for i, column in enumerate(z):
        for j, value in enumerate(column):
            cells.setdefault(shade(value, most), []).append((left + i * wide, bottom - (j + 1) * tall))
    parts = [part for step in sorted(cells) for part in _shaded(step, cells[step], wide, tall)]
    parts += [words(left - 5, bottom - (j + 0.5) * tall + 4, _edge(v), anchor="end") for j, v in enumerate(y)]
    skip = max(1, math.ceil(len(x) * 34 / (right - left)))
    parts += [words(left + (i + 0.5) * wide, bottom + 15, _edge(v, 6)) for i, v in enumerate(x) if i % skip == 0]
    parts += [words((left + right) / 2, 262, axes[0], class_="label"), _turned(10, 116, axes[1])]
    return picture(360, 270, title, description, *parts)


def _shaded(step: int, corners: Sequence[tuple[float, float]], wide: float, tall: float) -> list[Markup]:
    """The cells of one shade, each with its sign."""
    box = f"h{number(wide - 1)}v{number(tall - 1)}h{number(1 - wide)}z"
    drawn = "".join(f"M{number(x)},{number(y)}{box}" for x, y in corners)
    sign = "·" if step == 0 else "+" if step > 0 else "−"
    signs = [
        el("text", sign, x=number(x + wide / 2), y=number(y + tall / 2 + 4), class_="deep" if abs(step) > 3 else None)
        for x, y in corners
    ]
    return [el("path", d=drawn, class_=f"h{step}".replace("-", "m")), el("g", *signs, class_="signs")]


def overlay(
    cells: Sequence[Sequence[float]], size: tuple[int, int], below: str | None, title: str, description: str
) -> Markup:
    """Cells shaded by what they add, each with its sign, lines from the top, over a faint picture of (width, height)
    pixels, which `below` holds as a URI."""
    wide = 140.0 * min(1.0, size[0] / size[1])
    tall = 140.0 * min(1.0, size[1] / size[0])
    most = max((abs(value) for line in cells for value in line), default=0.0)
    across, down = wide / len(cells[0]), tall / len(cells)
    corners: dict[int, list[tuple[float, float]]] = {}
    for i, line_ in enumerate(cells):
        for j, value in enumerate(line_):
            if step := shade(value, most):
                corners.setdefault(step, []).append((j * across, i * down))
    under = {"width": number(wide), "height": number(tall), "preserveAspectRatio": "none", "class_": "under"}
    parts = [] if below is None else [el("image", href=below, **under)]
    parts += [part for step in sorted(corners) for part in _shaded(step, corners[step], across, down)]
    return picture(round(wide), round(tall), title, description, *parts, class_="cells")


def cell(step: int) -> Markup:
    """The sample of a cell in a legend."""
    return el("svg", *_shaded(step, [(0.0, 0.0)], 18.0, 18.0), class_="sample", viewBox="0 0 18 18", aria_hidden="true")


def _edge(value: object, width: int = TICK_LABEL) -> str:
    if isinstance(value, float):
        return tick_text(value)
    return inert(str(value), width)


def legend(names: Sequence[Markup]) -> Markup:
    """What each line is."""
    items = [el("li", key(k), name) for k, name in enumerate(names)]
    return el("ul", join(items), class_="legend")
