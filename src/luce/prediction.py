"""Predict: the answers of a model to tables of any size, in flat memory: as a file, or a file for each of many."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from luce.atomic_file import reason_of, remove_stale, replace_file
from luce.blocks import ROWS, files_of, frames
from luce.classifier import Classifier, load
from luce.columnar import parquet_pieces
from luce.decision import best_of
from luce.delimited import guarded
from luce.engine import Engine, Make, Tell
from luce.errors import FileError, InputError, LuceError, ModelFileError, inert
from luce.functional import available_threads, top_k
from luce.lock import alone
from luce.reader import cannot_read
from luce.strangers import Strangers, strangers_among
from luce.table import Table

if TYPE_CHECKING:
    import polars as pl

    from luce.fitted import Fitted

LOGITS_AT_ONCE = 1 << 22  # in memory
FEATURES_AT_ONCE = 1 << 24
GROUP_ROWS = 1 << 18  # of a row group
GROUP_BYTES = 32 << 20
MANIFEST = "_predictions.json"
LOCK = ".predictions.lock"
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_KIND = "predictions of a model"

T = TypeVar("T")
Told = Callable[[int, float], None]


def _untold(rows: int, share: float) -> None:
    pass


# ---------------------------------------------------------------------------------------------------------------------
# answers


@dataclass
class Counts:
    """Of the rows that were answered: how many; cells of which the model knows little, by column; cells that were
    guarded."""

    rows: int = 0
    strangers: dict[tuple[str, str], Strangers] = field(default_factory=dict)
    guarded: int = 0

    def add(self, other: Counts) -> None:
        """Counts what came after."""
        self.rows, self.guarded = self.rows + other.rows, self.guarded + other.guarded
        self._meet(other.strangers.values())

    def see(self, fitted: Fitted, parsed: Mapping[str, Any], threads: int) -> None:
        """Counts what is little known among parsed cells."""
        self._meet(strangers_among(fitted, parsed, threads))

    def _meet(self, found: Iterable[Strangers]) -> None:
        for each in found:
            at = each.column, each.kind
            before = self.strangers.get(at)
            self.strangers[at] = each if before is None else before + each


def answer_columns(
    classifier: Classifier, p: NDArray[np.float64], coverage: float | None = None, top: int | None = None
) -> dict[str, Any]:
    """What is told of rows of probabilities (n, K): `prediction`; with a coverage `set`, the classes that a row may
    have, joined by |; then p:<class> of each class, or `class 1`, `p 1`, ... of the `top` most probable ones."""
    import polars as pl

    classes = classifier.classes_
    named = pl.Series(classes)
    columns: dict[str, Any] = {"prediction": named.gather(best_of(p, classifier.fitted.costs))}
    if coverage is not None:
        sets, place = np.unique(np.packbits(classifier.sets_of(p, coverage), axis=1), axis=0, return_inverse=True)
        names = list(map(str, classes.tolist()))
        members = np.unpackbits(sets, axis=1, count=len(names))
        columns["set"] = pl.Series(["|".join(names[k] for k in np.flatnonzero(row)) for row in members]).gather(
            place.reshape(-1)
        )
    if top is None:
        return columns | {f"p:{c}": p[:, k] for k, c in enumerate(classes.tolist())}
    values, places = top_k(p, min(top, len(classes)))
    for rank in range(values.shape[1]):
        columns |= {f"class {rank + 1}": named.gather(places[:, rank]), f"p {rank + 1}": values[:, rank]}
    return columns


def answers(
    classifier: Classifier,
    source: str,
    *,
    coverage: float | None = None,
    top: int | None = None,
    encoding: str | None = None,
    begun: bytes = b"",
    counts: Counts | None = None,
    told: Told = _untold,
) -> Iterator[pl.DataFrame]:
    """What `answer_columns` has of the rows of a table file, or of standard input for "-", in frames as they come.

    counts: is added to. told: is called with the rows of each frame and the share of the file that has been read.
    Raises InputError as `read_file` and `predict_proba` do, with the numbers of rows in the file.
    """
    import polars as pl

    fitted, threads = classifier.fitted, available_threads(classifier.threads)
    counts = Counts() if counts is None else counts
    rows = min(ROWS, LOGITS_AT_ONCE // len(fitted.classes), FEATURES_AT_ONCE // max(fitted.encoder.dense_width, 1))
    share, first = 0.0, 0

    def read(part: float) -> None:
        nonlocal share
        share = part

    found = frames(source, encoding=encoding, rows=max(rows, 256), begun=begun, told=read)
    with _ahead(found) if source != "-" else _as_they_come(found) as tables:
        for frame in tables:
            table = replace(Table.of(frame, "standard input" if source == "-" else source), first=first)
            parsed = fitted.parsed(table)
            p = classifier.proba_of(parsed)
            counts.see(fitted, parsed, threads)
            first += frame.height
            counts.rows += frame.height
            told(frame.height, share)
            yield pl.DataFrame(answer_columns(classifier, p, coverage, top))


def as_csv(found: Iterator[pl.DataFrame], raw: bool, counts: Counts, mark: str = ",") -> Iterator[bytes]:
    """The frames as one CSV; cells that a spreadsheet would run are guarded unless raw."""
    import polars as pl

    header = True
    for frame in found:
        named = pl.when(pl.col(pl.Boolean)).then(pl.lit("True")).otherwise(pl.lit("False"))
        frame = frame.with_columns(named.name.keep())  # as headers and sets name truth values
        if not raw:
            names = frame.columns
            frame, count = guarded(frame)
            counts.guarded += count if header else count - sum(map(str.__ne__, names, frame.columns))
        yield frame.write_csv(separator=mark, include_header=header).encode()
        header = False


def as_file(found: Iterator[pl.DataFrame], form: str, raw: bool, counts: Counts) -> Iterator[bytes]:
    """The frames as a file of a form: "csv", "tsv" or "parquet"."""
    if form == "parquet":
        return parquet_pieces(_grouped(found))
    return as_csv(found, raw, counts, "\t" if form == "tsv" else ",")


def _grouped(found: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Frames of the size of a row group."""
    import polars as pl

    waiting: list[pl.DataFrame] = []
    rows = size = 0
    for frame in found:
        waiting.append(frame)
        rows, size = rows + frame.height, size + int(frame.estimated_size())
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pl.concat(waiting, rechunk=True)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pl.concat(waiting, rechunk=True)


@contextmanager
def _as_they_come(items: Iterator[T]) -> Iterator[Iterator[T]]:
    yield items


@contextmanager
def _ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The items, the next of which is made by a thread while one is used."""
    made: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(1)
    stop = threading.Event()

    def put(item: T | None, error: BaseException | None = None) -> bool:
        while not stop.is_set():
            with suppress(queue.Full):
                made.put((item, error), timeout=0.1)
                return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # raised again where the items are used
            put(None, error)

    def take() -> Iterator[T]:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    thread = threading.Thread(target=make, name="luce reads ahead", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stop.set()
        thread.join()


# ---------------------------------------------------------------------------------------------------------------------
# files


def predict_file(
    classifier: Classifier,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    coverage: float | None = None,
    top: int | None = None,
    raw: bool = False,
    encoding: str | None = None,
    begun: bytes = b"",
    told: Told = _untold,
) -> Counts:
    """Write the answers to the rows of a table file, or of standard input for "-", to a file: CSV, TSV or Parquet by
    its suffix, in the order of the rows, in flat memory.

    coverage, top: as `answer_columns` has them. The file is there whole or not at all. Raises InputError, FileError.
    """
    name = os.fspath(out)
    form = form_of(name)
    _check_readable(classifier)
    counts = Counts()
    found = answers(
        classifier, os.fspath(source), coverage=coverage, top=top, encoding=encoding, begun=begun, counts=counts,
        told=told,
    )  # fmt: skip
    replace_file(name, as_file(found, form, raw, counts))
    return counts


def form_of(out: str) -> str:
    """The form of a file of answers by its suffix."""
    form = SUFFIXES.get(os.path.splitext(out)[1].lower())
    if form is None:
        raise InputError(f"--out {out}: the suffix must be .csv, .tsv or .parquet")
    return form


def _check_readable(classifier: Classifier) -> None:
    if classifier.fitted.image_sizes or classifier.fitted.encoder.embeddings:
        raise InputError("the model reads images or embeddings, which are no tables of rows in files")


@dataclass(frozen=True)
class Part:
    """A file that is done: its source, by name, size and time of change, its rows, and the size of its answers."""

    source: str
    bytes: int
    changed: int  # ns
    rows: int
    answers: int


def predict_files(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    form: str = "parquet",
    coverage: float | None = None,
    top: int | None = None,
    raw: bool = False,
    encoding: str | None = None,
    threads: int | None = None,
    again: bool = False,
    engine: Engine | None = None,
    told: Callable[[str, int, float], None] = lambda name, rows, share: None,
    done: Callable[[str, Part, bool], None] = lambda name, part, before: None,
) -> Counts:
    """Write the answers of a model file to all files that `source` names (`files_of`), each to a file of its stem in a
    folder, and to a manifest there which are done; a run that was broken off goes on with those that are not.

    form: "parquet", "csv" or "tsv". coverage, top: as `answer_columns` has them. again: do all anew. engine: its
    workers (luce.processes, luce.ray), of one thread each, answer one file each at a time, to the same bytes. told: is
    called with the name of a source, new rows, and the share of all bytes that is behind. done: is called with the
    name of a file of answers, its part, and whether it was done before. Counts are of the rows of this run.
    Raises InputError for a folder that holds answers of another model, options or version, for a source that has
    changed since it was done, and for a folder that another process is writing to; FileError; EngineError where
    workers end or do not answer.
    """
    name = os.fspath(folder)
    if form not in ("parquet", "csv", "tsv"):
        raise InputError(f"the form is {form!r}: give parquet, csv or tsv")
    sources = files_of(source)
    targets = _targets(sources, name, form)
    options = {"form": form, "coverage": coverage, "top": top, "raw": raw, "encoding": encoding}
    digest, classifier = _digest(model), load(model)
    classifier.threads = threads
    _check_readable(classifier)
    _make_folder(name)
    counts = Counts()
    busy = "is writing answers there; wait until it is done, or give another folder"
    with alone(os.path.join(name, LOCK), name, busy, stays=True):
        manifest = _Manifest(name, digest, options, again)
        manifest.check(sources, targets)
        ends = np.cumsum([0, *(os.stat(each).st_size for each in sources)], dtype=np.float64)
        ends /= max(ends[-1], 1.0)
        if engine is not None:
            make = partial(Desk, os.path.abspath(model), digest, options, os.getcwd())
            _spread(engine, make, sources, targets, manifest, np.diff(ends), counts, told, done)
            return counts
        for each, target, low, high in zip(sources, targets, ends, ends[1:], strict=False):
            part, before = manifest.done(target), True
            if part is None:
                part, before = _predict_part(
                    classifier, each, os.path.join(name, target), options, counts, _within(told, each, low, high)
                ), False  # fmt: skip
                manifest.add(target, part)
            done(target, part, before)
            told(each, 0, float(high))
    return counts


class Desk:
    """A worker's: the model, and the answers of one file after the other. place: the folder that names start from."""

    def __init__(self, model: str, digest: str, options: Mapping[str, Any], place: str) -> None:
        with suppress(OSError):
            os.chdir(place)
        if _digest(model) != digest:
            raise ModelFileError(f"{inert(model, 4096)}: has changed meanwhile, or is another one here")
        with warnings.catch_warnings(action="ignore"):  # they are the driver's
            self.classifier = load(model)
        self.classifier.threads, self.options = 1, options

    def __call__(self, item: tuple[str, str], tell: Tell) -> tuple[Part, Counts] | LuceError:
        """The part of a file of answers, given its source and its name, and its counts; or why there is none."""
        counts = Counts()
        try:
            part = _predict_part(
                self.classifier, *item, self.options, counts, lambda rows, share: tell((counts.rows, share))
            )
        except LuceError as error:
            return error
        return part, counts


def _spread(
    engine: Engine, make: Make, sources: list[str], targets: list[str], manifest: _Manifest,
    sizes: NDArray[np.float64], counts: Counts, told: Callable[[str, int, float], None],
    done: Callable[[str, Part, bool], None],
) -> None:  # fmt: skip
    """predict_files by workers. Of files that fail, the first one's error is raised, when all before it are done."""
    parts = [manifest.done(target) for target in targets]
    todo = [i for i, part in enumerate(parts) if part is None]
    shares = np.array([part is not None for part in parts], np.float64)
    rows, found, said = [0] * len(parts), dict[int, Counts](), 0
    fault: tuple[int, LuceError] | None = None

    def hear(place: int, message: tuple[int, float]) -> None:
        i, (now, share) = todo[place], message
        new = max(now - rows[i], 0)  # a file that is begun again starts at 0
        rows[i], shares[i] = rows[i] + new, max(shares[i], share)
        told(sources[i], new, min(float(shares @ sizes), 1.0))

    def say() -> None:
        nonlocal said
        while said < len(parts) and (part := parts[said]) is not None:
            done(targets[said], part, said not in found)
            said += 1

    say()
    items = [(sources[i], os.path.join(manifest.folder, targets[i])) for i in todo]
    try:
        with closing(engine.spread(make, items, hear)) as answers:
            for place, answer in answers:
                i = todo[place]
                if isinstance(answer, LuceError):
                    fault = (i, answer) if fault is None else min(fault, (i, answer), key=itemgetter(0))
                else:
                    parts[i], found[i] = answer
                    manifest.add(targets[i], answer[0])
                    hear(place, (answer[0].rows, 1.0))
                say()
                if fault is not None and said == fault[0]:
                    raise fault[1]
    finally:
        for i in todo:
            if i in found:
                counts.add(found[i])
            else:
                remove_stale(manifest.folder, targets[i])


def _within(told: Callable[[str, int, float], None], name: str, low: float, high: float) -> Told:
    """What is told of one of several files."""
    return lambda rows, share: told(name, rows, float(low + share * (high - low)))


def _predict_part(
    classifier: Classifier, source: str, out: str, options: Mapping[str, Any], counts: Counts, told: Told
) -> Part:
    status, before = os.stat(source), counts.rows
    found = answers(
        classifier, source, coverage=options["coverage"], top=options["top"], encoding=options["encoding"],
        counts=counts, told=told,
    )  # fmt: skip
    replace_file(out, as_file(found, options["form"], options["raw"], counts))
    rows = counts.rows - before
    return Part(os.path.basename(source), status.st_size, status.st_mtime_ns, rows, os.stat(out).st_size)


def _targets(sources: list[str], folder: str, form: str) -> list[str]:
    """The names of the files of answers; raises InputError for two of one name, and for one that is read."""
    targets: dict[str, str] = {}
    for source in sources:
        if source == "-":
            raise InputError("standard input: its answers need a name: give --out a file, such as answers.parquet")
        bare = os.path.basename(source)
        bare = bare[: -len(".gz")] if bare.lower().endswith(".gz") else bare
        target = f"{os.path.splitext(bare)[0]}.{form}"
        if target in targets:
            both = f"{inert(targets[target], 4096)} and {inert(source, 4096)}"
            raise InputError(f"{both} would both be answered in {inert(target, 4096)}; rename one")
        targets[target] = source
    for target in targets:
        path = os.path.join(folder, target)
        if os.path.exists(path) and any(os.path.samefile(path, source) for source in sources):
            raise InputError(f"{inert(path, 4096)} is a file that is being read; give another folder for the answers")
    return list(targets)


def _make_folder(name: str) -> None:
    try:
        with suppress(FileExistsError):
            os.mkdir(name)
    except OSError as error:
        raise FileError(f"{inert(name, 4096)}: the folder cannot be made: {reason_of(error)}") from error
    if not os.path.isdir(name):
        raise InputError(f"{inert(name, 4096)}: is a file; give a folder for the answers")


def _digest(model: str | os.PathLike[str]) -> str:
    try:
        with open(model, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{inert(os.fspath(model), 4096)}: cannot be read: {reason_of(error)}") from None


class _Manifest:
    """Which files of a folder are done, and by which model, options and version."""

    def __init__(self, folder: str, digest: str, options: Mapping[str, Any], again: bool) -> None:
        from importlib.metadata import version

        self.folder, self.name = folder, os.path.join(folder, MANIFEST)
        self.of = {"kind": _KIND, "luce": version("luce"), "model": digest, "options": dict(options)}
        self.parts: dict[str, Part] = {}
        self.known = os.path.lexists(self.name)
        if not self.known:
            return
        facts, self.parts = self._read()
        if again:
            for target in self.parts:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, target))
            self.parts = {}
            self._write()
        elif differ := self._differences(facts):
            raise InputError(
                f"{inert(folder, 4096)}: holds answers of another run ({'; '.join(differ)}): give another folder, or "
                "--again to do all anew"
            )

    def _read(self) -> tuple[dict[str, Any], dict[str, Part]]:
        try:
            with open(self.name, encoding="utf-8") as file:
                facts = json.load(file)
            if facts["kind"] != _KIND or not isinstance(facts["options"], dict):
                raise ValueError("kind")
            parts = {str(target): Part(**part) for target, part in facts["parts"].items()}
            if any(os.path.basename(target) != target for target in parts):
                raise ValueError("names")
        except OSError as error:
            raise cannot_read(inert(self.name, 4096), error) from None
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            raise InputError(
                f"{inert(self.name, 4096)}: is not what luce writes there; remove it, or give another folder"
            ) from None
        return facts, parts

    def _differences(self, facts: Mapping[str, Any]) -> list[str]:
        old, new = facts["options"], self.of["options"]
        assert isinstance(new, dict)
        differ = [] if facts.get("luce") == self.of["luce"] else [f"luce was {inert(str(facts.get('luce')))}"]
        differ += [] if facts.get("model") == self.of["model"] else ["the model was another"]
        names = (name for name in sorted({*old, *new}) if old.get(name) != new.get(name))
        return differ + [f"{inert(name)} was {inert(str(old.get(name)))}, is {new.get(name)}" for name in names]

    def check(self, sources: list[str], targets: list[str]) -> None:
        """Refuse sources that have changed since they were done, and files of answers that are not of such a run."""
        for source, target in zip(sources, targets, strict=True):
            part, status = self.parts.get(target), os.stat(source)
            path = inert(os.path.join(self.folder, target), 4096)
            if part is None:
                if not self.known and os.path.lexists(os.path.join(self.folder, target)):
                    raise InputError(f"{path}: is there already, and not by luce predict; give another folder")
            elif (part.source, part.bytes, part.changed) != (
                os.path.basename(source), status.st_size, status.st_mtime_ns
            ):  # fmt: skip
                raise InputError(
                    f"{inert(source, 4096)}: is not as it was when {path} was made of {inert(part.source)}; give "
                    "another folder, or --again to do all anew"
                )
        if not self.known:
            self._write()

    def done(self, target: str) -> Part | None:
        """The part of a file of answers that is there and done."""
        part = self.parts.get(target)
        with suppress(OSError):
            if part is not None and os.stat(os.path.join(self.folder, target)).st_size == part.answers:
                return part
        return None

    def add(self, target: str, part: Part) -> None:
        self.parts[target] = part
        self._write()

    def _write(self) -> None:
        parts = {target: asdict(part) for target, part in sorted(self.parts.items())}
        replace_file(self.name, [json.dumps({**self.of, "parts": parts}, ensure_ascii=True, indent=1).encode()])
