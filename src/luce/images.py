"""Labelled images from folders, archives, IDX files, arrays and columns: pixels of one size, each accounted for."""

from __future__ import annotations

import io
import logging
import os
import statistics
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from luce.arrays import adopt, array_of
from luce.errors import InputError, LimitError, inert
from luce.functional import available_threads
from luce.idx import images_in, labels_name, read_idx
from luce.image_files import Files, Found, files_at, files_of, kind_of
from luce.pixels import Header, ImageError, Seen, decode, fitted, grey_of, has_colour, header_of, lay, pillow
from luce.text_source import MAX_INPUT_BYTES, mib

MAX_SIDE = 128  # of the size that is chosen; larger images are asked for by `size`
COLOUR = 20  # images are in colour if 1 in so many has any

_BLOCK = 16  # images that a thread takes at once
_BLOCK_BYTES = 16 << 20  # and bytes of archives that they hold
_ROWS = 256  # images for one step over arrays

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Images:
    """Images of one size. pixels: uint8 (n, height, width, channels), channels being 1 (grey) or 3 (red, green, blue);
    names: (n,) where each came from, for messages; labels: (n,) strings, integers of an IDX file, or what was given;
    None where nothing tells them; rows: (n,) which image of the source each is, those left out being missing; notes:
    what a person should know."""

    pixels: Pixels
    names: NDArray[np.object_]
    labels: NDArray[Any] | None
    rows: NDArray[np.int64]
    notes: tuple[str, ...]


class Stack(NamedTuple):
    """Images that are pixels already, all of one size (n, height, width, channels), and the labels beside them."""

    where: str
    pixels: Pixels
    labels: NDArray[Any] | None
    notes: list[str]


def read_images(
    source: Any,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    labels: Any = None,
    skip_bad: bool = False,
    base: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> Images:
    """Read images, and what their folders or label files say of them, as pixels of one size.

    source: a folder with a folder for each class, or a .zip, .tar, .tar.gz or .tgz of one (read, never unpacked;
        without class folders: unlabelled); an IDX file (.gz too), with its labels file beside it, or a folder of them
        (its train pair); one image file; a list or column of paths, or of encoded images as bytes; an array or a .npy
        file of pixels (n, height, width) or (n, height, width, channels): uint8, floats in 0..1, or bool.
    size: (height, width). None, for training: the median height and the median width, 128 a side at most, in
        proportion. Each image is scaled to fit, its proportions kept (smaller by Lanczos, after means of whole blocks
        where it is much larger; larger by bilinear interpolation), and laid in the middle; what stays free is the
        median colour of its border.
    channels: 1 or 3. None: 3 if at least 1 in 20 images has any pixel whose channels differ. Grey is BT.601 luma.
    labels: one for each image, or an IDX file of them; they replace what the source says.
    skip_bad: leave out images that cannot be read, counted in the notes, where one would else raise.
    base: the folder that relative paths in a list are seen from. threads: none changes a bit of the result.
    EXIF orientation is followed, transparency laid over white (over black where all that is drawn is white), 16 and 32
    bits scaled from the range of the image to 8, and of several frames or pages the first taken. Colour profiles are
    not applied.

    Raises InputError (one line: which image, what is wrong, what to do) and its child LimitError. Image files need
    Pillow: pip install 'luce[images]'.
    """
    asked = _size(size)
    if channels not in (None, 1, 3):
        raise InputError(
            f"channels is {inert(repr(channels))}: give 1 (grey), 3 (colour) or None to look at the images"
        )
    cores = available_threads(threads)
    try:
        stack, files = _look_at(source, base, training=size is None)
        if stack is not None:
            return _from_stack(stack, asked, channels, labels, cores)
        with files as found, _pillow_is_quiet():
            return _from_files(found, asked, channels, labels, skip_bad, cores)
    except MemoryError:
        raise InputError("the images do not fit in this machine's memory; give a smaller size, or fewer") from None


def _look_at(source: Any, base: Any, training: bool) -> tuple[Stack | None, Any]:
    """Pixels, or else a context that gives Files."""
    if isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(source)
        kind = kind_of(name)
        if kind in ("idx", "idx folder"):
            return _idx(name, folder=kind == "idx folder"), None
        if kind == "npy":
            return _stack_of(_load_npy(name), inert(name, 4096)), None
        return None, files_at(name, kind, training)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return None, nullcontext(files_of([source], None))
    cells = _cells(source)
    if cells is not None:
        if not len(cells):
            raise InputError("there is no image in an empty list; give one or more")
        return None, nullcontext(files_of(cells, base))
    return _stack_of(adopt(source, "images")[0], "images"), None


def _cells(source: Any) -> list[Any] | None:
    """The cells of a list or column of paths or bytes; None for what is an array of numbers."""
    if not isinstance(source, Iterable) or len(getattr(source, "shape", (0,))) != 1:
        return None
    cells = source.to_pylist() if hasattr(source, "to_pylist") else list(source)
    first = next((cell for cell in cells if cell is not None), None)
    told = isinstance(first, (str, os.PathLike, bytes, bytearray, memoryview, dict))
    return cells if told or first is None else None


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    try:
        height, width = (int(side) for side in size if int(side) == side and side >= 1)
    except (TypeError, ValueError):
        said = inert(repr(size))
        raise InputError(
            f"size is {said}: give (height, width), whole numbers from 1 on, or None to choose it"
        ) from None
    return height, width


def _room(images: int, size: tuple[int, int], channels: int) -> Pixels:
    need = images * size[0] * size[1] * channels
    if need > MAX_INPUT_BYTES:
        raise LimitError(
            f"{images:,} images of {_by(size)} would take {mib(need)}, more than MAX_INPUT_BYTES "
            f"({mib(MAX_INPUT_BYTES)}); give a smaller size, or fewer"
        )
    return np.empty((images, *size, channels), np.uint8)


def chosen_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The median height and the median width (the lower of two middle ones), in proportion at most MAX_SIDE a side."""
    height, width = (statistics.median_low(side) for side in zip(*sizes, strict=True))
    largest = max(height, width)
    if largest <= MAX_SIDE:
        return height, width
    return max(1, round(height * MAX_SIDE / largest)), max(1, round(width * MAX_SIDE / largest))


# ---------------------------------------------------------------------------------------------------- encoded images


def _from_files(
    files: Files, size: tuple[int, int] | None, channels: int | None, labels: Any, skip_bad: bool, threads: int
) -> Images:
    pillow()
    n = len(files.names)
    given = _labels(labels, files.labels, n)
    faults: dict[int, ImageError] = {}
    if size is None:
        headers, faults = _headers(files, threads)
        if faults and not skip_bad:
            raise _refused(files, faults)
        size = chosen_size([(header.height, header.width) for header in headers])
        if channels is None and all(header.grey for header in headers):
            channels = 1
    pixels = _room(n, size, channels or 3)
    seen: dict[int, Seen] = {}
    walk = (found for found in files.walk() if found.place not in faults)
    for place, result in _each(walk, lambda found: decode(found.open(), pixels[found.place]), threads):
        if isinstance(result, Seen):
            seen[place] = result
            continue
        faults[place] = result
        if not skip_bad:
            raise _refused(files, faults)
    if not seen:
        raise _refused(files, faults)
    rows = np.array(sorted(seen), np.int64)
    if faults:
        pixels = pixels[rows]
    kept = [seen[row] for row in rows.tolist()]
    if channels is None:
        pixels = _coloured(pixels, sum(each.colour for each in kept))
    notes = [*files.notes, *_notes(kept, pixels), *_skipped(files, faults)]
    names = np.array([files.names[row] for row in rows.tolist()], object)
    return Images(pixels, names, None if given is None else given[rows], rows, tuple(notes))


def _headers(files: Files, threads: int) -> tuple[list[Header], dict[int, ImageError]]:
    headers: list[Header] = []
    faults: dict[int, ImageError] = {}
    for place, result in _each(files.walk(), lambda found: header_of(found.open()), threads):
        if isinstance(result, Header):
            headers.append(result)
        else:
            faults[place] = result
    if not headers:
        raise _refused(files, faults)
    return headers, faults


def _refused(files: Files, faults: dict[int, ImageError]) -> InputError:
    """The first that cannot be read, and how many more are known."""
    place, others = min(faults), len(faults) - 1
    bad = faults[place]
    leave = ", or leave such images out with --skip-bad" if len(faults) < len(files.names) else ""
    more = f" ({others:,} more cannot be read either)" if others else ""
    return bad.kind(f"{files.names[place]}: {bad}{leave}{more}")


def _skipped(files: Files, faults: dict[int, ImageError]) -> Iterator[str]:
    if faults:
        shown = "; ".join(f"{files.names[place]} {faults[place].what}" for place in sorted(faults)[:3])
        more = f"; and {len(faults) - 3:,} more" if len(faults) > 3 else ""
        yield f"{len(faults):,} image(s) that cannot be read are left out: {shown}{more}"


def _each(walk: Iterator[Found], work: Callable[[Found], Any], threads: int) -> Iterator[tuple[int, Any]]:
    """What `work` returns for each image, or the ImageError that it raises, in the order of `walk`; only some blocks of
    images are on the way at a time, so that memory stays bounded."""

    def run(block: list[Found]) -> list[tuple[int, Any]]:
        done: list[tuple[int, Any]] = []
        for found in block:
            if stopped.is_set():
                break
            try:
                done.append((found.place, work(found)))
            except ImageError as bad:
                done.append((found.place, bad.with_traceback(None)))
        return done

    stopped = threading.Event()
    blocks = _blocks(walk)
    if threads == 1:
        for block in blocks:
            yield from run(block)
        return
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[list[tuple[int, Any]]]] = deque()
    try:
        for block in blocks:
            waiting.append(pool.submit(run, block))
            if len(waiting) > 2 * threads:
                yield from _result(waiting.popleft())
        while waiting:
            yield from _result(waiting.popleft())
    finally:
        stopped.set()  # so that Ctrl-C waits for one image a thread, and no longer
        pool.shutdown(cancel_futures=True)


def _result(future: Future[Any]) -> Any:
    """Looks up now and then: a signal that another thread receives does not end a wait, and Ctrl-C would be late."""
    while not wait([future], timeout=0.1).done:
        pass
    return future.result()


def _blocks(walk: Iterator[Found]) -> Iterator[list[Found]]:
    block: list[Found] = []
    held = 0
    for found in walk:
        block.append(found)
        held += found.held
        if len(block) == _BLOCK or held >= _BLOCK_BYTES:
            yield block
            block, held = [], 0
    if block:
        yield block


@contextmanager
def _pillow_is_quiet() -> Iterator[None]:
    """What Pillow warns of is settled here: sizes by MAX_PIXELS, broken blocks of EXIF by leaving them aside; and what
    it logs would go to standard error if nobody listened."""
    log, silent = logging.getLogger("PIL"), logging.NullHandler()
    log.addHandler(silent)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        log.removeHandler(silent)


# ---------------------------------------------------------------------------------------------------- pixels


def _from_stack(stack: Stack, size: tuple[int, int] | None, channels: int | None, labels: Any, threads: int) -> Images:
    n, height, width, depth = stack.pixels.shape
    given = _labels(labels, stack.labels, n)
    size = size or chosen_size([(height, width)])
    if channels is None and depth == 1:
        channels = 1
    if size == (height, width):
        pixels = stack.pixels
        colour = (
            np.concatenate([has_colour(pixels[i : i + _ROWS]) for i in range(0, n, _ROWS)])
            if depth == 3
            else [False] * n
        )
        if channels is not None and channels != depth:
            pixels = _grey(pixels) if channels == 1 else np.repeat(pixels, 3, axis=3)
    else:
        api = pillow()
        pixels = _room(n, size, channels or depth)

        def laid(found: Found) -> bool:
            image = stack.pixels[found.place]
            return lay(api.fromarray(image if depth == 3 else image[:, :, 0]), pixels[found.place])

        walk = (Found(i, io.BytesIO) for i in range(n))
        colour = [result for _, result in _each(walk, laid, threads)]
    if channels is None:
        pixels = _coloured(pixels, int(np.sum(colour)))
    seen = [Seen(height, width, bool(each)) for each in colour]
    names = np.array([f"{stack.where}[{i}]" for i in range(n)], object)
    return Images(pixels, names, given, np.arange(n), (*stack.notes, *_notes(seen, pixels)))


def _coloured(pixels: Pixels, colour: int) -> Pixels:
    return pixels if colour * COLOUR >= len(pixels) and colour else _grey(pixels)


def _grey(pixels: Pixels) -> Pixels:
    out = np.empty((*pixels.shape[:3], 1), np.uint8)
    for i in range(0, len(pixels), _ROWS):
        out[i : i + _ROWS] = grey_of(pixels[i : i + _ROWS])
    return out


def _stack_of(values: NDArray[Any], where: str, labels: NDArray[Any] | None = None) -> Stack:
    """An array of pixels, checked; raises InputError for what is none."""
    shape = values.shape
    said = " x ".join(map(str, shape)) or "a single number"
    if len(shape) == 3 and shape[2] in (1, 3) and shape[1] > 3:
        raise InputError(f"{where}: has the shape {said} of one image; give (n, height, width, channels): images[None]")
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        raise InputError(f"{where}: has channels before rows ({said}); move them: images.transpose(0, 2, 3, 1)")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise InputError(f"{where}: has the shape {said}; give (n, height, width), or with 1 or 3 channels behind")
    if 0 in shape:
        raise InputError(f"{where}: holds no pixels ({said}); give one image or more")
    pixels = _bytes_of(values, where)
    return Stack(where, pixels if pixels.ndim == 4 else pixels[:, :, :, None], labels, [])


def _bytes_of(values: NDArray[Any], where: str) -> Pixels:
    """Pixels as uint8: of floats 1 is 255."""
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if kind not in "biuf":
        raise InputError(f"{where}: holds {values.dtype}, not pixels; give uint8, floats in 0..1, or bool")
    least, most = values.min(), values.max()
    top = 1 if kind in "bf" else 255
    if not (least >= 0 and most <= top):
        remedy = "divide them, or give uint8" if kind == "f" else "give uint8"
        raise InputError(
            f"{where}: holds {values.dtype} from {least} to {most}, where pixels go from 0 to {top}; {remedy}"
        )
    out = np.empty(values.shape, np.uint8)
    for i in range(0, len(values), _ROWS):
        block = values[i : i + _ROWS]
        out[i : i + _ROWS] = np.rint(block.astype(np.float64) * 255) if kind == "f" else block * np.uint8(255 // top)
    return out


def _load_npy(name: str) -> NDArray[Any]:
    try:
        return np.asarray(np.load(name, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        said = inert(" ".join(str(error).split()))
        raise InputError(f"{inert(name, 4096)}: is no whole array of numbers: {said}; save it again") from None


def _idx(name: str, folder: bool) -> Stack:
    """IDX images, or those to train on in a folder, and the labels beside them."""
    notes: list[str] = []
    if folder:
        found = images_in(name)
        train = [each for each in found if each.lower().startswith("train")] or found
        if len(train) > 1:
            raise InputError(f"{inert(name, 4096)}: holds several files of images ({', '.join(train[:5])}); name one")
        if len(found) > 1:
            notes.append(f"{train[0]} is read, not {', '.join(each for each in found if each != train[0])}")
        name = os.path.join(name, train[0])
    where = inert(name, 4096)
    pixels = read_idx(name)
    if pixels.ndim == 1:
        raise InputError(f"{where}: holds labels, not images; name the file of the images")
    labels = None
    if beside := labels_name(name):
        labels = _idx_labels(beside)
        if len(labels) != len(pixels):
            counts = f"{len(pixels):,} images, but {inert(beside, 4096)} {len(labels):,} labels"
            raise InputError(f"{where}: holds {counts}; they are not of one set: fetch both again")
    else:
        notes.append(f"no file of labels lies beside {where}")
    stack = _stack_of(pixels, where, labels)
    return stack._replace(notes=notes)


def _idx_labels(name: str) -> NDArray[np.int64]:
    labels = read_idx(name)
    if labels.ndim != 1:
        raise InputError(
            f"{inert(name, 4096)}: holds no list of labels but {labels.ndim} dimensions; name another file"
        )
    return labels.astype(np.int64)


def _labels(given: Any, own: Collection[Any] | None, images: int) -> NDArray[Any] | None:
    if given is None:
        return None if own is None else np.asarray(own)
    labels = _idx_labels(os.fsdecode(given)) if isinstance(given, (str, os.PathLike)) else array_of(given, "labels")
    if labels.ndim != 1:
        raise InputError(f"labels has {labels.ndim} dimensions; give one label for each image")
    if len(labels) != images:
        raise InputError(f"labels has {len(labels):,} labels for {images:,} images; give one for each, in their order")
    return labels


# ---------------------------------------------------------------------------------------------------- notes


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _notes(seen: Sequence[Seen], pixels: Pixels) -> Iterator[str]:
    """What became of the images: sizes, colour, and what was done to some of them."""
    n, size = len(seen), (pixels.shape[1], pixels.shape[2])
    sizes = Counter((each.height, each.width) for each in seen)
    common, often = sizes.most_common(1)[0]
    of = f"all {_by(common)}" if len(sizes) == 1 else f"of {len(sizes):,} sizes, {often:,} of them {_by(common)}"
    yield f"{n:,} image(s), {of} (height x width)"
    changed = n - sizes[size]
    if changed:
        filled = (
            ", and filled up with the median colour of their borders"
            if any(_is_filled(each, size) for each in sizes)
            else ""
        )
        yield f"{changed:,} of them scaled to fit {_by(size)}, with proportions kept{filled}"
    colour = sum(each.colour for each in seen)
    if colour:
        yield f"{colour:,} in colour; " + ("red, green and blue are kept" if pixels.shape[3] == 3 else "read as grey")
    for field, what in _MET.items():
        if count := sum(getattr(each, field) for each in seen):
            yield f"{count:,} {what}"


_MET = {
    "turned": "turned upright, as EXIF says",
    "frames": "with several frames or pages, of which the first is read",
    "transparent": "transparent in parts, laid over white (over black where all that is drawn is white)",
    "deep": "of 16 or 32 bits, each scaled from its own range to 8",
}


def _is_filled(own: tuple[int, int], size: tuple[int, int]) -> bool:
    return fitted(*own, *size) != size
