"""The engine whose workers are Ray's: on this machine, or on a cluster whose nodes all see the folder."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from luce.engine import END_S, ONE_THREAD, PATIENCE_S, REPEATS, Answers, Each, Make, checked, ended_often, no_answer
from luce.errors import EngineError, inert
from luce.shard import Piece, Shard, line_of, tried

LOOK_S = 1.0  # Ray is asked for answers so long at a time
BREATH_S = 0.2  # between two looks at what workers tell
MOST_INLINE = 1 << 16  # bytes of an array that goes along with a call; Ray's store takes milliseconds more
GRACE_S = 2.0  # when its driver is gone, most of Ray ends by itself within this time

# Reads until the driver has closed the pipe, or is gone; then ends the processes it was given, if they are still there
# and still the same. Ray's agents alone stay a minute otherwise, as they wait for one that is gone as well.
_WATCH = """
import os, signal, sys, time
sys.stdin.read()
time.sleep(float(sys.argv[1]))
for process, begun in zip(sys.argv[2::2], sys.argv[3::2]):
    try:
        with open(f"/proc/{process}/stat") as status:
            if status.read().rpartition(")")[2].split()[19] == begun:
                os.kill(int(process), signal.SIGKILL)
    except OSError:
        pass
"""


def _ray() -> Any:
    """Ray, which is imported when it is needed; EngineError where it is not installed."""
    try:
        return import_module("ray")
    except ImportError:
        raise EngineError("Ray is not installed: pip install 'luce[ray]'") from None


class RayWorkers:
    """Workers as Ray's actors, of one processor and one thread each; Ray starts those that die anew.

    address: of a running cluster, or "auto"; None: Ray starts on this machine, unless the program has started it.
    """

    def __init__(self, workers: int | None = None, patience: float = PATIENCE_S, address: str | None = None) -> None:
        self.workers, self.patience, self.address = checked(workers, patience), patience, address

    def start(self, pieces: Sequence[Piece]) -> RayParts:
        """Raises EngineError where Ray is not installed, or does not start."""
        return RayParts(pieces, self.patience, Connection(self.workers, self.address))

    def spread(self, make: Make, items: Sequence[Any], told: Callable[[int, Any], None]) -> Answers:
        """By Ray Data: a row an item, mapped by a pool of actors. See Engine."""
        if not items:
            return
        try:
            import_module("ray.data")
        except ImportError:
            raise EngineError("Ray Data is not installed: pip install 'luce[ray]'") from None
        connection = Connection(self.workers, self.address)
        try:
            yield from _spread(make, items, told, self)
        finally:
            connection.close()


def ray(workers: int | None = None, patience: float = PATIENCE_S, address: str | None = None) -> RayWorkers:
    """Workers of Ray, for Classifier(engine=...) and predict_files(engine=...); see RayWorkers. Raises InputError for
    less than one worker."""
    return RayWorkers(workers, patience, address)


class Board:
    """An actor that hears what workers tell of their items, until the driver takes it."""

    def __init__(self) -> None:
        self._told: list[Any] = []

    def tell(self, *told: Any) -> None:
        self._told.append(told)

    def take(self) -> list[Any]:
        found, self._told = self._told, []
        return found


class Hand:
    """An actor of Ray Data: makes its work once, and gives the row of an item the row of what it found."""

    def __init__(self, make: Make, board: Any) -> None:
        for name in ONE_THREAD:
            os.environ[name] = "1"
        self.board = board
        self.made = tried(make)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        context, place = _ray().get_runtime_context(), row["place"]
        worker = f"a worker (Ray's, process {os.getpid()})"
        self.board.tell.remote(place, worker, context.current_actor)
        well, found = self.made
        if well:
            well, found = tried(
                found, pickle.loads(row["item"]), lambda message: self.board.tell.remote(place, message)
            )
        return {"place": place, "answer": pickle.dumps((well, found if well else f"{worker}: {found}"))}


def _spread(make: Make, items: Sequence[Any], told: Callable[[int, Any], None], engine: RayWorkers) -> Answers:
    ray, data = _ray(), import_module("ray.data")
    board = ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()
    rows = [{"place": place, "item": pickle.dumps(item)} for place, item in enumerate(items)]
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        try:
            with _quiet(data):
                processors = int(ray.cluster_resources().get("CPU", 1))
                size = max(min(engine.workers, processors, len(rows)), 1)
                pool = data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
                answers = data.from_items(rows, override_num_blocks=len(rows)).map(
                    Hand, compute=pool, fn_constructor_args=(make, board), num_cpus=1
                )
                for row in answers.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
                    found.put((int(row["place"][0]), row["answer"][0]))
                    if stop.is_set():
                        return
        except BaseException as error:
            found.put((None, error))

    thread = threading.Thread(target=run, name="luce asks Ray Data", daemon=True)
    thread.start()
    hands: dict[str, Any] = {}
    busy: dict[int, tuple[str, float]] = {}  # who is at the item of a place, and when that was last heard of
    begun, open_items = [0] * len(items), set(range(len(items)))
    last = looked = time.monotonic()
    try:
        while open_items:
            with suppress(queue.Empty):
                place, answer = found.get(timeout=BREATH_S)
                if place is None:
                    raise EngineError(f"Ray Data: {_cause(answer)}") from None
                last = time.monotonic()
                well, answer = pickle.loads(answer)
                if not well:
                    raise EngineError(answer)
                busy.pop(place, None)
                open_items.discard(place)
                yield place, answer
            if time.monotonic() - looked < BREATH_S:
                continue
            looked = time.monotonic()
            with suppress(ray.exceptions.RayError):
                for place, first, *more in ray.get(board.take.remote(), timeout=engine.patience):
                    last = time.monotonic()
                    if more:
                        hands[first] = more[0]
                    if place in open_items:
                        busy[place] = (first if more else busy[place][0], last)
                        if more:
                            begun[place] += 1
                        else:
                            told(place, first)
            for place, (worker, heard) in busy.items():
                if looked - heard > engine.patience:
                    raise no_answer(worker, engine.patience)
                if begun[place] > REPEATS + 1:
                    raise ended_often(worker, begun[place] - 1, "one piece of work", "killed")
            if looked - last > engine.patience:
                raise no_answer("Ray", engine.patience, ", and whether Ray has a processor for it")
    finally:
        stop.set()
        if open_items:
            for hand in hands.values():
                with suppress(Exception):
                    ray.kill(hand)
        hands.clear()
        thread.join(END_S)


class Connection:
    """What ties this process to Ray: it is ended only by whom it was begun. With a driver that is killed all goes that
    was started for it."""

    def __init__(self, workers: int, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray, self._watcher = _ray(), None
        self.owned = not ray.is_initialized()
        if not self.owned:
            return
        how: dict[str, Any] = {"address": address}
        if address is None:
            cpus = max(workers, os.cpu_count() or 1)
            how = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level="error", **how)
        except Exception as error:
            how_to = "" if address is None else "; one that asks for a token needs RAY_AUTH_MODE=token"
            raise EngineError(f"Ray did not start: {_line(error)}{how_to}") from None
        if address is None and sys.platform.startswith("linux"):
            self._watcher = _watcher()

    def close(self) -> None:
        if self.owned:
            _ray().shutdown()
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()


def _watcher() -> subprocess.Popen[bytes] | None:
    """A process that outlives this one for as long as it takes to end what Ray has started for it."""
    started = []
    for process in _below(os.getpid()):
        with suppress(OSError):
            started += [str(process), _facts(process)[19]]
    with suppress(OSError):
        return subprocess.Popen(
            [sys.executable, "-ISc", _WATCH, str(GRACE_S), *started], stdin=subprocess.PIPE, start_new_session=True
        )
    return None


def _facts(process: int) -> list[str]:
    """What Linux says of a process behind its name: its state, its parent, ..., as 19th when it began."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _below(process: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    below: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            below.setdefault(int(_facts(int(name))[1]), []).append(int(name))
    found = list(below.get(process, []))
    for each in found:
        found += below.get(each, [])
    return found


class RayParts:
    """Ray's actors, one a piece; they end with this object, and so does Ray if it was started for them."""

    def __init__(self, pieces: Sequence[Piece], patience: float, connection: Connection) -> None:
        ray, self.patience = _ray(), patience
        self.kept: weakref.WeakKeyDictionary[Each, list[Any]] = weakref.WeakKeyDictionary()
        kind = ray.remote(
            num_cpus=1, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
        )(Shard)  # fmt: skip
        self.actors = [kind.remote(piece) for piece in pieces]
        self._end = weakref.finalize(self, _end_all, self.actors, connection)

    def close(self) -> None:
        self._end()

    def each(self, method: str, *arguments: Any) -> list[Any]:
        if not self._end.alive:
            raise EngineError("the workers have ended: start the engine anew")
        try:
            return self._each(method, arguments)
        except EngineError:
            self.close()
            raise

    def _each(self, method: str, arguments: Sequence[Any]) -> list[Any]:
        ray, sent = _ray(), [self._sent(a) for a in arguments]
        calls = [
            actor.call.remote(method, *(a[part] if isinstance(a, list) else a for a in sent))
            for part, actor in enumerate(self.actors)
        ]
        end, open_calls = time.monotonic() + self.patience, list(calls)
        while open_calls:
            left = end - time.monotonic()
            if left <= 0:
                name = self._name(calls.index(open_calls[0]))
                raise no_answer(name, self.patience, ", and whether Ray has a processor for it")
            _, open_calls = ray.wait(open_calls, num_returns=len(open_calls), timeout=min(left, LOOK_S))
        found = []
        for part, call in enumerate(calls):
            try:
                found.append(ray.get(call))
            except ray.exceptions.RayTaskError as error:
                raise EngineError(f"{self._name(part)}: {line_of(error.cause)}") from None
            except ray.exceptions.RayError as error:
                raise EngineError(f"{self._name(part)}: {_line(error)}") from None
        return found

    def _sent(self, argument: Any) -> Any:
        """A large array once for all parts; what each part has its own of, as a list."""
        ray = _ray()
        if isinstance(argument, np.ndarray) and argument.nbytes > MOST_INLINE:
            return ray.put(argument)
        if not isinstance(argument, Each):
            return argument
        if argument not in self.kept:
            self.kept[argument] = [ray.put(value) for value in argument.values]
        return self.kept[argument]

    def _name(self, part: int) -> str:
        return f"worker {part + 1} of {len(self.actors)} (Ray's)"


def _end_all(actors: list[Any], connection: Connection) -> None:
    ray = _ray()
    if ray.is_initialized():
        for actor in actors:
            ray.kill(actor)
    connection.close()


def _line(error: Any) -> str:
    return inert(str(error).strip().partition("\n")[0], 200)


def _cause(error: Any) -> str:
    """The one line of what Ray Data fails by."""
    known = getattr(error, "cause", None)
    return _line(error if known is None else known)


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Meanwhile Ray Data shows no bars and says nothing but errors."""
    context, log = data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, context.print_on_execution_start, log.level
    context.enable_progress_bars = context.print_on_execution_start = False
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = before[:2]
        log.setLevel(before[2])
