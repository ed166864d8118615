"""Images as a whole: one size and number of channels by a stated rule, labels that stay with their images, the same
bits on any number of threads, and notes that tell what was done."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, folder_of, noise, pets, refused, tar_of
from PIL import Image

import luce.images
from luce.errors import InputError, LimitError
from luce.images import chosen_size, read_images
from luce.pixels import Seen, grey_of

GREY, RGB = np.stack([noise(6, 8, 1, s) for s in range(5)]), np.stack([noise(6, 8, 3, s) for s in range(5)])


# --- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [GREY, GREY[..., None], RGB, RGB[:, ::-1], np.asfortranarray(RGB)])
def test_bytes_of_an_array_stay_as_they_are(array):
    read = read_images(array)
    assert read.pixels.dtype == np.uint8
    assert (read.pixels == array.reshape(*array.shape[:3], -1)).all()
    assert read.pixels.flags.c_contiguous
    assert read.names.tolist() == [f"images[{i}]" for i in range(5)]
    assert read.labels is None
    assert read.rows.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_shares_of_255(dtype):
    assert (read_images((RGB / 255).astype(dtype)).pixels == RGB).all()
    assert read_images(np.array([[[0.0, 0.5, 1.0, 0.0019, 0.002]]])).pixels.ravel().tolist() == [0, 128, 255, 0, 1]


def test_bool_is_black_and_white_and_other_whole_numbers_are_taken_in_range():
    assert (read_images(GREY > 100).pixels[..., 0] == np.where(GREY > 100, 255, 0)).all()
    for dtype in (np.int16, np.uint16, np.int64):
        assert (read_images(GREY.astype(dtype)).pixels[..., 0] == GREY).all()
    assert (read_images(GREY.tolist()).pixels[..., 0] == GREY).all()


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (RGB.astype(float), "holds float64 from 0.0 to 255.0, where pixels go from 0 to 1; divide them, or give uint8"),
        (RGB / 255 - 0.1, "holds float64 from -0.1"),
        (np.full((2, 3, 3), np.nan), "from nan to nan"),
        (GREY.astype(np.int32) + 10, "where pixels go from 0 to 255; give uint8"),
        (GREY.astype(complex), "holds complex128, not pixels"),
        (GREY[0], "has the shape 6 x 8; give (n, height, width)"),
        (RGB[0], "has the shape 6 x 8 x 3 of one image; give (n, height, width, channels): images[None]"),
        (
            RGB.transpose(0, 3, 1, 2),
            "has channels before rows (5 x 3 x 6 x 8); move them: images.transpose(0, 2, 3, 1)",
        ),
        (np.zeros((2, 6, 8, 4), np.uint8), "has the shape 2 x 6 x 8 x 4"),
        (GREY[:0], "holds no pixels (0 x 6 x 8)"),
        (np.array(3), "has the shape a single number"),
        (np.array([["a", "b"]]), "has the shape 1 x 2"),
    ],
)
def test_an_array_that_is_no_images_is_refused(array, part):
    refused(array, part)


def test_a_file_of_numpy_is_its_array(tmp_path, write):
    np.save(tmp_path / "a.npy", RGB)
    read = read_images(tmp_path / "a.npy", labels=list("abcab"))
    assert (read.pixels == RGB).all()
    assert read.labels.tolist() == list("abcab")
    assert read.names[4] == f"{tmp_path / 'a.npy'}[4]"
    data = (tmp_path / "a.npy").read_bytes()
    refused(write(data[:-3], "b.npy"), "b.npy: is no whole array of numbers")
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    refused(tmp_path / "c.npy", "c.npy: is no whole array of numbers", "allow_pickle")


# --- size and channels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([(28, 28)], (28, 28)),
        ([(10, 40), (30, 20), (20, 100)], (20, 40)),  # each side by itself
        ([(10, 10), (12, 20)], (10, 10)),  # the lower of two
        ([(128, 128)], (128, 128)),
        ([(129, 129)], (128, 128)),
        ([(480, 640)], (96, 128)),
        ([(1000, 3)], (128, 1)),
        ([(100_000, 1)], (128, 1)),
    ],
)
def test_the_size_is_the_median_of_each_side_within_128(sizes, chosen):
    assert chosen_size(sizes) == chosen


def test_the_size_counts_images_as_they_are_seen():
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(noise(10, 30), exif=exif)
    assert read_images([lying] * 3).pixels.shape == (3, 30, 10, 3)


def test_images_of_several_sizes_become_one():
    read = read_images([encoded(noise(10, 20)), encoded(noise(20, 20)), encoded(noise(20, 40))])
    assert read.pixels.shape == (3, 20, 20, 3)
    assert (read.pixels[1] == noise(20, 20)).all()
    assert read.notes[0] == "3 image(s), of 3 sizes, 1 of them 10 x 20 (height x width)"
    assert read.notes[1].startswith(
        "2 of them scaled to fit 20 x 20, with proportions kept, and filled up with the med"
    )


@pytest.mark.parametrize("colours", [0, 1, 2])
def test_1_in_20_makes_colour(colours):
    grey = np.repeat(noise(6, 8, 1)[:, :, None], 3, axis=2)
    pictures = np.stack([noise(6, 8)] * colours + [grey] * (40 - colours))
    for source in (pictures, [encoded(each) for each in pictures]):
        read = read_images(source)
        assert read.pixels.shape[3] == (3 if colours == 2 else 1)
        assert (read.pixels[-1] == noise(6, 8, 1)[:, :, None]).all()
        said = {0: [], 1: ["1 in colour; read as grey"], 2: ["2 in colour; red, green and blue are kept"]}
        assert list(read.notes[1:]) == said[colours]
    as_grey = read_images([encoded(each) for each in pictures], channels=1)
    assert (as_grey.pixels == read_images(pictures, channels=1).pixels).all()
    if colours < 2:
        assert (as_grey.pixels == read_images(pictures).pixels).all()


def test_grey_and_colour_are_given_where_they_are_asked_for(tmp_path):
    source = folder_of(tmp_path, pets())
    colour, grey = read_images(source, channels=3), read_images(source, channels=1)
    assert (grey.pixels == grey_of(colour.pixels)).all()
    dogs = colour.pixels[colour.labels == "dog"]
    assert (dogs == dogs[..., :1]).all()
    assert (read_images(GREY, channels=3).pixels == GREY[..., None]).all()
    assert (read_images(RGB, channels=1).pixels == grey_of(RGB)).all()


@pytest.mark.parametrize("size", [(6, 8), (3, 4), (20, 15)])
@pytest.mark.parametrize("channels", [1, 3, None])
def test_arrays_and_files_go_the_same_way(size, channels):
    for pictures in (GREY, RGB):
        files = [encoded(each) for each in pictures]
        read = read_images(pictures, size=size, channels=channels)
        assert (read.pixels == read_images(files, size=size, channels=channels).pixels).all()
        assert read.pixels.shape[1:3] == size


def test_an_image_alone_is_what_it_was_among_others(tmp_path):
    """What is predicted is what was trained on, whatever else is read with it."""
    source = folder_of(tmp_path, pets())
    trained = read_images(source)
    for name, wanted in zip(trained.names, trained.pixels, strict=True):
        size, channels = trained.pixels.shape[1:3], trained.pixels.shape[3]
        alone = read_images(name, size=size, channels=channels)
        assert (alone.pixels[0] == wanted).all()
        assert alone.names.tolist() == [name]


@pytest.mark.parametrize("size", [3, (3,), (3, 4, 5), (0, 4), (2.5, 3), "ab", (-1, 2)])
def test_a_size_that_is_none_is_refused(size):
    refused(RGB, "size is ", "give (height, width), whole numbers from 1 on", size=size)


@pytest.mark.parametrize("channels", [0, 2, 4, "grey"])
def test_channels_that_are_none_are_refused(channels):
    refused(RGB, "channels is ", "give 1 (grey), 3 (colour) or None", channels=channels)


def test_more_than_memory_should_hold_is_refused_at_once():
    refused(RGB, "5 images of 100000 x 100000 would take", "give a smaller size", size=(10**5, 10**5), kind=LimitError)


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_that_are_given_replace_those_of_the_source(tmp_path):
    source = folder_of(tmp_path, pets())
    assert read_images(source, labels=range(7)).labels.tolist() == list(range(7))
    refused(source, "labels has 6 labels for 7 images; give one for each, in their order", labels=range(6))
    refused(source, "labels has 2 dimensions", labels=np.zeros((7, 1)))


def test_bad_images_are_left_out_with_their_labels(tmp_path):
    whole = read_images(folder_of(tmp_path, pets()), size=(6, 8), channels=3)
    for name, data in {
        "bird/a.png": b"text",
        "cat/aa.png": b"",
        "dog/z.jpg": encoded(noise(40, 40), "JPEG")[:-400],
    }.items():
        (tmp_path / name).write_bytes(data)
    refused(
        tmp_path, "bird/a.png: is a text", ", or leave such images out with --skip-bad (1 more cannot be read either)"
    )
    for size in ((6, 8), None):
        read = read_images(tmp_path, size=size, channels=3, skip_bad=True)
        assert (read.pixels == whole.pixels).all()
        assert read.labels.tolist() == whole.labels.tolist()
        assert read.names.tolist() == whole.names.tolist()
        assert read.rows.tolist() == [1, 2, 3, 5, 6, 7, 8]
        assert read.notes[-1].startswith("3 image(s) that cannot be read are left out: ")
        for part in (
            "bird/a.png is a text, not an image; ",
            "cat/aa.png is empty; ",
            "dog/z.jpg is damaged or cut off",
        ):
            assert part in read.notes[-1]
    numbered = read_images(tmp_path, labels=range(10), skip_bad=True)
    assert numbered.labels.tolist() == numbered.rows.tolist()


def test_a_fault_that_shows_only_in_decoding_is_named_too(tmp_path):
    folder_of(tmp_path, pets() | {"cat/c.png": encoded(noise(30, 30))[:-400]})
    refused(tmp_path, "cat/c.png: is damaged or cut off (image file is truncated")
    refused(tmp_path, "cat/c.png: is damaged or cut off", size=(6, 8), channels=1)


def test_nothing_but_bad_images_is_an_error_though_they_may_be_skipped():
    refused([b"a", b"b", b"c"], "images[0]: is a text, not an image; replace or remove it (2 more", skip_bad=True)
    refused([b"a", b"b"], "images[0]: is a text", skip_bad=True, size=(4, 4))


def test_many_bad_images_are_counted_and_some_named():
    notes = read_images([encoded(GREY[0])] + [b"x"] * 9, skip_bad=True).notes
    assert notes[-1].startswith("9 image(s) that cannot be read are left out: images[1] is a text")
    assert notes[-1].endswith("; and 6 more")


# --- threads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_same_bits_on_any_number_of_threads(tmp_path, threads):
    running = threading.active_count()
    forms = ["PNG", "JPEG", "GIF", "TIFF", "BMP"]
    data = [encoded(noise(10 + i % 7, 12 + i % 5, 3, i), forms[i % 5]) for i in range(100)]
    for source in (data, tar_of(tmp_path / "a.tgz", {f"{i % 3}/{i}.png": each for i, each in enumerate(data)})):
        one, many = read_images(source, threads=1), read_images(source, threads=threads)
        assert (one.pixels == many.pixels).all()
        assert one.names.tolist() == many.names.tolist()
        assert one.notes == many.notes
    assert (
        read_images(RGB, size=(5, 5), threads=threads).pixels == read_images(RGB, size=(5, 5), threads=1).pixels
    ).all()
    refused([data[0]] * 30 + [b"x"] + [data[0]] * 60 + [b""], "images[30]: is a text", threads=threads, size=(4, 4))
    assert threading.active_count() == running


def test_ctrl_c_waits_for_no_more_than_the_images_in_hand(monkeypatch):
    running, started = threading.active_count(), []

    def slow(*_: object) -> Seen:
        started.append(time.monotonic())
        time.sleep(0.3)
        return Seen(4, 4)

    monkeypatch.setattr(luce.images, "decode", slow)
    timer = threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            read_images([encoded(GREY[0])] * 2000, size=(4, 4), threads=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started[0] < 2.5  # a block of 16 would take 4.8 seconds
    timer.join()
    assert threading.active_count() == running


def test_archives_are_held_a_few_blocks_at_a_time(tmp_path, monkeypatch):
    """However many images there are: what is on the way is bounded."""
    monkeypatch.setattr(luce.image_files, "HELD", 0)
    path = tar_of(tmp_path / "a.tar", {f"{i % 2}/{i}.png": encoded(noise(4, 4)) for i in range(600)})
    given, taken, most = [], [], []

    def watched(stream, out):
        taken.append(1)
        return decode(stream, out)

    def counted(walk):
        for found in walk:
            given.append(1)
            most.append(len(given) - len(taken))
            yield found

    decode, blocks = luce.images.decode, luce.images._blocks
    monkeypatch.setattr(luce.images, "decode", watched)
    monkeypatch.setattr(luce.images, "_blocks", lambda walk: blocks(counted(walk)))
    read_images(path, size=(4, 4), threads=2)
    assert len(taken) == 600
    assert max(most) <= (2 * 2 + 2) * 16


# --- real data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("flowers.tar.gz", (4317, 128, 128, 3), ["daisy", "dandelion", "rose", "sunflower", "tulip"]),
        (
            "brain_tumor_mri.tar.gz",
            (399, 102, 128, 1),
            ["glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"],
        ),
    ],
)
def test_real_archives_are_read_whole(shared_data: Path, name, shape, classes):
    read = read_images(shared_data / "images" / name)
    assert read.pixels.shape == shape
    assert sorted(set(read.labels.tolist())) == classes
    assert len(set(read.names)) == len(read.names) == shape[0]


def test_errors_are_of_this_house(monkeypatch):
    monkeypatch.setattr(luce.images, "lay", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(InputError, match="do not fit in this machine's memory"):
        read_images(RGB, size=(4, 4))


def test_labels_beside_images_are_no_column() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 1), dtype=np.uint8)
    labels = np.array(["a", "b"] * 20)
    read = luce.images.Images(pixels, np.array([str(k) for k in range(40)], dtype=object), labels, np.arange(40), ())
    trained = luce.train(read, list("ab" * 20))
    assert [column.kind for column in trained.classifier.fitted.schema.columns] == ["image"]
