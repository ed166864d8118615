"""Files replaced whole or not at all: a temporary file beside the target, flushed, renamed over it."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress

from luce.errors import FileError, inert

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}

# Names of the temporary files that this process is writing now; each holds a random part, so no two saves share one.
_being_written: set[str] = set()


def replace_file(path: str | os.PathLike[str], chunks: Iterable[bytes | memoryview]) -> None:
    """Make `chunks`, one behind the other, the content of a file, whole or not at all.

    The folder must be there. A symbolic link is followed: the file it names is replaced. A replaced file keeps its
    mode, owner and group, or the save is refused; a read-only one is refused.
    Raises FileError (path and reason); unless its line says that the new file is in place, nothing was changed.
    """
    name = possible_name(path)
    try:
        _replace(name, chunks)
    except FileError as fault:
        raise FileError(f"{inert(name, 4096)}: {fault}") from fault.__cause__
    except OSError as error:
        raise FileError(f"{inert(name, 4096)}: not saved, nothing was changed: {reason_of(error)}") from error


def possible_name(path: str | os.PathLike[str]) -> str:
    """A path as text; FileError for one that no file can have."""
    name = os.fsdecode(path)
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise FileError(f"{inert(name, 4096)}: this is not a possible file name")
    return name


def reason_of(error: OSError) -> str:
    """What the system says of a failed call, without the path."""
    return error.strerror or inert(str(error), 4096)


def kind_of(mode: int) -> str:
    """What stands at a path that is no regular file, by its `st_mode`."""
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def _replace(path: str, chunks: Iterable[bytes | memoryview]) -> None:
    target = os.path.realpath(path) if os.path.islink(path) else path
    old = _stat_replaceable(target)
    folder, name = os.path.split(target)
    folder = folder or os.curdir
    # Opened first: a folder that cannot be flushed must be known before anything is changed.
    try:
        folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FileError(f"not saved: the folder cannot be used: {reason_of(error)}") from error
    try:
        remove_stale(folder, name)
        _write_and_rename(folder, name, old, chunks)
        _flush_folder(folder_fd)
    finally:
        # Nothing was written through this descriptor, so its closing has nothing to report.
        with suppress(OSError):
            os.close(folder_fd)


def _stat_replaceable(target: str) -> os.stat_result | None:
    """The status of the file that a save would replace, None if there is none; refuse what must not be replaced."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(old.st_mode):
        raise FileError(f"not saved: this is {kind_of(old.st_mode)}, not a file")
    # A rename needs only the folder's permission; the file's own mark "read-only" is asked for here, root included.
    effective = os.access in os.supports_effective_ids
    if not old.st_mode & 0o222 or not os.access(target, os.W_OK, effective_ids=effective):
        raise FileError("not saved: the file there is read-only; make it writable or choose another name")
    return old


def _write_and_rename(folder: str, name: str, old: os.stat_result | None, chunks: Iterable[bytes | memoryview]) -> None:
    temporary = f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    path = os.path.join(folder, temporary)
    _being_written.add(temporary)
    try:
        _write_temporary(path, old, chunks)
        os.replace(path, os.path.join(folder, name))
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        _being_written.discard(temporary)


def _write_temporary(path: str, old: os.stat_result | None, chunks: Iterable[bytes | memoryview]) -> None:
    # A new file is born with the mode that the kernel makes of the umask (Python can only read the umask by setting
    # it, for all threads), and is hidden at once, while it is empty.
    born = 0o666 if old is None else 0o600
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, born)
    try:
        new = os.fstat(fd)
        os.fchmod(fd, 0o600)
        if old is not None:
            _keep_owner(fd, new, old)
        for chunk in chunks:
            _write_all(fd, memoryview(chunk).cast("B"))
        os.fchmod(fd, stat.S_IMODE((old or new).st_mode) & 0o777)
        os.fsync(fd)
    except BaseException:
        with suppress(OSError):
            os.close(fd)
        raise
    # Some network file systems report a full disk only here.
    os.close(fd)


def _write_all(fd: int, chunk: memoryview) -> None:
    while len(chunk):
        written = os.write(fd, chunk)
        if written == 0:
            raise OSError(errno.EIO, "the disk takes no more bytes")
        chunk = chunk[written:]


def _keep_owner(fd: int, new: os.stat_result, old: os.stat_result) -> None:
    if (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid):
        return
    try:
        os.fchown(fd, old.st_uid, old.st_gid)
    except OSError as error:
        raise FileError("not saved: the file there belongs to another user or group; choose another name") from error


def _flush_folder(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        # EINVAL: this file system has no such flush at all.
        if error.errno != errno.EINVAL:
            raise FileError(
                f"the new file is in place, but the folder could not be flushed ({reason_of(error)}): "
                "after a power cut the file may be the earlier one; save again"
            ) from error


def remove_stale(folder: str, name: str) -> None:
    """Remove what killed saves of this file left; best effort, since a leftover harms nobody."""
    pattern = re.compile(rf"\.{re.escape(name)}\.([1-9][0-9]{{0,8}})\.[0-9a-f]{{8}}\.tmp")
    with suppress(OSError):
        for entry in os.listdir(folder):
            match = pattern.fullmatch(entry)
            if match and entry not in _being_written and not _is_another_live_process(int(match[1])):
                os.unlink(os.path.join(folder, entry))


def _is_another_live_process(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True
