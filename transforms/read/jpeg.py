"""The usual JPEGs, decoded by libjpeg-turbo without Python's lock; whatever is unusual about one is left to Pillow.

Pillow holds the lock while it opens a file and while it copies the pixels, so that more cores would decode no faster.
It contains the same libjpeg-turbo, so the pixels are the same, and without simplejpeg it decodes them all.
"""

import re
from typing import NamedTuple

import numpy as np
import PIL.Image

try:
    import simplejpeg
except ImportError:  # there is no wheel for every platform
    simplejpeg = None

SCAN_MARKER = b"\xff\xda"
_START = b"\xff\xd8"
_SEGMENT = re.compile(rb"\xff([\xc0-\xcf\xda-\xfe])(..)", re.DOTALL)  # of a header: marker, length
_BASELINE_FRAME, _SCAN, _QUANTIZATION, _JFIF, _EXIF, _PROFILE = 0xC0, 0xDA, 0xDB, 0xE0, 0xE1, 0xE2
_OTHERS = frozenset((0xC4, 0xDD, 0xED, 0xEE, 0xFE))  # Huffman tables, restarts, Photoshop's, Adobe's, comments
_TABLE_BYTES = 65  # of quantization, of one byte each
_EXIF_START, _PROFILE_START = b"Exif\0\0", b"ICC_PROFILE\0"
_ORIENTATION_TAG = 0x0112
_SCALES = (8, 4, 2, 1)


class Header(NamedTuple):
    """What is to be known of a JPEG before it is decoded.

    Attributes:
      width, height: in pixels.
      components: 1 for a grey one, 3 for colours.
    """

    width: int
    height: int
    components: int

    def reduced(self, needed_px: int) -> tuple[int, int]:
        """Returns the width and height that it is decoded to: a half, a quarter or an eighth, if that suffices."""
        most = min(self.width, self.height) // needed_px
        scale = next((scale for scale in _SCALES if scale <= most), 1)
        return -(-self.width // scale), -(-self.height // scale)


def read_header(encoded: bytes) -> Header | None:
    """Returns the header of a usual JPEG: upright, baseline, in one scan, grey or in colour, nothing odd; else None.

    Odd is what Pillow would refuse, turn upright or take for another format, and whatever it might.
    """
    if simplejpeg is None or not encoded.startswith(_START):
        return None
    header, exif, begin = None, b"", len(_START)
    while segment := _SEGMENT.match(encoded, begin):
        marker, length = segment[1][0], int.from_bytes(segment[2])
        content = encoded[segment.end() : begin + 2 + length]
        begin += 2 + length
        if marker == _SCAN:
            is_only_scan = header is not None and content[:1] == bytes((header.components,))
            return header if is_only_scan and _is_upright(exif) else None
        if marker == _BASELINE_FRAME:
            if header or not (header := _frame(content)):
                return None
        elif marker == _EXIF and content.startswith(_EXIF_START):
            if exif:
                return None
            exif = content
        elif not _is_usual(marker, content):
            return None
    return None


def decode(encoded: bytes, header: Header, needed_px: int) -> np.ndarray | None:
    """Returns (h, w, 3) uint8 RGB, reduced as `Header.reduced` says; None where there is anything to complain of."""
    width, height = header.reduced(needed_px)
    try:
        return simplejpeg.decode_jpeg(encoded, "RGB", min_height=height, min_width=width, strict=True)
    except Exception:  # whatever it raises on bytes that a stranger wrote
        return None


def _frame(content: bytes) -> Header | None:
    if len(content) < 6 or content[0] != 8 or content[5] not in (1, 3) or len(content) != 6 + 3 * content[5]:
        return None
    height, width = int.from_bytes(content[1:3]), int.from_bytes(content[3:5])
    return Header(width, height, content[5]) if width and height else None


def _is_usual(marker: int, content: bytes) -> bool:
    if marker == _JFIF:
        return content.startswith(b"JFIF\0") and len(content) >= 12
    if marker == _QUANTIZATION:
        return len(content) % _TABLE_BYTES == 0 and max(content[::_TABLE_BYTES], default=16) < 16
    if marker == _PROFILE:
        return content.startswith(_PROFILE_START) and len(content) > 14
    if marker == _EXIF:
        return b"Orientation" not in content  # Adobe's metadata, which has one of its own
    return marker in _OTHERS


def _is_upright(exif: bytes) -> bool:
    if _ORIENTATION_TAG.to_bytes(2) not in exif and _ORIENTATION_TAG.to_bytes(2, "little") not in exif:
        return True
    tags = PIL.Image.Exif()
    try:
        tags.load(exif)
        return tags.get(_ORIENTATION_TAG, 1) == 1
    except Exception:  # as Pillow would raise; what it makes of such an image is its affair
        return False
