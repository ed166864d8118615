"""The engine whose workers are Ray's: on this machine, or on a cluster whose nodes all see the folder."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from luce.engine import PATIENCE_S, Each, checked
from luce.errors import EngineError, LuceError, inert
from luce.shard import Piece, Shard

LOOK_S = 1.0  # Ray is asked for answers so long at a time


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
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray = _ray()
        owned = not ray.is_initialized()
        if owned:
            how: dict[str, Any] = {"address": self.address}
            if self.address is None:
                how = {"num_cpus": max(self.workers, os.cpu_count() or 1), "include_dashboard": False}
            try:
                ray.init(log_to_driver=False, logging_level="error", **how)
            except Exception as error:
                raise EngineError(f"Ray did not start: {_line(error)}") from None
        return RayParts(pieces, self.patience, owned)


def ray(workers: int | None = None, patience: float = PATIENCE_S, address: str | None = None) -> RayWorkers:
    """Workers of Ray, for Classifier(engine=...); see RayWorkers. Raises InputError for less than one worker."""
    return RayWorkers(workers, patience, address)


class RayParts:
    """Ray's actors, one a piece; they end with this object, and so does Ray if it was started for them."""

    def __init__(self, pieces: Sequence[Piece], patience: float, owned: bool) -> None:
        ray, self.patience = _ray(), patience
        self.kept: weakref.WeakKeyDictionary[Each, list[Any]] = weakref.WeakKeyDictionary()
        kind = ray.remote(
            num_cpus=1, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
        )(Shard)  # fmt: skip
        self.actors = [kind.remote(piece) for piece in pieces]
        self._end = weakref.finalize(self, _end_all, self.actors, owned)

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


def _end_all(actors: list[Any], owned: bool) -> None:
    ray = _ray()
    if not ray.is_initialized():
        return
    for actor in actors:
        ray.kill(actor)
    if owned:
        ray.shutdown()


def _line(error: Any) -> str:
    return inert(str(error).strip().partition("\n")[0], 200)
