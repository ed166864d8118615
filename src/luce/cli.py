"""The command line: train, predict, evaluate, explain, inspect, serve, doctor, audit, softmax, demo."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from luce.errors import InputError, LuceError, inert
from luce.options import (
    address_option,
    check_page,
    check_share,
    check_target,
    command_line,
    encoding_option,
    engine_of,
    host_option,
    kinds_of,
    labels_option,
    lang_option,
    model_of,
    name_option,
    numbers_of,
    port_option,
    raw_option,
    report_option,
    skip_option,
    threads_option,
    token_option,
    workers_option,
)
from luce.sources import (
    gathered,
    images_for,
    read_for,
    read_labelled,
    read_table,
    read_weights,
    rows_of_weights,
)
from luce.terminal import (
    BY_COSTS,
    answer_lines,
    explanation_json,
    inspection_json,
    json_line,
    new_console,
    progress_bar,
    rows_bar,
    say,
    say_strangers,
    show_explanation,
    show_fit,
    show_model,
    show_schema,
    show_softmax,
)

if TYPE_CHECKING:
    import polars as pl

    from luce.classifier import Classifier
    from luce.engine import Engine
    from luce.fitted import Fitted
    from luce.prediction import Counts
    from luce.report import Report
    from luce.schema import Schema
    from luce.table import Table
    from luce.text import TextPlan

# ---------------------------------------------------------------------------------------------------------------------
# train


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="luce", message="luce %(version)s")
def cli() -> None:
    """Softmax classifiers from labelled tables: proven fits, probabilities you can trust."""


@cli.command()
@click.argument("data")
@click.option("--label", metavar="COLUMN", help="The column to predict (default: for fastText's lines, their labels).")
@labels_option
@click.option("--out", default="model.luce", show_default=True, metavar="FILE", help="Where to save the model.")
@click.option("--holdout", default=0.2, show_default=True, metavar="SHARE", help="Share of rows to measure on, or 0.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Chooses the held-out rows.")
@click.option("--as", "kinds", multiple=True, metavar="COLUMN=KIND",
              help="Settle what a column is: number, boolean, date, category, text, image, embedding or ignore. "
                   "May be repeated.")  # fmt: skip
@click.option("--text", "texts", multiple=True, metavar="COLUMN",
              help="A column of texts: the same as --as COLUMN=text. May be repeated.")  # fmt: skip
@click.option("--cost", "costs", multiple=True, metavar="CLASS=NUMBER",
              help="What missing a class costs (1 by default): changes the answers, not the probabilities. May be "
                   "repeated.")  # fmt: skip
@click.option("--recall", "recalls", multiple=True, metavar="CLASS=SHARE",
              help="The share of a class's rows that must be found, such as ill=0.95. May be repeated.")  # fmt: skip
@click.option("--group", metavar="COLUMN",
              help="Rows with equal values (a patient, a site) are held out together.")  # fmt: skip
@click.option("--time", metavar="COLUMN", help="When a row was made: the latest rows are held out.")
@click.option("--size", default="20MB", show_default=True, metavar="BYTES",
              help="About the largest file of a model that reads texts, such as 2MB.")  # fmt: skip
@click.option("--model", "kind", type=click.Choice(["linear", "network", "auto"]), default="linear", show_default=True,
              help="A network has hidden layers and no proof; auto takes it if held-out rows gain by it.")  # fmt: skip
@click.option("--hidden", metavar="UNITS", help="Units of each hidden layer of a network, such as 256,64.")
@click.option("--budget", metavar="TIME", help="About how long the fit to images may take, such as 30s or 2min "
              "(default: as long as richer ways to look at them lower the log loss).")  # fmt: skip
@click.option("--memory", metavar="BYTES", help="About the memory that a table may take, such as 2GB: more of it is "
              "kept on the disk, beside the model, until the fit ends.")  # fmt: skip
@click.option("--checkpoint", metavar="FILE", help="Where a run of more than half a minute leaves what it has done; "
              "the same command goes on from there (default: beside the model, OUT.checkpoint).")  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "ray"]), help="Workers that make the passes over a vast table: "
              "processes of this machine, or Ray's.")  # fmt: skip
@workers_option
@address_option
@skip_option
@report_option
@lang_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, all that the page shows, instead of tables.")
@encoding_option
@threads_option
def train(
    data: str, label: str | None, labels: str | None, out: str, holdout: float, seed: int, kinds: tuple[str, ...],
    texts: tuple[str, ...], costs: tuple[str, ...], recalls: tuple[str, ...], group: str | None, time: str | None,
    size: str, kind: str, hidden: str | None, budget: str | None, memory: str | None, checkpoint: str | None,
    engine: str | None, workers: int | None, address: str | None, skip_bad: bool, page: str | None, lang: str | None,
    as_json: bool, encoding: str | None, threads: int | None,
) -> None:  # fmt: skip
    """Train a classifier on DATA (CSV, TSV, JSON lines, Parquet, Arrow; - for standard input; or lines that begin with
    __label__NAME, as fastText has them, which need no --label), or on images: a folder or archive (.zip, .tar.gz) with
    a folder for each class, or an IDX file; or a table with a column of image files (--as photo=image); or on the rows
    of an .npy file, embeddings that another model has made (--labels labels.npy). DATA may be many files of a table:
    a pattern in quotes ('data/*.parquet'), or their folder.

    Example: luce train patients.csv --label diagnosis --out patients.luce --report patients.html
    """
    import luce
    from luce.gather import is_many
    from luce.pictures import seconds_of
    from luce.report import render
    from luce.run import keeping
    from luce.vast import is_vast

    check_share(holdout)
    if budget is not None:
        seconds_of(budget)
    check_target(out, data)
    check_page(page, data, out)
    checkpoint = checkpoint or f"{out}.checkpoint"
    check_target(checkpoint, data, option="--checkpoint")
    if os.path.realpath(checkpoint) in map(os.path.realpath, (out, page or out)):
        raise InputError(f"--checkpoint {checkpoint} is a file that is written at the end; give another name")
    named = kinds_of(kinds, texts)
    model = luce.Classifier(
        kinds=named,
        threads=threads,
        costs=numbers_of("--cost", costs),
        recall=numbers_of("--recall", recalls),
        size=size,
        model=model_of(kind, hidden),
        budget=budget,
        engine=engine_of(engine, workers, address),
    )

    def on_schema(schema: Schema) -> None:
        show_schema(schema, table.rows, data)
        if engine is not None and not is_vast(table, schema):
            say("note: the table has too few cells to be worth workers: it is fitted here")

    run: AbstractContextManager[object] = keeping(checkpoint) if budget is None else nullcontext()
    with run:  # until the model is saved
        if memory is not None or is_many(data):
            table, label = gathered(data, label, encoding, memory, out, named, skip_bad)
        else:
            table, label = read_labelled(data, label, labels, encoding, named, skip_bad)
        with progress_bar("fitting", kind) as progress:
            trained = luce.train(
                table, label, classifier=model, held_out=holdout, seed=seed, group=group, time=time, progress=progress,
                on_schema=on_schema,
            )  # fmt: skip
        model.save(out)  # before anything is printed: whoever reads our output may leave early
    fitted = model.fitted
    for note in fitted.facts["notes"]:
        say(f"note: {note}")
    found: dict[str, Any] = {}
    if as_json or page is not None:
        found = _show(model, trained.report, data, table, page, lang, _findings(model, table, label))
    if as_json:
        click.echo(json_line(found))
        return
    if trained.report is not None:
        click.echo()
        render(trained.report, new_console())
        if fitted.costs is not None:
            click.echo(BY_COSTS)
    click.echo()
    show_fit(fitted)
    click.echo(f"saved {out}")


def _findings(model: Classifier, table: Table, label: str) -> dict[str, Any]:
    """What the data doctor says of the rows that a model was just fitted on, without another fit."""
    from luce.doctor import examine_fitted, to_json
    from luce.labels import labels
    from luce.vast import some_of

    whole, held = table, model.held_out
    table = some_of(table)
    rows, target = table.without(label), labels(table, label)
    held = None if held is None or table is not whole else held.of_all(target.codes.astype(np.int32))
    return to_json(examine_fitted(rows, target, model.fitted.schema, held, label=label))


def _show(
    classifier: Classifier, report: Report | None, data: str, rows: Table, path: str | None, lang: str | None,
    findings: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All that a page shows; the page is written if it has a path. rows: those trained on, or those of the report."""
    from luce.page import page, save, shown
    from luce.words import language

    source = "standard input" if data == "-" else data
    found, pixels = shown(classifier, report, rows, findings=findings, source=source)
    found["measured"]["command"] = command_line()
    if path is not None:
        save(path, page(found, language(lang), pixels))
        say(f"saved {path}: open it in a browser")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# predict, evaluate, inspect


@cli.command()
@click.argument("model")
@click.argument("data")
@click.option("--out", metavar="FILE", help="CSV, TSV or Parquet by its suffix (default: CSV on standard output); or a "
              "folder, FOLDER/, with a file of answers for each file of DATA.")  # fmt: skip
@click.option("--coverage", type=float, metavar="SHARE",
              help="A column `set` beside: the classes that a row may have, joined by |; of the rows of each class "
                   "this share has its own among them.")  # fmt: skip
@click.option("--top", type=click.IntRange(min=1), metavar="K",
              help="The K most probable classes, `class 1`, `p 1`, `class 2`, ..., instead of a column for each "
                   "class.")  # fmt: skip
@click.option("--lines", is_flag=True, help="Every line of DATA is a text, for a model of one text column.")
@click.option("--format", "form", type=click.Choice(["parquet", "csv"]), help="Of the files in a folder (default: "
              "parquet).")  # fmt: skip
@click.option("--again", is_flag=True, help="Do all files in a folder anew, also those that are done.")
@click.option("--engine", type=click.Choice(["local", "ray"]), help="Workers that each answer one file of many at a "
              "time: processes of this machine, or Ray's.")  # fmt: skip
@workers_option
@address_option
@skip_option
@raw_option
@encoding_option
@threads_option
def predict(
    model: str, data: str, out: str | None, coverage: float | None, top: int | None, lines: bool, form: str | None,
    again: bool, engine: str | None, workers: int | None, address: str | None, skip_bad: bool, raw: bool,
    encoding: str | None, threads: int | None,
) -> None:  # fmt: skip
    """Predict the rows of DATA with MODEL: a column `prediction` and a column `p:<class>` for each class.

    DATA of any size is read and answered in flat memory. DATA may be a folder or a quoted pattern, 'data/*.parquet',
    with --out FOLDER/: each file has a file of answers of its name, and a run that was broken off goes on with those
    that are not done; with --engine workers answer them, a file each at a time, to the same bytes.

    With --lines every line of DATA is one text, without a header or quotes, and has one line of answer: the class, a
    tab, its probability; with --top K the K most probable classes so, separated by tabs. Lines are answered as they
    come. A label that a line begins with (__label__NAME) is dropped. Where MODEL knows one text column and nothing
    else, - and a .txt file are read so without --lines too, unless their first line names that column or begins with a
    label.

    \b
    Example: luce predict patients.luce new.csv --out answers.csv
             luce predict patients.luce 'new/*.parquet' --out answers/
             luce predict reviews.luce - --lines --top 3
    """
    import polars as pl

    import luce
    from luce.functional import available_threads
    from luce.prediction import Counts, answer_columns, as_csv, predict_file
    from luce.prediction import answers as answers_of

    if out is not None and (out.endswith(os.sep) or os.path.isdir(out)):
        if lines:
            raise InputError("--lines: its answers are no files of a folder; send them to a file by >")
        hands = engine_of(engine, workers, address)
        _predict_files(model, data, out, form, coverage, top, again, raw, encoding, threads, hands)
        return
    if form is not None or again or engine is not None:
        raise InputError("--format, --again and --engine go with a folder of answers: --out FOLDER/")
    if out is not None:
        check_target(out, model, data)
    classifier = luce.load(model)
    classifier.threads = threads
    fitted, begun = classifier.fitted, b""
    if lines or (fitted.text_alone is not None and _may_be_texts(data)):
        rest = _predict_lines(classifier, data, lines, top, encoding, out is not None or coverage is not None)
        if rest is None:
            return
        begun = rest
    counts = Counts()
    if _is_table(fitted, data, begun) and not skip_bad:
        _check_one(data)
        if out is None:
            found = answers_of(
                classifier, data, coverage=coverage, top=top, encoding=encoding, begun=begun, counts=counts
            )
            for piece in as_csv(found, raw, counts):
                sys.stdout.buffer.write(piece)  # by Python, as polars hides why a write failed
                sys.stdout.flush()
        else:
            with rows_bar(data) as told:
                counts = predict_file(
                    classifier, data, out, coverage=coverage, top=top, raw=raw, encoding=encoding, begun=begun,
                    told=lambda rows, share: told(data, rows, share),
                )  # fmt: skip
    else:
        images = images_for(fitted, data, skip_bad)
        table = read_for(fitted, data, encoding, begun, skip_bad) if images is None else images[0]
        for note in table.notes if skip_bad else ():
            say(f"note: {note}")
        parsed = fitted.parsed(table)
        columns: dict[str, Any] = {} if images is None else {"image": images[1]}
        columns |= answer_columns(classifier, classifier.proba_of(parsed), coverage, top)
        _write_frame(pl.DataFrame(columns), out, raw, counts)
        counts.rows = table.rows
        counts.see(fitted, parsed, available_threads(threads))
    _say_guarded(counts.guarded)
    if out is not None:
        say(f"saved {out}: {counts.rows:,} rows")
    say_strangers(counts.strangers.values())


def _is_table(fitted: Fitted, data: str, begun: bytes) -> bool:
    """Whether DATA is read as rows, in parts: not as images or an array, and not as lines that may begin with labels,
    for a model of one text. begun: what was read of standard input already."""
    from luce.labelled_lines import PREFIX
    from luce.reader import may_be_lines

    if fitted.image_sizes or fitted.encoder.embeddings or data.lower().endswith(".npy"):
        return False
    if fitted.text_alone is None or not may_be_lines(data):
        return True
    return bool(begun) and PREFIX.encode() not in begun.replace(b"\0", b"")


def _check_one(data: str) -> None:
    """Refuse a folder and a pattern of files, which need a folder for their answers."""
    from luce.blocks import files_of

    if files_of(data) != [data]:
        raise InputError(f"{inert(data)}: are several files: say --out FOLDER/ for a file of answers for each")


def _predict_files(
    model: str, data: str, out: str, form: str | None, coverage: float | None, top: int | None, again: bool, raw: bool,
    encoding: str | None, threads: int | None, engine: Engine | None,
) -> None:  # fmt: skip
    """Answers each file of DATA in a file of a folder."""
    from luce.prediction import Part, predict_files

    new = before = 0
    watched = sys.stderr.isatty()  # a bar tells of each file

    def done(name: str, part: Part, earlier: bool) -> None:
        nonlocal new, before
        new, before = new + (not earlier), before + earlier
        if not earlier and not watched:
            say(f"saved {os.path.join(out, name)}: {part.rows:,} rows")

    with rows_bar(data) as told:
        counts = predict_files(
            model, data, out, form=form or "parquet", coverage=coverage, top=top, raw=raw, encoding=encoding,
            threads=threads, again=again, engine=engine, told=told, done=done,
        )  # fmt: skip
    if watched and new:
        say(f"saved {new:,} file(s) in {out}: {counts.rows:,} rows")
    if before:
        say(f"{before:,} file(s) were done before")
    _say_guarded(counts.guarded)
    say_strangers(counts.strangers.values())


def _may_be_texts(data: str) -> bool:
    return data == "-" or data.lower().endswith((".txt", ".txt.gz"))


def _predict_lines(
    classifier: Classifier, data: str, lines: bool, top: int | None, encoding: str | None, framed: bool
) -> bytes | None:
    """Answers every line of DATA, in blocks; or returns what it read of standard input, as DATA is a table.

    lines: it is lines, whatever it begins with. framed: an option was given that needs a table.
    """
    from luce.text_lines import blocks, is_table, opened, with_first_line

    plan = classifier.fitted.text_alone
    if plan is None:
        raise InputError(
            "--lines: the model does not read one text column alone (`luce inspect` tells what it reads); give it a "
            "table with its columns, or train it with --as COLUMN=text where that column is texts"
        )
    with opened(data) as source:
        if not lines:
            source = with_first_line(source)
            if is_table(source.begun, plan.name, encoding):
                return source.begun if data == "-" else b""
        if framed:
            what = f"{source.where}: is read as lines, for which there are no --out and --coverage"
            raise InputError(f"{what}; send the answers to a file by >, or give a table with a column {plan.name!r}")
        _answer(classifier, plan, blocks(source, encoding), top)
    return None


def _answer(classifier: Classifier, plan: TextPlan, blocks: Iterator[list[str]], top: int | None) -> None:
    """Writes a line for each text, block by block, and last a note if there were texts without anything known."""
    from luce.decision import best_of
    from luce.functional import available_threads
    from luce.strangers import Strangers, unknown_among

    fitted, threads = classifier.fitted, available_threads(classifier.threads)
    of_nothing = classifier.predict_proba([""])[0]
    unknown = written = 0
    for texts in blocks:
        p = classifier.predict_proba(texts)
        answers = answer_lines(fitted.classes, p, best_of(p, fitted.costs), top)
        sys.stdout.buffer.write(answers.encode())
        sys.stdout.flush()
        written += sum(map(bool, map(str.strip, texts)))
        bare = [texts[k] for k in np.flatnonzero((p == of_nothing).all(axis=1)) if texts[k].strip()]
        unknown += unknown_among(plan, bare, threads)
    say_strangers([Strangers("", "text", unknown, written)])


def _say_guarded(count: int) -> None:
    if count:
        say(f"note: {count:,} cell(s) that a spreadsheet would run (= + - @) got an apostrophe; --raw leaves it out")


def _write_frame(frame: pl.DataFrame, out: str | None, raw: bool, counts: Counts) -> None:
    """CSV on standard output, or a file by its suffix; text that a spreadsheet would run is guarded unless raw."""
    from luce.atomic_file import replace_file
    from luce.prediction import as_csv, as_file, form_of

    if out is None:
        sys.stdout.buffer.write(b"".join(as_csv(iter([frame]), raw, counts)))
        sys.stdout.flush()
    else:
        replace_file(out, as_file(iter([frame]), form_of(out), raw, counts))


@cli.command()
@click.argument("model")
@click.argument("data")
@click.option("--label", metavar="COLUMN", help="The column with the true classes (default: the one trained on).")
@labels_option
@skip_option
@report_option
@lang_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, all that the page shows, instead of tables.")
@encoding_option
@threads_option
def evaluate(
    model: str, data: str, label: str | None, labels: str | None, skip_bad: bool, page: str | None, lang: str | None,
    as_json: bool, encoding: str | None, threads: int | None,
) -> None:  # fmt: skip
    """Measure MODEL on the labelled rows of DATA: accuracy, precision, recall, F1, log loss, confusion. DATA may be
    many files of a table: a pattern in quotes, or their folder.

    Example: luce evaluate patients.luce next-year.csv --report next-year.html
    """
    import luce
    from luce.functional import available_threads
    from luce.report import render
    from luce.strangers import strangers_among

    check_page(page, model, data)
    classifier = luce.load(model)
    classifier.threads = threads
    table = read_for(classifier.fitted, data, encoding, skip_bad=skip_bad, labels=labels)
    report = classifier.evaluate(table, label)
    rows = table if label is None else table.without(label)
    found = _show(classifier, report, data, rows, page, lang) if as_json or page is not None else {}
    if as_json:
        click.echo(json_line(found))
    else:
        render(report, new_console(), rows="evaluated")
        if classifier.fitted.costs is not None:
            click.echo(BY_COSTS)
    fitted = classifier.fitted
    parsed = fitted.parsed(table.without(label or fitted.label))
    say_strangers(strangers_among(fitted, parsed, available_threads(threads)))


@cli.command()
@click.argument("model")
@click.argument("data")
@click.option("--row", type=click.IntRange(min=1), default=1, show_default=True, help="Which row, counted from 1.")
@click.option(
    "--against", metavar="CLASS", help="The class to compare with (default: the most probable of the others)."
)
@click.option("--keep", "kept", multiple=True, metavar="COLUMN",
              help="A column that cannot change, such as age. May be repeated.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@encoding_option
def explain(
    model: str, data: str, row: int, against: str | None, kept: tuple[str, ...], as_json: bool, encoding: str | None
) -> None:
    """Tell why MODEL gives a row of DATA its class and not another: what each column adds to the difference, and the
    smallest change of one or two columns that would flip the answer.

    Example: luce explain patients.luce new.csv --row 2 --keep age
    """
    import luce

    classifier = luce.load(model)
    table = read_for(classifier.fitted, data, encoding)
    if row > table.rows:
        raise InputError(f"--row {row}: {data} has {table.rows:,} rows")
    other = next((c for c in classifier.fitted.classes if str(c) == against), against)
    found = classifier.explain(table, row - 1, other)
    flip = classifier.counterfactual(table, row - 1, other, kept)
    for note in found.notes:
        say(f"note: {note}")
    if as_json:
        click.echo(json_line(explanation_json(found, flip)))
        return
    show_explanation(found)
    if all(column.kind in ("text", "image", "embedding", "left out") for column in classifier.fitted.schema.columns):
        return  # there is nothing that could be changed
    change = inert(flip.sentence(), 1000) if flip is not None else "no change of one or two columns flips the answer"
    click.echo(f"\nnearest change: {change}")


@cli.command()
@click.argument("model", required=False)
@click.option("--cpu", is_flag=True, help="Which instruction set and how many threads do the work here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def inspect(model: str | None, cpu: bool, as_json: bool) -> None:
    """Show what MODEL holds: columns, classes, how it was trained, the strongest features of each class.

    Example: luce inspect patients.luce
    """
    import luce

    if cpu == (model is not None):
        raise luce.InputError("name a model to inspect, or ask for --cpu without one")
    if model is None:
        config = luce.show_config()
        text = f"instruction set {config['instruction_set']}, threads {config['threads']}"
        click.echo(json_line(config) if as_json else text)
        return
    classifier = luce.load(model)
    fitted, strongest = classifier.fitted, classifier.strongest()
    if as_json:
        click.echo(json_line(inspection_json(fitted, strongest)))
        return
    show_model(model, fitted, strongest)


# ---------------------------------------------------------------------------------------------------------------------
# doctor


@cli.command()
@click.argument("data")
@click.option("--label", required=True, metavar="COLUMN", help="The column to predict.")
@click.option("--group", metavar="COLUMN", help="Rows that belong together (a patient, a site): compare a split that "
              "keeps them together with a random one.")  # fmt: skip
@click.option("--time", metavar="COLUMN", help="When a row was made: compare a split by time with a random one.")
@click.option("--as", "kinds", multiple=True, metavar="COLUMN=KIND", help="Settle what a column is, as in train.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--out", metavar="FILE", help="All rows, the most suspect label first, as CSV, TSV or Parquet.")
@raw_option
@encoding_option
@threads_option
def doctor(
    data: str, label: str, group: str | None, time: str | None, kinds: tuple[str, ...], as_json: bool, out: str | None,
    raw: bool, encoding: str | None, threads: int | None,
) -> None:  # fmt: skip
    """Examine DATA before a model is trusted: wrong labels, columns that give the label away, twin rows, rare classes.
    DATA may be many files of a table: a pattern in quotes, or their folder.

    Example: luce doctor patients.csv --label diagnosis --out suspects.csv
    """
    import luce
    from luce.doctor import render, to_json
    from luce.prediction import Counts

    if out is not None:
        check_target(out, data)
    table = read_table(data, encoding, kinds_of(kinds))
    settings = luce.Classifier(kinds=kinds_of(kinds), threads=threads)
    with progress_bar("fitting") as progress:
        found = luce.examine(table, label, group=group, time=time, classifier=settings, progress=progress)
    if out is not None:
        ranked, counts = found.ranked(), Counts()
        _write_frame(ranked, out, raw, counts)
        _say_guarded(counts.guarded)
        say(f"saved {out}: {ranked.height:,} rows")
    if as_json:
        click.echo(json_line(to_json(found)))
    else:
        render(found, new_console())


# ---------------------------------------------------------------------------------------------------------------------
# audit


@cli.command()
@click.argument("weights")
@click.argument("data")
@click.option("--label", required=True, metavar="COLUMN", help="The column that the weights predict.")
@click.option("--C", "C", type=float, help="Strength of the penalty as scikit-learn counts it.")
@click.option("--l2", type=float, help="Strength of the penalty on the mean loss, 1/(n C).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@encoding_option
@threads_option
def audit(
    weights: str, data: str, label: str, C: float | None, l2: float | None, as_json: bool, encoding: str | None,
    threads: int | None,
) -> None:  # fmt: skip
    """Tell how far the WEIGHTS of any linear softmax fit are from the best, on the rows of DATA that it was fitted on.

    WEIGHTS is an .npz file with coef (classes x columns; 1 x columns for two classes), intercept and classes, and at
    will columns, the names of the columns of coef; without them, the number columns of DATA count in their order.

    Example: luce audit weights.npz patients-numbers.csv --label diagnosis --C 1
    """
    import luce

    given = read_weights(weights)
    X, y = rows_of_weights(given, data, label, encoding)
    found = luce.audit(given, X, y, C=C, l2=l2, threads=threads)
    if as_json:
        names_of_facts = ("objective", "gap", "best", "left", "log_loss", "best_log_loss", "rows", "changed", "l2")
        click.echo(json_line({name: _finite(getattr(found, name)) for name in names_of_facts}))
    else:
        click.echo(found.sentence())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------------------------------------------------------------
# softmax, demo


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("logits", nargs=-1, required=True)
@click.option("--classes", help="Names of the classes, separated by commas.")
@click.option("--temperature", default=1.0, show_default=True, help="Divides the logits: above 1 is softer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the steps.")
def softmax(logits: tuple[str, ...], classes: str | None, temperature: float, as_json: bool) -> None:
    """Softmax of the LOGITS, step by step.

    Example: luce softmax 0.25 1.23 -0.8 --classes seal,panda,duck
    """
    import luce

    z = np.array([_logit(text) for text in logits])
    if len(z) < 2:
        raise InputError("one logit is not enough: give one number for each class, at least two")
    names = [f"class {i}" for i in range(1, len(z) + 1)]
    if classes is not None:
        names = [name.strip() for name in classes.split(",")]
    if len(names) != len(z):
        raise InputError(f"--classes names {len(names)} classes for {len(z)} logits: give one name for each")
    if len(set(names)) != len(names) or not all(names):
        raise InputError("--classes has an empty or a doubled name: each class needs a name of its own")
    p = luce.softmax(z, temperature=temperature)
    with np.errstate(over="ignore"):
        usable = np.isfinite(z / temperature).all()
    if not usable:
        raise InputError(f"--temperature {temperature:g} is too small: the logits divided by it are beyond all numbers")
    best = int(np.argmax(p))
    if as_json:
        answer = {"classes": names, "logits": z.tolist(), "temperature": temperature, "probabilities": p.tolist()}
        answer |= {"answer": names[best], "one_hot": [int(k == best) for k in range(len(p))]}
        click.echo(json_line(answer))
        return
    show_softmax(z, names, p, best, temperature)


def _logit(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{text!r} is not a number: give the logits as numbers, such as 0.25 1.23 -0.8") from None
    if not math.isfinite(value):
        raise InputError(f"{text!r} is not a finite number")
    return value


@cli.command()
def demo() -> None:
    """Four small tasks on data that comes with luce; takes a few seconds.

    Example: luce demo
    """
    from importlib.resources import as_file, files

    import luce
    from luce.report import render

    console = new_console()
    tasks = (
        ("Medical diagnosis: is a breast tumour benign or malignant?", "breast_cancer.csv", "diagnosis"),
        ("Handwritten digits: which digit is on an 8 x 8 picture?", "digits.csv", "digit"),
        ("Sentiment of Korean and English reviews (a toy: written for luce)", "reviews.csv", "sentiment"),
    )
    for number, (title, file, label) in enumerate(tasks, 1):
        console.rule(f"{number}. {title}", align="left")
        with as_file(files("luce") / "data" / file) as path, progress_bar("fitting") as progress:
            trained = luce.train(luce.read_file(path), label, progress=progress)
        if trained.report is not None:
            render(trained.report, console)
        console.print(f"fitted on all rows: {trained.classifier.fitted.facts['certificate']}\n", markup=False)
    console.rule("4. Three animals: from logits to probabilities", align="left")
    z = np.array([0.25, 1.23, -0.8])
    p = luce.softmax(z)
    show_softmax(z, ["물개 (seal)", "판다 (panda)", "오리 (duck)"], p, int(np.argmax(p)), 1.0)
    console.print("\nnext: luce train YOUR.csv --label COLUMN", markup=False)


# ---------------------------------------------------------------------------------------------------------------------
# serve, playground


@cli.command()
@click.argument("models", nargs=-1, required=True)
@host_option
@port_option
@token_option
@name_option
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that answer.")
@click.option("--fd", type=int, hidden=True)
@threads_option
def serve(
    models: tuple[str, ...], host: str, port: int, token: str | None, names: tuple[str, ...], workers: int,
    fd: int | None, threads: int | None,
) -> None:  # fmt: skip
    """Serve MODELS over HTTP: predictions as JSON and CSV, the Open Inference Protocol, and a page to try them on.

    Example: luce serve patients.luce --port 8000
    """
    _serve(models, host, port, token, names, threads, workers, fd)


@cli.command()
@host_option
@port_option
@token_option
@name_option
@threads_option
def playground(host: str, port: int, token: str | None, names: tuple[str, ...], threads: int | None) -> None:
    """The same service without a model: the page alone.

    Example: luce playground --port 8000
    """
    _serve((), host, port, token, names, threads)


def _serve(
    models: tuple[str, ...], host: str, port: int, token: str | None, names: tuple[str, ...], threads: int | None,
    workers: int = 1, fd: int | None = None,
) -> None:  # fmt: skip
    try:
        from luce.server import serve as run
    except ImportError:
        raise InputError("the service needs more packages; install them: pip install 'luce[serve]'") from None
    run(models, host, port, token, names, threads, say, workers, fd)


# ---------------------------------------------------------------------------------------------------------------------
# the door


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"note: {message}")


def main() -> None:
    """Runs a command; an error of the user's is one line on standard error and exit code 1, misuse is exit code 2."""
    warnings.showwarning = _show_warning
    if sys.stdout is None:
        say("luce: standard output is closed; send it to a file, or to /dev/null")
        sys.exit(1)
    try:
        code = cli(standalone_mode=False) or 0
        sys.stdout.flush()
    except click.exceptions.Abort:
        say("luce: stopped; no file was left half written")
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except LuceError as error:
        say(f"luce: {' '.join(str(error).split())}")
        code = 1
    except (BrokenPipeError, SystemExit):  # the reader of our output has gone, as in `luce predict ... | head`
        _drop_output()  # click and rich turn a broken pipe, and nothing else, into SystemExit
        code = 0
    except OSError as error:  # files raise errors of ours; what is left is the terminal or what it was sent to
        _drop_output()
        say(f"luce: the output could not be written: {error.strerror or error}")
        code = 1
    except MemoryError:
        say("luce: not enough memory for this data; try fewer rows or columns")
        code = 1
    sys.exit(code)


def _drop_output() -> None:
    """What is still buffered goes nowhere, or the interpreter would complain about it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
