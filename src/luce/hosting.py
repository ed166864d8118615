"""Hosting: models in service by their names; a file that changed is loaded and checked before the old one goes."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.check import UNREAD, cells_of, difference
from luce.classifier import Classifier, load
from luce.decision import best_of
from luce.errors import InputError, LuceError, ModelFileError, inert
from luce.features import Features
from luce.fitted import Fitted, Label
from luce.functional import available_threads
from luce.plain import OddError, Plain
from luce.table import Table, of_cells

NAME = re.compile("[a-z0-9][a-z0-9._-]{0,63}")
SOURCE = "rows"  # how a table calls itself that came in a request
FEW_ROWS = 256  # are not worth a second thread

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Hosted:
    """A model in service; nothing of it changes."""

    name: str
    path: str
    stamp: Stamp
    classifier: Classifier
    note: str = ""
    cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def fitted(self) -> Fitted:
        return self.classifier.fitted

    @cached_property
    def plain(self) -> Plain:
        return Plain(self.fitted)

    @property
    def classes(self) -> tuple[Label, ...]:
        return self.fitted.classes

    @cached_property
    def unread(self) -> tuple[str, ...]:
        """Image columns that no feature comes from, since they told nothing."""
        known = self.fitted.image_sizes
        return tuple(c.name for c in self.fitted.schema.columns if c.kind == "image" and c.name not in known)

    def table(self, cells: Mapping[str, Any], rows: int) -> Table:
        """Cells by column as a table that has all columns."""
        return of_cells({**cells, **{name: np.zeros((rows, *UNREAD), np.uint8) for name in self.unread}}, SOURCE)

    def probabilities(self, cells: Mapping[str, Any], rows: int) -> NDArray[np.float64]:
        """Of rows given as columns of cells, (n, K); those that are not plain are read as a table."""
        if self.fitted.encoder.embeddings:
            return self._beside(cells, rows)
        try:
            if self.fitted.text_alone is not None:
                return self.classifier._of_texts(self.plain.texts(cells))
            return self._of(self.plain.features(cells, rows))
        except OddError:
            return self.classifier.predict_proba(self.table(cells, rows))

    def coded_probabilities(self, numbers: NDArray[np.float64], codes: NDArray[np.int32]) -> NDArray[np.float64]:
        """Of rows that the core has read, (n, K)."""
        return self._of(self.plain.coded_features(numbers, codes))

    def _beside(self, cells: Mapping[str, Any], rows: int) -> NDArray[np.float64]:
        """Of rows with embeddings, (rows, width) each."""
        if self.fitted.embedding_alone is None:
            return self.classifier.predict_proba(self.table(cells, rows))
        return self._of(self.fitted.encoder.transform(cells))

    def _of(self, features: Features) -> NDArray[np.float64]:
        threads = 1 if features.rows <= FEW_ROWS else available_threads(self.classifier.threads)
        return self.classifier._probabilities(features, threads)

    def answers(self, probabilities: NDArray[np.float64]) -> list[Label]:
        classes = self.classes
        return [classes[k] for k in best_of(probabilities, self.fitted.costs).tolist()]


def name_of(path: str) -> str:
    """The name that a file is served by: its own, in lower case, without the suffix."""
    stem = os.path.basename(path)
    stem = stem[: -len(".luce")] if stem.lower().endswith(".luce") else stem
    name = unicodedata.normalize("NFC", stem).lower().replace(" ", "-")
    if not NAME.fullmatch(name):
        raise InputError(
            f"{inert(path)}: a model is served by the name of its file, which must be of a to z, 0 to 9, . _ - "
            f"(at most 64, the first a letter or a digit): rename it"
        )
    return name


def stamp_of(path: str) -> Stamp:
    """What tells a changed file."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino


def hosted(path: str, threads: int | None = None) -> Hosted:
    """Loads a model and checks that it gives the probabilities that it had at its fit.

    Raises LuceError if it cannot be read, or gives others.
    """
    name = name_of(path)
    try:
        stamp = stamp_of(path)
    except OSError as error:
        raise InputError(f"{inert(path)}: there is no such model ({error.strerror})") from None
    classifier = load(path)
    classifier.threads = threads
    found = Hosted(name, path, stamp, classifier)
    check = classifier.fitted.check
    if check is None:
        return replace(found, note="the file holds no example rows (an older luce made it): served unchecked")
    wrong = difference(
        classifier.fitted, found.probabilities(cells_of(classifier.fitted, check.columns), len(check.probabilities))
    )
    if wrong is not None:
        raise ModelFileError(f"{inert(path, 4096)}: {wrong}; train it again, or mend this installation")
    return found


def _asks(fitted: Fitted) -> Any:
    """What a client must know of a model: another one with the same can take its place."""
    columns = {(c.name, c.kind) for c in fitted.schema.columns if c.kind != "left out"}
    widths = {e.name: e.width for e in fitted.encoder.embeddings}
    return columns, fitted.classes, fitted.image_sizes, widths, fitted.conformal is None


class Models:
    """The models in service, by name, in the order given."""

    def __init__(self, paths: Iterable[str], threads: int | None = None) -> None:
        self.threads = threads
        self._by_name: dict[str, Hosted] = {}
        self._refused: dict[str, Stamp] = {}
        for path in paths:
            self.add(path)

    def add(self, path: str) -> None:
        """One more; raises LuceError if it is no good, or its name is taken."""
        found = hosted(path, self.threads)
        if found.name in self._by_name:
            other = self._by_name[found.name].path
            raise InputError(f"{inert(other)} and {inert(path)} are both named {found.name}: rename one of the files")
        self._by_name[found.name] = found

    def get(self, name: str) -> Hosted | None:
        return self._by_name.get(name)

    def all(self) -> list[Hosted]:
        return list(self._by_name.values())

    def refresh(self) -> list[dict[str, Any]]:
        """Loads the files that changed since; what happened to each, for the log. A file that is gone, half written or
        broken leaves the model in service as it is, and is looked at again once it changes."""
        told: list[dict[str, Any]] = []
        for old in self.all():
            try:
                stamp = stamp_of(old.path)
            except OSError:
                continue
            if stamp in (old.stamp, self._refused.get(old.name)):
                continue
            try:
                new = hosted(old.path, self.threads)
                if stamp_of(old.path) != new.stamp:
                    continue  # it is being written: next time
                if _asks(new.fitted) != _asks(old.fitted):
                    raise InputError("it has other columns or classes: start the service anew to take it up")
            except (LuceError, OSError) as error:
                self._refused[old.name] = stamp
                told.append({"event": "reload refused", "model": old.name, "why": str(error)})
                continue
            self._by_name[old.name] = new
            self._refused.pop(old.name, None)
            told.append({"event": "reloaded", "model": old.name, "note": new.note})
        return told
