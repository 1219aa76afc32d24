import io

import cv2
import numpy as np
import PIL.Image
import pytest

from tests.factories import encode, gradient
from transforms.read import jpeg

pytest.importorskip("simplejpeg")


def by_pillow(encoded, needed_px):
    image = PIL.Image.open(io.BytesIO(encoded))
    image.draft(None, (needed_px, needed_px))
    return np.asarray(image.convert("RGB"))


def photo(width, height):
    noise = np.random.default_rng(width).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 3), (227, 227), (500, 333), (641, 1285)])
@pytest.mark.parametrize("needed_px", [1000, 100, 60, 33])
def test_pixels_are_pillows(size, needed_px, subsampling):
    encoded = encode(photo(*size), "JPEG", quality=88, subsampling=subsampling)
    header = jpeg.read_header(encoded)
    assert (header.width, header.height) == size
    np.testing.assert_array_equal(jpeg.decode(encoded, header, needed_px), by_pillow(encoded, needed_px))


def test_grey_becomes_three_equal_channels():
    encoded = encode(photo(40, 30)[..., 0], "JPEG")
    np.testing.assert_array_equal(jpeg.decode(encoded, jpeg.read_header(encoded), 100), by_pillow(encoded, 100))


@pytest.mark.parametrize(
    ("needed_px", "scale"), [(1201, 1), (1200, 1), (601, 1), (600, 2), (301, 2), (300, 4), (150, 8), (10, 8)]
)
def test_it_is_reduced_as_far_as_leaves_what_is_needed(needed_px, scale):
    assert jpeg.Header(1600, 1200, 3).reduced(needed_px) == (1600 / scale, 1200 / scale)


def exif(orientation):
    tags = PIL.Image.Exif()
    tags[274] = orientation
    return tags


def test_exif_of_an_upright_image_is_usual():
    assert jpeg.read_header(encode(gradient(), "JPEG", exif=exif(1)))


COLOURS = encode(gradient(64, 48), "JPEG")
FRAME = COLOURS.index(b"\xff\xc0")
XMP = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>"


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\xff\xd8\xff",
        encode(gradient(), "PNG"),
        encode(gradient(), "JPEG", progressive=True),
        encode(gradient(), "JPEG", exif=exif(6)),
        encode(PIL.Image.new("CMYK", (16, 16)), "JPEG"),
        encode(gradient(), "MPO", save_all=True, append_images=[PIL.Image.new("RGB", (8, 8))]),
        COLOURS[:2] + b"\xff\xe1" + (2 + len(XMP)).to_bytes(2) + XMP + COLOURS[2:],
        COLOURS[:FRAME] + COLOURS[FRAME:].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c", 1),
        COLOURS[:FRAME] + b"junk" + COLOURS[FRAME:],
    ],
    ids=["empty", "start", "png", "progressive", "turned", "cmyk", "several", "xmp", "twelve-bits", "junk"],
)
def test_what_is_unusual_is_left_to_pillow(encoded):
    assert jpeg.read_header(encoded) is None


@pytest.mark.parametrize("damaged", [COLOURS[:-2], COLOURS[:-40], COLOURS[:-40] + b"\xff\xd9"])
def test_what_is_damaged_is_left_to_pillow(damaged):
    assert jpeg.decode(damaged, jpeg.read_header(damaged), 100) is None
