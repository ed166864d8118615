"""Processes of their own for the fits of bench/fit.py: one can be stopped at its time limit, and libraries that bring
their own threads do not meet."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from problems import Penalty, Problem, opened, value
from rivals import RIVALS, Rival, Setting, quiet

OVERHEAD = 600.0  # seconds that loading, a warm-up or the evaluation of the objective may take
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Request:
    setting: Setting
    effort: int
    penalty: Penalty
    start: Any = None
    pause: float = 0.3
    keep: bool = False  # send the point back


@dataclass
class Run:
    """One fit. value: the objective at its point in float64; None if there is none: stopped at the limit or failed."""

    effort: int
    seconds: float
    value: float | None = None
    stopped: bool = False
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    point: Any = None

    def to_json(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "point" and v not in ("", None, {}, False)}


class Worker:
    """A process that holds one problem and one rival; started at the first request and again after it was stopped."""

    def __init__(self, rival: str, folder: Path) -> None:
        self.rival, self.folder = rival, folder
        self.process: Any = None
        self.started: dict[str, float] = {}

    def ask(self, request: Request, limit: float) -> Run:
        if self.process is None:
            self._start()
        try:
            self.connection.send(request)
            self._next(max(limit, OVERHEAD))
            run = Run(request.effort, limit)
            fitted = self._next(limit)
            run.seconds, run.stopped, run.facts, run.point = fitted
            run.value = self._next(OVERHEAD)
        except TimeoutError:
            self.close()
            return Run(request.effort, limit)
        except (EOFError, OSError):
            self.close()
            return Run(request.effort, limit, error="the process died")
        except RuntimeError as error:
            return Run(request.effort, 0.0, error=str(error))
        return run

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None

    def _start(self) -> None:
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs, self.rival, str(self.folder)), daemon=True)
        self.process.start()
        theirs.close()
        self.started = self._next(OVERHEAD)

    def _next(self, limit: float) -> Any:
        if not self.connection.poll(limit):
            raise TimeoutError
        kind, content = self.connection.recv()
        if kind == "error":
            raise RuntimeError(content)
        return content


def apart(work: Callable[..., Any], *arguments: Any, limit: float) -> Any:
    """work(*arguments) in a process of its own, killed with its children after `limit` seconds: then TimeoutError."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_apart, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            raise TimeoutError
        kind, content = ours.recv()
    except EOFError:
        kind, content = "error", "the process died"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group: see _apart
        process.kill()
        process.join()
        ours.close()
    if kind == "error":
        raise RuntimeError(content)
    return content


def _apart(connection: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.setpgid(0, 0)
    quiet()
    connection.send(_attempt(lambda: work(*arguments)))


def _attempt(work: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "done", work()
    except Exception as error:
        if os.environ.get("BENCH_TRACE"):
            traceback.print_exc()
        return "error", f"{type(error).__name__}: {error}".splitlines()[0][:90]


def _serve(connection: Connection, name: str, folder: str) -> None:
    quiet()
    began = time.perf_counter()
    problem = opened(Path(folder))
    loaded = time.perf_counter()
    rival = RIVALS[name]()
    started = _attempt(rival.start)
    times = {"import": time.perf_counter() - loaded, "load": loaded - began}
    connection.send(("done", times) if started[0] == "done" else started)
    server = _Server(connection, rival, problem)
    with contextlib.suppress(EOFError):
        while True:
            server.answer(connection.recv())


class _Server:
    def __init__(self, connection: Connection, rival: Rival, problem: Problem) -> None:
        self.connection, self.rival, self.problem = connection, rival, problem
        self.few = problem.part(_few(problem))
        self.setting: Setting | None = None
        self.data: Any = None

    def answer(self, request: Request) -> None:
        ready = _attempt(lambda: self._ready(request))
        self.connection.send(ready)
        if ready[0] == "error":
            return
        time.sleep(request.pause)
        began = time.perf_counter()
        kind, fitted = _attempt(lambda: self._fit(self.data, request, request.effort))
        seconds = time.perf_counter() - began
        if kind == "error":
            self.connection.send((kind, fitted))
            return
        point = (fitted.W, fitted.b) if request.keep else None
        self.connection.send(("done", (seconds, fitted.stopped, fitted.facts, point)))
        self.connection.send(_attempt(lambda: value(self.problem, fitted.W, fitted.b, request.penalty)))

    def _ready(self, request: Request) -> None:
        """The data in the form of the setting, and one small fit to warm up, if the setting is another than before."""
        if request.setting != self.setting:
            self.data = None
            self._fit(self.rival.prepare(self.few, request.setting), request, request.setting.first)
            self.data = self.rival.prepare(self.problem, request.setting)
            self.setting = request.setting

    def _fit(self, data: Any, request: Request, effort: int) -> Any:
        return self.rival.fit(data, request.penalty, request.setting, effort, request.start)


def _few(problem: Problem) -> np.ndarray:
    """The first rows of each class, in all some hundred."""
    each = max(200 // problem.classes, 2)
    return np.sort(np.concatenate([np.flatnonzero(problem.y == k)[:each] for k in range(problem.classes)]))
