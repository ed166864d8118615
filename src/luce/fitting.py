"""Fitting: from a labelled table and the settings of a classifier to a Fitted, and probabilities of rows held out."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from luce.calibration import Calibration, choose, no_calibration
from luce.check import computed_by
from luce.choice import (
    MANY_ROWS,
    Choice,
    choose_effects,
    compared,
    is_better,
    on_all_rows,
    problem_of,
    sample_of,
    sampled,
    settle,
)
from luce.compact import bytes_of, within
from luce.conformal import Conformal, with_means
from luce.decision import costs_for_recall, costs_of
from luce.effects import spread_of
from luce.embeddings import WIDE, Embeddings
from luce.encoder import Encoder
from luce.engine import Engine
from luce.errors import InputError, warn
from luce.features import Features
from luce.fitted import Fitted, HeldOut
from luce.functional import available_threads
from luce.grouping import groups_of
from luce.heads import Linear, Network
from luce.hidden import Layered, choose_network, units_for_texts, wanted
from luce.images import Images
from luce.labels import Labels, labels, labels_of
from luce.linear import LinearFit, fit_linear, warn_of
from luce.network import NetworkClassifier
from luce.objective import MOST_LOGITS
from luce.path import HeldOutLogits, Problem
from luce.pictures import choose_images, image_columns, ink_of, seconds_of, with_pixels
from luce.probe import choose_embeddings
from luce.run import aside, keeping, now, piece
from luce.schema import Schema, infer_schema, parse
from luce.solver import Certificate, Progress
from luce.store import StoredFrame
from luce.table import EMBEDDING, Table
from luce.training import Settings
from luce.vast import BLOCK_CELLS, ParsedLater, encoder_of, features_for, is_vast, rows_of_some, with_rows
from luce.wording import choose_texts, keys_of

TOLERANCE = 1e-6  # how near a fit comes, relative
LOGITS_AT_ONCE = 1 << 22  # of many rows are in memory
COLUMNS_AT_ONCE = 1024  # are rounded
MOST_OF_PIECE = 1 << 23  # weights that a run keeps beside the model's own; more are fitted again from the last state
READ_TOLERANCE = 1e-4  # the same where texts or images are read
LARGE_TOLERANCE = 5e-3  # and where texts have so many classes that logits of all rows are not kept
READ_SHARE = 5e-5  # or the gap as a share of what is there to be known: such fits may leave next to no loss


class FitSettings(Protocol):
    """What a fit is asked for: the parameters of Classifier, by their names."""

    l2: float | str | None
    kinds: Mapping[str, str] | None
    threads: int | None
    effects: str
    costs: Mapping[Any, Any] | Sequence[Any] | NDArray[Any] | None
    recall: Mapping[Any, float] | None
    size: str | float
    model: str | NetworkClassifier
    budget: str | float | None
    engine: Engine | None
    checkpoint: str | os.PathLike[str] | None


@dataclass(frozen=True)
class LabelledTable:
    """Rows to learn from: their cells without the labels, the name of the label column ("" where labels came without
    one), the labels, what the columns are, and the group of each row, (n,), where some belong together."""

    table: Table
    label: str
    target: Labels
    schema: Schema
    groups: NDArray[np.int64] | None

    @staticmethod
    def of(
        data: object, label: str | Sequence[Any] | NDArray[Any], kinds: Mapping[str, str] | None, group: str | None
    ) -> LabelledTable:
        """From what users give to `Classifier.fit`; raises InputError for what cannot be used."""
        table, name, target = _rows_and_labels(data, label, kinds)
        schema = _schema(table, name, kinds, group)
        return LabelledTable(table, name, target, schema, None if group is None else groups_of(table, group))

    def take(self, rows: NDArray[np.int64]) -> LabelledTable:
        """Some of the rows, in the order given, and the classes that they have."""
        known, codes = np.unique(self.target.codes[rows], return_inverse=True)
        target = replace(self.target, codes=codes, classes=tuple(self.target.classes[k] for k in known.tolist()))
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, table=self.table.take(rows), target=target, groups=groups)


def _rows_and_labels(
    data: object, label: str | Sequence[Any] | NDArray[Any], kinds: Mapping[str, str] | None = None
) -> tuple[Table, str, Labels]:
    kinds = kinds or {}
    if isinstance(data, Images) and not isinstance(label, str):
        data = replace(data, labels=None)  # which are no column beside the labels that are given
    table = table_of(data, {"embedding": True, "number": False}.get(kinds.get(EMBEDDING, "")))
    table = with_pixels(table, image_columns(table, kinds), ".")
    if isinstance(label, str):
        target = labels(table, label)
        return table.without(label), label, target
    if isinstance(label, int):
        raise InputError(f"label is {label}: give the name of a column as text, '{label}', or a label for each row")
    target = labels_of(label)
    if len(target.codes) != table.rows:
        raise InputError(f"there are {len(target.codes)} labels for {table.rows} rows: give one for each row")
    return table, "", target


def table_of(data: object, embeddings: bool | None) -> Table:
    """A table; whether an array of numbers is one of embeddings, None: if it is of small floats and wide."""
    if isinstance(data, np.ndarray) and data.ndim == 2 and data.dtype.kind in "biuf":
        wide = data.dtype in (np.float16, np.float32) and data.shape[1] > WIDE
        if wide if embeddings is None else embeddings:
            return Table.of(Embeddings.of(data))
    return Table.of(data)


def _schema(table: Table, label: str, kinds: Mapping[str, str] | None, group: str | None = None) -> Schema:
    if kinds and kinds.get(EMBEDDING) == "number" and EMBEDDING not in table.names:  # said of a whole array
        kinds = {name: kind for name, kind in kinds.items() if name != EMBEDDING}
    if kinds and label in kinds:
        raise InputError(f"the kind of {label!r} cannot be settled: it is the label; name other columns")
    if group is not None:
        table.column(group)
        kinds = {**(kinds or {}), group: "ignore"}
    return infer_schema(table, kinds)


def checkpointed(settings: FitSettings) -> AbstractContextManager[object]:
    """The run of a fit that keeps a checkpoint."""
    path = settings.checkpoint
    if path is None:
        return nullcontext()
    if not (isinstance(path, str | os.PathLike) and os.fspath(path)):
        raise InputError(f"checkpoint is {path!r}: give the path of a file, or None")
    if settings.budget is not None:
        raise InputError("a fit with a budget depends on how fast it goes, not on the data alone: no checkpoint for it")
    return keeping(path)


def begin_run(settings: FitSettings, rows: LabelledTable, times: NDArray[Any] | None = None, **more: object) -> None:
    """Tells a run what it is of; a vast table tells its rows once its features are there."""
    run = now()
    if run is None:
        return
    kind, network = wanted(settings.model)
    run.settings = {
        "l2": str(settings.l2), "effects": settings.effects, "costs": str(settings.costs),
        "recall": str(settings.recall), "kinds": str(dict(settings.kinds or {})), "size": str(settings.size),
        "computed by": computed_by(), "model": Settings.of(network).named() if kind == "network" else kind,
        **{name: str(value) for name, value in more.items()},
    }  # fmt: skip
    if not is_vast(rows.table, rows.schema) or times is not None:
        run.of(lambda: _data_of(rows, times, table_keys(parse(rows.table, rows.schema), rows.schema)))


def _data_of(rows: LabelledTable, times: NDArray[Any] | None, keys: NDArray[np.uint64] | None) -> dict[str, object]:
    """What a checkpoint tells the rows by: hashes of their numbers, and the rest that a fit hangs on."""
    target, columns = rows.target, rows.schema.columns
    digest = hashlib.sha256(repr((target.classes, [(c.name, c.kind) for c in columns])).encode())
    for each in (keys, target.codes, rows.groups, times):
        digest.update(b"-" if each is None else np.ascontiguousarray(each).tobytes())
    return {"rows": rows.table.rows, "columns": len(columns), "digest": digest.hexdigest()}


def table_keys(parsed: Mapping[str, Any], schema: Schema) -> NDArray[np.uint64] | None:
    """Equal for rows that a model cannot tell apart, (n,); None where it reads no column."""
    if not parsed:
        return None
    kinds = {column.name: column.kind for column in schema.columns}
    others = {name: cells.to_list() for name, cells in parsed.items() if kinds[name] == "text"}
    others |= {name: cells for name, cells in parsed.items() if kinds[name] == "image"}
    features = Encoder.fit(schema, parsed).transform(parsed)  # without the texts, whose n-grams labels settle
    return keys_of(features, others, available_threads(None))


def fit_rows(rows: LabelledTable, settings: FitSettings, progress: Progress | None) -> tuple[Fitted, HeldOut | None]:
    """What a fit to the rows leaves behind, as yet without example rows, and the probabilities of rows held out."""
    with ExitStack() as workers:
        return _fit_with(workers, rows, settings, progress)


def _fit_with(
    workers: ExitStack, rows: LabelledTable, settings: FitSettings, progress: Progress | None
) -> tuple[Fitted, HeldOut | None]:
    """As `fit_rows`, where an engine's workers live as long as the context."""
    table, schema, target, groups = rows.table, rows.schema, rows.target, rows.groups
    l2, threads = settings.l2, available_threads(settings.threads)
    if settings.budget is not None:
        seconds_of(settings.budget)
    if settings.costs is not None and settings.recall is not None:
        raise InputError("costs and recall both settle the answer: give one of them")
    costs = None if settings.costs is None else costs_of(settings.costs, target.classes)
    if all(c.kind == "left out" for c in schema.columns):
        reasons = "; ".join(f"{c.name!r}: {c.why}" for c in schema.columns[:5])
        raise InputError(
            f"{table.source}: no column is left to learn from ({reasons}); name one with --as 'COLUMN=category'"
        )
    vast = is_vast(table, schema)
    if not vast:
        check_in_memory(table)
    parsed: Mapping[str, Any] = ParsedLater(table, schema) if vast else parse(table, schema)
    codes = target.codes.astype(np.int32)
    counts = np.bincount(codes, minlength=len(target.classes))
    if vast:
        choice = _chosen_of_vast(workers, rows, codes, settings)
    else:
        encoder = Encoder.fit(schema, parsed)
        choice = _chosen(encoder, parsed, schema, codes, len(target.classes), settings, groups)
        choice, schema = _or_texts_alone(choice, parsed, schema, codes, len(target.classes), settings, groups)
    layered = choose_network(choice, parsed, "linear" if vast else settings.model, bytes_of(settings.size), threads)
    choice = layered.choice
    encoder, problem = choice.encoder, choice.problem
    head, told = _linear(choice, l2, target, progress) if layered.settings is None else _network(layered, progress)
    facts = {
        "rows": table.rows,
        "class_counts": counts.tolist(),
        **told,
        "effects": [asdict(tried) for tried in choice.tried],
        "notes": list(
            dict.fromkeys([*table.notes, *target.notes, *schema.notes, *_few(counts, target), *choice.notes])
        ),
    }
    if ink := {name: ink_of(np.asarray(parsed[name])) for name in (i.name for i in encoder.images)}:
        facts["ink"] = ink
    calibration, held_out = _on_held_out(choice.path, codes, problem)
    conformal = None
    if held_out is not None:
        own = _mean_probabilities(problem.features, head, calibration, threads)
        conformal, costs = _sets_and_costs(held_out, own, settings.recall, costs, target)
    elif settings.recall is not None:
        raise InputError("recall needs rows held out of each class: give costs instead, or more rows")
    del layered, choice  # what they have of rows held out may be as much as the weights
    means = np.zeros(encoder.width)  # a text is set against an empty one
    table_features = replace(encoder, texts=()).transform(parsed) if encoder.texts else problem.features
    means[: table_features.columns] = table_features.means()
    parts = (schema, encoder, head, means, None, calibration, conformal, costs)
    fitted = Fitted(*parts, tuple(target.classes), rows.label, facts)
    fitted = replace(fitted, spread=spread_of(fitted, problem.features))
    del parts, head  # so that no more than two copies of weights are there, which may be very many
    fitted = within(fitted, bytes_of(settings.size))
    return fitted, held_out


def check_in_memory(table: Table) -> None:
    """Raises InputError for a stored table that has to be read at once."""
    if isinstance(table.frame, StoredFrame):
        raise InputError(
            f"{table.source}: its rows are more than the memory allows, and tables with texts, with rows held out by "
            "time, or of few cells are read at once: allow more memory"
        )


def _chosen_of_vast(workers: ExitStack, rows: LabelledTable, codes: NDArray[np.int32], settings: FitSettings) -> Choice:
    """How the columns of a vast table enter, settled on some rows, and all rows with their features."""
    table, schema, classes = rows.table, rows.schema, len(rows.target.classes)
    threads = available_threads(settings.threads)
    if wanted(settings.model)[0] == "network":
        raise InputError(f"{table.source}: has too many cells for a network: leave model at linear, or give fewer rows")
    with aside():  # the run tells its rows by their features, which are not there yet
        settled = _settled_by_some(rows, codes, settings)
    made = features_for(settings.engine, settled.encoder, table, schema, codes, classes, threads)
    features = workers.enter_context(made)
    if (run := now()) is not None:
        run.of(lambda: _data_of(rows, None, features.hashes(0, threads)))
    return on_all_rows(settled, problem_of(features, codes, classes, threads, rows.groups, None), settings.l2)


def _settled_by_some(rows: LabelledTable, codes: NDArray[np.int32], settings: FitSettings) -> Choice:
    """How the columns of a vast table enter, by what few rows say that are read at once."""
    table, threads = rows.table, available_threads(settings.threads)
    some = rows_of_some(table)
    some = some[sampled(codes[some], table.rows, BLOCK_CELLS // len(table.names))]
    encoder, cells = encoder_of(table, rows.schema), parse(with_rows(table, some), rows.schema)
    groups = None if rows.groups is None else rows.groups[some]
    part = problem_of(encoder.transform(cells, threads), codes[some], len(rows.target.classes), threads, groups, cells)
    part = sample_of(part, np.arange(len(some)))
    return settle(encoder, cells, part, settings.effects, settings.l2, table.rows).lean()


def _linear(
    choice: Choice, l2: float | str | None, target: Labels, progress: Progress | None
) -> tuple[Linear, dict[str, Any]]:
    """The certified fit on all rows, and what is to be told of it."""
    encoder, problem = choice.encoder, choice.problem
    many = encoder.texts or encoder.images or encoder.embeddings
    tol, share = (READ_TOLERANCE, READ_SHARE) if many else (TOLERANCE, 0.0)
    if encoder.texts and problem.is_large:
        tol = LARGE_TOLERANCE

    def fitted() -> LinearFit:
        fit = fit_linear(
            problem.features, problem.codes, problem.classes, choice.l2, tol=tol, share=share, threads=problem.threads,
            start=choice.start, progress=progress,
        )  # fmt: skip
        if fit.certificate.stopped == "interrupted":
            raise KeyboardInterrupt  # the earlier fit, and the file, stay as they are
        return fit

    few = encoder.width * problem.outputs <= MOST_OF_PIECE
    fit = piece("fit", fitted, LinearFit, Certificate) if few else fitted()
    warn_of(fit, l2, list(target.classes))
    coef = _rounded(encoder, (fit.point.copy() if few else fit.point)[:-1].T)  # a run has its own
    return Linear(coef, fit.point[-1].copy()), {"l2": fit.l2, **_facts_of(fit.certificate)}


def _network(layered: Layered, progress: Progress | None) -> tuple[Network, dict[str, Any]]:
    """The network trained on all rows, and what is to be told of it."""
    fit = layered.trained(progress)
    if fit.stopped:
        warn(f"the training stopped early ({fit.stopped}): {fit.note}")
    assert layered.settings is not None
    head = Network(tuple(fit.layers), fit.shift, fit.scale, layered.settings.gelu)
    epochs = [[loss if math.isfinite(loss) else None for loss in (e.loss, e.held_out)] for e in fit.history]
    finite = [e for e in fit.history if math.isfinite(e.loss) and math.isfinite(e.held_out)]
    best = min(finite, key=lambda e: e.held_out).loss if finite else None
    told = {"objective": best, "gap": None, "passes": len(epochs), "epochs": epochs}
    return head, {**told, "l2": None, "certificate": fit.note}


def _mean_probabilities(
    features: Features, head: Linear | Network, calibration: Calibration, threads: int
) -> NDArray[np.float64]:
    """The mean over the rows, (K,), of which only some are in memory where they are very many."""
    classes = max(head.outputs, 2)
    step = features.rows if features.rows * classes <= LOGITS_AT_ONCE else max(LOGITS_AT_ONCE // classes, 1)
    total = np.zeros(classes)
    for i in range(0, features.rows, step):
        part = features.between(i, min(i + step, features.rows))
        own = calibration.probabilities(head.logits(part, threads), threads)
        if part.rows == features.rows:
            return np.asarray(own.mean(axis=0))
        total += own.sum(axis=0)
    return total / features.rows


def _facts_of(certificate: Certificate) -> dict[str, Any]:
    return {
        "objective": certificate.objective,
        "gap": certificate.gap if np.isfinite(certificate.gap) else None,
        "passes": certificate.passes,
        "certificate": certificate.sentence(),
    }


def _rounded(encoder: Encoder, coef: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of n-grams as float32, as they are kept."""
    table = encoder.width - sum(len(t.buckets) for t in encoder.texts)
    for i in range(table, encoder.width, COLUMNS_AT_ONCE):
        coef[:, i : i + COLUMNS_AT_ONCE] = coef[:, i : i + COLUMNS_AT_ONCE].astype(np.float32)
    return coef


def _chosen(
    encoder: Encoder, parsed: Mapping[str, Any], schema: Schema, codes: NDArray[np.int32], classes: int,
    settings: FitSettings, groups: NDArray[np.int64] | None,
) -> Choice:  # fmt: skip
    """How the columns enter, and whether and how the texts do."""
    l2, threads = settings.l2, available_threads(settings.threads)
    network = wanted(settings.model)[0] == "network"  # which bends by itself
    effects = "linear" if network and settings.effects == "auto" else settings.effects
    texts, images = ([c.name for c in schema.columns if c.kind == kind] for kind in ("text", "image"))
    plain = None
    if encoder.embeddings:
        plain = choose_embeddings(encoder, parsed, codes, classes, l2=l2, threads=threads, groups=groups)
    elif not (texts or images) or (encoder.width and len(codes) * classes <= MOST_LOGITS):
        plain = choose_effects(encoder, parsed, codes, classes, effects=effects, l2=l2, threads=threads, groups=groups)
    if l2 is None:
        l2 = 1.0 / len(codes)
    if images:
        plain = choose_images(
            encoder,
            parsed,
            images,
            codes,
            classes,
            plain=plain,
            l2=l2,
            threads=threads,
            groups=groups,
            budget=None if settings.budget is None else seconds_of(settings.budget),
        )
    if not texts:
        assert plain is not None
        return plain
    size = bytes_of(settings.size)
    return choose_texts(
        encoder, parsed, texts, codes, classes, plain=plain, l2=l2, size=size, threads=threads, groups=groups,
        units=units_for_texts(settings.model),
    )  # fmt: skip


def _or_texts_alone(
    choice: Choice, parsed: Mapping[str, Any], schema: Schema, codes: NDArray[np.int32], classes: int,
    settings: FitSettings, groups: NDArray[np.int64] | None,
) -> tuple[Choice, Schema]:  # fmt: skip
    """The texts without the other columns, which are then left out, if that lowers the log loss of rows held out by
    half a standard error: of few rows, columns that tell nothing drown what the texts tell. Those that were asked for
    stay."""
    kinds = ("number", "boolean", "category", "date")
    texts = [c.name for c in schema.columns if c.kind == "text"]
    others = [c.name for c in schema.columns if c.kind in kinds and c.name not in (settings.kinds or {})]
    images = any(c.kind == "image" for c in schema.columns)  # which would be looked at twice
    if not texts or not others or images or len(codes) > MANY_ROWS or choice.path is None:
        return choice, schema
    why = "on rows held out the texts tell more without it"
    columns = tuple(replace(c, kind="left out", why=why) if c.name in others else c for c in schema.columns)
    fewer = replace(schema, columns=columns)
    found = _chosen(Encoder.fit(fewer, parsed), parsed, fewer, codes, classes, settings, groups)
    if found.path is None or not is_better(told := compared("texts", found, choice)):
        return choice, schema
    shown = ", ".join(map(repr, others[:5])) + (", ..." if len(others) > 5 else "")
    note = f"left out, as the texts tell more without: {shown} (log loss on rows held out {told.log_loss:.3f}, with "
    note += f"them {told.log_loss + told.gain:.3f})"
    return replace(found, notes=(*found.notes, note)), fewer


def _on_held_out(
    path: HeldOutLogits | None, codes: NDArray[np.int32], problem: Problem
) -> tuple[Calibration, HeldOut | None]:
    """The calibration that the logits of held-out rows ask for, and their probabilities by it; none where no row could
    be held out."""
    if path is None:
        return no_calibration(problem.outputs), None
    assert problem.keys is not None
    strata: NDArray[np.integer] = codes if problem.strata is None else problem.strata
    keys, scored = problem.keys, path.scored
    if path.rows is not None:
        keys, codes, strata = keys[path.rows], codes[path.rows], strata[path.rows]
    calibration = choose(
        path.held_out[scored], codes[scored], problem.classes, None, keys[scored], problem.threads,
        strata=strata[scored],
    )  # fmt: skip
    return calibration, HeldOut(calibration.probabilities(path.held_out, problem.threads), codes, scored, path.rows)


def _sets_and_costs(
    held_out: HeldOut, own: NDArray[np.float64], recall: Mapping[Any, float] | None, costs: NDArray[np.float64] | None,
    target: Labels,
) -> tuple[Conformal, NDArray[np.float64] | None]:  # fmt: skip
    """The sets that rows held out ask for, and the costs that find the wanted share of a class, or those given. own:
    the mean probabilities of the model, (K,)."""
    p, truth = held_out.probabilities[held_out.scored], held_out.codes[held_out.scored]
    conformal = Conformal.of(with_means(p, own), truth)
    if recall is not None:
        _check_held_out(recall, target, truth)
        costs = costs_for_recall(recall, p, truth, target.classes)
    return conformal, costs


def _check_held_out(recall: Mapping[Any, float], target: Labels, truth: NDArray[np.int32]) -> None:
    """Raises InputError if no row of a class that is to be found could be held out."""
    known = [str(c) for k, c in enumerate(target.classes) if (truth == k).any()]
    for name in recall:
        if str(name) not in known and str(name) in map(str, target.classes):
            raise InputError(f"recall of {name!r}: no row of this class could be held out; it needs two or more")


def _few(counts: NDArray[np.int64], target: Labels) -> list[str]:
    single = [repr(c) for c, n in zip(target.classes, counts, strict=True) if n == 1]
    if not single:
        return []
    which = ", ".join(single[:5]) + (", ..." if len(single) > 5 else "")
    return [f"classes with a single row: {which}; learnt from, but never held out to be measured"]
