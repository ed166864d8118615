"""Engines: workers in other processes that hold parts of the rows. The protocol, and local processes."""

from __future__ import annotations

import itertools
import json
import math
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from typing import Any, Protocol

from luce.errors import EngineError, InputError
from luce.shard import Own, Piece

PATIENCE_S = 600.0  # a worker answers within this time, or the run ends
END_S = 10.0  # a killed process is waited for
ONE_THREAD = ("LUCE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS")  # in a worker
REPEATS = 3  # a call whose worker is killed is repeated so often, by a new one

_keys = itertools.count(1)


Tell = Callable[[Any], None]
Make = Callable[[], Callable[[Any, Tell], Any]]
Answers = Generator[tuple[int, Any], None, None]


class Each:
    """An argument that is another one for each part, which workers keep as long as this object lives."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values, self.key = values, next(_keys)


class Parts(Protocol):
    """Workers, one a piece of the rows. What a call gives depends on its arguments alone: it can be repeated."""

    def each(self, method: str, *arguments: Any) -> list[Any]:
        """What Shard.call gives in each worker, in the order of the parts.

        Raises EngineError, one line that names the worker, where one fails, or does not answer in time.
        """

    def close(self) -> None:
        """Ends the workers; more than once is once."""


class Engine(Protocol):
    """Where workers run, how many there are at most, and how long one may take to answer, in seconds."""

    workers: int
    patience: float

    def start(self, pieces: Sequence[Piece]) -> Parts: ...

    def spread(self, make: Make, items: Sequence[Any], told: Callable[[int, Any], None]) -> Answers:
        """The place of each item, and what work(item, tell) gives for it, as they are done, by workers each of which
        makes its work once, by make(). What the work tells meanwhile, told() hears, with the place.

        An item whose worker is killed is done again, by another one: work must not mind. Raises EngineError where work
        fails, where a worker neither tells anything nor is done in time, and where one item ends many workers.
        """


def checked(workers: int | None, patience: float) -> int:
    """The number of workers, by default one a processor; InputError where it, or the patience, is none."""
    found = (os.cpu_count() or 1) if workers is None else workers
    if found < 1 or not 0 < patience < math.inf:
        raise InputError(f"workers is {workers} and patience {patience}: both must be above 0, and finite")
    return found


class LocalProcesses:
    """Workers as processes of this machine, of one thread each."""

    def __init__(self, workers: int | None = None, patience: float = PATIENCE_S) -> None:
        self.workers, self.patience = checked(workers, patience), patience

    def start(self, pieces: Sequence[Piece]) -> LocalParts:
        """Raises EngineError on Windows, whose processes inherit no sockets."""
        _check_posix()
        return LocalParts(pieces, self.patience)

    def spread(self, make: Make, items: Sequence[Any], told: Callable[[int, Any], None]) -> Answers:
        _check_posix()
        return _spread(make, items, told, self)


def _check_posix() -> None:
    if os.name != "posix":
        raise EngineError("local workers need Linux or macOS: use Ray, or do without --engine")


def processes(workers: int | None = None, patience: float = PATIENCE_S) -> LocalProcesses:
    """Workers on this machine, for Classifier(engine=...) and predict_files(engine=...); see LocalProcesses. Raises
    InputError for less than one."""
    return LocalProcesses(workers, patience)


class Worker:
    """A process that serves what it is sent first, such as a piece, and what it owes and keeps."""

    def __init__(self, first: Any, patience: float, serve: str = "serve") -> None:
        here, there = socket.socketpair()
        code = f"import sys, json; sys.path[:] = json.loads(sys.argv[1]); from luce.shard import {serve}; " \
            f"{serve}(int(sys.argv[2]), int(sys.argv[3]))"  # fmt: skip
        with there:
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", code, json.dumps(sys.path), str(there.fileno()), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[there.fileno()],
                    env=dict(os.environ) | dict.fromkeys(ONE_THREAD, "1"),
                )
            except OSError as error:
                raise EngineError(f"a worker could not be started ({error.strerror}); use fewer") from None
        self.socket, self.pipe = here, connection.Connection(os.dup(here.fileno()))
        self.limit(patience)
        self.kept: dict[int, weakref.ref[Each]] = {}
        self.owes = 0  # answers to calls that were given up
        with suppress(OSError):  # if it has died already, the first call will meet that
            self.pipe.send(first)

    def limit(self, patience: float) -> None:
        """How long a message that has begun may stand still, in seconds."""
        seconds = struct.pack("ll", int(patience), max(int(patience % 1 * 1e6), 1))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)

    def send(self, blob: bytes, own: Sequence[Each], part: int) -> None:
        """Sends a call, and what the worker does not have of its own arguments."""
        fresh = {a.key: a.values[part] for a in own if a.key not in self.kept}
        done = [key for key, at in self.kept.items() if at() is None]
        self.pipe.send((fresh, done))
        self.pipe.send_bytes(blob)
        for key in done:
            del self.kept[key]
        self.kept |= {a.key: weakref.ref(a) for a in own}
        self.owes += 1

    def receive(self) -> tuple[int, bool, Any]:
        number, well, result = pickle.loads(self.pipe.recv_bytes())
        self.owes -= number > 0
        return number, well, result

    def end(self) -> str:
        """Ends the process, which holds nothing that would be lost; says how it ended."""
        self.process.kill()
        self.pipe.close()
        self.socket.close()
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            return "it does not end"
        return f"signal {-code}" if code < 0 else f"exit code {code}"


class LocalParts:
    """Local processes, one a piece. One that is killed is replaced, and its call repeated; all end with this object."""

    def __init__(self, pieces: Sequence[Piece], patience: float) -> None:
        self.pieces, self.patience = pieces, patience
        self.workers: list[Worker | None] = [None] * len(pieces)
        self._number, self._closed = 0, False
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end_all, self.workers, os.getpid())
        for part in range(len(pieces)):
            self._worker(part)

    def close(self) -> None:
        self._closed = True
        self._end()

    def limit(self, patience: float) -> None:
        """How long a worker may take to answer from now on, in seconds."""
        self.patience = patience
        for worker in filter(None, self.workers):
            worker.limit(patience)

    @property
    def processes(self) -> list[int]:
        """The process of each part that has one."""
        return [worker.process.pid for worker in self.workers if worker is not None]

    def each(self, method: str, *arguments: Any) -> list[Any]:
        with self._lock:
            if self._closed:
                raise EngineError("the workers have ended: start the engine anew")
            try:
                return self._each(method, arguments)
            except EngineError:
                self.close()
                raise

    def _each(self, method: str, arguments: Sequence[Any]) -> list[Any]:
        self._number += 1
        own = [a for a in arguments if isinstance(a, Each)]
        stand_ins = tuple(Own(a.key) if isinstance(a, Each) else a for a in arguments)
        blob = pickle.dumps((self._number, method, stand_ins), protocol=5)
        tries, found = [0] * len(self.pieces), dict[int, Any]()

        def send(part: int) -> None:
            while not self._guarded(part, tries, partial(self._send, part, blob, own)):
                pass

        def receive(part: int, worker: Worker) -> None:
            number, well, result = worker.receive()
            if not well and number in (0, self._number):
                raise EngineError(f"{self._name(part)}: {result}")
            if number == self._number:
                found[part] = result

        for part in range(len(self.pieces)):
            send(part)
        last = time.monotonic()
        while len(found) < len(self.pieces):
            waits = {self._worker(part).pipe: part for part in range(len(self.pieces)) if part not in found}
            ready = connection.wait(list(waits), max(last + self.patience - time.monotonic(), 0.0))
            if not ready:
                raise self._no_answer(min(waits.values()))
            for part in [part for pipe, part in waits.items() if pipe in ready]:
                if not self._guarded(part, tries, partial(receive, part)):
                    send(part)
                    last = time.monotonic()
        return [found[part] for part in range(len(self.pieces))]

    def _send(self, part: int, blob: bytes, own: Sequence[Each], worker: Worker) -> None:
        while worker.owes:  # after Ctrl-C; what it answers late is no longer asked for
            if not worker.pipe.poll(self.patience):
                raise self._no_answer(part)
            worker.receive()
        worker.send(blob, own, part)

    def _guarded(self, part: int, tries: list[int], act: Callable[[Worker], None]) -> bool:
        """Whether it went well; if the worker has died meanwhile, another one is there for the next time."""
        worker = self._worker(part)
        try:
            act(worker)
            return True
        except BlockingIOError:  # it stopped in the middle of a message
            raise self._no_answer(part) from None
        except (EOFError, OSError):
            how, name = worker.end(), self._name(part)
            self.workers[part] = None
            tries[part] += 1
            if tries[part] > REPEATS:
                raise ended_often(name, tries[part], "one call", how) from None
            return False
        except BaseException:  # Ctrl-C, maybe in the middle of a message; or a message that says what went wrong
            worker.end()
            self.workers[part] = None
            raise

    def _worker(self, part: int) -> Worker:
        worker = self.workers[part]
        if worker is None:
            worker = self.workers[part] = Worker(self.pieces[part], self.patience)
        return worker

    def _name(self, part: int) -> str:
        worker = self.workers[part]
        process = "" if worker is None else f" (process {worker.process.pid})"
        return f"worker {part + 1} of {len(self.pieces)}{process}"

    def _no_answer(self, part: int) -> EngineError:
        return no_answer(self._name(part), self.patience)


def no_answer(name: str, patience: float, more: str = "") -> EngineError:
    return EngineError(
        f"{name} did not answer within {patience:g} s: if it had enough to do, "
        f"give it more patience; if not, see what holds it up{more}"
    )


def ended_often(name: str, times: int, what: str, how: str) -> EngineError:
    return EngineError(
        f"{name} has ended {times} times in {what} ({how}): maybe memory is short; use fewer workers, or more memory"
    )


def _spread(make: Make, items: Sequence[Any], told: Callable[[int, Any], None], engine: LocalProcesses) -> Answers:
    """Engine.spread by local processes."""
    waiting, tries = deque(range(len(items))), [0] * len(items)
    free: list[Worker] = []
    busy: dict[Worker, int] = {}  # the place that each works on
    heard: dict[Worker, float] = {}  # when
    try:
        while waiting or busy:
            while waiting and len(busy) < engine.workers:
                worker = free.pop() if free else Worker(make, engine.patience, "serve_each")
                busy[worker], heard[worker] = waiting.popleft(), time.monotonic()
                with suppress(OSError):  # if it has died, that is met where it is heard
                    worker.pipe.send(items[busy[worker]])
            last = min(busy, key=heard.__getitem__)
            left = heard[last] + engine.patience - time.monotonic()
            ready = connection.wait([worker.pipe for worker in busy], max(left, 0.0))
            if last.pipe not in ready and heard[last] + engine.patience <= time.monotonic():
                raise no_answer(f"a worker (process {last.process.pid})", engine.patience)
            for worker in [worker for worker in busy if worker.pipe in ready]:
                heard[worker], place = time.monotonic(), busy[worker]
                try:
                    what, found = worker.pipe.recv()
                except BlockingIOError:
                    raise no_answer(f"a worker (process {worker.process.pid})", engine.patience) from None
                except (EOFError, OSError):
                    del busy[worker]
                    how = worker.end()
                    tries[place] += 1
                    if tries[place] > REPEATS:
                        raise ended_often("a worker", tries[place], "one piece of work", how) from None
                    waiting.appendleft(place)
                    continue
                if what == "failed":
                    raise EngineError(f"a worker (process {worker.process.pid}): {found}")
                if what == "told":
                    told(place, found)
                    continue
                free.append(worker)
                del busy[worker]
                yield place, found
    finally:
        _end_all([*busy, *free], os.getpid())


def _end_all(workers: list[Worker | None], driver: int) -> None:
    if os.getpid() != driver:  # a fork of the driver, whose workers they are not
        return
    for worker in filter(None, workers):
        worker.process.kill()
    for worker in filter(None, workers):
        worker.end()
    workers[:] = [None] * len(workers)
