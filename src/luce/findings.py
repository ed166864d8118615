"""Findings: what was found in a table, as plain values, as JSON, and as text on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from luce.alone import Leak, Separation
from luce.cells import shown
from luce.errors import inert
from luce.fitted import Label
from luce.hints import Hint
from luce.intervals import Interval
from luce.suspects import Ranking, Wrong
from luce.twins import Group, NearTwins, Twins

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console
    from rich.table import Table

FEW_ROWS = 30  # of a class: below, its scores are little more than a guess
IMBALANCE = 0.8  # share of the largest class from which on accuracy says little
LINES = 12  # of a kind, on the terminal
GROUPS = 5  # of twins, on the terminal
MISSING = 0.05  # share of a column's cells that is worth a line on the terminal


@dataclass(frozen=True)
class Scores:
    """How many of the rows were right, with the 95 % interval, and their log loss in nats (infinite if a row's class
    had probability 0, or was not known)."""

    rows: int
    accuracy: Interval
    log_loss: float


@dataclass(frozen=True)
class Suspect:
    """A row, counted from 1, whose label is likely wrong; score: p_given / (p_given + p_suggested)."""

    row: int
    given: Label
    suggested: Label
    p_given: float
    p_suggested: float
    score: float


@dataclass(frozen=True)
class ClassNote:
    """A class with few rows."""

    class_: Label
    rows: int


@dataclass(frozen=True)
class ColumnNote:
    """What is remarkable about a column: why it is left out ("" if it is not), and how many cells are missing."""

    column: str
    left_out: str
    missing: int
    share: float


@dataclass(frozen=True)
class Comparison:
    """The same model with rows held out at random, and with whole groups or the latest rows held out.

    groups: how many groups the column has, 0 for time; unknown: rows held out whose class no training row has, which
    count as wrong in the accuracy and not at all in the log loss.
    """

    by: Literal["group", "time"]
    column: str
    groups: int
    random: Scores
    split: Scores
    unknown: int

    @property
    def flatters(self) -> bool:
        """Whether the random split looks better beyond chance: the 95 % intervals do not meet."""
        return self.split.accuracy.high < self.random.accuracy.low


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found in a labelled table; rows are counted from 1, but in `ranking`, whose arrays count from 0.

    model: the out-of-fold scores of the whole model; ranking, wrong: None with it where no row could be held out.
    suspects: the first rows of the ranking, as many as `wrong.look` and only those with a more probable other class.
    """

    source: str
    label: str
    rows: int
    classes: tuple[Label, ...]
    class_rows: tuple[int, ...]
    model: Scores | None
    leaks: tuple[Leak, ...]
    ranking: Ranking | None
    wrong: Wrong | None
    suspects: tuple[Suspect, ...]
    twins: Twins
    near: NearTwins
    hints: tuple[Hint, ...]
    comparisons: tuple[Comparison, ...]
    few: tuple[ClassNote, ...]
    separations: tuple[Separation, ...]
    columns: tuple[ColumnNote, ...]
    notes: tuple[str, ...]

    @property
    def majority(self) -> float:
        return max(self.class_rows) / self.rows

    def ranked(self) -> pl.DataFrame:
        """The ranking as a frame, the most suspect row first: row (from 1), given, suggested, score, p(given),
        p(suggested); null where a row could not be held out. Without a ranking it has no rows."""
        import polars as pl

        names = ("row", "given", "suggested", "score", "p(given)", "p(suggested)")
        if self.ranking is None:
            return pl.DataFrame({name: [] for name in names})
        r, order = self.ranking, self.ranking.order
        classes = np.array(self.classes)
        frame = pl.DataFrame(
            {
                "row": order + 1,
                "given": classes[r.given[order]],
                "suggested": classes[r.suggested[order]],
                "score": r.score[order],
                "p(given)": r.p_given[order],
                "p(suggested)": r.p_suggested[order],
            }
        )
        scored = pl.Series(r.suggested[order] >= 0)
        return frame.with_columns(pl.when(scored).then(pl.col(name)).alias(name) for name in names[2:])


# ---------------------------------------------------------------------------------------------------------------------
# words


@dataclass(frozen=True)
class Section:
    """One kind of finding: weight "fault" (mend it), "ask" (only you know), "fact"; `said` are whole sentences, `found`
    the evidence, one flat dictionary each; table: whether a terminal shows the evidence."""

    key: str
    title: str
    sentence: str
    weight: Literal["fault", "ask", "fact"]
    said: tuple[str, ...] = ()
    found: tuple[dict[str, Any], ...] = ()
    table: bool = False


def sections(f: Findings) -> list[Section]:
    """All that was found, in the order in which it matters; a kind without a finding is left out."""
    parts = (_leaks, _mislabelled, _contradictions, _equal, _comparisons, _hints, _near, _few, _separations, _columns)
    return [section for part in parts if (section := part(f)) is not None]


def percent(share: float) -> str:
    text = f"{100 * share:.1f} %"
    if text == "100.0 %" and share < 1:
        return "more than 99.9 %"
    return "less than 0.1 %" if text == "0.0 %" and share > 0 else text


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _leaks(f: Findings) -> Section | None:
    if not f.leaks:
        return None
    firm = any(leak.firm for leak in f.leaks)
    found = tuple(asdict(leak) | {"said": _leak(f, leak)} for leak in f.leaks)
    which = _counted(len(f.leaks), "column gives", "columns give")
    sentence = f"{which} the label away, in part or in whole: leave out what is not known before the label is."
    said = tuple(each["said"] for each in found)
    return Section("leaks", "Columns that give the label away", sentence, "fault" if firm else "ask", said, found)


def _leak(f: Findings, leak: Leak) -> str:
    name = shown(leak.column, 60)
    out = f"leave it out: --as {shown(f'{leak.column}=ignore', 80)}"
    if leak.how in ("equal", "one-to-one"):
        what = (
            "the label itself under another name"
            if leak.how == "equal"
            else f"the label in other words ({leak.detail})"
        )
        if leak.firm:
            return f"{name} is {what}: {out}"
        return f"{name} is {what} in these {f.rows:,} rows, which may be chance; if it is made from the label, {out}"
    if leak.how == "alone":
        whole = "" if f.model is None else f", all columns together {percent(f.model.accuracy.value)}"
        detail = f"; {leak.detail}" if leak.detail else ""
        figures = f"{percent(leak.accuracy)} (majority class {percent(f.majority)}{whole}{detail})"
        return f"{name} alone predicts {figures}: is it known before the label is? If not, {out}"
    if leak.how in ("missing", "filled in"):
        alone = f", which alone predicts {percent(leak.accuracy)}" if leak.how == "missing" else ""
        return f"{name} is {leak.detail}{alone}: is it filled in only once the label is known? If so, {out}"
    return f"{name}: {leak.detail}: is the label made from it? If so, {out}"


def _mislabelled(f: Findings) -> Section | None:
    if f.wrong is None:
        return None
    found, none = tuple(asdict(each) for each in f.suspects), f.wrong.rows is not None and f.wrong.rows.value < 0.5
    assert f.ranking is not None
    sentence = _how_many(f.wrong, int((f.ranking.suggested >= 0).sum()))
    if found and none:
        sentence += " These rows the model doubts most; classes may just overlap there."
    elif found:
        sentence += " Look at these rows, the first ones first, and correct or drop those that are wrong."
    title = "Labels that are likely wrong"
    return Section("mislabelled", title, sentence, "fact" if none else "ask", found=found, table=True)


def _how_many(w: Wrong, rows: int) -> str:
    differ = {0: "none has", 1: "1 has"}.get(w.disagree, f"{w.disagree:,} have")
    surest = f"of the {w.sure:,} rows that the model is surest of, {differ} another label"
    if w.rows is None:
        return f"How many cannot be told: {surest}, so the classes overlap too much."
    if w.rows.value < 0.5:
        explained = ", as many as overlapping classes explain" if w.disagree else ""
        return f"No sign of any: {surest}{explained}" + (
            f"; at most {w.look:,} of {rows:,} are wrong." if w.look else "."
        )
    many = max(1, round(w.rows.value))
    about = f"About {many:,} of {rows:,}" if w.rows.low >= 0.5 else f"Perhaps {many:,} of {rows:,}, perhaps none"
    ends = f"(95 % interval {math.floor(w.rows.low):,} to {w.look:,})"
    return f"{about} {ends}, or rows that these columns cannot tell: {surest}."


def _groups(listed: Sequence[Group], near: bool = False) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"rows": list(g.rows), "count": g.count, "labels": list(g.labels)} | ({"differs": g.differs} if near else {})
        for g in listed
    )


def _contradictions(f: Findings) -> Section | None:
    t = f.twins
    if not t.contradictory_rows:
        return None
    most = 1 - t.lost / f.rows
    share = f", and at most {100 * most:.4g} % of all rows right" if most < 0.9995 else ""
    sentence = (
        f"{t.contradictory_rows:,} rows in {_counted(t.contradictory_groups, 'group')} are equal in all columns and "
        f"differ in the label. Any model gets at least {t.lost:,} of them wrong{share}: correct the labels, or add a "
        "column that tells them apart."
    )
    found = _groups([group for group in t.listed if len(group.labels) > 1])
    return Section("contradictions", "Equal rows with different labels", sentence, "fault", found=found, table=True)


def _equal(f: Findings) -> Section | None:
    t = f.twins
    if not t.extra:
        return None
    copies = _counted(t.extra, "row repeats", "rows repeat")
    sentence = (
        f"{t.rows:,} rows ({percent(t.rows / f.rows)}) in {_counted(t.groups, 'group')} have an equal twin, by the "
        f"columns that luce learns from; {copies} an earlier one. luce's cross-validation and --holdout keep "
        "copies on one side; a split of your own may put them on both and then looks too good: drop copies."
    )
    same = [group for group in t.listed if len(group.labels) == 1]  # the others are told of already
    return Section("duplicates", "Rows that occur more than once", sentence, "ask", found=_groups(same), table=True)


def _near(f: Findings) -> Section | None:
    n = f.near
    if not n.rows:
        return None
    within = "" if n.searched == f.rows else f" (looked for among the first {n.searched:,})"
    sentence = (
        f"{_counted(n.rows, 'row differs', 'rows differ')} from another in one column only, or in numbers by less than "
        f"a thousandth of a standard deviation{within}: if they are the same thing once more, keep them on one side of "
        "every split (--group)."
    )
    return Section(
        "near_duplicates", "Rows that are nearly equal", sentence, "ask", found=_groups(n.listed, near=True), table=True
    )


def _comparisons(f: Findings) -> Section | None:
    if not f.comparisons:
        return None
    found = tuple(_comparison_facts(each) for each in f.comparisons)
    said = tuple(each["said"] for each in found)
    lie = any(each.flatters for each in f.comparisons)
    sentence = (
        "A random split looks too good here." if lie else "A random split and this one agree as far as can be told."
    )
    return Section(
        "comparisons", "Random split against the one asked for", sentence, "fault" if lie else "fact", said, found
    )


def _comparison_facts(c: Comparison) -> dict[str, Any]:
    facts: dict[str, Any] = {"by": c.by, "column": c.column, "groups": c.groups, "unknown": c.unknown}
    for name, scores in (("random", c.random), ("split", c.split)):
        facts[f"{name}_accuracy"] = scores.accuracy.value
        facts[f"{name}_log_loss"] = scores.log_loss if math.isfinite(scores.log_loss) else None
    return facts | {"flatters": c.flatters, "said": _comparison(c)}


def _comparison(c: Comparison) -> str:
    ends = f"95 % interval {percent(c.split.accuracy.low)} to {percent(c.split.accuracy.high)}"
    held = f"the latest rows by {shown(c.column, 60)}"
    if c.by == "group":
        held = f"whole groups of {shown(c.column, 60)} ({c.groups:,} in all)"
    figures = f"{percent(c.random.accuracy.value)} of {c.random.rows:,} rows held out at random are right, and "
    figures += f"{percent(c.split.accuracy.value)} of {c.split.rows:,} with {held} held out ({ends})"
    losses = f"; log loss {c.random.log_loss:.3g} and {c.split.log_loss:.3g}"
    lost = f"; {_counted(c.unknown, 'row')} of classes that the others do not have" if c.unknown else ""
    use = "luce.splits.holdout_of_groups" if c.by == "group" else "luce.splits.holdout_by_time"
    advice = f": believe the second figure, and split with {use}" if c.flatters else ": no difference beyond chance"
    return figures + losses + lost + advice


def _hints(f: Findings) -> Section | None:
    asked = {comparison.column for comparison in f.comparisons}
    left = [hint for hint in f.hints if hint.column not in asked]
    if not left:
        return None
    found = tuple(asdict(hint) | {"said": _hint(hint)} for hint in left)
    names = _counted(len(left), "column looks", "columns look")
    sentence = f"{names} like groups of rows or like time, and then a random split looks too good: measure it."
    said = tuple(each["said"] for each in found)
    return Section("splits", "Rows that a random split may not part", sentence, "ask", said, found)


def _hint(hint: Hint) -> str:
    if hint.kind == "group":
        return f"{shown(hint.column, 60)} looks like groups ({hint.why}): ask with {hint.option}"
    return f"{shown(hint.column, 60)} looks like time ({hint.why}): to predict later rows, ask with {hint.option}"


def _few(f: Findings) -> Section | None:
    said = []
    if f.few:
        which, whose = ("1 class has", "its") if len(f.few) == 1 else (f"{len(f.few):,} classes have", "their")
        listed = ", ".join(f"{shown(note.class_, 30)} {note.rows}" for note in f.few[:LINES])
        said.append(
            f"{which} fewer than {FEW_ROWS} rows, and {whose} scores are little more than guesses: collect more rows, "
            f"or join classes ({listed}{', ...' if len(f.few) > LINES else ''})."
        )
    if any(note.rows == 1 for note in f.few):
        said.append("A class with a single row is learnt from, but cannot be measured.")
    if f.majority >= IMBALANCE:
        class_ = shown(f.classes[int(np.argmax(f.class_rows))], 30)
        said.append(
            f"Class {class_} has {percent(f.majority)} of the rows, and always answering it is right as often: look at "
            "recall and log loss, not at accuracy."
        )
    if not said:
        return None
    found = tuple({"class": note.class_, "rows": note.rows} for note in f.few)
    return Section("classes", "Rare classes", " ".join(said), "ask" if f.few else "fact", found=found)


def _separations(f: Findings) -> Section | None:
    given_away = {leak.column for leak in f.leaks if leak.how in ("equal", "one-to-one", "alone")}
    left = [s for s in f.separations if s.column not in given_away]
    if not left:
        return None
    whole = [s for s in left if s.other is None]
    said = [f"{shown(s.class_, 30)} ({s.rows:,} rows): {shown(s.column, 40)}, {s.rule}" for s in whole]
    pairs = [s for s in left if s.other is not None]
    if pairs:
        first = ", ".join(f"{shown(s.class_, 20)} and {shown(s.other, 20)} by {shown(s.column, 30)}" for s in pairs[:3])
        said.append(f"{_counted(len(pairs), 'pair')} of classes: {first}{', ...' if len(pairs) > 3 else ''}")
    sentence = (
        "No fault by itself: such a class is told as well as its column is known. Is it known before the label is?"
    )
    found = tuple(
        {"class": s.class_, "other": s.other, "column": s.column, "rule": s.rule, "rows": s.rows} for s in left
    )
    return Section(
        "separations", "Classes that one column tells apart without a mistake", sentence, "fact", tuple(said), found
    )


def _columns(f: Findings) -> Section | None:
    if not f.columns:
        return None
    said = [f"left out: {shown(c.column, 40)} ({inert(c.left_out)})" for c in f.columns if c.left_out]
    gaps = sorted((c for c in f.columns if not c.left_out and c.share >= MISSING), key=lambda c: -c.share)
    if gaps:
        listed = ", ".join(f"{shown(c.column, 30)} {percent(c.share)}" for c in gaps[:LINES])
        more = f", and {len(gaps) - LINES} more" if len(gaps) > LINES else ""
        said.append(f"cells missing: {listed}{more}; luce learns from a missing cell as from a value")
    if not said:
        return None
    found = tuple(asdict(each) for each in f.columns)
    sentence = (
        "Columns left out say nothing; to keep one all the same: --as 'COLUMN=category', or =text for sentences."
        if said[0].startswith("left")
        else ""
    )
    return Section("columns", "Columns", sentence, "fact", tuple(said), found)


# ---------------------------------------------------------------------------------------------------------------------
# JSON and terminal


def to_json(f: Findings) -> dict[str, Any]:
    """The findings as a dictionary that `json.dumps(..., allow_nan=False)` takes.

    Beside a few figures it holds one dictionary for each kind of finding: title, sentence, weight and found, a list of
    flat dictionaries. The ranking of all rows is left to `Findings.ranked`.
    """
    facts: dict[str, Any] = {"source": f.source, "label": f.label, "rows": f.rows, "majority": f.majority}
    if f.model is not None:
        facts |= {"accuracy": f.model.accuracy.value, "log_loss": f.model.log_loss}
    if f.wrong is not None and f.wrong.rows is not None:
        ends = f.wrong.rows
        facts |= {"likely_wrong": ends.value, "likely_wrong_low": ends.low, "likely_wrong_high": ends.high}
    for s in sections(f):
        facts[s.key] = {"title": s.title, "sentence": s.sentence, "weight": s.weight, "found": list(s.found)}
    if f.notes:
        facts["notes"] = {"title": "Notes", "sentence": "", "weight": "fact", "found": list(f.notes)}
    return {key: _plain(each) for key, each in facts.items()}


def _plain(value: Any) -> Any:
    """The value without tuples, and with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_SIGNS = {"fault": ("✗", "x", "bold red"), "ask": ("?", "?", "bold yellow"), "fact": ("·", "-", "bold")}


def render(f: Findings, console: Console) -> None:
    """Print the findings: a headline, then each kind with its sentence and evidence, fitted to the console's width."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(_headline(f)))
    found = sections(f)
    for s in found:
        sign, plain, style = _SIGNS[s.weight]
        sign = sign if sign.encode(console.encoding, "ignore") else plain
        console.print()
        console.print(Text(f"{sign} {s.title}", style=style))
        lines = [s.sentence] if s.sentence else []
        for line in [*lines, *s.said[:LINES], *_more(len(s.said) - LINES)]:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
        if s.found and s.table:
            console.print(Padding(_evidence(s), (0, 0, 0, 2)))
    for note in f.notes:
        console.print(Text(f"\nnote: {inert(note, 400)}", style="dim"))
    console.print(Text("\n" + _rest(f, found)))


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f"... and {count:,} more; --json lists all"


def _headline(f: Findings) -> str:
    label = f" of {shown(f.label, 40)}" if f.label else ""
    said = f"{inert(f.source, 60)}: {f.rows:,} rows, {len(f.classes):,} classes{label}"
    if f.model is None:
        return said
    right = f"the model is right in {percent(f.model.accuracy.value)} of the rows that it did not see"
    return f"{said}\n{right} (the majority class alone: {percent(f.majority)})"


def _rest(f: Findings, found: list[Section]) -> str:
    """What was looked for and not found."""
    kinds = {
        "leaks": "columns that give the label away", "contradictions": "contradictory rows",
        "duplicates": "equal rows", "near_duplicates": "nearly equal rows", "splits": "groups or time",
        "classes": "rare classes",
    }  # fmt: skip
    told = {section.key for section in found} | ({"near_duplicates"} if f.near.everywhere else set())
    told |= {"splits"} if f.comparisons else set()
    absent = [words for key, words in kinds.items() if key not in told]
    return f"looked for and not found: {', '.join(absent)}" if absent else ""


def _evidence(s: Section) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = s.found[: GROUPS if "rows" in s.found[0] and isinstance(s.found[0]["rows"], list) else LINES]
    names = [name for name in rows[0] if name != "score"]
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False, caption_justify="left")
    for name in names:
        number = isinstance(rows[0][name], (int, float)) and name not in ("given", "suggested", "class")
        table.add_column(name.replace("_", " "), justify="right" if number else "left")
    for each in rows:
        table.add_row(*(Text(_cell(each[name], name)) for name in names))
    if len(s.found) > len(rows):
        table.caption = f"{len(s.found) - len(rows):,} more; --json lists all"
    return table


def _cell(value: Any, name: str) -> str:
    """A value as it stands in a table; the numbers of rows and classes have no commas, which would part them."""
    if isinstance(value, list):
        return ", ".join(_cell(each, "row") for each in value[:8]) + (", ..." if len(value) > 8 else "")
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or value >= 1e-4 else "<0.0001"
    plain = isinstance(value, bool) or not isinstance(value, int) or name in ("row", "given", "suggested", "class")
    return inert(str(value), 40) if plain else f"{value:,}"
