"""Locks: a file that one process at a time holds, and that says which; it goes with the process, however that ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from luce.atomic_file import reason_of
from luce.errors import FileError, InputError, inert

try:
    import fcntl
except ImportError:  # where files are not locked, nobody is refused
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(name: str, where: str, busy: str, *, stays: bool = False) -> Iterator[None]:
    """While it lasts, no other process holds the lock of this name. stays: the file does, afterwards.

    Raises InputError if another does, with `where`, its number and `busy`; FileError where nothing can be locked.
    """
    lock = _locked(name, where, busy)
    try:
        yield
    finally:
        if not stays:
            with suppress(OSError):
                os.unlink(name)
        os.close(lock)


def _locked(name: str, where: str, busy: str) -> int:
    where = inert(where, 4096)
    while True:
        try:
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise FileError(f"{where}: cannot be written to: {reason_of(error)}") from error
        if fcntl is None:
            return lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(lock, name):  # or its owner has removed it between our two calls
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
                return lock
            os.close(lock)
        except BlockingIOError:
            owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise InputError(f"{where}: {f'process {inert(owner)}' if owner else 'another process'} {busy}") from None
        except OSError as error:
            os.close(lock)
            raise FileError(f"{inert(name, 4096)}: cannot be locked: {reason_of(error)}") from error


def _is_at(lock: int, name: str) -> bool:
    """Whether the open file is still the one of this name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), os.stat(name))
    return False
