"""IDX files, the form of MNIST: a header of big-endian sizes, then one byte a pixel or a label; plain or gzip."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from luce.errors import InputError, LimitError, inert
from luce.reader import MAX_GZIP_RATIO, cannot_read, open_at_once, status_of
from luce.text_source import MAX_INPUT_BYTES, mib

GZIP_START = b"\x1f\x8b"
FLOOR = 32 << 20  # so many bytes may always come out of a gzip file, however small it is

_UNSIGNED = 0x08
_KINDS = {0x09: "signed bytes", 0x0B: "16-bit integers", 0x0C: "32-bit integers", 0x0D: "float32", 0x0E: "float64"}
_PIECE = 16 << 20  # bytes for one read


def is_idx(head: bytes) -> bool:
    """Whether a file that begins so, unpacked, is an IDX file of 1 to 4 dimensions."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in (_UNSIGNED, *_KINDS) and 1 <= head[3] <= 4


def read_idx(name: str) -> NDArray[np.uint8]:
    """The array of a file, in the shape that its header says.

    Raises InputError for what is no whole IDX file of unsigned bytes, LimitError for one larger than MAX_INPUT_BYTES,
    or than MAX_GZIP_RATIO times its gzip file.
    """
    where = inert(name, 4096)
    packed = status_of(name, where).st_size
    try:
        with open(name, "rb", opener=open_at_once) as file:
            zipped = file.peek(2)[:2] == GZIP_START
            if not zipped:
                return _read(file, where, MAX_INPUT_BYTES)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(stream, where, max(MAX_GZIP_RATIO * packed, FLOOR))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{where}: is damaged or cut off: {inert(str(error))}; fetch it again") from None
    except OSError as error:
        raise cannot_read(where, error) from None


def _read(stream: IO[bytes] | gzip.GzipFile, where: str, most: int) -> NDArray[np.uint8]:
    head = stream.read(4)
    if not is_idx(head):
        raise InputError(f"{where}: is no IDX file: it begins with {head.hex() or 'nothing'}, not with 0000 08")
    if head[2] != _UNSIGNED:
        raise InputError(f"{where}: holds {_KINDS[head[2]]}; only IDX files of unsigned bytes (0x08) are read")
    sizes = stream.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise InputError(f"{where}: is cut off in its header; fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    said = " x ".join(f"{size:,}" for size in shape)
    count = math.prod(shape)
    if count > MAX_INPUT_BYTES:
        raise LimitError(f"{where}: its header says {said} bytes, more than MAX_INPUT_BYTES ({mib(MAX_INPUT_BYTES)})")
    if count > most:
        more = f"more than MAX_GZIP_RATIO ({MAX_GZIP_RATIO}) times its gzip file"
        raise LimitError(f"{where}: its header says {said} bytes, {more}; unpack it first")
    data = bytearray()  # grows with what is there, not with what the header claims
    while len(data) < count and (piece := stream.read(min(_PIECE, count - len(data)))):
        data += piece
    if len(data) < count:
        raise InputError(f"{where}: is cut off: its header says {said} bytes, it holds {len(data):,}; fetch it again")
    if stream.read(1):
        raise InputError(f"{where}: goes on behind the {said} bytes that its header says; fetch it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def labels_name(name: str) -> str | None:
    """The file of labels beside a file of images, by the custom of MNIST, packed or not; None if there is none."""
    path = Path(name)
    stem = path.name.removesuffix(".gz")
    wanted = re.sub("idx[34]", "idx1", stem).replace("images", "labels").replace("Images", "Labels")
    if wanted == stem:
        return None
    found = [str(path.with_name(wanted + end)) for end in ("", ".gz")]
    found.sort(key=lambda each: each.endswith(".gz") != path.name.endswith(".gz"))  # the form of the images first
    return next((each for each in found if os.path.isfile(each)), None)


def images_in(folder: str) -> list[str]:
    """The names of files in a folder that are IDX images by their names, such as train-images-idx3-ubyte.gz."""
    found = sorted(name for name in os.listdir(folder) if re.search(r"images?[-._]idx[34]", name, re.IGNORECASE))
    return [name for name in found if not (name.endswith(".gz") and name.removesuffix(".gz") in found)]
