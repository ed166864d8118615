"""What the commands say at a terminal: progress, tables, bars, one line of JSON."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from luce.errors import inert
from luce.functional import top_k

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.text import Text

    from luce.counterfactual import Counterfactual
    from luce.explain import Explanation
    from luce.fitted import Fitted
    from luce.marks import MarkedText
    from luce.schema import Schema
    from luce.solver import Progress
    from luce.strangers import Strangers

BY_COSTS = "\nanswers are those of least expected cost, so accuracy may fall; probabilities are as without costs"
SHOWN_COLUMNS = 12  # of each kind, on the terminal
_LINE_PARTS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")  # what would break a line of cells


def new_console(to_stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=to_stderr, highlight=False, soft_wrap=False)


def say(line: str) -> None:
    """One line for the person at the terminal, beside the results: standard error, without markup."""
    click.echo(line, err=True)


@contextmanager
def progress_bar(title: str, model: str = "linear") -> Iterator[Progress | None]:
    """A bar on standard error that fills as the proven distance from the optimum falls; nothing where no one looks.
    model: a network has no such distance, but a loss of rows held out; one that is to be settled has either."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=new_console(to_stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0 if model == "linear" else None, state="")
        done = 0.0

        def show(passes: int, gap: float) -> None:
            nonlocal done
            if model != "linear":
                lost = f", rows held out lose {gap:.3g} nats" if model == "network" else ""
                bar.update(task, state=f"run {passes} over the rows{lost}")
                return
            # from a gap of 1 to 1e-6 on a logarithmic scale; never backwards
            done = max(done, min(1.0, max(0.0, -math.log10(max(gap, 1e-12)) / 6)))
            bar.update(task, completed=done, state=f"pass {passes}, at most {gap:.1g} from the optimum")

        yield show


@contextmanager
def rows_bar(title: str) -> Iterator[Callable[[str, int, float], None]]:
    """A bar on standard error for the share that is done, with rows a second and the time left; nothing where no one
    looks. It is told a name, new rows and the share."""
    if not sys.stderr.isatty():
        yield lambda name, rows, share: None
        return
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    with Progress(*columns, console=new_console(to_stderr=True), transient=True) as bar:
        task = bar.add_task(escape(inert(title)), total=1.0, state="")
        started, done = time.monotonic(), 0

        def show(name: str, rows: int, share: float) -> None:
            nonlocal done
            done += rows
            speed = done / max(time.monotonic() - started, 1e-3)
            bar.update(
                task, description=escape(inert(name)), completed=share, state=f"{done:,} rows, {speed:,.0f} a second"
            )

        yield show


def _effects_line(fitted: Fitted) -> str:
    """What the columns may do, and what it gained on rows held out."""
    from luce.choice import in_words

    first, *more = fitted.facts["effects"]
    encoder = fitted.encoder
    there = {
        "uncompressed": encoder.is_uncompressed, "curves": encoder.curves, "pairs": encoder.pairs,
        "values": any(v.is_code for v in encoder.values),
    }  # fmt: skip
    kept = [tried for tried in more if there.get(tried["effects"])]
    gain = f"log loss of rows held out {first['log_loss']:.3g}, then {kept[-1]['log_loss']:.3g}" if kept else ""
    return f"effects: {in_words(fitted.encoder)} ({gain})"


def _head_line(fitted: Fitted) -> str:
    """The layers of a network, a line; nothing for a linear model."""
    from luce.heads import Network

    if not isinstance(fitted.head, Network):
        return ""
    return f"network {' -> '.join(f'{n:,}' for n in fitted.head.units)}: {fitted.head.parameters:,} weights\n"


def show_fit(fitted: Fitted) -> None:
    """What the fit to all rows has come to: its proof, what the columns may do, how texts and images are read."""
    encoder = fitted.encoder
    click.echo(f"{_head_line(fitted)}fitted on all {fitted.facts['rows']:,} rows: {fitted.facts['certificate']}")
    if encoder.curves or encoder.pairs or encoder.is_uncompressed:
        click.echo(_effects_line(fitted))
    for text in encoder.texts:
        click.echo(f"{inert(text.name)}: {len(text.buckets):,} n-grams ({text.recipe.name})")
    for image in encoder.images:
        click.echo(f"{inert(image.name)}: {image.plan.sentence()}")
    if fitted.calibration.kind != "none":
        click.echo(f"calibrated by {fitted.calibration.sentence()}")


def show_schema(schema: Schema, rows: int, data: str) -> None:
    say(f"{'standard input' if data == '-' else data}: {rows:,} rows")
    titles = {
        "number": "numbers",
        "boolean": "yes/no",
        "date": "dates",
        "category": "categories",
        "text": "texts",
        "image": "images",
        "embedding": "embeddings",
    }
    for kind, title in titles.items():
        names = [c.name for c in schema.columns if c.kind == kind]
        if names:
            say(f"  {title} ({len(names)}): {_some(names)}")
    left = [c for c in schema.columns if c.kind == "left out"]
    for column in left[:SHOWN_COLUMNS]:
        say(f"  left out: {inert(column.name)} ({inert(column.why)})")
    if len(left) > SHOWN_COLUMNS:
        say(f"  left out: {len(left) - SHOWN_COLUMNS} more columns; luce inspect lists all")
    if any(column.why.startswith(("identifier", "free text")) for column in left):
        say("  (to keep one all the same: --as 'COLUMN=category', or =text for sentences)")


def _some(names: list[str]) -> str:
    more = f", ... ({len(names) - SHOWN_COLUMNS} more)" if len(names) > SHOWN_COLUMNS else ""
    return ", ".join(map(inert, names[:SHOWN_COLUMNS])) + more


def json_line(value: Any) -> str:
    """One line of JSON in which every character can be shown: names are data, and a terminal may be looking."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def say_strangers(found: Iterable[Strangers]) -> None:
    """Notes on cells that the model knows little of."""
    for sentence in filter(None, (each.sentence for each in found)):
        say(f"note: {sentence}")


def answer_lines(
    classes: Sequence[Any], probabilities: NDArray[np.float64], answers: NDArray[np.int64], top: int | None
) -> str:
    """A line for each row: the answer, a tab and its probability, or so for the `top` most probable classes."""
    names = [_LINE_PARTS.sub(" ", str(name)) for name in classes]
    places = answers[:, np.newaxis]
    if top is not None:
        places = top_k(probabilities, min(top, len(names)))[1]
    found = np.take_along_axis(probabilities, places, axis=1)
    rows = zip(places.tolist(), found.tolist(), strict=True)
    cells = ([f"{names[k]}\t{p!r}" for k, p in zip(*row, strict=True)] for row in rows)
    return "".join("\t".join(row) + "\n" for row in cells)


def explanation_json(found: Explanation, flip: Counterfactual | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"answer": found.answer, "other": found.other, "probabilities": list(found.probabilities)}
    facts |= {"difference": found.difference, "base": found.base}
    parts = [{"column": c.column, "value": c.value, "amount": c.amount} for c in found.contributions]
    change = None
    if flip is not None:
        moves = [{"column": m.column, "before": m.before, "after": m.after} for m in flip.moves]
        change = {"answer": flip.answer, "moves": moves, "probabilities": list(flip.probabilities)}
    facts |= {"contributions": parts, "change": change}
    if found.notes:
        facts["notes"] = list(found.notes)
    if found.texts:
        facts["texts"] = [asdict(text) for text in found.texts]
    if found.images:
        facts["images"] = [asdict(image) for image in found.images]
    shown: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return shown


def show_explanation(found: Explanation) -> None:
    from rich.table import Table
    from rich.text import Text

    from luce.report import percent

    p, q = map(percent, found.probabilities)
    console = new_console()
    answer, other = inert(str(found.answer)), inert(str(found.other))
    console.print(Text.assemble((answer, "bold green"), f" ({p}) and not ", (other, "bold"), f" ({q}):\n"))
    table = Table(box=None, pad_edge=False)
    for title in ("column", "value"):
        table.add_column(title)
    table.add_column("adds", justify="right")
    table.add_column(f"{'against it':>12}│for it{'':6}", no_wrap=True, min_width=25)
    largest = max([abs(c.amount) for c in found.contributions] + [abs(found.base), 1e-300])
    rows = [(inert(c.column), _cell(c.value), c.amount) for c in found.contributions[:SHOWN_COLUMNS]]
    rest = found.contributions[SHOWN_COLUMNS:]
    if rest:
        rows.append((f"{len(rest)} more columns", "", sum(c.amount for c in rest)))
    for name, value, amount in [*rows, ("an average row", "", found.base)]:
        size = round(12 * min(abs(amount) / largest, 1.0))
        bar = "█" * size
        text = f"{bar:>12}│" if amount < 0 else f"{'':12}│{bar}"
        table.add_row(name, value, f"{amount:+.2f}", Text(text, style="red" if amount < 0 else "green"))
    table.add_row("together", "", f"{found.difference:+.2f}", "", style="bold")
    console.print(table)
    for marked in found.texts:
        console.print(_words(marked, console.no_color or console.color_system is None))


def _words(marked: MarkedText, plain: bool) -> Text:
    """A text whose words for the answer are green and those against it red and underlined, the weak dim, the strong
    bold; plain: the stronger ones in brackets with a sign."""
    from rich.text import Text

    out = Text.assemble("\n", (inert(marked.column), "bold"), ": ")
    for piece in marked.shown():
        out.append(piece.before)
        word, size = inert(piece.text), abs(piece.strength)
        sign = "+" if piece.strength > 0 else "-"
        if plain:
            out.append(f"[{sign}{word}]" if size > 1 else word)
        else:
            style = f"{('dim', 'not bold', 'bold')[size - 1]} {'green' if sign == '+' else 'red underline'}"
            out.append(word, style=style if size else "")
    return out


def _cell(value: Any) -> str:
    text = "missing" if value is None or value == "" else inert(str(value))
    return text if len(text) <= 32 else text[:31] + "…"


def show_model(model: str, fitted: Fitted, strongest: dict[Any, list[tuple[str, float]]]) -> None:
    """What a model file holds."""
    facts = fitted.facts
    label = inert(fitted.label) or "labels without a name"
    click.echo(f"{model}: {len(fitted.classes)} classes of {label}, {facts['rows']:,} training rows")
    for c, n in list(zip(fitted.classes, facts["class_counts"], strict=True))[:SHOWN_COLUMNS]:
        click.echo(f"  {inert(str(c))}: {n:,} rows")
    if len(fitted.classes) > SHOWN_COLUMNS:
        click.echo(f"  ... and {len(fitted.classes) - SHOWN_COLUMNS} more classes")
    held = facts.get("held_out")
    if held:
        loss = "infinite" if held["log_loss"] is None else f"{held['log_loss']:.4g}"
        click.echo(f"held out {held['rows']:,} rows: accuracy {100 * held['accuracy']:.1f} %, log loss {loss}")
    strength = f"; l2 {facts['l2']:.4g}" if facts["l2"] is not None else ""
    click.echo(f"{_head_line(fitted)}the fit: {facts['certificate']}{strength}")
    if fitted.calibration.rows:
        click.echo(f"calibration: {fitted.calibration.sentence()}")
    click.echo("columns:")
    for column in fitted.schema.columns:
        click.echo(f"  {inert(column.name)}: {column.kind}" + (f" ({inert(column.why)})" if column.why else ""))
    click.echo("strongest columns (how far each moves the logit of the class: standard deviation over the rows):")
    most = max((w for pairs in strongest.values() for _, w in pairs), default=1.0)
    for c, pairs in list(strongest.items())[: 1 if len(strongest) == 2 else SHOWN_COLUMNS]:
        click.echo("  for and against:" if len(strongest) == 2 else f"  {inert(str(c))}:")
        for n, w in pairs:
            click.echo(f"    {'█' * max(1, round(12 * w / most)):<12} {w:5.2f}  {inert(n)}")


def inspection_json(fitted: Fitted, strongest: dict[Any, list[tuple[str, float]]]) -> dict[str, Any]:
    from luce.calibration import to_json

    return {
        "label": fitted.label,
        "classes": list(fitted.classes),
        "schema": fitted.schema.to_json(),
        "training": dict(fitted.facts),
        "calibration": to_json(fitted.calibration),
        "features": fitted.encoder.width,
        "strongest": [
            {"class": c, "columns": [{"column": n, "spread": w} for n, w in p]} for c, p in strongest.items()
        ],
    }


def show_softmax(
    z: NDArray[np.float64], names: list[str], p: NDArray[np.floating], best: int, temperature: float
) -> None:
    from rich.table import Table
    from rich.text import Text

    scaled = z / temperature
    with np.errstate(over="ignore"):
        powers = np.exp(scaled)
    shift = 0.0 if np.isfinite(powers.sum()) and powers.sum() > 0 else float(scaled.max())
    powers = np.exp(scaled - shift)
    head = "exp(z)" if temperature == 1 else f"exp(z / {temperature:g})"
    head = head if shift == 0 else head[:-1] + f" {'-' if shift > 0 else '+'} {abs(shift):g})"
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for title in ("z", head, "share of the sum"):
        table.add_column(title, justify="right")
    table.add_column("")
    table.add_column("one-hot", justify="right")
    for k, name in enumerate(names):
        style = "bold green" if k == best else ""
        bar = Text("█" * round(20 * float(p[k])) or "▏", style=style)
        numbers = (f"{z[k]:g}", _figure(powers[k]), f"{p[k]:.4f}")
        table.add_row(Text(inert(name), style=style), *numbers, bar, str(int(k == best)))
    table.add_row("sum", "", _figure(powers.sum()), "1", "", "", style="dim")
    console = new_console()
    console.print(table)
    answer = Text.assemble("\nanswer: ", (inert(names[best]), "bold green"), f" at {100 * float(p[best]):.1f} %")
    console.print(answer)
    if len(z) == 2:
        _show_sigmoid(scaled, names, console)


def _figure(value: float) -> str:
    return f"{value:.4f}" if value < 1e6 else f"{value:.4e}"


def _show_sigmoid(scaled: NDArray[np.float64], names: list[str], console: Console) -> None:
    import luce

    value = float(luce.sigmoid(float(scaled[1] - scaled[0])))
    formula = f"1 / (1 + exp(-({scaled[1]:g} - {scaled[0]:g}))) = {value:.4f}"
    console.print(
        f"two classes are the sigmoid of the difference: {formula}, the share of {inert(names[1])}", markup=False
    )
