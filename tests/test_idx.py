"""IDX files: any array of bytes comes back, its labels are found beside it, and a file that is not whole is refused."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import noise, refused

import luce.idx
from luce.errors import LimitError
from luce.idx import read_idx
from luce.images import read_images


def idx_of(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def oracle(data: bytes) -> list[int]:
    """The bytes of the array, by the description of the form alone."""
    assert data[:3] == b"\0\0\x08"
    start = 4 + 4 * data[3]
    count = int(np.prod(struct.unpack(f">{data[3]}I", data[4:start])))
    assert len(data) == start + count
    return list(data[start:])


PIXELS = np.stack([noise(4, 5, 1, seed) for seed in range(7)])
LABELS = np.array([5, 0, 4, 1, 9, 2, 250], np.uint8)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (7, 4, 5), (2, 3, 4, 3)])
@pytest.mark.parametrize("zipped", [False, True])
def test_an_array_comes_back(write, shape, zipped):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = idx_of(array)
    found = read_idx(str(write(gzip.compress(data) if zipped else data, "a")))
    assert found.shape == shape
    assert found.ravel().tolist() == oracle(data) == array.ravel().tolist()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("emnist-images-idx3-ubyte.gz", "emnist-labels-idx1-ubyte"),
    ],
)
def test_labels_are_found_beside_the_images(write, images, labels):
    path = write(gzip.compress(idx_of(PIXELS)) if images.endswith("gz") else idx_of(PIXELS), images)
    write(gzip.compress(idx_of(LABELS)) if labels.endswith("gz") else idx_of(LABELS), labels)
    read = read_images(path)
    assert read.pixels.shape == (7, 4, 5, 1)
    assert read.pixels.ravel().tolist() == oracle(idx_of(PIXELS))
    assert read.labels.dtype == np.int64
    assert read.labels.tolist() == LABELS.tolist()
    assert read.names[6] == f"{path}[6]"


def test_the_form_of_the_images_is_the_first_choice_for_the_labels(write):
    path = write(gzip.compress(idx_of(PIXELS)), "x-images-idx3-ubyte.gz")
    write(idx_of(LABELS[:2]), "x-labels-idx1-ubyte")
    write(gzip.compress(idx_of(LABELS)), "x-labels-idx1-ubyte.gz")
    assert read_images(path).labels.tolist() == LABELS.tolist()


def test_images_without_a_file_of_labels_have_none(write):
    read = read_images(write(idx_of(PIXELS), "x-images-idx3-ubyte"))
    assert read.labels is None
    assert "no file of labels" in read.notes[0]


def test_rank_4_has_channels(write):
    array = np.stack([noise(4, 5, 3, seed) for seed in range(3)])
    assert (read_images(write(idx_of(array), "c.idx4")).pixels == array).all()


def test_a_folder_reads_its_train_pair(write, tmp_path):
    for part, count in (("t10k", 2), ("train", 7)):
        write(gzip.compress(idx_of(PIXELS[:count])), f"{part}-images-idx3-ubyte.gz")
        write(gzip.compress(idx_of(LABELS[:count])), f"{part}-labels-idx1-ubyte.gz")
    read = read_images(tmp_path)
    assert len(read.pixels) == 7
    assert "train-images-idx3-ubyte.gz is read, not t10k-images-idx3-ubyte.gz" in read.notes
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    assert len(read_images(tmp_path).pixels) == 2
    write(idx_of(PIXELS), "other-images-idx3-ubyte")
    refused(tmp_path, "several files of images", "name one")


def test_counts_that_differ_are_refused(write):
    path = write(idx_of(PIXELS), "train-images-idx3-ubyte")
    write(idx_of(LABELS[:6]), "train-labels-idx1-ubyte")
    refused(path, "holds 7 images, but", "6 labels", "not of one set")


def test_labels_may_be_named(write):
    path = write(idx_of(PIXELS), "x.idx")
    assert read_images(path, labels=write(idx_of(LABELS), "y.idx")).labels.tolist() == LABELS.tolist()
    refused(path, "2 labels for 7 images", labels=write(idx_of(LABELS[:2]), "z.idx"))
    refused(path, "holds no list of labels but 3 dimensions", labels=path)


def test_a_file_of_labels_is_no_images(write):
    refused(write(idx_of(LABELS), "train-labels-idx1-ubyte"), "holds labels, not images")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (idx_of(PIXELS)[:-1], "is cut off: its header says 7 x 4 x 5 bytes, it holds 139"),
        (idx_of(PIXELS)[:13], "is cut off in its header"),
        (idx_of(PIXELS) + b"\0", "goes on behind the 7 x 4 x 5 bytes"),
        (b"\0\0\x0d\3" + idx_of(PIXELS)[4:], "holds float32"),
        (idx_of(PIXELS[:0]), "holds no pixels"),
        (idx_of(PIXELS[0]), "has the shape 4 x 5"),
        (gzip.compress(idx_of(PIXELS), mtime=0)[:-9], "is damaged or cut off"),
        (gzip.compress(idx_of(PIXELS), mtime=0)[:20] + b"\xff" * 40, "is damaged or cut off"),
        (gzip.compress(b"plain text", mtime=0), "neither a tar archive nor an IDX file"),
        (b"\0\0\x08\3" + b"\xff" * 12, "more than MAX_INPUT_BYTES"),
    ],
)
def test_what_is_no_whole_file_is_refused(write, data, part):
    refused(write(data, "x-images-idx3-ubyte"), part, kind=LimitError if "MAX" in part else luce.idx.InputError)


def test_a_wrong_checksum_of_gzip_is_seen(write):
    data = bytearray(gzip.compress(idx_of(PIXELS)))
    data[-8] ^= 1
    refused(write(bytes(data), "x"), "is damaged or cut off", "CRC")


def test_a_small_gzip_file_does_not_become_a_huge_array(write, monkeypatch):
    path = write(gzip.compress(idx_of(np.zeros((1000, 100, 10), np.uint8))), "x")
    assert len(read_images(path).pixels) == 1000
    monkeypatch.setattr(luce.idx, "FLOOR", 1000)
    refused(path, "more than MAX_GZIP_RATIO (250) times", "unpack it first", kind=LimitError)


def test_mnist_is_read_whole(shared_data: Path):
    read = read_images(shared_data / "images" / "mnist")
    assert read.pixels.shape == (60_000, 28, 28, 1)
    assert read.labels[:5].tolist() == [5, 0, 4, 1, 9]
    head = bytes.fromhex("00000803" + "0000ea60" + "0000001c" * 2)
    digest = hashlib.md5(head + read.pixels.tobytes(), usedforsecurity=False).hexdigest()
    assert digest == "6bbc9ace898e44ae57da46a324031adb"  # the sum that is commonly quoted
