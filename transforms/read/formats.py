"""The readers: each format is one function from a shard to its samples, in order and in bounded memory."""

import re
import zlib
from typing import Protocol

from transforms.read.image_files import read_image_files
from transforms.read.parquet import read_parquet
from transforms.read.samples import IMAGE_EXTENSIONS, USUAL_FIELDS, BadSample, Counts, Fields, Samples, is_image
from transforms.read.tfrecord import read_tfrecord, starts_record
from transforms.read.webdataset import read_webdataset
from transforms.records import Shard

__all__ = [
    "IMAGE_EXTENSIONS",
    "READERS",
    "USUAL_FIELDS",
    "BadSample",
    "Counts",
    "Fields",
    "Samples",
    "format_of_content",
    "format_of_name",
]

HEAD_BYTES = 4096  # of a file that are looked at to tell its format
_NAMES = {
    "webdataset": re.compile(r"\.(tar|tar\.gz|tgz)$"),
    "tfrecord": re.compile(r"\.tfrec(ords?)?(\.gz|\.gzip)?(-\d+-of-\d+)?(\.gz|\.gzip)?$"),
    "parquet": re.compile(r"\.parquet$"),
    "images": re.compile(rf"\.({'|'.join(sorted(IMAGE_EXTENSIONS))})$"),
    "": re.compile(
        r"(^|/)[._][^/]*$|\.(cls|csv|html?|idx|index|jsonl?|md|npy|npz|pickle|pkl|py|pyd|tsv|txt|xml|ya?ml)$"
    ),
}
_TAR_MAGIC = slice(257, 262), b"ustar"


class Reader(Protocol):
    """Reads the samples of a shard; what it passes over is counted by name."""

    def __call__(self, shard: Shard, fields: Fields = ..., counts: Counts | None = ...) -> Samples: ...


READERS: dict[str, Reader] = {
    "webdataset": read_webdataset,
    "tfrecord": read_tfrecord,
    "parquet": read_parquet,
    "images": read_image_files,
}


def format_of_name(path: str) -> str | None:
    """Returns the format that a file's name tells: a key of READERS, "" for what is no input, None if it tells none."""
    return next((format for format, name in _NAMES.items() if name.search(path.lower())), None)


def format_of_content(head: bytes) -> str:
    """Returns the format that a file's first HEAD_BYTES tell: a key of READERS, or "" for what is no input."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if is_image(head):
        return "images"
    if starts_record(head):
        return "tfrecord"
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
        except zlib.error:
            return ""
    where, magic = _TAR_MAGIC
    if head[where] == magic:
        return "webdataset"
    return "tfrecord" if starts_record(head) else ""
