"""Store: a folder of arrays and rows that memory would not hold, on the disk, removed at the end."""

from __future__ import annotations

import io
import mmap
import os
import shutil
import sys
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from luce.errors import FileError, inert

if TYPE_CHECKING:
    import polars as pl

try:
    import fcntl
except ImportError:  # where files are not locked, what a killed run leaves stays until it is removed by hand
    fcntl = None  # type: ignore[assignment]

PREFIX = "luce-store-"
OWNER = "owner"
BREATH_S = 0.02  # between two looks at what is resident
PIECE = 1 << 24  # bytes that have a checksum together


class Store:
    """A folder of its own in `parent` (by default that of temporary files), which goes with the process at the latest.

    What is written to it has checksums (CRC-32), which are kept in memory, and looked at when it is first read.

    What is mapped from it counts as memory of the process as long as it is resident; `trimmed` bounds that. Raises
    FileError where the disk is full, before anything is written to a map.
    """

    def __init__(self, parent: str | os.PathLike[str] | None = None) -> None:
        where = Path(tempfile.gettempdir() if parent is None else parent)
        _sweep(where)
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where))
            self._owner = open(self.folder / "new", "w")  # noqa: SIM115  # open, and locked, as long as the store is
        except OSError as error:
            raise FileError(f"{inert(str(where))}: nothing can be stored there ({error.strerror})") from None
        self._owner.write(f"{os.getpid()}\n")
        self._owner.flush()
        if fcntl is not None:
            fcntl.flock(self._owner, fcntl.LOCK_EX)
        os.rename(self.folder / "new", self.folder / OWNER)  # nobody meets it without its lock
        self._count = 0
        self._arrays: dict[str, Any] = {}
        self._sums: dict[
            Path, list[tuple[int, int, int]]
        ] = {}  # of a file: where a piece begins, its bytes, its CRC-32
        self._sizes: dict[Path, int] = {}  # of the files that were found as they were written
        self._end = weakref.finalize(self, _remove, str(self.folder), self._owner)

    def close(self) -> None:
        """Removes the folder; what is mapped stays readable until it is let go."""
        self._end()

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """A new array on the disk, in rows, all 0: the file name.npy, in place of one of that name, whose maps stay."""
        size, path = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize, self.folder / f"{name}.npy"
        facts = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, facts)
        begin = len(header.getvalue())
        try:
            path.unlink(missing_ok=True)
            with open(path, "wb") as file:
                file.write(header.getvalue())
                file.flush()
                if size and hasattr(os, "posix_fallocate"):  # a map of a file without room would end the process
                    os.posix_fallocate(file.fileno(), begin, size)
                else:
                    file.truncate(begin + size)
            if not size:
                return np.zeros(shape, dtype)
            found = np.memmap(path, dtype, "r+", offset=begin, shape=shape)
        except OSError as error:
            raise self._full(size, error) from None
        self._arrays[name] = found
        self._sums[path] = [(0, begin, zlib.crc32(header.getvalue()))]
        self._sizes.pop(path, None)
        return found

    def write(self, name: str, first: int, rows: NDArray[Any]) -> None:
        """Rows of an array, from row `first` on, and their checksums."""
        array, path = self._arrays[name], self.folder / f"{name}.npy"
        each = array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
        step = max(PIECE // max(each, 1), 1)
        for i in range(0, len(rows), step):
            piece = np.ascontiguousarray(rows[i : i + step], array.dtype)
            array[first + i : first + i + len(piece)] = piece
            self._sums[path].append((array.offset + (first + i) * each, piece.nbytes, zlib.crc32(piece.data)))

    def check(self) -> None:
        """Raises FileError unless all arrays that were written by `write` are in their files as they were written."""
        for name in self._arrays:
            self.checked(self.folder / f"{name}.npy")

    def checked(self, path: Path) -> Path:
        """A file that is of its size, and was as it was written when it was first asked for; or raises FileError."""
        pieces = self._sums[path]
        size = max(begin + length for begin, length, _ in pieces)
        try:
            if path not in self._sizes:
                self._verify(path, pieces)
                self._sizes[path] = size
            elif os.stat(path).st_size != size:
                raise _damaged(path, 0)
        except OSError as error:
            if isinstance(error, FileError):
                raise
            raise FileError(
                f"{inert(str(path), 4096)}: cannot be read any more ({error.strerror}); run again"
            ) from None
        return path

    def _verify(self, path: Path, pieces: list[tuple[int, int, int]]) -> None:
        room = memoryview(bytearray(max(length for _, length, _ in pieces)))
        with open(path, "rb", buffering=0) as file:
            for begin, length, known in sorted(pieces):
                file.seek(begin)
                found = 0
                while found < length and (got := file.readinto(room[found:length])):
                    found += got
                if found < length or zlib.crc32(room[:length]) != known:
                    raise _damaged(path, begin)

    def part(self, frame: pl.DataFrame) -> Path:
        """Writes rows to a file of their own."""
        import polars as pl

        self._count += 1
        path = self.folder / f"{self._count:06d}.arrow"
        try:
            with open(path, "wb", buffering=0) as file:
                summed = _Summed(file)
                frame.write_ipc(summed, compression="uncompressed")  # type: ignore[call-overload]  # it has what a file has
        except (OSError, pl.exceptions.PolarsError) as error:
            raise self._full(int(frame.estimated_size()), error) from None
        self._sums[path] = summed.pieces
        return path

    def _full(self, size: int, error: Exception) -> FileError:
        reason = getattr(error, "strerror", None) or inert(str(error).partition("\n")[0], 100)
        return FileError(f"{inert(str(self.folder))}: {size:,} bytes could not be stored ({reason}); make room there")

    @contextmanager
    def trimmed(self) -> Iterator[None]:
        """Meanwhile what was read of the store's maps leaves memory again soon after. It stands in files, so nothing is
        lost; what is needed again comes back. Does nothing but on Linux."""
        ends = threading.Event()
        thread = threading.Thread(target=self._trim, args=(ends,), daemon=True, name="luce store")
        if sys.platform.startswith("linux"):
            thread.start()
        try:
            yield
        finally:
            ends.set()
            if thread.is_alive():
                thread.join()

    def _trim(self, ends: threading.Event) -> None:
        while not ends.wait(BREATH_S):
            for array in list(self._arrays.values()):
                array._mmap.madvise(mmap.MADV_DONTNEED)


class _Summed(io.RawIOBase):
    """A file that is written from its begin to its end, with the checksum of each piece."""

    def __init__(self, file: io.FileIO) -> None:
        self.file, self.pieces, self.at = file, list[tuple[int, int, int]](), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for i in range(0, len(view), PIECE):
            piece = view[i : i + PIECE]
            self.pieces.append((self.at, len(piece), zlib.crc32(piece)))
            self.at += len(piece)
            while len(piece):
                piece = piece[self.file.write(piece) :]
        return len(view)


def _damaged(path: Path, begin: int) -> FileError:
    return FileError(
        f"{inert(str(path), 4096)}: is not as it was written (from byte {begin:,} on): its disk is damaged, or another "
        "program has changed it; run again, with another folder for temporary files"
    )


class StoredFrame:
    """Rows in files, part after part, all of the same columns, cast to the types of `schema`, read when they are asked
    for; it has what a table needs of a polars frame."""

    def __init__(self, store: Store, paths: Sequence[Path], heights: Sequence[int], schema: Mapping[str, Any]) -> None:
        self.store, self.paths, self.heights, self.schema = store, tuple(paths), tuple(heights), dict(schema)

    @property
    def columns(self) -> list[str]:
        return list(self.schema)

    @property
    def width(self) -> int:
        return len(self.schema)

    @property
    def height(self) -> int:
        return sum(self.heights)

    def get_column(self, name: str) -> pl.Series:
        """All cells of a column."""
        import polars as pl

        dtype = self.schema[name]
        return pl.concat(
            [pl.read_ipc(self.store.checked(path), columns=[name]).to_series().cast(dtype) for path in self.paths]
        )

    def get_columns(self) -> Iterator[pl.Series]:
        """One after the other."""
        return map(self.get_column, self.columns)

    def drop(self, name: str) -> StoredFrame:
        schema = {known: dtype for known, dtype in self.schema.items() if known != name}
        return StoredFrame(self.store, self.paths, self.heights, schema)

    def parts(self) -> Iterator[pl.DataFrame]:
        import polars as pl

        for path in self.paths:
            yield pl.read_ipc(self.store.checked(path), columns=self.columns).cast(pl.Schema(self.schema))

    def __getitem__(self, rows: NDArray[np.int64]) -> pl.DataFrame:
        """Some rows, ascending."""
        import polars as pl

        found, first = [], 0
        for part in self.parts():
            low, high = np.searchsorted(rows, [first, first + part.height])
            found.append(part[rows[low:high] - first])
            first += part.height
        return pl.concat(found)


def _remove(folder: str, owner: Any) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    owner.close()


def _sweep(parent: Path) -> None:
    """Removes what killed processes left: stores whose owner holds no lock any more."""
    if fcntl is None:
        return
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            with open(folder / OWNER) as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # another's, in use, or just being made
            continue
