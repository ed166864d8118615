"""One encoded image -> pixels of a given size: limits from its header first, then decoded, turned, scaled, filled."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from luce.errors import InputError, LimitError, inert
from luce.reader import foreign
from luce.text_source import mib

if TYPE_CHECKING:
    from PIL.Image import Image

# The largest cameras make 60 to 100 million pixels; decoded, such an image is 300 MB.
MAX_PIXELS = 100_000_000
# A photograph of that many pixels is 20 to 60 MB as JPEG.
MAX_FILE_BYTES = 64 << 20
# Images from here on are decoded one at a time, so that threads do not multiply their memory.
LARGE = 16_000_000
PALE = 240  # of a luma of 255: white ground hides a drawing that has nothing darker

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # no others are tried: fewer doors for hostile files

_large = threading.Lock()
_TURNED = (5, 6, 7, 8)  # orientations of EXIF that swap height and width
_KINDS = (  # what a file may be that cannot be opened: where its mark stands, the mark, what it is
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftypavif", "an AVIF image"),
    (128, b"DICM", "a DICOM image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (8, b"WEBP", "a WEBP image"),
    (0, b"BM", "a BMP image"),
)
_HEAD = 4096  # bytes that tell what a file is
_FIX = "convert it to PNG or JPEG"
_MEND = "replace or remove it"


class ImageError(Exception):
    """Why one image cannot be used, and what to do: both parts of a line that begins with its name."""

    def __init__(self, what: str, fix: str = _MEND, kind: type[InputError] = InputError) -> None:
        super().__init__(f"{what}; {fix}")
        self.what, self.kind = what, kind


class Header(NamedTuple):
    """What an image says of itself, seen upright; grey: that it has no channels for colour."""

    height: int
    width: int
    grey: bool


class Seen(NamedTuple):
    """What was met while an image was decoded: its own size, upright, and what a person may want to know."""

    height: int
    width: int
    colour: bool = False  # some pixel has channels that differ
    frames: bool = False
    transparent: bool = False
    deep: bool = False
    turned: bool = False


def pillow() -> Any:
    """Pillow's Image, ready for FORMATS; raises InputError with the install line where it is missing."""
    try:
        from PIL import Image, TiffImagePlugin, WebPImagePlugin  # noqa: F401  # to name them makes them known
    except ImportError:
        raise InputError("reading image files needs Pillow; install it: pip install 'luce[images]'") from None
    Image.preinit()
    return Image


def header_of(stream: IO[bytes]) -> Header:
    """Reads no more than the header; raises ImageError."""
    with _opened(stream) as image:
        width, height = image.size
        if image.format == "TIFF":  # which Pillow turns by itself, and in later versions gives the size of turned
            tags = image.tag_v2
            turned = tags.get(0x0112) in _TURNED and (tags.get(256), tags.get(257)) == image.size
        else:  # in a PNG, EXIF may stand behind the pixels, which would be decoded to find it
            turned = "exif" in image.info and _orientation(image) in _TURNED
        if turned:
            width, height = height, width
        return Header(height, width, image.mode in ("1", "L", "LA", "La") or _is_deep(image.mode))


def decode(stream: IO[bytes], out: NDArray[np.uint8]) -> Seen:
    """Decodes an image into `out` (height, width, channels), as `lay` says; raises ImageError."""
    with ExitStack() as held:
        with _opened(stream) as image:
            jpeg, orientation = image.format in ("JPEG", "MPO"), 1
            size = image.size
            if jpeg:
                orientation = _orientation(image)
                size = _upright(size, orientation)
                rows, columns = fitted(size[1], size[0], *out.shape[:2])
                # The decoder makes 1/2, 1/4 or 1/8 of a big photograph directly: twice as large as needed, or more.
                image.draft(None, _upright((2 * columns, 2 * rows), orientation))
            if image.width * image.height >= LARGE:
                held.enter_context(_large)
            image.load()
            if not jpeg:  # PNG may say it behind its pixels; TIFF is turned by now
                orientation = 1 if image.format == "TIFF" else _orientation(image)
                size = _upright(image.size, orientation)
            deep = _is_deep(image.mode)
            frames = image.format != "MPO" and _has_frames(image)
            plain, transparent = _plain(image)
        colour = lay(plain, out, orientation, (size[1], size[0]))
    return Seen(size[1], size[0], colour, frames, transparent, deep, orientation > 1)


def fitted(height: int, width: int, most_height: int, most_width: int) -> tuple[int, int]:
    """The largest height and width that fit, in the same proportions (up to rounding, and 1 at least)."""
    if width * most_height >= height * most_width:
        return max(1, (2 * height * most_width + width) // (2 * width)), most_width
    return most_height, max(1, (2 * width * most_height + height) // (2 * height))


def lay(plain: Image, out: NDArray[np.uint8], orientation: int = 1, proportions: tuple[int, int] | None = None) -> bool:
    """Lays an L or RGB image into `out`, in the middle, and tells whether it has colour.

    It is scaled to fit with its proportions kept: smaller by Lanczos, after whole blocks of pixels were averaged where
    it is much larger; larger by bilinear interpolation. What stays free is the median colour of its border.
    """
    height, width, channels = out.shape
    rows, columns = fitted(*(proportions or (plain.height, plain.width)), height, width)
    target = _upright((columns, rows), orientation)
    if plain.size != target:
        smaller = target[0] <= plain.width and target[1] <= plain.height
        kinds = pillow().Resampling
        plain = plain.resize(target, kinds.LANCZOS if smaller else kinds.BILINEAR, reducing_gap=2.0)
    if orientation > 1:
        plain = plain.transpose(_turn(orientation))
    pixels = np.asarray(plain).reshape(rows, columns, -1)
    colour = pixels.shape[2] == 3 and bool(has_colour(pixels[::8, ::8]) or has_colour(pixels))
    # Grey comes last, so that it is the same whether it is asked for or found out when all images are read.
    whole = out if channels == 3 or pixels.shape[2] == 1 else np.empty((height, width, 3), np.uint8)
    if (rows, columns) != (height, width):
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        whole[:] = np.sort(border, axis=0)[(len(border) - 1) // 2]
    top, left = (height - rows) // 2, (width - columns) // 2
    whole[top : top + rows, left : left + columns] = pixels
    if whole is not out:
        out[:] = grey_of(whole)
    return colour


def has_colour(pixels: NDArray[np.uint8]) -> Any:
    """Whether the red, green and blue of any pixel differ, for each image of (..., height, width, 3)."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return ((red != green) | (green != blue)).any(axis=(-2, -1))


def grey_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma of ITU-R BT.601, 0.299 red + 0.587 green + 0.114 blue, rounded; equal channels stay as they are."""
    weights = np.array([19595, 38470, 7471], dtype=np.uint32)  # of 2^16
    luma = (pixels * weights).sum(axis=-1, dtype=np.uint32, keepdims=True)
    rounded: NDArray[np.uint32] = (luma + 0x8000) >> 16
    return rounded.astype(np.uint8)


# ---------------------------------------------------------------------------------------------------- one image


@contextmanager
def _opened(stream: IO[bytes]) -> Iterator[Any]:
    """An image of which the header is read and found within the limits; what Pillow raises becomes ImageError."""
    api = pillow()
    with stream:
        try:
            with api.open(stream, formats=FORMATS) as image:
                width, height = image.size
                if width < 1 or height < 1:
                    raise ImageError(f"has no pixels ({height} x {width})")
                if width * height > MAX_PIXELS:
                    raise _too_large(f"{height:,} x {width:,}")
                yield image
        except ImageError:
            raise
        except MemoryError:
            raise ImageError("does not fit in this machine's memory", "make it smaller") from None
        except api.DecompressionBombError as error:  # Pillow's own limit, which says how many there are
            count = re.search("[0-9]+", str(error))
            raise _too_large(f"{int(count[0]):,}" if count else "very many") from None
        except api.UnidentifiedImageError:
            stream.seek(0)
            raise _unknown(stream.read(_HEAD)) from None
        except Exception as error:  # a broken file makes Pillow's plugins raise whatever its bytes lead them to
            said = inert(" ".join(str(error).split())) or type(error).__name__
            raise ImageError(f"is damaged or cut off ({said})") from None


def _too_large(size: str) -> ImageError:
    return ImageError(f"has {size} pixels, more than MAX_PIXELS ({MAX_PIXELS:,})", "make it smaller", LimitError)


def too_heavy(size: int) -> ImageError:
    """For a file that is not read at all."""
    return ImageError(
        f"has {mib(size)}, more than MAX_FILE_BYTES ({mib(MAX_FILE_BYTES)})", "make it smaller", LimitError
    )


def _unknown(head: bytes) -> ImageError:
    """What a file is that begins so and is no image of FORMATS."""
    if not head:
        return ImageError("is empty")
    found = next((what for at, mark, what in _KINDS if head.startswith(mark, at)), None)
    if found is None and b"<svg" in head.lower():
        found = "an SVG drawing"
    found = found or foreign(head)
    if found is None and _is_text(head):
        return ImageError("is a text, not an image")
    if found is None:
        return ImageError(f"is no image of a kind that is read ({', '.join(FORMATS)})", _FIX)
    if any(found == f"a {kind} image" for kind in FORMATS):
        return ImageError(f"begins like {found}, but is damaged")
    fix = _FIX if found.endswith(("image", "drawing", "document")) else _MEND
    return ImageError(f"is {found}, which is not read", fix)


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")
    lost = len(head) - len(text.encode())  # of a last character that is cut off here
    return lost <= (3 if len(head) == _HEAD else 0) and all(c.isprintable() or c in "\r\n\t\ufeff" for c in text)


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation in _TURNED else size


def _orientation(image: Any) -> int:
    """What EXIF (or XMP) says, 1 to 8; 1 where it says nothing that can be understood."""
    try:
        value = image.getexif().get(0x0112, 1)
        return int(value) if 1 <= int(value) <= 8 else 1
    except Exception:  # as above: any plugin may raise anything over a broken block, and the pixels are sound
        return 1


def _turn(orientation: int) -> Any:
    """Pillow's name for the turn that sets an image of this orientation upright."""
    turns = pillow().Transpose
    return (
        turns.FLIP_LEFT_RIGHT, turns.ROTATE_180, turns.FLIP_TOP_BOTTOM,
        turns.TRANSPOSE, turns.ROTATE_270, turns.TRANSVERSE, turns.ROTATE_90,
    )[orientation - 2]  # fmt: skip


def _has_frames(image: Any) -> bool:
    """Whether more than the first frame or page, which is the one that is read, stands in the file."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a broken later frame
        return True


def _is_deep(mode: str) -> bool:
    """Whether pixels are of 16 or 32 bits."""
    return mode in ("I", "F") or mode.startswith("I;")


def _plain(image: Image) -> tuple[Image, bool]:
    """An image as L or RGB, and whether it was transparent anywhere."""
    if _is_deep(image.mode):
        return pillow().fromarray(_by_range(np.asarray(image))), False
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _over_ground(image)
    if image.mode in ("L", "RGB"):
        return image, False
    return image.convert("L" if image.mode == "1" else "RGB"), False


def _over_ground(image: Image) -> tuple[Image, bool]:
    """Over white, or over black what is too pale to be seen on white."""
    clear = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    alpha = clear.getchannel("A")
    flat = clear.convert(clear.mode.removesuffix("A"))
    if alpha.getextrema() == (255, 255):
        return flat, False
    ground = pillow().new(flat.mode, flat.size, "white")
    ground.paste(flat, mask=alpha)
    if alpha.getextrema()[1] and ground.convert("L").getextrema()[0] >= PALE:
        ground.paste("black", (0, 0, *ground.size))
        ground.paste(flat, mask=alpha)
    return ground, True


def _by_range(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of 16 or 32 bits: the least value becomes 0, the greatest 255, on a straight line; one value alone, 0."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ImageError("has pixels that are not finite numbers")
    out = np.empty(values.shape, np.uint8)
    scale = 255 / (high - low) if high > low else 0.0
    for row, into in zip(values, out, strict=True):  # row by row, so that no whole copy in float64 is made
        into[:] = np.rint((row.astype(np.float64) - low) * scale)
    return out
