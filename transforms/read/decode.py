"""Encoded image bytes to upright RGB arrays, at the size the model wants and at the size of a thumbnail."""

import contextlib
import hashlib
import io
import math
import re
import warnings
from collections.abc import Iterator

import cv2
import numpy as np
import PIL.Image

from transforms.read import jpeg, limits
from transforms.records import ErrorType, Image, Sample
from transforms.worker.threads import Budget

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF")
_SEGMENT = re.compile(rb"(\xff[\xc0-\xcf\xda-\xfe])(..)", re.DOTALL)  # of the header of a JPEG: marker, length
_LARGE_PIXELS = 16_000_000  # of an image that is made RGB and smaller strip by strip, not at once
_STRIP_PIXELS = 2_000_000
DECODED_PIXELS = Budget(limits.MAX_PIXELS)  # not yet resized, in this process
CENTER_CROP_FRAC = 224 / 256  # of the shorter side, as in the usual evaluation of ImageNet classifiers
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}

warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata is no reason to warn about every image
PIL.Image.MAX_IMAGE_PIXELS = None  # our own limit gives a reject row instead of a warning

View = tuple[int, int, int, int]


class ImageError(Exception):
    """An image can't be decoded.

    Attributes:
      error_type: the stable reason.
    """

    def __init__(self, error_type: ErrorType, message: str):
        super().__init__(message)
        self.error_type = error_type


def decode(
    sample: Sample,
    pixels: np.ndarray,
    resize: str = "squash",
    preview_px: int | None = None,
    index_in_shard: int = 0,
) -> Image:
    """Decodes an image for a model of square input.

    Args:
      sample: a whole file in one of FORMATS; of an animation, the first frame is taken.
      pixels: (side, side, 3) uint8, contiguous: what the model sees of the image is put here, RGB.
      resize: "squash" fits the whole image into the square, "center_crop" the central square of it.
      preview_px: the longest side of the preview; None makes none. Images are never enlarged for it.
      index_in_shard: kept in the image.

    Raises:
      ImageError: the bytes are no such image, or one of more than `limits.MAX_PIXELS`.
    """
    if not sample.encoded:
        raise ImageError(ErrorType.EMPTY, "the image has no bytes")
    side_px = len(pixels)
    with _upright(sample.encoded, max(side_px, preview_px or 0)) as (original, width, height):
        view = model_view(width, height, resize)
        resize_view(original, view, width, height, side_px, side_px, pixels)
        preview = None
        if preview_px:
            scale = min(1.0, preview_px / max(width, height))
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            whole = (0, 0, width, height)
            same = (view, side_px, side_px) == (whole, *size)
            preview = pixels if same else resize_view(original, whole, width, height, *size)
    sha256 = hashlib.sha256(sample.encoded).hexdigest()
    about = (sample.image_id, sample.uri, index_in_shard, sample.label)
    return Image(*about, width, height, sha256, view, preview)


@contextlib.contextmanager
def _upright(encoded: bytes, needed_px: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Gives an upright RGB array, perhaps reduced but not below twice the needed size, and the original's size.

    Until it is done with, its pixels are taken from DECODED_PIXELS.
    """
    with _image_errors():
        usual = jpeg.read_header(encoded)
    if usual:
        _check_cost(usual.width, usual.height, encoded.count(jpeg.SCAN_MARKER))
        with DECODED_PIXELS.held(math.prod(usual.reduced(2 * needed_px))):
            usual_pixels = jpeg.decode(encoded, usual, 2 * needed_px)
            if usual_pixels is not None:
                yield usual_pixels, usual.width, usual.height
                return
    with _image_errors():  # Pillow decides what becomes of anything else
        image = PIL.Image.open(io.BytesIO(encoded), formats=FORMATS)
        width, height = image.size
        is_jpeg = image.format in ("JPEG", "MPO")
        _check_cost(width, height, encoded.count(jpeg.SCAN_MARKER) if is_jpeg else 1, image.format)
        # JPEG decodes at 1/2, 1/4 or 1/8 at a fraction of the cost
        image.draft(None, (2 * needed_px, 2 * needed_px))
        # ... but where it comes in several scans, libjpeg holds the coefficients of all pixels, whatever the size
        num_pixels = width * height if is_jpeg and _has_several_scans(image, encoded) else image.width * image.height
    with DECODED_PIXELS.held(num_pixels):
        with _image_errors():
            orientation, rgb = _load(image, 2 * needed_px)
            pixels = np.asarray(rgb)
        yield (pixels, height, width) if orientation >= 5 else (pixels, width, height)


@contextlib.contextmanager
def _image_errors() -> Iterator[None]:
    """Raises ImageError for whatever a decoder raises on bytes that a stranger wrote."""
    try:
        yield
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageError(ErrorType.UNKNOWN_FORMAT, f"not an image in one of {', '.join(FORMATS)}") from None
    except Exception as error:
        truncated = isinstance(error, EOFError) or "truncated" in str(error)
        error_type = ErrorType.TRUNCATED if truncated else ErrorType.CORRUPT
        raise ImageError(error_type, f"{type(error).__name__}: {error}") from error


def _has_several_scans(image: PIL.Image.Image, encoded: bytes) -> bool:
    """Tells whether a JPEG is progressive, or its first scan lacks a component or is not where it should be."""
    if "progressive" in image.info:
        return True
    at = 2
    while segment := _SEGMENT.match(encoded, at):
        if segment[1] == jpeg.SCAN_MARKER:
            return encoded[segment.end()] < len(image.getbands())
        at += 2 + int.from_bytes(segment[2])
    return True


def _check_cost(width: int, height: int, scans: int, format: str | None = None) -> None:
    limit = limits.MAX_PIXELS_OF.get(format or "", limits.MAX_PIXELS)
    if width * height > limit:
        of_format = f" of {format}" if limit < limits.MAX_PIXELS else ""
        raise ImageError(ErrorType.TOO_MANY_PIXELS, f"{width}x{height} pixels{of_format}, at most {limit} are decoded")
    if scans * width * height > limits.MAX_SCANNED_PIXELS:
        raise ImageError(
            ErrorType.TOO_MANY_PIXELS,
            f"{scans} scans of {width}x{height} pixels, at most {limits.MAX_SCANNED_PIXELS} are decoded",
        )


def _load(image: PIL.Image.Image, enough_px: int) -> tuple[int, PIL.Image.Image]:
    """Decodes; returns the orientation that the image had, and its upright RGB version, reduced if it is large."""
    image.load()  # before the EXIF is looked at: for a PNG that would load too, and hide what is wrong with it
    orientation = _orientation(image)
    rgb = _to_reduced_rgb(image, enough_px) if image.width * image.height > _LARGE_PIXELS else _to_rgb(image)
    return orientation, rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def _orientation(image: PIL.Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        return orientation if orientation in _UPRIGHT else 1
    except Exception:  # broken EXIF does not make a broken picture
        return 1


def _to_reduced_rgb(image: PIL.Image.Image, enough_px: int) -> PIL.Image.Image:
    """Converts any mode and reduces by whole numbers, no further than to `enough_px`; holds one strip besides both."""
    reduce_x, reduce_y = (max(1, side // enough_px) for side in image.size)
    rows = reduce_y * max(1, _STRIP_PIXELS // (image.width * reduce_y))
    reduced = PIL.Image.new("RGB", (-(-image.width // reduce_x), -(-image.height // reduce_y)))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        reduced.paste(_to_rgb(strip).reduce((reduce_x, reduce_y)), (0, top // reduce_y))
    return reduced


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Converts any mode: 16-bit values lose their low byte, transparency lies over white."""
    if image.mode.startswith("I"):
        image = PIL.Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image)
    return image.convert("RGB")


def model_view(width: int, height: int, resize: str) -> View:
    """Returns the part of an image that a model sees, as a box in its pixels; `resize` is that of `decode`."""
    if resize == "squash":
        return 0, 0, width, height
    side = max(1, round(CENTER_CROP_FRAC * min(width, height)))
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def resize_view(
    image: np.ndarray,
    view: View,
    width: int,
    height: int,
    new_width: int,
    new_height: int,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Resizes a part of an image, half-pixel centred: by area when it shrinks, else bilinear.

    Args:
      image: (h, w, 3) uint8, perhaps a reduced version of the original.
      view: the part, in pixels of the original.
      width, height: of the original.
      new_width, new_height: of the result.
      out: (new_height, new_width, 3) uint8, contiguous: where the result is put; None makes a new array.
    """
    reduced_height, reduced_width = image.shape[:2]
    x0, x1 = (round(x * reduced_width / width) for x in view[::2])
    y0, y1 = (round(y * reduced_height / height) for y in view[1::2])
    part = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    shrinks = part.shape[0] >= new_height and part.shape[1] >= new_width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(part, (new_width, new_height), dst=out, interpolation=interpolation)
