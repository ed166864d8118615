"""Workshop: models that are trained in the service, one at a time, from a file that a person sends."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import tempfile
import threading
import time
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from luce.answers import RefusedError
from luce.errors import InputError, LuceError, inert
from luce.facts import plain
from luce.hosting import NAME, Models
from luce.images import read_images
from luce.journal import Journal
from luce.reader import read_csv
from luce.schema import Schema
from luce.table import LABEL, Table
from luce.trial import train

KINDS = ("text/csv", "application/zip")
MOST = 20  # models that are kept; and jobs that are remembered
EVERY_S = 0.1  # between two reports of progress
PING_S = 10.0  # between two signs of life to who listens


@dataclass
class Work:
    """A job: what happened so far, and whether it is over."""

    name: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    over: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, event: str, facts: dict[str, Any]) -> None:
        self.events.append((event, facts))
        self.over |= event in ("done", "failed")
        self.news.set()

    async def listen(self) -> AsyncIterator[tuple[str, dict[str, Any]] | None]:
        """All events from the first on, as they come; None now and then where nothing does."""
        at = 0
        while True:
            while at < len(self.events):
                yield self.events[at]
                at += 1
            if self.over:
                return
            self.news.clear()
            try:
                await asyncio.wait_for(self.news.wait(), PING_S)
            except TimeoutError:
                yield None


class Workshop:
    """Jobs and the files of the models that came of them, in a folder that goes with the service."""

    def __init__(self, models: Models, journal: Journal) -> None:
        self.models, self.journal = models, journal
        self.jobs: dict[str, Work] = {}
        self.made: dict[str, str] = {}
        self.folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self, data: bytes, kind: str, label: str, name: str) -> str:
        """Begins a job and gives its number; raises RefusedError where that cannot be."""
        if kind not in KINDS:
            raise RefusedError(415, f"send {' or '.join(KINDS)}")
        if not NAME.fullmatch(name):
            raise RefusedError(422, "a model has a name of a to z, 0 to 9, . _ - (at most 64)", "name")
        if self.models.get(name) is not None:
            raise RefusedError(409, f"there is a model {name} already: take another name", "name")
        if any(not work.over for work in self.jobs.values()):
            raise RefusedError(503, "another model is being trained: try again when it is done")
        if not data:
            raise RefusedError(422, "the file is empty")
        if len(self.made) >= MOST:
            raise RefusedError(422, f"{MOST} models were trained here: start the service anew")
        if kind == "text/csv" and not label:
            raise RefusedError(422, "say which column to predict: ?label=COLUMN", "label")
        while len(self.jobs) >= MOST:
            self.jobs.pop(next(iter(self.jobs)))
        number = secrets.token_hex(8)
        work = self.jobs[number] = Work(name)
        loop = asyncio.get_running_loop()
        args = (loop, work, data, kind, label)
        threading.Thread(target=self._train, args=args, daemon=True, name="luce train").start()
        self.journal.count("training", model=name, bytes=len(data))
        return number

    def job(self, number: str) -> Work:
        found = self.jobs.get(number)
        if found is None:
            raise RefusedError(404, "there is no such job")
        return found

    def file(self, name: str) -> bytes:
        """A model that was trained here, as a file."""
        path = self.made.get(name)
        if path is None:
            raise RefusedError(404, "no model of this name was trained here")
        with open(path, "rb") as file:
            return file.read()

    def close(self) -> None:
        if self.folder is not None:
            self.folder.cleanup()

    def _train(self, loop: asyncio.AbstractEventLoop, work: Work, data: bytes, kind: str, label: str) -> None:
        def tell(event: str, facts: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(work.add, event, plain(facts))

        try:
            tell("done", self._made(work.name, data, kind, label, tell))
            self.journal.count("trained", model=work.name)
        except LuceError as error:
            tell("failed", {"what": inert(" ".join(str(error).split()), 1000)})
        except Exception as error:
            self.journal.count("fault", kind=type(error).__name__, what=str(error))
            tell("failed", {"what": "an error of the service; its log has more"})

    def _made(self, name: str, data: bytes, kind: str, label: str, tell: Any) -> dict[str, Any]:
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory(prefix="luce-")
        table, label = self._table(data, kind, label, os.path.join(self.folder.name, f"{name}.zip"))
        last = 0.0

        def progress(passes: int, gap: float) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY_S:
                last = time.monotonic()
                tell("progress", {"pass": passes, "gap": gap})

        def schema(found: Schema) -> None:
            columns = [{"name": c.name, "kind": c.kind, "why": c.why} for c in found.columns]
            tell("schema", {"rows": table.rows, "columns": columns, "notes": [*table.notes, *found.notes]})

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trained = train(table, label, progress=progress, on_schema=schema)
        path = os.path.join(self.folder.name, f"{name}.luce")
        trained.classifier.save(path)
        self.models.add(path)
        self.made[name] = path
        held = trained.classifier.fitted.facts.get("held_out")
        return {"model": name, "held_out": held and {key: held[key] for key in ("rows", "accuracy", "log_loss")}}

    def _table(self, data: bytes, kind: str, label: str, path: str) -> tuple[Table, str]:
        if kind == "text/csv":
            return Table.of(read_csv(data, "the file")), label
        with open(path, "wb") as file:
            file.write(data)
        try:
            table = Table.of(read_images(path), "the file")
        except LuceError as error:
            raise type(error)(re.sub(re.escape(os.path.dirname(path)) + "/?", "", str(error))) from None
        finally:
            os.remove(path)
        if LABEL not in table.names:
            raise InputError("nothing tells the classes: put the images of each class in a folder of its name")
        return table, LABEL
