"""What a reader yields: samples and bad samples; and what readers share: labels, packed files, damage."""

import bz2
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from transforms.errors import UserError
from transforms.read import limits
from transforms.records import ErrorType, Sample

IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "gif", "avif"})
HEAD_BYTES = 4096  # of a file that are looked at to tell its format
IMAGE_HEAD_BYTES = 16  # that tell whether a file is an image
_IMAGE_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM.{4}\0\0\0\0|RIFF.{4}WEBP|.{4}ftypavi[fs]", re.DOTALL
)
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZ"
# xz is left out: a file could ask for any amount of memory
_UNPACKERS: dict[bytes, Callable[[Any], Any]] = {_GZIP: gzip.open, _BZIP2: bz2.open}
_MAX_LABEL = 2**31 - 1


class BadSample(NamedTuple):
    """A sample without an image that could be read. It keeps its place in the shard, and becomes a reject."""

    image_id: str
    uri: str
    error_type: ErrorType
    message: str

    @property
    def encoded(self) -> bytes:
        """No bytes: there is nothing to decode."""
        return b""


Samples = Iterator[Sample | BadSample]


class LabelError(ValueError):
    """A label that is not a class index."""


def class_index(value: object) -> int | None:
    """Returns a label as a class index; None and -1, the usual mark of an unlabelled image, give None.

    Raises:
      LabelError: the value is not a whole number from -1 to 2**31 - 1.
    """
    if value is None:
        return None
    try:
        index = int(value)  # type: ignore[call-overload]
        whole = -1 <= index <= _MAX_LABEL and float(value) == index  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise LabelError(f"{str(value)[:100]!r} is not a class index")
    return None if index == -1 else index


def too_large(image_id: str, uri: str) -> BadSample:
    """Returns what stands in for an image of more than limits.MAX_ENCODED_BYTES."""
    return BadSample(image_id, uri, ErrorType.TOO_MANY_BYTES, f"more than {limits.MAX_ENCODED_BYTES} bytes")


def unpacked(file: io.BufferedReader) -> IO[bytes]:
    """Returns a file's content as a stream, unpacked where it is gzip or bzip2. The file must be at its beginning."""
    unpacker = _UNPACKERS.get(file.peek(2)[:2])
    return unpacker(file) if unpacker else file


def unpacked_head(head: bytes) -> bytes:
    """Returns the first bytes of a file, unpacked where they are gzip; none where that is damaged."""
    if not head.startswith(_GZIP):
        return head
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def is_image(head: bytes) -> bool:
    """Tells whether a file that begins with these bytes is an image."""
    return _IMAGE_MAGIC.match(head) is not None


def damaged(uri: str, error: Exception) -> BadSample:
    """Returns what stands in for the rest of a shard whose bytes are damaged; its message has the error and its notes.

    Raises:
      Exception: the error itself, where it is not the bytes' but the store's.
    """
    if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno is not None):
        raise error
    notes = getattr(error, "__notes__", [])
    return BadSample("", uri, ErrorType.DAMAGED_SHARD, "; ".join([f"{type(error).__name__}: {error}", *notes]))
