"""Run: what a long computation has worked out, kept in a checkpoint, from which the same run goes on to the same bits.

What luce computes depends on data and settings alone. So a run that begins anew goes the way that it went, and takes
what stands in the checkpoint: its pieces, which were finished, and the state of the solve that was at work. Each has a
place in the run, such as /2 held out/0 solve: what it is, and how many came before it there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from luce.atomic_file import possible_name
from luce.checkpoint import Checkpoint, names_of
from luce.errors import LuceError, ModelFileError, inert, warn
from luce.lock import alone

EVERY = 30.0  # seconds before the first checkpoint, and between two
SHARE = 20.0  # of what it took to save the last, at least

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]
State = tuple[dict[str, NDArray[Any]], dict[str, Any]]
Said = Callable[[], Mapping[str, object]]


class Run:
    """The pieces of a run by their places, and the state of the solve at work; one thread tells it of them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.settings: Mapping[str, object] = {}  # that decide what is worked out
        self._checkpoint: Checkpoint | None = None
        self._data: Said | None = None
        self._loaded: dict[str, Any] = {}  # pieces as they stand in the checkpoint, until they are asked for
        self._pieces: dict[str, Any] = {}
        self._state: tuple[str, State] | None = None
        self._begun = False
        self._at = ""
        self._counts: dict[str, int] = {}
        self._changed = False
        self._saved, self._cost = time.monotonic(), 0.0

    def of(self, data: Said) -> None:
        """What the run is of, beside its settings: now it goes on from a checkpoint, if there is one. data is asked for
        only to compare with one, and for the first. What has been said once holds. Raises as `Checkpoint.load`."""
        if self._begun:
            return
        self._data = data
        found = self._file().load() if any(map(os.path.lexists, names_of(self.path))) else None
        if found is not None:
            self._take(*found)
            warn(f"a run that was broken off goes on from its checkpoint, {inert(self.path, 4096)}")
        self._begun = True

    def _take(self, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        try:
            self._loaded = {place: _with_arrays(piece, arrays) for place, piece in facts["pieces"].items()}
            if facts["at"] is not None:
                state = _with_arrays(facts["state"], arrays)
                self._state = facts["at"], (state["arrays"], state["facts"])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"{inert(self.path, 4096)}: no such run: {error}") from error

    def piece(self, name: str, work: Callable[[], T], *types: type) -> T:
        """What `work` gives: None, numbers, texts, arrays, and tuples, lists and dataclasses of these types with such;
        nobody writes to its arrays, but what is needed no more may be taken from a dataclass. Work is not asked where
        the checkpoint has it."""
        with self._inside(name) as place:
            if place in self._loaded:
                kept: T = self._read(place, types)
                del self._loaded[place]
                self._pieces[place] = kept
                return kept
            found = work()
            self._drop(place)
            self._pieces[place], self._changed = found, True
        if self._is_due():
            self._save()
        return found

    @contextmanager
    def _inside(self, name: str) -> Iterator[str]:
        before = self._at
        count = self._counts.get(before, 0)
        self._counts[before], self._at = count + 1, f"{before}/{count} {name}"
        try:
            yield self._at
        finally:
            self._at = before

    def _drop(self, place: str) -> None:
        """What stood inside a place that is finished."""
        for pieces in (self._loaded, self._pieces):
            for inner in [key for key in pieces if key.startswith(f"{place}/")]:
                del pieces[inner]
        if self._state is not None and f"{self._state[0]}/".startswith(f"{place}/"):
            self._state = None

    def _read(self, place: str, types: tuple[type, ...]) -> Any:
        try:
            return _read(self._loaded[place], {each.__name__: each for each in types})
        except (LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"{inert(self.path, 4096)}: no such piece of a run: {error}") from error

    def state_at(self, place: str) -> State | None:
        return self._state[1] if self._state is not None and self._state[0] == place else None

    def keep(self, place: str, state: Callable[[], State], at_once: bool = False) -> None:
        """The state of the solve there, which is worked out if it is time to save it."""
        if self._begun and (at_once or self._is_due()):
            self._state = None  # it may be large
            self._state, self._changed = (place, state()), True
            self._save()

    def _is_due(self) -> bool:
        return time.monotonic() - self._saved >= max(EVERY, SHARE * self._cost)

    def _file(self) -> Checkpoint:
        assert self._data is not None
        if self._checkpoint is None:
            self._checkpoint = Checkpoint(self.path, self.settings, self._data())
        return self._checkpoint

    def _save(self) -> None:
        if not (self._begun and self._changed):
            return
        began, arrays = time.monotonic(), dict[str, NDArray[Any]]()
        known = self._loaded | {place: _written(piece) for place, piece in self._pieces.items()}
        pieces = {place: _without_arrays(piece, arrays) for place, piece in known.items()}
        at, state = None, None
        if self._state is not None:
            at, (numbers, facts) = self._state
            state = _without_arrays({"arrays": numbers, "facts": facts}, arrays)
        self._file().save(arrays, {"pieces": pieces, "at": at, "state": state})
        self._saved, self._changed = time.monotonic(), False
        self._cost = self._saved - began

    def leave(self) -> bool:
        """It is broken off: what was finished goes to the checkpoint, if there is one or it is time for one.
        Whether there is one now."""
        if self._begun and (self._checkpoint is not None or time.monotonic() - self._saved >= EVERY):
            self._save()
        return self._checkpoint is not None

    def remove(self) -> None:
        """The checkpoint, at the end of the run."""
        if self._checkpoint is not None:
            self._checkpoint.remove()


_now: ContextVar[Run | None] = ContextVar("run of luce", default=None)


@contextmanager
def keeping(path: str | os.PathLike[str]) -> Iterator[Run]:
    """What is computed meanwhile, in this thread, is a run with its checkpoint at `path`, which goes with its end.

    Raises InputError where another process has a run there.
    """
    name = possible_name(path)
    busy = "has a run there; wait until it is done, or give another name"
    with alone(f"{name}.lock", name, busy):
        run = Run(name)
        token = _now.set(run)
        try:
            yield run
        except KeyboardInterrupt:
            if run.leave():
                warn(f"what is done stands in {inert(name, 4096)}: the same again goes on from there")
            raise
        except BaseException:
            with suppress(LuceError):  # what has gone wrong is told already
                run.leave()
            raise
        finally:
            _now.reset(token)
        run.remove()


def now() -> Run | None:
    """The run that this thread is at work for."""
    return _now.get()


@contextmanager
def aside() -> Iterator[None]:
    """What is computed meanwhile is no part of the run: it is computed again when the run goes on."""
    token = _now.set(None)
    try:
        yield
    finally:
        _now.reset(token)


def piece(name: str, work: Callable[[], T], *types: type) -> T:
    """As `Run.piece`, of the run that this thread is at work for, if any."""
    run = now()
    return work() if run is None else run.piece(name, work, *types)


class Solve:
    """A solve, or a training, at its place in a run, as a checkpoint of its own; of no run, it keeps nothing."""

    def __init__(self, run: Run | None, place: str) -> None:
        self._run, self._place = run, place

    def load(self) -> State | None:
        """The state that it had when the run was broken off."""
        return None if self._run is None else self._run.state_at(self._place)

    def keep(self, state: Callable[[], State], at_once: bool = False) -> None:
        """Where it stands, worked out if it is time to save it, or at once."""
        if self._run is not None:
            self._run.keep(self._place, state, at_once)

    def save(self, arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> None:
        self.keep(lambda: (arrays, facts))

    def remove(self) -> None:
        """Done when its place in the run is left."""


@contextmanager
def solve() -> Iterator[Solve]:
    run = now()
    if run is None:
        yield Solve(None, "")
        return
    with run._inside("solve") as place:
        yield Solve(run, place)
        run._drop(place)


def _written(value: Any) -> Any:
    """Dataclasses and tuples as JSON would have them, but for arrays."""
    if is_dataclass(value):
        return {"type": type(value).__name__, **{f.name: _written(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, tuple):
        return {"type": "tuple", "of": [_written(each) for each in value]}
    if isinstance(value, np.generic):
        return value.item()
    return [_written(each) for each in value] if isinstance(value, list) else value


def _read(value: Any, types: Mapping[str, type]) -> Any:
    """What `_written` was given."""
    if isinstance(value, list):
        return [_read(each, types) for each in value]
    if not isinstance(value, dict):
        return value
    inner = {name: _read(each, types) for name, each in value.items() if name != "type"}
    return tuple(inner["of"]) if value["type"] == "tuple" else types[value["type"]](**inner)


def _without_arrays(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Each array goes to `arrays`, and its name stands for it; one of no numbers is told by its shape."""
    if isinstance(value, np.ndarray):
        if not value.size:
            return {"none": value.dtype.name, "shape": list(value.shape)}
        name = str(len(arrays))
        arrays[name] = value
        return {"array": name}
    if isinstance(value, dict):
        return {name: _without_arrays(each, arrays) for name, each in value.items()}
    return [_without_arrays(each, arrays) for each in value] if isinstance(value, list) else value


def _with_arrays(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """What `_without_arrays` was given."""
    if isinstance(value, list):
        return [_with_arrays(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"array"}:
        return arrays[value["array"]]
    if set(value) == {"none", "shape"}:
        return np.empty(value["shape"], value["none"])
    return {name: _with_arrays(each, arrays) for name, each in value.items()}
