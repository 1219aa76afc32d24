import contextlib

import cv2
import numpy as np
import PIL.Image
import pytest

from tests.factories import encode, gradient, jpeg
from transforms.read import decode as images
from transforms.read import limits
from transforms.read.decode import ImageError
from transforms.records import ErrorType, Sample
from transforms.worker.threads import Budget


def decode(encoded, side_px, resize="squash", preview_px=None):
    return pixels_and_image(encoded, side_px, resize, preview_px)[1]


def pixels_and_image(encoded, side_px, resize="squash", preview_px=None):
    pixels = np.zeros((side_px, side_px, 3), np.uint8)
    return pixels, images.decode(Sample("", "", encoded), pixels, resize, preview_px)


def left_to_right():
    """A 3x2 image of six colours, which no orientation leaves as it is."""
    return np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [255, 255, 0]]], np.uint8)


def preview_of(encoded, width, height):
    decoded = decode(encoded, 8, preview_px=max(width, height))
    assert (decoded.width, decoded.height) == (width, height)
    return decoded.preview


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "WEBP", "AVIF", "JPEG"])
def test_every_format_decodes(format):
    options = {"lossless": True} if format == "WEBP" else {"quality": 100} if format in ("JPEG", "AVIF") else {}
    image = gradient(48, 32)
    preview = preview_of(encode(image, format, **options), 48, 32)
    tolerance = 0 if format in ("PNG", "BMP", "WEBP") else 30  # a GIF has 256 colours, JPEG and AVIF lose some
    assert np.abs(preview.astype(int) - image).max() <= tolerance


def test_grey_becomes_three_equal_channels():
    grey = gradient(20, 10)[..., 0]
    preview = preview_of(encode(grey), 20, 10)
    np.testing.assert_array_equal(preview, np.repeat(grey[..., None], 3, axis=2))


def test_one_bit_is_black_and_white():
    bits = PIL.Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert preview_of(encode(bits), 2, 1).tolist() == [[[0] * 3, [255] * 3]]


def test_sixteen_bits_keep_their_high_byte():
    values = np.array([[0, 255, 256, 65535, 0x1234]], np.uint16)
    preview = preview_of(encode(values), 5, 1)
    assert preview[0, :, 0].tolist() == [0, 0, 1, 255, 0x12]


def test_transparency_lies_over_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200  # red of 200 ...
    rgba[0, :, 3] = [255, 0, 51]  # ... opaque, invisible, and a fifth: 200 / 5 + 255 * 4 / 5 = 244, 0 + 204
    preview = preview_of(encode(rgba), 3, 1)
    assert preview[0].tolist() == [[200, 0, 0], [255, 255, 255], [244, 204, 204]]


def test_grey_with_alpha_lies_over_white():
    grey_alpha = PIL.Image.merge("LA", [PIL.Image.new("L", (2, 1), 10), PIL.Image.new("L", (2, 1), 0)])
    assert preview_of(encode(grey_alpha), 2, 1).tolist() == [[[255] * 3] * 2]


def test_palette_with_transparent_colour():
    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert preview_of(encode(palette), 2, 1).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert preview_of(encode(palette, transparency=1), 2, 1).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_cmyk_jpeg_becomes_rgb():
    red = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    preview = preview_of(encode(red, "JPEG", quality=100), 16, 16)
    assert np.abs(preview.astype(int) - (255, 0, 0)).max() < 8


def test_animation_gives_its_first_frame():
    frames = [PIL.Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert preview_of(encoded, 4, 4)[0, 0].tolist() == [255, 0, 0]


# How the stored rows and columns lie when the picture is seen upright, from the EXIF standard (tag 274): 0th row and
# 0th column are 1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, 6 right top, 7 right bottom,
# 8 left bottom.
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.swapaxes(0, 1)),
        (6, lambda stored: stored.swapaxes(0, 1)[:, ::-1]),
        (7, lambda stored: stored.swapaxes(0, 1)[::-1, ::-1]),
        (8, lambda stored: stored.swapaxes(0, 1)[::-1]),
    ],
)
def test_exif_orientation_is_undone(orientation, upright):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    expected = upright(left_to_right())
    height, width = expected.shape[:2]
    decoded = decode(encode(left_to_right(), exif=exif), 6, preview_px=3)
    assert (decoded.width, decoded.height, decoded.view) == (width, height, (0, 0, width, height))
    np.testing.assert_array_equal(decoded.preview, expected)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_is_upright(orientation):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    assert decode(encode(left_to_right(), exif=exif), 6).width == 3


def test_broken_exif_does_not_break_the_picture():
    encoded = encode(gradient(16, 8), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 20)
    assert decode(encoded, 8).width == 16


def test_squash_shows_the_whole_image():
    # 4x2 halves to 2x1 by area, then the square of 2x2 has the left half on the left
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 100
    pixels, decoded = pixels_and_image(encode(image), 2, "squash")
    assert decoded.view == (0, 0, 4, 2)
    assert pixels[..., 0].tolist() == [[0, 100], [0, 100]]


@pytest.mark.parametrize(
    ("width", "height", "view"),
    [
        (256, 256, (16, 16, 240, 240)),  # 224 of 256, 16 on each side
        (512, 256, (144, 16, 368, 240)),  # (512 - 224) / 2 = 144
        (256, 300, (16, 38, 240, 262)),  # (300 - 224) / 2 = 38
        (1, 1, (0, 0, 1, 1)),
    ],
)
def test_center_crop_takes_seven_eighths_of_the_shorter_side(width, height, view):
    assert decode(encode(gradient(width, height)), 224, "center_crop").view == view


def test_center_crop_pixels_are_those_of_the_view():
    image = gradient(256, 300)
    pixels, decoded = pixels_and_image(encode(image), 224, "center_crop")
    x0, y0, x1, y1 = decoded.view
    np.testing.assert_array_equal(pixels, image[y0:y1, x0:x1])  # 224 to 224: nothing is resized


def test_draft_mode_stays_close_to_the_full_decode():
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), (1600, 1200))
    encoded = encode(smooth, "JPEG", quality=92)
    pixels, decoded = pixels_and_image(encoded, 64)
    full = cv2.resize(smooth, (64, 64), interpolation=cv2.INTER_AREA)
    assert (decoded.width, decoded.height) == (1600, 1200)
    assert np.abs(pixels.astype(int) - full).mean() < 0.5


def test_preview_keeps_the_aspect_and_never_enlarges():
    assert decode(encode(gradient(200, 50)), 8, preview_px=100).preview.shape == (25, 100, 3)
    assert decode(encode(gradient(200, 50)), 8, preview_px=400).preview.shape == (50, 200, 3)
    assert decode(encode(gradient(200, 1)), 8, preview_px=10).preview.shape == (1, 10, 3)
    assert decode(encode(gradient(200, 50)), 8).preview is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 224), (225, 223)])
@pytest.mark.parametrize("resize", ["squash", "center_crop"])
def test_any_shape_gives_the_models_input(shape, resize):
    pixels, _ = pixels_and_image(encode(gradient(*shape)), 32, resize)
    assert (pixels[..., 2] > 100).all()  # blue is half everywhere


def test_resize_to_half_averages_by_area():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 4
    small = images.resize_view(image, (0, 0, 2, 2), 2, 2, 1, 1)
    assert small[0, 0].tolist() == [18, 22, 26]  # mean of 0, 12, 24, 36, and each channel 4 more


def failure(encoded):
    with pytest.raises(ImageError) as raised:
        decode(encoded, 8)
    return raised.value.error_type


def test_bombs_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 99)
    assert failure(encode(gradient(10, 10))) == ErrorType.TOO_MANY_PIXELS
    monkeypatch.setattr(limits, "MAX_PIXELS", 100)
    decode(encode(gradient(10, 10)), 8)


def test_what_is_no_image_is_named_as_such():
    assert failure(b"") == ErrorType.EMPTY
    assert failure(b"not an image, but a text called .jpg\n") == ErrorType.UNKNOWN_FORMAT
    assert failure(encode(gradient(), "TIFF")) == ErrorType.UNKNOWN_FORMAT


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_truncated_files_are_refused(format):
    encoded = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), format)
    assert failure(encoded[: len(encoded) // 2]) in (ErrorType.TRUNCATED, ErrorType.CORRUPT)


def test_a_jpeg_cut_in_half_is_called_truncated():
    encoded = jpeg(side_px=200)
    assert failure(encoded[: len(encoded) // 2]) == ErrorType.TRUNCATED


def test_damaged_content_is_corrupt():
    encoded = bytearray(encode(gradient()))
    deflated = encoded.index(b"IDAT") + 4
    encoded[deflated : deflated + 8] = b"\xff" * 8
    assert failure(bytes(encoded)) == ErrorType.CORRUPT


class RecordingBudget(Budget):
    def __init__(self, events):
        super().__init__(limits.MAX_PIXELS)
        self._events = events

    def take(self, amount, timeout_s=None):
        self._events.append(("take", amount))
        return super().take(amount, timeout_s)

    def give(self, amount):
        self._events.append(("give", amount))
        super().give(amount)


@pytest.fixture
def events(monkeypatch):
    """What happens to the budget of pixels, and when an image is resized."""
    found, resize_view = [], images.resize_view

    def resize(*args):
        found.append("resize")
        return resize_view(*args)

    monkeypatch.setattr(images, "DECODED_PIXELS", RecordingBudget(found))
    monkeypatch.setattr(images, "resize_view", resize)
    return found


@pytest.mark.parametrize(
    ("options", "charged"),
    [
        ({}, 200 * 150),  # read at an eighth of its size, but not below twice what is needed
        ({"exif": b"Exif\0\0" + jpeg()}, 200 * 150),  # the scan of a thumbnail is none of the image
        ({"progressive": True}, 1600 * 1200),
    ],
)
def test_a_jpeg_is_charged_for_what_its_decoder_holds_until_it_is_resized(events, options, charged):
    decode(encode(gradient(1600, 1200), "JPEG", **options), 64, preview_px=64)
    assert events == [("take", charged), "resize", "resize", ("give", charged)]


def test_a_jpeg_whose_components_come_in_scans_of_their_own_is_charged_whole(events):
    encoded = bytearray(encode(gradient(1600, 1200), "JPEG"))
    encoded[encoded.index(b"\xff\xda") + 4] = 1  # of three components: its header is wrong now, and so is what follows
    with contextlib.suppress(ImageError):
        decode(bytes(encoded), 64)
    assert events[0] == ("take", 1600 * 1200)
    assert events[-1] == ("give", 1600 * 1200)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
def test_large_images_are_reduced_in_strips_as_at_once(monkeypatch, mode):
    """Half-pixel averages of whole blocks: 400x300 to 100x75, then to 32 pixels as ever."""
    image = PIL.Image.fromarray(gradient(400, 300))
    image = (
        PIL.Image.fromarray(gradient(400, 300)[..., 0].astype(np.uint16) << 8)
        if mode == "I;16"
        else image.convert(mode)
    )
    encoded = encode(image)
    at_once, _ = pixels_and_image(encoded, 32)
    monkeypatch.setattr(images, "_LARGE_PIXELS", 1)
    monkeypatch.setattr(images, "_STRIP_PIXELS", 3000)
    in_strips, image = pixels_and_image(encoded, 32)
    assert (image.width, image.height) == (400, 300)
    assert np.abs(in_strips.astype(int) - at_once).max() <= 4


@pytest.mark.parametrize("format", ["WEBP", "AVIF"])
def test_decoders_that_need_more_memory_take_fewer_pixels(monkeypatch, format):
    monkeypatch.setattr(limits, "MAX_PIXELS_OF", {format: 99})
    assert failure(encode(gradient(10, 10), format)) == ErrorType.TOO_MANY_PIXELS
    assert decode(encode(gradient(10, 10)), 32).width == 10
