"""Where images lie: a folder of classes, a zip or tar archive of one, a file, a column; nothing is unpacked."""

from __future__ import annotations

import gzip
import io
import math
import os
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import PurePath
from typing import IO, Any, NamedTuple

from luce.errors import InputError, LimitError, inert
from luce.idx import FLOOR, GZIP_START, images_in, is_idx
from luce.pixels import MAX_FILE_BYTES, ImageError, too_heavy
from luce.reader import MAX_GZIP_RATIO, cannot_read, foreign, open_at_once, status_of

HELD = 256 << 20  # bytes of images in a tar archive up to which they are held, so that it is gone through only once
_PIECE = 1 << 15  # bytes for one read of an archive
MAX_FILES = 5_000_000  # in an archive; the list of them is held in memory, about 500 bytes each

READ = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
# Images too, but of kinds that are not read: they are refused one by one, as to leave them out would be a loss unsaid.
UNREAD = (".heic", ".heif", ".avif", ".svg", ".psd", ".jp2", ".jxl", ".dcm", ".dng", ".nef", ".cr2", ".cr3", ".arw")
_NO_PART = {"thumbs.db", "desktop.ini", "__macosx"}  # what systems leave behind; and all names that begin with a dot
_TRAIN, _TEST = {"train", "training"}, {"test", "testing", "val", "valid", "validation"}
_SHOWN = 5  # names in one note

Parts = tuple[str, ...]
Opener = Callable[[], IO[bytes]]

IMAGE_NAMES = (
    ".zip", ".tar", ".tar.gz", ".tgz", ".npy", "-ubyte", "-ubyte.gz", ".idx", ".idx.gz", ".png", ".jpg", ".jpeg",
    ".gif", ".bmp", ".tif", ".tiff", ".webp",
)  # fmt: skip


class Found(NamedTuple):
    """One image on the way: its place among the names, what opens it, and the bytes that this holds in memory."""

    place: int
    open: Opener
    held: int = 0


@dataclass(frozen=True)
class Files:
    """Encoded images, sorted by their paths. names: for messages; labels: where folders tell them; notes: for the user;
    walk: each image once, in an order that may be another; it can be walked again."""

    names: list[str]
    labels: list[str] | None
    notes: list[str]
    walk: Callable[[], Iterator[Found]]


def may_be_images(name: str) -> bool:
    """Whether a path can only be images, by its name: a folder, an archive, an IDX file, a picture, an array."""
    return os.path.isdir(name) or name.lower().endswith(IMAGE_NAMES)


def kind_of(name: str) -> str:
    """What a path is by its first bytes: "folder", "idx folder", "idx", "npy", "zip", "tar", or else "image"."""
    where = inert(name, 4096)
    if os.path.isdir(name):
        return "idx folder" if _listed(name, where, images_in) else "folder"
    status_of(name, where)
    try:
        with open(name, "rb", opener=open_at_once) as file:
            head = file.read(512)
            zipped = head.startswith(GZIP_START)
            if zipped:
                file.seek(0)
                head = gzip.GzipFile(fileobj=file).read(512)
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(where, error) from None
    if head.startswith(b"PK\x03\x04") and not zipped:
        return "zip"
    if head[257:262] == b"ustar" or (name.lower().endswith((".tar", ".tar.gz", ".tgz")) and not is_idx(head)):
        return "tar"
    if is_idx(head):
        return "idx"
    if zipped:
        raise InputError(f"{where}: is a gzip file that holds neither a tar archive nor an IDX file; unpack it")
    if head.startswith((b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")):
        raise InputError(f"{where}: is {foreign(head) or 'an archive'} of a kind that is not read; name it unpacked")
    return "npy" if head.startswith(b"\x93NUMPY") else "image"


@contextmanager
def files_at(name: str, kind: str, training: bool) -> Iterator[Files]:
    """The images of a folder, an archive, or of one file. training: one class alone is refused."""
    where = inert(name, 4096)
    if kind == "zip":
        with _zip(name, where) as archive:
            yield _zip_files(archive, name, where, training)
    elif kind == "tar":
        yield _tar_files(name, where, training)
    elif kind == "folder":
        yield _folder_files(name, where, training)
    else:
        yield Files([where], None, [], lambda: iter([Found(0, partial(open_file, name))]))


def files_of(cells: Sequence[object], base: str | os.PathLike[str] | None) -> Files:
    """The images of the cells of a column: paths (seen from `base`), encoded bytes, or records of both ("path" and
    "bytes"), as data sets in Parquet have them."""
    openers = [_cell(cell, base) for cell in cells]
    names = [
        inert(os.fspath(path), 4096) if isinstance(path := _path_in(cell), (str, os.PathLike)) else f"images[{i}]"
        for i, cell in enumerate(cells)
    ]
    return Files(names, None, [], lambda: (Found(i, opener) for i, opener in enumerate(openers)))


def _path_in(cell: object) -> object:
    return cell.get("path") if isinstance(cell, dict) else cell


def _cell(cell: object, base: str | os.PathLike[str] | None) -> Opener:
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return partial(_held, bytes(cell) if len(cell) <= MAX_FILE_BYTES else b"", len(cell))
    if isinstance(cell, (str, os.PathLike)) and os.fspath(cell):
        name = os.fspath(cell)
        if isinstance(name, str) and name.lower().startswith(("http://", "https://", "data:", "s3://")):
            return partial(_refuse, ImageError("is a web address, not a path", "fetch it first"))
        return partial(open_file, os.path.join(base or "", os.fsdecode(name)))
    what = "is missing" if cell is None or cell == "" or cell != cell else f"is of type {type(cell).__name__}"
    return partial(_refuse, ImageError(what, "give a path or the bytes of an image file"))


def _refuse(bad: ImageError) -> IO[bytes]:
    raise bad


def _held(data: bytes, size: int) -> IO[bytes]:
    if size > MAX_FILE_BYTES:
        raise too_heavy(size)
    return io.BytesIO(data)


def open_file(name: str) -> IO[bytes]:
    """A file of images, open; raises ImageError for what is none, or is larger than MAX_FILE_BYTES."""
    if (suffix := PurePath(name).suffix.lower()) in UNREAD:
        raise _unread(suffix)
    try:
        file = open(name, "rb", opener=open_at_once)  # noqa: SIM115  # the caller closes it
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read ({inert(getattr(error, 'strerror', None) or str(error))})") from None
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES:
        return file
    file.close()
    raise too_heavy(status.st_size) if stat.S_ISREG(status.st_mode) else ImageError("is a pipe or a device, not a file")


def _unread(suffix: str) -> ImageError:
    return ImageError(f"is an image of a kind that is not read ({suffix})", "convert it to PNG or JPEG")


def _broken(where: str, error: Exception) -> InputError:
    if isinstance(error, OSError) and not isinstance(error, (gzip.BadGzipFile, tarfile.TarError)):
        return cannot_read(where, error)
    return InputError(f"{where}: is damaged or cut off: {inert(str(error)) or type(error).__name__}; fetch it again")


# ---------------------------------------------------------------------------------------------------- classes


class Layout(NamedTuple):
    """Which of the files are images, by their paths, and the class that the folder of each is named after."""

    kept: list[int]
    labels: list[str] | None
    notes: list[str]


def lay_out(where: str, files: Sequence[Parts], folders: Iterable[Parts], training: bool) -> Layout:
    """Classes are the folders that hold images, at whatever depth below them; no folders means no labels.

    Raises InputError if there is no image, or, in training, one class alone.
    """
    notes: list[str] = []
    usable = [i for i, parts in enumerate(files) if not any(map(_is_left_behind, parts))]
    images = sorted((i for i in usable if _suffix(files[i]) in READ + UNREAD), key=files.__getitem__)
    others = sorted("/".join(files[i]) for i in usable if _suffix(files[i]) not in READ + UNREAD)
    if not images:
        found = f"holds no image, but {len(others):,} other file(s) ({_shown(others)})" if others else "holds no image"
        raise InputError(f"{where}: {found}; images are files named {' '.join(READ)}")
    if others:
        notes.append(f"{len(others):,} file(s) that are no images by their names are left out: {_shown(others)}")
    top, left = _top(images, files)
    if left:
        notes.append(f"the images in {'/'.join(top)} are read, not those in {_shown(left)}")
    below = [i for i in images if files[i][: len(top)] == top]
    in_classes = [i for i in below if len(files[i]) > len(top) + 1]
    if not in_classes:
        return Layout(below, None, notes)
    loose = ["/".join(files[i]) for i in below if len(files[i]) == len(top) + 1]
    if loose:
        notes.append(f"{len(loose):,} image(s) outside the folders of the classes are left out: {_shown(loose)}")
    labels = [files[i][len(top)] for i in in_classes]
    classes = set(labels)
    empty = {parts[len(top)] for parts in folders if len(parts) > len(top) and parts[: len(top)] == top} - classes
    empty = {name for name in empty if not _is_left_behind(name)}
    if empty:
        notes.append(f"{len(empty):,} folder(s) without an image are left out: {_shown(sorted(empty))}")
    if training and len(classes) == 1:
        raise InputError(
            f'{where}: holds the images of one class alone, "{inert(labels[0])}"; put each class in a folder of its own'
        )
    return Layout(in_classes, labels, notes)


def _top(images: Sequence[int], files: Sequence[Parts]) -> tuple[Parts, list[str]]:
    """The folder that holds those of the classes, and what is left out beside it: a folder that stands alone is
    entered, and of the parts of a split the one to train on."""
    top: Parts = ()
    left: list[str] = []
    while True:
        below = [files[i][len(top) :] for i in images if files[i][: len(top)] == top]
        heads = sorted({parts[0] for parts in below if len(parts) > 1})
        kinds = {head.casefold() for head in heads}
        enter = heads[0] if len(heads) == 1 and all(len(parts) > 2 for parts in below) else None
        if kinds & _TRAIN and kinds & _TEST and kinds <= _TRAIN | _TEST:
            enter = next(head for head in heads if head.casefold() in _TRAIN)
            left += ["/".join((*top, head)) for head in heads if head != enter]
        if enter is None:
            return top, left
        top = (*top, enter)


def _is_left_behind(part: str) -> bool:
    return part.startswith(".") or part.casefold() in _NO_PART


def _suffix(parts: Parts) -> str:
    return PurePath(parts[-1]).suffix.lower()


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(inert(name) for name in names[:_SHOWN]) + more


def _parts(name: str) -> Parts:
    """A path as names in NFC, without what leads up or to a root; bytes that are no UTF-8 are read as cp949."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raw = name.encode("utf-8", "surrogateescape")
        name = _strict(raw, "cp949") or raw.decode("utf-8", "backslashreplace")
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", ".", ".."))


def _strict(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


# ---------------------------------------------------------------------------------------------------- folders


def _folder_files(name: str, where: str, training: bool) -> Files:
    paths: list[str] = []
    files: list[Parts] = []
    folders: list[Parts] = []
    _scan(name, where, (), frozenset(), (paths, files, folders))
    layout = lay_out(where, files, folders, training)
    kept = [paths[i] for i in layout.kept]
    names = [inert(path, 4096) for path in kept]
    return Files(
        names, layout.labels, layout.notes, lambda: (Found(i, partial(open_file, p)) for i, p in enumerate(kept))
    )


def _scan(
    folder: str,
    where: str,
    above: Parts,
    entered: frozenset[tuple[int, int]],
    into: tuple[list[str], list[Parts], list[Parts]],
) -> None:
    """All files below a folder, and all folders; links are followed, but into no folder that is being read."""
    status = _listed(folder, where, os.stat)
    if (here := (status.st_dev, status.st_ino)) in entered:
        return
    for entry in _listed(folder, where, _entries):
        if _is_left_behind(entry.name):
            continue
        parts = above + _parts(entry.name.replace("\\", "_"))
        if entry.is_dir():
            into[2].append(parts)
            _scan(entry.path, where, parts, entered | {here}, into)
        else:
            into[0].append(entry.path)
            into[1].append(parts)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _listed(folder: str, where: str, look: Callable[[str], Any]) -> Any:
    try:
        return look(folder)
    except OSError as error:
        raise cannot_read(where if folder == where else inert(folder, 4096), error) from None


# ---------------------------------------------------------------------------------------------------- archives


@contextmanager
def _zip(name: str, where: str) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(name)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, struct.error) as error:
        raise _broken(where, error) from None
    with archive:
        yield archive


def _zip_files(archive: zipfile.ZipFile, name: str, where: str, training: bool) -> Files:
    members: dict[Parts, zipfile.ZipInfo] = {}
    folders: list[Parts] = []
    for info in archive.infolist():
        parts = _parts(_zip_name(info))
        if info.is_dir():
            folders.append(parts)
        elif parts:
            members[parts] = info  # the last of one name counts
            folders.append(parts[:-1])
    _check_count(where, len(members))
    files = list(members)
    layout = lay_out(where, files, folders, training)
    kept = [members[files[i]] for i in layout.kept]
    if sum(info.file_size for info in kept) > max(MAX_GZIP_RATIO * os.path.getsize(name), FLOOR):
        raise _bomb(where)
    return Files(
        [_inside(where, files[i]) for i in layout.kept],
        layout.labels,
        layout.notes,
        lambda: (Found(i, partial(_member, archive, info)) for i, info in enumerate(kept)),
    )


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Names without the mark of UTF-8 are in the writer's own encoding: UTF-8 all the same, or cp949."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    raw = info.filename.encode("cp437")
    return _strict(raw, "utf-8") or _strict(raw, "cp949") or info.filename


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    if (suffix := PurePath(info.filename).suffix.lower()) in UNREAD:
        raise _unread(suffix)
    if info.flag_bits & 1:
        raise ImageError("is encrypted", "unpack the archive with its password")
    if info.file_size > MAX_FILE_BYTES:
        raise too_heavy(info.file_size)
    try:
        return io.BytesIO(archive.read(info))
    except MemoryError:
        raise
    except Exception as error:  # every way of packing has errors of its own
        raise ImageError(f"is damaged in the archive ({inert(str(error)) or type(error).__name__})") from None


def _tar_files(name: str, where: str, training: bool) -> Files:
    passed: list[tuple[int, tarfile.TarInfo, bytes]] = []
    numbers: dict[Parts, int] = {}
    folders: list[Parts] = []
    links = size = 0
    for number, member, data in _members(name, where, most=HELD):
        parts = _parts(member.name)
        if member.isdir():
            folders.append(parts)
        elif not member.isreg():
            links += _suffix(parts or ("",)) in READ
        elif parts:
            numbers[parts] = number  # the last of one name counts
            folders.append(parts[:-1])
            _check_count(where, len(numbers))
            size += member.size if _suffix(parts) in READ else 0
            passed.append((number, member, data))
        if size > HELD:
            passed.clear()
    files = list(numbers)
    layout = lay_out(where, files, folders, training)
    if links:
        layout.notes.append(f"{links:,} link(s) in the archive are left out")
    places = {numbers[files[i]]: place for place, i in enumerate(layout.kept)}

    def walk() -> Iterator[Found]:
        members = passed if size <= HELD else _members(name, where, only=places)
        for number, member, data in members:
            if number in places:
                suffix = PurePath(member.name).suffix.lower()
                opener = partial(_refuse, _unread(suffix)) if suffix in UNREAD else partial(_held, data, member.size)
                yield Found(places[number], opener, len(data))

    return Files([_inside(where, files[i]) for i in layout.kept], layout.labels, layout.notes, walk)


def _members(
    name: str, where: str, *, only: Container[int] | None = None, most: float = math.inf
) -> Iterator[tuple[int, tarfile.TarInfo, bytes]]:
    """The members of an archive one after another, by number, with the bytes of the images that are wanted, as long as
    all of them are no more than `most`."""
    packed = os.path.getsize(name)
    try:
        with open(name, "rb", opener=open_at_once) as file:
            zipped = file.peek(2)[:2] == GZIP_START
            stream: Any = gzip.GzipFile(fileobj=file) if zipped else file
            counted: Any = _Counted(stream, where, max(MAX_GZIP_RATIO * packed, FLOOR) if zipped else packed)
            with tarfile.open(fileobj=counted, mode="r|", bufsize=_PIECE) as archive:
                for number in count():
                    member = archive.next()
                    if member is None:
                        _check_end(archive)
                        break
                    archive.members.clear()  # type: ignore[attr-defined]  # or the list of them would grow
                    data = b""
                    if _is_small_image(member) and (only is None or number in only) and member.size <= most:
                        most -= member.size
                        part = archive.extractfile(member)
                        data = part.read() if part else b""
                    yield number, member, data
            while counted.read(_PIECE):
                pass  # to the end, where gzip has its checksum
    except InputError:
        raise
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise _broken(where, error) from None


def _check_end(archive: Any) -> None:
    """Behind the last member stands a block of zeros; tarfile would pass over an archive that is cut off before it."""
    if archive.fileobj.tell() < archive.offset + tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it ends without the mark of its end")


def _is_small_image(member: tarfile.TarInfo) -> bool:
    return member.isreg() and member.size <= MAX_FILE_BYTES and PurePath(member.name).suffix.lower() in READ


class _Counted:
    """A stream of which no more is read than an honest archive of its size would hold."""

    def __init__(self, stream: IO[bytes], where: str, most: int) -> None:
        self.stream, self.where, self.left = stream, where, most

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise _bomb(self.where)
        return data


def _check_count(where: str, files: int) -> None:
    if files > MAX_FILES:
        raise LimitError(f"{where}: holds more than MAX_FILES ({MAX_FILES:,}) files; split it")


def _bomb(where: str) -> LimitError:
    return LimitError(
        f"{where}: grows more than MAX_GZIP_RATIO ({MAX_GZIP_RATIO}) times; unpack it and name the folder"
    )


def _inside(where: str, parts: Parts) -> str:
    return f"{where}: {inert('/'.join(parts), 4096)}"
