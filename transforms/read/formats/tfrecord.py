"""TFRecord files of `tf.train.Example`, read without TensorFlow.

A record is its length (8 bytes, little-endian), the length's masked CRC-32C (4), the data, and its masked CRC-32C (4).
"""

import io
import re
import struct
from collections import Counter
from collections.abc import Iterator
from typing import IO

import google_crc32c

from transforms.read import limits, samples
from transforms.read.fields import USUAL_FIELDS, USUAL_ID, USUAL_IMAGE, USUAL_LABEL, Fields, first_present
from transforms.read.formats import example
from transforms.read.formats.format import Format
from transforms.read.samples import BadSample, Samples
from transforms.records import ErrorType, Sample, Shard
from transforms.store import files as store

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_CHUNK_BYTES = 1024 * 1024


def read_tfrecord(shard: Shard, fields: Fields = USUAL_FIELDS, ignored: Counter[str] | None = None) -> Samples:
    """Reads the records of a file, packed with gzip or not.

    A damaged record ends the shard, as nothing says where the next one begins; what comes before it is kept.
    """
    with store.open_read(shard.uri) as file:
        try:
            for number, record in enumerate(read_records(_unpacked(file))):
                yield _sample(f"{shard.uri}#{number}", str(number), record, fields)
        except Exception as error:  # whatever comes of bytes that a stranger wrote
            yield samples.damaged(shard.uri, error)


def starts_record(head: bytes) -> bool:
    """Tells whether a file that begins with these bytes is a plain TFRecord file."""
    if len(head) < _HEADER.size:
        return False
    _, checksum = _HEADER.unpack_from(head)
    return checksum == _masked_crc32c(head[:8])


def read_records(file: IO[bytes]) -> Iterator[bytes | None]:
    """Yields the data of each record, None for one that is too large to be read into memory.

    Raises:
      ValueError: a record is damaged or cut short; the message says at which byte it begins.
    """
    offset = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise ValueError(f"the file ends within the record at byte {offset}")
        length, checksum = _HEADER.unpack(header)
        if checksum != _masked_crc32c(header[:8]):
            raise ValueError(f"wrong checksum of the length of the record at byte {offset}")
        data, crc = _read_data(file, length)
        checksum_bytes = file.read(_CHECKSUM.size)
        if len(checksum_bytes) < _CHECKSUM.size:
            raise ValueError(f"the file ends within the record at byte {offset}")
        if _CHECKSUM.unpack(checksum_bytes)[0] != _mask(crc):
            raise ValueError(f"wrong checksum of the data of the record at byte {offset}")
        yield data
        offset += _HEADER.size + length + _CHECKSUM.size


def _unpacked(file: io.BufferedReader) -> IO[bytes]:
    is_plain = starts_record(file.peek(_HEADER.size))  # its first length may look like the mark of gzip
    return file if is_plain else samples.unpacked(file)


def _read_data(file: IO[bytes], length: int) -> tuple[bytes | None, int]:
    """Reads data of this length and returns it, or None if it is too large to be kept, with its CRC-32C."""
    if length <= limits.MAX_ENCODED_BYTES:
        data = file.read(length)
        return data, google_crc32c.value(data)
    crc = 0
    while length and (chunk := file.read(min(length, _CHUNK_BYTES))):
        crc, length = google_crc32c.extend(crc, chunk), length - len(chunk)
    return None, crc


def _mask(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _masked_crc32c(data: bytes) -> int:
    return _mask(google_crc32c.value(data))


def _sample(uri: str, number: str, record: bytes | None, fields: Fields) -> Sample | BadSample:
    if record is None:
        return samples.too_large(number, uri)
    try:
        features = example.features(record)
        id_name = fields.id_field or first_present(USUAL_ID, features)
        image_id = _text(_value(features, id_name)) or number
        image_name = fields.image_field or first_present(USUAL_IMAGE, features)
        encoded = _value(features, image_name)
        if not isinstance(encoded, bytes):
            known = ", ".join(sorted(features)[:20])
            return BadSample(image_id, uri, ErrorType.NO_IMAGE, f"no image in {image_name!r}; the features are {known}")
        if fields.id_field and fields.id_field not in features:
            return BadSample(image_id, uri, ErrorType.BAD_ID, f"no feature {fields.id_field!r}")
        if fields.label_field and fields.label_field not in features:
            return BadSample(image_id, uri, ErrorType.BAD_LABEL, f"no feature {fields.label_field!r}")
        label = _value(features, fields.label_field or first_present(USUAL_LABEL, features))
    except ValueError as error:
        return BadSample(number, uri, ErrorType.NO_IMAGE, f"not a tf.train.Example: {error}")
    try:
        return Sample(image_id, uri, encoded, samples.class_index(label))
    except samples.LabelError as error:
        return BadSample(image_id, uri, ErrorType.BAD_LABEL, str(error))


def _value(features: dict[str, memoryview], name: str | None) -> example.Value | None:
    """Returns a feature's first value; None where there is no such feature, or nothing in it."""
    return example.first_value(features[name]) if name in features else None


def _text(value: example.Value | None) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return "" if value is None else str(value)


FORMAT = Format(
    "tfrecord",
    read_tfrecord,
    re.compile(r"\.tfrec(ords?)?(\.gz|\.gzip)?(-\d+-of-\d+)?(\.gz|\.gzip)?$"),
    starts=lambda head: starts_record(head) or starts_record(samples.unpacked_head(head)),
)
