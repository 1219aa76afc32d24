"""Reads the labelled images again, shard by shard, in the order of their rows."""

import hashlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace

import PIL.Image

from pipeline.export.formats.records import ExportImage
from transforms.read.fields import Fields
from transforms.read.formats.image_files import images_of
from transforms.read.formats.registry import FORMATS
from transforms.read.samples import IMAGE_EXTENSIONS, BadSample
from transforms.records import Sample, Shard

_FILES_AT_A_TIME = 256


class OriginalError(OSError):
    """An image can't be read again as it was when it was labelled."""


def read_originals(shard: Shard, fields: Fields, images: Iterator[ExportImage]) -> Iterator[tuple[ExportImage, bytes]]:
    """Yields images of a shard with the bytes they were labelled from.

    Of a group of image files, only those asked for are read, a few hundred at a time. Any other shard is read once,
    from its start to the last image asked for.

    Args:
      images: in the order of the shard.

    Raises:
      OriginalError: an image is gone or has changed.
    """
    if not shard.members:
        samples = enumerate(FORMATS[shard.format].read(shard, fields))
        for image in images:
            yield image, _checked(image, next((s for index, s in samples if index == image.index_in_shard), None))
        return
    files = images_of(shard)
    while chunk := list(itertools.islice(images, _FILES_AT_A_TIME)):
        wanted = replace(shard, members=tuple(files[image.index_in_shard] for image in chunk))
        for image, sample in zip(chunk, FORMATS[shard.format].read(wanted, fields), strict=True):
            yield image, _checked(image, sample)


def _checked(image: ExportImage, sample: Sample | BadSample | None) -> bytes:
    if not isinstance(sample, Sample):
        raise OriginalError(f"{image.uri} can't be read again: {sample.message if sample else 'it is gone'}")
    if hashlib.sha256(sample.encoded).hexdigest() != image.sha256:
        raise OriginalError(f"{image.uri} has changed since it was labelled: run it again, or export without images")
    return sample.encoded


def extension_of(uri: str, encoded: bytes | None = None) -> str:
    """Returns the extension of an image: that of its URI, or if it has none (a record, a row) one for the bytes."""
    extension = uri.rpartition(".")[2]
    if extension.lower() in IMAGE_EXTENSIONS:
        return extension
    if encoded is None:
        return "jpg"
    kind = PIL.Image.open(io.BytesIO(encoded)).format or "JPEG"
    return {"JPEG": "jpg"}.get(kind, kind.lower())
