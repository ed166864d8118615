"""Rows that lie in a folder, mapped where they lie; and a worker's part of them, which answers calls one by one."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.errors import InputError, LuceError, inert
from luce.features import Array, Features

BREATH_S = 1.0  # between two looks at whether the driver is still there
NUMBERS = {
    "dense": ("uint8", "float16", "float32", "float64"), "starts": ("int64",), "indices": ("int32",),
    "values": ("float32", "float64"), "codes": ("int32",), "weights": ("float64",),
}  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """The rows of a folder, mapped: its features, class codes, and weights if it has any."""

    features: Features
    codes: NDArray[np.int32]
    weights: Array | None


@dataclass(frozen=True)
class Piece:
    """Rows first to end - 1 of the `rows` in a folder, with so many sparse columns."""

    folder: str
    first: int
    end: int
    rows: int
    sparse_columns: int


@dataclass(frozen=True)
class Targets:
    """The class codes and weights of a worker's rows; `key` tells them from others."""

    key: int
    codes: NDArray[np.int32]
    weights: Array | None
    classes: int


@dataclass(frozen=True)
class Part(Features):
    """Some of `among` rows, which begin where a chunk of all begins (core/chunks.h)."""

    among: int = 0

    @property
    def all_rows(self) -> int:
        return self.among


def mapped(folder: str | os.PathLike[str], sparse_columns: int | None = None) -> Folder:
    """What lies in a folder: dense.npy (rows, p), in rows; starts.npy, indices.npy and values.npy, the sparse part in
    compressed rows (see Features); codes.npy (rows,) int32; weights.npy (rows,) float64. One of dense and starts must
    be there; values and weights need not. sparse_columns: by default one more than the largest index.

    Raises InputError where something is missing, or does not fit.
    """
    where = Path(folder)
    found = {name: _array(where, name) for name in NUMBERS}
    dense, starts, indices, values = (found[name] for name in ("dense", "starts", "indices", "values"))
    codes = found["codes"]
    if codes is None or (dense is None and starts is None):
        raise InputError(f"{_named(where)}: codes.npy, and dense.npy or starts.npy, must lie there")
    rows = len(codes)
    if (starts is None) != (indices is None) or (values is not None and indices is None):
        raise InputError(f"{_named(where)}: starts.npy and indices.npy belong together, and values.npy to them")
    lengths = {"dense": rows, "starts": rows + 1, "weights": rows}
    lengths["values"] = 0 if indices is None else len(indices)
    for name, length in lengths.items():
        array = found[name]
        if array is not None and len(array) != length:
            raise InputError(f"{_named(where / name)}.npy has {len(array):,} rows; {length:,} belong there")
    columns = 0
    if indices is not None:
        columns = int(indices.max(initial=0)) + 1 if sparse_columns is None else sparse_columns
    return Folder(Features(rows, dense, starts, indices, values, columns), codes, found["weights"])


def _named(path: str | Path) -> str:
    return inert(str(path), 200)


def _array(folder: Path, name: str) -> NDArray[Any] | None:
    """One array of a folder, mapped; None if it is not there."""
    path = folder / f"{name}.npy"
    if not path.exists():
        return None
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or inert(str(error).partition("\n")[0], 100)
        raise InputError(f"{_named(path)} cannot be read ({reason})") from None
    dimensions = 2 if name == "dense" else 1
    if array.dtype.name not in NUMBERS[name] or array.ndim != dimensions or not array.flags.c_contiguous:
        raise InputError(
            f"{_named(path)}: {array.dtype.name} in {array.ndim} dimensions; it must hold "
            f"{' or '.join(NUMBERS[name])} in {dimensions}, row by row"
        )
    return np.asarray(array)


class Shard:
    """A worker's part of the rows of a folder. What it answers depends on its piece and the arguments alone."""

    def __init__(self, piece: Piece) -> None:
        whole = mapped(piece.folder, piece.sparse_columns).features
        if whole.rows != piece.rows:
            raise InputError(f"{_named(piece.folder)}: {whole.rows:,} rows; {piece.rows:,} were there before")
        some = whole.between(piece.first, piece.end)
        self.features = Part(
            some.rows, some.dense, some.starts, some.indices, some.values, some.sparse_columns, among=piece.rows
        )
        self._labels: tuple[int, _core.Labels] | None = None

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of the features gives for these arguments; Targets stand for labels. "process": the number of
        the process."""
        if method == "process":
            return os.getpid()
        found = getattr(self.features, method)
        return (
            found(*(self._known(a) if isinstance(a, Targets) else a for a in arguments)) if callable(found) else found
        )

    def _known(self, targets: Targets) -> _core.Labels:
        if self._labels is None or self._labels[0] != targets.key:
            self._labels = targets.key, self.features.labels(targets.codes, targets.weights, targets.classes)
        return self._labels[1]


@dataclass(frozen=True)
class Own:
    """Stands for an argument that each worker has its own of: the one sent along, or kept, under this key."""

    key: int


def serve(file: int, driver: int) -> None:
    """A local worker: answers what comes through a pipe, until it is closed or the driver is gone.

    First comes a Piece. A call is two messages: (values of its own by key, keys whose values it may forget), and
    (number, method, arguments); the answer is (number, whether it went well, result or one line); 0 is the number of
    the piece, which is answered only if it cannot be had.
    """
    from multiprocessing.connection import Connection

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C ends
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    pipe: Any = Connection(file)
    own: dict[int, Any] = {}
    try:
        well, shard = tried(Shard, pipe.recv())
        if not well:
            pipe.send((0, False, shard))
            return
        while True:
            fresh, done = pipe.recv()
            own.update(fresh)
            for key in done:
                own.pop(key, None)
            number, method, arguments = pipe.recv()
            known = (own[a.key] if isinstance(a, Own) else a for a in arguments)
            answer = (number, *tried(shard.call, method, *known))
            pipe.send_bytes(pickle.dumps(answer, protocol=5))
    except (EOFError, OSError):  # the driver has closed it, or is gone
        return


def serve_each(file: int, driver: int) -> None:
    """A local worker of `Engine.spread`: first comes what makes its work, then one item after the other.

    Of each it sends ("told", what the work tells) as often as it does so, then ("done", what it gives), or ("failed",
    one line).
    """
    from multiprocessing.connection import Connection

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    pipe: Any = Connection(file)
    try:
        well, work = tried(pipe.recv())
        while True:
            item = pipe.recv()
            found = work
            if well:
                well, found = tried(work, item, lambda message: pipe.send(("told", message)))
            pipe.send(("done" if well else "failed", found))
    except (EOFError, OSError):  # the driver has closed it, or is gone
        return


def tried(call: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]:
    """Whether it went well, and the result, or one line that says why not."""
    try:
        return True, call(*arguments)
    except Exception as error:
        return False, line_of(error)


def line_of(error: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(error, LuceError):
        return str(error)
    return f"{type(error).__name__}: {inert(str(error).strip().partition(chr(10))[0], 200)}"


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(BREATH_S)
    os._exit(1)
