"""The engine whose workers are Ray's: on this machine, or on a cluster whose nodes all see the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from luce.engine import PATIENCE_S, Each, checked
from luce.errors import EngineError, LuceError, inert
from luce.shard import Piece, Shard

LOOK_S = 1.0  # Ray is asked for answers so long at a time
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


def ray(workers: int | None = None, patience: float = PATIENCE_S, address: str | None = None) -> RayWorkers:
    """Workers of Ray, for Classifier(engine=...); see RayWorkers. Raises InputError for less than one worker."""
    return RayWorkers(workers, patience, address)


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
                raise EngineError(
                    f"{name} did not answer within {self.patience:g} s: if it had enough to do, "
                    "give it more patience; if not, see what holds it up, and whether Ray has a processor for it"
                )
            _, open_calls = ray.wait(open_calls, num_returns=len(open_calls), timeout=min(left, LOOK_S))
        found = []
        for part, call in enumerate(calls):
            try:
                found.append(ray.get(call))
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                line = str(cause) if isinstance(cause, LuceError) else f"{type(cause).__name__}: {_line(cause)}"
                raise EngineError(f"{self._name(part)}: {line}") from None
            except ray.exceptions.RayError as error:
                raise EngineError(f"{self._name(part)}: {_line(error)}") from None
        return found

    def _sent(self, argument: Any) -> Any:
        """An array once for all parts; what each part has its own of, as a list."""
        ray = _ray()
        if isinstance(argument, np.ndarray):
            return ray.put(argument)
        if not isinstance(argument, Each):
            return argument
        if not argument.kept:
            return list(argument.values)
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
