"""One image: every mode, orientation and form becomes the pixels that it shows; what is no sound image says why."""

from __future__ import annotations

import io
import sys
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encoded, noise, png_header, refused
from PIL import Image, JpegImagePlugin

import luce.pixels
from luce.errors import InputError, LimitError
from luce.images import read_images
from luce.pixels import fitted, grey_of, lay

RGB, GREY = noise(6, 8), noise(6, 8, 1)
COLOURS = np.array([[255, 0, 0], [0, 128, 0], [10, 20, 30], [200, 200, 200]], np.uint8)
CODES = np.random.default_rng(3).integers(0, 4, (6, 8), dtype=np.uint8)


def pixels_of(data: bytes, **options: object) -> np.ndarray:
    return read_images(data, **options).pixels[0]


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


def palette(transparent: int | None = None) -> bytes:
    image = Image.fromarray(CODES, "P")
    image.putpalette(COLOURS.tobytes())
    return encoded(image, **({} if transparent is None else {"transparency": transparent}))


# --- modes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True})]
)
def test_colour_comes_back_bit_for_bit(form, options):
    assert (pixels_of(encoded(RGB, form, **options)) == RGB).all()


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_grey_comes_back_bit_for_bit(form):
    assert (pixels_of(encoded(GREY, form))[:, :, 0] == GREY).all()


def test_one_bit_is_black_and_white():
    assert (pixels_of(encoded(Image.fromarray(GREY > 127)))[:, :, 0] == np.where(GREY > 127, 255, 0)).all()


def test_a_palette_is_its_colours():
    assert (pixels_of(palette()) == COLOURS[CODES]).all()


@pytest.mark.parametrize("index", [0, 2])
def test_a_transparent_colour_of_a_palette_is_white(index):
    wanted = COLOURS[CODES].copy()
    wanted[np.equal(CODES, index)] = 255
    read = read_images(palette(index))
    assert (read.pixels[0] == wanted).all()
    assert "1 transparent in parts, laid over white (over black where all that is drawn is white)" in read.notes


def test_alpha_lies_over_white():
    alpha = noise(6, 8, 1, seed=9)
    found = pixels_of(encoded(np.dstack([RGB, alpha])))
    assert np.abs(found - over_white(RGB, alpha)).max() <= 1  # Pillow blends in whole numbers
    grey = pixels_of(encoded(np.dstack([GREY, alpha])))
    assert grey.shape[2] == 1
    assert np.abs(grey - over_white(GREY[:, :, None], alpha)).max() <= 1


def test_alpha_that_hides_nothing_changes_nothing():
    read = read_images(encoded(np.dstack([RGB, np.full((6, 8), 255, np.uint8)])))
    assert (read.pixels[0] == RGB).all()
    assert not any("transparent" in note for note in read.notes)


def test_hidden_colours_do_not_bleed_into_what_is_scaled():
    hidden = np.zeros((64, 64, 4), np.uint8)  # black, and wholly transparent
    assert (pixels_of(encoded(hidden), size=(16, 16)) == 255).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_white_drawings_on_nothing_are_seen(mode):
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:6, 3:5] = 200
    white = np.full((8, 8, len(mode) - 1), 255, np.uint8)
    read = read_images(encoded(Image.fromarray(np.dstack([white, alpha]), mode)))
    assert (read.pixels[0].max(axis=2) == alpha).all()
    assert any("over black" in note for note in read.notes)


def test_cmyk_is_red_green_and_blue():
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[:4] = [0, 255, 255, 0]
    ink[4:] = [0, 0, 0, 128]
    found = pixels_of(encoded(Image.fromarray(ink, "CMYK"), "TIFF"))
    assert (found[:4] == [255, 0, 0]).all()
    assert (found[4:] == 127).all()
    photo = pixels_of(encoded(Image.fromarray(ink, "CMYK"), "JPEG", quality=95))
    assert np.abs(photo.astype(int) - found).max() < 12  # what JPEG loses


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PGM"])
def test_16_bits_are_scaled_by_their_range(form):
    deep = (1000 + 3 * np.arange(256).reshape(16, 16)).astype(np.uint16)
    read = read_images(b"P5 16 16 65535\n" + deep.astype(">u2").tobytes() if form == "PGM" else encoded(deep, form))
    assert (read.pixels[0, :, :, 0] == np.arange(256).reshape(16, 16)).all()
    assert any("16 or 32 bits" in note for note in read.notes)


def test_32_bits_and_floats_are_scaled_by_their_range():
    values = np.linspace(-5, 7, 48).reshape(6, 8)
    wanted = np.rint(np.linspace(0, 255, 48)).reshape(6, 8)
    assert np.abs(pixels_of(encoded(values.astype(np.float32), "TIFF"))[:, :, 0] - wanted).max() <= 1
    whole = pixels_of(encoded((values * 1e6).astype(np.int32), "TIFF"))[:, :, 0]
    assert np.abs(whole - wanted).max() <= 1
    assert (pixels_of(encoded(np.full((6, 8), 4000, np.uint16))) == 0).all()


def test_floats_that_are_not_finite_are_refused():
    refused(encoded(np.array([[0, np.nan]], np.float32), "TIFF"), "pixels that are not finite numbers")


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_read_and_said(form):
    frames = [Image.fromarray(np.full((6, 8), value, np.uint8)) for value in (200, 40, 90)]
    options = {"lossless": True} if form == "WEBP" else {}
    read = read_images(encoded(frames[0], form, save_all=True, append_images=frames[1:], **options))
    assert (read.pixels == 200).all()
    assert "1 with several frames or pages, of which the first is read" in read.notes


# --- orientation -----------------------------------------------------------------------------------------------------

# What a camera stored, by the number that it wrote, for the upright picture.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("number", STORED)
def test_exif_orientation_is_followed(form, number):
    upright = np.kron(noise(3, 2), np.ones((16, 16, 1), np.uint8))  # 48 x 32, of flat squares
    exif = Image.Exif()
    exif[0x0112] = number
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    read = read_images(encoded(np.ascontiguousarray(STORED[number](upright)), form, exif=exif, **options))
    assert read.pixels.shape == (1, 48, 32, 3)
    assert np.abs(read.pixels[0].astype(int) - upright).max() <= (8 if form == "JPEG" else 0)
    assert any("turned upright" in note for note in read.notes) == (number > 1 and form != "TIFF")


def test_an_orientation_that_is_none_is_passed_over():
    for value in (0, 9, 77):
        exif = Image.Exif()
        exif[0x0112] = value
        assert (pixels_of(encoded(RGB, exif=exif)) == RGB).all()
    broken = encoded(RGB, "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\0\1")
    assert pixels_of(broken).shape == RGB.shape


# --- scaling ---------------------------------------------------------------------------------------------------------

SIDE = st.integers(1, 300)


@given(SIDE, SIDE, SIDE, SIDE)
def test_an_image_fits_touches_two_sides_and_keeps_its_proportions(height, width, most_height, most_width):
    rows, columns = fitted(height, width, most_height, most_width)
    assert 1 <= rows <= most_height
    assert 1 <= columns <= most_width
    assert rows == most_height or columns == most_width
    scale = min(most_height / height, most_width / width)
    assert abs(rows - max(1, height * scale)) <= 0.5 + 1e-9
    assert abs(columns - max(1, width * scale)) <= 0.5 + 1e-9


def test_an_image_of_the_size_stays_as_it_is():
    assert (pixels_of(encoded(RGB), size=(6, 8)) == RGB).all()


def test_what_stays_free_is_the_median_colour_of_the_border():
    picture = np.full((4, 8, 3), 90, np.uint8)
    picture[1:3, 1:-1] = [255, 0, 0]
    picture[0, :3] = [7, 8, 9]
    picture[3, 5:] = [200, 91, 90]
    found = pixels_of(encoded(picture), size=(9, 8))
    assert (found[2:6] == picture).all()  # in the middle
    assert (found[:2] == 90).all()
    assert (found[6:] == 90).all()
    beside = pixels_of(encoded(picture), size=(4, 11))
    assert (beside[:, 1:9] == picture).all()
    assert (beside[:, [0, 9, 10]] == 90).all()


def test_grey_and_colour_are_filled_alike():
    """The grey of a filled image is the filling of the colours, not that of the greys."""
    picture = noise(3, 9, seed=5)
    colour = pixels_of(encoded(picture), size=(9, 9), channels=3)
    assert (pixels_of(encoded(picture), size=(9, 9), channels=1) == grey_of(colour)).all()


@pytest.mark.parametrize("size", [(3, 4), (2, 3), (13, 17), (60, 80), (1, 1)])
def test_one_colour_stays_one_colour(size):
    flat = np.full((6, 8, 3), [9, 100, 250], np.uint8)
    assert (pixels_of(encoded(flat), size=size) == [9, 100, 250]).all()


def test_scaling_is_lanczos_down_and_bilinear_up():
    picture = Image.fromarray(noise(60, 80))
    down = picture.resize((40, 30), Image.Resampling.LANCZOS, reducing_gap=2.0)
    assert (pixels_of(encoded(picture), size=(30, 40)) == np.asarray(down)).all()
    up = picture.resize((120, 90), Image.Resampling.BILINEAR)
    assert (pixels_of(encoded(picture), size=(90, 120)) == np.asarray(up)).all()


def test_a_fine_grid_far_too_large_becomes_its_mean():
    grid = (np.indices((640, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = pixels_of(encoded(grid), size=(16, 16))
    assert np.abs(found.astype(int) - 127.5).max() <= 2  # single pixels, picked out, would be 0 or 255


def test_a_big_photograph_is_decoded_small(monkeypatch):
    sizes = []
    load = JpegImagePlugin.JpegImageFile.load

    def watched(image):
        sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", watched)
    upright = np.kron(noise(5, 8), np.ones((160, 160, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encoded(np.ascontiguousarray(np.rot90(upright)), "JPEG", exif=exif, quality=95, subsampling=0)
    found = pixels_of(photo, size=(50, 80))
    assert sizes[0] == (100, 160)  # an eighth of 800 x 1280, as stored
    whole = Image.fromarray(upright).resize((80, 50), Image.Resampling.LANCZOS)
    assert np.abs(found.astype(int) - np.asarray(whole)).mean() < 3


def test_grey_is_the_luma_and_leaves_grey_alone():
    ramp = np.arange(256, dtype=np.uint8)
    assert (grey_of(np.stack([ramp] * 3, axis=-1))[:, 0] == ramp).all()
    colours = noise(50, 50)
    luma = colours @ [0.299, 0.587, 0.114]
    assert np.abs(grey_of(colours)[..., 0] - luma).max() <= 0.51  # half, and the rounding of the weights


def test_colour_is_seen_in_a_single_pixel():
    for row, column, channel in ((0, 0, 0), (5, 7, 1), (3, 3, 2), (8, 8, 2)):
        picture = np.full((10, 10, 3), 80, np.uint8)
        assert not lay(Image.fromarray(picture), np.empty((10, 10, 3), np.uint8))
        picture[row, column, channel] = 81
        assert lay(Image.fromarray(picture), np.empty((10, 10, 3), np.uint8))


# --- faults ----------------------------------------------------------------------------------------------------------

WHOLE = {form: encoded(noise(40, 50), form) for form in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")}
WHOLE["packed TIFF"] = encoded(noise(40, 50), "TIFF", compression="tiff_lzw")
WHOLE["progressive JPEG"] = encoded(noise(40, 50), "JPEG", progressive=True)


@pytest.mark.parametrize("form", WHOLE)
def test_an_image_that_is_cut_off_is_refused_wherever_it_ends(form):
    data = WHOLE[form]
    assert pixels_of(data).shape == (40, 50, 3)
    end = len(data) - (60 if form == "GIF" else 40)  # Pillow forgives a lost end of the last block
    for size in (1, 3, 10, 30, 100, len(data) // 2, end):
        refused(data[:size], "images[0]: ")


def test_damage_anywhere_is_an_error_or_an_image():
    """Never another exception, whatever the bytes; the seeds are fixed, so that a failure comes again."""
    rng = np.random.default_rng(1)
    for data in WHOLE.values():
        for _ in range(40):
            broken = bytearray(data)
            for place in rng.integers(0, min(len(data), 400), 3):
                broken[place] = rng.integers(256)
            with suppress(InputError):
                read_images(bytes(broken), threads=1)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "is empty; replace or remove it"),
        (b"no picture here\n", "is a text, not an image"),
        ("그림이 아닙니다".encode() * 400, "is a text, not an image"),
        (
            b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
            "is an SVG drawing, which is not read; conv",
        ),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF document, which is not read; convert it to PNG or JPEG"),
        (b"<!DOCTYPE html><p>not found", "is an HTML page, which is not read; replace or remove it"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "is a HEIC image, which is not read; convert it to PNG or JPEG"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "is an AVIF image"),
        (b"\0" * 128 + b"DICM", "is a DICOM image"),
        (bytes(range(128, 200)), "is no image of a kind that is read (PNG, JPEG, BMP"),
        (b"\x89PNG\r\n\x1a\n", "begins like a PNG image, but is damaged"),
        (b"II*\0", "begins like a TIFF image, but is damaged"),
        (png_header(0, 16), "damaged"),
        (png_header(16, 0), "damaged"),
    ],
)
def test_what_is_no_image_says_what_it_is(write, data, part):
    line = refused(write(data, "photo.png"), part)
    assert line.partition(": ")[0].endswith("photo.png")


def test_an_archive_among_images_is_none():
    refused([b"PK\x03\x04" + b"\0" * 40], "is a zip archive, which is not read; replace or remove it")


@pytest.mark.parametrize("size", [(50_000, 50_000), (10_001, 10_000), (100_000_001, 1)])
def test_too_many_pixels_are_refused_by_the_header(size):
    line = refused(png_header(*size), "more than MAX_PIXELS (100,000,000); make it smaller", kind=LimitError)
    assert f"{size[0] * size[1]:,} pixels" in line or f"{size[1]:,} x {size[0]:,} pixels" in line


def test_hundred_million_pixels_are_let_through_without_a_warning():
    refused(png_header(10_000, 10_000), "damaged or cut off")  # on to the pixels, which are not there


def test_a_file_that_is_too_heavy_is_refused_unread(write, monkeypatch):
    data = encoded(RGB)
    for module in (luce.pixels, luce.image_files):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", len(data))
    read_images(data)
    read_images(write(data, "a.png"))
    said = "more than MAX_FILE_BYTES"
    refused(data + b"\0", said, kind=LimitError)
    refused(write(data + b"\0", "b.png"), said, kind=LimitError)


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    entered = []

    @contextmanager
    def lock():
        entered.append(1)
        yield

    monkeypatch.setattr(luce.pixels, "_large", lock())
    read_images(encoded(RGB))
    assert not entered
    monkeypatch.setattr(luce.pixels, "LARGE", RGB.shape[0] * RGB.shape[1])
    read_images(encoded(RGB))
    assert entered == [1]


def test_other_forms_that_pillow_knows_are_not_tried():
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "TGA")
    refused(stream.getvalue(), "is no image of a kind that is read")


def test_without_pillow_the_install_line_is_named(monkeypatch):
    data = encoded(RGB)
    monkeypatch.setitem(sys.modules, "PIL", None)
    refused(data, "needs Pillow; install it: pip install 'luce[images]'")
    assert read_images(noise(6, 8)[None]).pixels.shape == (1, 6, 8, 3)  # pixels as they are need none
