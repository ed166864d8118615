"""Helpers for the tests of images: encoded pictures, folders and archives of them, the error of a read."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from luce.errors import InputError
from luce.images import read_images


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(picture: np.ndarray | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """An array (or an image of Pillow) as the bytes of a file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size, without the pixels for it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files; a name that ends in a slash is an empty folder."""
    for name, data in files.items():
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(data)
    return root


def zip_of(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def pets() -> dict[str, bytes]:
    """Three classes of small pictures, of several forms and sizes."""
    return {
        "cat/a.png": encoded(noise(6, 8, seed=1)),
        "cat/b.jpg": encoded(noise(12, 16, seed=2), "JPEG"),
        "cat/more/c.bmp": encoded(noise(6, 8, seed=3), "BMP"),
        "dog/a.png": encoded(noise(6, 8, 1, seed=4)),
        "dog/b.gif": encoded(noise(9, 5, 1, seed=5), "GIF"),
        "bird/x.webp": encoded(noise(6, 8, seed=6), "WEBP", lossless=True),
        "bird/y.tif": encoded(noise(3, 4, seed=7), "TIFF"),
    }


def refused(source: Any, *parts: str, kind: type[InputError] = InputError, **options: Any) -> str:
    """The one line of the error that a read must raise, in which all the parts stand."""
    with pytest.raises(InputError) as caught:
        read_images(source, **options)
    assert type(caught.value) is kind
    line = str(caught.value)
    assert line.isprintable(), repr(line)
    for part in parts:
        assert part in line, line
    return line
